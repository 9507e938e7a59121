//! The tables decide what the rules mean, on random policies; and stay as small as the rules allow.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::policy::compile::{Decision, ProgramKey, RAW};
use crate::policy::{Attempt, MAX_ARGS, Policy, Program};

/// Few addresses that differ in few bits, so that prefixes nest and meet.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = (0u32..8, 0u32..4)
        .prop_map(|(high, low)| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | high << 21 | low)));
    let mapped = (0u32..8).prop_map(|high| {
        IpAddr::V6(Ipv4Addr::from_bits(0x0a00_0000 | high << 21).to_ipv6_mapped())
    });
    let v6 = (0u128..8, 0u128..4)
        .prop_map(|(high, low)| IpAddr::V6(Ipv6Addr::from_bits(0xfd << 120 | high << 77 | low)));
    let low = (0u128..4).prop_map(|low| IpAddr::V6(Ipv6Addr::from_bits(low)));
    prop_oneof![4 => v4, 1 => mapped, 4 => v6, 1 => low]
}

fn prefix() -> impl Strategy<Value = String> {
    (address(), select(vec![0u8, 7, 8, 9, 10, 11, 20, 31, 32, 48, 51, 80, 96, 127, 128])).prop_map(
        |(addr, len)| match addr {
            IpAddr::V4(_) => format!("{addr}/{}", len.min(32)),
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => format!("{addr}/{}", len.max(96)),
            IpAddr::V6(_) => format!("{addr}/{len}"),
        },
    )
}

fn port() -> impl Strategy<Value = String> {
    prop_oneof![
        (1u16..8).prop_map(|port| port.to_string()),
        (1u16..8, 0u16..4).prop_map(|(low, more)| format!("\"{low}-{}\"", low + more)),
        (1u16..8).prop_map(|low| format!("\"{low}-65535\"")),
    ]
}

fn quoted<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ")
}

fn net_rule() -> impl Strategy<Value = String> {
    let protocols = prop_oneof![
        3 => Just(Vec::new()),
        3 => subsequence(vec!["tcp", "udp", "udplite"], 1..=2),
    ];
    let usual =
        (vec(prefix(), 0..4), vec(port(), 0..3), protocols).prop_map(|(to, port, proto)| {
            let mut keys = Vec::new();
            if !to.is_empty() {
                keys.push(format!("to = [{}]", quoted(&to)));
            }
            if !port.is_empty() {
                keys.push(format!("port = [{}]", port.join(", ")));
            }
            if !proto.is_empty() {
                keys.push(format!("protocol = [{}]", quoted(&proto)));
            }
            if keys.is_empty() {
                keys.push("to = [\"0.0.0.0/0\", \"::/0\"]".to_owned());
            }
            format!("net = {{ {} }}", keys.join(", "))
        });
    prop_oneof![
        12 => usual,
        1 => Just("net = { protocol = \"raw\" }".to_owned()),
        1 => Just("net = { protocol = [\"tcp\", \"raw\"] }".to_owned()),
    ]
}

/// Few names that lie below each other, and some that only look so.
const NAMES: [&str; 9] = [
    "com",
    "example.com",
    "api.example.com",
    "v1.api.example.com",
    "badexample.com",
    "example.org",
    "com.example",
    "x",
    "a.x",
];

fn host_rule() -> impl Strategy<Value = String> {
    let host = (any::<bool>(), select(NAMES.to_vec()))
        .prop_map(|(below, name)| format!("{}{name}", if below { "*." } else { "" }));
    (vec(host, 1..4), vec(port(), 0..2), any::<bool>()).prop_map(|(host, port, tcp)| {
        let port = match port.is_empty() {
            true => String::new(),
            false => format!(", port = [{}]", port.join(", ")),
        };
        let tcp = if tcp { ", protocol = \"tcp\"" } else { "" };
        format!("net = {{ host = [{}]{port}{tcp} }}", quoted(&host))
    })
}

const PROGRAMS: [&str; 6] = ["git", "sh", "x", "/bin/git", "/bin/sh", "/opt/x"];
const ARGS: [&str; 5] = ["push", "--force", "-c", "pull", "git"];

/// The digits of the hashes that rules name, each 64 times one.
const HASHES: [&str; 3] = ["0", "1", "2"];

fn exec_rule() -> impl Strategy<Value = String> {
    let hashes = subsequence(HASHES.to_vec(), 1..=2).prop_map(|digits| {
        let hashes: Vec<String> =
            digits.iter().map(|digit| format!("\"{}\"", digit.repeat(64))).collect();
        format!("exec = {{ sha256 = [{}] }}", hashes.join(", "))
    });
    prop_oneof![3 => named_rule(), 1 => hashes]
}

fn named_rule() -> impl Strategy<Value = String> {
    let programs = subsequence(PROGRAMS.to_vec(), 1..=3);
    let args = prop_oneof![1 => Just(Vec::new()), 2 => subsequence(ARGS.to_vec(), 1..=3)];
    (programs, args).prop_map(|(programs, args)| {
        let args =
            if args.is_empty() { String::new() } else { format!(", args = [{}]", quoted(&args)) };
        format!("exec = {{ program = [{}]{args} }}", quoted(&programs))
    })
}

fn policy(rule: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let lists = select(vec!["allow", "deny", "deny", "would"]);
    (any::<bool>(), vec((lists, rule), 0..12)).prop_map(|(deny, rules)| {
        let mut text =
            format!("version = 1\ndefault = \"{}\"\n", if deny { "deny" } else { "allow" });
        for (number, (list, scope)) in rules.iter().enumerate() {
            let (list, more) =
                if *list == "would" { ("deny", "enforce = false\n") } else { (*list, "") };
            writeln!(text, "[[{list}]]\nid = \"r{number}\"\n{more}{scope}").unwrap();
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_decide_destinations_as_the_rules_do(
        text in policy(net_rule()),
        probes in vec(
            (address(), select(vec![1u8, 6, 17, 136, RAW]), prop_oneof![0u16..14, Just(65535)]),
            1..80,
        ),
    ) {
        let policy = Policy::parse(&text).unwrap();
        let tables = policy.compile();
        prop_assert_eq!(policy.decide_raw(), tables.decide_raw());
        for (addr, protocol, port) in probes {
            prop_assert_eq!(
                policy.decide_net(addr, protocol, port),
                tables.decide_net(addr, protocol, port),
                "{} {} {}\n{}", addr, protocol, port, text
            );
            if !addr.is_unspecified() {
                let judged = policy.judge(&Attempt::Net { addr, protocol, port, names: vec![] });
                prop_assert_eq!(judged.decision, tables.decide_net(addr, protocol, port));
            }
        }
    }

    #[test]
    fn tables_decide_names_as_the_rules_do(
        text in policy(prop_oneof![4 => host_rule(), 1 => net_rule()]),
        probes in vec(
            (select(NAMES.to_vec()), select(vec!["", "a.", "b.a."]), select(vec![6u8, 17]), 0u16..14),
            1..80,
        ),
        addr in address(),
    ) {
        let policy = Policy::parse(&text).unwrap();
        let tables = policy.compile();
        for (name, below, protocol, port) in probes {
            let name = format!("{below}{name}");
            prop_assert_eq!(
                policy.decide_name(name.as_bytes(), protocol, port),
                tables.decide_name(name.as_bytes(), protocol, port),
                "{} {} {}\n{}", name, protocol, port, text
            );
            prop_assert_eq!(
                policy.decide_lookup(name.as_bytes()),
                tables.decide_lookup(name.as_bytes()),
                "{}\n{}", name, text
            );
            prop_assert_eq!(
                policy.decide_net(addr, protocol, port),
                tables.decide_net(addr, protocol, port)
            );
        }
        prop_assert_eq!(policy.decide_raw(), tables.decide_raw());
    }

    #[test]
    fn tables_decide_programs_as_the_rules_do(
        text in policy(exec_rule()),
        probes in vec(
            (
                subsequence(PROGRAMS[3..].to_vec(), 1..=2),
                select(PROGRAMS[..3].to_vec()),
                vec(select(ARGS.to_vec()), 0..5),
                0u8..4,
            ),
            1..60,
        ),
    ) {
        let policy = Policy::parse(&text).unwrap();
        let tables = policy.compile();
        for (paths, invoked, argv, digit) in probes {
            let hashes = [[digit * 0x11; 32]];
            fn base<'p>(path: &&'p [u8]) -> &'p [u8] {
                path.rsplit(|byte| *byte == b'/').next().unwrap()
            }
            let paths: Vec<&[u8]> = paths.iter().map(|path| path.as_bytes()).collect();
            let names: Vec<&[u8]> =
                paths.iter().map(base).chain([invoked.as_bytes()]).collect();
            let argv: Vec<&[u8]> = argv.iter().map(|arg| arg.as_bytes()).collect();
            prop_assert_eq!(
                policy.decide_exec(&paths, &names, &hashes, &argv),
                tables.decide_exec(&paths, &names, &hashes, &argv),
                "{:?} {} {:?}\n{}", paths, invoked, argv, text
            );
            let program = Program {
                path: paths[0].to_vec(),
                invoked: invoked.into(),
                interpreter: None,
                sha256: Some(hashes[0]),
                interpreter_sha256: None,
                argv: argv.iter().map(|arg| arg.to_vec()).collect(),
            };
            prop_assert_eq!(
                policy.judge(&Attempt::Exec(program)).decision,
                tables.decide_exec(&paths[..1], &[base(&paths[0]), invoked.as_bytes()], &hashes, &argv)
            );
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = Policy::parse(&text);
        let _ = Policy::parse(&format!("version = 1\ndefault = \"deny\"\n[[deny]]\n{text}"));
    }

    #[test]
    fn a_rule_that_is_called_dead_never_decides(
        text in policy(prop_oneof![net_rule(), exec_rule(), host_rule()]),
        addr in address(), name in select(NAMES.to_vec()), protocol in select(vec![1u8, 6, 17]), port in 0u16..14,
        path in select(PROGRAMS[3..].to_vec()), argv in vec(select(ARGS.to_vec()), 0..5),
        digit in 0u8..4,
    ) {
        let policy = Policy::parse(&text).unwrap();
        let dead: Vec<String> = policy
            .warnings()
            .into_iter()
            .filter(|found| found.message.contains("never decides"))
            .filter_map(|found| found.rule)
            .collect();
        let base = path.rsplit('/').next().unwrap().as_bytes();
        let argv: Vec<&[u8]> = argv.iter().map(|arg| arg.as_bytes()).collect();
        for decision in [
            policy.decide_net(addr, protocol, port),
            policy.decide_name(name.as_bytes(), protocol, port),
            policy.decide_raw(),
            policy.decide_exec(&[path.as_bytes()], &[base, base], &[[digit * 0x11; 32]], &argv),
        ] {
            if let Some(rule) = decision.rule() {
                let id = &policy.tables().rules[rule as usize].id;
                prop_assert!(!dead.contains(id), "{id} decided\n{text}");
            }
        }
    }
}

fn parse(text: &str) -> Policy {
    Policy::parse(text).unwrap_or_else(|found| panic!("{found:?}\n{text}"))
}

#[test]
fn a_hundred_thousand_prefixes_with_a_rule_each_compile() {
    let mut text = "version = 1\ndefault = \"allow\"\n".to_owned();
    for number in 0u32..100_000 {
        let addr = Ipv4Addr::from_bits(0x0100_0000 + number * 40_000);
        let len = 17 + number % 16;
        writeln!(text, "[[deny]]\nid = \"r{number}\"\nnet = {{ to = [\"{addr}/{len}\"] }}")
            .unwrap();
    }
    let policy = parse(&text);
    assert!(policy.tables().prefixes.len() > 50_000, "{}", policy.summary());
}

#[test]
fn a_list_of_a_hundred_thousand_prefixes_shares_one_set() {
    let list: Vec<String> = (0u32..100_000)
        .map(|number| Ipv4Addr::from_bits(0x0100_0000 + number * 2).to_string())
        .collect();
    let text = format!(
        "version = 1\ndefault = \"allow\"\n[[deny]]\nid = \"list\"\nnet = {{ to = [{}] }}",
        quoted(&list)
    );
    let tables = parse(&text).compile();
    assert_eq!(tables.prefixes.len(), 100_002);
    assert_eq!(tables.ports.len(), 2);
}

#[test]
fn two_roots_always_answer() {
    let tables = parse("version = 1\ndefault = \"deny\"").compile();
    let keys: Vec<(u8, u8)> = tables.prefixes.iter().map(|p| (p.addr[10], p.len)).collect();
    assert_eq!(keys, [(0, 0), (0xff, 96)]);
    assert_eq!(tables.decide_net(Ipv4Addr::LOCALHOST.into(), 6, 80), Decision::DefaultDeny);
    assert_eq!(tables.decide_exec(&[b"/bin/sh"], &[b"sh"], &[], &[]), Decision::DefaultDeny);
}

#[test]
fn a_wide_range_of_ports_costs_its_exceptions_alone() {
    let text =
        "version = 1\ndefault = \"allow\"\n[[deny]]\nid = \"a\"\nnet = { port = \"1-65535\" }";
    assert_eq!(parse(text).tables().ports.len(), 2, "one usual decision and port 0");
}

#[test]
fn a_rule_for_all_of_ipv6_leaves_ipv4_alone() {
    let policy = parse(
        "version = 1\ndefault = \"deny\"\n[[allow]]\nid = \"six\"\nnet = { to = [\"::/0\"] }",
    );
    for (addr, expected) in [
        ("2001:db8::1", Decision::Allow(0)),
        ("192.0.2.1", Decision::DefaultDeny),
        ("::ffff:192.0.2.1", Decision::DefaultDeny),
    ] {
        let addr = addr.parse().unwrap();
        assert_eq!(policy.decide_net(addr, 6, 443), expected, "{addr}");
        assert_eq!(policy.tables().decide_net(addr, 6, 443), expected, "{addr}");
    }
}

#[test]
fn programs_with_the_same_rules_share_a_group() {
    let tables = parse(
        "version = 1\ndefault = \"allow\"\n[[deny]]\nid = \"a\"\nexec = { program = [\"git\", \
         \"hub\"], args = [\"push\", \"--force\"] }",
    )
    .compile();
    assert_eq!(tables.programs.len(), 2);
    assert!(tables.programs.iter().all(|entry| entry.group == 1));
    assert_eq!((tables.groups.len(), tables.args.len()), (1, 2));
    assert_eq!(tables.groups[0].rules[0].mask, 0b11);
    assert!(matches!(&tables.programs[0].key, ProgramKey::Name(name) if name == b"git"));
}

#[test]
fn sixty_four_arguments_fill_a_mask() {
    let args: Vec<String> = (0..MAX_ARGS).map(|n| format!("arg{n}")).collect();
    let policy = parse(&format!(
        "version = 1\ndefault = \"allow\"\n[[deny]]\nid = \"a\"\nexec = {{ program = \"x\", args = [{}] }}",
        quoted(&args)
    ));
    assert_eq!(policy.tables().groups[0].rules[0].mask, u64::MAX);
    let argv: Vec<&[u8]> =
        std::iter::once("x").chain(args.iter().map(String::as_str)).map(str::as_bytes).collect();
    assert!(policy.tables().decide_exec(&[b"/x"], &[b"x"], &[], &argv).denies());
    assert!(!policy.tables().decide_exec(&[b"/x"], &[b"x"], &[], &argv[..64]).denies());
}

#[test]
fn rules_on_one_long_line_and_rules_that_reach_everywhere_stay_small() {
    let inline: Vec<String> = (0..20_000)
        .map(|n| format!("{{ id = \"r{n}\", net = {{ to = \"10.0.0.0/{}\" }} }}", n % 8))
        .collect();
    parse(&format!("version = 1\ndefault = \"allow\"\ndeny = [{}]", inline.join(", ")));
    let mut text = "version = 1\ndefault = \"deny\"\n".to_owned();
    for n in 1..5_000 {
        writeln!(text, "[[deny]]\nid = \"p{n}\"\nnet = {{ port = {n} }}").unwrap();
    }
    let list: Vec<String> =
        (0u32..50_000).map(|n| Ipv4Addr::from_bits(0x0100_0000 + n * 2).to_string()).collect();
    writeln!(text, "[[allow]]\nid = \"list\"\nnet = {{ to = [{}] }}", quoted(&list)).unwrap();
    let policy = parse(&text);
    assert_eq!(policy.tables().prefixes.len(), 50_002);
}

#[test]
fn what_a_denied_prefix_allows_elsewhere_makes_no_set_of_its_own() {
    let policy = parse(
        "version = 1\ndefault = \"allow\"\n\
         [[deny]]\nid = \"ten\"\nnet = { to = \"10.0.0.0/8\" }\n\
         [[allow]]\nid = \"part\"\nnet = { to = \"10.1.0.0/16\", port = 443 }\n",
    );
    // The two roots and the denied prefix.
    assert_eq!(policy.tables().prefixes.len(), 3);
}

#[test]
fn sockets_that_destination_rules_cannot_hold_need_a_rule_of_their_own() {
    let head = "version = 1\ndefault = \"allow\"\n";
    let deny = "[[deny]]\nid = \"a\"\nnet = { to = \"10.0.0.1\" }\n";
    let allow = "[[allow]]\nid = \"raw\"\nnet = { protocol = \"raw\" }\n";
    let exec = "[[deny]]\nid = \"x\"\nexec = { program = \"x\" }\n";
    for (rules, expected) in [
        (String::new(), Decision::DefaultAllow),
        (exec.to_owned(), Decision::DefaultAllow),
        (deny.to_owned(), Decision::DefaultDeny),
        (format!("{deny}{allow}"), Decision::Allow(1)),
    ] {
        let policy = parse(&format!("{head}{rules}"));
        assert_eq!(policy.decide_raw(), expected, "{rules}");
        assert_eq!(policy.tables().decide_raw(), expected, "{rules}");
    }
}

#[test]
fn a_hundred_thousand_names_with_a_rule_each_compile() {
    let mut text = "version = 1\ndefault = \"deny\"\n".to_owned();
    for n in 0..100_000 {
        let below = if n % 3 == 0 { "*." } else { "" };
        writeln!(
            text,
            "[[allow]]\nid = \"r{n}\"\nnet = {{ host = \"{below}h{n}.z{}.example\" }}",
            n % 500
        )
        .unwrap();
    }
    let policy = parse(&text);
    assert_eq!(policy.tables().names.len(), 100_000);
    assert_eq!(policy.decide_name(b"a.h3.z3.example", 6, 443), Decision::Allow(3));
}

#[test]
fn rules_about_names_say_nothing_of_addresses() {
    let policy = parse(
        "version = 1\ndefault = \"deny\"\n[[allow]]\nid = \"a\"\nnet = { host = \"A.Example.\" }",
    );
    let addr = Ipv4Addr::LOCALHOST.into();
    assert_eq!(policy.decide_net(addr, 6, 443), Decision::DefaultDeny);
    assert_eq!(policy.tables().decide_net(addr, 6, 443), Decision::DefaultDeny);
    assert_eq!(policy.decide_name(b"a.example", 6, 443), Decision::Allow(0));
    assert_eq!(policy.tables().decide_name(b"a.example", 6, 443), Decision::Allow(0));
}

#[test]
fn a_rule_that_is_not_enforced_is_told_and_lifts_nothing() {
    let would = "[[deny]]\nid = \"w\"\nenforce = false\n";
    let (net, exec) = ("net = { to = \"10.0.0.0/8\" }\n", "exec = { program = \"git\" }\n");
    let allow = format!("[[allow]]\nid = \"a\"\n{net}[[allow]]\nid = \"b\"\n{exec}");
    let told = |allowed| Decision::Would { rule: 0, allowed };
    for (default, more, expected) in [
        ("allow", "", told(false)),
        ("deny", "", Decision::DefaultDeny),
        ("deny", allow.as_str(), told(true)),
    ] {
        for scope in [net, exec] {
            let text = format!("version = 1\ndefault = \"{default}\"\n{would}{scope}{more}");
            let policy = parse(&text);
            let (addr, exec) = ("10.0.0.1".parse().unwrap(), (&[&b"/bin/git"[..]], &[&b"git"[..]]));
            let found = if scope == net {
                [policy.decide_net(addr, 6, 80), policy.tables().decide_net(addr, 6, 80)]
            } else {
                let tables = policy.tables();
                [
                    policy.decide_exec(exec.0, exec.1, &[], &[]),
                    tables.decide_exec(exec.0, exec.1, &[], &[]),
                ]
            };
            assert_eq!(found, [expected; 2], "{text}");
        }
    }
}

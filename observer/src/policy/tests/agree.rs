//! The tables decide what the rules mean, on random policies; and stay as small as the rules allow.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::policy::compile::RAW;
use crate::policy::{Attempt, Policy, Program};

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

pub(super) fn quoted<T: std::fmt::Display>(items: &[T]) -> String {
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

//! What is compiled of rules: how large it is, and what it decides.

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::agree::quoted;
use crate::policy::compile::{Decision, ProgramKey};
use crate::policy::{MAX_ARGS, Policy};

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

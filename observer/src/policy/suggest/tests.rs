//! What was done, and what is suggested of it.

use super::*;
use crate::policy::{Known, Policy};
use proptest::prelude::*;

fn exec(path: &str, invoked: &str, interpreter: Option<&str>) -> Attempt {
    Attempt::Exec(Program {
        path: path.into(),
        invoked: invoked.into(),
        interpreter: interpreter.map(Into::into),
        ..Program::default()
    })
}

fn net(addr: &str, port: u16, name: Option<&str>) -> Attempt {
    let names = name.into_iter().map(Known::plain).collect();
    Attempt::Net { addr: addr.parse().unwrap(), protocol: 6, port, names }
}

/// What is suggested from these allows each of them.
fn covers(attempts: &[Attempt]) -> String {
    let mut suggestion = Suggestion::default();
    for attempt in attempts {
        suggestion.add(attempt, |_| true);
    }
    let text = suggestion.text();
    let policy = Policy::parse(&text).unwrap_or_else(|found| panic!("{found:?}\n{text}"));
    for attempt in attempts {
        assert!(!policy.judge(attempt).denied, "{attempt:?}\n{text}");
    }
    assert!(policy.warnings().iter().all(|found| found.rule.is_none()), "{text}");
    text
}

#[test]
fn programs_stand_by_directory_and_places_by_ports() {
    let text = covers(&[
        exec("/usr/bin/git", "git", None),
        exec("/usr/bin/git", "/bin/git", None),
        exec("/usr/bin/env", "env", None),
        exec("/home/x/run.sh", "./run.sh", Some("/usr/bin/dash")),
        net("192.0.2.1", 443, Some("api.example.com")),
        net("192.0.2.2", 443, None),
        net("192.0.2.3", 443, None),
        net("2001:db8::1", 80, None),
        Attempt::Lookup("other.example.com".into()),
        Attempt::Socket("icmp".into()),
    ]);
    for line in [
        "exec = { program = [\n  \"/usr/bin/env\",  # once\n  \"/usr/bin/git\",  # 2 times\n] }",
        "id = \"programs-by-name\"",
        "  \"run.sh\",  # once",
        "net = { protocol = \"tcp\", host = [\n  \"api.example.com\",  # once\n], port = [443] }",
        "to = [\n  \"192.0.2.2\",  # once\n  \"192.0.2.3\",  # once\n], port = [443] }",
        "net = { host = [\n  \"other.example.com\",  # once\n] }",
        "why = \"icmp: once\"\nnet = { protocol = \"raw\" }",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert_eq!(text.matches("[[allow]]").count(), 7, "{text}");
}

#[test]
fn what_is_masked_stands_in_no_rule() {
    let secret = "/tmp/<mask:bearer:00:11>/tool";
    let text = covers(&[exec(secret, secret, None), exec("/usr/bin/git", "git", None)]);
    assert!(!text.contains("mask:"), "{text}");
    let mut suggestion = Suggestion::default();
    suggestion.add(&exec("/tmp/<mask:x:0:1>", "x", None), |_| true);
    let text = suggestion.text();
    assert!(suggestion.is_empty() && text.contains("# not covered"), "{text}");
    assert!(Policy::parse(&text).is_ok(), "{text}");
}

#[test]
fn protocols_that_no_rule_can_name_are_covered_all_the_same() {
    let to = |protocol, port| Attempt::Net {
        addr: "192.0.2.7".parse().unwrap(),
        protocol,
        port,
        names: vec![],
    };
    let text = covers(&[to(1, 0), to(132, 9)]);
    assert!(text.contains("why = \"icmp, sctp, which no rule can name: 2 times\""), "{text}");
    assert!(text.contains("net = { to = [\n  \"192.0.2.7\",  # 2 times\n] }"), "{text}");
    let text = covers(&[to(132, 9), to(33, 9)]);
    assert!(text.contains("  \"192.0.2.7\",  # 2 times\n], port = [9] }"), "{text}");
}

#[test]
fn nothing_in_it_moves_a_cursor_or_hides() {
    let odd = "\u{7f}\u{9b}2J\u{202e}\u{200b}\u{3164}\u{e0041}";
    let path = format!("/usr/bin/{odd}");
    let masked = format!("/<mask:x:0:1>/{odd}<mask:x:0:1>");
    let mut suggestion = Suggestion::default();
    suggestion.add(&exec(&path, &path, None), |_| true);
    suggestion.add(&exec(&masked, &masked, None), |_| true);
    suggestion.add(&Attempt::UnixPath(path.clone().into()), |_| true);
    suggestion.add(&Attempt::Lookup(odd.to_owned()), |_| true);
    suggestion.add(&Attempt::Socket(odd.to_owned()), |_| true);
    let text = suggestion.text();
    assert!(!text.chars().any(|c| c != '\n' && moves(c)), "{text:?}");
    let policy = Policy::parse(&text).unwrap_or_else(|found| panic!("{found:?}\n{text}"));
    assert!(!policy.judge(&exec(&path, &path, None)).denied, "{text}");
}

#[test]
fn hosts_below_one_parent_are_a_suffix_with_its_names_and_counts() {
    let hosts = ["a.files.example.com", "b.files.example.com", "c.files.example.com"];
    let mut attempts: Vec<Attempt> =
        hosts.iter().map(|host| net("192.0.2.1", 443, Some(host))).collect();
    attempts.extend([
        net("192.0.2.1", 443, Some("a.files.example.com")),
        net("192.0.2.2", 443, Some("pypi.org")),
        net("192.0.2.3", 80, Some("a.files.example.org")),
        Attempt::Lookup("d.files.example.com".into()),
        Attempt::Lookup("other.example.com".into()),
    ]);
    let text = covers(&attempts);
    let line = "  \"*.files.example.com\",  # 4 times, 3 names: a, b, c\n";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("  \"other.example.com\",  # once") && !text.contains("\"d."), "{text}");
    let mut exact = Suggestion::default();
    exact.name_each();
    attempts.iter().for_each(|attempt| exact.add(attempt, |_| true));
    let text = exact.text();
    assert!(!text.contains('*') && text.contains("\"d.files.example.com\""), "{text}");
    let mut refused = Suggestion::default();
    attempts.iter().for_each(|attempt| refused.add(attempt, |_| true));
    refused.refuse(&Attempt::Lookup("x.files.example.com".into()));
    assert!(!refused.text().contains('*'), "{}", refused.text());
}

#[test]
fn names_that_were_only_asked_for_stand_one_by_one() {
    let asked: Vec<Attempt> =
        (0..5).map(|n| Attempt::Lookup(format!("{n}.tunnel.example.com"))).collect();
    let text = covers(&asked);
    assert!(!text.contains('*'), "{text}");
}

#[test]
fn an_address_whose_name_nobody_trusted_gave_stands_for_itself() {
    let known = Known { trusted: false, ..Known::plain("api.example.com") };
    let addr = "192.0.2.1".parse().unwrap();
    let text = covers(&[Attempt::Net { addr, protocol: 6, port: 443, names: vec![known] }]);
    assert!(text.contains("to = [\n  \"192.0.2.1\""), "{text}");
}

#[test]
fn a_protocol_that_no_rule_can_name_shadows_no_other_rule() {
    let to = |protocol, port| Attempt::Net {
        addr: "192.0.2.7".parse().unwrap(),
        protocol,
        port,
        names: vec![],
    };
    covers(&[to(1, 0), to(6, 443), to(17, 53)]);
}

proptest! {
    #[test]
    fn whatever_is_recorded_makes_a_policy_that_allows_it(
        paths in prop::collection::vec("/[ -~üé\u{1}\u{7f}]{1,40}", 0..8),
        script in any::<bool>(),
        ports in prop::collection::vec(any::<u16>(), 0..8),
        names in prop::collection::vec("[a-z.-]{1,20}", 0..4),
        hosts in prop::collection::vec(
            ("[a-e](\\.[ab])?\\.(example\\.com|amazonaws\\.com|co\\.uk)", 0u16..4), 0..24),
    ) {
        let interpreter = script.then_some("/bin/sh");
        let mut all: Vec<Attempt> = ports.iter().map(|port| net("192.0.2.9", *port, None)).collect();
        all.extend(names.iter().map(|name| net("192.0.2.8", 443, Some(name))));
        all.extend(names.iter().map(|name| Attempt::Lookup(name.clone())));
        all.extend(hosts.iter().map(|(host, port)| net("192.0.2.7", *port, Some(host))));
        all.extend(paths.iter().map(|path| exec(path, path, interpreter)));
        let mut suggestion = Suggestion::default();
        for attempt in &all {
            suggestion.add(attempt, |_| true);
        }
        let text = suggestion.text();
        let policy = Policy::parse(&text);
        prop_assert!(policy.is_ok(), "{:?}\n{}", policy.err(), text);
        let warnings = policy.as_ref().map(Policy::warnings).unwrap_or_default();
        prop_assert!(warnings.iter().all(|it| it.rule.is_none()), "{:?}\n{}", warnings, text);
        for attempt in &all {
            let covered = match attempt {
                Attempt::Lookup(name) => is_name(name),
                Attempt::Exec(program) => base(&program.path).len() > 2,
                _ => true,
            };
            let denied = policy.as_ref().is_ok_and(|policy| policy.judge(attempt).denied);
            prop_assert!(!covered || !denied, "{:?}\n{}", attempt, text);
        }
    }
}

#[test]
fn doors_are_named_and_let_through() {
    let mut suggestion = Suggestion::default();
    let attempts = [
        Attempt::UnixPath(b"/run/nscd/socket".to_vec()),
        Attempt::UnixPath(b"here/relative.sock".to_vec()),
        Attempt::UnixName(b"a name".to_vec()),
        Attempt::System(Door::Userns),
    ];
    for attempt in &attempts {
        suggestion.add(attempt, |_| true);
    }
    suggestion.add(&Attempt::UnixName(b"\xff".to_vec()), |_| true);
    let text = suggestion.text();
    assert!(text.contains("# not covered: "), "{text}");
    let policy = crate::policy::Policy::parse(&text).unwrap();
    let absolute = Attempt::UnixPath(b"/any/where/relative.sock".to_vec());
    for attempt in attempts.iter().filter(|a| **a != attempts[1]).chain([&absolute]) {
        assert!(!policy.judge(attempt).denied, "{attempt:?}: {text}");
    }
    assert!(policy.judge(&Attempt::System(Door::Bpf)).denied);
    assert!(policy.judge(&Attempt::UnixPath(b"/run/docker.sock".to_vec())).denied);
}

fn asked(addr: &str, port: u16, name: Option<&str>) -> Attempt {
    Attempt::Asked { addr: addr.parse().unwrap(), port, name: name.map(str::to_owned) }
}

#[test]
fn what_a_connection_asks_for_by_another_name_is_allowed_too() {
    let text = covers(&[
        net("192.0.2.1", 443, Some("edge.example.net")),
        asked("192.0.2.1", 443, Some("api.example.com")),
        asked("192.0.2.1", 443, Some("edge.example.net")),
    ]);
    assert!(
        text.contains("\"api.example.com\",  # once\n  \"edge.example.net\",  # once"),
        "{text}"
    );
    assert!(!text.contains("192.0.2.1"), "{text}");
}

#[test]
fn what_asks_for_no_name_is_allowed_by_its_address() {
    for name in [None, Some("<mask:generic:k:0>"), Some("192.0.2.1"), Some("a b")] {
        let text = covers(&[
            net("192.0.2.1", 443, Some("edge.example.net")),
            asked("192.0.2.1", 443, Some("api.example.com")),
            asked("192.0.2.1", 443, name),
        ]);
        assert!(text.contains("to = [\n  \"192.0.2.1\",  # once\n], port = [443]"), "{text}");
        assert!(
            !text.contains("api.example.com"),
            "an address that is allowed needs no name: {text}"
        );
    }
}

#[test]
fn names_asked_for_at_an_address_of_its_own_stand_in_no_rule() {
    let attempts = [net("192.0.2.1", 443, None), asked("192.0.2.1", 443, Some("api.example.com"))];
    let text = covers(&attempts);
    assert!(!text.contains("host"), "{text}");
}

//! The smallest readable allow-list that covers what a run did.
//!
//! Programs are named by their paths, a rule a directory; destinations by name where the record
//! has one, else by address, a rule for each set of ports. What was masked stands in no rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::MAX_PROGRAM;
use super::door::MAX_UNIX_NAME;
use super::judge::{Attempt, Program, base};
use super::recorded::is_masked;
use crate::model::{Door, Protocol, moves};

/// Attempts and how often each occurred.
#[derive(Clone, Debug, Default)]
pub struct Suggestion {
    programs: BTreeMap<ProgramName, u64>,
    places: BTreeMap<Place, BTreeMap<(u8, u16), u64>>,
    lookups: BTreeMap<String, u64>,
    sockets: BTreeMap<String, u64>,
    unix: BTreeMap<(bool, String), u64>,
    doors: BTreeMap<Door, u64>,
    /// What no rule can name, with the reason.
    left: BTreeMap<(String, &'static str), u64>,
}

/// How a rule is to name a program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ProgramName {
    Path(String),
    Name(String),
}

/// How a rule is to name a destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Host(String),
    Addr(std::net::IpAddr),
}

impl Suggestion {
    /// Takes an attempt that went on. `resolved` says whether a script's path is the one that the
    /// kernel resolves it to; where nobody knows, its name stands for it.
    pub fn add(&mut self, attempt: &Attempt, resolved: impl Fn(&[u8]) -> bool) {
        match attempt {
            Attempt::Exec(program) => self.add_program(program, resolved),
            Attempt::Net { addr, protocol, port, names } => {
                let place = match names.first() {
                    Some(known) if is_name(&known.name) => Place::Host(known.name.clone()),
                    _ => Place::Addr(addr.to_canonical()),
                };
                *self.places.entry(place).or_default().entry((*protocol, *port)).or_default() += 1;
            }
            Attempt::Named { name, protocol, port } => {
                let place = Place::Host(name.clone());
                *self.places.entry(place).or_default().entry((*protocol, *port)).or_default() += 1;
            }
            Attempt::Lookup(name) if is_name(name) => {
                *self.lookups.entry(name.clone()).or_default() += 1;
            }
            Attempt::Lookup(name) => self.leave(name, "its name is masked or no host's name"),
            Attempt::UnixPath(path) => self.add_unix(false, path),
            Attempt::UnixName(name) => self.add_unix(true, name),
            Attempt::System(door) => *self.doors.entry(*door).or_default() += 1,
            Attempt::Socket(kind) => *self.sockets.entry(kind.clone()).or_default() += 1,
        }
    }

    fn add_unix(&mut self, is_abstract: bool, name: &[u8]) {
        let shown = String::from_utf8_lossy(name);
        // Not a resolved path: its last part stands for it.
        let plain = |text: &str| {
            text.starts_with('/') && !text.split('/').skip(1).any(|p| matches!(p, "" | "." | ".."))
        };
        let short = |text: &str| if plain(text) { text.to_owned() } else { last_part(text) };
        let text = if is_abstract { shown.to_string() } else { short(&shown) };
        let most = if is_abstract { MAX_UNIX_NAME } else { MAX_PROGRAM };
        let odd =
            text.is_empty() || text.contains(['*', '\0']) || is_abstract && text.starts_with('@');
        if odd || text.len() > most || is_masked(name) || std::str::from_utf8(name).is_err() {
            return self.leave(&shown, "no rule can name this unix socket");
        }
        *self.unix.entry((is_abstract, text)).or_default() += 1;
    }

    fn add_program(&mut self, program: &Program, resolved: impl Fn(&[u8]) -> bool) {
        let nameable = |text: &[u8]| -> Option<String> {
            let text = std::str::from_utf8(text).ok()?;
            let fits = text.len() <= MAX_PROGRAM && !text.is_empty();
            (fits && !is_masked(text.as_bytes()) && !text.contains('\0')).then(|| text.to_owned())
        };
        // A path as it was written is what the kernel holds a rule against where no LSM hook
        // resolves it, and the resolved one where one does: both must be the same.
        let script = program.interpreter.is_some();
        let plain = !script || (program.path == program.invoked && resolved(&program.path));
        let is_resolved = |path: &String| {
            let mut parts = path.split('/');
            parts.next() == Some("") && parts.all(|part| !matches!(part, "" | "." | ".."))
        };
        let by_path = nameable(&program.path).filter(|path| plain && is_resolved(path));
        let by_name =
            || nameable(base(&program.path)).filter(|name| !matches!(&**name, "." | ".."));
        match by_path.map(ProgramName::Path).or_else(|| by_name().map(ProgramName::Name)) {
            Some(name) => *self.programs.entry(name).or_default() += 1,
            None => self.leave(
                &String::from_utf8_lossy(&program.path),
                "its name is masked, too long or not UTF-8",
            ),
        }
    }

    fn leave(&mut self, what: &str, why: &'static str) {
        let shown = what.escape_debug().flat_map(|c| {
            let (plain, escaped) =
                if moves(c) { (None, Some(c.escape_unicode())) } else { (Some(c), None) };
            plain.into_iter().chain(escaped.into_iter().flatten())
        });
        *self.left.entry((shown.collect(), why)).or_default() += 1;
    }

    /// Notes a call that no rule can name.
    pub fn skip(&mut self, what: &str, why: &'static str) {
        self.leave(what, why);
    }

    /// Whether there is nothing to allow.
    pub fn is_empty(&self) -> bool {
        self.programs.is_empty()
            && self.places.is_empty()
            && self.lookups.is_empty()
            && self.sockets.is_empty()
            && self.unix.is_empty()
            && self.doors.is_empty()
    }

    /// The policy's text.
    pub fn text(&self) -> String {
        let mut out = Text::default();
        out.line("version = 1");
        out.line("default = \"deny\"");
        for ((what, why), count) in &self.left {
            out.line(&format!("# not covered: {what} ({why}), {}", times(*count)));
        }
        self.write_programs(&mut out);
        self.write_places(&mut out);
        if !self.sockets.is_empty() {
            let kinds: Vec<String> =
                self.sockets.iter().map(|(kind, n)| format!("{kind}: {}", times(*n))).collect();
            out.rule("sockets", &kinds.join(", "));
            out.line("net = { protocol = \"raw\" }");
        }
        self.write_doors(&mut out);
        out.text
    }

    fn write_doors(&self, out: &mut Text) {
        for (is_abstract, key) in [(false, "path"), (true, "abstract")] {
            let names = self.unix.iter().filter(|((found, _), _)| *found == is_abstract);
            let names: Vec<(&str, u64)> = names.map(|((_, name), n)| (name.as_str(), *n)).collect();
            if names.is_empty() {
                continue;
            }
            out.rule(&format!("unix-{key}"), &times(names.iter().map(|(_, n)| n).sum()));
            out.line(&format!("unix = {{ {key} = ["));
            for (name, count) in names {
                out.line(&format!("  {},  # {}", quoted(name), times(count)));
            }
            out.line("] }");
        }
        if !self.doors.is_empty() {
            let total: u64 = self.doors.values().sum();
            let words: Vec<String> = self.doors.keys().map(|door| quoted(door.word())).collect();
            out.rule("system", &times(total));
            out.line(&format!("system = [{}]", words.join(", ")));
        }
    }

    fn write_programs(&self, out: &mut Text) {
        let mut groups: BTreeMap<&str, Vec<(&str, u64)>> = BTreeMap::new();
        for (program, count) in &self.programs {
            let (group, text) = match program {
                ProgramName::Path(path) => (path.rsplit_once('/').map_or("", |(dir, _)| dir), path),
                ProgramName::Name(name) => ("by name", name),
            };
            groups.entry(group).or_default().push((text, *count));
        }
        for (group, programs) in groups {
            let total: u64 = programs.iter().map(|(_, count)| count).sum();
            let what = if group == "by name" {
                "scripts whose resolved path is not recorded, and files whose path is masked"
            } else {
                group
            };
            out.rule(&format!("programs-{group}"), &format!("{what}: {}", times(total)));
            out.line("exec = { program = [");
            for (program, count) in programs {
                out.line(&format!("  {},  # {}", quoted(program), times(count)));
            }
            out.line("] }");
        }
    }

    fn write_places(&self, out: &mut Text) {
        // Places with the same ports of one protocol share a rule.
        type Ports = BTreeSet<u16>;
        let mut groups: BTreeMap<(bool, u8, Ports), Vec<(String, u64)>> = BTreeMap::new();
        let mut asked: BTreeSet<&str> = BTreeSet::new();
        for (place, uses) in &self.places {
            let protocols: BTreeSet<u8> = uses.keys().map(|(protocol, _)| *protocol).collect();
            for protocol in protocols {
                let of = uses.iter().filter(|((one, _), _)| *one == protocol);
                let ports: Ports = of.clone().map(|((_, port), _)| *port).collect();
                let count = of.map(|(_, count)| count).sum();
                let (host, text) = match place {
                    Place::Host(name) => {
                        asked.insert(name);
                        (true, name.clone())
                    }
                    Place::Addr(addr) => (false, addr.to_string()),
                };
                groups.entry((host, protocol, ports)).or_default().push((text, count));
            }
        }
        for ((host, protocol, ports), places) in groups {
            let (word, key) = if host { ("hosts", "host") } else { ("addresses", "to") };
            let named = protocol_word(protocol);
            let protocol = named.map_or_else(|| Protocol(protocol).to_string(), str::to_owned);
            let total: u64 = places.iter().map(|(_, count)| count).sum();
            // Port 0, which no rule can name, is covered by all of them.
            let all = ports.contains(&0);
            let known: Vec<u16> = ports.into_iter().filter(|_| !all).collect();
            let first = known.iter().take(3).map(u16::to_string).collect::<Vec<_>>().join("-");
            let why = match named {
                Some(_) => times(total),
                None => format!("{protocol}, which no rule can name: {}", times(total)),
            };
            out.rule(&format!("{word}-{protocol}-{first}"), &why);
            let only = named.map(|word| format!("protocol = {}, ", quoted(word)));
            // TOML 1.0 lets no inline table span lines, but for the arrays in it.
            out.line(&format!("net = {{ {}{key} = [", only.unwrap_or_default()));
            for (place, count) in places {
                out.line(&format!("  {},  # {}", quoted(&place), times(count)));
            }
            if known.is_empty() {
                out.line("] }");
            } else {
                let list = known.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
                out.line(&format!("], port = [{list}] }}"));
            }
        }
        let rest: Vec<(&String, &u64)> =
            self.lookups.iter().filter(|(name, _)| !asked.contains(name.as_str())).collect();
        if !rest.is_empty() {
            out.rule("names-looked-up", "asked for, and not connected to by this name");
            out.line("net = { host = [");
            for (name, count) in rest {
                out.line(&format!("  {},  # {}", quoted(name), times(*count)));
            }
            out.line("] }");
        }
    }
}

/// A text that grows by rules with ids of their own.
#[derive(Default)]
struct Text {
    text: String,
    ids: BTreeSet<String>,
}

impl Text {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}");
    }

    fn rule(&mut self, name: &str, why: &str) {
        let mut id = String::new();
        for c in name.chars().map(|c| c.to_ascii_lowercase()) {
            let kept = matches!(c, 'a'..='z' | '0'..='9' | '_' | '.');
            if kept && id.len() < 56 {
                id.push(c);
            } else if !id.ends_with('-') && id.len() < 56 {
                id.push('-');
            }
        }
        let id = id.trim_end_matches('-').to_owned();
        let free = (1..).map(|n| if n == 1 { id.clone() } else { format!("{id}-{n}") });
        let id = free.into_iter().find(|id| !self.ids.contains(id)).unwrap_or_default();
        let _ = write!(self.text, "\n[[allow]]\nid = {}\nwhy = {}\n", quoted(&id), quoted(why));
        self.ids.insert(id);
    }
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// The last part of a path.
fn last_part(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

/// A TOML basic string, without what a terminal would obey or hide.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if moves(c) => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn protocol_word(protocol: u8) -> Option<&'static str> {
    match protocol {
        6 => Some("tcp"),
        17 => Some("udp"),
        136 => Some("udplite"),
        _ => None,
    }
}

/// Whether a rule can name it.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    name.len() <= super::host::MAX_NAME
        && name.bytes().all(allowed)
        && name.split('.').all(|label| (1..=63).contains(&label.len()))
        && name.parse::<std::net::IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
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
        assert!(text.contains("why = \"icmp, which no rule can name: once\""), "{text}");
        assert!(
            text.contains("net = { to = [\n  \"192.0.2.7\",  # once\n], port = [9] }"),
            "{text}"
        );
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

    proptest! {
        #[test]
        fn whatever_is_recorded_makes_a_policy_that_allows_it(
            paths in prop::collection::vec("/[ -~üé\u{1}\u{7f}]{1,40}", 0..8),
            script in any::<bool>(),
            ports in prop::collection::vec(any::<u16>(), 0..8),
            names in prop::collection::vec("[a-z.-]{1,20}", 0..4),
        ) {
            let interpreter = script.then_some("/bin/sh");
            let mut all: Vec<Attempt> = ports.iter().map(|port| net("192.0.2.9", *port, None)).collect();
            all.extend(names.iter().map(|name| net("192.0.2.8", 443, Some(name))));
            all.extend(names.iter().map(|name| Attempt::Lookup(name.clone())));
            all.extend(paths.iter().map(|path| exec(path, path, interpreter)));
            let mut suggestion = Suggestion::default();
            for attempt in &all {
                suggestion.add(attempt, |_| true);
            }
            let text = suggestion.text();
            let policy = Policy::parse(&text);
            prop_assert!(policy.is_ok(), "{:?}\n{}", policy.err(), text);
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
}

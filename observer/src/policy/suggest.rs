//! The smallest readable allow-list that covers what a run did.
//!
//! Programs are named by their paths, a rule a directory; destinations by name where a resolver that
//! is believed gave one, else by address, a rule for each set of ports. Where several names share a
//! parent that is nobody else's, the parent stands for them. What was masked stands in no rule.

mod asked;
mod hosts;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use self::asked::{Asked, Places};
use self::hosts::{Group, Named, absorb, grouped};
use self::text::{Text, entry_line, quoted, times};
use super::MAX_PROGRAM;
use super::door::MAX_UNIX_NAME;
use super::judge::{Attempt, Program, base};
use super::recorded::is_masked;
use crate::model::{Door, Protocol, moves};

/// Attempts and how often each occurred.
#[derive(Clone, Debug, Default)]
pub struct Suggestion {
    programs: BTreeMap<ProgramName, u64>,
    places: Places,
    asked: Asked,
    lookups: BTreeMap<String, u64>,
    sockets: BTreeMap<String, u64>,
    unix: BTreeMap<(bool, String), u64>,
    doors: BTreeMap<Door, u64>,
    /// What no rule can name, with the reason.
    left: BTreeMap<(String, &'static str), u64>,
    /// Names that were denied: no suffix is to let them through.
    denied: BTreeSet<String>,
    /// Whether each name stands for itself.
    exact: bool,
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
                // What another resolver says can allow nothing.
                let known = names.iter().find(|known| known.trusted && is_name(&known.name));
                let place = known.map_or_else(
                    || Place::Addr(addr.to_canonical()),
                    |known| Place::Host(known.name.clone()),
                );
                if matches!(place, Place::Host(_)) {
                    self.asked.connected(*addr, *port);
                }
                *self.places.entry(place).or_default().entry((*protocol, *port)).or_default() += 1;
            }
            Attempt::Asked { addr, port, name } => self.asked.add(*addr, *port, name.as_deref()),
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

    /// Takes an attempt that was denied: no suffix will stand for names of which this is one.
    pub fn refuse(&mut self, attempt: &Attempt) {
        match attempt {
            Attempt::Net { names, .. } => {
                self.denied.extend(names.iter().map(|known| known.name.clone()));
            }
            Attempt::Named { name, .. }
            | Attempt::Lookup(name)
            | Attempt::Asked { name: Some(name), .. } => {
                self.denied.insert(name.clone());
            }
            _ => {}
        }
    }

    /// Has each name stand for itself, however many share a parent.
    pub fn name_each(&mut self) {
        self.exact = true;
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
        if program.runs_loader() {
            self.add_loaded(program, nameable);
        }
    }

    /// What a loader is given must be allowed beside it, as it is written.
    fn add_loaded(&mut self, loader: &Program, nameable: impl Fn(&[u8]) -> Option<String>) {
        let first = loader.argv.get(1).filter(|arg| !arg.starts_with(b"-"));
        let path = first.and_then(|arg| nameable(arg)).filter(|it| is_resolved(it));
        let is_name = |name: &String| !matches!(&**name, "." | "..");
        let name = || nameable(base(first?)).filter(is_name).map(ProgramName::Name);
        match path.map(ProgramName::Path).or_else(name) {
            Some(name) => *self.programs.entry(name).or_default() += 1,
            None => self.leave(
                &String::from_utf8_lossy(base(&loader.invoked)),
                "a dynamic loader whose first argument is no program that a rule can name",
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
        let mut asked: BTreeSet<String> = BTreeSet::new();
        for Group { host, protocol, unnamed, ports, entries } in self.groups() {
            let (word, key) = if host { ("hosts", "host") } else { ("addresses", "to") };
            let named = protocol_word(protocol);
            let words: Vec<String> =
                unnamed.into_iter().map(|protocol| Protocol(protocol).to_string()).collect();
            let protocol = named.map_or_else(|| words.join(", "), str::to_owned);
            let total: u64 = entries.iter().map(|entry| entry.count).sum();
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
            for entry in entries {
                out.line(&entry_line(&entry));
                asked.extend(entry.names);
                asked.insert(entry.text);
            }
            if known.is_empty() {
                out.line("] }");
            } else {
                let list = known.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
                out.line(&format!("], port = [{list}] }}"));
            }
        }
        let covered = |name: &String| {
            let below = name.match_indices('.').filter_map(|(dot, _)| name.get(dot..));
            asked.contains(name) || below.into_iter().any(|it| asked.contains(&format!("*{it}")))
        };
        let rest: Vec<(&String, &u64)> =
            self.lookups.iter().filter(|(name, _)| !covered(name)).collect();
        if !rest.is_empty() {
            out.rule("names-looked-up", "asked for, and not connected to by this name");
            out.line("net = { host = [");
            // One by one: a question alone carries data out, and many of one parent may be just that.
            for (name, count) in rest {
                out.line(&format!("  {},  # {}", quoted(name), times(*count)));
            }
            out.line("] }");
        }
    }

    /// Places with the same ports of one protocol share a rule. Protocols that no rule can name are one,
    /// and stand last: what covers them has no protocol, and leaves those before it their word.
    fn groups(&self) -> Vec<Group> {
        type Key = (bool, bool, u8, BTreeSet<u16>);
        type Places = (BTreeSet<u8>, Vec<(String, u64)>);
        let mut found: BTreeMap<Key, Places> = BTreeMap::new();
        let known = |protocol: u8| protocol_word(protocol).map_or(UNNAMED, |_| protocol);
        let mut places = self.places.clone();
        self.asked.complete(&mut places);
        for (place, uses) in &places {
            let protocols: BTreeSet<u8> = uses.keys().map(|(one, _)| known(*one)).collect();
            for protocol in protocols {
                let of = uses.iter().filter(|((one, _), _)| known(*one) == protocol);
                let ports = of.clone().map(|((_, port), _)| *port).collect();
                let count = of.clone().map(|(_, count)| count).sum();
                let (host, text) = match place {
                    Place::Host(name) => (true, name.clone()),
                    Place::Addr(addr) => (false, addr.to_string()),
                };
                let key = (protocol == UNNAMED, host, protocol, ports);
                let (unnamed, places) = found.entry(key).or_default();
                unnamed.extend(of.map(|((one, _), _)| *one).filter(|_| protocol == UNNAMED));
                places.push((text, count));
            }
        }
        let groups = found.into_iter().map(|((_, host, protocol, ports), (unnamed, places))| {
            // A suffix for each port there is would open more than was done.
            let joins = host && !self.exact && protocol != UNNAMED && !ports.contains(&0);
            let alone = |(text, count)| Named { text, count, names: vec![] };
            let entries = match joins {
                true => grouped(places, &self.denied),
                false => places.into_iter().map(alone).collect(),
            };
            Group { host, protocol, unnamed, ports, entries }
        });
        let mut groups = groups.collect();
        absorb(&mut groups);
        groups
    }
}

/// Stands for each protocol that no rule can name.
const UNNAMED: u8 = 0;

/// Whether a path is written as the kernel resolves one.
fn is_resolved(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some("") && parts.all(|part| !matches!(part, "" | "." | ".."))
}

/// The last part of a path.
fn last_part(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
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

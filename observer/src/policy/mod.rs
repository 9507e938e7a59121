//! The policy: a language, its meaning, and its compiler to kernel tables.
//!
//! Pure: it reads no file and asks no clock. Whatever can't be enforced is an error here, never a
//! rule that silently does nothing. A [`Policy`] is checked and compiled already: only
//! [`Policy::parse`] makes one, so nothing about it can fail later.

mod answers;
pub mod compile;
mod decide;
mod door;
pub mod host;
mod judge;
mod known;
mod lint;
mod loader;
mod parse;
mod problem;
mod recorded;
mod rule;
mod suggest;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;

pub use answers::Answers;
pub use compile::{Decision, Tables, Unhashed};
pub use door::{MAX_UNIX, UnixKey, UnixPeer};
pub use judge::{Attempt, Judgement, Program};
pub use known::Known;
pub use parse::PRESETS;
pub use problem::Problem;
pub use recorded::{Recorded, recorded};
use rule::{Class, Rule, Scope};
pub use suggest::Suggestion;

/// The most bytes that a policy's text may have.
pub const MAX_TEXT: usize = 32 << 20;
/// The most bytes that a program's name or path may have.
pub const MAX_PROGRAM: usize = 240;
/// The most bytes that a rule's argument may have.
pub const MAX_ARG: usize = 126;
/// The most different arguments that the rules of one program may name.
pub const MAX_ARGS: usize = 64;
/// The most rules with arguments that may apply to one program.
pub const MAX_GROUP_RULES: usize = 16;
/// The most programs that a policy may name.
pub const MAX_PROGRAMS: usize = 100_000;
/// The most prefixes that a policy may name.
pub const MAX_PREFIXES: usize = 1_000_000;
/// The most names that a policy may name.
pub const MAX_NAMES: usize = 1_000_000;
/// The most entries in [`Tables::ports`].
pub const MAX_PORT_ENTRIES: usize = 200_000;
/// The most rules in all sets together, each counted once for each range of its ports.
pub const MAX_SET_RULES: usize = 2_000_000;

/// A policy, checked and compiled.
#[derive(Clone, Debug)]
pub struct Policy {
    default_deny: bool,
    enforce: bool,
    resolvers: Vec<IpAddr>,
    rules: Vec<Rule>,
    notes: Vec<Problem>,
    tables: Tables,
}

impl Policy {
    /// Reads a policy's text, or says everything that is wrong with it, in the text's order.
    ///
    /// What needs more room than the tables have is found last, once the text is right.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let parse::Parsed { default_deny, enforce, resolvers, rules, notes } = parse::parse(text)?;
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest.as_ref());
        let tables = compile::compile(sha256, default_deny, !enforce, &rules)
            .map_err(|found| vec![found])?;
        Ok(Self { default_deny, enforce, resolvers, rules, notes, tables })
    }

    /// The rules' ids, by index.
    pub fn ids(&self) -> Vec<String> {
        self.rules.iter().map(|rule| rule.id.clone()).collect()
    }

    /// The tables for the kernel.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The tables for the kernel, as the caller's own.
    pub fn compile(&self) -> Tables {
        self.tables.clone()
    }

    /// The resolvers whose answers bind names, beside the host's own.
    pub fn resolvers(&self) -> &[IpAddr] {
        &self.resolvers
    }

    /// What is worth saying about a policy that is right: rules that can never decide, and
    /// prefixes that were normalised. In the text's order.
    pub fn warnings(&self) -> Vec<Problem> {
        let mut found = lint::lint(self);
        found.extend(self.notes.iter().cloned());
        found.sort_by_key(|problem| (problem.line, problem.column));
        found
    }

    /// The absolute paths that rules name, each with its rule's id and line and column, for
    /// whoever can ask a file system what they resolve to.
    pub fn paths(&self) -> impl Iterator<Item = (&str, (u32, u32), &[u8])> {
        self.rules.iter().flat_map(|rule| {
            let (programs, sockets) = match &rule.scope {
                Scope::Exec(exec) => (exec.programs.as_slice(), &[][..]),
                Scope::Unix(unix) => (&[][..], unix.keys.as_slice()),
                Scope::Net(_) | Scope::System(_) => (&[][..], &[][..]),
            };
            let programs = programs.iter().filter_map(|program| match program {
                compile::ProgramKey::Path(path) => Some(path.as_slice()),
                _ => None,
            });
            let sockets = sockets.iter().filter_map(|key| match key {
                UnixKey::Path(path) | UnixKey::Below(path) => Some(path.as_slice()),
                _ => None,
            });
            programs.chain(sockets).map(|path| (rule.id.as_str(), rule.place, path))
        })
    }

    /// The rules that deny what only hooks of the kernel's security modules can hold, each with its
    /// id, line and column.
    pub fn doors(&self) -> impl Iterator<Item = (&str, (u32, u32))> {
        let doors = |rule: &&Rule| matches!(rule.scope, Scope::Unix(_) | Scope::System(_));
        let denies = |rule: &&Rule| rule.deny;
        self.rules.iter().filter(doors).filter(denies).map(|rule| (rule.id.as_str(), rule.place))
    }

    /// The policy in numbers.
    pub fn summary(&self) -> Summary {
        let count =
            |wanted: fn(&Rule) -> bool| self.rules.iter().filter(|rule| wanted(rule)).count();
        Summary {
            sha256: hex(&self.tables.sha256),
            default_deny: self.default_deny,
            enforce: self.enforce,
            would: count(|rule| rule.class() == Class::Would),
            deny: count(|rule| rule.deny),
            allow: count(|rule| !rule.deny),
            net: count(|rule| matches!(rule.scope, Scope::Net(_))),
            exec: count(|rule| matches!(rule.scope, Scope::Exec(_))),
            unix: count(|rule| matches!(rule.scope, Scope::Unix(_))),
            system: count(|rule| matches!(rule.scope, Scope::System(_))),
            prefixes: self.tables.prefixes.len(),
            names: self.tables.names.len(),
            ports: self.tables.ports.len(),
            programs: self.tables.programs.len(),
            args: self.tables.args.len(),
        }
    }
}

/// A policy in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// SHA-256 of the text, in hex, as records name the policy.
    pub sha256: String,
    /// Whether what no rule matches is denied.
    pub default_deny: bool,
    /// Whether denials are held; else they are recorded, and the calls go on.
    pub enforce: bool,
    /// How many of the rules that deny are only recorded.
    pub would: usize,
    /// How many rules deny.
    pub deny: usize,
    /// How many rules allow.
    pub allow: usize,
    /// How many rules are about destinations.
    pub net: usize,
    /// How many rules are about programs.
    pub exec: usize,
    /// How many rules are about unix sockets.
    pub unix: usize,
    /// How many rules are about doors of the system.
    pub system: usize,
    /// How many entries the kernel's table of prefixes has.
    pub prefixes: usize,
    /// How many entries the kernel's table of names has.
    pub names: usize,
    /// How many entries the kernel's table of ports has.
    pub ports: usize,
    /// How many entries the kernel's table of programs has.
    pub programs: usize,
    /// How many entries the kernel's table of arguments has.
    pub args: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = if self.default_deny { "deny" } else { "allow" };
        let Self { deny, allow, net, exec, prefixes, ports, programs, args, sha256, .. } = self;
        let names = self.names;
        let more: String = [(self.unix, "unix"), (self.system, "system")]
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!(", {count} {what}"))
            .collect();
        writeln!(f, "{deny} deny, {allow} allow, default {default}; {net} net, {exec} exec{more}")?;
        match (self.enforce, self.would) {
            (true, 0) => {}
            (true, would) => writeln!(f, "not enforced, only recorded: {would} of the deny rules")?,
            (false, _) => writeln!(f, "not enforced: denials are only recorded")?,
        }
        write!(
            f,
            "tables: {prefixes} prefixes, {names} names, {ports} ports, {programs} programs, {args} args"
        )?;
        write!(f, "\nsha256: {sha256}")
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

//! What a policy says of one attempt, and which of its rules had a word: for `explain` and `replay`.
//!
//! The rules themselves are asked, not the tables; tests hold that both agree.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use observer_common::UNHASHED;

use super::compile::{Decision, RAW, Unhashed};
use super::door::UnixPeer;
use super::known::{Known, named, speaker};
use super::rule::{Class, Rule, Scope};
use super::{Policy, loader};
use crate::model::Door;

const TCP: u8 = 6;

/// An attempt, as far as rules can tell it from others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attempt {
    /// A program.
    Exec(Program),
    /// A destination.
    Net {
        /// Where to.
        addr: IpAddr,
        /// The IP protocol.
        protocol: u8,
        /// The port.
        port: u16,
        /// The names that it is known by.
        names: Vec<Known>,
    },
    /// A destination of which only a name is known, lower-case, without a dot at the end.
    Named {
        /// The name.
        name: String,
        /// The IP protocol.
        protocol: u8,
        /// The port.
        port: u16,
    },
    /// What a TCP connection asks for once it is open: in its TLS hello, or in a request.
    Asked {
        /// Where it leads.
        addr: IpAddr,
        /// The port.
        port: u16,
        /// The name, lower-case, without a dot at the end; none where it names none.
        name: Option<String>,
    },
    /// A question for a name.
    Lookup(String),
    /// A socket that destination rules can't hold, by what it is.
    Socket(String),
    /// A unix socket, by its path.
    UnixPath(Vec<u8>),
    /// A unix socket, by its abstract name.
    UnixName(Vec<u8>),
    /// A system call that reaches past the run.
    System(Door),
}

/// A program that was to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Program {
    /// The file's path: for a script, its own.
    pub path: Vec<u8>,
    /// The file as it was named.
    pub invoked: Vec<u8>,
    /// The interpreter's path, where it is a script.
    pub interpreter: Option<Vec<u8>>,
    /// The file's SHA-256, where it is known.
    pub sha256: Option<[u8; 32]>,
    /// The interpreter's.
    pub interpreter_sha256: Option<[u8; 32]>,
    /// The arguments, from `argv[0]`.
    pub argv: Vec<Vec<u8>>,
}

impl Program {
    /// Whether it ends in a dynamic loader, which runs what it is given.
    pub fn runs_loader(&self) -> bool {
        loader::runs(self)
    }
}

/// What a policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What is decided.
    pub decision: Decision,
    /// Whether the call is stopped.
    pub denied: bool,
    /// Whether it would be, if what decides were enforced.
    pub would: bool,
    /// The rules that match, by index, in the file's order.
    pub matching: Vec<u32>,
}

impl Policy {
    /// Judges an attempt.
    pub fn judge(&self, attempt: &Attempt) -> Judgement {
        let matches = matcher(&self.rules, attempt);
        let loader = loaded(attempt);
        let matching: Vec<u32> = (0..)
            .zip(&self.rules)
            .filter(|(_, rule)| matches(rule) || loader.is_some_and(|it| loads(rule, it)))
            .map(|(index, _)| index)
            .collect();
        let decision = match attempt {
            Attempt::Socket(_) => self.decide_raw(),
            Attempt::Lookup(_) | Attempt::Asked { .. } if !self.reads_names() => {
                Decision::DefaultAllow
            }
            Attempt::Asked { addr, port, name } => {
                self.decide_asked(routed(*addr), *port, name.as_deref())
            }
            _ => self.decide(matches),
        };
        let decision = match loader {
            // Both must be allowed, and what denies either denies both.
            Some(loader) if !decision.denies() => self.decide_loaded(loader, matches),
            _ => decision,
        };
        let denies = decision.denies();
        let would = matches!(decision, Decision::Would { .. }) || denies && !self.enforce;
        Judgement { decision, denied: denies && self.enforce, would, matching }
    }

    /// Decides what a connection asks for: a name that is denied is so anywhere, and what the address
    /// allows by itself needs no name (observer-ebpf, named.rs).
    fn decide_asked(&self, addr: IpAddr, port: u16, name: Option<&str>) -> Decision {
        let address = self.decide_net(addr, TCP, port);
        let by_name = self.decide_under(address.denies(), |rule| match (&rule.scope, name) {
            (Scope::Net(net), Some(name)) => net.matches_name(name.as_bytes(), TCP, port),
            _ => false,
        });
        let counts = address.denies() || by_name.denies();
        if counts || matches!(by_name, Decision::Would { .. }) { by_name } else { address }
    }

    /// Decides what a loader is given; `matches` says which rules mean the loader itself.
    fn decide_loaded(&self, loader: &Program, matches: impl Fn(&Rule) -> bool) -> Decision {
        let default_deny = self.default_deny || loader::is_unread(&loader.argv);
        let found = self.decide_under(default_deny, |rule| {
            rule.class() != Class::Allow && matches(rule) || loads(rule, loader)
        });
        // No exec tells of the file that it opens, so its hash is not known.
        match (self.tables.unhashed, found) {
            (_, Decision::Deny(_)) => found,
            (Unhashed::Denied, _) => Decision::Deny(UNHASHED),
            (Unhashed::Would, Decision::Allow(_)) => {
                Decision::Would { rule: UNHASHED, allowed: true }
            }
            (Unhashed::Would, Decision::DefaultAllow) => {
                Decision::Would { rule: UNHASHED, allowed: false }
            }
            _ => found,
        }
    }

    /// The id of a rule; none for an index that there isn't.
    pub fn id(&self, index: u32) -> Option<&str> {
        match index {
            UNHASHED => Some("unhashed-program"),
            _ => self.rules.get(index as usize).map(|rule| rule.id.as_str()),
        }
    }

    /// A rule's line, its reason, and a word for what it does.
    pub fn rule(&self, index: u32) -> Option<(u32, Option<&str>, &'static str)> {
        let rule = self.rules.get(index as usize)?;
        let class = match rule.class() {
            Class::Deny => "deny",
            Class::Would => "deny, not enforced",
            Class::Allow => "allow",
        };
        Some((rule.place.0, rule.why.as_deref(), class))
    }

    /// Whether rules ask for the hashes of files.
    pub fn reads_hashes(&self) -> bool {
        self.tables.unhashed != Unhashed::Unasked
    }

    /// Whether rules ask for arguments.
    pub fn reads_arguments(&self) -> bool {
        let asks = |rule: &Rule| matches!(&rule.scope, Scope::Exec(exec) if !exec.args.is_empty());
        self.rules.iter().any(asks)
    }

    /// Whether rules ask for addresses.
    pub fn reads_addresses(&self) -> bool {
        let asks = |rule: &Rule| matches!(&rule.scope, Scope::Net(net) if net.to.is_some());
        self.rules.iter().any(asks)
    }

    /// Whether rules ask for names.
    pub fn reads_names(&self) -> bool {
        let names = |rule: &Rule| matches!(&rule.scope, Scope::Net(net) if !net.hosts.is_empty());
        self.rules.iter().any(names)
    }
}

/// The loader that an exec ends in.
fn loaded(attempt: &Attempt) -> Option<&Program> {
    match attempt {
        Attempt::Exec(program) => Some(program).filter(|program| loader::runs(program)),
        _ => None,
    }
}

/// Whether a rule speaks of what a loader is given.
fn loads(rule: &Rule, loader: &Program) -> bool {
    matches!(&rule.scope, Scope::Exec(scope) if loader::names(rule, scope, &loader.argv))
}

/// What asks a rule whether an attempt is meant.
fn matcher<'a>(rules: &[Rule], attempt: &'a Attempt) -> impl Fn(&Rule) -> bool + Copy + 'a {
    let known = match attempt {
        Attempt::Net { addr, protocol, port, names } => {
            let addr = routed(*addr);
            // Where a rule denies the address no name is asked.
            let denied = rules.iter().any(|rule| match &rule.scope {
                Scope::Net(net) => {
                    rule.class() == Class::Deny && net.matches(addr, *protocol, *port)
                }
                _ => false,
            });
            if denied { None } else { speaker(rules, names, *protocol, *port) }
        }
        _ => None,
    };
    move |rule| matches(rule, attempt, known)
}

/// `known` is the name that decides, of those that a destination has.
fn matches(rule: &Rule, attempt: &Attempt, known: Option<&Known>) -> bool {
    match (&rule.scope, attempt) {
        (Scope::Exec(scope), Attempt::Exec(program)) => {
            let argv: Vec<&[u8]> = program.argv.iter().map(Vec::as_slice).collect();
            let own = [base(&program.path), base(&program.invoked)];
            let hash = program.sha256.as_slice();
            let by_itself = scope.matches(&[&program.path], &own, hash, &argv);
            // An interpreter can have its script denied, and never allowed.
            let by_interpreter = rule.deny
                && program.interpreter.as_ref().is_some_and(|path| {
                    let hash = program.interpreter_sha256.as_slice();
                    scope.matches(&[path], &[base(path)], hash, &argv)
                });
            by_itself || by_interpreter
        }
        (Scope::Net(net), Attempt::Net { addr, protocol, port, .. }) => {
            net.matches(routed(*addr), *protocol, *port)
                || named(rule, net, known, *protocol, *port)
        }
        (Scope::Net(net), Attempt::Named { name, protocol, port }) => {
            net.matches_wherever(*protocol, *port)
                || net.matches_name(name.as_bytes(), *protocol, *port)
        }
        (Scope::Net(net), Attempt::Asked { addr, port, name }) => {
            let named = |name: &String| net.matches_name(name.as_bytes(), TCP, *port);
            net.matches(routed(*addr), TCP, *port) || name.as_ref().is_some_and(named)
        }
        (Scope::Net(net), Attempt::Lookup(name)) => {
            net.hosts.iter().any(|host| host.contains(name.as_bytes()))
                && (rule.class() == Class::Allow || net.unconditional())
        }
        (Scope::Net(net), Attempt::Socket(_)) => net.is_anywhere() && net.matches_protocol(RAW),
        (Scope::Unix(scope), Attempt::UnixPath(path)) => scope.matches(UnixPeer::Path(path)),
        (Scope::Unix(scope), Attempt::UnixName(name)) => scope.matches(UnixPeer::Abstract(name)),
        (Scope::System(scope), Attempt::System(door)) => scope.doors.contains(door),
        _ => false,
    }
}

/// The last part of a path.
pub(super) fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// Where an address leads: 0.0.0.0 and :: are this host.
fn routed(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V4(addr) if addr.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(addr) if addr.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        addr => addr,
    }
}

//! What rules mean, straight from the rules: deny over allow over default. Whether the policy as a
//! whole is enforced is not asked here: a decision is what it would be.

use std::net::IpAddr;

use super::Policy;
use super::compile::{Decision, RAW};
use super::door::UnixPeer;
use super::rule::{Class, Rule, Scope};
use crate::model::Door;

impl Policy {
    /// Decides a destination. A v4-mapped address is its IPv4 address.
    pub fn decide_net(&self, addr: IpAddr, protocol: u8, port: u16) -> Decision {
        self.decide(|rule| match &rule.scope {
            Scope::Net(net) => net.matches(addr, protocol, port),
            _ => false,
        })
    }

    /// Decides a destination by a name of its own, lower-case and without a dot at its end: what
    /// the rules about names say, and the default where they say nothing.
    pub fn decide_name(&self, name: &[u8], protocol: u8, port: u16) -> Decision {
        self.decide(|rule| match &rule.scope {
            Scope::Net(net) => net.matches_name(name, protocol, port),
            _ => false,
        })
    }

    /// Decides a question for a name: denied where each port of it is, allowed where any may be.
    pub fn decide_lookup(&self, name: &[u8]) -> Decision {
        self.decide(|rule| match &rule.scope {
            Scope::Net(net) => {
                net.hosts.iter().any(|host| host.contains(name))
                    && (rule.class() == Class::Allow || net.unconditional())
            }
            _ => false,
        })
    }

    /// Decides the opening of a socket that destination rules can't hold, by the rules that ask
    /// for neither address nor port. Where none matches, having rules on destinations denies.
    pub fn decide_raw(&self) -> Decision {
        let decision = self.decide(|rule| match &rule.scope {
            Scope::Net(net) => net.is_anywhere() && net.matches_protocol(RAW),
            _ => false,
        });
        let ruled =
            |rule: &Rule| matches!(rule.scope, Scope::Net(_)) && rule.class() != Class::Would;
        match decision {
            Decision::DefaultAllow | Decision::Would { allowed: false, .. }
                if self.rules.iter().any(ruled) =>
            {
                Decision::DefaultDeny
            }
            other => other,
        }
    }

    /// Decides an execution. `paths` are the file's, resolved, and for a script its interpreter's
    /// too; `names` are their base names and the base name as invoked; `hashes` are those of the
    /// files; `argv` begins with `argv[0]`, which no rule reads.
    pub fn decide_exec(
        &self,
        paths: &[&[u8]],
        names: &[&[u8]],
        hashes: &[[u8; 32]],
        argv: &[&[u8]],
    ) -> Decision {
        self.decide(|rule| match &rule.scope {
            Scope::Exec(exec) => exec.matches(paths, names, hashes, argv),
            _ => false,
        })
    }

    /// Decides a unix socket, by what its server bound.
    pub fn decide_unix(&self, peer: UnixPeer<'_>) -> Decision {
        self.decide(|rule| match &rule.scope {
            Scope::Unix(unix) => unix.matches(peer),
            _ => false,
        })
    }

    /// Decides a system call that reaches past the run.
    pub fn decide_system(&self, door: Door) -> Decision {
        self.decide(|rule| match &rule.scope {
            Scope::System(system) => system.doors.contains(&door),
            _ => false,
        })
    }

    pub(super) fn decide(&self, matches: impl Fn(&Rule) -> bool) -> Decision {
        self.decide_under(self.default_deny, matches)
    }

    /// The same under another default.
    pub(super) fn decide_under(
        &self,
        default_deny: bool,
        matches: impl Fn(&Rule) -> bool,
    ) -> Decision {
        let first = |class: Class| {
            let mut numbered = (0u32..).zip(&self.rules);
            numbered
                .find(|(_, rule)| rule.class() == class && matches(rule))
                .map(|(index, _)| index)
        };
        let allow = first(Class::Allow);
        match (first(Class::Deny), first(Class::Would)) {
            (Some(rule), _) => Decision::Deny(rule),
            (None, Some(rule)) if allow.is_some() || !default_deny => {
                Decision::Would { rule, allowed: allow.is_some() }
            }
            _ => match allow {
                Some(rule) => Decision::Allow(rule),
                None if default_deny => Decision::DefaultDeny,
                None => Decision::DefaultAllow,
            },
        }
    }
}

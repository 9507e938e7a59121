//! What rules mean, straight from the rules: deny over allow over default.

use std::net::IpAddr;

use super::Policy;
use super::compile::{Decision, RAW};
use super::rule::{Rule, Scope};

impl Policy {
    /// Decides a destination. A v4-mapped address is its IPv4 address.
    pub fn decide_net(&self, addr: IpAddr, protocol: u8, port: u16) -> Decision {
        self.decide(|rule| match &rule.scope {
            Scope::Net(net) => net.matches(addr, protocol, port),
            Scope::Exec(_) => false,
        })
    }

    /// Decides a destination by a name of its own, lower-case and without a dot at its end: what
    /// the rules about names say, and the default where they say nothing.
    pub fn decide_name(&self, name: &[u8], protocol: u8, port: u16) -> Decision {
        self.decide(|rule| match &rule.scope {
            Scope::Net(net) => net.matches_name(name, protocol, port),
            Scope::Exec(_) => false,
        })
    }

    /// Decides the opening of a socket that destination rules can't hold, by the rules that ask
    /// for neither address nor port. Where none matches, having rules on destinations denies.
    pub fn decide_raw(&self) -> Decision {
        let decision = self.decide(|rule| match &rule.scope {
            Scope::Net(net) => net.is_anywhere() && net.matches_protocol(RAW),
            Scope::Exec(_) => false,
        });
        let ruled = self.rules.iter().any(|rule| matches!(rule.scope, Scope::Net(_)));
        match decision {
            Decision::DefaultAllow if ruled => Decision::DefaultDeny,
            other => other,
        }
    }

    /// Decides an execution. `paths` are the file's, resolved, and for a script its interpreter's
    /// too; `names` are their base names and the base name as invoked; `argv` begins with
    /// `argv[0]`, which no rule reads.
    pub fn decide_exec(&self, paths: &[&[u8]], names: &[&[u8]], argv: &[&[u8]]) -> Decision {
        self.decide(|rule| match &rule.scope {
            Scope::Exec(exec) => exec.matches(paths, names, argv),
            Scope::Net(_) => false,
        })
    }

    fn decide(&self, matches: impl Fn(&Rule) -> bool) -> Decision {
        let first = |deny: bool| {
            let mut numbered = (0u32..).zip(&self.rules);
            numbered.find(|(_, rule)| rule.deny == deny && matches(rule)).map(|(index, _)| index)
        };
        match (first(true), first(false)) {
            (Some(rule), _) => Decision::Deny(rule),
            (None, Some(rule)) => Decision::Allow(rule),
            (None, None) if self.default_deny => Decision::DefaultDeny,
            (None, None) => Decision::DefaultAllow,
        }
    }
}

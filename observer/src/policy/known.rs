//! The names that an address is known by, and which of them has a word: as the kernel weighs them
//! (observer-ebpf, bind.rs).

use super::rule::{Class, NetScope, Rule, Scope};

/// A name that led to an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Known {
    /// What was asked for: lower-case, without a dot at the end.
    pub name: String,
    /// What it led over (CNAME), written alike. An alias denies, and allows nothing.
    pub aliases: Vec<String>,
    /// Whether the answer came from a resolver that is believed; any other can only deny.
    pub trusted: bool,
}

impl Known {
    /// A name by itself, from a resolver that is believed.
    pub fn plain(name: impl Into<String>) -> Self {
        Self { name: name.into(), aliases: vec![], trusted: true }
    }

    fn matches(&self, rule: &Rule, net: &NetScope, protocol: u8, port: u16) -> bool {
        let named = |name: &String| net.matches_name(name.as_bytes(), protocol, port);
        named(&self.name) || rule.class() != Class::Allow && self.aliases.iter().any(named)
    }
}

/// The name that decides: one that a rule allows, else none where there is one of which no rule
/// speaks, else one that is denied. So a shared address is denied where each of its names is.
pub(super) fn speaker<'n>(
    rules: &[Rule],
    names: &'n [Known],
    protocol: u8,
    port: u16,
) -> Option<&'n Known> {
    let (mut would, mut denied, mut silent) = (None, None, false);
    for known in names {
        let says = |class: Class| {
            rules.iter().any(|rule| match &rule.scope {
                Scope::Net(net) => {
                    rule.class() == class && known.matches(rule, net, protocol, port)
                }
                _ => false,
            })
        };
        if says(Class::Deny) {
            denied = denied.or(Some(known));
        } else if !known.trusted {
            // What the run may have said itself.
        } else if says(Class::Allow) {
            return Some(known);
        } else if says(Class::Would) {
            would = would.or(Some(known));
        } else {
            silent = true;
        }
    }
    if silent { None } else { would.or(denied) }
}

/// Whether a rule is about a destination by the name that decides there.
pub(super) fn named(
    rule: &Rule,
    net: &NetScope,
    speaker: Option<&Known>,
    protocol: u8,
    port: u16,
) -> bool {
    speaker.is_some_and(|known| known.matches(rule, net, protocol, port))
}

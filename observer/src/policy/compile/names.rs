//! Names: closes each over the suffixes that contain it, as prefixes of addresses are.
//!
//! A question names no port. It is denied where every port is; and allowed where any may be.

use std::collections::{BTreeMap, BTreeSet};

use super::net::{Sets, scope, scopes};
use super::{ANY_PROTOCOL, Decision, Excess, LOOKUP, Name, PortEntry, first};
use crate::policy::host::key;
use crate::policy::rule::{Class, Rule};

use crate::policy::MAX_NAMES;
use crate::policy::problem::finding;

/// What rules say of one name: of itself, and of those below.
#[derive(Default)]
struct Word {
    exact: Vec<usize>,
    below: Vec<usize>,
}

/// Compiles the rules about names; their sets join those of addresses.
pub(super) fn table(
    rules: &[Rule],
    sets: &mut Sets<'_>,
) -> Result<(Vec<Name>, Vec<PortEntry>), Excess> {
    let mut lookups: BTreeMap<u32, Decision> = BTreeMap::new();
    let mut words: BTreeMap<Vec<u8>, Word> = BTreeMap::new();
    for (index, scope) in scopes(rules) {
        for host in &scope.hosts {
            let word = words.entry(key(host.name.as_bytes())).or_default();
            if host.below { word.below.push(index) } else { word.exact.push(index) }
        }
        if words.len() > MAX_NAMES {
            let message = format!("the policy names more than {MAX_NAMES} hosts");
            let help = "join names below one suffix into `*.suffix`";
            return Err(Excess { rule: index, found: finding(message, help) });
        }
    }
    let mut names = Vec::with_capacity(words.len());
    // The chain of suffixes around the name at hand, the shortest first, each with the rules of
    // the names below it.
    let mut outer: Vec<(Vec<u8>, Vec<usize>)> = Vec::new();
    for (key, word) in words {
        while outer.last().is_some_and(|(last, _)| !key.starts_with(last)) {
            outer.pop();
        }
        let around = outer.last().map(|(_, rules)| rules.as_slice()).unwrap_or_default();
        let join = |own: &[usize]| -> Vec<usize> {
            let all: BTreeSet<usize> = around.iter().chain(own).copied().collect();
            all.into_iter().collect()
        };
        let (exact, below) = (join(&word.exact), join(&word.below));
        let denies = |set: &[usize]| {
            set.iter()
                .any(|index| rules.get(*index).is_some_and(|rule| rule.class() != Class::Allow))
        };
        let mut numbered = |set: &[usize]| match set {
            [] => Ok(0),
            _ => sets.number(&[], set).map(|(number, _)| {
                if let Some(decision) = lookup(rules, set) {
                    lookups.insert(number, decision);
                }
                number
            }),
        };
        names.push(Name {
            exact: numbered(&exact)?,
            below: numbered(&below)?,
            exact_denies: denies(&exact),
            below_denies: denies(&below),
            key: key.clone(),
        });
        outer.push((key, below));
    }
    let entry = |(set, decision)| PortEntry { set, protocol: ANY_PROTOCOL, port: LOOKUP, decision };
    Ok((names, lookups.into_iter().map(entry).collect()))
}

/// What a set decides on a question.
fn lookup(rules: &[Rule], set: &[usize]) -> Option<Decision> {
    let says = |index: &usize| {
        scope(rules, *index)
            .is_some_and(|(rule, net)| rule.class() == Class::Allow || net.unconditional())
    };
    first(rules, set.iter().copied().filter(says))
}

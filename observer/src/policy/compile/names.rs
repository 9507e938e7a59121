//! Names: closes each over the suffixes that contain it, as prefixes of addresses are.

use std::collections::{BTreeMap, BTreeSet};

use super::net::{Sets, scopes};
use super::{Excess, Name};
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
pub(super) fn table(rules: &[Rule], sets: &mut Sets<'_>) -> Result<Vec<Name>, Excess> {
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
                .any(|index| rules.get(*index).is_some_and(|rule| rule.class() == Class::Deny))
        };
        let mut numbered = |set: &[usize]| match set {
            [] => Ok(0),
            _ => sets.number(&[], set).map(|(number, _)| number),
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
    Ok(names)
}

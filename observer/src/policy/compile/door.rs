//! Doors: settles each name of a unix socket, and each door of the system.

use std::collections::BTreeMap;

use super::{Decision, Excess, first};
use crate::model::Door;
use crate::policy::door::{MAX_UNIX, MAX_UNIX_PREFIXES, UnixKey};
use crate::policy::problem::finding;
use crate::policy::rule::{Rule, Scope};

/// A name of unix sockets, and what the rules that give it decide. A name's beginning is closed
/// over the shorter ones: the look-up returns the longest alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixEntry {
    /// What is looked up.
    pub key: UnixKey,
    /// Without the default: the kernel joins what several look-ups find.
    pub decision: Decision,
}

/// Compiles the rules about unix sockets.
pub(super) fn unix(rules: &[Rule]) -> Result<Vec<UnixEntry>, Excess> {
    let mut keys: BTreeMap<&UnixKey, Vec<usize>> = BTreeMap::new();
    for (index, rule) in rules.iter().enumerate() {
        let Scope::Unix(scope) = &rule.scope else { continue };
        for key in &scope.keys {
            keys.entry(key).or_default().push(index);
        }
        let starts = keys.keys().filter(|key| key.is_start()).count();
        if keys.len() > MAX_UNIX || starts > MAX_UNIX_PREFIXES {
            let message = format!(
                "the policy names more than {MAX_UNIX} unix sockets, or {MAX_UNIX_PREFIXES} that \
                 end with a star"
            );
            let found = finding(message, "name directories, or shorter beginnings");
            return Err(Excess { rule: index, found });
        }
    }
    let starts: Vec<(&UnixKey, &Vec<usize>)> =
        keys.iter().filter(|(key, _)| key.is_start()).map(|(key, by)| (*key, by)).collect();
    let entries = keys.iter().filter_map(|(key, by)| {
        let around = starts.iter().filter(|(wider, _)| key.begins_with(wider));
        let all = around.flat_map(|(_, by)| by.iter()).chain(by);
        let decision = first(rules, all.copied())?;
        Some(UnixEntry { key: (*key).clone(), decision })
    });
    Ok(entries.collect())
}

/// Compiles the rules about doors of the system: a decision each, without the default.
pub(super) fn system(rules: &[Rule]) -> Vec<(Door, Decision)> {
    let each = Door::ALL.into_iter().filter_map(|door| {
        let about = rules.iter().enumerate().filter_map(|(index, rule)| match &rule.scope {
            Scope::System(scope) => scope.doors.contains(&door).then_some(index),
            _ => None,
        });
        Some((door, first(rules, about)?))
    });
    each.collect()
}

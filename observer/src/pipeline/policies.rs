//! The policies of a run, by generation: what events were decided by, which come a little later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Policies that are remembered: far more than events can be late.
const KEPT: usize = 64;
/// The low bits of a generation that events carry.
const BITS: u32 = 0xffff;

/// A policy, as records name it.
#[derive(Clone, Debug, Default)]
struct Known {
    /// SHA-256 of its text, in hex; none where there is no policy.
    sha256: Option<String>,
    /// Its rules' ids, by index.
    rules: Arc<[String]>,
}

/// The policies of a run, shared by who loads them and who reads events.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    known: Arc<Mutex<BTreeMap<u32, Known>>>,
}

impl Policies {
    /// Remembers a policy, before its first event can come.
    pub fn add(&self, generation: u32, sha256: Option<String>, rules: Vec<String>) {
        let mut known = self.lock();
        known.insert(generation, Known { sha256, rules: rules.into() });
        while known.len() > KEPT {
            known.pop_first();
        }
    }

    /// Forgets one that did not come to decide.
    pub fn remove(&self, generation: u32) {
        self.lock().remove(&generation);
    }

    /// The id of a rule of a generation, by its low bits; 0 for the newest.
    pub fn rule(&self, generation: u32, index: u32) -> String {
        let found = self.of(generation);
        let rule = found.as_ref().and_then(|policy| policy.rules.get(index as usize));
        rule.cloned().unwrap_or_else(|| format!("unknown-rule-{index}"))
    }

    /// SHA-256 of a generation's policy, in hex.
    pub fn sha256(&self, generation: u32) -> Option<String> {
        self.of(generation).and_then(|policy| policy.sha256)
    }

    fn of(&self, generation: u32) -> Option<Known> {
        let known = self.lock();
        let wanted = |(n, _): &(&u32, &Known)| generation == 0 || **n & BITS == generation & BITS;
        known.iter().rev().find(wanted).map(|(_, policy)| policy.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Known>> {
        // What is in there is whole at any time.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_event_is_named_by_the_policy_that_decided_it() {
        let policies = Policies::default();
        for n in 1..=70_000u32 {
            policies.add(n, Some(format!("{n}")), vec![format!("r{n}")]);
        }
        assert_eq!(policies.rule(70_000 & BITS, 0), "r70000");
        assert_eq!(policies.rule(69_999 & BITS, 0), "r69999");
        assert_eq!(policies.rule(0, 0), "r70000");
        assert_eq!(policies.sha256(69_990 & BITS).as_deref(), Some("69990"));
        assert_eq!(policies.rule(0, 1), "unknown-rule-1");
        assert_eq!(policies.rule(5, 0), "unknown-rule-0");
    }
}

//! What a run's answers bound to addresses, kept for a policy that takes over.
//!
//! The kernel binds an answer by the names that the policy of that moment knows. What a new one has
//! to know is taken from here before it decides; what came meanwhile is bound once more.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::Answered;

/// Answers that are remembered, and the bytes of their names: those that came last.
const MOST: usize = 32_768;
const BYTES: usize = 16 << 20;

/// What is remembered, shared by who reads events and who replaces the policy.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Each with its place in `order`.
    places: HashMap<Arc<Answered>, u64>,
    order: BTreeMap<u64, Arc<Answered>>,
    next: u64,
    bytes: usize,
    /// A policy is about to take over, with what was taken from here.
    replacing: bool,
    /// What came until then may have been bound for the policy before: CLOCK_BOOTTIME, nanoseconds.
    late: u64,
}

impl Bindings {
    /// Remembers an answer that came at `time`. Whether the policy that decides now, or will at
    /// once, may not know of it.
    pub(super) fn add(&self, answered: Arc<Answered>, time: u64) -> bool {
        let mut kept = self.lock();
        kept.add(answered);
        kept.replacing || time <= kept.late
    }

    /// All, the oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Answered>> {
        self.lock().order.values().cloned().collect()
    }

    /// Takes all, the oldest first, for a policy that is about to take over.
    pub fn begin(&self) -> Vec<Arc<Answered>> {
        let mut kept = self.lock();
        kept.replacing = true;
        kept.order.values().cloned().collect()
    }

    /// The policy has taken over by `now`, or did not come to.
    pub fn end(&self, now: u64) {
        let mut kept = self.lock();
        kept.replacing = false;
        kept.late = now;
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // What is in there is whole at any time.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn add(&mut self, answered: Arc<Answered>) {
        let place = self.next;
        self.next += 1;
        match self.places.insert(Arc::clone(&answered), place) {
            Some(before) => drop(self.order.remove(&before)),
            None => self.bytes += size(&answered),
        }
        self.order.insert(place, answered);
        while self.order.len() > MOST || self.bytes > BYTES {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.places.remove(&oldest);
            self.bytes -= size(&oldest);
        }
    }
}

fn size(answered: &Answered) -> usize {
    answered.name.len() + answered.aliases.iter().map(String::len).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn answered(name: &str, addr: u32) -> Arc<Answered> {
        Arc::new(Answered {
            addr: Ipv4Addr::from(addr).into(),
            name: name.to_owned(),
            aliases: vec![],
            server: Ipv4Addr::LOCALHOST.into(),
            trusted: true,
        })
    }

    #[test]
    fn the_last_are_kept_each_once() {
        let bindings = Bindings::default();
        for n in 0..MOST as u32 + 2 {
            bindings.add(answered("a.test", n), 0);
            bindings.add(answered("a.test", 0), 0);
        }
        let all = bindings.begin();
        assert_eq!(all.len(), MOST);
        assert_eq!(all.last(), Some(&answered("a.test", 0)));
        assert!(!all.contains(&answered("a.test", 1)));
    }

    #[test]
    fn names_are_kept_within_their_bytes() {
        let bindings = Bindings::default();
        for n in 0..1000 {
            bindings.add(answered(&"a".repeat(BYTES / 100), n), 0);
        }
        assert_eq!(bindings.begin().len(), 100);
        assert_eq!(bindings.lock().places.len(), 100);
    }

    #[test]
    fn what_comes_while_a_policy_takes_over_is_late() {
        let bindings = Bindings::default();
        assert!(!bindings.add(answered("a.test", 1), 5));
        assert_eq!(bindings.begin().len(), 1);
        assert!(bindings.add(answered("a.test", 2), 6), "it may not be among what was taken");
        bindings.end(10);
        assert!(bindings.add(answered("a.test", 3), 10), "it came before, and was read after");
        assert!(!bindings.add(answered("a.test", 3), 11));
    }
}

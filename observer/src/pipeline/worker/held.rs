//! Where execs that wait could not be looked into, and where they can again.

use super::Worker;
use crate::clock;
use crate::exec_hold::Change;
use crate::ledger::Entry;
use crate::pipeline::Held;

impl Worker {
    /// Tells what changed.
    pub(super) fn tell_held(&mut self) {
        let (run, at) = (self.run, clock::now());
        let mut changes = vec![];
        for Held { what, why, health } in &self.held {
            for change in health.changes() {
                let what = (*what).to_owned();
                let (covered, why) = match change {
                    Change::Fails(error) => (false, format!("{why}: {error}")),
                    Change::Works => (true, "it works again".to_owned()),
                };
                changes.push(Entry::Coverage { run, at, what, covered, why });
            }
        }
        changes.into_iter().for_each(|change| self.append(change));
    }
}

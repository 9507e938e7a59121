//! Execs whose argv is longer than a record holds: the rest comes in events of its own, is
//! hashed under the run's key, and is gone.

use observer_common::ArgsEvent;

use super::{Assembler, Fingerprint, Item, Names};
use crate::model::{Call, CutField};

/// Execs that wait at once; one more sends the others on without their hash.
const WAITING: usize = 64;

/// An exec whose rest is on its way.
pub(super) struct Waiting {
    call: Call,
    hash: Box<dyn Fingerprint>,
    at: u64,
    end: u64,
    /// Batches that it has seen end.
    batches: u8,
}

impl Waiting {
    pub(super) fn new(call: Call, kept: u64, seen: u64, names: &dyn Names) -> Self {
        Self { call, hash: names.fingerprint(), at: kept, end: seen, batches: 0 }
    }

    /// The call, with the hash where the rest came whole.
    fn give(self) -> Call {
        let mut call = self.call;
        if self.at == self.end {
            let rest = self.hash.finish();
            let argv = call.cuts.iter_mut().find(|cut| cut.field == CutField::Argv);
            if let Some(cut) = argv {
                cut.rest = Some(rest);
            }
        }
        call
    }
}

impl Assembler {
    pub(super) fn wait_for_rest(&mut self, exec: u64, waiting: Waiting, out: &mut Vec<Item>) {
        if self.waiting.len() >= WAITING {
            self.settle_waiting(true, out);
        }
        self.waiting.insert(exec, waiting);
    }

    pub(super) fn more_argv(&mut self, event: &ArgsEvent, bytes: &[u8], out: &mut Vec<Item>) {
        let Some(waiting) = self.waiting.get_mut(&event.exec) else { return };
        if event.offset != waiting.at {
            return; // a piece was lost: what follows can't make the hash whole
        }
        waiting.hash.update(bytes);
        waiting.at += bytes.len() as u64;
        if waiting.at >= waiting.end {
            self.release(event.exec, out);
        }
    }

    /// Sends one on as it is.
    pub(super) fn release(&mut self, exec: u64, out: &mut Vec<Item>) {
        if let Some(waiting) = self.waiting.remove(&exec) {
            out.push(Item::Call(Box::new(waiting.give())));
        }
    }

    /// Sends those on that have seen a whole batch end, or `all`, in the order of their calls.
    pub(super) fn settle_waiting(&mut self, all: bool, out: &mut Vec<Item>) {
        let mut due: Vec<_> = self
            .waiting
            .iter_mut()
            .filter_map(|(&exec, waiting)| {
                waiting.batches += 1;
                (all || waiting.batches > 1).then_some((waiting.call.id, exec))
            })
            .collect();
        due.sort_unstable();
        for (_, exec) in due {
            self.release(exec, out);
        }
    }
}

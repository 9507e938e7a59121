//! Groups of records on their way to the disk, and a ledger that can't be written.

use std::mem::{self, Discriminant};
use std::time::{Duration, Instant};

use super::Worker;
use crate::ledger::CommitError;

/// A ledger that can't be written is said again after this long.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// A ledger that can't be written: why, whether records are lost by now, and when that was said.
pub(super) struct Failing {
    said: Instant,
    why: (Discriminant<CommitError>, bool),
}

impl Worker {
    /// Writes what waits as one group.
    pub(super) fn commit(&mut self) {
        match self.writer.commit() {
            Ok(committed) => {
                self.pending = 0;
                self.oldest = None;
                if let Some(note) = &committed.checkpoint {
                    self.elsewhere.post(note);
                }
                if let Some(error) = &committed.trouble
                    && self.trouble.as_ref() != Some(&error.to_string())
                {
                    eprintln!("observer: trouble beside the ledger: {error}");
                    self.trouble = Some(error.to_string());
                }
                if self.failing.take().is_some() {
                    eprintln!("observer: the ledger can be written again");
                    self.hooks.ledger(true);
                }
            }
            Err(error) => {
                if self.failing.is_none() {
                    self.hooks.ledger(false);
                }
                let losing = matches!(error, CommitError::Io { lost, .. } if lost > 0);
                let why = (mem::discriminant(&error), losing);
                let told = self.failing.as_ref().is_some_and(|failing| {
                    failing.why == why && failing.said.elapsed() <= SAY_AGAIN
                });
                if !told {
                    eprintln!("observer: {error}");
                    self.failing = Some(Failing { said: Instant::now(), why });
                }
                // What waits is kept; it is tried again with the next group.
                self.oldest = Some(Instant::now());
            }
        }
    }
}

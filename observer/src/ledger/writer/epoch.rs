//! The host's key in epochs: the last record of each names the next key, and then the old one is
//! wiped. Whoever takes the host later can't sign what was before.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::super::entry::Entry;
use super::super::files::OpenError;
use super::super::handover::{self, Left};
use super::super::keys::{HostKey, KeyError};
use super::super::resume::Found;
use super::{CommitError, Writer};
use crate::clock;

/// When the host's key is replaced.
#[derive(Clone, Copy, Debug)]
pub struct Epochs {
    /// After so many records of one ledger.
    pub records: u64,
    /// At this age of the key.
    pub age: Duration,
}

impl Default for Epochs {
    /// Never: who wants it says how often.
    fn default() -> Self {
        Self { records: u64::MAX, age: Duration::MAX }
    }
}

/// Makes the key that is due the one that signs, where a crash came while it was replaced. A
/// ledger that another key is due in can't be continued.
pub(super) fn take_up(host: &mut HostKey, found: &Found, path: &Path) -> Result<(), OpenError> {
    let foreign = |why: String| OpenError::Foreign { path: path.to_owned(), why };
    let Some(due) = found.host.filter(|due| *due != host.public()) else { return Ok(()) };
    if Some(due) != host.next_public() {
        let (due, ours) = (due.fingerprint(), host.public().fingerprint());
        return Err(foreign(format!(
            "its next record is due from the key {due}, and this host's is {ours}"
        )));
    }
    let Some(_alone) = host.alone() else {
        return Err(foreign(
            "its key was being replaced, and another recorder still signs with the one before: \
             try again when that has ended"
                .to_owned(),
        ));
    };
    let failed = |e: KeyError| foreign(format!("its key can't be replaced: {e}"));
    // What the crash may have left undone. The others may have gone on since.
    let left = handover::prepare(host, due, found.origin.as_deref()).map_err(failed)?;
    host.advance().map_err(failed)?;
    if let Err(error) = none_left(&left) {
        eprintln!("observer: {error}");
    }
    Ok(())
}

/// Says once which ledgers are left behind, when the key has been replaced.
fn none_left(left: &[Left]) -> Result<(), KeyError> {
    if left.is_empty() {
        return Ok(());
    }
    left.iter().for_each(Left::forget);
    let said: Vec<_> = left.iter().map(|left| left.says.as_str()).collect();
    Err(KeyError::LeftBehind(said.join(", ")))
}

impl Writer {
    /// Says when the host's key is to be replaced.
    pub fn replace_key_at(&mut self, epochs: Epochs) {
        self.epochs = epochs;
    }

    pub(super) fn is_key_due(&self) -> bool {
        let (records, since) = self.epoch;
        let Epochs { records: most, age } = self.epochs;
        let old = since.elapsed().is_ok_and(|since| since >= age);
        self.host.can_rotate() && self.place.tree.size() > 0 && (records >= most || old)
    }

    /// Names the next key in a group of its own, signed by this one, and then replaces it. The
    /// inner error is of the keys: then this one goes on, or the next start finishes what was begun.
    pub(super) fn replace_key(&mut self) -> Result<Result<(), KeyError>, CommitError> {
        let Some(_alone) = self.host.alone() else {
            // Another recorder signs with this key: another time.
            return Ok(Ok(()));
        };
        let next = match self.host.next() {
            Ok(next) => next,
            Err(error) => return Ok(Err(error)),
        };
        // In the other ledgers first: when the old key is wiped, it has said all that it has to.
        let left = match handover::prepare(&self.host, next, self.place.origin.as_deref()) {
            Ok(left) => left,
            Err(error) => return Ok(Err(error)),
        };
        let waiting = std::mem::take(&mut self.queue);
        self.queue.push(Entry::Key { at: clock::now(), next });
        if let Err(error) = self.write_queue() {
            self.queue = waiting;
            return Err(error);
        }
        self.queue = waiting;
        self.epoch = (0, SystemTime::now());
        Ok(self.host.advance().and_then(|()| none_left(&left)))
    }
}

//! The host's key in epochs: the last record of each names the next key, and then the old one is
//! wiped. Whoever takes the host later can't sign what was before.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::super::entry::Entry;
use super::super::files::OpenError;
use super::super::keys::{HostKey, KeyError, PublicKey};
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
    /// Never: of several ledgers of a host, only the one in which the key is replaced goes on.
    fn default() -> Self {
        Self { records: u64::MAX, age: Duration::MAX }
    }
}

/// Makes the key that is due the one that signs, where a crash came while it was replaced. A
/// ledger that another key is due in can't be continued.
pub(super) fn take_up(
    host: &mut HostKey,
    due: Option<PublicKey>,
    path: &Path,
) -> Result<(), OpenError> {
    let foreign = |why: String| OpenError::Foreign { path: path.to_owned(), why };
    let failed = |e: KeyError| foreign(format!("its key can't be replaced: {e}"));
    if due.is_some() && due == host.next_public() {
        return host.advance().map_err(failed);
    }
    if let Some(due) = due.filter(|due| *due != host.public()) {
        let (due, ours) = (due.fingerprint(), host.public().fingerprint());
        return Err(foreign(format!(
            "its next record is due from the key {due}, and this host's is {ours}"
        )));
    }
    Ok(())
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
        let waiting = std::mem::take(&mut self.queue);
        self.queue.push(Entry::Key { at: clock::now(), next });
        if let Err(error) = self.write_queue() {
            self.queue = waiting;
            return Err(error);
        }
        self.queue = waiting;
        self.epoch = (0, SystemTime::now());
        Ok(self.host.advance())
    }
}

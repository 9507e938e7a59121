//! When the ledger's file is closed, and how the next is begun: after a rotation, and where
//! somebody removed it.

use std::io;
use std::time::{Duration, SystemTime};

use super::super::entry::Entry;
use super::super::files::{self, OpenError};
use super::super::segments;
use super::{CommitError, Writer};
use crate::clock;

/// Runs that the first record of a file can tell of.
const RUNS_TOLD: usize = 100;

/// When the file of a ledger is closed and another begun.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// At this size, in bytes.
    pub size: u64,
    /// At this age.
    pub age: Duration,
}

impl Default for Rotation {
    /// 256 MiB, or 30 days.
    fn default() -> Self {
        Self { size: 256 << 20, age: Duration::from_secs(30 * 24 * 3600) }
    }
}

/// Why a file was not closed.
pub(super) enum Rotating {
    /// Everything is as it was.
    Before(io::Error),
    /// It is closed, and no other could be begun.
    After(CommitError),
}

impl Writer {
    /// Says when the file is to be closed and another begun.
    pub fn rotate_at(&mut self, rotation: Rotation) {
        self.rotation = rotation;
    }

    pub(super) fn is_rotation_due(&self) -> bool {
        let Rotation { size, age } = self.rotation;
        let old = || self.since.elapsed().is_ok_and(|since| since >= age);
        let due = self.place.len >= size || (self.place.len > 0 && old());
        due && !self.queue.is_empty() && self.runs.len() <= RUNS_TOLD
    }

    /// Closes the file, and begins another with the next group. A checkpoint vouches for all of
    /// what is closed.
    pub(super) fn rotate(&mut self) -> Result<(), Rotating> {
        if self.vouched.0 < self.place.tree.size() {
            self.rotated = self.checkpoint().map_err(Rotating::Before)?;
        }
        let unnamed = || io::Error::new(io::ErrorKind::InvalidInput, "its name has no ending");
        let closed = segments::closed(&self.path, self.place.from);
        let closed = closed.ok_or_else(unnamed).map_err(Rotating::Before)?;
        if closed.exists() {
            let taken = io::Error::new(io::ErrorKind::AlreadyExists, "its closed name is taken");
            return Err(Rotating::Before(taken));
        }
        std::fs::rename(&self.path, &closed).map_err(Rotating::Before)?;
        // From here on a failure leaves no file at the path: as where somebody removed it.
        self.begin_file().inspect_err(|_| self.removed = true).map_err(Rotating::After)?;
        let _ = segments::sync_dir(&self.path);
        self.queue.insert(0, Entry::Segment { at: clock::now() });
        segments::compress(&self.path);
        Ok(())
    }

    /// A new file in the place of one that is gone; the chain goes on in it.
    pub(super) fn begin_anew(&mut self) -> Result<(), CommitError> {
        self.begin_file()?;
        let note = Entry::Recover {
            at: clock::now(),
            what: "the ledger's file was removed: earlier records are not in this one".to_owned(),
            bytes: 0,
            sha256: None,
            lost: None,
        };
        let begin = (self.place.tree.size() > 0).then(|| Entry::Segment { at: clock::now() });
        self.queue.splice(0..0, begin.into_iter().chain([note]));
        Ok(())
    }

    fn begin_file(&mut self) -> Result<(), CommitError> {
        let file = files::open(&self.path)?;
        let meta = file.metadata().map_err(|source| self.failed(source))?;
        if meta.len() > 0 {
            return Err(CommitError::Open(OpenError::Foreign {
                path: self.path.clone(),
                why: "somebody put another file in the ledger's place".to_owned(),
            }));
        }
        self.file = file;
        self.place.len = 0;
        self.place.from = self.place.tree.size();
        self.since = SystemTime::now();
        self.removed = false;
        Ok(())
    }
}

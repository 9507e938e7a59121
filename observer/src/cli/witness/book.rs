//! What a witness has cosigned: the last checkpoint of each log, a file each, whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use observer::ledger::Checkpoint;
use ring::digest;
use rustix::fs::{FlockOperation, flock};

/// The directory, locked: two witnesses with one state would each believe the other's half.
pub(super) struct Book {
    dir: PathBuf,
    _lock: File,
}

impl Book {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join("lock"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(io::Error::new(io::ErrorKind::ResourceBusy, "another witness serves it"))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// The last checkpoint that was cosigned of a log. A file that is no checkpoint is an error:
    /// to take it for nothing would let the log begin anew.
    pub(super) fn latest(&self, origin: &str) -> io::Result<Option<Checkpoint>> {
        let text = match fs::read_to_string(self.path(origin)) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let found = Checkpoint::parse(&text).filter(|found| found.origin == origin);
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "a kept checkpoint is spoilt");
        found.map(Some).ok_or_else(bad)
    }

    /// Keeps a checkpoint as the last: it is on the disk when this returns.
    pub(super) fn keep(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let path = self.path(&checkpoint.origin);
        let part = path.with_extension("part");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(checkpoint.text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, &path)?;
        File::open(&self.dir)?.sync_all()
    }

    fn path(&self, origin: &str) -> PathBuf {
        let hash = digest::digest(&digest::SHA256, origin.as_bytes());
        self.dir.join(format!("{}.checkpoint", HEXLOWER.encode(hash.as_ref())))
    }
}

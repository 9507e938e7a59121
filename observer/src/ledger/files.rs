//! A ledger's files: what may be one, and whether it is still there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

/// A line's bound: a record's, and its frame.
pub(super) const LINE: usize = 64 * 1024;

/// How often a lock that somebody holds is tried again, and after how long.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// Why a ledger can't be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The system said no.
    #[error("cannot write the ledger {path}: {source}: choose another place with --log")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory, a pipe, a device, a link.
    #[error(
        "cannot write the ledger {path}: it is {what}, and a ledger is a regular file: choose another place with --log"
    )]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Another observer writes it.
    #[error("the ledger {0} is being written by another observer: choose another with --log")]
    Locked(PathBuf),
    /// Content that is no ledger's.
    #[error(
        "{path} is not a ledger that can be continued ({why}): it is left as it is; choose another with --log, or check it with `observer verify {path}`"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// Opens a file for a ledger and locks it.
pub(super) fn open(path: &Path) -> Result<File, OpenError> {
    let failed = |source: io::Error| match source.raw_os_error() {
        Some(libc::ELOOP) => OpenError::NotAFile { path: path.to_owned(), what: "a symbolic link" },
        Some(libc::EISDIR) => OpenError::NotAFile { path: path.to_owned(), what: "a directory" },
        Some(libc::ENXIO) => {
            OpenError::NotAFile { path: path.to_owned(), what: "a pipe or socket" }
        }
        _ => OpenError::Io { path: path.to_owned(), source },
    };
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.exists()) {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(OpenError::NotAFile { path: path.to_owned(), what: "no regular file" });
    }
    // A process that a recorder was just starting has a copy of its lock until it executes: after
    // a kill that is over in a moment.
    let mut tries = 0;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if tries < LOCK_TRIES => {
                tries += 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(OpenError::Locked(path.to_owned())),
            Err(e) => return Err(failed(e.into())),
        }
    }
}

/// Whether the file that is open is still the one at the path.
pub(super) fn is_there(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (file.metadata(), std::fs::symlink_metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

//! The ledger's file: what may be one, where it ends, and how it is taken up again.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use ring::digest;
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use thiserror::Error;

use super::chain;

/// A line's bound: a record's, and its frame.
pub(super) const LINE: usize = 64 * 1024;

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

/// Where a ledger ends.
pub(super) struct Tail {
    /// The next record's count.
    pub(super) idx: u64,
    /// The last record's leaf.
    pub(super) prev: String,
    /// How long it is, whole lines alone.
    pub(super) len: u64,
    /// A line without an end after that.
    pub(super) torn: Option<Torn>,
}

/// What a crash left.
pub(super) struct Torn {
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) aside: PathBuf,
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
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked(path.to_owned())),
        Err(e) => Err(failed(e.into())),
    }
}

/// Whether the file that is open is still the one at the path.
pub(super) fn is_there(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (file.metadata(), std::fs::symlink_metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

/// Finds where a ledger ends, and moves what a crash left of a last line aside.
pub(super) fn tail(file: &File, path: &Path) -> Result<Tail, OpenError> {
    let failed = |source| OpenError::Io { path: path.to_owned(), source };
    let foreign = |why: &str| OpenError::Foreign { path: path.to_owned(), why: why.to_owned() };
    let len = file.metadata().map_err(failed)?.len();
    let mut tail = Tail { idx: 0, prev: chain::GENESIS.to_owned(), len: 0, torn: None };
    if len == 0 {
        return Ok(tail);
    }
    let from = len.saturating_sub(2 * LINE as u64 + 2);
    let mut window = vec![0; (len - from) as usize];
    file.read_exact_at(&mut window, from).map_err(failed)?;
    let Some(end) = window.iter().rposition(|&b| b == b'\n') else {
        if from == 0 && window.starts_with(b"{\"rec\":") {
            tail.torn = Some(move_aside(file, path, 0, len).map_err(failed)?);
            return Ok(tail);
        }
        return Err(foreign("its last line has no end and is longer than any record"));
    };
    let start = window[..end].iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    if start == 0 && from > 0 {
        return Err(foreign("its last line is longer than any record"));
    }
    let bad = || foreign("its last whole line is not a record");
    let (record, _) = chain::parts(&window[start..end]).ok_or_else(bad)?;
    let value: Value = serde_json::from_slice(record).map_err(|_| bad())?;
    let idx = value.get("idx").and_then(Value::as_u64).ok_or_else(bad)?;
    tail.idx = idx + 1;
    tail.prev = chain::leaf(record);
    tail.len = from + end as u64 + 1;
    if tail.len < len {
        tail.torn = Some(move_aside(file, path, tail.len, len).map_err(failed)?);
    }
    Ok(tail)
}

/// Copies what stands from `from` on into a file beside, then cuts it off.
fn move_aside(file: &File, path: &Path, from: u64, len: u64) -> io::Result<Torn> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".torn-{from}"));
    let aside = PathBuf::from(name);
    let mut bytes = vec![];
    let mut source = file.try_clone()?;
    source.seek(SeekFrom::Start(from))?;
    source.take(len - from).read_to_end(&mut bytes)?;
    let mut options = OpenOptions::new();
    let copy = options.write(true).create(true).truncate(true).mode(0o600);
    let copy = copy.custom_flags(libc::O_NOFOLLOW).open(&aside)?;
    copy.write_all_at(&bytes, 0)?;
    copy.sync_all()?;
    file.set_len(from)?;
    file.sync_all()?;
    let sha256 = HEXLOWER.encode(digest::digest(&digest::SHA256, &bytes).as_ref());
    Ok(Torn { bytes: bytes.len() as u64, sha256, aside })
}

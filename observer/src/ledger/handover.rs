//! A host has one key and may have several ledgers. Where the key is replaced in one of them, the
//! others are told by it before it is wiped: for each, it signs the `key` record that stands next
//! there, and the line is kept in the state directory until that ledger is taken up again. So the
//! old key's last word is bound to one place of one ledger, as if it had been written there.
//!
//! In the state directory, `ledger-ORIGIN` has a ledger's path, and `ledger-ORIGIN.keys` the lines
//! that wait for it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::checkpoints::Checkpoints;
use super::entry::Entry;
use super::files::OpenError;
use super::json::{Value, int};
use super::keys::{HostKey, KeyError, PublicKey};
use super::note::{Checkpoint, Note};
use super::resume::{self, Found};
use super::{chain, record, segments};
use crate::clock;

/// The longest path, and the most bytes of lines that wait for one ledger.
const PATH: u64 = 4096;
const LINES: u64 = 1 << 20;

/// Where a ledger is told of. None where its name is no ledger's: it comes from the file.
fn entry(dir: &Path, origin: &str, end: &str) -> Option<PathBuf> {
    let id = origin.strip_prefix("observer/ledger/")?;
    let hex =
        id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    hex.then(|| dir.join(format!("ledger-{id}{end}")))
}

/// Writes a file whole or not at all, and syncs it.
fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    segments::sync_dir(path)
}

fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    io::Read::read_to_end(&mut io::Read::take(File::open(path)?, most), &mut bytes)?;
    Ok(bytes)
}

/// Remembers that the host's key signs this ledger, and where that is.
pub(super) fn enroll(host: &HostKey, origin: &str, ledger: &Path) -> io::Result<()> {
    let Some(path) = host.dir().and_then(|dir| entry(dir, origin, "")) else { return Ok(()) };
    let ledger = fs::canonicalize(ledger)?;
    let bytes = ledger.as_os_str().as_bytes();
    if read(&path, PATH).is_ok_and(|known| known == bytes) {
        return Ok(());
    }
    keep(&path, bytes)
}

/// A ledger that the next key could not be named in: it ends here.
pub(super) struct Left {
    told: PathBuf,
    /// Its path, and why.
    pub(super) says: String,
}

impl Left {
    /// It was said: it is told of again when it is taken up, and not before.
    pub(super) fn forget(&self) {
        let _ = fs::remove_file(&self.told);
    }
}

/// Has the host's key name `next` in each other ledger that it signs. Gives those that it could
/// not name it in: whoever replaces the key says them. Nobody else may use the keys meanwhile.
pub(super) fn prepare(
    host: &HostKey,
    next: PublicKey,
    own: Option<&str>,
) -> Result<Vec<Left>, KeyError> {
    let Some(dir) = host.dir() else { return Ok(vec![]) };
    let failed = |source| KeyError::Io { path: dir.to_owned(), source };
    let mut left = vec![];
    for file in fs::read_dir(dir).map_err(failed)? {
        let name = file.map_err(failed)?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.strip_prefix("ledger-")) else {
            continue;
        };
        let origin = format!("observer/ledger/{id}");
        let (Some(told), Some(keys)) = (entry(dir, &origin, ""), entry(dir, &origin, ".keys"))
        else {
            continue;
        };
        if own == Some(origin.as_str()) {
            continue;
        }
        let ledger = PathBuf::from(OsString::from_vec(read(&told, PATH).map_err(failed)?));
        let waiting = match read(&keys, LINES) {
            Ok(lines) => lines,
            Err(e) if e.kind() == io::ErrorKind::NotFound => vec![],
            Err(e) => return Err(failed(e)),
        };
        match name_next(host, next, &origin, &ledger, waiting) {
            Ok(Some(lines)) => keep(&keys, &lines).map_err(failed)?,
            Ok(None) => {}
            Err(why) => {
                let says = format!("{} ({why})", ledger.display());
                left.push(Left { told, says });
            }
        }
    }
    Ok(left)
}

/// The lines that wait for a ledger, with one more; none where its next record is not due from
/// this key.
fn name_next(
    host: &HostKey,
    next: PublicKey,
    origin: &str,
    ledger: &Path,
    waiting: Vec<u8>,
) -> Result<Option<Vec<u8>>, String> {
    let mut found = stands(host, ledger)?;
    if found.origin.as_deref() != Some(origin) {
        return Err("another ledger stands there".to_owned());
    }
    if found.len == 0 {
        return Err("a crash came between two of its files".to_owned());
    }
    let mut lines = continuing(&mut found, &waiting);
    if found.host != Some(host.public()) {
        // It was told already, or never was this key's.
        return Ok(None);
    }
    let key = Entry::Key { at: clock::now(), next };
    let mut fields = record::fields(&key);
    fields.insert("idx", int(found.tree.size()));
    fields.insert("prev", Value::Hex(&found.prev));
    let mut record = vec![];
    record::write(&mut fields, &mut record);
    let signature = host.sign(&chain::record_message(&record));
    lines.extend(chain::line(&record, Some(&signature)));
    lines.push(b'\n');
    Ok(Some(lines))
}

/// Where a ledger stands that nobody writes.
fn stands(host: &HostKey, ledger: &Path) -> Result<Found, String> {
    let file = File::open(ledger).map_err(|e| e.to_string())?;
    let own = |note: &Note| -> Option<Checkpoint> { super::writer::own(note, host) };
    let vouched = Checkpoints::open(ledger, own).map_err(|e| e.to_string())?.1;
    let closed = segments::segments_of(ledger).map_err(|e| e.to_string())?;
    let found = resume::stand(&file, ledger, closed.last(), vouched.as_ref());
    found.map_err(|e| e.to_string())
}

/// The lines among these that continue a ledger, taken in.
fn continuing(found: &mut Found, lines: &[u8]) -> Vec<u8> {
    let mut taken = vec![];
    for line in lines.split_inclusive(|&b| b == b'\n') {
        let Some(body) = line.strip_suffix(b"\n") else { break };
        let signed = chain::parts(body).is_some_and(|(record, signature)| {
            let due = found.host.zip(signature);
            due.is_some_and(|(due, sig)| due.verifies(&chain::record_message(record), &sig))
        });
        if !signed || found.take(body).is_none() {
            break;
        }
        taken.extend_from_slice(line);
    }
    taken
}

/// Writes what the host's earlier keys have left for a ledger that is taken up, and syncs it.
pub(super) fn take_up(
    host: &HostKey,
    file: &File,
    path: &Path,
    found: &mut Found,
) -> Result<(), OpenError> {
    let failed = |source| OpenError::Io { path: path.to_owned(), source };
    let origin = found.origin.clone().unwrap_or_default();
    let Some(keys) = host.dir().and_then(|dir| entry(dir, &origin, ".keys")) else { return Ok(()) };
    let waiting = match read(&keys, LINES) {
        Ok(lines) => lines,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    let mut after = found.clone();
    let lines = continuing(&mut after, &waiting);
    // They are for a ledger that the host's key has left behind. Where it is still due here, what
    // a crash left half done is done again, from where the ledger stands by then.
    let ours = Some(host.public());
    if found.host != ours && after.host == ours {
        let mut file = file;
        file.write_all(&lines).and_then(|()| file.sync_data()).map_err(failed)?;
        *found = after;
    } else if found.host != ours {
        return Ok(());
    }
    fs::remove_file(&keys).map_err(failed)
}

//! The files of a ledger: the one that is written, and those before it, closed and compressed.
//!
//! A closed one is named after the first record in it: `ledger-000000041000.jsonl.zst` beside
//! `ledger.jsonl`. Old ones may be taken away: the rest still tells the tree over all of them.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{FlockOperation, flock};

/// The digits of a record's number in a name: names are in the order of the records.
const DIGITS: usize = 12;
/// What a compressed file begins with (RFC 8878).
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The window that a compressed file may ask memory for, as a power of two.
const WINDOW: u32 = 23;

/// A closed file of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The first record in it.
    pub from: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// The closed files of a ledger, in the order of their records. Where one is there both plain and
/// compressed, a crash has left the plain one: it is whole.
pub fn segments_of(ledger: &Path) -> io::Result<Vec<Segment>> {
    let dir = ledger.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found: Vec<Segment> = vec![];
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let path = entry?.path();
        if let Some((of, from)) = segment(&path)
            && of == ledger.file_name().unwrap_or_default()
        {
            found.push(Segment { from, path });
        }
    }
    found.sort_by(|a, b| (a.from, &a.path).cmp(&(b.from, &b.path)));
    found.dedup_by_key(|segment| segment.from);
    Ok(found)
}

/// The ledger that a file is a closed one of, by its name, and its first record.
pub fn segment(path: &Path) -> Option<(OsString, u64)> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".zst").unwrap_or(name);
    let (stem, end) = name.rsplit_once('.')?;
    let (stem, digits) = stem.rsplit_once('-')?;
    if digits.len() != DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((format!("{stem}.{end}").into(), digits.parse().ok()?))
}

/// Where a file of a ledger goes when it is closed. None where the ledger's name has no ending.
pub(super) fn closed(ledger: &Path, from: u64) -> Option<PathBuf> {
    let (stem, end) = (ledger.file_stem()?.to_str()?, ledger.extension()?.to_str()?);
    Some(ledger.with_file_name(format!("{stem}-{from:0DIGITS$}.{end}")))
}

/// A file's content, whether it is compressed or not. A closed file that was plain a moment ago
/// may be compressed by now: then it is that.
pub fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && segment(path).is_some() => {
            File::open(compressed(path)).map_err(|_| e)?
        }
        opened => opened?,
    };
    decompressed(BufReader::with_capacity(1 << 20, file))
}

/// Where a closed file goes when it is compressed.
fn compressed(plain: &Path) -> PathBuf {
    let mut name = plain.as_os_str().to_owned();
    name.push(".zst");
    name.into()
}

/// A source's content, whether it is compressed or not.
pub fn decompressed(mut source: impl BufRead + 'static) -> io::Result<Box<dyn BufRead>> {
    // A pipe may give less than four bytes at first: then it is read as it is.
    if !source.fill_buf()?.starts_with(&MAGIC) {
        return Ok(Box::new(source));
    }
    let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
    decoder.window_log_max(WINDOW)?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, decoder)))
}

/// Compresses the closed files of a ledger that are not yet, in a thread. A plain one goes only
/// when its compressed one was synced and read back.
pub(super) fn compress(ledger: &Path) {
    let ledger = ledger.to_owned();
    let thread = thread::Builder::new().name("observer-zstd".into());
    // What can't be compressed stays as it is: nothing is lost but room.
    let _ = thread.spawn(move || {
        let plain = segments_of(&ledger).unwrap_or_default();
        for segment in plain.iter().filter(|s| s.path.extension().is_none_or(|e| e != "zst")) {
            if let Err(error) = compress_one(&segment.path) {
                eprintln!("observer: {} stays uncompressed: {error}", segment.path.display());
            }
        }
    });
}

pub(super) fn compress_one(plain: &Path) -> io::Result<()> {
    let whole = compressed(plain);
    let part = whole.with_extension("zst.part");
    let mut source = File::open(plain)?;
    // One at a time: another start may be at it.
    if flock(&source, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let target = options.open(&part)?;
    let mut encoder = zstd::stream::write::Encoder::new(target, 3)?;
    encoder.include_checksum(true)?;
    io::copy(&mut source, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    if !same(open(plain)?, open(&part)?)? {
        fs::remove_file(&part)?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it reads back otherwise"));
    }
    fs::rename(&part, &whole)?;
    sync_dir(plain)?;
    fs::remove_file(plain)
}

fn same(mut a: impl Read, mut b: impl Read) -> io::Result<bool> {
    let (mut left, mut right) = (vec![], vec![]);
    loop {
        left.clear();
        right.clear();
        (&mut a).take(1 << 16).read_to_end(&mut left)?;
        (&mut b).take(1 << 16).read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}

/// Syncs the directory that a file is in: its name is on the disk then.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_compressed_since_it_was_listed_is_read_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("ledger-000000000041.jsonl");
        fs::write(&plain, "a line\n").unwrap();
        compress_one(&plain).unwrap();
        assert!(!plain.exists() && compressed(&plain).exists());
        let mut text = String::new();
        open(&plain).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "a line\n");
        assert!(open(&dir.path().join("ledger.jsonl")).is_err());
    }
}

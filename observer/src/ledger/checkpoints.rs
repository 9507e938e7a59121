//! The file of checkpoints beside a ledger: signed notes, one after another, never changed.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::files;
use super::note::{self, Checkpoint, NOTE, Note};

/// Where a ledger's checkpoints are.
pub fn checkpoints_of(ledger: &Path) -> PathBuf {
    let mut name = OsString::from(ledger);
    name.push(".checkpoints");
    name.into()
}

/// The file, made with the first checkpoint.
pub(super) struct Checkpoints {
    path: PathBuf,
    file: Option<File>,
    len: u64,
}

impl Checkpoints {
    /// Opens the checkpoints of a ledger, and gives the last that `ours` finds to be this host's.
    /// What a crash left of a last one is cut off by the next: it never left this host.
    pub(super) fn open(
        ledger: &Path,
        ours: impl Fn(&Note) -> Option<Checkpoint>,
    ) -> io::Result<(Self, Option<Checkpoint>)> {
        let path = checkpoints_of(ledger);
        match open(&path, false) {
            Ok(file) => {
                let (len, last) = last(&file, ours)?;
                Ok((Self { path, file: Some(file), len }, last))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Ok((Self { path, file: None, len: 0 }, None))
            }
            Err(e) => Err(e),
        }
    }

    /// Adds a note, and syncs it. On an error the file is as it was.
    pub(super) fn append(&mut self, note: &str) -> io::Result<()> {
        let file = match self.file.take().filter(|file| files::is_there(file, &self.path)) {
            Some(file) => file,
            None => {
                let file = open(&self.path, true)?;
                self.len = file.metadata()?.len();
                file
            }
        };
        let file = self.file.insert(file);
        file.set_len(self.len)?;
        let written = file.write_all(note.as_bytes()).and_then(|()| file.sync_data());
        match written {
            Ok(()) => self.len += note.len() as u64,
            Err(_) => file.set_len(self.len)?,
        }
        written
    }
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(create).mode(0o600);
    let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let regular = file.metadata()?.is_file();
    let refused = || io::Error::new(io::ErrorKind::InvalidInput, "no regular file");
    regular.then_some(file).ok_or_else(refused)
}

/// How far the file has whole notes, and the last of them that is ours.
fn last(
    file: &File,
    ours: impl Fn(&Note) -> Option<Checkpoint>,
) -> io::Result<(u64, Option<Checkpoint>)> {
    let len = file.metadata()?.len();
    // The last notes, and maybe a half of one before them, which is none of ours.
    let from = len.saturating_sub(2 * NOTE as u64);
    let mut source = file.try_clone()?;
    source.seek(SeekFrom::Start(from))?;
    let mut notes = Notes::new(BufReader::new(source.take(len - from)));
    let (mut end, mut found) = (from, None);
    while let Ok(Some(bytes)) = notes.next_bytes() {
        end += bytes.len() as u64;
        found = Note::parse(&bytes).and_then(|note| ours(&note)).or(found);
    }
    Ok((end, found))
}

/// Notes that stand one after another, as they are read: one at a time in memory.
pub struct Notes<R> {
    source: R,
    ahead: Vec<u8>,
}

impl<R: BufRead> Notes<R> {
    /// The notes of a source.
    pub fn new(source: R) -> Self {
        Self { source, ahead: vec![] }
    }

    /// The bytes of the next one; None at the end, or where what is left is no whole note.
    fn next_bytes(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let ended = note::first_note(&self.ahead);
            // A note that ends where the bytes end may have more signatures.
            if let Some(end) = ended.filter(|&end| end < self.ahead.len()) {
                return Ok(Some(self.ahead.drain(..end).collect()));
            }
            if self.ahead.len() > NOTE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a note without an end"));
            }
            let mut line = vec![];
            let mut limited = (&mut self.source).take(NOTE as u64 + 1);
            if limited.read_until(b'\n', &mut line)? == 0 {
                return Ok(ended.map(|_| std::mem::take(&mut self.ahead)));
            }
            self.ahead.extend(line);
        }
    }

    /// The next one, as it stands there; None at the end, or before half a note.
    pub fn next_note(&mut self) -> io::Result<Option<String>> {
        let bad = |_| io::Error::new(io::ErrorKind::InvalidData, "not a note");
        self.next_bytes()?.map(|bytes| String::from_utf8(bytes).map_err(bad)).transpose()
    }

    /// The next one, and whether it is a checkpoint. Bytes that are no note are an error.
    pub fn next_checkpoint(&mut self) -> io::Result<Option<(Note, Checkpoint)>> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "not a checkpoint");
        match self.next_bytes()? {
            Some(bytes) => {
                let note = Note::parse(&bytes).ok_or_else(bad)?;
                let checkpoint = Checkpoint::parse(&note.text).ok_or_else(bad)?;
                Ok(Some((note, checkpoint)))
            }
            None if self.ahead.is_empty() => Ok(None),
            None => Err(bad()),
        }
    }
}

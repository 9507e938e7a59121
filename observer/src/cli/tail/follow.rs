//! Following a file that grows: woken by inotify, through truncation and replacement.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use observer::ledger::Verifier;
use rustix::fs::inotify;

/// Lines of a file, as they come.
pub(in crate::cli) struct Follower {
    path: PathBuf,
    file: File,
    watch: OwnedFd,
    buffer: Vec<u8>,
    /// Inside a line that is too long to be a record: its rest is left out.
    skipping: bool,
    anew: bool,
}

impl Follower {
    pub(in crate::cli) fn open(path: &Path) -> io::Result<Self> {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC)?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let events = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE;
        // The directory: it tells of writes to the file, and of another one in its place.
        inotify::add_watch(&watch, dir.unwrap_or(Path::new(".")), events)?;
        let file = File::open(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            watch,
            buffer: vec![],
            skipping: false,
            anew: false,
        })
    }

    /// The next line; None when it had to wait for one.
    pub(in crate::cli) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.next_now()? {
            Some(line) => Ok(Some(line)),
            None => self.wait().map(|()| None),
        }
    }

    /// The next line that is there already. An empty one stands for one that is too long.
    pub(in crate::cli) fn next_now(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = self.take() {
                return Ok(Some(line));
            }
            if self.fill()? {
                continue;
            }
            let Some(next) = self.next_file()? else { return Ok(None) };
            // The last that was written before the file was put away.
            if self.fill()? {
                continue;
            }
            self.file = next;
            self.buffer.clear();
            self.anew = true;
        }
    }

    /// Waits until something was done to the file.
    pub(in crate::cli) fn wait(&mut self) -> io::Result<()> {
        let mut events = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.watch, &mut events);
        match reader.next() {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether the last line is the first of another file, or of the same that was cut.
    pub(in crate::cli) fn began_anew(&mut self) -> bool {
        std::mem::take(&mut self.anew)
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer.iter().position(|&b| b == b'\n');
        let Some(end) = end else {
            if self.buffer.len() > Verifier::LINE {
                self.buffer.clear();
                return (!std::mem::replace(&mut self.skipping, true)).then(Vec::new);
            }
            return None;
        };
        let line: Vec<u8> = self.buffer.drain(..=end).take(end).collect();
        if std::mem::take(&mut self.skipping) { self.take() } else { Some(line) }
    }

    fn fill(&mut self) -> io::Result<bool> {
        let mut piece = vec![0; Verifier::LINE];
        let n = self.file.read(&mut piece)?;
        self.buffer.extend_from_slice(piece.get(..n).unwrap_or_default());
        Ok(n > 0)
    }

    /// The file that stands at the path now, if it is another one or was cut.
    fn next_file(&mut self) -> io::Result<Option<File>> {
        let at = self.file.stream_position()?;
        let open = self.file.metadata()?;
        let Ok(there) = std::fs::metadata(&self.path) else { return Ok(None) };
        let same = (there.dev(), there.ino()) == (open.dev(), open.ino());
        if same && open.len() >= at {
            return Ok(None);
        }
        match File::open(&self.path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

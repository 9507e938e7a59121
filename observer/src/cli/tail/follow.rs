//! Following a file that grows: woken by inotify, through truncation and replacement.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
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
            if !self.begin_anew()? {
                return Ok(None);
            }
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

    /// Whether it had to begin with another file, or the same from its beginning.
    pub(in crate::cli) fn began_anew(&self) -> bool {
        self.anew
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

    /// Begins with the file that stands at the path now, if it is another one or was cut.
    fn begin_anew(&mut self) -> io::Result<bool> {
        let at = self.file.stream_position()?;
        if self.file.metadata()?.len() < at {
            self.file.seek(SeekFrom::Start(0))?;
            self.buffer.clear();
            return Ok(true);
        }
        let Ok(there) = std::fs::metadata(&self.path) else { return Ok(false) };
        let open = self.file.metadata()?;
        if (there.dev(), there.ino()) == (open.dev(), open.ino()) {
            return Ok(false);
        }
        self.file = File::open(&self.path)?;
        self.buffer.clear();
        Ok(true)
    }
}

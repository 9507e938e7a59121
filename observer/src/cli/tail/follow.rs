//! Following a ledger that grows: woken by inotify, through closed files, truncation and
//! replacement.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify;

use super::files::Lines;

/// Lines of a ledger, as they come.
pub(in crate::cli) struct Follower {
    watch: OwnedFd,
    pub(in crate::cli) lines: Lines,
}

impl Follower {
    /// From the file on that has the record `from`.
    pub(in crate::cli) fn open(path: &Path, from: u64) -> io::Result<Self> {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC)?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let events = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE;
        // The directory: it tells of writes to the file, and of another one in its place.
        inotify::add_watch(&watch, dir.unwrap_or(Path::new(".")), events)?;
        Ok(Self { watch, lines: Lines::open(path, from)? })
    }

    /// The next line; None when it had to wait for one.
    pub(in crate::cli) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.lines.next()? {
            Some(line) => Ok(Some(line)),
            None => self.wait().map(|()| None),
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
}

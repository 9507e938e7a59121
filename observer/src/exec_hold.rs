//! Holding an exec while somebody looks at its file: fanotify(7), FAN_OPEN_EXEC_PERM; and the same
//! for whoever opens one of some files that are named: FAN_OPEN_PERM.
//!
//! Whoever executes a file on a marked filesystem waits in the kernel, unseen by its parent, until
//! it is answered here; so nothing but answering happens on this thread, and what is looked at is
//! bounded. When the recorder ends, however it ends, the kernel lets go of all that it held. While
//! it is stopped (SIGSTOP, a debugger) every exec that it would have to answer waits.
//!
//! A file that the kernel can't hand over, for want of a descriptor above all, is refused by the kernel
//! itself (fs/notify/fanotify/fanotify_user.c, fanotify_read): nobody executes what nobody looked at.
//! [`Health`] tells that.

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

/// What becomes of a held exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It goes on.
    Allow,
    /// It goes on, and this file is not asked about again unless it is written to.
    AllowFile,
}

/// Who is asked, on the one thread that answers.
pub trait Ask: Send + 'static {
    /// Before the first question: what is to be watched meanwhile.
    fn begin(&mut self) -> Option<OwnedFd> {
        None
    }

    /// About a file, open for reading, that a process is about to execute or to open.
    fn ask(&mut self, file: &File, pid: u32) -> Answer;

    /// What is watched can be read.
    fn woken(&mut self, _watched: &OwnedFd) {}
}

impl<F: FnMut(&File, u32) -> Answer + Send + 'static> Ask for F {
    fn ask(&mut self, file: &File, pid: u32) -> Answer {
        self(file, pid)
    }
}

/// Files that are not asked about again, at most: each mark holds its inode in memory.
const MARKS: usize = 8192;
/// Room for one event: where the kernel fails at a second one, it refuses that and doesn't say so.
const READ: usize = size_of::<libc::fanotify_event_metadata>();

/// Whether what waits can be looked into, for whoever tells it.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Course>>);

#[derive(Debug, Default)]
struct Course {
    failing: bool,
    /// A failure that was not given out yet.
    unsaid: Option<String>,
    /// Whether it was given out that it fails.
    said: bool,
}

/// A change of health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It fails from here on, with the reason.
    Fails(String),
    /// It works again.
    Works,
}

impl Health {
    /// Something could not be looked into.
    pub fn failed(&self, error: &io::Error) {
        let mut course = self.course();
        course.failing = true;
        if !course.said {
            course.unsaid.get_or_insert_with(|| error.to_string());
        }
    }

    /// Something could.
    pub fn works(&self) {
        self.course().failing = false;
    }

    /// What changed since the last time: a failure is given out once until it is over.
    pub fn changes(&self) -> Vec<Change> {
        let mut course = self.course();
        let mut changes = vec![];
        if let Some(why) = course.unsaid.take() {
            course.said = true;
            changes.push(Change::Fails(why));
        }
        if course.said && !course.failing {
            course.said = false;
            changes.push(Change::Works);
        }
        changes
    }

    fn course(&self) -> std::sync::MutexGuard<'_, Course> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hold in force; dropped, all goes on.
pub struct ExecHold {
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl ExecHold {
    /// Holds execs on the filesystems of these paths, and opens of these files, and asks about
    /// each. Gives the paths that can't be marked, with the reason. `health` is told what the kernel
    /// could not hand over, and so refused.
    ///
    /// # Errors
    /// When the kernel has no such holds, or none of the filesystems takes one.
    pub fn start(
        paths: &[PathBuf],
        files: &[PathBuf],
        health: Health,
        ask: impl Ask,
    ) -> io::Result<(Self, Vec<(PathBuf, io::Error)>)> {
        let flags = libc::FAN_CLASS_CONTENT | libc::FAN_CLOEXEC | libc::FAN_UNLIMITED_MARKS;
        let open = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_LARGEFILE | libc::O_NOATIME;
        // SAFETY: takes numbers.
        let fd = unsafe { libc::fanotify_init(flags, open.cast_unsigned()) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given it to us.
        let group = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut refused = vec![];
        for path in paths {
            let how = libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM;
            if let Err(error) = mark(&group, how, libc::FAN_OPEN_EXEC_PERM, path) {
                refused.push((path.clone(), error));
            }
        }
        if refused.len() == paths.len() {
            let first = refused.into_iter().next().map(|(_, error)| error);
            return Err(first.unwrap_or_else(|| io::Error::other("no filesystem to mark")));
        }
        for file in files {
            if let Err(error) = mark(&group, libc::FAN_MARK_ADD, libc::FAN_OPEN_PERM, file) {
                refused.push((file.clone(), error));
            }
        }
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let watch = stop.try_clone()?;
        let thread = thread::Builder::new()
            .name("observer-hold".into())
            .spawn(move || answer(&group, &watch, &health, ask))?;
        Ok((Self { stop, thread: Some(thread) }, refused))
    }
}

impl Drop for ExecHold {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn mark(group: &OwnedFd, how: u32, mask: u64, path: &Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a C string, and numbers.
    let done =
        unsafe { libc::fanotify_mark(group.as_raw_fd(), how, mask, libc::AT_FDCWD, path.as_ptr()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn answer(group: &OwnedFd, stop: &OwnedFd, health: &Health, mut asked: impl Ask) {
    let mut marks = 0;
    let watched = asked.begin();
    // Kept for the next file, so that a table that others fill has room for it.
    let mut spare = stop.try_clone().ok();
    loop {
        let fds = [Some(group), Some(stop), watched.as_ref()];
        let mut fds: Vec<_> =
            fds.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        let came: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if came[1] {
            return; // closing the group lets everybody go on
        }
        if let (Some(true), Some(watched)) = (came.get(2), &watched) {
            asked.woken(watched);
        }
        if !came[0] {
            continue;
        }
        drop(spare.take());
        match next(group) {
            Ok(Some((file, pid))) => {
                health.works();
                let said = asked.ask(&file, pid);
                if said == Answer::AllowFile && marks < MARKS {
                    let how = libc::FAN_MARK_ADD | libc::FAN_MARK_IGNORED_MASK;
                    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
                    let mask = libc::FAN_OPEN_EXEC_PERM | libc::FAN_OPEN_PERM;
                    marks += usize::from(mark(group, how, mask, &path).is_ok());
                }
                let (fd, response) = (file.as_raw_fd(), libc::FAN_ALLOW);
                let response = libc::fanotify_response { fd, response };
                // SAFETY: a plain structure, of this many bytes.
                unsafe {
                    let len = size_of::<libc::fanotify_response>();
                    libc::write(group.as_raw_fd(), (&raw const response).cast(), len);
                }
            }
            Ok(None) => {}
            Err(error) => health.failed(&error),
        }
        spare = stop.try_clone().ok();
    }
}

/// The next file that somebody waits for, with the process; none where nobody does.
fn next(group: &OwnedFd) -> io::Result<Option<(File, u32)>> {
    let mut room = [0u64; READ / 8];
    // SAFETY: our own room, of this many bytes.
    let got = unsafe { libc::read(group.as_raw_fd(), room.as_mut_ptr().cast(), READ) };
    let Ok(got) = usize::try_from(got) else {
        let error = io::Error::last_os_error();
        let nothing = [io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock];
        return if nothing.contains(&error.kind()) { Ok(None) } else { Err(error) };
    };
    let Some(event) = event(&room, got) else { return Ok(None) };
    if event.mask & libc::FAN_Q_OVERFLOW != 0 {
        return Err(io::Error::other("more execs at once than the kernel holds went on unseen"));
    }
    if event.fd < 0 {
        return Ok(None);
    }
    // SAFETY: the kernel opened it for us with this event.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(event.fd) });
    Ok(Some((file, event.pid.cast_unsigned())))
}

/// The event that was read.
fn event(room: &[u64; READ / 8], got: usize) -> Option<libc::fanotify_event_metadata> {
    if got < READ {
        return None;
    }
    // SAFETY: all of it is what the kernel filled; the structure is of integers.
    let event = unsafe { room.as_ptr().cast::<libc::fanotify_event_metadata>().read_unaligned() };
    (event.vers == libc::FANOTIFY_METADATA_VERSION).then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_until_it_is_over() {
        let (health, full) = (Health::default(), io::Error::from_raw_os_error(libc::EMFILE));
        health.works();
        assert_eq!(health.changes(), []);
        let fails = || Change::Fails(full.to_string());
        health.failed(&full);
        health.failed(&io::Error::other("later"));
        assert_eq!(health.changes(), [fails()]);
        health.failed(&full);
        assert_eq!(health.changes(), []);
        health.works();
        assert_eq!(health.changes(), [Change::Works]);
        health.failed(&full);
        health.works();
        assert_eq!(
            health.changes(),
            [fails(), Change::Works],
            "one that was over at once is told too"
        );
        assert_eq!(health.changes(), []);
    }
}

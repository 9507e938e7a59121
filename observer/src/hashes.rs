//! Hashes of programs' files, each known for as long as nobody writes to the file.
//!
//! A file that is hashed is held by a read lease (fcntl(2), F_SETLEASE): whoever opens it for writing
//! or truncates it waits until that is given back, and before it is, the hash is forgotten. A file
//! that somebody has open for writing has none.

use std::fs::File;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::ptr;

use observer_common::FileKey;
use ring::digest;

/// The largest file that is hashed: everybody else's exec waits meanwhile.
const LARGEST: u64 = 1 << 30;

/// FUSE_SUPER_MAGIC (fs/fuse/inode.c).
const FUSE: i64 = 0x6573_5546;

/// Where hashes are looked up.
pub trait Table {
    /// Names a file's hash; false where that fails.
    fn put(&mut self, file: &FileKey, sha256: [u8; 32]) -> bool;
    /// Forgets it.
    fn remove(&mut self, file: &FileKey);
}

/// The files whose hashes are known, that which was asked for last at the end.
pub struct Hashes<T: Table> {
    table: T,
    held: Vec<Held>,
    most: usize,
}

/// A file under a lease, which ends when it is closed.
struct Held {
    file: File,
    key: FileKey,
    /// Device and inode, as stat(2) has them: on some filesystems not what the kernel calls them.
    place: (u64, u64),
}

impl<T: Table> Hashes<T> {
    /// No file yet, and `most` at a time.
    pub fn new(table: T, most: usize) -> Self {
        Self { table, held: vec![], most: most.max(1) }
    }

    /// Sees to it that a file's hash is known.
    ///
    /// # Errors
    /// When it can't be read or held: somebody has it open for writing, or is about to; or it is
    /// larger than 1 GiB, or on FUSE or a filesystem without leases. Then none is known.
    pub fn know(&mut self, file: &File) -> io::Result<()> {
        let before = file.metadata()?;
        let place = (before.dev(), before.ino());
        if let Some(at) = self.held.iter().position(|held| held.place == place) {
            let held = self.held.remove(at);
            if held.is_whole() && stamp(&before) == stamp_of(&held.key) {
                self.held.push(held);
                return Ok(());
            }
            self.forget(held);
        }
        if before.len() > LARGEST {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        while self.held.len() >= self.most {
            let oldest = self.held.remove(0);
            self.forget(oldest);
        }
        if rustix::fs::fstatfs(file)?.f_type == FUSE {
            return Err(io::Error::other("its filesystem's server may answer each read otherwise"));
        }
        let file = self.room_for(|| file.try_clone())?;
        lease(&file)?;
        let sha256 = sha256(&file)?;
        let after = file.metadata()?;
        let (dev, ino) = self.room_for(|| leased(&file))?;
        let (ctime, ctime_nsec, size) = stamp(&after);
        if stamp(&before) != (ctime, ctime_nsec, size) {
            return Err(io::Error::other("it was written to meanwhile"));
        }
        let held = Held { file, key: FileKey { dev, ctime_nsec, ino, ctime, size }, place };
        if !self.table.put(&held.key, sha256) {
            return Err(io::Error::other("its hash could not be noted"));
        }
        self.held.push(held);
        Ok(())
    }

    /// What needs a descriptor: where there is none, files are forgotten for it, the oldest first.
    fn room_for<R>(&mut self, open: impl Fn() -> io::Result<R>) -> io::Result<R> {
        loop {
            match open() {
                Err(error) if is_want(&error) && !self.held.is_empty() => {
                    let oldest = self.held.remove(0);
                    self.forget(oldest);
                }
                done => return done,
            }
        }
    }

    /// Forgets the files that somebody waits to write to, and lets them.
    pub fn let_go(&mut self) {
        let held = std::mem::take(&mut self.held);
        let (whole, broken) = held.into_iter().partition(Held::is_whole);
        self.held = whole;
        broken.into_iter().for_each(|held: Held| self.forget(held));
    }

    fn forget(&mut self, held: Held) {
        self.table.remove(&held.key);
        drop(held);
    }
}

impl<T: Table> Drop for Hashes<T> {
    fn drop(&mut self) {
        for held in std::mem::take(&mut self.held) {
            self.forget(held);
        }
    }
}

impl Held {
    /// Whether nobody has asked to write to it.
    fn is_whole(&self) -> bool {
        // SAFETY: takes numbers.
        unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_GETLEASE) == libc::F_RDLCK }
    }
}

/// Whether it failed for want of descriptors or memory, whatever the file.
pub fn is_want(error: &io::Error) -> bool {
    [libc::EMFILE, libc::ENFILE, libc::ENOMEM].map(Some).contains(&error.raw_os_error())
}

/// The file's last change, and its size.
fn stamp(of: &std::fs::Metadata) -> (u64, u32, u64) {
    (of.ctime().cast_unsigned(), u32::try_from(of.ctime_nsec()).unwrap_or(u32::MAX), of.len())
}

fn stamp_of(key: &FileKey) -> (u64, u32, u64) {
    (key.ctime, key.ctime_nsec, key.size)
}

/// SHA-256 of a file, from its beginning.
///
/// # Errors
/// When it can't be read.
pub fn sha256(file: &File) -> io::Result<[u8; 32]> {
    let mut hash = digest::Context::new(&digest::SHA256);
    let (mut room, mut at) = (vec![0; 128 * 1024], 0);
    loop {
        match file.read_at(&mut room, at) {
            Ok(0) => break,
            Ok(n) => {
                hash.update(room.get(..n).unwrap_or_default());
                at += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(hash.finish().as_ref());
    Ok(sha256)
}

/// Takes a read lease. That somebody would write is told to this thread alone, by SIGIO.
fn lease(file: &File) -> io::Result<()> {
    /// F_SETOWN_EX and F_OWNER_TID (include/uapi/asm-generic/fcntl.h).
    const F_SETOWN_EX: i32 = 15;
    const F_OWNER_TID: i32 = 0;
    // SAFETY: numbers, and a structure of two integers that the kernel reads.
    unsafe {
        let owner: [i32; 2] = [F_OWNER_TID, libc::gettid()];
        // Before the lease, which names the whole process where nobody is named.
        if libc::fcntl(file.as_raw_fd(), F_SETOWN_EX, owner.as_ptr()) != 0
            || libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) != 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The device and inode of a file, as the kernel has them, from its lease (fs/locks.c,
/// lock_get_status).
fn leased(file: &File) -> io::Result<(u32, u64)> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    info.lines().find_map(place).ok_or_else(|| io::Error::other("its lease is broken"))
}

/// `lock: 1: LEASE ACTIVE READ 123 08:01:4711 0 EOF`.
fn place(line: &str) -> Option<(u32, u64)> {
    let mut words = line.strip_prefix("lock:")?.split_whitespace().skip(1);
    if [words.next()?, words.next()?, words.next()?] != ["LEASE", "ACTIVE", "READ"] {
        return None;
    }
    let mut parts = words.nth(1)?.split(':');
    let mut hex = || u32::from_str_radix(parts.next()?, 16).ok();
    let (major, minor) = (hex()?, hex()?);
    // MKDEV (include/linux/kdev_t.h).
    Some((major << 20 | minor, parts.next()?.parse().ok()?))
}

/// Blocks SIGIO for this thread; a descriptor that is readable when it came.
pub fn signals() -> Option<OwnedFd> {
    // SAFETY: a signal set of our own, and calls that fill and read it.
    unsafe {
        let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGIO);
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut());
        let fd = libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))
    }
}

/// Takes the signal that came.
pub fn signalled(signals: &OwnedFd) {
    let mut room = [0u8; size_of::<libc::signalfd_siginfo>()];
    while rustix::io::read(signals, &mut room).is_ok_and(|n| n > 0) {}
}

#[cfg(test)]
mod tests;

//! cgroup v2: where it is mounted, and the directory that is a run's.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use crate::model::RunId;

/// include/uapi/linux/magic.h.
const CGROUP2_SUPER_MAGIC: rustix::fs::FsWord = 0x6367_7270;
/// Directories below a run's cgroup that are looked at.
const WALK: usize = 16_384;
/// How long one that is still in use is tried to be removed, and how often.
const PATIENCE: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(10);

/// A cgroup that can't be used.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// No cgroup v2 here.
    #[error(
        "no cgroup v2 mount found in /proc/self/mountinfo: mount one with \
         `mount -t cgroup2 none /sys/fs/cgroup`"
    )]
    NoMount,
    /// Something else is mounted over it.
    #[error("the cgroup v2 mount at {0} is covered by another mount: `umount {0}` uncovers it")]
    Covered(PathBuf),
    /// The system said no.
    #[error("cgroup {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A path that is no cgroup of its own.
    #[error("{0} is not a cgroup below {1}: name a directory there, such as {1}/my-agent")]
    Outside(PathBuf, PathBuf),
    /// The root cgroup holds the whole host.
    #[error(
        "process {0} is in the root cgroup, which holds the whole host: start it in a cgroup of \
         its own, with `observer run` or `systemd-run --scope`"
    )]
    Root(u32),
    /// No such process.
    #[error("no process {0} here: has it ended?")]
    NoProcess(u32),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CgroupError + '_ {
    |source| CgroupError::Io { path: path.to_owned(), source }
}

/// The cgroup v2 mount.
#[derive(Clone, Debug)]
pub struct Mount {
    path: PathBuf,
}

impl Mount {
    /// Finds it; the path differs from host to host.
    pub fn find() -> Result<Self, CgroupError> {
        let text = fs::read("/proc/self/mountinfo").map_err(at(Path::new("/proc/self")))?;
        let path = parse_mountinfo(&text).ok_or(CgroupError::NoMount)?;
        let there = rustix::fs::statfs(&path).map_err(|errno| at(&path)(errno.into()))?;
        if there.f_type != CGROUP2_SUPER_MAGIC {
            return Err(CgroupError::Covered(path));
        }
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path, below the mount, of the cgroup with this kernfs id; none where it is gone.
    pub fn path_of_id(&self, id: u64) -> Option<Vec<u8>> {
        let dir = self.open_id(id).ok()?;
        let link = rustix::fs::readlinkat(rustix::fs::CWD, proc_fd(&dir), vec![]).ok()?;
        let path = link.to_bytes().strip_prefix(self.path.as_os_str().as_bytes())?;
        if path.ends_with(b" (deleted)") {
            return None;
        }
        Some(if path.is_empty() { b"/".to_vec() } else { path.to_vec() })
    }

    /// Opens the cgroup with this kernfs id (fs/kernfs/mount.c, FILEID_KERNFS).
    pub fn open_id(&self, id: u64) -> io::Result<OwnedFd> {
        const FILEID_KERNFS: i32 = 0xfe;
        #[repr(C)]
        struct Handle {
            bytes: u32,
            kind: i32,
            id: u64,
        }
        let mount = File::open(&self.path)?;
        let mut handle = Handle { bytes: 8, kind: FILEID_KERNFS, id };
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: the handle is a struct file_handle of eight bytes, alive over the call.
        let fd = unsafe {
            let mount = std::os::fd::AsRawFd::as_raw_fd(&mount);
            libc::syscall(libc::SYS_open_by_handle_at, mount, &raw mut handle, flags)
        };
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given it to us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

fn proc_fd(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(fd))
}

/// The mount point of a cgroup2 filesystem, one of its root first (proc(5), mountinfo).
fn parse_mountinfo(text: &[u8]) -> Option<PathBuf> {
    let mut found = None;
    for line in text.split(|&b| b == b'\n') {
        let fields: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
        let dash = fields.iter().position(|field| *field == b"-");
        let kind = dash.and_then(|dash| fields.get(dash + 1));
        if kind != Some(&&b"cgroup2"[..]) {
            continue;
        }
        let (Some(root), Some(point)) = (fields.get(3), fields.get(4)) else { continue };
        let path = PathBuf::from(OsStr::from_bytes(&unescape(point)));
        if *root == b"/" {
            return Some(path);
        }
        found = found.or(Some(path));
    }
    found
}

/// `\040` and the like.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    let mut at = 0;
    while let Some(&b) = text.get(at) {
        let octal = text.get(at + 1..at + 4).filter(|_| b == b'\\');
        let byte = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match byte.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(b);
                at += 1;
            }
        }
    }
    out
}

/// A run's cgroup.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    relative: PathBuf,
    dir: File,
    id: u64,
}

impl Cgroup {
    /// Makes `observer/<run>` below the mount.
    pub fn create(mount: &Mount, run: RunId) -> Result<Self, CgroupError> {
        let path = mount.path().join("observer").join(run.to_string());
        fs::create_dir_all(&path).map_err(at(&path))?;
        Self::open(mount, &path)
    }

    /// One that is there.
    pub fn open(mount: &Mount, path: &Path) -> Result<Self, CgroupError> {
        let outside = || CgroupError::Outside(path.to_owned(), mount.path().to_owned());
        let real = fs::canonicalize(path).map_err(at(path))?;
        let relative = real.strip_prefix(mount.path()).map_err(|_| outside())?.to_owned();
        if relative.as_os_str().is_empty() || !real.join("cgroup.procs").is_file() {
            return Err(outside());
        }
        let dir = File::open(&real).map_err(at(&real))?;
        let id = dir.metadata().map_err(at(&real))?.ino();
        Ok(Self { relative: Path::new("/").join(relative), path: real, dir, id })
    }

    /// The one that a process is in.
    pub fn of_pid(mount: &Mount, pid: u32) -> Result<Self, CgroupError> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup"));
        let text = text.map_err(|_| CgroupError::NoProcess(pid))?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
        match path.ok_or(CgroupError::NoMount)? {
            "" => Err(CgroupError::Root(pid)),
            path => Self::open(mount, &mount.path().join(path)),
        }
    }

    /// Says that a recorder lives that observes it, for as long as this value does: also while
    /// nobody runs there yet, or any more.
    pub fn claim(&self) -> Result<(), CgroupError> {
        let claimed = flock(&self.dir, FlockOperation::NonBlockingLockShared);
        claimed.map_err(|errno| at(&self.path)(errno.into()))
    }

    /// Whether somebody has claimed it.
    pub fn is_claimed(&self) -> bool {
        // Let go at once: the descriptor is this value's own.
        match flock(&self.dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => flock(&self.dir, FlockOperation::Unlock).is_err(),
            Err(errno) => errno == rustix::io::Errno::WOULDBLOCK,
        }
    }

    /// Its kernfs id, which is its inode's number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its path below the mount, from a slash.
    pub fn relative(&self) -> &Path {
        &self.relative
    }

    /// Its directory, for attaching programs and for clone3.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The ids of those below it.
    pub fn descendants(&self) -> Vec<u64> {
        let ids = self.walk().into_iter().skip(1);
        ids.filter_map(|path| fs::metadata(path).ok().map(|meta| meta.ino())).collect()
    }

    /// It and those below it, parents first.
    fn walk(&self) -> Vec<PathBuf> {
        let mut out = vec![self.path.clone()];
        let mut next = 0;
        while let Some(path) = out.get(next)
            && out.len() < WALK
        {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            let dirs: Vec<_> = entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path())
                .collect();
            out.extend(dirs);
            next += 1;
        }
        out
    }

    /// The processes in it and below it.
    pub fn tasks(&self) -> Vec<u32> {
        let text =
            |path: PathBuf| fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
        let lists = self.walk().into_iter().map(text);
        lists
            .flat_map(|list| list.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect()
    }

    /// Whether a process lives in it or below it; one that is gone has none.
    pub fn populated(&self) -> bool {
        fs::read_to_string(self.path.join("cgroup.events"))
            .is_ok_and(|text| text.contains("populated 1"))
    }

    /// Whether its processes are stopped, or are to be as soon as they can.
    pub fn frozen(&self) -> bool {
        let asked = fs::read_to_string(self.path.join("cgroup.freeze"));
        asked.is_ok_and(|text| text.trim() == "1")
    }

    /// Its events file: POLLPRI says that [`Self::populated`] may have changed.
    pub fn events(&self) -> Result<File, CgroupError> {
        let path = self.path.join("cgroup.events");
        File::open(&path).map_err(at(&path))
    }

    /// Ends every process in it and below it.
    pub fn kill(&self) -> Result<(), CgroupError> {
        let path = self.path.join("cgroup.kill");
        fs::write(&path, "1").map_err(at(&path))
    }

    /// Stops every process in it and below it, or lets them go on.
    pub fn freeze(&self, freeze: bool) -> Result<(), CgroupError> {
        let path = self.path.join("cgroup.freeze");
        fs::write(&path, if freeze { "1" } else { "0" }).map_err(at(&path))
    }

    /// Removes it and those below it; they must be empty. Who is on the way out of them is waited
    /// for, a second at most.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let until = Instant::now() + PATIENCE;
        let busy = |e: &io::Error| e.kind() == io::ErrorKind::ResourceBusy;
        for path in self.walk().iter().rev() {
            let mut removed = fs::remove_dir(path);
            while removed.as_ref().is_err_and(busy) && Instant::now() < until {
                thread::sleep(AGAIN);
                removed = fs::remove_dir(path);
            }
            match removed {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(at(path)(e)),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_found_in_hybrid_and_unified_hosts() {
        let hybrid = b"30 25 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
            31 30 0:27 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n\
            32 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        assert_eq!(parse_mountinfo(hybrid).unwrap(), Path::new("/sys/fs/cgroup/unified"));
        let part =
            b"1 1 0:1 /sub /a rw - cgroup2 none rw\n2 1 0:1 / /b\\040c rw - cgroup2 none rw\n";
        assert_eq!(parse_mountinfo(part).unwrap(), Path::new("/b c"));
        assert_eq!(parse_mountinfo(b"1 1 0:1 / / rw - ext4 /dev/vda rw\n"), None);
    }

    #[test]
    fn the_root_and_what_is_elsewhere_are_refused() {
        let Ok(mount) = Mount::find() else {
            println!("no cgroup v2 here: not run");
            return;
        };
        for path in [mount.path(), Path::new("/tmp"), &mount.path().join("..")] {
            let refused = Cgroup::open(&mount, path);
            assert!(matches!(refused, Err(CgroupError::Outside(..))), "{path:?}: {refused:?}");
        }
    }

    #[test]
    fn a_cgroup_is_found_by_its_id_and_removed() {
        let Ok(mount) = Mount::find() else { return println!("no cgroup v2 here: not run") };
        let Ok(cgroup) = Cgroup::create(&mount, RunId::generate()) else {
            return println!("no right to make cgroups: not run");
        };
        let found = mount.path_of_id(cgroup.id()).unwrap();
        assert_eq!(found, cgroup.relative().as_os_str().as_bytes());
        assert!(!cgroup.populated() && cgroup.tasks().is_empty());
        let seen = || Cgroup::open(&mount, cgroup.path()).unwrap().is_claimed();
        assert!(!seen());
        cgroup.claim().unwrap();
        assert!(seen(), "whoever clears up must leave a living recorder's cgroup alone");
        cgroup.remove().unwrap();
        assert_eq!(mount.path_of_id(cgroup.id()), None);
    }
}

//! Mounts of the cases' own, and processes that see the system otherwise than it is.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A small file system in memory, unmounted when this is dropped.
#[derive(Debug)]
pub struct Tmpfs {
    path: PathBuf,
}

impl Tmpfs {
    /// One of this many bytes at `path`, which is made.
    ///
    /// # Errors
    /// When it can't be mounted.
    pub fn new(path: &Path, bytes: u64) -> Result<Self> {
        fs::create_dir(path).with_context(|| path.display().to_string())?;
        let size = CString::new(format!("size={bytes}"))?;
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), size.as_c_str())
            .with_context(|| format!("a tmpfs at {}", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Leaves no room in it: the file that has all of it.
    ///
    /// # Errors
    /// When something else goes wrong than that it is full.
    pub fn fill(&self) -> Result<PathBuf> {
        let path = self.path.join("everything-else");
        let mut file = File::create(&path)?;
        for _ in 0..1 << 16 {
            match file.write_all(&[1; 4096]) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::StorageFull => return Ok(path),
                Err(error) => return Err(error.into()),
            }
        }
        bail!("{} does not become full", self.path.display())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Detached, whoever still has a file open there.
        if let Err(error) = unmount(&self.path, UnmountFlags::DETACH) {
            eprintln!("{}: {error}", self.path.display());
        }
    }
}

/// How a process's view of the system differs from everybody else's.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// An empty directory covers this one.
    Covered(&'a Path),
    /// This is not mounted.
    Unmounted(&'a Path),
}

/// Has a command begin in a mount namespace of its own, with these changes in it.
///
/// # Errors
/// When a path has a NUL.
pub fn apart(command: &mut Command, changes: &[Change<'_>]) -> Result<()> {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).context("a NUL in a path");
    let changes: Vec<(bool, CString)> = changes
        .iter()
        .map(|change| match change {
            Change::Covered(path) => Ok((true, text(path)?)),
            Change::Unmounted(path) => Ok((false, text(path)?)),
        })
        .collect::<Result<_>>()?;
    let change = move || -> io::Result<()> {
        let called = |returned: i32| match returned {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        };
        // SAFETY: system calls alone, on texts that end in a NUL and were made before the fork.
        unsafe {
            called(libc::unshare(libc::CLONE_NEWNS))?;
            let private = libc::MS_REC | libc::MS_PRIVATE;
            called(libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), private, ptr::null()))?;
            for (cover, path) in &changes {
                called(if *cover {
                    let tmpfs = c"tmpfs".as_ptr();
                    libc::mount(tmpfs, path.as_ptr(), tmpfs, 0, ptr::null())
                } else {
                    libc::umount2(path.as_ptr(), libc::MNT_DETACH)
                })?;
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec `change` makes system calls alone.
    unsafe { command.pre_exec(change) };
    Ok(())
}

/// Has a command begin with so many bytes of memory at the most.
pub fn limited(command: &mut Command, bytes: u64) {
    let limit = move || {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: the limit is valid for reading.
        match unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec `limit` makes one system call.
    unsafe { command.pre_exec(limit) };
}

/// A file of this length that takes no room: zeros, with `end` as its last bytes.
///
/// # Errors
/// When the file system can't do that.
pub fn sparse(path: &Path, length: u64, end: &[u8]) -> Result<()> {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};
    let file = File::create(path).with_context(|| path.display().to_string())?;
    file.set_len(length).with_context(|| format!("{length} bytes"))?;
    file.write_all_at(end, length - end.len() as u64)?;
    let taken = file.metadata()?.blocks() * 512;
    ensure!(taken < 1 << 20, "{} takes {taken} bytes: it is not sparse", path.display());
    Ok(())
}

/// The names in a directory, in order; none where there is none.
///
/// # Errors
/// When it can't be read.
pub fn names(dir: &Path) -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(Vec::new()) };
    let text = |name: &OsStr| name.to_string_lossy().into_owned();
    let mut names: Vec<String> =
        entries.map(|entry| Ok(text(&entry?.file_name()))).collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

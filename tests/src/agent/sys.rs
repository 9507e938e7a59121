//! System calls as functions that return what went wrong. Nothing here decides anything.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::ptr;

use anyhow::{Context as _, Result};

/// A system call's return value, or the error that it left.
pub(super) fn check(returned: impl Into<i64>) -> io::Result<i64> {
    match returned.into() {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// The descriptor that a system call returned.
pub(super) fn owned(returned: i32) -> io::Result<OwnedFd> {
    check(returned)?;
    // SAFETY: the call succeeded and made this descriptor; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(returned) })
}

/// A program and its arguments as execve(2) wants them.
pub(super) struct Program {
    path: CString,
    args: Vec<CString>,
}

impl Program {
    /// `command` is the path and the arguments after argv\[0\], which is the path again.
    pub(super) fn new(command: &[OsString]) -> Result<Self> {
        let path = command.first().context("which program?")?;
        Self::with_args(path, command)
    }

    /// A path with an argv of its own.
    pub(super) fn with_args(path: &OsStr, argv: &[OsString]) -> Result<Self> {
        let text = |s: &OsStr| CString::new(s.as_bytes()).context("a NUL in an argument");
        let args = argv.iter().map(|a| text(a)).collect::<Result<_>>()?;
        Ok(Self { path: text(path)?, args })
    }

    fn argv(&self) -> Vec<*const libc::c_char> {
        self.args.iter().map(|a| a.as_ptr()).chain([ptr::null()]).collect()
    }

    /// Goes on as this program; returns only if that fails.
    pub(super) fn exec(&self) -> io::Error {
        let argv = self.argv();
        // SAFETY: path and argv are NUL-terminated, live until the call returns, and argv ends in
        // a null pointer.
        unsafe { libc::execv(self.path.as_ptr(), argv.as_ptr()) };
        io::Error::last_os_error()
    }

    /// Goes on as the program in this file, named by its descriptor alone.
    pub(super) fn exec_fd(&self, file: &File) -> io::Error {
        unsafe extern "C" {
            static environ: *const *const libc::c_char;
        }
        let argv = self.argv();
        // SAFETY: as in `exec`; the empty path is a NUL-terminated constant, `environ` is what the
        // C library keeps for this process, and no other thread changes it.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                file.as_raw_fd(),
                c"".as_ptr(),
                argv.as_ptr(),
                environ,
                libc::AT_EMPTY_PATH,
            )
        };
        io::Error::last_os_error()
    }

    /// Runs it in a child and waits.
    ///
    /// # Errors
    /// When there is no child to be had. That the program can't be executed is a status: its
    /// error number.
    pub(super) fn run(&self) -> io::Result<u8> {
        wait(fork(|| errno_status(&self.exec()))?)
    }

    /// Starts it in a child that `first` prepares, and leaves it to itself.
    pub(super) fn start(&self, first: impl FnOnce() -> io::Result<()>) -> io::Result<i32> {
        fork(|| match first() {
            Ok(()) => errno_status(&self.exec()),
            Err(error) => errno_status(&error),
        })
    }
}

/// The exit status that tells an error number.
pub(super) fn errno_status(error: &io::Error) -> u8 {
    error.raw_os_error().and_then(|n| u8::try_from(n).ok()).unwrap_or(super::MISUSED)
}

/// Does something in a child, which exits with what it returns. The child's pid.
pub(super) fn fork(child: impl FnOnce() -> u8) -> io::Result<i32> {
    // SAFETY: this process has one thread wherever it forks, so the child holds no lock of another.
    let pid = check(unsafe { libc::fork() })?;
    if pid == 0 {
        let status = child();
        // SAFETY: ends the child without running what the parent registered for its own end.
        unsafe { libc::_exit(status.into()) }
    }
    Ok(pid as i32)
}

/// Waits for a child: its exit status, or 128 and the signal that ended it.
pub(super) fn wait(pid: i32) -> io::Result<u8> {
    let mut status = 0;
    // SAFETY: `status` is valid for writing.
    check(unsafe { libc::waitpid(pid, &raw mut status, 0) })?;
    if libc::WIFSIGNALED(status) {
        return Ok(128 + libc::WTERMSIG(status) as u8);
    }
    Ok(libc::WEXITSTATUS(status) as u8)
}

/// This program's own file.
pub(super) fn own_file() -> Result<OsString> {
    Ok(std::env::current_exe().context("where is this program?")?.into_os_string())
}

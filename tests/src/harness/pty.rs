//! A terminal of the cases' own.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::ptr;

use anyhow::{Context as _, Result};

/// Both ends of a pseudoterminal. It echoes nothing and changes no byte of what is written there;
/// what is typed makes signals, as on any terminal.
#[derive(Debug)]
pub struct Pty {
    ours: File,
    theirs: OwnedFd,
}

impl Pty {
    /// A new one.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn new() -> Result<Self> {
        let (mut ours, mut theirs) = (-1, -1);
        // SAFETY: both are valid for writing, and nothing else is asked for.
        let made = unsafe {
            let (name, kind, size) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
            libc::openpty(&raw mut ours, &raw mut theirs, name, kind, size)
        };
        if made != 0 {
            return Err(io::Error::last_os_error()).context("no pseudoterminal");
        }
        // SAFETY: the call made both, and nobody else has them.
        let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
        let mut kind = rustix::termios::tcgetattr(&theirs)?;
        kind.output_modes.remove(rustix::termios::OutputModes::OPOST);
        kind.local_modes.remove(rustix::termios::LocalModes::ECHO);
        rustix::termios::tcsetattr(&theirs, rustix::termios::OptionalActions::Now, &kind)?;
        for fd in [&ours, &theirs] {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
        }
        Ok(Self { ours: ours.into(), theirs })
    }

    /// Has a command begin as the leader of a session on this terminal, in its foreground, with
    /// its standard input and output there.
    ///
    /// # Errors
    /// When the descriptor can't be had twice.
    pub fn give(&self, command: &mut Command) -> Result<()> {
        command.stdin(self.theirs.try_clone()?).stdout(self.theirs.try_clone()?);
        let terminal = self.theirs.as_raw_fd();
        let lead = move || {
            // SAFETY: system calls alone; the descriptor is open until the exec.
            let led =
                unsafe { libc::setsid() >= 0 && libc::ioctl(terminal, libc::TIOCSCTTY, 0) == 0 };
            if led { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        // SAFETY: between fork and exec `lead` makes system calls alone.
        unsafe { command.pre_exec(lead) };
        Ok(())
    }

    /// Types this.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn type_in(&self, bytes: &[u8]) -> Result<()> {
        (&self.ours).write_all(bytes).context("the terminal")
    }

    /// What is written here until `child`, which has this terminal, and all that share it are
    /// gone.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read_all(self, child: &mut Child) -> Result<Vec<u8>> {
        let Self { mut ours, theirs } = self;
        drop(theirs);
        let mut out = vec![];
        match ours.read_to_end(&mut out) {
            // The last of the other side has closed it.
            Err(e) if e.raw_os_error() == Some(libc::EIO) => {}
            ended => drop(ended?),
        }
        child.wait()?;
        Ok(out)
    }
}

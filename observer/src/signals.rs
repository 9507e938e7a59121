//! Signals as things to read, and whether the terminal sent them.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

/// What ends a recording, or is meant for the agent.
const WATCHED: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// Its number.
    pub(crate) signal: i32,
    /// Whether the terminal sent it, to the agent as well: it stands in the same foreground
    /// process group.
    pub(crate) from_terminal: bool,
}

impl Received {
    /// Whether it asks a recorder to read its files again.
    pub(crate) fn asks_to_reload(self) -> bool {
        self.signal == libc::SIGHUP && !self.from_terminal
    }
}

/// The signals of this process, read from a descriptor.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Takes SIGINT, SIGTERM, SIGHUP and SIGQUIT. Before any other thread begins: it is inherited.
    pub(crate) fn take() -> io::Result<Self> {
        // SAFETY: a signal set of our own, and calls that fill and read it.
        unsafe {
            let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
            libc::sigemptyset(set.as_mut_ptr());
            for signal in WATCHED {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            if libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()) < 0 {
                return Err(io::Error::last_os_error());
            }
            let fd = libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { fd: OwnedFd::from_raw_fd(fd) })
        }
    }

    /// Readable when one has come.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The next that has come, without waiting.
    pub(crate) fn next(&self) -> Option<Received> {
        const SI_KERNEL: i32 = 0x80;
        let mut bytes = [0u8; size_of::<libc::signalfd_siginfo>()];
        let n = rustix::io::read(&self.fd, &mut bytes).ok()?;
        if n != bytes.len() {
            return None;
        }
        // SAFETY: a whole signalfd_siginfo, which is integers alone.
        let info: libc::signalfd_siginfo = unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) };
        Some(Received {
            signal: info.ssi_signo.cast_signed(),
            from_terminal: info.ssi_code == SI_KERNEL,
        })
    }
}

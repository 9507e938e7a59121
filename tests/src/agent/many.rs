//! Great numbers of one thing, in as little besides it as can be: what a benchmark times.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::ptr;

use anyhow::{Result, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::sys::{self, Program};

/// Runs a program `count` times, each time in a child that shares this one's memory until then
/// (posix_spawn(3)).
pub(super) fn spawn(count: u64, path: &OsStr) -> Result<u8> {
    let path = CString::new(path.as_bytes())?;
    let argv = [path.as_ptr().cast_mut(), ptr::null_mut()];
    let env: [*mut libc::c_char; 1] = [ptr::null_mut()];
    for n in 0..count {
        let mut pid = 0;
        // SAFETY: a path that ends with NUL, lists that end with null, and a place for the pid.
        let failed = unsafe {
            libc::posix_spawn(
                &raw mut pid,
                path.as_ptr(),
                ptr::null(),
                ptr::null(),
                argv.as_ptr(),
                env.as_ptr(),
            )
        };
        if failed != 0 {
            return Err(io::Error::from_raw_os_error(failed).into());
        }
        let status = sys::wait(pid)?;
        ensure!(status == 0, "number {n} ended with {status}");
    }
    Ok(0)
}

/// Sends `count` datagrams from one socket, each to another port than the last ones.
pub(super) fn udp(count: u64) -> Result<u8> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    for n in 0..count {
        let port = 20_000 + (n % 10_000) as u16;
        socket.send_to(b"datagram", (Ipv4Addr::LOCALHOST, port))?;
    }
    Ok(0)
}

/// Makes the least system call `count` times.
pub(super) fn syscall(count: u64) -> Result<u8> {
    for _ in 0..count {
        // SAFETY: it takes nothing, and the C library does not remember its answer.
        unsafe { libc::syscall(libc::SYS_getppid) };
    }
    Ok(0)
}

/// Does one thing in `ways` children at once; the last failure's status.
pub(super) fn parallel(ways: u64, deed: &[OsString]) -> Result<u8> {
    let status = || match super::act(deed) {
        Ok(status) => status,
        Err(_) => super::MISUSED,
    };
    let children: Vec<_> = (0..ways).map(|_| sys::fork(status)).collect::<io::Result<_>>()?;
    let mut last = 0;
    for child in children {
        match sys::wait(child)? {
            0 => {}
            status => last = status,
        }
    }
    Ok(last)
}

/// Goes on as a program on these processors alone.
pub(super) fn pinned(processors: Range<usize>, command: &[OsString]) -> Result<u8> {
    let mut cpus = CpuSet::new();
    processors.for_each(|cpu| cpus.set(cpu));
    sched_setaffinity(None, &cpus)?;
    Err(Program::new(command)?.exec().into())
}

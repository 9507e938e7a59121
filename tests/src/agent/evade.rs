//! Ways around a recorder that watches the usual doors alone.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::ptr;

use anyhow::{Context as _, Result, bail, ensure};

use super::sys::{self, Program};
use super::{UNSUPPORTED, net};

/// Runs a program in a child that is born in another cgroup: no move is ever made.
pub(super) fn born_elsewhere(cgroup: &OsStr, command: &[OsString]) -> Result<u8> {
    let program = Program::new(command)?;
    let pid = clone_into(cgroup, || sys::errno_status(&program.exec()))?;
    Ok(sys::wait(pid)?)
}

/// A child born in another cgroup, which exits with what `child` returns: its pid.
fn clone_into(cgroup: &OsStr, child: impl FnOnce() -> u8) -> Result<i32> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let dir = File::open(cgroup).with_context(|| cgroup.to_string_lossy().into_owned())?;
    // SAFETY: plain data; all zeros is its empty form.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = CLONE_INTO_CGROUP;
    args.exit_signal = libc::SIGCHLD as u64;
    args.cgroup = dir.as_raw_fd() as u64;
    let size = size_of::<libc::clone_args>();
    // SAFETY: without CLONE_VM this is a fork of a process with one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size) };
    if sys::check(pid)? == 0 {
        let status = child();
        // SAFETY: ends the child alone.
        unsafe { libc::_exit(status.into()) }
    }
    Ok(i32::try_from(pid)?)
}

/// A connect that fails before it is on its way; then the same socket's next one, from a child that
/// is born in another cgroup.
pub(super) fn fail_then_leave(cgroup: &OsStr, to: &str) -> Result<u8> {
    let fd = net::socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    ensure!(net::join(&fd, &net::Name::new(net::address("255.255.255.255:9")?)).is_err());
    let name = net::Name::new(net::address(to)?);
    let pid = clone_into(cgroup, || match net::join(&fd, &name) {
        Ok(()) => 0,
        Err(error) => error.root_cause().downcast_ref().map_or(super::MISUSED, sys::errno_status),
    })?;
    Ok(sys::wait(pid)?)
}

/// execve(2) by the 32-bit system call of an i386 program, from a child; its status.
pub(super) fn exec_by_int80(command: &[OsString]) -> Result<u8> {
    const GETPID: u32 = 20;
    const EXECVE: u32 = 11;
    // SAFETY: the call takes nothing; a kernel without it ends the child by a signal.
    let alive = sys::fork(|| u8::from(unsafe { int80(GETPID, 0, 0, 0) } < 0))?;
    if sys::wait(alive)? != 0 {
        return Ok(UNSUPPORTED);
    }
    let mut low = Low::new()?;
    let path = low.text(command.first().context("which program?")?)?;
    let mut argv = command.iter().map(|arg| low.text(arg)).collect::<Result<Vec<_>>>()?;
    argv.push(0);
    let argv = low.words(&argv)?;
    let child = sys::fork(|| {
        // SAFETY: texts end with NUL, the list with null, all below 4 GiB, as the call wants them.
        let ret = unsafe { int80(EXECVE, path, argv, 0) };
        sys::errno_status(&io::Error::from_raw_os_error(-ret))
    })?;
    Ok(sys::wait(child)?)
}

/// connect(2) by the 32-bit system call of an i386 program.
pub(super) fn connect_by_int80(fd: i32, name: &[u8]) -> Result<u8> {
    const GETPID: u32 = 20;
    const CONNECT: u32 = 362;
    // SAFETY: the call takes nothing; a kernel without it ends the child by a signal.
    let alive = sys::fork(|| u8::from(unsafe { int80(GETPID, 0, 0, 0) } < 0))?;
    if sys::wait(alive)? != 0 {
        return Ok(UNSUPPORTED);
    }
    let mut low = Low::new()?;
    let at = low.put(name)?;
    // SAFETY: the name stands below 4 GiB, as the call wants it.
    match unsafe { int80(CONNECT, fd.cast_unsigned(), at, name.len() as u32) } {
        0 => Ok(0),
        errno => Err(io::Error::from_raw_os_error(-errno).into()),
    }
}

/// # Safety
/// What the call takes is the caller's to know.
#[cfg(target_arch = "x86_64")]
unsafe fn int80(number: u32, first: u32, second: u32, third: u32) -> i32 {
    let ret: i32;
    // SAFETY: ebx is the compiler's own and is put back.
    unsafe {
        std::arch::asm!(
            "xchg rbx, rsi", "int 0x80", "xchg rbx, rsi",
            inlateout("eax") number => ret,
            in("rsi") u64::from(first), in("ecx") second, in("edx") third,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    ret
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn int80(_number: u32, _first: u32, _second: u32, _third: u32) -> i32 {
    -libc::ENOSYS
}

/// Memory that a pointer of 32 bits reaches.
struct Low {
    base: *mut u8,
    used: usize,
}

impl Low {
    const SIZE: usize = 64 * 1024;

    fn new() -> Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: new memory, at a place of the kernel's choice.
        let base = unsafe { libc::mmap(ptr::null_mut(), Self::SIZE, rights, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            bail!(io::Error::last_os_error());
        }
        Ok(Self { base: base.cast(), used: 0 })
    }

    fn text(&mut self, text: &OsStr) -> Result<u32> {
        let bytes = [text.as_bytes(), &[0]].concat();
        self.put(&bytes)
    }

    fn words(&mut self, words: &[u32]) -> Result<u32> {
        self.used = self.used.next_multiple_of(8);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.put(&bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<u32> {
        ensure!(self.used + bytes.len() <= Self::SIZE, "too much for the low memory");
        // SAFETY: inside the mapping, as just seen.
        let at = unsafe {
            let at = self.base.add(self.used);
            ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len());
            at
        };
        self.used += bytes.len();
        Ok(u32::try_from(at as usize)?)
    }
}

//! io_uring: a connect that no connect(2) makes, by raw system calls.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};

use super::net::{Name, address, socket};
use super::sys;

// Numbers and layouts of linux/io_uring.h.
const SETUP: i64 = 425;
const ENTER: i64 = 426;
const OP_SENDMSG: u8 = 9;
const OP_CONNECT: u8 = 16;
const OP_SOCKET: u8 = 45;
const ENTER_GETEVENTS: u32 = 1;
const ENTER_SQ_WAKEUP: u32 = 2;
const OFF_SQ_RING: i64 = 0;
const OFF_CQ_RING: i64 = 0x800_0000;
const OFF_SQES: i64 = 0x1000_0000;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct SqOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
    resv1: u32,
    user_addr: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CqOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    overflow: u32,
    cqes: u32,
    flags: u32,
    resv1: u32,
    user_addr: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    resv: [u32; 3],
    sq_off: SqOffsets,
    cq_off: CqOffsets,
}
const _: () = assert!(mem::size_of::<Params>() == 120);

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sqe {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
    /// For a connect: the address's length.
    off: u64,
    addr: u64,
    len: u32,
    op_flags: u32,
    user_data: u64,
    rest: [u64; 3],
}
const _: () = assert!(mem::size_of::<Sqe>() == 64);

#[repr(C)]
#[derive(Clone, Copy)]
struct Cqe {
    user_data: u64,
    res: i32,
    flags: u32,
}

/// Connects by TCP through io_uring.
pub(super) fn connect(to: &str) -> Result<u8> {
    let name = Name::new(address(to)?);
    let fd = socket(name.family, libc::SOCK_STREAM, 0)?;
    done(once(0, connecting(&fd, &name))?, "connect by io_uring")
}

/// The same by a thread of the kernel's, which waits for entries.
pub(super) fn polled_connect(to: SocketAddr) -> Result<u8> {
    const SQPOLL: u32 = 2;
    let name = Name::new(to);
    let fd = socket(name.family, libc::SOCK_STREAM, 0)?;
    done(once(SQPOLL, connecting(&fd, &name))?, "connect by a polled io_uring")
}

/// Makes the socket through io_uring too.
pub(super) fn socket_connect(to: SocketAddr) -> Result<u8> {
    let name = Name::new(to);
    let sqe = Sqe {
        opcode: OP_SOCKET,
        fd: name.family,
        off: libc::SOCK_STREAM as u64,
        user_data: 1,
        ..Sqe::default()
    };
    match once(0, sqe)? {
        Some(fd) if fd >= 0 => {
            let fd = sys::owned(fd)?;
            done(once(0, connecting(&fd, &name))?, "connect by io_uring")
        }
        other => done(other, "socket by io_uring"),
    }
}

/// Sends a datagram through io_uring.
pub(super) fn send(to: SocketAddr) -> Result<u8> {
    let name = Name::new(to);
    let fd = socket(name.family, libc::SOCK_DGRAM, 0)?;
    let (at, len) = name.parts();
    let data = b"dodged";
    let mut parts = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    // SAFETY: all zeros is an empty message.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = at.cast_mut().cast();
    message.msg_namelen = len;
    message.msg_iov = &raw mut parts;
    message.msg_iovlen = 1;
    let sqe = Sqe {
        opcode: OP_SENDMSG,
        fd: fd.as_raw_fd(),
        addr: (&raw const message) as u64,
        len: 1,
        user_data: 1,
        ..Sqe::default()
    };
    done(once(0, sqe)?.map(|n| n.min(0)), "send by io_uring")
}

fn connecting(fd: &OwnedFd, name: &Name) -> Sqe {
    let (at, len) = name.parts();
    Sqe {
        opcode: OP_CONNECT,
        fd: fd.as_raw_fd(),
        off: len.into(),
        addr: at as u64,
        user_data: 1,
        ..Sqe::default()
    }
}

/// A status from an entry's result; none is a kernel without the way.
fn done(result: Option<i32>, what: &'static str) -> Result<u8> {
    match result {
        Some(0) => Ok(0),
        Some(n) if n == -libc::EINVAL => Ok(super::UNSUPPORTED),
        Some(n) => Err(io::Error::from_raw_os_error(-n)).context(what),
        None => Ok(super::UNSUPPORTED),
    }
}

/// One entry through a ring of its own: its result; none where there are no rings.
fn once(flags: u32, sqe: Sqe) -> Result<Option<i32>> {
    let mut params = Params { flags, ..Params::default() };
    // SAFETY: `params` is valid for writing and laid out as the kernel's.
    let ring = unsafe { libc::syscall(SETUP, 4_u32, &raw mut params) };
    let ring = match sys::owned(ring as i32) {
        Ok(ring) => ring,
        // Not built in, or turned off by kernel.io_uring_disabled.
        Err(e) if [Some(libc::ENOSYS), Some(libc::EPERM)].contains(&e.raw_os_error()) => {
            return Ok(None);
        }
        Err(error) => return Err(error).context("io_uring_setup"),
    };
    submit(&ring, &params, sqe).map(Some)
}

/// Submits one entry and waits for its result.
fn submit(ring: &OwnedFd, params: &Params, sqe: Sqe) -> Result<i32> {
    let sq = &params.sq_off;
    let cq = &params.cq_off;
    let sq_len = sq.array as usize + params.sq_entries as usize * mem::size_of::<u32>();
    let cq_len = cq.cqes as usize + params.cq_entries as usize * mem::size_of::<Cqe>();
    let sqes_len = params.sq_entries as usize * mem::size_of::<Sqe>();
    let submissions = map(ring, sq_len, OFF_SQ_RING)?;
    let completions = map(ring, cq_len, OFF_CQ_RING)?;
    let entries = map(ring, sqes_len, OFF_SQES)?;
    // SAFETY: the offsets come from the kernel and lie within the three mappings, which stay for
    // the process's life; entry 0 is free, since nothing was submitted before.
    unsafe {
        entries.cast::<Sqe>().write(sqe);
        submissions.add(sq.array as usize).cast::<u32>().write(0);
        (*submissions.add(sq.tail as usize).cast::<AtomicU32>()).store(1, Ordering::Release);
    }
    // SAFETY: no signal mask is given; the entry's address lives in the caller.
    let done = unsafe {
        libc::syscall(
            ENTER,
            ring.as_raw_fd(),
            1_u32,
            1_u32,
            ENTER_GETEVENTS | ENTER_SQ_WAKEUP,
            ptr::null::<libc::c_void>(),
            0_usize,
        )
    };
    sys::check(done).context("io_uring_enter")?;
    // SAFETY: as above; the one completion is there, as io_uring_enter waited for it.
    let result = unsafe {
        (*completions.add(cq.tail as usize).cast::<AtomicU32>()).load(Ordering::Acquire);
        completions.add(cq.cqes as usize).cast::<Cqe>().read()
    };
    Ok(result.res)
}

fn map(ring: &OwnedFd, len: usize, offset: i64) -> Result<*mut u8> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_SHARED | libc::MAP_POPULATE;
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that is there.
    let at =
        unsafe { libc::mmap(ptr::null_mut(), len, protection, kind, ring.as_raw_fd(), offset) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error()).context("mmap of a ring");
    }
    Ok(at.cast())
}

//! Ways to a destination that a rule names, for those who know where a recorder looks.

use std::ffi::{CString, OsString};
use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use anyhow::{Context as _, Result, bail};

use super::UNSUPPORTED;
use super::net::{self, Name, address, join, socket};
use super::sys::{self, Program};

/// Where no rule of a case reaches: still loopback.
const INNOCENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Goes to a destination by the way that is named.
pub(super) fn dodge(way: &str, to: &str) -> Result<u8> {
    if let Some(text) = way.strip_prefix("written-") {
        return written(text, to);
    }
    let to = address(to)?;
    match way {
        "sendmmsg" => sendmmsg(to),
        "sendmsg-unspec" => unspec_name(to),
        "v6-socket-v4-name" => v6_socket(to),
        "udp-connected-elsewhere" => udp_elsewhere(to),
        "udp-unspec-then-there" => udp_again(to),
        "tcp-unspec-then-there" => tcp_again(to),
        "tcp-refused-then-there" => tcp_after_refusal(to),
        "bound-first" => bound_first(to),
        "udplite" => udplite(to),
        "fastopen-option" => fastopen_option(to),
        "scoped" => scoped(to),
        "inherited-by-child" => inherited(to),
        "duplicate" => duplicate(to),
        "duplicate-v6" => duplicate_v6(to),
        "in-user-namespace" => unshared(libc::CLONE_NEWUSER, to),
        "in-net-namespace" => unshared(libc::CLONE_NEWNET, to),
        "in-new-cgroup-namespace" => unshared(libc::CLONE_NEWCGROUP, to),
        "vfork" => vfork(to),
        "x32" => x32(to),
        "int80" => int80(to),
        "socket-by-uring" => super::uring::socket_connect(to),
        "datagram-by-uring" => super::uring::send(to),
        "polled-uring" => super::uring::polled_connect(to),
        other => bail!("no such way: {other}"),
    }
}

fn udp() -> Result<OwnedFd> {
    socket(libc::AF_INET, libc::SOCK_DGRAM, 0)
}

fn tcp() -> Result<OwnedFd> {
    socket(libc::AF_INET, libc::SOCK_STREAM, 0)
}

/// Sends to a name as it stands.
fn send_to(fd: &OwnedFd, name: &Name) -> Result<()> {
    let (at, len) = name.parts();
    send_raw(fd, at, len)
}

fn send_raw(fd: &OwnedFd, at: *const libc::sockaddr, len: libc::socklen_t) -> Result<()> {
    let data = b"dodged";
    // SAFETY: `data` is only read; the caller keeps the address.
    let sent =
        unsafe { libc::sendto(fd.as_raw_fd(), data.as_ptr().cast(), data.len(), 0, at, len) };
    sys::check(sent as i64).context("sendto")?;
    Ok(())
}

/// Several datagrams in one call, the innocent one first.
fn sendmmsg(to: SocketAddr) -> Result<u8> {
    let fd = udp()?;
    let names = [Name::new(SocketAddr::from((INNOCENT, to.port()))), Name::new(to)];
    let data = b"dodged";
    let mut parts = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    let mut messages = names.each_ref().map(|name| {
        let (at, len) = name.parts();
        // SAFETY: all zeros is an empty message.
        let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
        message.msg_hdr.msg_name = at.cast_mut().cast();
        message.msg_hdr.msg_namelen = len;
        message.msg_hdr.msg_iov = &raw mut parts;
        message.msg_hdr.msg_iovlen = 1;
        message
    });
    // SAFETY: two messages whose parts live through the call.
    let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), messages.as_mut_ptr(), 2, 0) };
    if sys::check(sent)? == 2 {
        return Ok(0);
    }
    // The second one's error is kept for the next call.
    send_to(&fd, &names[1])?;
    Ok(0)
}

/// An IPv4 name whose family says nothing: udp_sendmsg takes it for IPv4.
fn unspec_name(to: SocketAddr) -> Result<u8> {
    let SocketAddr::V4(v4) = to else { bail!("{to}: not IPv4") };
    let name = libc::sockaddr_in {
        sin_family: libc::AF_UNSPEC as _,
        sin_port: v4.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
        sin_zero: [0; 8],
    };
    let len = mem::size_of_val(&name) as libc::socklen_t;
    send_raw(&udp()?, (&raw const name).cast(), len)?;
    Ok(0)
}

/// A socket of IPv6, given a name of IPv4.
fn v6_socket(to: SocketAddr) -> Result<u8> {
    send_to(&socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?, &Name::new(to))?;
    Ok(0)
}

/// Connected to one, and told another at the send.
fn udp_elsewhere(to: SocketAddr) -> Result<u8> {
    let fd = udp()?;
    join(&fd, &Name::new(SocketAddr::from((INNOCENT, to.port()))))?;
    send_to(&fd, &Name::new(to))?;
    Ok(0)
}

pub(super) fn disconnect(fd: &impl AsRawFd) -> Result<()> {
    // SAFETY: all zeros is a name of AF_UNSPEC.
    let none: libc::sockaddr = unsafe { mem::zeroed() };
    let len = mem::size_of_val(&none) as libc::socklen_t;
    // SAFETY: `none` outlives the call.
    sys::check(unsafe { libc::connect(fd.as_raw_fd(), &raw const none, len) })
        .context("connect to nothing")?;
    Ok(())
}

fn udp_again(to: SocketAddr) -> Result<u8> {
    let fd = udp()?;
    join(&fd, &Name::new(SocketAddr::from((INNOCENT, to.port()))))?;
    disconnect(&fd)?;
    join(&fd, &Name::new(to))?;
    send_raw(&fd, ptr::null(), 0)?;
    Ok(0)
}

fn tcp_again(to: SocketAddr) -> Result<u8> {
    let listener = std::net::TcpListener::bind((INNOCENT, 0))?;
    let fd = tcp()?;
    join(&fd, &Name::new(listener.local_addr()?))?;
    disconnect(&fd)?;
    join(&fd, &Name::new(to))?;
    Ok(0)
}

/// A socket that was refused once is tried again.
fn tcp_after_refusal(to: SocketAddr) -> Result<u8> {
    let fd = tcp()?;
    let closed = std::net::TcpListener::bind((INNOCENT, 0))?.local_addr()?;
    if join(&fd, &Name::new(closed)).is_ok() {
        bail!("nobody was to be there");
    }
    join(&fd, &Name::new(to))?;
    Ok(0)
}

/// From a port that was taken first.
fn bound_first(to: SocketAddr) -> Result<u8> {
    let fd = tcp()?;
    let (name, ()) = (Name::new(SocketAddr::from((INNOCENT, 0))), ());
    let (at, len) = name.parts();
    // SAFETY: the name outlives the call.
    sys::check(unsafe { libc::bind(fd.as_raw_fd(), at, len) }).context("bind")?;
    join(&fd, &Name::new(to))?;
    Ok(0)
}

fn udplite(to: SocketAddr) -> Result<u8> {
    const UDPLITE: i32 = 136;
    match socket(libc::AF_INET, libc::SOCK_DGRAM, UDPLITE) {
        Ok(fd) => send_to(&fd, &Name::new(to)).map(|()| 0),
        Err(error) => lacks(error),
    }
}

/// What says that this kernel was built without the way.
fn lacks(error: anyhow::Error) -> Result<u8> {
    let missing =
        [libc::EPROTONOSUPPORT, libc::EAFNOSUPPORT, libc::ENOSYS, libc::ENOPROTOOPT, libc::EINVAL];
    let errno = error.root_cause().downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    match errno {
        Some(n) if missing.contains(&n) => Ok(UNSUPPORTED),
        _ => Err(error),
    }
}

/// A connect that sends nothing before the first write.
fn fastopen_option(to: SocketAddr) -> Result<u8> {
    const FASTOPEN_CONNECT: i32 = 30;
    let (fd, on) = (tcp()?, 1_i32);
    let (at, len) = ((&raw const on).cast(), mem::size_of::<i32>() as libc::socklen_t);
    // SAFETY: `at` has the `len` bytes of an int.
    let set =
        unsafe { libc::setsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, FASTOPEN_CONNECT, at, len) };
    if let Err(error) = sys::check(set) {
        return lacks(error.into());
    }
    join(&fd, &Name::new(to))?;
    send_raw(&fd, ptr::null(), 0)?;
    Ok(0)
}

/// An IPv6 name with a scope that the address does not need.
fn scoped(to: SocketAddr) -> Result<u8> {
    let SocketAddr::V6(mut v6) = to else { bail!("{to}: not IPv6") };
    v6.set_scope_id(1);
    v6.set_flowinfo(5);
    join(&socket(libc::AF_INET6, libc::SOCK_STREAM, 0)?, &Name::new(v6.into()))?;
    Ok(0)
}

fn inherited(to: SocketAddr) -> Result<u8> {
    let (fd, name) = (tcp()?, Name::new(to));
    let child = sys::fork(|| joined(&fd, &name))?;
    Ok(sys::wait(child)?)
}

/// A connect's error as a status.
fn joined(fd: &OwnedFd, name: &Name) -> u8 {
    match join(fd, name) {
        Ok(()) => 0,
        Err(error) => error.root_cause().downcast_ref().map_or(super::MISUSED, sys::errno_status),
    }
}

fn duplicate(to: SocketAddr) -> Result<u8> {
    let fd = tcp()?.try_clone()?;
    join(&fd, &Name::new(to))?;
    Ok(0)
}

fn duplicate_v6(to: SocketAddr) -> Result<u8> {
    let fd = socket(libc::AF_INET6, libc::SOCK_STREAM, 0)?.try_clone()?;
    join(&fd, &Name::new(to))?;
    Ok(0)
}

/// From a namespace of its own.
fn unshared(flags: i32, to: SocketAddr) -> Result<u8> {
    let name = Name::new(to);
    // SAFETY: unshare(2) touches no memory.
    if let Err(error) = sys::check(unsafe { libc::unshare(flags) }) {
        return lacks(error.into());
    }
    join(&tcp()?, &name)?;
    Ok(0)
}

/// From a child that shares this one's memory.
fn vfork(to: SocketAddr) -> Result<u8> {
    let own = sys::own_file()?;
    let command: Vec<OsString> = vec![own, "connect".into(), to.to_string().into()];
    let path = CString::new(command[0].as_encoded_bytes())?;
    let words: Vec<CString> =
        command.iter().map(|w| CString::new(w.as_encoded_bytes())).collect::<Result<_, _>>()?;
    let argv: Vec<*mut libc::c_char> =
        words.iter().map(|w| w.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect();
    let (mut pid, env) = (0, [ptr::null_mut::<libc::c_char>()]);
    // SAFETY: texts that end with NUL, lists that end with null, and a place for the pid.
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
    match failed {
        0 => Ok(sys::wait(pid)?),
        errno => Err(io::Error::from_raw_os_error(errno).into()),
    }
}

/// By the system calls of the x32 ABI.
fn x32(to: SocketAddr) -> Result<u8> {
    const X32: i64 = 0x4000_0000;
    let (fd, name) = (tcp()?, Name::new(to));
    let (at, len) = name.parts();
    // SAFETY: the name outlives the call.
    let done = unsafe { libc::syscall(X32 + libc::SYS_connect, fd.as_raw_fd(), at, len) };
    match sys::check(done) {
        Ok(_) => Ok(0),
        Err(error) => lacks(error.into()),
    }
}

/// By the 32-bit system call of an i386 program.
fn int80(to: SocketAddr) -> Result<u8> {
    let (fd, name) = (tcp()?, Name::new(to));
    let (at, len) = name.parts();
    // SAFETY: the name's `len` bytes are there to be read.
    let bytes = unsafe { std::slice::from_raw_parts(at.cast::<u8>(), len as usize) };
    super::evade::connect_by_int80(fd.as_raw_fd(), bytes)
}

/// To an address as people and libraries write it in other ways.
fn written(host: &str, to: &str) -> Result<u8> {
    unsafe extern "C" {
        fn inet_aton(text: *const libc::c_char, found: *mut libc::in_addr) -> libc::c_int;
    }
    let port = address(to)?.port();
    let text = CString::new(host)?;
    let mut found = libc::in_addr { s_addr: 0 };
    // SAFETY: the text ends with NUL, and there is room for the address.
    if unsafe { inet_aton(text.as_ptr(), &raw mut found) } == 0 {
        bail!("{host}: no address to the C library");
    }
    let ip = Ipv4Addr::from(found.s_addr.to_ne_bytes());
    join(&tcp()?, &Name::new(SocketAddr::from((ip, port))))?;
    Ok(0)
}

/// Two connects at once, from threads, while a third thread goes on as another program.
pub(super) fn race(to: &str, command: &[OsString]) -> Result<u8> {
    let program = Program::new(command)?;
    let error = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| net::connect(to, &[]).is_ok());
        }
        program.exec()
    });
    Err(error.into())
}

//! The network: each way to open a socket, name a far or near end, and be refused.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::sys;

/// Multipath TCP, by its number for socket(2).
const MPTCP: i32 = 262;

/// An address as the kernel takes it.
pub(super) struct Name {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
    /// AF_INET or AF_INET6.
    pub(super) family: i32,
}

impl Name {
    pub(super) fn new(addr: SocketAddr) -> Self {
        // SAFETY: all zeros is a valid sockaddr_storage.
        let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let place = &raw mut storage;
        let (family, len) = match addr {
            SocketAddr::V4(v4) => {
                let name = libc::sockaddr_in {
                    sin_family: libc::AF_INET as _,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: a sockaddr_storage is large and aligned enough for every address.
                unsafe { place.cast::<libc::sockaddr_in>().write(name) };
                (libc::AF_INET, mem::size_of::<libc::sockaddr_in>())
            }
            SocketAddr::V6(v6) => {
                let name = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as _,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { place.cast::<libc::sockaddr_in6>().write(name) };
                (libc::AF_INET6, mem::size_of::<libc::sockaddr_in6>())
            }
        };
        Self { storage, len: len as libc::socklen_t, family }
    }

    /// Where it stands and how long it is, for as long as this lives.
    pub(super) fn parts(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        ((&raw const self.storage).cast(), self.len)
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr> {
    text.parse().with_context(|| format!("{text}: not an address and a port"))
}

pub(super) fn socket(family: i32, kind: i32, protocol: i32) -> Result<OwnedFd> {
    // SAFETY: socket(2) touches no memory.
    let fd = sys::owned(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) });
    fd.context("socket")
}

pub(super) fn join(fd: &impl AsRawFd, name: &Name) -> Result<()> {
    let (at, len) = name.parts();
    // SAFETY: `at` and `len` describe an address that outlives the call.
    sys::check(unsafe { libc::connect(fd.as_raw_fd(), at, len) }).context("connect")?;
    Ok(())
}

/// Connects by TCP: `--nonblocking` and waits, `--v4mapped` through an IPv6 socket.
pub(super) fn connect(to: &str, flags: &[String]) -> Result<u8> {
    let mut to = address(to)?;
    if flags.iter().any(|f| f == "--v4mapped") {
        let SocketAddr::V4(v4) = to else { bail!("{to}: not IPv4") };
        to = SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()));
    }
    let name = Name::new(to);
    if !flags.iter().any(|f| f == "--nonblocking") {
        let fd = socket(name.family, libc::SOCK_STREAM, 0)?;
        if flags.iter().any(|f| f == "--impatient") {
            one_try(&fd)?;
        }
        join(&fd, &name)?;
        return Ok(0);
    }
    let fd = socket(name.family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    if let Err(error) = join(&fd, &name) {
        let cause = error.root_cause().downcast_ref::<std::io::Error>();
        if cause.and_then(std::io::Error::raw_os_error) != Some(libc::EINPROGRESS) {
            return Err(error);
        }
        finish(&fd)?;
    }
    Ok(0)
}

/// Has the kernel give up after one more SYN: tcp(7), TCP_SYNCNT.
fn one_try(fd: &OwnedFd) -> Result<()> {
    let tries: i32 = 1;
    let (at, len) = ((&raw const tries).cast(), mem::size_of::<i32>() as libc::socklen_t);
    // SAFETY: `at` has the `len` bytes of an int.
    let set =
        unsafe { libc::setsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_SYNCNT, at, len) };
    sys::check(set)?;
    Ok(())
}

/// Waits for the end of a connect under way.
fn finish(fd: &OwnedFd) -> Result<()> {
    let mut wanted = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one pollfd, valid for writing.
    sys::check(unsafe { libc::poll(&raw mut wanted, 1, -1) })?;
    let mut errno: i32 = 0;
    let mut len = mem::size_of::<i32>() as libc::socklen_t;
    let at = (&raw mut errno).cast();
    // SAFETY: `at` has room for the `len` bytes of an int.
    let got = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ERROR, at, &raw mut len)
    };
    sys::check(got)?;
    match errno {
        0 => Ok(()),
        n => Err(std::io::Error::from_raw_os_error(n)).context("connect"),
    }
}

/// Connects and closes `count` times. The far end closes first; then this end resets, so that no
/// port stays taken.
pub(super) fn connect_many(count: u64, to: &str) -> Result<u8> {
    let name = Name::new(address(to)?);
    (0..count).try_for_each(|n| come_and_go(&name).with_context(|| format!("number {n}")))?;
    Ok(0)
}

/// The same, so many in a second, in even steps.
pub(super) fn connect_paced(count: u64, rate: u64, to: &str) -> Result<u8> {
    let name = Name::new(address(to)?);
    let began = Instant::now();
    for n in 0..count {
        let due = began + Duration::from_nanos(n * 1_000_000_000 / rate.max(1));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        come_and_go(&name).with_context(|| format!("number {n}"))?;
    }
    Ok(0)
}

fn come_and_go(name: &Name) -> Result<()> {
    let reset = libc::linger { l_onoff: 1, l_linger: 0 };
    let fd = socket(name.family, libc::SOCK_STREAM, 0)?;
    join(&fd, name)?;
    let mut byte = 0_u8;
    // SAFETY: one byte, valid for writing.
    unsafe { libc::recv(fd.as_raw_fd(), (&raw mut byte).cast(), 1, 0) };
    let len = mem::size_of::<libc::linger>() as libc::socklen_t;
    let at = (&raw const reset).cast();
    // SAFETY: `at` and `len` describe a linger that outlives the call.
    let set =
        unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, at, len) };
    sys::check(set)?;
    Ok(())
}

/// Connects from a thread that is not the process's first.
pub(super) fn thread_connect(to: &str) -> Result<u8> {
    match std::thread::scope(|scope| scope.spawn(|| connect(to, &[])).join()) {
        Ok(done) => done,
        Err(_) => bail!("the thread panicked"),
    }
}

/// Listens on a port that it prints, and sends back what the first who comes sends.
pub(super) fn listen_echo() -> Result<u8> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let (mut stream, _) = listener.accept()?;
    let mut said = [0; 4096];
    loop {
        let n = stream.read(&mut said)?;
        if n == 0 {
            return Ok(0);
        }
        stream.write_all(said.get(..n).context("a read past its buffer")?)?;
    }
}

/// Sends `count` datagrams to each of the destinations (commas between them) from one socket, in
/// turns; `--connected` to one, after a connect.
pub(super) fn udp(to: &str, count: u64, flags: &[String]) -> Result<u8> {
    let names: Vec<Name> =
        to.split(',').map(|t| address(t).map(Name::new)).collect::<Result<_>>()?;
    let first = names.first().context("where to?")?;
    let fd = socket(first.family, libc::SOCK_DGRAM, 0)?;
    let connected = flags.iter().any(|f| f == "--connected");
    if connected {
        ensure!(names.len() == 1, "a socket connects to one destination");
        join(&fd, first)?;
    }
    for _ in 0..count {
        for name in &names {
            let (at, len) = if connected { (std::ptr::null(), 0) } else { name.parts() };
            send(&fd, b"datagram", at, len, 0)?;
        }
    }
    Ok(0)
}

fn send(
    fd: &OwnedFd,
    data: &[u8],
    at: *const libc::sockaddr,
    len: libc::socklen_t,
    how: i32,
) -> Result<()> {
    let from = data.as_ptr().cast();
    // SAFETY: `from` is `data`'s own bytes; `at` is null, or an address of `len` bytes that the
    // caller keeps.
    sys::check(unsafe { libc::sendto(fd.as_raw_fd(), from, data.len(), how, at, len) } as i64)
        .context("sendto")?;
    Ok(())
}

/// Takes a local TCP address.
pub(super) fn bind(local: &str) -> Result<u8> {
    take(local)?;
    Ok(0)
}

/// Takes a local TCP address and listens there.
pub(super) fn listen(local: &str) -> Result<u8> {
    let fd = take(local)?;
    // SAFETY: listen(2) touches no memory.
    sys::check(unsafe { libc::listen(fd.as_raw_fd(), 8) }).context("listen")?;
    Ok(0)
}

fn take(local: &str) -> Result<OwnedFd> {
    let name = Name::new(address(local)?);
    let fd = socket(name.family, libc::SOCK_STREAM, 0)?;
    let (at, len) = name.parts();
    // SAFETY: `at` and `len` describe an address that outlives the call.
    sys::check(unsafe { libc::bind(fd.as_raw_fd(), at, len) }).context("bind")?;
    Ok(fd)
}

/// Opens a raw ICMP socket.
pub(super) fn raw() -> Result<u8> {
    socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)?;
    Ok(0)
}

/// Connects by Multipath TCP.
pub(super) fn mptcp(to: &str) -> Result<u8> {
    let name = Name::new(address(to)?);
    match socket(name.family, libc::SOCK_STREAM, MPTCP) {
        Ok(fd) => join(&fd, &name).map(|()| 0),
        Err(error) => {
            let missing = [libc::EPROTONOSUPPORT, libc::EINVAL, libc::ENOPROTOOPT];
            let cause = error.root_cause().downcast_ref::<std::io::Error>();
            match cause.and_then(std::io::Error::raw_os_error) {
                Some(n) if missing.contains(&n) => Ok(super::UNSUPPORTED),
                _ => Err(error),
            }
        }
    }
}

/// Sends data with the first segment of a TCP connection, without a connect(2).
pub(super) fn fastopen(to: &str) -> Result<u8> {
    Ok(if open_with(to, b"datagram")?.is_some() { 0 } else { super::UNSUPPORTED })
}

/// A connection that was opened with its first bytes; none where this kernel can't.
pub(super) fn open_with(to: &str, data: &[u8]) -> Result<Option<OwnedFd>> {
    let name = Name::new(address(to)?);
    let fd = socket(name.family, libc::SOCK_STREAM, 0)?;
    let (at, len) = name.parts();
    match send(&fd, data, at, len, libc::MSG_FASTOPEN) {
        Ok(()) => Ok(Some(fd)),
        Err(error) => {
            let cause = error.root_cause().downcast_ref::<std::io::Error>();
            match cause.and_then(std::io::Error::raw_os_error) {
                Some(libc::EOPNOTSUPP) => Ok(None),
                _ => Err(error),
            }
        }
    }
}

/// Connects to a unix socket: a path, or an abstract name after an `@`.
pub(super) fn unix_connect(name: &OsStr) -> Result<u8> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixStream};

    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => UnixStream::connect(name)?,
    };
    Ok(0)
}

//! Names: asking a resolver in every way there is, and going where it says.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::mem;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::net::{self, address};
use super::sys;
use crate::dns;

/// How long a resolver of the cases' own may take. Nothing waits so long but what is lost.
const PATIENCE: Duration = Duration::from_secs(2);
const ID: u16 = 0x0b5e;

fn has(flags: &[String], flag: &str) -> bool {
    flags.iter().any(|f| f == flag)
}

/// Asks a resolver for a name: `--aaaa`, `--tcp`, `--split` (over two segments), `--bytes` (each in a
/// segment of its own), `--connected`.
/// The answer, whatever it is.
fn ask(server: &str, name: &str, flags: &[String]) -> Result<Vec<u8>> {
    let server = address(server)?;
    let kind = if has(flags, "--aaaa") { dns::AAAA } else { dns::A };
    let question = dns::question(ID, name, kind);
    if has(flags, "--bytes") {
        return ask_tcp(server, &question, Some(1));
    }
    if has(flags, "--tcp") || has(flags, "--split") {
        return ask_tcp(server, &question, has(flags, "--split").then_some(9));
    }
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    if has(flags, "--connected") {
        socket.connect(server)?;
        socket.send(&question)?;
    } else {
        socket.send_to(&question, server)?;
    }
    let mut room = vec![0; 4096];
    let (len, _) = socket.recv_from(&mut room)?;
    room.truncate(len);
    Ok(room)
}

/// `piece` is how much goes out at once; all of it where it is none.
fn ask_tcp(server: SocketAddr, question: &[u8], piece: Option<usize>) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    // What is dropped on its way out is sent again and again: no error tells of it.
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    let len = u16::try_from(question.len())?.to_be_bytes();
    let message = [&len, question].concat();
    for piece in message.chunks(piece.unwrap_or(message.len())) {
        stream.write_all(piece)?;
        // The next one goes into a segment of its own.
        if !acknowledged(&stream)? {
            break;
        }
    }
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut answer = vec![0; u16::from_be_bytes(len).into()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// Waits until all that was sent has arrived (tcp(7), SIOCOUTQ); what is dropped never does.
fn acknowledged(stream: &TcpStream) -> Result<bool> {
    let began = Instant::now();
    loop {
        let mut waiting: libc::c_int = 0;
        // SAFETY: the call writes one int.
        let done = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut waiting) };
        sys::check(done)?;
        if waiting == 0 {
            return Ok(true);
        }
        if began.elapsed() > Duration::from_secs(1) {
            return Ok(false);
        }
        std::thread::yield_now();
    }
}

/// Asks for a name and does nothing with the answer.
pub(super) fn lookup(server: &str, name: &str, flags: &[String]) -> Result<u8> {
    ask(server, name, flags)?;
    Ok(0)
}

/// Asks for a name, and connects to a port of the address at the answer's end.
pub(super) fn reach(server: &str, name: &str, port: u16, flags: &[String]) -> Result<u8> {
    let answer = ask(server, name, flags)?;
    let to = dns::last_address(&answer).context("no address in the answer")?;
    net::connect(&SocketAddr::new(to, port).to_string(), &[])
}

/// Sends a datagram as it is given, in hex; `--gso` as several of 8 bytes each in one call.
pub(super) fn send_hex(server: &str, hex: &str, flags: &[String]) -> Result<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).context("hex")?;
        Ok(u8::from_str_radix(pair, 16)?)
    });
    let bytes = digits.collect::<Result<Vec<u8>>>()?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    if has(flags, "--gso") {
        let size: libc::c_int = (bytes.len() / 2).try_into()?;
        let (at, len) = ((&raw const size).cast(), mem::size_of::<libc::c_int>() as u32);
        let fd = socket.as_raw_fd();
        // SAFETY: `at` has the `len` bytes of an int.
        let set = unsafe { libc::setsockopt(fd, libc::SOL_UDP, libc::UDP_SEGMENT, at, len) };
        if sys::check(set).is_err() {
            return Ok(super::UNSUPPORTED);
        }
    }
    socket.send_to(&bytes, address(server)?)?;
    Ok(0)
}

/// Is its own resolver: at this address it answers every question with that one, asks itself, and
/// connects there. `--elsewhere`: in a network namespace of its own, from which it comes back.
pub(super) fn fake(at: &str, name: &str, to: &str, flags: &[String]) -> Result<u8> {
    let (at, to) = (address(at)?, address(to)?);
    let home = File::open("/proc/self/ns/net")?;
    if has(flags, "--elsewhere") {
        // SAFETY: takes no memory; this process has one thread.
        sys::check(unsafe { libc::unshare(libc::CLONE_NEWNET) }).context("unshare")?;
        loopback_up()?;
    }
    let server = UdpSocket::bind(at).with_context(|| at.to_string())?;
    let client = UdpSocket::bind((at.ip(), 0))?;
    client.send_to(&dns::question(ID, name, dns::A), at)?;
    let mut room = [0; 4096];
    let (len, from) = server.recv_from(&mut room)?;
    let question = room.get(..len).context("a datagram past its buffer")?;
    let record = dns::address(vec![0xc0, 12], to.ip());
    server.send_to(&dns::answer(question, &[record]), from)?;
    client.recv_from(&mut room)?;
    // SAFETY: takes no memory.
    sys::check(unsafe { libc::setns(home.as_raw_fd(), libc::CLONE_NEWNET) }).context("setns")?;
    net::connect(&to.to_string(), &[])
}

/// Brings the loopback interface up: netdevice(7), SIOCSIFFLAGS.
fn loopback_up() -> Result<()> {
    let socket: OwnedFd = net::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request outlives the call.
    sys::check(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request)
    })
    .context("lo up")?;
    Ok(())
}

/// Runs a program that reads this file as /etc/resolv.conf.
pub(super) fn with_resolv_conf(file: &std::ffi::OsStr, command: &[OsString]) -> Result<u8> {
    let Some(program) = command.first() else { bail!("which program?") };
    if !std::path::Path::new(program).exists() {
        return Ok(super::UNSUPPORTED);
    }
    // SAFETY: takes no memory; this process has one thread.
    sys::check(unsafe { libc::unshare(libc::CLONE_NEWNS) }).context("unshare")?;
    let mount = |from: &std::ffi::OsStr, to: &str, flags: libc::c_ulong| -> Result<()> {
        let (from, to) = (CString::new(from.as_bytes())?, CString::new(to)?);
        let none = std::ptr::null();
        // SAFETY: both paths are NUL-terminated and outlive the call; there is no data.
        let done = unsafe { libc::mount(from.as_ptr(), to.as_ptr(), none, flags, none.cast()) };
        sys::check(done).with_context(|| format!("mount at {to:?}"))?;
        Ok(())
    };
    mount("none".as_ref(), "/", libc::MS_REC | libc::MS_PRIVATE)?;
    mount(file, "/etc/resolv.conf", libc::MS_BIND)?;
    Err(sys::Program::new(command)?.exec().into())
}

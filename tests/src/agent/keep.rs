//! Keeps connections open.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, RawFd};

use anyhow::{Context as _, Result};

use super::{net, places, sys};

/// Connects to each of the destinations (commas between them), waits for the end of the last, and then
/// asks the others for a byte. Fails with what ended it. `--udp`: by UDP; `--bound`: bound to the
/// loopback device; `--say=FILE`, which is said to it; `--accept=FILE`, where it is told where to come
/// to: who comes is answered at the end; `--tell=FILE`, which is made when all is open; `--until=FILE`,
/// by whose coming the wait is over.
pub(super) fn keep(to: &str, flags: &[String]) -> Result<u8> {
    let has = |flag: &str| flags.iter().any(|f| f == flag);
    let file = |flag: &str| flags.iter().find_map(|f| f.strip_prefix(flag)?.strip_prefix('='));
    let mut to = to.split(',').map(net::address).collect::<Result<Vec<_>>>()?;
    let last = to.pop().context("where to?")?;
    if has("--udp") {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(last)?;
        socket.recv(&mut [0])?;
        return Ok(0);
    }
    let others: Vec<TcpStream> =
        to.into_iter().map(TcpStream::connect).collect::<std::io::Result<_>>()?;
    let accepted = file("--accept").map(accept).transpose()?;
    let mut kept = TcpStream::connect(last)?;
    if has("--bound") {
        bind_to_loopback(kept.as_raw_fd())?;
    }
    if let Some(file) = file("--say") {
        kept.write_all(&fs::read(file)?)?;
    }
    if let Some(file) = file("--tell") {
        fs::write(file, "")?;
    }
    if let Some(file) = file("--until") {
        return places::wait_file(file.as_ref(), &[]);
    }
    let ended = kept.read_to_end(&mut vec![]);
    for mut other in others {
        other.write_all(b"?")?;
        other.read_exact(&mut [0])?;
    }
    if let Some((mut accepted, _listener)) = accepted {
        accepted.read_exact(&mut [0])?;
        accepted.write_all(b"!")?;
    }
    ended?;
    Ok(0)
}

/// Who comes, and the socket that goes on listening.
fn accept(file: &str) -> Result<(TcpStream, TcpListener)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let part = format!("{file}.part");
    fs::write(&part, listener.local_addr()?.to_string())?;
    fs::rename(part, file)?;
    Ok((listener.accept()?.0, listener))
}

/// SO_BINDTODEVICE: a look-up by both ends alone finds no such socket.
fn bind_to_loopback(fd: RawFd) -> Result<()> {
    let name = b"lo";
    // SAFETY: two bytes, as said.
    let set = unsafe {
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name.as_ptr().cast(), 2)
    };
    sys::check(i64::from(set))?;
    Ok(())
}

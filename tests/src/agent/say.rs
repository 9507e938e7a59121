//! Says what stands in files, by each way that bytes reach a socket.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{dodge, net, sys};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Connects and says each file (commas between them) once the one before was answered: `--bytes`
/// one at a time, `--pieces` of a hundred, `--sendfile`, `--splice`, `--fastopen`; `--urgent` with
/// a byte between that is urgent; `--greeted` once the far end has said something; `--listened` by a socket that has listened before; `--again` each on a
/// connection of its own, all by one socket; `--leave` without waiting for anything. Fails with EAGAIN where no answer
/// comes, with ECONNABORTED where the connection is ended meanwhile.
pub(super) fn say(to: &str, files: &str, flags: &[String]) -> Result<u8> {
    let has = |flag: &str| flags.iter().any(|f| f == flag);
    let mut files = files.split(',');
    let mut stream = if has("--fastopen") {
        let first = files.next().context("what to say?")?;
        match net::open_with(to, &fs::read(first)?)? {
            Some(fd) => {
                let mut stream = TcpStream::from(fd);
                answered(&mut stream)?;
                stream
            }
            None => return Ok(super::UNSUPPORTED),
        }
    } else if has("--listened") {
        let (socket, name) = listened(to)?;
        net::join(&socket, &name)?;
        TcpStream::from(socket)
    } else {
        TcpStream::connect(net::address(to)?)?
    };
    stream.set_nodelay(true)?;
    if has("--greeted") {
        answered(&mut stream)?;
    }
    for (n, file) in files.enumerate() {
        if n > 0 && has("--again") {
            dodge::disconnect(&stream)?;
            net::join(&stream, &net::Name::new(net::address(to)?))?;
        }
        if has("--sendfile") {
            sendfile(&stream, file)?;
        } else if has("--splice") {
            splice(&stream, file)?;
        } else {
            let bytes = fs::read(file).with_context(|| file.to_owned())?;
            let size =
                if has("--bytes") { 1 } else { if has("--pieces") { 100 } else { bytes.len() } };
            for (n, piece) in bytes.chunks(size.max(1)).enumerate() {
                if n == 1 && has("--urgent") {
                    urgent(&stream)?;
                }
                stream.write_all(piece)?;
            }
        }
        if has("--leave") {
            return Ok(0);
        }
        answered(&mut stream)?;
    }
    // Not gone before the far end is: whoever watches sees the end.
    stream.shutdown(Shutdown::Write)?;
    while matches!(stream.read(&mut [0; 65536]), Ok(n) if n > 0) {}
    Ok(0)
}

fn answered(stream: &mut TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    match stream.read(&mut [0; 65536]) {
        Ok(0) => bail!("closed without an answer"),
        Ok(_) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// A socket that has listened and does no more, and where it may connect to.
fn listened(to: &str) -> Result<(OwnedFd, net::Name)> {
    let name = net::Name::new(net::address(to)?);
    let fd = net::socket(name.family, libc::SOCK_STREAM, 0)?;
    // SAFETY: the descriptor is open.
    let (listens, ends) = unsafe {
        (libc::listen(fd.as_raw_fd(), 1), libc::shutdown(fd.as_raw_fd(), libc::SHUT_RDWR))
    };
    sys::check(listens).context("listen")?;
    sys::check(ends).context("shutdown")?;
    Ok((fd, name))
}

fn sendfile(stream: &TcpStream, file: &str) -> Result<()> {
    let file = File::open(file)?;
    let len = file.metadata()?.len() as usize;
    let to = stream.as_raw_fd();
    // SAFETY: both descriptors are open; the file's own position is used.
    let sent = unsafe { libc::sendfile(to, file.as_raw_fd(), std::ptr::null_mut(), len) };
    sys::check(sent as i64).context("sendfile")?;
    Ok(())
}

fn splice(stream: &TcpStream, file: &str) -> Result<()> {
    let file = File::open(file)?;
    let len = file.metadata()?.len() as usize;
    let (out, into) = std::io::pipe()?;
    let pairs = [(file.as_raw_fd(), into.as_raw_fd()), (out.as_raw_fd(), stream.as_raw_fd())];
    for (from, to) in pairs {
        let (none, nil) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the descriptors are open, and no position is handed over.
        let moved = unsafe { libc::splice(from, none, to, nil, len, 0) };
        sys::check(moved as i64).context("splice")?;
    }
    Ok(())
}

fn urgent(stream: &TcpStream) -> Result<()> {
    let at = b"!".as_ptr().cast();
    // SAFETY: one byte, valid for reading.
    let sent = unsafe { libc::send(stream.as_raw_fd(), at, 1, libc::MSG_OOB) };
    sys::check(sent as i64).context("an urgent byte")?;
    Ok(())
}

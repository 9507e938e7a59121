//! Far ends on loopback, that know who came.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};

use super::{Skip, skip};

/// A TCP server whose queue is full and stays so: whoever comes now is not answered.
#[derive(Debug)]
pub struct Mute {
    /// Where it listens.
    pub addr: SocketAddr,
    _socket: OwnedFd,
    _waiting: Vec<TcpStream>,
}

impl Mute {
    /// One on 127.0.0.1.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn new() -> Result<Self> {
        use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0)))?;
        listen(&socket, 0)?;
        let addr = SocketAddr::try_from(getsockname(&socket)?)?;
        // A queue of 0 has room for one (include/net/sock.h, sk_acceptq_is_full).
        let waiting = vec![TcpStream::connect(addr)?];
        Ok(Self { addr, _socket: socket, _waiting: waiting })
    }
}

/// A TCP server that accepts, counts and closes.
#[derive(Debug)]
pub struct Tcp {
    /// Where it listens.
    pub addr: SocketAddr,
    count: Arc<AtomicU64>,
    own: AtomicU64,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tcp {
    /// A server on 127.0.0.1 and a port of the kernel's choice.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn new() -> Result<Self> {
        Self::at("127.0.0.1:0")
    }

    /// A server on ::1; skips the case where there is no IPv6.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn v6() -> Result<Self> {
        match Self::at("[::1]:0") {
            Err(error) => skip(&format!("no IPv6 on loopback: {error:#}")),
            server => server,
        }
    }

    /// A server on an address of the caller's choice.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn at(local: &str) -> Result<Self> {
        let listener = TcpListener::bind(local).with_context(|| local.to_owned())?;
        let addr = listener.local_addr()?;
        let (count, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, ended) = (Arc::clone(&count), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Acquire) {
                if let Ok((stream, _)) = listener.accept() {
                    counted.fetch_add(1, Ordering::AcqRel);
                    drop(stream);
                }
            }
        });
        let thread = Some(thread);
        Ok(Self { addr, count, own: AtomicU64::new(0), over, thread })
    }

    /// How many came so far, beside this call itself. Connections are accepted in their order, so
    /// one of our own, seen closed, means that all before it are counted.
    ///
    /// # Errors
    /// When the server can't be reached.
    pub fn reached(&self) -> Result<u64> {
        let own = 1 + self.own.fetch_add(1, Ordering::AcqRel);
        let mut stream = TcpStream::connect(self.addr).context("the case's own server")?;
        // The end of the stream or a reset: either way it was accepted.
        let _ = stream.read(&mut [0; 1]);
        Ok(self.count.load(Ordering::Acquire) - own)
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        drop(TcpStream::connect(self.addr));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// A UDP socket that takes what comes.
#[derive(Debug)]
pub struct Udp {
    /// Where it is.
    pub addr: SocketAddr,
    socket: UdpSocket,
}

impl Udp {
    /// A sink on 127.0.0.1.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn new() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        Ok(Self { addr: socket.local_addr()?, socket })
    }

    /// How many datagrams came since the last time. On loopback they are there when the sender's
    /// call returns.
    pub fn received(&self) -> u64 {
        let mut count = 0;
        while self.socket.recv(&mut [0; 64]).is_ok() {
            count += 1;
        }
        count
    }
}

/// An address on loopback where nobody listens.
///
/// # Errors
/// When the kernel gives none.
pub fn closed_port() -> Result<SocketAddr> {
    let listener =
        TcpListener::bind("127.0.0.1:0").map_err(|e| Skip(format!("no loopback: {e}")))?;
    Ok(listener.local_addr()?)
}

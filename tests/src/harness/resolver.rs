//! A DNS resolver on loopback, over UDP and TCP, that answers as a case wants and knows who asked.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};

use super::skip;
use crate::dns;

/// What is answered to a question: messages, each from the resolver's own address, or `true` for
/// another one.
pub type Zone = fn(&str, &[u8]) -> Vec<(Vec<u8>, bool)>;

/// A resolver at port 53 of an address.
#[derive(Debug)]
pub struct Resolver {
    /// Where it is.
    pub addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Resolver {
    /// A resolver at an address on loopback, and a second one that answers for it.
    ///
    /// # Errors
    /// When the addresses are taken.
    pub fn new(ip: &str, other: &str, zone: Zone) -> Result<Self> {
        let addr = SocketAddr::new(ip.parse()?, 53);
        let Ok(socket) = UdpSocket::bind(addr) else {
            return skip(&format!("{addr} can't be had"));
        };
        let forger =
            UdpSocket::bind((other.parse::<IpAddr>()?, 53)).context("the other address")?;
        let listener = TcpListener::bind(addr)?;
        let (asked, over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let threads = vec![
            std::thread::spawn({
                let (asked, over) = (Arc::clone(&asked), Arc::clone(&over));
                move || udp(&socket, &forger, zone, &asked, &over)
            }),
            std::thread::spawn({
                let (asked, over) = (Arc::clone(&asked), Arc::clone(&over));
                move || tcp(&listener, zone, &asked, &over)
            }),
        ];
        Ok(Self { addr, asked, over, threads })
    }

    /// The names that it was asked for so far, in lower case.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().map(|asked| asked.clone()).unwrap_or_default()
    }
}

type Asked = Mutex<Vec<String>>;

fn answers(message: &[u8], zone: Zone, asked: &Asked) -> Vec<(Vec<u8>, bool)> {
    let Some((name, _)) = dns::asked(message) else { return vec![] };
    let name = name.to_ascii_lowercase();
    let found = zone(&name, message);
    if let Ok(mut asked) = asked.lock() {
        asked.push(name);
    }
    found
}

fn udp(socket: &UdpSocket, forger: &UdpSocket, zone: Zone, asked: &Asked, over: &AtomicBool) {
    let mut room = [0; 4096];
    while let Ok((len, from)) = socket.recv_from(&mut room) {
        if over.load(Ordering::Acquire) {
            return;
        }
        for (answer, forged) in answers(room.get(..len).unwrap_or_default(), zone, asked) {
            let _ = if forged { forger } else { socket }.send_to(&answer, from);
        }
    }
}

fn tcp(listener: &TcpListener, zone: Zone, asked: &Asked, over: &AtomicBool) {
    while let Ok((stream, _)) = listener.accept() {
        if over.load(Ordering::Acquire) {
            return;
        }
        let _ = converse(stream, zone, asked);
    }
}

fn converse(mut stream: TcpStream, zone: Zone, asked: &Asked) -> std::io::Result<()> {
    loop {
        let mut len = [0; 2];
        stream.read_exact(&mut len)?;
        let mut message = vec![0; u16::from_be_bytes(len).into()];
        stream.read_exact(&mut message)?;
        for (answer, _) in answers(&message, zone, asked) {
            let len = u16::try_from(answer.len()).unwrap_or(0).to_be_bytes();
            stream.write_all(&[&len, answer.as_slice()].concat())?;
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Ok(socket) = UdpSocket::bind((self.addr.ip(), 0)) {
            let _ = socket.send_to(&[0], self.addr);
        }
        drop(TcpStream::connect(self.addr));
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

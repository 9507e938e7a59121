//! A small HTTP server on loopback: the demonstration's outside world. It answers everything with
//! 200 and keeps what it was asked.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// It serves until the process ends.
pub(super) struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

/// A request's head is no longer; more is cut off.
const LONGEST: u64 = 64 * 1024;

impl Server {
    pub(super) fn start() -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port to listen on")?;
        let port = listener.local_addr()?.port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // One client that breaks off is no matter for the others.
                let _ = answer(stream, &kept);
            }
        });
        Ok(Self { port, requests })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The heads of the requests so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A port where nobody listens: it was free a moment ago.
pub(super) fn unused_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port left")?;
    Ok(listener.local_addr()?.port())
}

fn answer(mut stream: TcpStream, kept: &Mutex<Vec<String>>) -> std::io::Result<()> {
    use std::io::Read as _;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut head = String::new();
    for line in BufReader::new((&stream).take(LONGEST)).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        head.push_str(&line);
        head.push('\n');
    }
    // Before the answer: whoever has it finds the request kept.
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(head);
    let body = "{\"ok\":true}\n";
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn it_answers_and_keeps_what_it_was_asked() {
        let server = Server::start().unwrap();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
        client.write_all(b"GET /x HTTP/1.1\r\nAuthorization: Bearer t\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("{\"ok\":true}\n"));
        assert!(server.requests()[0].contains("Bearer t"));
    }

    #[test]
    fn nobody_listens_at_an_unused_port() {
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, unused_port().unwrap())).is_err());
    }
}

//! A web server on loopback, in a few lines: it answers each request of a connection, and keeps it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};

/// What it answers each request with.
const ANSWER: &str = "{\"answer\":\"token=zQ7vT2mXpLx9WkRb4\"}";

/// A server of HTTP/1.1. A path that begins with `/missing` is answered with 404.
#[derive(Debug)]
pub struct Web {
    /// Where it listens.
    pub addr: SocketAddr,
    served: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    /// One on 127.0.0.1.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn new() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("127.0.0.1")?;
        let addr = listener.local_addr()?;
        let (served, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, ended) = (Arc::clone(&served), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if ended.load(Ordering::Acquire) {
                    return;
                }
                let count = Arc::clone(&count);
                std::thread::spawn(move || serve(&stream, &count));
            }
        });
        Ok(Self { addr, served, over, thread: Some(thread) })
    }

    /// How many requests it has answered.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Acquire)
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }
}

/// Answers until the other side has had enough, or says what it does not understand.
fn serve(stream: &TcpStream, served: &AtomicU64) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&n| n > 0)?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut length = 0;
        loop {
            line.clear();
            reader.read_line(&mut line).ok().filter(|&n| n > 0)?;
            let (name, value) = line.split_once(':').unwrap_or((line.trim(), ""));
            if name.is_empty() {
                break;
            }
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut content = vec![0; length];
        reader.read_exact(&mut content).ok()?;
        let status = if path.starts_with("/missing") { "404 Not Found" } else { "200 OK" };
        served.fetch_add(1, Ordering::AcqRel);
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            ANSWER.len()
        );
        writer.write_all((head + ANSWER).as_bytes()).ok()?;
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        drop(TcpStream::connect(self.addr));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

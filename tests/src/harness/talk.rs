//! A far end that listens to what is said, and answers.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};

/// What was said on each connection that is over, in the order of their ends.
type Said = Arc<Mutex<Vec<Vec<u8>>>>;

/// A TCP server that answers each thing that is said with the same bytes.
#[derive(Debug)]
pub struct Talk {
    /// Where it listens.
    pub addr: SocketAddr,
    said: Said,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Talk {
    /// A server at this address, which answers with these bytes.
    ///
    /// # Errors
    /// When the kernel refuses the address.
    pub fn new(local: &str, answer: &'static [u8]) -> Result<Self> {
        Self::greeting(local, b"", answer)
    }

    /// The same, and it says something before anybody else does.
    ///
    /// # Errors
    /// When the kernel refuses the address.
    pub fn greeting(local: &str, greeting: &'static [u8], answer: &'static [u8]) -> Result<Self> {
        let listener = TcpListener::bind(local).with_context(|| local.to_owned())?;
        let addr = listener.local_addr()?;
        let (said, over) = (Said::default(), Arc::new(AtomicBool::new(false)));
        let (heard, ended) = (Arc::clone(&said), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                if ended.load(Ordering::Acquire) {
                    return;
                }
                drop(stream.write_all(greeting));
                let all = hear(stream, answer, &ended);
                if let Ok(mut heard) = heard.lock() {
                    heard.push(all);
                }
            }
        });
        Ok(Self { addr, said, over, thread: Some(thread) })
    }

    /// What was said on each connection, once the server is through with all of them.
    pub fn said(mut self) -> Vec<Vec<u8>> {
        self.stop();
        self.said.lock().map(|mut said| std::mem::take(&mut *said)).unwrap_or_default()
    }

    fn stop(&mut self) {
        self.over.store(true, Ordering::Release);
        // Whoever came before this one was heard to the end.
        drop(TcpStream::connect(self.addr));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One connection, to its end; one that nobody ends is left when the case is over.
fn hear(mut stream: TcpStream, answer: &[u8], over: &AtomicBool) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 256 * 1024]);
    let tick = std::time::Duration::from_millis(50);
    drop(stream.set_read_timeout(Some(tick)));
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return all,
            Ok(n) => {
                all.extend_from_slice(buffer.get(..n).unwrap_or_default());
                drop(stream.write_all(answer));
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                if over.load(Ordering::Acquire) {
                    return all;
                }
            }
            Err(_) => return all,
        }
    }
}

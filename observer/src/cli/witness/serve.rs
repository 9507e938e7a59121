//! The witness's side of HTTP: one resource, bounded requests, bounded time, a thread a
//! connection and no more of them than a few.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use observer::ledger::{Cosigner, REQUEST, Refusal, Submission, VerifierKey};

use super::book::Book;

/// Connections at a time; one more is closed at once.
const CONNECTIONS: usize = 64;
/// How long a request may take to arrive, and a connection may be silent.
const PATIENCE: Duration = Duration::from_secs(10);
const HEADERS: usize = 8 * 1024;

/// What answers are made of.
pub(super) struct Witness {
    logs: Vec<VerifierKey>,
    cosigner: Cosigner,
    /// Held while a checkpoint is judged and kept: two at once would each roll the other back.
    book: Mutex<Book>,
    connections: AtomicUsize,
}

struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn plain(status: &'static str, body: impl Into<String>) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: body.into() }
    }
}

impl Witness {
    pub(super) fn new(logs: Vec<VerifierKey>, cosigner: Cosigner, book: Book) -> Self {
        Self { logs, cosigner, book: Mutex::new(book), connections: AtomicUsize::new(0) }
    }

    fn add_checkpoint(&self, body: &[u8]) -> Answer {
        match self.cosign(body) {
            Ok(Ok(line)) => Answer::plain("200 OK", line),
            Ok(Err(refusal)) => refused(&refusal),
            Err(error) => {
                eprintln!("observer: the witness can't keep a checkpoint: {error}");
                Answer::plain("500 Internal Server Error", "the checkpoint could not be kept\n")
            }
        }
    }

    fn cosign(&self, body: &[u8]) -> io::Result<Result<String, Refusal>> {
        let submission = match Submission::parse(body) {
            Ok(submission) => submission,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // A thread that panicked left the files as they are: whole.
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.logs.iter().any(|log| log.name == submission.origin());
        let latest = if known { book.latest(submission.origin())? } else { None };
        let checkpoint = match submission.judge(&self.logs, latest.as_ref()) {
            Ok(checkpoint) => checkpoint,
            Err(refusal) => {
                let origin = submission.origin().escape_debug();
                eprintln!("observer: refused a checkpoint of {origin}: {refusal:?}");
                return Ok(Err(refusal));
            }
        };
        book.keep(checkpoint)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(Ok(self.cosigner.cosign(&submission, now.as_secs())))
    }
}

fn refused(refusal: &Refusal) -> Answer {
    match refusal {
        Refusal::Malformed => Answer::plain("400 Bad Request", "not a submission\n"),
        Refusal::Unknown => Answer::plain("404 Not Found", "no such log here\n"),
        Refusal::Unsigned => Answer::plain("403 Forbidden", "not signed by its log\n"),
        Refusal::Conflict(size) => {
            Answer { status: "409 Conflict", kind: "text/x.tlog.size", body: format!("{size}\n") }
        }
        Refusal::Fork => Answer::plain("422 Unprocessable Entity", "not proved consistent\n"),
    }
}

/// Serves until the process ends.
pub(super) fn serve(listener: &TcpListener, witness: &Arc<Witness>) -> ! {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, or the peer went: the next may fare better.
                eprintln!("observer: cannot accept a connection: {error}");
                thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        if witness.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            witness.connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let shared = Arc::clone(witness);
        let spawned = thread::Builder::new().spawn(move || {
            // A peer that goes away in the middle is no trouble of ours.
            let _ = converse(&stream, &shared);
            shared.connections.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            witness.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn converse(stream: &TcpStream, witness: &Witness) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut bytes = vec![];
    loop {
        let (answer, used, go_on) = match request(stream, &mut bytes)? {
            Some(Request { post, body, used, go_on }) => {
                let body = bytes.get(body..used).unwrap_or_default();
                let answer = if post {
                    witness.add_checkpoint(body)
                } else {
                    Answer::plain("404 Not Found", "POST …/add-checkpoint is all there is\n")
                };
                (answer, used, go_on)
            }
            None if bytes.is_empty() => return Ok(()),
            None => (Answer::plain("400 Bad Request", "not a request\n"), bytes.len(), false),
        };
        let Answer { status, kind, body } = answer;
        let close = if go_on { "" } else { "Connection: close\r\n" };
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{close}\r\n{body}"
        );
        (&mut &*stream).write_all(text.as_bytes())?;
        bytes.drain(..used);
        if !go_on {
            return Ok(());
        }
    }
}

struct Request {
    /// Whether it is for the one resource.
    post: bool,
    /// Where its body begins, and ends.
    body: usize,
    used: usize,
    go_on: bool,
}

/// Reads a request; None where the bytes are none, or there are no more.
fn request(mut stream: &TcpStream, bytes: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match head(bytes) {
            Head::Bad => return Ok(None),
            Head::Whole(request) if bytes.len() >= request.used => return Ok(Some(request)),
            Head::Whole(_) | Head::Partial => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(0) => return Ok(None),
            Ok(n) => bytes.extend_from_slice(piece.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

enum Head {
    Bad,
    Partial,
    Whole(Request),
}

fn head(bytes: &[u8]) -> Head {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    let body = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(body)) if body <= HEADERS => body,
        Ok(httparse::Status::Partial) if bytes.len() <= HEADERS => return Head::Partial,
        _ => return Head::Bad,
    };
    let (mut length, mut go_on) = (0, parsed.version == Some(1));
    for header in parsed.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default();
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => match value.parse() {
                Ok(n) if n <= REQUEST => length = n,
                _ => return Head::Bad,
            },
            // A body that does not say its length could hide a second request.
            "transfer-encoding" => return Head::Bad,
            "connection" => go_on &= !value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    let path = parsed.path.unwrap_or_default();
    let post = parsed.method == Some("POST") && path.ends_with("/add-checkpoint");
    Head::Whole(Request { post, body, used: body + length, go_on })
}

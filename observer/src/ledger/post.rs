//! One checkpoint to one witness, with the proof that it continues the last one (C2SP
//! tlog-witness). The proof is made from the ledger's files, of which only what is new is read.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::elsewhere::{KeptStatus, append};
use super::leaves::{Leaves, Place};
use super::merkle::{Hash, Prover};
use super::note::{Checkpoint, NOTE, Note, VerifierKey, decimal};
use super::witness::Submission;

/// How long a witness may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer's bound, in bytes.
const ANSWER: usize = 2 * NOTE;

/// Where the cosigned checkpoints of a ledger are kept, beside it.
pub fn cosigned_of(ledger: &Path) -> PathBuf {
    let mut name = ledger.as_os_str().to_owned();
    name.push(".cosigned");
    name.into()
}

/// The number of records that a checkpoint vouches for.
pub(super) fn size(note: &str) -> u64 {
    let note = Note::parse(note.as_bytes());
    note.and_then(|note| Checkpoint::parse(&note.text)).map_or(0, |checkpoint| checkpoint.size)
}

/// What one witness knows of a ledger.
pub(super) struct Poster {
    ledger: PathBuf,
    host: String,
    prefix: String,
    key: VerifierKey,
    /// The tree that it cosigned last, and where the records after it begin.
    known: Option<Place>,
}

type Refused = (KeptStatus, String);

impl Poster {
    pub(super) fn new(ledger: &Path, host: &str, prefix: &str, key: &VerifierKey) -> Self {
        let (ledger, host, prefix) = (ledger.to_owned(), host.to_owned(), prefix.to_owned());
        Self { ledger, host, prefix, key: key.clone(), known: None }
    }

    /// Has it cosigned, and keeps the cosigned note beside the ledger.
    pub(super) fn post(&mut self, note: &str) -> Result<(), Refused> {
        let size = size(note);
        let refused = |why: String| (KeptStatus::Refused, why);
        for _ in 0..3 {
            let old = self.known.as_ref().map_or(0, |known| known.tree.size());
            let made = self.prove(size);
            let (proof, now) =
                made.map_err(|e| (KeptStatus::Silent, format!("{}: {e}", self.ledger.display())))?;
            let body = Submission::body(old, &proof, note);
            let (status, answer) =
                self.ask(&body).map_err(|e| (KeptStatus::Silent, e.to_string()))?;
            match status {
                200 => {
                    let whole = format!("{note}{answer}");
                    let good = Note::parse(whole.as_bytes()).is_some_and(|n| n.verifies(&self.key));
                    if !good {
                        return Err(refused("its answer is not cosigned with its key".to_owned()));
                    }
                    append(&cosigned_of(&self.ledger), &whole)
                        .map_err(|e| (KeptStatus::Silent, e.to_string()))?;
                    self.known = Some(now);
                    return Ok(());
                }
                409 => {
                    let theirs = answer.strip_suffix('\n').and_then(decimal);
                    let Some(theirs) = theirs else {
                        return Err(refused("it refuses without a size".to_owned()));
                    };
                    if theirs > size {
                        return Err(refused(format!(
                            "ROLLBACK: it has cosigned {theirs} records of this ledger, and here are {size}"
                        )));
                    }
                    if theirs == old {
                        return Err(refused(format!(
                            "FORK: it has cosigned other {theirs} records of this ledger"
                        )));
                    }
                    let theirs_here = Leaves::first(&self.ledger, theirs);
                    let known = theirs_here
                        .map_err(|e| refused(format!("it knows {theirs} records: {e}")))?;
                    self.known = Some(known);
                }
                422 => return Err(refused("FORK: what it cosigned does not go on to this".into())),
                other => return Err(refused(format!("it answers {other}"))),
            }
        }
        Err(refused("it changes its mind".to_owned()))
    }

    /// The proof from what is known to the first `size` records, and what is known then.
    fn prove(&self, size: u64) -> io::Result<(Vec<Hash>, Place)> {
        let Some(known) = &self.known else {
            // Nothing is to be proved of a ledger that is new to it.
            return Ok((vec![], Leaves::first(&self.ledger, size)?));
        };
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "it has fewer records than it had");
        let mut prover = Prover::consistency_from(&known.tree, size).ok_or_else(bad)?;
        let mut leaves = Leaves::after(&self.ledger, known)?;
        leaves.advance(size, |leaf| prover.push(leaf))?;
        // RFC 6962 has no proof from nothing, and tlog-witness an empty one.
        let proof =
            if known.tree.size() == 0 { vec![] } else { prover.finish().ok_or_else(bad)? };
        Ok((proof, leaves.place()))
    }

    fn ask(&self, body: &str) -> io::Result<(u16, String)> {
        let deadline = Instant::now() + PATIENCE;
        let mut addresses = self.host.to_socket_addrs()?;
        let address = addresses.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        let head = format!(
            "POST {slash}{}/add-checkpoint HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.prefix,
            self.host,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut bytes = vec![];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            let mut piece = [0; 4096];
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => bytes.extend_from_slice(piece.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
            if bytes.len() > ANSWER {
                break;
            }
        }
        answer(&bytes)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer"))
    }
}

/// The status and the body of an answer.
fn answer(bytes: &[u8]) -> Option<(u16, String)> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(at) = parsed.parse(bytes).ok()? else { return None };
    let status = parsed.code?;
    let length = parsed.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let body = bytes.get(at..)?;
    let body = match length {
        Some(length) => {
            body.get(..std::str::from_utf8(length.value).ok()?.trim().parse::<usize>().ok()?)?
        }
        None => body,
    };
    Some((status, String::from_utf8(body.to_vec()).ok()?))
}

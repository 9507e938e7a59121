//! Where checkpoints are taken to: files on other mounts, the host's log, and witnesses.
//!
//! Each place has a thread and a slot for one checkpoint. A newer checkpoint takes the place of
//! one that still waits, which it vouches for as well; nobody who writes the ledger ever waits.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use data_encoding::BASE64;

use super::note::{Kind, VerifierKey};
use super::post::Poster;

/// A place for checkpoints.
#[derive(Clone, Debug)]
pub enum Elsewhere {
    /// A file that they are appended to.
    File(PathBuf),
    /// The socket of the host's log, which many hosts forward to another.
    Syslog(PathBuf),
    /// A witness that cosigns them.
    Witness {
        /// Where it is: host, port, and what comes before `/add-checkpoint`.
        host: String,
        /// See `host`.
        prefix: String,
        /// Its key.
        key: VerifierKey,
    },
}

impl Elsewhere {
    /// A witness, from `http://HOST:PORT[/PREFIX] KEY`.
    pub fn witness(text: &str) -> Result<Self, String> {
        let form = || format!("a witness is \"http://HOST:PORT KEY\", and not {text:?}");
        let (url, key) = text.trim().split_once(' ').ok_or_else(form)?;
        let rest = url.strip_prefix("http://").ok_or_else(form)?;
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |c: char| c.is_ascii_graphic();
        if host.is_empty() || !rest.chars().all(plain) {
            return Err(form());
        }
        let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let key = VerifierKey::parse(key).filter(|key| key.kind == Kind::Witness);
        let key = key.ok_or_else(|| format!("{text:?} has no witness's verifier key"))?;
        let prefix = prefix.trim_end_matches('/').to_owned();
        Ok(Self::Witness { host, prefix, key })
    }

    /// How it is called in records.
    fn name(&self) -> String {
        match self {
            Self::File(path) | Self::Syslog(path) => path.display().to_string(),
            Self::Witness { host, key, .. } => format!("{} at {host}", key.name),
        }
    }
}

/// What became of a checkpoint in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The place.
    pub place: String,
    /// The records that the checkpoint vouches for.
    pub size: u64,
    /// What became of it.
    pub status: KeptStatus,
    /// Why; empty where it is kept.
    pub why: String,
}

/// What became of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptStatus {
    /// It is there.
    Kept,
    /// The place did not answer, or can't be written.
    Silent,
    /// The witness refuses it: what it cosigned before does not go on to this.
    Refused,
}

impl KeptStatus {
    /// As it stands in a record.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Silent => "silent",
            Self::Refused => "refused",
        }
    }
}

#[derive(Default)]
struct Slot {
    waiting: Option<String>,
    busy: bool,
    closed: bool,
}

type Shared = Arc<(Mutex<Slot>, Condvar)>;

/// The threads that take checkpoints elsewhere.
pub struct Carriers {
    slots: Vec<(String, Shared)>,
    outcomes: Receiver<Kept>,
    /// What was last told of each place.
    told: Vec<(String, KeptStatus)>,
}

impl Carriers {
    /// Starts a thread for each place.
    pub fn start(ledger: &Path, places: &[Elsewhere]) -> io::Result<Self> {
        let (sender, outcomes) = channel();
        let mut slots = vec![];
        for place in places {
            let shared: Shared = Arc::default();
            slots.push((place.name(), Arc::clone(&shared)));
            let (place, ledger, sender) = (place.clone(), ledger.to_owned(), sender.clone());
            let thread = thread::Builder::new().name("observer-anchor".into());
            thread.spawn(move || carry(&place, &ledger, &shared, &sender))?;
        }
        Ok(Self { slots, outcomes, told: vec![] })
    }

    /// Has a checkpoint taken everywhere. Never waits.
    pub fn post(&self, note: &str) {
        for (_, shared) in &self.slots {
            lock(shared).waiting = Some(note.to_owned());
            shared.1.notify_all();
        }
    }

    /// What became of checkpoints since the last time, where it is other than before. Never
    /// waits.
    pub fn news(&mut self) -> Vec<Kept> {
        let mut news = vec![];
        while let Ok(kept) = self.outcomes.try_recv() {
            let known = self.told.iter_mut().find(|(place, _)| *place == kept.place);
            match known {
                Some((_, status)) if *status == kept.status => continue,
                Some((_, status)) => *status = kept.status,
                None => self.told.push((kept.place.clone(), kept.status)),
            }
            news.push(kept);
        }
        news
    }

    /// Waits for what is on its way, no longer than this, and ends. The news, and the places that
    /// have not answered.
    pub fn finish(mut self, patience: Duration) -> (Vec<Kept>, Vec<String>) {
        let deadline = Instant::now() + patience;
        let mut silent = vec![];
        for (name, shared) in &self.slots {
            let mut slot = lock(shared);
            while slot.busy || slot.waiting.is_some() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    silent.push(name.clone());
                    break;
                }
                let waited = shared.1.wait_timeout(slot, left);
                slot = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            slot.closed = true;
            shared.1.notify_all();
        }
        (self.news(), silent)
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Slot> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One place's thread.
fn carry(place: &Elsewhere, ledger: &Path, shared: &Shared, outcomes: &Sender<Kept>) {
    let mut poster = match place {
        Elsewhere::File(_) | Elsewhere::Syslog(_) => None,
        Elsewhere::Witness { host, prefix, key } => Some(Poster::new(ledger, host, prefix, key)),
    };
    loop {
        let note = {
            let mut slot = lock(shared);
            loop {
                if let Some(note) = slot.waiting.take() {
                    slot.busy = true;
                    break note;
                }
                if slot.closed {
                    return;
                }
                slot = shared.1.wait(slot).unwrap_or_else(PoisonError::into_inner);
            }
        };
        let done = match (place, &mut poster) {
            (Elsewhere::File(path), _) => {
                append(path, &note).map_err(|e| (KeptStatus::Silent, e.to_string()))
            }
            (Elsewhere::Syslog(path), _) => {
                log(path, &note).map_err(|e| (KeptStatus::Silent, e.to_string()))
            }
            (Elsewhere::Witness { .. }, Some(poster)) => poster.post(&note),
            (Elsewhere::Witness { .. }, None) => Ok(()),
        };
        let (status, why) =
            done.map_or_else(|refused| refused, |()| (KeptStatus::Kept, String::new()));
        let size = super::post::size(&note);
        let _ = outcomes.send(Kept { place: place.name(), size, status, why });
        lock(shared).busy = false;
        shared.1.notify_all();
    }
}

/// Appends to a file that may allow nothing else, and syncs it.
pub(super) fn append(path: &Path, note: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o644).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let mut file = options.open(path)?;
    file.write_all(note.as_bytes())?;
    file.sync_data()
}

/// Sends it to the host's log (syslog(3); RFC 3164, facility authpriv, severity notice), in base64:
/// a note has lines, and a message is one.
fn log(socket: &Path, note: &str) -> io::Result<()> {
    const AUTHPRIV_NOTICE: u32 = 10 * 8 + 5;
    /// A log that takes nothing is silent, and holds nobody up for longer.
    const PATIENCE: Duration = Duration::from_secs(5);
    let (id, size) = (std::process::id(), super::post::size(note));
    let note = BASE64.encode(note.as_bytes());
    let message = format!("<{AUTHPRIV_NOTICE}>observer[{id}]: checkpoint size={size} note={note}");
    let datagram = UnixDatagram::unbound()?;
    datagram.set_write_timeout(Some(PATIENCE))?;
    datagram.send_to(message.as_bytes(), socket)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(place: &Elsewhere, note: &str) -> Vec<Kept> {
        let carriers = Carriers::start(Path::new("ledger"), std::slice::from_ref(place)).unwrap();
        carriers.post(note);
        let (news, silent) = carriers.finish(Duration::from_secs(30));
        assert!(silent.is_empty(), "{silent:?}");
        news
    }

    #[test]
    fn a_checkpoint_in_the_hosts_log_is_one_line_and_comes_out_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = UnixDatagram::bind(&path).unwrap();
        let root = BASE64.encode(&[7; 32]);
        let signature = BASE64.encode(&[7; 68]);
        let note = &format!("origin\n7\n{root}\n\n— origin {signature}\n");
        let news = kept(&Elsewhere::Syslog(path), note);
        assert_eq!(news.first().map(|kept| kept.status), Some(KeptStatus::Kept));
        let mut bytes = [0; 4096];
        let n = log.recv(&mut bytes).unwrap();
        let message = std::str::from_utf8(&bytes[..n]).unwrap();
        assert!(message.starts_with("<85>observer[") && !message.contains('\n'), "{message}");
        assert!(message.contains(" checkpoint size=7 "), "{message}");
        let (_, encoded) = message.split_once("note=").unwrap();
        assert_eq!(BASE64.decode(encoded.as_bytes()).unwrap(), note.as_bytes());
    }

    #[test]
    fn a_host_without_a_log_is_silent_and_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let news = kept(&Elsewhere::Syslog(dir.path().join("nobody")), "origin\n7\n");
        assert_eq!(news.first().map(|kept| kept.status), Some(KeptStatus::Silent));
        assert!(!news[0].why.is_empty());
    }
}

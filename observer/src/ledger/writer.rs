//! The one writer of a ledger: it queues entries, and writes them in signed groups.
//!
//! What can't be written is kept, up to a bound, and tried again; what does not fit the bound is
//! counted, and told as a `loss` as soon as writing works again.
//!
//! A checkpoint is made when enough was written since the last, and when a run or the recorder
//! begins or ends. It is made of synced records alone.

mod compose;
mod epoch;
mod rotate;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use thiserror::Error;

use super::checkpoints::{Checkpoints, checkpoints_of};
use super::entry::Entry;
use super::files::{self, OpenError};
use super::keys::{HostKey, KeyError, SigningKey};
use super::merkle::{self, Hash, Tree};
use super::note::{self, Checkpoint, Kind, Note, VerifierKey};
use super::{chain, handover, resume, segments};
use crate::clock;
use crate::model::RunId;
use compose::Counts;
pub use epoch::Epochs;
use rotate::Rotating;
pub use rotate::Rotation;

/// Entries that wait at the most.
const WAITING: usize = 65_536;
/// In a group up to this, every line is signed; in a larger one the last of each signer.
const EACH_SIGNED: usize = 64;

/// Bytes that a line has for the most part, to make room for.
const LINE: usize = 1024;

/// Records after which a checkpoint is due, and the time after which it is.
const CHECKPOINT_RECORDS: u64 = 1000;
const CHECKPOINT_AGE: Duration = Duration::from_secs(60);

/// A group that could not be written. What was in it waits.
#[derive(Debug, Error)]
pub enum CommitError {
    /// The system said no.
    #[error(
        "THE LEDGER CANNOT BE WRITTEN: {path}: {source}: {waiting} records wait{}; make room or mend the disk",
        and_lost(*lost)
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// How many records wait.
        waiting: usize,
        /// How many more there was no room for.
        lost: u64,
    },
    /// Somebody removed or replaced the file.
    #[error(
        "THE LEDGER WAS REMOVED OR REPLACED: {path}: a new file is begun there, which continues the chain; keep what is left of the old one"
    )]
    Removed {
        /// The file.
        path: PathBuf,
    },
    /// It can't be opened again.
    #[error("THE LEDGER CANNOT BE WRITTEN: {0}")]
    Open(#[from] OpenError),
}

fn and_lost(lost: u64) -> String {
    if lost == 0 { String::new() } else { format!(", and {lost} MORE ARE LOST") }
}

/// What was found when a ledger was opened.
#[derive(Debug)]
pub struct Opened {
    /// Records that it has.
    pub records: u64,
    /// Where what a crash left at its end was moved to.
    pub torn: Option<PathBuf>,
    /// The runs that have no end because their recorder was killed.
    pub lost: Vec<String>,
}

/// A group that was written and synced.
#[derive(Debug, Default)]
pub struct Committed {
    /// How many records.
    pub records: usize,
    /// The checkpoint that was made after it: a signed note.
    pub checkpoint: Option<String>,
    /// Why one that was due could not be kept, or a file could not be closed; it is tried again
    /// with the next group.
    pub trouble: Option<io::Error>,
}

/// A run that is being recorded.
struct Run {
    key: SigningKey,
    agent: String,
    policy: Option<String>,
    seq: u64,
    counts: Counts,
    /// Where it began.
    began: u64,
}

impl Run {
    /// What a write that fails must put back.
    fn place(&self) -> (u64, Counts, Option<String>) {
        (self.seq, self.counts, self.policy.clone())
    }
}

/// Where the chain stands.
#[derive(Clone)]
struct Place {
    tree: Tree,
    prev: Hash,
    len: u64,
    origin: Option<String>,
    /// The first record in the file.
    from: u64,
}

/// Writes one ledger. A lock on the file keeps every other writer out.
pub struct Writer {
    path: PathBuf,
    file: File,
    host: HostKey,
    place: Place,
    checkpoints: Checkpoints,
    /// What the last checkpoint vouches for, and when it was made.
    vouched: (u64, Instant),
    runs: HashMap<RunId, Run>,
    queue: Vec<Entry>,
    dropped: HashMap<Option<RunId>, u64>,
    removed: bool,
    rotation: Rotation,
    epochs: Epochs,
    /// Records that the host's key has seen, and since when it signs, as far as that is known.
    epoch: (u64, SystemTime),
    /// Whether the state directory tells of this ledger, to whoever replaces the key.
    enrolled: bool,
    /// The checkpoint of a file that was closed, to be told with the next group.
    rotated: Option<String>,
    /// Since when the file is written, as far as that is known.
    since: SystemTime,
}

impl Writer {
    /// Opens a ledger, new or to be continued. `recover` records are queued where a crash had
    /// left something unfinished.
    pub fn open(path: &Path, mut host: HostKey) -> Result<(Self, Opened), OpenError> {
        let file = files::open(path)?;
        let opened = Checkpoints::open(path, |note| own(note, &host));
        let (checkpoints, vouched) =
            opened.map_err(|source| OpenError::Io { path: checkpoints_of(path), source })?;
        let closed = segments::segments_of(path)
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        let (mut found, torn) = resume::resume(&file, path, closed.last(), vouched.as_ref())?;
        handover::take_up(&host, &file, path, &mut found)?;
        epoch::take_up(&mut host, &found, path)?;
        if !closed.is_empty() {
            segments::compress(path);
        }
        let created = file.metadata().and_then(|meta| meta.created());
        let lost: Vec<_> = resume::lost(&found).collect();
        let opened = Opened {
            records: found.tree.size(),
            torn: torn.as_ref().map(|torn| torn.aside.clone()),
            lost: lost.iter().map(|lost| lost.run.clone()).collect(),
        };
        let vouched = vouched.map_or(0, |checkpoint| checkpoint.size);
        let epoch = (found.tree.size() - found.epoch, host.since());
        let resume::Found { tree, prev, len, origin, from, .. } = found;
        let mut writer = Self {
            path: path.to_owned(),
            file,
            host,
            place: Place { tree, prev, len, origin, from },
            checkpoints,
            vouched: (vouched, Instant::now()),
            runs: HashMap::new(),
            queue: vec![],
            dropped: HashMap::new(),
            removed: false,
            rotation: Rotation::default(),
            epochs: Epochs::default(),
            epoch,
            enrolled: false,
            rotated: None,
            since: created.unwrap_or_else(|_| SystemTime::now()),
        };
        if writer.place.len == 0 && writer.place.tree.size() > 0 {
            writer.append(Entry::Segment { at: clock::now() });
        }
        if let Some(torn) = torn {
            writer.append(Entry::Recover {
                at: clock::now(),
                what: "what a crash left at the end was moved aside".to_owned(),
                bytes: torn.bytes,
                sha256: Some(torn.sha256),
                lost: None,
            });
        }
        for lost in lost {
            writer.append(Entry::Recover {
                at: clock::now(),
                what: "the run has no end: its recorder was killed".to_owned(),
                bytes: 0,
                sha256: None,
                lost: Some(lost),
            });
        }
        Ok((writer, opened))
    }

    /// Makes a run's key: from now on its entries can be appended, `run.start` first.
    pub fn admit(
        &mut self,
        run: RunId,
        agent: &str,
        policy: Option<String>,
    ) -> Result<(), KeyError> {
        let key = SigningKey::generate()?;
        let counts = Counts::default();
        let agent = agent.to_owned();
        let run_state = Run { key, agent, policy, seq: 0, counts, began: 0 };
        self.runs.insert(run, run_state);
        Ok(())
    }

    /// Queues an entry for the next group.
    pub fn append(&mut self, entry: Entry) {
        let vital =
            matches!(entry, Entry::RunStart(_) | Entry::RunEnd { .. } | Entry::Escape { .. })
                || matches!(entry, Entry::Policy { .. } | Entry::Under { .. });
        if self.queue.len() >= WAITING && !vital {
            // With a loss goes what it tells of.
            let lost = if let Entry::Loss { lost, .. } = entry { lost.max(1) } else { 1 };
            *self.dropped.entry(entry.run()).or_default() += lost;
            return;
        }
        self.queue.push(entry);
    }

    /// Writes what is queued, signed, and syncs it. On an error everything waits for the next
    /// try, and the file is as it was.
    pub fn commit(&mut self) -> Result<Committed, CommitError> {
        if !self.removed && !files::is_there(&self.file, &self.path) {
            self.removed = true;
            return Err(CommitError::Removed { path: self.path.clone() });
        }
        let mut trouble = None;
        if self.removed {
            self.begin_anew()?;
        } else if self.is_rotation_due() {
            match self.rotate() {
                Ok(()) => {}
                Err(Rotating::Before(error)) => trouble = Some(error),
                Err(Rotating::After(error)) => return Err(error),
            }
        }
        if trouble.is_none() && self.is_key_due() {
            trouble = self.replace_key()?.err().map(io::Error::other);
        }
        // What an old key signed is vouched for at once.
        let milestone = self.epoch.0 == 0 || self.queue.iter().any(is_milestone);
        let mut written = self.write_queue()?;
        if !self.dropped.is_empty() {
            for (run, lost) in std::mem::take(&mut self.dropped) {
                self.queue.push(Entry::Loss {
                    run: run.filter(|run| self.runs.contains_key(run)),
                    at: clock::now(),
                    place: "ledger".to_owned(),
                    lost,
                    why: "the ledger could not be written, and no more could wait".to_owned(),
                });
            }
            written += self.write_queue()?;
        }
        if let (false, Some(origin)) = (self.enrolled, &self.place.origin) {
            match handover::enroll(&self.host, origin, &self.path) {
                Ok(()) => self.enrolled = true,
                Err(error) => trouble = Some(error),
            }
        }
        let mut committed = Committed { records: written, checkpoint: None, trouble };
        if self.is_checkpoint_due() || (milestone && self.vouched.0 < self.place.tree.size()) {
            match self.checkpoint() {
                Ok(note) => committed.checkpoint = note,
                Err(error) => committed.trouble = Some(error),
            }
        } else if let Some(note) = self.rotated.take() {
            committed.checkpoint = Some(note);
        }
        Ok(committed)
    }

    /// Whether what was written since the last checkpoint is much, or old.
    pub fn is_checkpoint_due(&self) -> bool {
        let (size, at) = self.vouched;
        let new = self.place.tree.size().saturating_sub(size);
        new >= CHECKPOINT_RECORDS || (new > 0 && at.elapsed() >= CHECKPOINT_AGE)
    }

    fn checkpoint(&mut self) -> io::Result<Option<String>> {
        let Some(origin) = self.place.origin.clone() else { return Ok(None) };
        let (size, root) = (self.place.tree.size(), self.place.tree.root());
        let by = log_key(&origin, &self.host);
        let text = Checkpoint { origin, size, root }.text();
        let note = note::signed(&text, &by, |text| self.host.sign_checkpoint(text));
        // Another second of records before the next try.
        self.vouched.1 = Instant::now();
        self.checkpoints.append(&note)?;
        self.vouched.0 = size;
        Ok(Some(note))
    }

    fn failed(&self, source: io::Error) -> CommitError {
        let lost = self.dropped.values().sum();
        CommitError::Io { path: self.path.clone(), source, waiting: self.queue.len(), lost }
    }

    fn write_queue(&mut self) -> Result<usize, CommitError> {
        if self.queue.is_empty() {
            return Ok(0);
        }
        let before = self.place.clone();
        let was: Vec<_> = self.runs.iter().map(|(&run, state)| (run, state.place())).collect();
        let bytes = self.lines();
        // A write that failed before may have left something behind our last line.
        let written = self
            .file
            .set_len(before.len)
            .and_then(|()| (&self.file).write_all(&bytes))
            .and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            let _ = self.file.set_len(before.len);
            self.place = before;
            for (run, (seq, counts, policy)) in was {
                if let Some(state) = self.runs.get_mut(&run) {
                    (state.seq, state.counts, state.policy) = (seq, counts, policy);
                }
            }
            return Err(self.failed(source));
        }
        self.place.len += bytes.len() as u64;
        let is_record = |entry: &&Entry| !matches!(entry, Entry::Under { .. });
        let count = self.queue.iter().filter(is_record).count();
        self.epoch.0 += count as u64;
        for entry in self.queue.drain(..) {
            if let Entry::RunEnd { run, .. } = entry {
                // Its key goes with it.
                self.runs.remove(&run);
            }
        }
        Ok(count)
    }

    /// The queue as lines, and the chain's place moved past them.
    fn lines(&mut self) -> Vec<u8> {
        let each = self.queue.len() <= EACH_SIGNED;
        let mut last: HashMap<Option<RunId>, usize> = HashMap::new();
        for (i, entry) in self.queue.iter().enumerate() {
            if !matches!(entry, Entry::Under { .. }) {
                last.insert(self.signer(entry), i);
            }
        }
        let queue = std::mem::take(&mut self.queue);
        let mut out = Vec::with_capacity(queue.len() * LINE);
        for (i, entry) in queue.iter().enumerate() {
            if let Entry::Under { run, policy } = entry {
                if let Some(run) = self.runs.get_mut(run) {
                    run.policy.clone_from(policy);
                }
                continue;
            }
            let from = chain::open(&mut out);
            self.record(entry, &mut out);
            let record = &out[from..];
            let leaf = merkle::leaf(record);
            if self.place.tree.size() == 0 {
                self.place.origin = Some(chain::origin(&leaf));
            }
            self.place.tree.push(leaf);
            self.place.prev = leaf;
            let signer = self.signer(entry);
            let signature = (each || last.get(&signer) == Some(&i)).then(|| {
                let message = chain::record_message(record);
                match signer.and_then(|run| self.runs.get(&run)) {
                    Some(run) => run.key.sign(&message),
                    None => self.host.sign(&message),
                }
            });
            chain::close(&mut out, signature.as_deref());
            out.push(b'\n');
        }
        self.queue = queue;
        out
    }

    /// Whose key signs an entry: its run's, where that is being recorded.
    fn signer(&self, entry: &Entry) -> Option<RunId> {
        entry.run().filter(|run| self.runs.contains_key(run))
    }
}

/// What no record may be missing after: a checkpoint follows it at once.
fn is_milestone(entry: &Entry) -> bool {
    matches!(
        entry,
        Entry::ObserverStart { .. }
            | Entry::RunEnd { .. }
            | Entry::Recover { .. }
            | Entry::ObserverStop { .. }
    )
}

/// The key of a ledger's checkpoints, under the ledger's name.
fn log_key(origin: &str, host: &HostKey) -> VerifierKey {
    VerifierKey { name: origin.to_owned(), kind: Kind::Log, key: host.log_public() }
}

/// The checkpoint that a note is, where this host signed it.
pub(super) fn own(note: &Note, host: &HostKey) -> Option<Checkpoint> {
    let checkpoint = Checkpoint::parse(&note.text)?;
    note.verifies(&log_key(&checkpoint.origin, host)).then_some(checkpoint)
}

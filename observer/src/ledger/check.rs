//! Verifies whatever can be read, with every core: lines are checked where they are read, their
//! signatures in threads beside. Memory is bounded, however long the ledger is.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::checkpoints::Notes;
use super::multiples::Multiples;
use super::note::{Checkpoint, Kind, Note, VerifierKey};
use super::report::{Break, Report};
use super::verify::{Job, Snapshot, Verifier};

/// Lines that are judged together, and bytes of them at most.
const BATCH_LINES: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// Batches whose signatures are being checked at most.
const AHEAD: usize = 4;

/// Lines that were read, with their newlines.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// The line after these is longer than any record's.
    too_long: bool,
}

impl Lines {
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(from, &to)| self.bytes.get(from..to).unwrap_or_default())
    }

    /// Reads until the batch is full, or the source has no more for now.
    fn read(source: &mut impl BufRead) -> io::Result<Self> {
        let mut lines = Self::default();
        while lines.ends.len() < BATCH_LINES && lines.bytes.len() < BATCH_BYTES {
            let before = lines.bytes.len();
            // One byte more than a line may have: then it is too long, however long it is.
            let mut limited = source.by_ref().take(Verifier::LINE as u64 + 1);
            let n = limited.read_until(b'\n', &mut lines.bytes)?;
            if n == 0 {
                break;
            }
            if n > Verifier::LINE {
                lines.bytes.truncate(before);
                lines.too_long = true;
                break;
            }
            lines.ends.push(lines.bytes.len());
        }
        Ok(lines)
    }
}

/// A batch whose signatures are being checked.
struct Batch {
    lines: Lines,
    before: Snapshot,
    answer: Receiver<Option<u64>>,
}

type Work = (Vec<Job>, Sender<Option<u64>>);

/// Threads that check signatures.
struct Workers {
    work: Option<SyncSender<Work>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    fn start() -> io::Result<Self> {
        let (work, queue) = sync_channel::<Work>(AHEAD);
        let queue = Arc::new(Mutex::new(queue));
        let multiples = Arc::new(Multiples::default());
        let count = thread::available_parallelism().map_or(1, |n| n.get().min(16));
        let spawn = |_| {
            let (queue, multiples) = (Arc::clone(&queue), Arc::clone(&multiples));
            thread::Builder::new().name("observer-verify".into()).spawn(move || {
                loop {
                    let next = queue.lock().ok().and_then(|queue| queue.recv().ok());
                    let Some((jobs, answer)) = next else { return };
                    let is_bad = |job: &&Job| !job.holds_by(&multiples);
                    let bad = jobs.iter().find(is_bad).map(|job| job.line);
                    let _ = answer.send(bad);
                }
            })
        };
        let threads = (0..count).map(spawn).collect::<io::Result<_>>()?;
        Ok(Self { work: Some(work), threads })
    }

    /// Has signatures checked; the answer is the first line whose signature does not hold.
    fn check(&self, jobs: Vec<Job>) -> Receiver<Option<u64>> {
        let (sender, answer) = channel();
        if let Some(work) = &self.work {
            // It fails only where every worker is gone, and then no answer comes either.
            let _ = work.send((jobs, sender));
        }
        answer
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.work = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Checkpoints that a ledger is held against, in the order of their sizes.
struct Claims {
    notes: Notes<Box<dyn BufRead>>,
    name: String,
    next: Option<(Note, Checkpoint)>,
    reached: Option<u64>,
    /// Whether they come from elsewhere: those that stand beside the ledger anchor nothing.
    anchor: bool,
    /// Where it is not none: only what this witness cosigned counts.
    witness: Option<VerifierKey>,
}

impl Claims {
    fn advance(&mut self) -> io::Result<()> {
        loop {
            self.next = match self.notes.next_checkpoint() {
                // Half a note is what a crash leaves of the file beside the ledger.
                Err(_) if !self.anchor => None,
                next => next?,
            };
            match (&self.next, &self.witness) {
                (Some((note, _)), Some(witness)) if !note.verifies(witness) => {}
                _ => return Ok(()),
            }
        }
    }
}

/// A verification under way.
pub struct Check {
    verifier: Verifier,
    workers: Workers,
    waiting: VecDeque<Batch>,
    claims: Vec<Claims>,
    file: Option<String>,
    broken: Option<Break>,
}

impl Check {
    /// Begins with a verifier that has seen nothing yet.
    pub fn new(verifier: Verifier) -> io::Result<Self> {
        let (waiting, claims) = (VecDeque::new(), vec![]);
        let workers = Workers::start()?;
        Ok(Self { verifier, workers, waiting, claims, file: None, broken: None })
    }

    /// Holds the ledger against these checkpoints too. `anchor` says that they come from
    /// elsewhere, and `name` how they are called where they disagree.
    pub fn hold_against(
        &mut self,
        notes: Box<dyn BufRead>,
        name: &str,
        anchor: bool,
    ) -> io::Result<()> {
        self.claim(notes, name, anchor, None)
    }

    /// The same of what a witness cosigned: that anchors wherever it stands. What others cosigned
    /// or nobody is left out.
    pub fn hold_against_witness(
        &mut self,
        notes: Box<dyn BufRead>,
        name: &str,
        witness: VerifierKey,
    ) -> io::Result<()> {
        self.claim(notes, name, true, Some(witness))
    }

    fn claim(
        &mut self,
        notes: Box<dyn BufRead>,
        name: &str,
        anchor: bool,
        witness: Option<VerifierKey>,
    ) -> io::Result<()> {
        let (notes, name) = (Notes::new(notes), name.to_owned());
        let mut claims = Claims { notes, name, next: None, reached: None, anchor, witness };
        claims.advance()?;
        if anchor && claims.next.is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "there is no checkpoint in it"));
        }
        self.claims.push(claims);
        Ok(())
    }

    /// Reads a source to its end. `progress` is told how many bytes were read since the last
    /// time. Called again, it goes on with the next file of the same ledger.
    pub fn read(
        &mut self,
        name: Option<String>,
        mut source: impl BufRead,
        mut progress: impl FnMut(usize),
    ) -> io::Result<()> {
        if self.is_broken() {
            return Ok(());
        }
        if self.file.is_some() || self.verifier.tree().size() > 0 {
            self.settle(0);
            self.verifier.next_file();
        }
        self.file = name;
        while !self.is_broken() {
            let lines = Lines::read(&mut source)?;
            if lines.ends.is_empty() && !lines.too_long {
                break;
            }
            progress(lines.bytes.len());
            self.batch(lines);
        }
        self.settle(0);
        Ok(())
    }

    /// Whether a line was refused: there is no use in reading on.
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// What holds so far, of a ledger that may go on.
    pub fn report(&mut self) -> Report {
        self.settle(0);
        self.tell(self.verifier.report())
    }

    /// Ends, and says what was found.
    pub fn finish(mut self) -> Report {
        self.settle(0);
        if !self.is_broken() {
            let size = self.verifier.tree().size();
            let missing = self.claims.iter().find_map(|claims| {
                claims.next.as_ref().map(|(_, due)| (claims.name.clone(), due.size))
            });
            if let Some((name, due)) = missing {
                self.verifier.refuse(format!(
                    "the ledger ends after {size} records, and {name} vouches for {due}: the end was cut off"
                ));
            }
        }
        let verifier = std::mem::replace(&mut self.verifier, Verifier::new(None));
        self.tell(verifier.finish())
    }

    fn tell(&self, mut report: Report) -> Report {
        report.broken = self.broken.clone().or(report.broken);
        if let Some(broken) = &mut report.broken {
            broken.file = broken.file.take().or_else(|| self.file.clone());
        }
        let anchors = self.claims.iter().filter(|claims| claims.anchor);
        let reached = anchors.clone().filter_map(|claims| claims.reached).max();
        if anchors.count() > 0 {
            report.anchor(reached.map(|size| size.min(report.records)));
        }
        report
    }

    fn batch(&mut self, lines: Lines) {
        let before = self.verifier.snapshot();
        let mut jobs = vec![];
        for line in lines.iter() {
            let whole = line.ends_with(b"\n");
            jobs.extend(self.verifier.feed(line.strip_suffix(b"\n").unwrap_or(line), whole));
            self.compare();
            if self.verifier.is_broken() {
                break;
            }
        }
        if lines.too_long && !self.verifier.is_broken() {
            self.verifier.too_long();
        }
        let answer = self.workers.check(jobs);
        self.waiting.push_back(Batch { lines, before, answer });
        // A line that is refused ends it: then all that is on its way is waited for.
        self.settle(if self.verifier.is_broken() { 0 } else { AHEAD });
    }

    /// Waits for signatures until no more than `left` batches are on their way.
    fn settle(&mut self, left: usize) {
        while self.waiting.len() > left && !self.is_broken() {
            let Some(batch) = self.waiting.pop_front() else { return };
            // No answer: the workers are gone, and nothing is said to hold that was not seen to.
            let first = batch.lines.ends.first().map(|_| 0);
            if let Some(bad) = batch.answer.recv().unwrap_or(first) {
                self.refuse(batch, bad);
            }
        }
        if self.waiting.is_empty() && self.broken.is_none() && self.verifier.is_broken() {
            self.broken = self.verifier.report().broken;
        }
    }

    /// Goes back to before a batch, and through it again, up to the line that does not hold.
    fn refuse(&mut self, batch: Batch, bad: u64) {
        self.waiting.clear();
        self.verifier.restore(batch.before);
        for line in batch.lines.iter() {
            let whole = line.ends_with(b"\n");
            self.verifier.line(line.strip_suffix(b"\n").unwrap_or(line), whole);
        }
        if !self.verifier.is_broken() {
            self.verifier.refuse(format!("the signature of line {bad} could not be checked"));
        }
        self.broken = self.verifier.report().broken;
    }

    /// Holds what was read so far against the checkpoints of its size.
    fn compare(&mut self) {
        let size = self.verifier.tree().size();
        for i in 0..self.claims.len() {
            while !self.verifier.is_broken()
                && let Some(claims) = self.claims.get_mut(i)
                && let Some((note, due)) = claims.next.take_if(|(_, due)| due.size <= size)
            {
                let fault = fault(&self.verifier, &note, &due);
                match fault {
                    // A checkpoint of what is not here says nothing of what is.
                    None if due.size <= self.verifier.from() => {}
                    None if due.size < size => {
                        let why = format!("{} is not in the order of sizes", claims.name);
                        self.verifier.refuse(why);
                        return;
                    }
                    None => claims.reached = Some(size),
                    Some(fault) => {
                        let why = format!("{} says otherwise: {fault}", claims.name);
                        self.verifier.refuse(why);
                        return;
                    }
                }
                if let Err(e) = claims.advance() {
                    let why = format!("{} can't be read: {e}", claims.name);
                    self.verifier.refuse(why);
                }
            }
        }
    }
}

/// Why a checkpoint does not fit the ledger; none where it does.
fn fault(verifier: &Verifier, note: &Note, due: &Checkpoint) -> Option<String> {
    let size = due.size;
    if verifier.origin() != Some(due.origin.as_str()) {
        let (theirs, ours) = (due.origin.escape_debug(), verifier.origin().unwrap_or("none"));
        return Some(format!("its checkpoint is of {theirs}, and this is {ours}"));
    }
    let key = |&key| VerifierKey { name: due.origin.clone(), kind: Kind::Log, key };
    if !verifier.log_keys().iter().map(key).any(|key| note.verifies(&key)) {
        return Some(format!("its checkpoint of {size} records is not signed by the ledger's key"));
    }
    let same = verifier.tree().size() > size || verifier.tree().root() == due.root;
    (!same).then(|| format!("the first {size} records are others"))
}

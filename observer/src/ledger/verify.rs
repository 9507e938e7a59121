//! Whether a ledger holds. Pure: it is fed lines and says what it found; memory is flat but for
//! a little for each run.
//!
//! A line is checked in two steps: [`Verifier::feed`] does all but its signature, and gives that
//! back as a [`Job`] for whoever has the time. [`Verifier::line`] does both.

mod place;

use std::collections::{BTreeMap, HashMap, HashSet};

use data_encoding::HEXLOWER;
use serde_json::Value;

use super::chain;
use super::keys::PublicKey;
use super::merkle::{Hash, Tree};
use super::multiples::Multiples;
use super::record::{MAX, VERSION};
use super::report::{Break, Report, RunReport, RunState};
use super::value::{Checked, is_canonical, lost, number, text};
use place::Kind;

#[derive(Clone, Debug)]
struct Run {
    key: PublicKey,
    agent: String,
    seq: u64,
    calls: u64,
    lost: u64,
    last: u64,
    began: usize,
}

/// What the lines so far came to.
#[derive(Clone)]
struct State {
    host: Option<PublicKey>,
    log: Vec<PublicKey>,
    origin: Option<String>,
    from: u64,
    tree: Tree,
    prev: Hash,
    open: BTreeMap<String, Run>,
    /// For each signer, the first line that waits for a signature: its idx, number and offset.
    unsigned: HashMap<Option<String>, (u64, u64, u64)>,
    line: u64,
    offset: u64,
    stopped: bool,
}

/// Where a verification stood, to go back to.
pub struct Snapshot {
    state: State,
    ended: usize,
}

/// A signature that is still to be checked.
pub struct Job {
    /// Its line's number.
    pub line: u64,
    key: PublicKey,
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl Job {
    /// Whether the signature is its signer's.
    pub fn holds(&self) -> bool {
        self.key.verifies(&self.message, &self.signature)
    }

    /// The same, by the multiples of keys that sign much.
    pub(super) fn holds_by(&self, multiples: &Multiples) -> bool {
        multiples.verify(self.key, &self.message, &self.signature)
    }
}

/// Checks a ledger, line by line.
pub struct Verifier {
    state: State,
    /// The keys that it may begin with; none where the ledger's own word is taken.
    trusted: Vec<PublicKey>,
    /// The runs that ended, each with its place among the beginnings.
    ended: Vec<(usize, RunReport)>,
    /// Every run that began, ended or not.
    seen: HashSet<String>,
    broken: Option<Break>,
}

/// What a line changes, once its signature is known to hold.
struct Step {
    leaf: Hash,
    idx: u64,
    signer: Option<String>,
    signed: bool,
    calls: u64,
    lost: u64,
    kind: Kind,
}

impl Verifier {
    /// For a ledger of the host with this key; without one, the key that the ledger's own first
    /// record names is taken, which proves nothing of who wrote it.
    pub fn new(host: Option<PublicKey>) -> Self {
        Self::trusting(host.into_iter().collect())
    }

    /// For a ledger that begins with one of these keys.
    pub fn trusting(trusted: Vec<PublicKey>) -> Self {
        // Of one there is no choice: then it need not be named.
        let host = if trusted.len() == 1 { trusted.first().copied() } else { None };
        let state = State {
            host,
            log: vec![],
            origin: None,
            from: 0,
            tree: Tree::default(),
            prev: chain::GENESIS,
            open: BTreeMap::new(),
            unsigned: HashMap::new(),
            line: 0,
            offset: 0,
            stopped: false,
        };
        let (ended, seen) = (vec![], HashSet::new());
        Self { state, trusted, ended, seen, broken: None }
    }

    /// The longest line that can be a record's, with its newline.
    pub const LINE: usize = super::files::LINE;

    /// Whether a line was refused: what follows can't be judged.
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// The tree over the records so far.
    pub fn tree(&self) -> &Tree {
        &self.state.tree
    }

    /// The first record's `idx`.
    pub fn from(&self) -> u64 {
        self.state.from
    }

    /// The ledger's name; none before the first record.
    pub fn origin(&self) -> Option<&str> {
        self.state.origin.as_deref()
    }

    /// The keys that may sign its checkpoints.
    pub fn log_keys(&self) -> &[PublicKey] {
        &self.state.log
    }

    /// The lines of another file come next: they are counted from its beginning.
    pub fn next_file(&mut self) {
        (self.state.line, self.state.offset) = (0, 0);
    }

    /// Where it stands.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { state: self.state.clone(), ended: self.ended.len() }
    }

    /// Goes back to where it stood, whatever was refused since.
    pub fn restore(&mut self, snapshot: Snapshot) {
        self.state = snapshot.state;
        self.ended.truncate(snapshot.ended);
        self.broken = None;
        let ended = self.ended.iter().map(|(_, report)| &report.run);
        self.seen = ended.chain(self.state.open.keys()).cloned().collect();
    }

    /// Takes a line without its newline, and checks all of it; `whole` says that it had one.
    pub fn line(&mut self, line: &[u8], whole: bool) {
        match self.check(line, whole) {
            Ok((_, Some(job))) if !job.holds() => self.refuse(chain::BAD_SIGNATURE),
            Ok((step, _)) => self.apply(step, line.len()),
            Err(why) => self.refuse(why),
        }
    }

    /// The same, but for the signature: that is to be checked by the caller, who goes back to a
    /// [`Snapshot`] where it does not hold.
    pub fn feed(&mut self, line: &[u8], whole: bool) -> Option<Job> {
        match self.check(line, whole) {
            Ok((step, job)) => {
                self.apply(step, line.len());
                job
            }
            Err(why) => {
                self.refuse(why);
                None
            }
        }
    }

    /// Refuses a line that is longer than [`Self::LINE`] without having it.
    pub fn too_long(&mut self) {
        self.refuse(format!("the line is longer than {} bytes", Self::LINE));
    }

    /// Refuses the next line, or the end in its place.
    pub fn refuse(&mut self, why: impl Into<String>) {
        let State { line, offset, .. } = self.state;
        let broken = Break { file: None, line: line + 1, offset, why: why.into() };
        self.broken.get_or_insert(broken);
    }

    fn check(&self, line: &[u8], whole: bool) -> Checked<(Step, Option<Job>)> {
        if self.broken.is_some() {
            return Err("an earlier line was refused".to_owned());
        }
        if !whole {
            return Err("the line has no end: it was cut".to_owned());
        }
        let (record, signature) =
            chain::parts(line).ok_or("it is not of the form {\"rec\":…,\"sig\":…}")?;
        if record.len() > MAX {
            return Err(format!("the record is longer than {MAX} bytes"));
        }
        let value: Value =
            serde_json::from_slice(record).map_err(|e| format!("the record is not JSON: {e}"))?;
        if !is_canonical(&value, record) {
            return Err("the record is not in canonical form".to_owned());
        }
        if number(&value, "v")? != VERSION {
            return Err(format!("the record's version is not {VERSION}"));
        }
        let (idx, kind) = (number(&value, "idx")?, text(&value, "type")?);
        let due = self.state.tree.size();
        let begins = due == 0 && self.state.line == 0 && idx > 0 && kind == "segment";
        if idx != due && !begins {
            let where_ = if due == 0 { "the ledger begins" } else { "the chain goes on" };
            return Err(format!("{where_} with idx {idx} where {due} was due"));
        }
        if !begins && text(&value, "prev")? != HEXLOWER.encode(&self.state.prev) {
            return Err("prev is not the hash of the record before".to_owned());
        }
        let (signer, kind) = self.place(&value, kind, idx)?;
        let key = self.key(&signer, &kind).ok_or("no key to check the signature with")?;
        if signature.is_none() {
            self.may_wait(&signer)?;
        }
        let step = Step {
            leaf: super::merkle::leaf(record),
            idx,
            signed: signature.is_some(),
            calls: u64::from(text(&value, "type")? == "call"),
            lost: lost(&value),
            signer,
            kind,
        };
        let job = signature.map(|signature| {
            let message = chain::record_message(record);
            Job { line: self.state.line + 1, key, message, signature }
        });
        Ok((step, job))
    }

    fn apply(&mut self, step: Step, length: usize) {
        let state = &mut self.state;
        if step.signed {
            state.unsigned.remove(&step.signer);
        } else {
            let place = (step.idx, state.line + 1, state.offset);
            state.unsigned.entry(step.signer.clone()).or_insert(place);
        }
        state.stopped = matches!(step.kind, Kind::ObserverStop);
        let mut closed = None;
        match step.kind {
            Kind::ObserverStart { host, log } => {
                state.host = state.host.or(host);
                state.log.extend(log.filter(|key| !state.log.contains(key)));
            }
            Kind::Segment(segment) => {
                state.host = state.host.or(segment.host);
                state.log.extend(segment.log.filter(|key| !state.log.contains(key)));
                if state.tree.size() == 0 {
                    state.from = step.idx;
                    state.origin = Some(segment.origin);
                    state.tree = segment.tree;
                    self.seen.extend(segment.runs.keys().cloned());
                    state.open = segment.runs;
                }
            }
            Kind::RunStart(run) => {
                if let Some(id) = &step.signer {
                    self.seen.insert(id.clone());
                    state.open.insert(id.clone(), run);
                }
            }
            Kind::RunEnd => closed = step.signer.clone().map(|id| (id, RunState::Closed)),
            Kind::Torn(id) => closed = Some((id, RunState::Torn)),
            Kind::Key(next) => state.host = Some(next),
            Kind::ObserverStop | Kind::Other => {}
        }
        if let Some(run) = step.signer.as_ref().and_then(|id| state.open.get_mut(id)) {
            run.seq += 1;
            run.last = step.idx;
            run.calls += step.calls;
            run.lost = run.lost.saturating_add(step.lost);
        }
        if let Some((id, how)) = closed
            && let Some(run) = state.open.remove(&id)
        {
            self.ended.push((run.began, run.report(id, how)));
        }
        if step.idx == 0 {
            state.origin = Some(chain::origin(&step.leaf));
        }
        state.tree.push(step.leaf);
        state.prev = step.leaf;
        state.line += 1;
        state.offset += length as u64 + 1;
    }

    /// What holds so far, of a ledger that may go on.
    pub fn report(&self) -> Report {
        let open = if self.broken.is_some() { RunState::Broken } else { RunState::Open };
        let open =
            self.state.open.iter().map(|(id, run)| (run.began, run.report(id.clone(), open)));
        let mut runs: Vec<_> = self.ended.iter().cloned().chain(open).collect();
        runs.sort_by_key(|(began, _)| *began);
        Report {
            origin: self.state.origin.clone(),
            from: self.state.from,
            records: self.state.tree.size(),
            runs: runs.into_iter().map(|(_, run)| run).collect(),
            broken: self.broken.clone(),
            stopped: self.state.stopped,
            pinned: !self.trusted.is_empty(),
            anchor: None,
            anchored: false,
        }
    }

    /// Ends, and says what was found.
    pub fn finish(mut self) -> Report {
        let waiting = self.state.unsigned.values().min().copied();
        if let (None, Some((_, line, offset))) = (&self.broken, waiting) {
            let why = "no signature covers it: the signed line after it was cut off".to_owned();
            self.broken = Some(Break { file: None, line, offset, why });
        }
        if self.state.tree.size() == 0 {
            self.refuse("the ledger is empty: there is nothing to hold");
        }
        self.report()
    }
}

impl Run {
    fn report(&self, id: String, state: RunState) -> RunReport {
        RunReport {
            run: id,
            agent: self.agent.clone(),
            state,
            records: self.seq,
            calls: self.calls,
            lost: self.lost,
            last: self.last,
        }
    }
}

//! Whether a ledger holds. Pure: it is fed lines and says what it found; memory is flat but for
//! a little for each run.

use std::collections::{BTreeMap, HashMap};

use data_encoding::BASE64;
use serde::Serialize;
use serde_json::Value;

use super::chain;
use super::keys::PublicKey;
use super::record::{MAX, VERSION};

/// Types that the host's key signs.
const HOSTS: &[&str] = &["observer.start", "observer.stop", "policy", "heartbeat", "recover"];
/// Lines without a signature that may wait for the signed one that covers them.
const UNSIGNED: u64 = 65_536;

/// What a ledger came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Records that hold.
    pub records: u64,
    /// Each run, in the order of their beginnings.
    pub runs: Vec<RunReport>,
    /// The first line that does not hold, after which nothing can be said.
    pub broken: Option<Break>,
    /// Whether the host's key came from outside of the ledger.
    pub pinned: bool,
    /// Whether a checkpoint from elsewhere says that nothing is missing at the end.
    pub anchored: bool,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// Its id.
    pub run: String,
    /// Its agent's name.
    pub agent: String,
    /// Whether it ended.
    pub state: RunState,
    /// Its records.
    pub records: u64,
    /// Its calls.
    pub calls: u64,
    /// Events that it is said to have lost.
    pub lost: u64,
}

/// Whether a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RunState {
    /// Its `run.end` is there.
    Closed,
    /// It is not: the run goes on, or its end was cut off.
    Open,
}

/// A line that does not hold.
#[derive(Clone, Debug, Serialize)]
pub struct Break {
    /// Its number, from 1.
    pub line: u64,
    /// Its first byte's offset.
    pub offset: u64,
    /// Why.
    pub why: String,
}

impl Report {
    /// Whether every record holds and every run is closed.
    pub fn holds(&self) -> bool {
        self.broken.is_none()
            && self.records > 0
            && self.runs.iter().all(|run| run.state == RunState::Closed)
    }
}

struct Run {
    key: PublicKey,
    agent: String,
    seq: u64,
    ended: bool,
    calls: u64,
    lost: u64,
    began: usize,
}

/// Checks a ledger, line by line.
pub struct Verifier {
    host: Option<PublicKey>,
    pinned: bool,
    idx: u64,
    prev: String,
    runs: BTreeMap<String, Run>,
    /// For each signer, the first line that waits for a signature: its number and offset.
    unsigned: HashMap<Option<String>, (u64, u64)>,
    line: u64,
    offset: u64,
    broken: Option<Break>,
}

type Checked = Result<(), String>;

impl Verifier {
    /// For a ledger of the host with this key; without one, the key that the ledger's own
    /// `observer.start` names is taken, which proves nothing of who wrote it.
    pub fn new(host: Option<PublicKey>) -> Self {
        Self {
            pinned: host.is_some(),
            host,
            idx: 0,
            prev: chain::GENESIS.to_owned(),
            runs: BTreeMap::new(),
            unsigned: HashMap::new(),
            line: 0,
            offset: 0,
            broken: None,
        }
    }

    /// The longest line that can be a record's, with its newline.
    pub const LINE: usize = super::files::LINE;

    /// Whether a line was refused: what follows can't be judged.
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Takes a line without its newline; `whole` says that it had one.
    pub fn line(&mut self, line: &[u8], whole: bool) {
        if self.broken.is_some() {
            return;
        }
        self.line += 1;
        let checked = if whole {
            self.check(line)
        } else {
            Err("the line has no end: it was cut".to_owned())
        };
        match checked {
            Ok(()) => self.offset += line.len() as u64 + 1,
            Err(why) => {
                self.broken = Some(Break { line: self.line, offset: self.offset, why });
            }
        }
    }

    /// Refuses a line that is longer than [`Self::LINE`] without having it.
    pub fn too_long(&mut self) {
        if self.broken.is_none() {
            self.line += 1;
            let why = format!("the line is longer than {} bytes", Self::LINE);
            self.broken = Some(Break { line: self.line, offset: self.offset, why });
        }
    }

    fn check(&mut self, line: &[u8]) -> Checked {
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
        if value.get("v").and_then(Value::as_u64) != Some(VERSION) {
            return Err(format!("the record's version is not {VERSION}"));
        }
        let idx = value.get("idx").and_then(Value::as_u64).ok_or("the record has no idx")?;
        if idx != self.idx {
            let gap = if self.idx == 0 { "the ledger begins" } else { "the chain goes on" };
            return Err(format!("{gap} with idx {idx} where {} was due", self.idx));
        }
        if text(&value, "prev")? != self.prev {
            return Err("prev is not the hash of the record before".to_owned());
        }
        let kind = text(&value, "type")?.to_owned();
        let signer = self.place(&value, &kind, idx)?;
        self.signature(record, signature, &signer)?;
        if kind == "run.end"
            && let Some(run) = signer.as_ref().and_then(|run| self.runs.get_mut(run))
        {
            run.ended = true;
        }
        self.idx += 1;
        self.prev = chain::leaf(record);
        Ok(())
    }

    /// Whose record it is, and whether it may stand here.
    fn place(&mut self, value: &Value, kind: &str, idx: u64) -> Result<Option<String>, String> {
        let Some(id) = value.get("run").and_then(Value::as_str) else {
            if kind == "observer.start" && self.host.is_none() {
                let key = text(value, "host_key").ok().and_then(PublicKey::parse);
                self.host = Some(key.ok_or("observer.start names no host key")?);
            }
            let hosts = HOSTS.contains(&kind) || kind == "loss";
            return if hosts { Ok(None) } else { Err(format!("a {kind} record without a run")) };
        };
        if HOSTS.contains(&kind) {
            return Err(format!("a {kind} record belongs to no run"));
        }
        if kind == "run.start" {
            self.begin(value, id, idx)?;
        }
        let run = self.runs.get_mut(id).ok_or("it belongs to a run that has not begun")?;
        if run.ended {
            return Err("it belongs to a run that has ended".to_owned());
        }
        let seq = value.get("seq").and_then(Value::as_u64).ok_or("the record has no seq")?;
        if seq != run.seq {
            return Err(format!("the run goes on with seq {seq} where {} was due", run.seq));
        }
        let call = value.get("call").and_then(Value::as_str);
        if call.is_some_and(|call| !call.starts_with(&format!("{id}/"))) {
            return Err("its call belongs to another run".to_owned());
        }
        run.seq += 1;
        run.calls += u64::from(kind == "call");
        if kind == "loss" {
            let count = value.pointer("/loss/count").and_then(Value::as_u64).unwrap_or(0);
            run.lost = run.lost.saturating_add(count);
        }
        Ok(Some(id.to_owned()))
    }

    fn begin(&mut self, value: &Value, id: &str, idx: u64) -> Checked {
        if self.runs.contains_key(id) {
            return Err("its run has begun already".to_owned());
        }
        let host = self.host.ok_or("no host key: there is no observer.start before it")?;
        let key = text(value, "run_key")?;
        let cert = BASE64.decode(text(value, "cert")?.as_bytes());
        let cert = cert.map_err(|_| "the run's certificate is not base64".to_owned())?;
        if !host.verifies(&chain::run_message(id, key, idx), &cert) {
            return Err("the run's certificate is not by this host's key".to_owned());
        }
        let key = PublicKey::parse(key).ok_or("the run's key is not an Ed25519 key")?;
        let agent = text(value, "agent")?.to_owned();
        let began = self.runs.len();
        let run = Run { key, agent, seq: 0, ended: false, calls: 0, lost: 0, began };
        self.runs.insert(id.to_owned(), run);
        Ok(())
    }

    fn signature(
        &mut self,
        record: &[u8],
        sig: Option<Vec<u8>>,
        signer: &Option<String>,
    ) -> Checked {
        let Some(sig) = sig else {
            let (line, _) =
                *self.unsigned.entry(signer.clone()).or_insert((self.line, self.offset));
            if self.line - line > UNSIGNED {
                return Err(format!("line {line} waits for a signature that does not come"));
            }
            return Ok(());
        };
        let key = match signer {
            Some(run) => self.runs.get(run).map(|run| run.key),
            None => self.host,
        };
        let key = key.ok_or("no key to check the signature with")?;
        if !key.verifies(&chain::record_message(record), &sig) {
            return Err("the signature is not by its signer's key over this record".to_owned());
        }
        self.unsigned.remove(signer);
        Ok(())
    }

    /// Ends, and says what was found.
    pub fn finish(mut self) -> Report {
        let waiting = self.unsigned.values().min().copied();
        if let (None, Some((line, offset))) = (&self.broken, waiting) {
            let why = "no signature covers it: the signed line after it was cut off".to_owned();
            self.broken = Some(Break { line, offset, why });
        }
        if self.broken.is_none() && self.idx == 0 {
            let why = "the ledger is empty: there is nothing to hold".to_owned();
            self.broken = Some(Break { line: 1, offset: 0, why });
        }
        let mut runs: Vec<_> = self.runs.into_iter().collect();
        runs.sort_by_key(|(_, run)| run.began);
        let runs = runs.into_iter().map(|(id, run)| RunReport {
            run: id,
            agent: run.agent,
            state: if run.ended { RunState::Closed } else { RunState::Open },
            records: run.seq,
            calls: run.calls,
            lost: run.lost,
        });
        Report {
            records: self.idx,
            runs: runs.collect(),
            broken: self.broken,
            pinned: self.pinned,
            anchored: false,
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str, String> {
    value.get(key).and_then(Value::as_str).ok_or_else(|| format!("the record has no {key}"))
}

/// Whether the bytes are the one way to write this value: equal keys, white space, another order
/// or another escape would all write back otherwise.
fn is_canonical(value: &Value, bytes: &[u8]) -> bool {
    in_profile(value) && serde_json::to_vec(value).is_ok_and(|again| again == bytes)
}

fn in_profile(value: &Value) -> bool {
    const EXACT: u64 = (1 << 53) - 1;
    match value {
        Value::Null => false,
        Value::Bool(_) | Value::String(_) => true,
        Value::Number(n) => {
            n.as_u64().or_else(|| n.as_i64().map(i64::unsigned_abs)).is_some_and(|n| n <= EXACT)
        }
        Value::Array(items) => items.iter().all(in_profile),
        Value::Object(map) => map.iter().all(|(key, v)| key.is_ascii() && in_profile(v)),
    }
}

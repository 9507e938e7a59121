//! Whose a record is, and whether it may stand where it stands.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde_json::Value;

use super::super::chain;
use super::super::keys::PublicKey;
use super::super::merkle::{Hash, Tree};
use super::super::value::{Checked, hash, named_keys, number, text};
use super::{Run, Verifier};

/// Types that the host's key signs.
const HOSTS: &[&str] = &[
    "observer.start",
    "observer.stop",
    "policy",
    "heartbeat",
    "recover",
    "segment",
    "witness",
    "key",
];
/// Lines without a signature that may wait for the signed one that covers them.
const UNSIGNED: u64 = 65_536;

/// What a record is to a verifier.
pub(super) enum Kind {
    ObserverStart {
        host: Option<PublicKey>,
        log: Option<PublicKey>,
    },
    ObserverStop,
    RunStart(Run),
    RunEnd,
    /// A later start says that this run's recorder was killed.
    Torn(String),
    Segment(Box<Segment>),
    /// This host key signs from the next record on.
    Key(PublicKey),
    Other,
}

/// What a segment's first record says of all before it.
pub(super) struct Segment {
    pub(super) host: Option<PublicKey>,
    pub(super) log: Option<PublicKey>,
    pub(super) origin: String,
    pub(super) tree: Tree,
    pub(super) runs: BTreeMap<String, Run>,
}

impl Verifier {
    /// Whose record it is, what it changes, and whether it may stand here.
    pub(super) fn place(
        &self,
        value: &Value,
        kind: &str,
        idx: u64,
    ) -> Checked<(Option<String>, Kind)> {
        let Some(id) = value.get("run") else {
            if !HOSTS.contains(&kind) && kind != "loss" {
                return Err(format!("a {kind} record without a run"));
            }
            return Ok((None, self.host_kind(value, kind, idx)?));
        };
        let id = id.as_str().ok_or("the record's run is no text")?;
        if HOSTS.contains(&kind) {
            return Err(format!("a {kind} record belongs to no run"));
        }
        if kind == "run.start" {
            if self.seen.contains(id) {
                return Err("its run has begun already".to_owned());
            }
            let run = self.run(value, self.state.host, id, idx)?;
            if number(value, "seq")? != 0 {
                return Err("the run does not begin with seq 0".to_owned());
            }
            return Ok((Some(id.to_owned()), Kind::RunStart(run)));
        }
        let Some(run) = self.state.open.get(id) else {
            let ended = self.seen.contains(id);
            let word = if ended { "has ended" } else { "has not begun" };
            return Err(format!("it belongs to a run that {word}"));
        };
        let seq = number(value, "seq")?;
        if seq != run.seq {
            return Err(format!("the run goes on with seq {seq} where {} was due", run.seq));
        }
        let call = value.get("call").and_then(Value::as_str);
        if call.is_some_and(|call| call.strip_prefix(id).is_none_or(|n| !n.starts_with('/'))) {
            return Err("its call belongs to another run".to_owned());
        }
        let kind = if kind == "run.end" { Kind::RunEnd } else { Kind::Other };
        Ok((Some(id.to_owned()), kind))
    }

    fn host_kind(&self, value: &Value, kind: &str, idx: u64) -> Checked<Kind> {
        Ok(match kind {
            "observer.start" => self.names_keys(value)?,
            "observer.stop" => Kind::ObserverStop,
            "recover" => match value.pointer("/recover/run") {
                None => self.names_keys(value)?,
                Some(id) => {
                    let id = id.as_str().ok_or("the lost run is no text")?;
                    let run = self.state.open.get(id).ok_or("the lost run is not open")?;
                    if value.pointer("/recover/seq").and_then(Value::as_u64) != Some(run.seq) {
                        return Err(format!("the lost run has {} records", run.seq));
                    }
                    Kind::Torn(id.to_owned())
                }
            },
            "key" => {
                let next = value.pointer("/key/next").and_then(Value::as_str);
                Kind::Key(next.and_then(PublicKey::parse).ok_or("it names no Ed25519 key")?)
            }
            "segment" => Kind::Segment(Box::new(self.segment(value, idx)?)),
            _ => Kind::Other,
        })
    }

    fn names_keys(&self, value: &Value) -> Checked<Kind> {
        let (host, log) = named_keys(value)?;
        self.is_due(host)?;
        Ok(Kind::ObserverStart { host, log })
    }

    /// Whether a record may name this host key: the one that signs here, or the first of all, which
    /// whoever verifies knows, or takes the ledger's word for.
    fn is_due(&self, named: Option<PublicKey>) -> Checked<()> {
        match (self.state.host, named) {
            (Some(due), Some(named)) if due != named => {
                Err("it names another host key than the one that is due".to_owned())
            }
            (None, Some(named)) if !self.trusted.is_empty() && !self.trusted.contains(&named) => {
                Err("its host key is none of those that are trusted".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// A run's beginning: its key, certified by the host's.
    fn run(&self, value: &Value, host: Option<PublicKey>, id: &str, idx: u64) -> Checked<Run> {
        let host = host.ok_or("no host key: there is no observer.start before it")?;
        let key = text(value, "run_key")?;
        let cert = BASE64.decode(text(value, "cert")?.as_bytes());
        let cert = cert.map_err(|_| "the run's certificate is not base64".to_owned())?;
        if !host.verifies(&chain::run_message(id, key, idx), &cert) {
            return Err("the run's certificate is not by this host's key".to_owned());
        }
        let key = PublicKey::parse(key).ok_or("the run's key is not an Ed25519 key")?;
        let agent = text(value, "agent")?.to_owned();
        Ok(Run { key, agent, seq: 0, calls: 0, lost: 0, last: idx, began: self.seen.len() })
    }

    fn segment(&self, value: &Value, idx: u64) -> Checked<Segment> {
        let said = value.get("segment").ok_or("the record has no segment")?;
        let (host, log) = named_keys(value)?;
        self.is_due(host)?;
        let peaks =
            said.get("peaks").and_then(Value::as_array).ok_or("the segment has no peaks")?;
        let peaks: Option<Vec<Hash>> = peaks.iter().map(hash).collect();
        let tree = peaks.and_then(|peaks| Tree::from_peaks(idx, peaks));
        let tree = tree.ok_or("the segment's peaks are not those of a tree of its size")?;
        value.get("prev").and_then(hash).ok_or("the segment's prev is no hash")?;
        let origin = text(said, "origin")?.to_owned();
        let mut runs = BTreeMap::new();
        let listed = said.get("runs").and_then(Value::as_array).ok_or("the segment has no runs")?;
        for (n, run) in listed.iter().enumerate() {
            let (id, began) = (text(run, "run")?, number(run, "idx")?);
            let mut known = self.run(run, self.state.host.or(host), id, began)?;
            (known.seq, known.last) = (number(run, "seq")?, began);
            known.began += n;
            runs.insert(id.to_owned(), known);
        }
        if self.state.tree.size() > 0 {
            let same = |(id, run): (&String, &Run)| {
                self.state.open.get(id).is_some_and(|o| (o.seq, o.key) == (run.seq, run.key))
            };
            let runs_agree = runs.len() == self.state.open.len() && runs.iter().all(same);
            if tree != self.state.tree || self.state.origin.as_ref() != Some(&origin) || !runs_agree
            {
                return Err("the segment does not continue what stands before it".to_owned());
            }
        }
        Ok(Segment { host, log, origin, tree, runs })
    }

    /// The key that a record is to be signed with.
    pub(super) fn key(&self, signer: &Option<String>, kind: &Kind) -> Option<PublicKey> {
        match (signer, kind) {
            (_, Kind::RunStart(run)) => Some(run.key),
            (Some(id), _) => self.state.open.get(id).map(|run| run.key),
            (None, Kind::ObserverStart { host, .. }) => self.state.host.or(*host),
            (None, Kind::Segment(segment)) => self.state.host.or(segment.host),
            (None, _) => self.state.host,
        }
    }

    /// Whether one more line of this signer may wait for a signature.
    pub(super) fn may_wait(&self, signer: &Option<String>) -> Checked<()> {
        match self.state.unsigned.get(signer) {
            Some((idx, line, _)) if self.state.tree.size() - idx > UNSIGNED => {
                Err(format!("line {line} waits for a signature that does not come"))
            }
            _ => Ok(()),
        }
    }
}

//! A record, made of an entry and of its place in the ledger and its run.

use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};

use super::super::entry::Entry;
use super::super::{chain, record};
use super::Writer;
use crate::model::{CallResult, Status, Verdict};

#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    calls: u64,
    denied: u64,
    failed: u64,
    lost: u64,
}

impl Writer {
    pub(super) fn record(&mut self, entry: &Entry) -> Vec<u8> {
        let mut fields = record::fields(entry);
        let idx = self.place.tree.size();
        let mut put = |key: &str, value: Value| {
            fields.insert(key.to_owned(), value);
        };
        put("idx", idx.into());
        put("prev", HEXLOWER.encode(&self.place.prev).into());
        if idx == 0 || matches!(entry, Entry::ObserverStart { .. } | Entry::Segment { .. }) {
            put("host_key", self.host.public().to_base64().into());
            put("log_key", self.host.log_public().to_base64().into());
        }
        if let Entry::Segment { .. } = entry {
            put("segment", self.segment());
        }
        let run = entry.run().and_then(|run| self.runs.get_mut(&run).map(|state| (run, state)));
        if let Some((id, run)) = run {
            put("seq", run.seq.into());
            put("agent", run.agent.as_str().into());
            if let Some(policy) = &run.policy {
                put("policy", policy.as_str().into());
            }
            run.seq += 1;
            run.counts.add(entry);
            if let Entry::RunStart(_) = entry {
                let key = run.key.public().to_base64();
                let message = chain::run_message(&id.to_string(), &key, idx);
                run.began = idx;
                put("cert", BASE64.encode(&self.host.sign(&message)).into());
                put("run_key", key.into());
            }
            if let Entry::RunEnd { .. } = entry {
                put("counts", run.counts.json());
            }
        }
        record::write(&mut fields)
    }

    /// What a file that begins here must say of all before it.
    fn segment(&self) -> Value {
        let peaks: Vec<String> =
            self.place.tree.peaks().iter().map(|peak| HEXLOWER.encode(peak)).collect();
        let mut runs: Vec<_> = self.runs.iter().filter(|(_, run)| run.seq > 0).collect();
        runs.sort_by_key(|(_, run)| run.began);
        let runs = runs.into_iter().map(|(id, run)| {
            let key = run.key.public().to_base64();
            // By the key that signs this record: the run's own may be wiped by now.
            let cert = self.host.sign(&chain::run_message(&id.to_string(), &key, run.began));
            json!({
                "agent": run.agent,
                "cert": BASE64.encode(&cert),
                "idx": run.began,
                "run": id.to_string(),
                "run_key": key,
                "seq": run.seq,
            })
        });
        json!({
            "origin": self.place.origin.clone().unwrap_or_default(),
            "peaks": peaks,
            "runs": runs.collect::<Vec<_>>(),
        })
    }
}

impl Counts {
    fn add(&mut self, entry: &Entry) {
        match entry {
            Entry::Call(call) => {
                let call = call.get();
                self.calls += 1;
                let denied = matches!(call.verdict, Verdict::Denied { .. });
                self.denied += u64::from(denied);
                let failed = call.outcome.as_ref().is_some_and(|o| o.status == Status::Failed);
                self.failed += u64::from(failed && !denied);
            }
            Entry::Result(result) => self.ended(result),
            Entry::Answer(answer) => self.ended(&answer.get().result),
            Entry::Resolved(answer) => self.ended(&answer.get().result),
            Entry::TlsEnd(end) => self.ended(&end.get().result),
            Entry::Loss { lost, .. } => self.lost += lost,
            _ => {}
        }
    }

    fn ended(&mut self, result: &CallResult) {
        self.failed += u64::from(result.outcome.status == Status::Failed);
    }

    fn json(self) -> Value {
        serde_json::json!({
            "calls": self.calls,
            "denied": self.denied,
            "failed": self.failed,
            "lost": self.lost,
        })
    }
}

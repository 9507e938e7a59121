//! A record, made of an entry and of its place in the ledger and its run.

use data_encoding::{BASE64, HEXLOWER};

use super::super::entry::Entry;
use super::super::json::{Fields, Value, int};
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
    /// Writes the record to the end of `out`.
    pub(super) fn record(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        let mut fields = record::fields(entry);
        let idx = self.place.tree.size();
        fields.insert("idx", int(idx));
        fields.insert("prev", Value::Hex(&self.place.prev));
        if idx == 0 || matches!(entry, Entry::ObserverStart { .. } | Entry::Segment { .. }) {
            fields.insert("host_key", self.host.public().to_base64());
            fields.insert("log_key", self.host.log_public().to_base64());
        }
        if let Entry::Segment { .. } = entry {
            fields.insert("segment", self.segment());
        }
        let run = entry.run().and_then(|run| self.runs.get_mut(&run).map(|state| (run, state)));
        if let Some((id, run)) = run {
            fields.insert("seq", int(run.seq));
            fields.insert("agent", run.agent.as_str());
            fields.insert_some("policy", run.policy.as_deref());
            run.seq += 1;
            run.counts.add(entry);
            if let Entry::RunStart(_) = entry {
                let key = run.key.public().to_base64();
                let message = chain::run_message(&id.to_string(), &key, idx);
                run.began = idx;
                fields.insert("cert", BASE64.encode(&self.host.sign(&message)));
                fields.insert("run_key", key);
            }
            if let Entry::RunEnd { .. } = entry {
                fields.insert("counts", run.counts.json());
            }
        }
        record::write(&mut fields, out);
    }

    /// What a file that begins here must say of all before it.
    fn segment<'a>(&self) -> Fields<'a> {
        let peaks = self.place.tree.peaks();
        let peaks = peaks.iter().map(|peak| HEXLOWER.encode(peak));
        let mut runs: Vec<_> = self.runs.iter().filter(|(_, run)| run.seq > 0).collect();
        runs.sort_by_key(|(_, run)| run.began);
        let runs = runs.into_iter().map(|(id, run)| {
            let key = run.key.public().to_base64();
            // By the key that signs this record: the run's own may be wiped by now.
            let cert = self.host.sign(&chain::run_message(&id.to_string(), &key, run.began));
            Fields::new()
                .with("agent", run.agent.clone())
                .with("cert", BASE64.encode(&cert))
                .with("idx", int(run.began))
                .with("run", *id)
                .with("run_key", key)
                .with("seq", int(run.seq))
        });
        Fields::new()
            .with("origin", self.place.origin.clone().unwrap_or_default())
            .with("peaks", peaks.collect::<Value<'_>>())
            .with("runs", runs.collect::<Value<'_>>())
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

    fn json<'a>(self) -> Fields<'a> {
        Fields::new()
            .with("calls", int(self.calls))
            .with("denied", int(self.denied))
            .with("failed", int(self.failed))
            .with("lost", int(self.lost))
    }
}

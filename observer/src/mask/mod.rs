//! Masking: `Call` → `Masked<Call>`. Pure; the only room that can make a `Masked`.
//!
//! In this order: structure (flags, assignments, headers, URLs), the run's taint dictionary,
//! providers' patterns, and payment cards. What is masked becomes `<mask:SORT:KEYID:16 hex>`, an
//! HMAC of the value: equal secrets have equal tokens, and nothing of one is shown.

mod argv;
mod cards;
mod encoding;
mod key;
mod rules;
mod scan;
mod structure;
mod taint;

use std::collections::BTreeMap;

pub use key::{MaskKey, RestHash};

use crate::model::{Action, Call, Process, Raw, UnixAddress};
use key::Tokens;
use taint::Taint;

/// The version of the built-in rules, as records name it.
pub const RULES_VERSION: &str = "1";

/// What masking has seen. `ledger` takes nothing else that came from an agent.
#[derive(Clone, Debug)]
pub struct Masked<T> {
    value: T,
    counts: BTreeMap<&'static str, u32>,
}

impl<T> Masked<T> {
    /// The masked value.
    pub fn get(&self) -> &T {
        &self.value
    }

    /// How many values of which sort were masked.
    pub fn counts(&self) -> &BTreeMap<&'static str, u32> {
        &self.counts
    }
}

/// Masks what one run shows: it holds the run's key and what the run has shown of secrets.
pub struct Masker {
    tokens: Tokens,
    taint: Taint,
}

impl Masker {
    /// For one run.
    pub fn new(key: MaskKey) -> Self {
        Self { tokens: Tokens::new(&key), taint: Taint::default() }
    }

    /// Masks a call.
    pub fn call(&mut self, call: Call) -> Masked<Call> {
        let mut counts = BTreeMap::new();
        let mut call = call;
        match &mut call.action {
            Action::Exec(exec) => {
                let cut = call.cuts.iter().any(|cut| cut.field == crate::model::CutField::Argv);
                exec.argv = self.argv(&exec.argv, cut, &mut counts);
                exec.path = self.value(&exec.path, &mut counts);
                exec.filename = self.value(&exec.filename, &mut counts);
                exec.cwd = self.value(&exec.cwd, &mut counts);
                exec.interpreter = exec.interpreter.take().map(|i| self.value(&i, &mut counts));
            }
            Action::Unix(UnixAddress::Path(name) | UnixAddress::Abstract(name)) => {
                *name = self.value(name, &mut counts);
            }
            Action::Unix(UnixAddress::Unnamed | UnixAddress::Unread) | Action::Net(_) => {}
        }
        call.process = self.who(call.process, &mut counts);
        Masked { value: call, counts }
    }

    /// Masks what is said of a process.
    pub fn process(&mut self, process: Process) -> Masked<Process> {
        let mut counts = BTreeMap::new();
        let value = self.who(process, &mut counts);
        Masked { value, counts }
    }

    /// Masks one text.
    pub fn text(&mut self, raw: Raw) -> Masked<Raw> {
        let mut counts = BTreeMap::new();
        let value = self.value(&raw, &mut counts);
        Masked { value, counts }
    }

    /// Masks a command's arguments.
    pub fn command(&mut self, argv: &[Raw]) -> Masked<Vec<Raw>> {
        let mut counts = BTreeMap::new();
        let value = self.argv(argv, false, &mut counts);
        Masked { value, counts }
    }

    /// A hash under the run's key, for what is cut off and never stored.
    pub fn rest_hmac(&self) -> RestHash {
        self.tokens.rest()
    }

    fn who(&mut self, process: Process, counts: &mut Counts) -> Process {
        Process {
            exe: self.value(&process.exe, counts),
            comm: self.value(&process.comm, counts),
            cgroup: self.value(&process.cgroup, counts),
            ..process
        }
    }

    fn argv(&mut self, argv: &[Raw], cut: bool, counts: &mut Counts) -> Vec<Raw> {
        let plan = argv::plan(argv, cut);
        // First what structure tells, so that the dictionary knows it in every place.
        for (raw, spans) in argv.iter().zip(&plan) {
            for span in spans.iter().chain(&structure::spans(raw.bytes())) {
                self.taint.learn(span.of(raw.bytes()), span.sort);
            }
        }
        argv.iter().zip(plan).map(|(raw, spans)| self.apply(raw, spans, counts)).collect()
    }

    fn value(&mut self, raw: &Raw, counts: &mut Counts) -> Raw {
        self.apply(raw, vec![], counts)
    }

    fn apply(&mut self, raw: &Raw, mut spans: Vec<scan::Span>, counts: &mut Counts) -> Raw {
        let bytes = raw.bytes();
        if bytes.is_empty() {
            return raw.clone();
        }
        spans.extend(structure::spans(bytes));
        self.taint.find(bytes, &mut spans);
        scan::patterns(bytes, &mut spans);
        cards::find(bytes, &mut spans);
        for span in &spans {
            if span.learn {
                self.taint.learn(span.of(bytes), span.sort);
            }
        }
        if spans.is_empty() {
            return raw.clone();
        }
        let mut out = Vec::with_capacity(bytes.len());
        let mut at = 0;
        for span in scan::merge(spans) {
            out.extend_from_slice(bytes.get(at..span.start).unwrap_or_default());
            let decoded = span.decoded.as_deref().unwrap_or_else(|| span.of(bytes));
            out.extend_from_slice(self.tokens.token(span.sort, decoded).as_bytes());
            *counts.entry(span.sort).or_default() += 1;
            at = span.end;
        }
        out.extend_from_slice(bytes.get(at..).unwrap_or_default());
        Raw::new(out)
    }
}

type Counts = BTreeMap<&'static str, u32>;

#[cfg(test)]
impl<T> Masked<T> {
    /// A value that needs no masking, for the tests of other rooms.
    pub(crate) fn for_tests(value: T) -> Self {
        Self { value, counts: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests;

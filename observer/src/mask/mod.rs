//! Masking: `Call` → `Masked<Call>`. Pure; the only room that can make a `Masked`.
//!
//! In this order: structure (flags, assignments, headers, URLs), the run's taint dictionary,
//! providers' patterns and the user's, words that look drawn at random, and PII; each of them also
//! through escapes and encodings, three deep. What is masked becomes `<mask:SORT:KEYID:16 hex>`, an
//! HMAC of the value: equal secrets have equal tokens, and nothing of one is shown. What can't be
//! judged is not shown either. docs/MASKING.md says more.

mod argv;
mod body;
mod encoding;
mod escape;
mod explain;
mod generic;
mod key;
mod keys;
mod phrases;
mod pii;
mod random;
mod rules;
mod scan;
mod shell;
mod span;
mod stream;
mod structure;
mod taint;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

pub use body::Body;
pub use explain::Finding;
pub use key::{MaskKey, RestHash};
pub use rules::{RULES_VERSION, Rules, RulesError, RulesWatcher, SharedRules};
pub use stream::Stream;

use crate::model::{Action, Call, CutField, Process, Raw, UnixAddress};
use key::Tokens;
use scan::Scanner;
use span::Span;
use taint::Taint;

/// What masking has seen. `ledger` takes nothing else that came from an agent.
#[derive(Clone, Debug)]
pub struct Masked<T> {
    value: T,
    counts: BTreeMap<&'static str, u32>,
    rules: Arc<str>,
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

    /// The version of the rules that were used.
    pub fn rules(&self) -> &str {
        &self.rules
    }
}

/// Masks what one run shows: it holds the run's key and what the run has shown of secrets.
pub struct Masker {
    tokens: Tokens,
    taint: Taint,
    rules: Rules,
    followed: Option<SharedRules>,
}

impl Masker {
    /// For one run, with the built-in rules.
    pub fn new(key: MaskKey) -> Self {
        Self::with_rules(key, Rules::default())
    }

    /// For one run.
    pub fn with_rules(key: MaskKey, rules: Rules) -> Self {
        Self { tokens: Tokens::new(&key), taint: Taint::default(), rules, followed: None }
    }

    /// The key's name in its tokens.
    pub fn key_id(&self) -> &str {
        self.tokens.id()
    }

    /// Takes other rules from the next record on. What the run has shown stays known.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Takes what stands there from each next record on.
    pub fn follow(&mut self, rules: SharedRules) {
        self.followed = Some(rules);
    }

    /// Masks a call.
    pub fn call(&mut self, call: Call) -> Masked<Call> {
        let mut counts = self.counts();
        let mut call = call;
        let cuts: Vec<CutField> = call.cuts.iter().map(|cut| cut.field).collect();
        let cut = |field: CutField| cuts.contains(&field);
        match &mut call.action {
            Action::Exec(exec) => {
                exec.argv = self.argv(&exec.argv, cut(CutField::Argv), &mut counts);
                exec.path = self.field(&exec.path, cut(CutField::Path), &mut counts);
                exec.filename = self.field(&exec.filename, cut(CutField::Filename), &mut counts);
                exec.cwd = self.field(&exec.cwd, cut(CutField::Cwd), &mut counts);
                exec.interpreter = exec.interpreter.take().map(|i| self.value(&i, &mut counts));
            }
            Action::Unix(UnixAddress::Path(name) | UnixAddress::Abstract(name)) => {
                *name = self.value(name, &mut counts);
            }
            Action::Unix(UnixAddress::Unnamed | UnixAddress::Unread) | Action::Net(_) => {}
        }
        call.process = self.who(call.process, &mut counts);
        self.masked(call, counts)
    }

    /// Masks what is said of a process.
    pub fn process(&mut self, process: Process) -> Masked<Process> {
        let mut counts = self.counts();
        let value = self.who(process, &mut counts);
        self.masked(value, counts)
    }

    /// Masks one text.
    pub fn text(&mut self, raw: Raw) -> Masked<Raw> {
        let mut counts = self.counts();
        let value = self.value(&raw, &mut counts);
        self.masked(value, counts)
    }

    /// Masks one text whose end was cut off: its last word goes, whose rest nobody sees.
    pub fn cut_text(&mut self, raw: Raw) -> Masked<Raw> {
        let mut counts = self.counts();
        let value = self.field(&raw, true, &mut counts);
        self.masked(value, counts)
    }

    /// Masks a command's arguments.
    pub fn command(&mut self, argv: &[Raw]) -> Masked<Vec<Raw>> {
        let mut counts = self.counts();
        let value = self.argv(argv, false, &mut counts);
        self.masked(value, counts)
    }

    /// Masks a command's arguments of which the last was cut off.
    pub fn cut_command(&mut self, argv: &[Raw]) -> Masked<Vec<Raw>> {
        let mut counts = self.counts();
        let value = self.argv(argv, true, &mut counts);
        self.masked(value, counts)
    }

    /// A new record begins: rules that were exchanged are taken.
    fn counts(&mut self) -> Counts {
        if let Some(followed) = &self.followed {
            self.rules = followed.get();
        }
        Counts::new()
    }

    /// A hash under the run's key, for what is cut off and never stored.
    pub fn rest_hmac(&self) -> RestHash {
        self.tokens.rest()
    }

    fn masked<T>(&self, value: T, counts: Counts) -> Masked<T> {
        Masked { value, counts, rules: self.rules.shared_version() }
    }

    fn who(&mut self, process: Process, counts: &mut Counts) -> Process {
        Process {
            exe: self.value(&process.exe, counts),
            comm: self.value(&process.comm, counts),
            cgroup: self.value(&process.cgroup, counts),
            ..process
        }
    }

    /// Each argument by itself, by what its neighbours tell, and all of them joined: a shell splits
    /// at spaces what was one value.
    fn argv(&mut self, argv: &[Raw], cut: bool, counts: &mut Counts) -> Vec<Raw> {
        let mut plan = argv::plan(argv, cut);
        // First what the places tell, so that the dictionary knows it in every argument.
        for (raw, spans) in argv.iter().zip(&plan) {
            for span in spans.iter().filter(|span| span.learn) {
                self.taint.learn(span.value(raw.bytes()), span.sort);
            }
        }
        let joined = argv::Joined::new(argv);
        if let Some(joined) = &joined {
            let spans = self.spans(joined.text(), vec![]);
            joined.share(spans, &mut plan);
        }
        argv.iter().zip(plan).map(|(raw, spans)| self.apply(raw, spans, counts)).collect()
    }

    fn value(&mut self, raw: &Raw, counts: &mut Counts) -> Raw {
        self.apply(raw, vec![], counts)
    }

    fn field(&mut self, raw: &Raw, cut: bool, counts: &mut Counts) -> Raw {
        let known = if cut { argv::last_word(raw.bytes()).into_iter().collect() } else { vec![] };
        self.apply(raw, known, counts)
    }

    /// What must go of a text. Should judging it fail, all of it goes: a record keeps its structure
    /// and loses the value.
    fn spans(&mut self, text: &[u8], known: Vec<Span>) -> Vec<Span> {
        let mut scanner = Scanner { rules: &self.rules, taint: &mut self.taint };
        // The dictionary may have learnt half of a text then, which harms nothing.
        let judged = catch_unwind(AssertUnwindSafe(|| scanner.spans(text, known)));
        let mut spans = judged.unwrap_or_else(|_| vec![Span::new(0, text.len(), "unmaskable")]);
        for span in &mut spans {
            span.end = span.end.min(text.len());
        }
        spans
    }

    fn apply(&mut self, raw: &Raw, known: Vec<Span>, counts: &mut Counts) -> Raw {
        let bytes = raw.bytes();
        if bytes.is_empty() {
            return raw.clone();
        }
        let spans = self.spans(bytes, known);
        if spans.is_empty() {
            return raw.clone();
        }
        let mut out = Vec::with_capacity(bytes.len());
        let mut at = 0;
        for cluster in span::merge(spans) {
            out.extend_from_slice(bytes.get(at..cluster.start).unwrap_or_default());
            for (sort, value) in cluster.tokens(bytes) {
                out.extend_from_slice(self.tokens.token(sort, value).as_bytes());
                *counts.entry(sort).or_default() += 1;
            }
            at = cluster.end;
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
        Self { value, counts: BTreeMap::new(), rules: RULES_VERSION.into() }
    }
}

#[cfg(test)]
mod tests;

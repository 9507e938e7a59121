//! Masking: `Call` → `Masked<Call>`. Pure; the only room that can make a `Masked`.
//!
//! In this order: structure (flags, assignments, headers, URLs), the run's taint dictionary,
//! providers' patterns and the user's, words that look drawn at random, and PII; each of them also
//! through escapes and encodings, three deep. What is masked becomes `<mask:SORT:KEYID:16 hex>`, an
//! HMAC of the value: equal secrets have equal tokens, and nothing of one is shown. What can't be
//! judged is not shown either. docs/MASKING.md says more.

mod argv;
mod bits;
mod body;
mod clean;
mod coding;
mod encoding;
mod escape;
mod explain;
mod fields;
mod form;
mod generic;
mod http;
mod json;
mod key;
mod keys;
mod name;
mod phrases;
mod pii;
mod random;
mod rules;
mod scan;
mod shell;
mod span;
mod stops;
mod stream;
mod structure;
mod taint;
mod url;

use std::collections::BTreeMap;
use std::mem::take;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

pub use body::{Body, BodyBytes};
pub use explain::Finding;
pub use form::Part;
pub use key::{MaskKey, RestHash};
pub use rules::{RULES_VERSION, Rules, RulesError, RulesWatcher, SharedRules};
pub use stream::Stream;

use crate::model::{
    Action, Call, CutField, DnsAnswer, DnsData, Process, Raw, Reload, TlsEnd, UnixAddress,
};
use clean::Clean;
use fields::Fields;
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

/// What masking did to a value: what records say of it.
#[derive(Clone, Copy, Debug)]
pub struct Marks<'a> {
    /// How many values of which sort were masked.
    pub counts: &'a BTreeMap<&'static str, u32>,
    /// The version of the rules that were used.
    pub rules: &'a str,
}

impl<T> Masked<T> {
    /// The masked value.
    pub fn get(&self) -> &T {
        &self.value
    }

    /// What was masked, without the value itself.
    pub fn marks(&self) -> Marks<'_> {
        Marks { counts: &self.counts, rules: &self.rules }
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
    clean: Clean,
    /// Whole headers.
    headers: Clean,
    keys: keys::Known,
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
        Self {
            tokens: Tokens::new(&key),
            taint: Taint::default(),
            clean: Clean::default(),
            headers: Clean::default(),
            keys: keys::Known::default(),
            rules,
            followed: None,
        }
    }

    /// The key's name in its tokens.
    pub fn key_id(&self) -> &str {
        self.tokens.id()
    }

    /// Takes what stands there from each next record on.
    pub fn follow(&mut self, rules: SharedRules) {
        self.followed = Some(rules);
    }

    /// Masks a call.
    pub fn call(&mut self, call: Call) -> Masked<Call> {
        let mut fields = self.fields();
        let mut call = call;
        let cuts: Vec<CutField> = call.cuts.iter().map(|cut| cut.field).collect();
        let cut = |field: CutField| cuts.contains(&field);
        match &mut call.action {
            Action::Exec(exec) => {
                exec.argv = fields.argv(take(&mut exec.argv), cut(CutField::Argv));
                exec.path = fields.text(take(&mut exec.path), cut(CutField::Path));
                exec.filename = fields.text(take(&mut exec.filename), cut(CutField::Filename));
                exec.cwd = fields.text(take(&mut exec.cwd), cut(CutField::Cwd));
                exec.interpreter = exec.interpreter.take().map(|i| fields.text(i, false));
            }
            Action::Unix(unix) => {
                if let UnixAddress::Path(name) | UnixAddress::Abstract(name) = &mut unix.address {
                    *name = fields.text(take(name), false);
                }
            }
            Action::Http(http) => fields.http(http),
            Action::Tls(tls) => {
                if let Some(hello) = &mut tls.hello {
                    hello.sni = hello.sni.take().map(|name| fields.dns_name(name));
                    for name in &mut hello.alpn {
                        *name = fields.text(take(name), false);
                    }
                }
            }
            Action::System(system) => {
                if let Some((_, comm)) = &mut system.target {
                    *comm = fields.text(take(comm), false);
                }
            }
            Action::Net(net) => {
                if let Some(host) = &mut net.name {
                    host.name = fields.dns_name(take(&mut host.name));
                }
            }
            Action::Dns(dns) => dns.name = fields.dns_name(take(&mut dns.name)),
            Action::Socket(_) => {}
        }
        call.process = fields.process(call.process);
        fields.masked(call)
    }

    /// Masks a resolver's answer.
    pub fn resolved(&mut self, answer: DnsAnswer) -> Masked<DnsAnswer> {
        let mut fields = self.fields();
        let mut answer = answer;
        for record in &mut answer.records {
            if let DnsData::Name(name) = &mut record.data {
                *name = fields.dns_name(take(name));
            }
        }
        fields.masked(answer)
    }

    /// Masks the end of an encrypted connection.
    pub fn tls_end(&mut self, end: TlsEnd) -> Masked<TlsEnd> {
        let mut fields = self.fields();
        let alpn = end.alpn.map(|name| fields.text(name, false));
        fields.masked(TlsEnd { alpn, ..end })
    }

    /// Masks what became of a policy that was read again: an error shows lines of its file.
    pub fn reload(&mut self, policy: Reload) -> Masked<Reload> {
        let mut fields = self.fields();
        let mut policy = policy;
        policy.file = fields.text(take(&mut policy.file), false);
        policy.why = policy.why.take().map(|why| fields.text(why, policy.cut));
        fields.masked(policy)
    }

    /// Masks what is said of a process.
    pub fn process(&mut self, process: Process) -> Masked<Process> {
        let mut fields = self.fields();
        let value = fields.process(process);
        fields.masked(value)
    }

    /// Masks one text.
    pub fn text(&mut self, raw: Raw) -> Masked<Raw> {
        let mut fields = self.fields();
        let value = fields.text(raw, false);
        fields.masked(value)
    }

    /// Masks one text whose end was cut off: its last word goes, whose rest nobody sees.
    pub fn cut_text(&mut self, raw: Raw) -> Masked<Raw> {
        let mut fields = self.fields();
        let value = fields.text(raw, true);
        fields.masked(value)
    }

    /// Masks a command's arguments.
    pub fn command(&mut self, argv: &[Raw]) -> Masked<Vec<Raw>> {
        let mut fields = self.fields();
        let value = fields.argv(argv.to_vec(), false);
        fields.masked(value)
    }

    /// Masks a command's arguments of which the last was cut off.
    pub fn cut_command(&mut self, argv: &[Raw]) -> Masked<Vec<Raw>> {
        let mut fields = self.fields();
        let value = fields.argv(argv.to_vec(), true);
        fields.masked(value)
    }

    /// Masks a name of DNS, in its text form: what its labels hide together as well.
    pub fn dns_name(&mut self, name: &Raw) -> Masked<Raw> {
        let mut fields = self.fields();
        let value = fields.dns_name(name.clone());
        fields.masked(value)
    }

    /// Masks a URL, or what of one a request's first line has.
    pub fn url(&mut self, url: &Raw, cut: bool) -> Masked<Raw> {
        let mut fields = self.fields();
        let value = fields.url(url.clone(), cut);
        fields.masked(value)
    }

    /// Masks a header by its name: the name and the value, of which either may have to go.
    pub fn header(&mut self, name: &Raw, value: &Raw, cut: bool) -> Masked<(Raw, Raw)> {
        let mut fields = self.fields();
        let pair = fields.header(name.clone(), value.clone(), cut);
        fields.masked(pair)
    }

    /// Masks a message's body by its type: JSON stays JSON, fields of forms stand by their names.
    pub fn body(&mut self, body: &BodyBytes<'_>) -> Masked<Body> {
        let mut fields = self.fields();
        let value = fields.body(body);
        fields.masked(value)
    }

    /// A new record begins: rules that were exchanged are taken. What is masked through it counts
    /// for that record.
    fn fields(&mut self) -> Fields<'_> {
        if let Some(followed) = &self.followed {
            let rules = followed.get();
            if !rules.is_same(&self.rules) {
                self.rules = rules;
                self.clean.clear();
                self.headers.clear();
            }
        }
        Fields::new(self)
    }

    /// A hash under the run's key, for what is cut off and never stored.
    pub fn rest_hmac(&self) -> RestHash {
        self.tokens.rest()
    }

    /// What must go of a text. Should judging it fail, all of it goes: a record keeps its structure
    /// and loses the value.
    fn spans(&mut self, text: &[u8], known: Vec<Span>) -> Vec<Span> {
        let Self { rules, taint, clean, keys, .. } = self;
        let mut scanner = Scanner { rules, taint, clean, keys };
        // The dictionary may have learnt half of a text then, which harms nothing.
        let judged = catch_unwind(AssertUnwindSafe(|| scanner.spans(text, known)));
        let mut spans = judged.unwrap_or_else(|_| vec![Span::new(0, text.len(), "unmaskable")]);
        for span in &mut spans {
            span.end = span.end.min(text.len());
        }
        spans
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

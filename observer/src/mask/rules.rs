//! The providers' tokens: the built-in rules as data, what users add to them, and the search that
//! runs them.
//!
//! One automaton of keywords runs over words that are long enough; a rule's expression runs where
//! its keyword stands and nowhere else, and is compiled when it is first needed.

mod chat;
mod cloud;
mod code;
mod data;
mod file;
mod model;
mod money;
mod user;

use std::sync::{Arc, LazyLock, OnceLock, PoisonError, RwLock, Weak};

use aho_corasick::automaton::{Automaton as _, OverlappingState};
use aho_corasick::dfa::DFA;
use aho_corasick::{AhoCorasick, Anchored, Input};
use regex::bytes::Regex;

pub use file::RulesError;

use super::random;
use super::span::Span;
use user::UserRule;

/// The version of the built-in rules, as records name it.
pub const RULES_VERSION: &str = "2";

/// Where a rule's expression is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// From the keyword on: most tokens begin with what names them.
    Ahead,
    /// In the whole word around the keyword.
    Around,
}

/// A kind of token.
pub(super) struct Rule {
    /// Its sort, as tokens and records name it.
    pub(super) sort: &'static str,
    /// Texts of which one must be there before the expression is tried.
    keywords: &'static [&'static str],
    /// What it looks like; the first group, where there is one, is the secret.
    regex: &'static str,
    look: Look,
    /// Something that it finds, in pieces, so that scanners leave these files alone.
    #[cfg(test)]
    pub(super) example: &'static [&'static str],
    /// Something alike that it must not.
    #[cfg(test)]
    pub(super) other: &'static str,
}

/// A line a rule: sort, where to look, keywords, expression, an example, and what is none.
macro_rules! rules {
    ($($sort:literal $look:ident [$($keyword:literal),+] $regex:literal [$($example:expr),+] $other:literal;)*) => {
        pub(super) const RULES: &[super::Rule] = &[$(super::Rule {
            sort: $sort,
            keywords: &[$($keyword),+],
            regex: $regex,
            look: super::Look::$look,
            #[cfg(test)]
            example: &[$($example),+],
            #[cfg(test)]
            other: $other,
        }),*];
    };
}
use rules;

/// Fillers for examples: hex digits, and letters and digits.
#[cfg(test)]
mod filler {
    pub(super) const H10: &str = "3f9a1c7e5b";
    pub(super) const H32: &str = "3f9a1c7e5b2d8064a1f3c9e7d5b08264";
    pub(super) const U26: &str = "Q7ZK2MXW4PRT6VBN3HJD5FGC2L";
    pub(super) const A8: &str = "k3J9xQ0f";
    pub(super) const A24: &str = "k3J9xQ0fTz8LmW2aVb7YpRs4";
    pub(super) const A36: &str = "k3J9xQ0fTz8LmW2aVb7YpRs4Hd6GnCe1UiOq";
}

static BUILTIN: &[&[Rule]] =
    &[model::RULES, code::RULES, cloud::RULES, money::RULES, chat::RULES, data::RULES];

/// All built-in rules.
pub(super) fn all() -> impl Iterator<Item = &'static Rule> {
    BUILTIN.iter().copied().flatten()
}

struct Compiled {
    keywords: DFA,
    /// For each keyword its rule, and how long it is.
    owner: Vec<(u16, u16)>,
    rules: Vec<Entry>,
}

struct Entry {
    rule: &'static Rule,
    regex: OnceLock<Option<Regex>>,
    /// The expression has a group: what is around it stays.
    grouped: bool,
    /// The expression has a dot of its own in it.
    dotted: bool,
    /// The fewest bytes that it matches.
    shortest: usize,
}

impl Entry {
    fn new(rule: &'static Rule) -> Self {
        let parsed = regex_syntax::ParserBuilder::new().utf8(false).build().parse(rule.regex).ok();
        let found = parsed.as_ref().map(regex_syntax::hir::Hir::properties);
        Self {
            rule,
            regex: OnceLock::new(),
            grouped: found.is_some_and(|p| p.explicit_captures_len() > 0),
            dotted: rule.regex.contains(r"}\."),
            shortest: found.and_then(|p| p.minimum_len()).unwrap_or(0),
        }
    }

    fn regex(&self) -> Option<&Regex> {
        let compile = || match self.rule.look {
            Look::Ahead => Regex::new(&format!(r"\A(?:{})", self.rule.regex)).ok(),
            Look::Around => Regex::new(self.rule.regex).ok(),
        };
        self.regex.get_or_init(compile).as_ref()
    }
}

static COMPILED: LazyLock<Option<Compiled>> = LazyLock::new(|| {
    let (mut words, mut owner, mut rules) = (vec![], vec![], vec![]);
    for (index, rule) in all().enumerate() {
        for word in rule.keywords {
            words.push(*word);
            owner.push((index as u16, word.len() as u16));
        }
        rules.push(Entry::new(rule));
    }
    let keywords = DFA::builder().build(words).ok()?;
    Some(Compiled { keywords, owner, rules })
});

/// The rules of a masker: the built-in ones, less those that a user switched off, and the user's.
#[derive(Clone)]
pub struct Rules(Arc<Inner>);

struct Inner {
    version: Arc<str>,
    off: Vec<bool>,
    email: bool,
    users: Vec<UserRule>,
    keywords: Option<AhoCorasick>,
    /// For each keyword of the users' rules, its rule.
    owners: Vec<usize>,
    allowed: user::Allowed,
}

impl Default for Rules {
    fn default() -> Self {
        let inner = Inner {
            version: RULES_VERSION.into(),
            off: vec![false; all().count()],
            email: false,
            users: vec![],
            keywords: None,
            owners: vec![],
            allowed: user::Allowed::default(),
        };
        Self(Arc::new(inner))
    }
}

impl Rules {
    /// The version, as records name it: of the built-in rules, and of the user's file.
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// How many kinds of token are built in.
    pub fn kinds() -> usize {
        let mut sorts: Vec<_> = all().map(|rule| rule.sort).collect();
        sorts.sort_unstable();
        sorts.dedup();
        sorts.len()
    }

    /// The same with e-mail addresses masked.
    #[must_use]
    pub fn with_email(self, email: bool) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        inner.email = email;
        Self(Arc::new(inner))
    }

    pub(super) fn shared_version(&self) -> Arc<str> {
        Arc::clone(&self.0.version)
    }

    pub(super) fn email(&self) -> bool {
        self.0.email
    }

    /// Whether a user's allow-list lets a value through that a pattern found.
    pub(super) fn allows(&self, value: &[u8]) -> bool {
        self.0.allowed.holds(value, value)
    }

    /// Runs the user's rules over a text.
    pub(super) fn custom(&self, text: &[u8], spans: &mut Vec<Span>) {
        if self.0.users.is_empty() {
            return;
        }
        let mut called = vec![false; self.0.users.len()];
        if let Some(keywords) = &self.0.keywords {
            for found in keywords.find_overlapping_iter(text) {
                let owner = self.0.owners.get(found.pattern().as_usize());
                if let Some(called) = owner.and_then(|&rule| called.get_mut(rule)) {
                    *called = true;
                }
            }
        }
        for (rule, called) in self.0.users.iter().zip(called) {
            if called || rule.has_no_keyword() {
                rule.find(text, &self.0.allowed, spans);
            }
        }
    }

    /// Runs the built-in rules over a word of a text.
    pub(super) fn builtin(&self, text: &[u8], start: usize, end: usize, spans: &mut Vec<Span>) {
        let Some(compiled) = COMPILED.as_ref() else {
            // It can't be (a test holds it); what can't be judged isn't shown.
            spans.push(Span::new(start, end, "unmaskable").piece());
            return;
        };
        let before = spans.len();
        let mut search = Search {
            compiled,
            off: &self.0.off,
            text,
            start,
            end,
            covered: start,
            dead: 0,
            rests: vec![],
        };
        let input = Input::new(text).range(start..end).anchored(Anchored::No);
        let mut state = OverlappingState::start();
        // The automaton's own table, asked without the bookkeeping of the common interface.
        loop {
            if compiled.keywords.try_find_overlapping(&input, &mut state).is_err() {
                break;
            }
            let Some(found) = state.get_match() else { break };
            if let Some(&(rule, len)) = compiled.owner.get(found.pattern().as_usize()) {
                search.hit(
                    usize::from(rule),
                    found.end() - usize::from(len),
                    usize::from(len),
                    spans,
                );
            }
        }
        if !search.rests.is_empty() {
            search.settle(before, spans);
        }
    }
}

/// Rules that someone may exchange while maskers use them.
#[derive(Clone)]
pub struct SharedRules(Arc<RwLock<Rules>>);

/// A way back to shared rules that does not keep them.
pub struct RulesWatcher(Weak<RwLock<Rules>>);

impl SharedRules {
    /// Shares rules.
    pub fn new(rules: Rules) -> Self {
        Self(Arc::new(RwLock::new(rules)))
    }

    /// The rules of this moment.
    pub fn get(&self) -> Rules {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Exchanges them.
    pub fn set(&self, rules: Rules) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// For whoever exchanges them as long as somebody uses them.
    pub fn watcher(&self) -> RulesWatcher {
        RulesWatcher(Arc::downgrade(&self.0))
    }
}

impl RulesWatcher {
    /// The rules, while somebody uses them.
    pub fn upgrade(&self) -> Option<SharedRules> {
        self.0.upgrade().map(SharedRules)
    }
}

impl Clone for Inner {
    fn clone(&self) -> Self {
        Self {
            version: self.version.clone(),
            off: self.off.clone(),
            email: self.email,
            users: self.users.clone(),
            keywords: self.keywords.clone(),
            owners: self.owners.clone(),
            allowed: self.allowed.clone(),
        }
    }
}

struct Search<'a> {
    compiled: &'static Compiled,
    off: &'a [bool],
    text: &'a [u8],
    start: usize,
    end: usize,
    /// What is masked already.
    covered: usize,
    /// Up to here no JWT begins.
    dead: usize,
    /// Beginnings of tokens whose rule found no whole one: they count where no other rule does.
    rests: Vec<(usize, &'static str)>,
}

impl Search<'_> {
    fn hit(&mut self, rule: usize, at: usize, len: usize, spans: &mut Vec<Span>) {
        let Some(entry) = self.compiled.rules.get(rule) else { return };
        if at < self.covered || self.off.get(rule).is_some_and(|&off| off) {
            return;
        }
        // Within a word a short keyword is chance; a long one, or one with a sign in it, is none.
        let joined = at > self.start && self.text[at - 1].is_ascii_alphanumeric();
        let keyword = &self.text[at..at + len];
        let signs = keyword.iter().any(|b| !b.is_ascii_alphanumeric());
        if entry.rule.look == Look::Ahead && joined && (len < 4 || !signs) {
            return;
        }
        if entry.rule.sort == "jwt" {
            return self.jwt(at, spans);
        }
        match entry.rule.look {
            Look::Around => self.around(entry, at, len, spans),
            Look::Ahead => {
                if self.ahead(entry, at, len, spans) {
                    return;
                }
                self.rest(entry.rule.sort, at, len);
            }
        }
    }

    fn around(&mut self, entry: &Entry, at: usize, len: usize, spans: &mut Vec<Span>) {
        /// No token reaches further from what names it.
        const REACH: usize = 120;
        if self.end - self.start < entry.shortest {
            return;
        }
        // Where the word begins far before, so that a boundary in the middle is not taken for one.
        let from = self.start.max(at.saturating_sub(REACH));
        let to = self.end.min(at + len + REACH);
        // Most of these have a dot, which a word of base64 never has.
        if entry.dotted && memchr::memchr(b'.', &self.text[from..to]).is_none() {
            return;
        }
        let Some(regex) = entry.regex() else { return };
        let secret = regex.captures(&self.text[from..to]).and_then(|c| c.get(1).or(c.get(0)));
        if let Some(secret) = secret {
            let (from, to) = (from + secret.start(), from + secret.end());
            let more = self.text[to..].iter().take_while(|&&b| is_token(b)).count();
            spans.push(Span::new(from, to + more, entry.rule.sort));
            self.covered = to + more;
        }
    }

    fn ahead(&mut self, entry: &Entry, at: usize, len: usize, spans: &mut Vec<Span>) -> bool {
        // A rule with a group may look at what is around the word.
        let limit = if entry.grouped { self.text.len() } else { self.end };
        if limit - at < entry.shortest {
            return false;
        }
        let Some(regex) = entry.regex() else { return false };
        let text = &self.text[at..limit.min(at + 4096)];
        let secret = if entry.grouped {
            regex.captures(text).and_then(|found| found.get(1))
        } else {
            regex.find(text)
        };
        let Some(secret) = secret else { return false };
        let (from, to) = (at + secret.start(), at + secret.end());
        // A name may have the form of a token: `sk-learn-contrib-something`.
        let own = self.text.get((at + len).max(from)..to).unwrap_or_default();
        let name = !own.iter().any(u8::is_ascii_digit) && random::score(own) >= 0;
        if name || own.len() >= 24 && is_monotonous(own) {
            return false;
        }
        // A token that is longer than its documents say loses its tail as well.
        let more = self.text[to..].iter().take_while(|&&b| is_token(b)).count();
        spans.push(Span::new(from, to + more, entry.rule.sort));
        self.covered = to + more;
        true
    }

    /// What a cut left of a token: its beginning is there, and what follows looks like no name.
    fn rest(&mut self, sort: &'static str, at: usize, len: usize) {
        /// So much of it is looked at.
        const GLANCE: usize = 48;
        let keyword = &self.text[at..at + len];
        let signs = |b: &u8| matches!(b, b'_' | b'-' | b'.');
        let telling = len >= 3 && keyword.last().is_some_and(signs)
            || len >= 4 && keyword.iter().all(u8::is_ascii_uppercase);
        let joined = at > 0 && self.text[at - 1].is_ascii_alphanumeric();
        if !telling || joined || self.rests.last().is_some_and(|&(last, _)| at < last + GLANCE) {
            return;
        }
        let from = at + len;
        let tail = self.text[from..].iter().take(GLANCE).take_while(|&&b| is_token(b)).count();
        let value = &self.text[from..from + tail];
        let digit = value.iter().any(u8::is_ascii_digit);
        let upper =
            value.iter().any(u8::is_ascii_uppercase) && value.iter().any(u8::is_ascii_lowercase);
        let last = from + tail == self.text.len();
        // Hex reads like a name by its letters alone.
        let last_part = value.rsplit(|b| matches!(b, b'_' | b'-')).next().unwrap_or_default();
        let hex = last_part.len() >= 6
            && last_part.iter().all(u8::is_ascii_hexdigit)
            && last_part.iter().filter(|b| b.is_ascii_digit()).count() >= 2;
        let odd = hex
            || digit && (upper || random::score(value) < 0)
            || upper && random::is_random(value);
        let enough = if last { tail + len >= 7 } else { tail >= 6 && digit };
        if enough && odd {
            self.rests.push((at, sort));
        }
    }

    /// Adds the beginnings of tokens that stand in no token that was found.
    fn settle(self, before: usize, spans: &mut Vec<Span>) {
        let here = spans.iter().skip(before);
        let mut found: Vec<(usize, usize)> = here.map(|s| (s.start, s.end)).collect();
        found.sort_unstable();
        for (at, sort) in self.rests {
            let begun = found.partition_point(|&(start, _)| start <= at);
            if begun > 0 && found.get(begun - 1).is_some_and(|&(_, end)| at < end) {
                continue;
            }
            let len = self.text[at..].iter().take_while(|&&b| is_token(b) || b == b'.').count();
            let mut span = Span::new(at, at + len, sort).by("token-cut");
            span.learn = false;
            spans.push(span);
        }
    }

    /// A JWT from its header on, however much of it is there. A run of characters without a dot is
    /// none, and is looked at once.
    fn jwt(&mut self, at: usize, spans: &mut Vec<Span>) {
        if at < self.dead {
            return;
        }
        let part = |from: usize| {
            let rest = self.text.get(from..).unwrap_or_default();
            rest.iter()
                .take_while(|&&b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
                .count()
        };
        let head = part(at);
        self.dead = at + head;
        let rest = &self.text[at + head..];
        if head < 12 || rest.first() != Some(&b'.') {
            return;
        }
        let body = part(at + head + 1);
        let whole = rest.iter().take_while(|&&b| is_token(b) || b == b'.').count();
        if body < 4 && at + head + 1 + body < self.text.len() {
            return;
        }
        let end = at + head + whole;
        spans.push(Span::new(at, end, "jwt"));
        self.covered = end;
        self.dead = end;
    }
}

/// Whether a long value is made of a few different bytes: a table, not a token.
fn is_monotonous(value: &[u8]) -> bool {
    let mut seen = [false; 256];
    let mut different = 0;
    for &b in value.iter().take(64) {
        if let Some(seen) = seen.get_mut(usize::from(b)) {
            different += usize::from(!*seen);
            *seen = true;
        }
    }
    different < 8
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')
}

/// Whether the built-in rules compile; a test holds it.
#[cfg(test)]
pub(super) fn ready() -> Result<(), String> {
    let compiled = COMPILED.as_ref().ok_or("no automaton")?;
    let broken = compiled.rules.iter().find(|entry| entry.regex().is_none());
    broken.map_or(Ok(()), |entry| Err(format!("{}: {}", entry.rule.sort, entry.rule.regex)))
}

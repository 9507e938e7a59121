//! The providers' tokens: the built-in rules as data, what users add to them, and the search that
//! runs them.
//!
//! One automaton of keywords runs over words that are long enough; a rule's expression runs where
//! its keyword stands and nowhere else, and is compiled when it is first needed.

mod beginnings;
mod chat;
mod cloud;
mod code;
mod data;
mod file;
mod model;
mod money;
mod search;
mod user;

use std::sync::{Arc, PoisonError, RwLock, Weak};

use aho_corasick::AhoCorasick;

pub use file::RulesError;
#[cfg(test)]
pub(super) use search::ready;

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

    /// Whether these are the very same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
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
        search::word(&self.0.off, text, start, end, spans);
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

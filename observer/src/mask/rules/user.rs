//! A user's rule at work.

use regex::bytes::Regex;

use crate::mask::span::Span;

/// A rule of a user's file.
#[derive(Clone)]
pub(super) struct UserRule {
    pub(super) sort: &'static str,
    pub(super) keywords: Vec<String>,
    pub(super) regex: Regex,
    /// Which group is the secret; 0 for the first there is, or all.
    pub(super) group: usize,
    /// The fewest bits a byte of a secret.
    pub(super) entropy: f64,
    pub(super) allowed: Allowed,
}

/// What is no secret though a rule finds it.
#[derive(Clone, Default)]
pub(super) struct Allowed {
    /// Expressions, and whether they are held against the whole match instead of the secret.
    pub(super) regexes: Vec<(Regex, bool)>,
    pub(super) stopwords: Vec<Vec<u8>>,
}

impl Allowed {
    pub(super) fn holds(&self, secret: &[u8], whole: &[u8]) -> bool {
        self.regexes.iter().any(|(regex, all)| regex.is_match(if *all { whole } else { secret }))
            || !self.stopwords.is_empty() && {
                let lower = secret.to_ascii_lowercase();
                self.stopwords.iter().any(|word| memchr::memmem::find(&lower, word).is_some())
            }
    }
}

impl UserRule {
    pub(super) fn has_no_keyword(&self) -> bool {
        self.keywords.is_empty()
    }

    pub(super) fn find(&self, text: &[u8], everywhere: &Allowed, spans: &mut Vec<Span>) {
        for found in self.regex.captures_iter(text) {
            let Some(whole) = found.get(0) else { continue };
            let first = || (1..found.len()).find_map(|i| found.get(i));
            let named = if self.group == 0 { first() } else { found.get(self.group) };
            let secret = named.unwrap_or(whole);
            let value = secret.as_bytes();
            let known = [&self.allowed, everywhere];
            if value.is_empty()
                || self.entropy > 0.0 && entropy(value) <= self.entropy
                || known.iter().any(|list| list.holds(value, whole.as_bytes()))
            {
                continue;
            }
            spans.push(Span::new(secret.start(), secret.end(), self.sort));
        }
    }
}

/// Shannon's entropy of a value's bytes, in bits a byte, as gitleaks reckons it.
fn entropy(value: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for &b in value {
        counts[usize::from(b)] += 1;
    }
    let len = value.len() as f64;
    let share = |n: &u32| f64::from(*n) / len;
    counts.iter().filter(|n| **n > 0).map(|n| -share(n) * share(n).log2()).sum()
}

//! Spans of secrets in a text, and the patterns of the providers' tokens.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use regex::bytes::Regex;

use super::encoding;
use super::rules::{RULES, Rule};

/// A secret's place.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) sort: &'static str,
    /// What it is without its encoding, where it has one.
    pub(super) decoded: Option<Vec<u8>>,
    /// Whether the dictionary should know it.
    pub(super) learn: bool,
}

impl Span {
    pub(super) fn new(start: usize, end: usize, sort: &'static str) -> Self {
        Self { start, end, sort, decoded: None, learn: true }
    }

    pub(super) fn of<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

/// Nested encodings are looked into this deep.
const DEPTH: u32 = 3;

struct Compiled {
    keywords: AhoCorasick,
    /// For each keyword, its rule.
    owner: Vec<usize>,
    regexes: Vec<Regex>,
}

static COMPILED: LazyLock<Option<Compiled>> = LazyLock::new(|| {
    let mut words = vec![];
    let mut owner = vec![];
    let mut regexes = vec![];
    for (index, rule) in RULES.iter().enumerate() {
        regexes.push(Regex::new(rule.regex).ok()?);
        for word in rule.keywords {
            words.push(*word);
            owner.push(index);
        }
    }
    let keywords = AhoCorasick::builder().ascii_case_insensitive(true).build(words).ok()?;
    Some(Compiled { keywords, owner, regexes })
});

/// Whether the built-in rules compiled; a test holds it.
#[cfg(test)]
pub(super) fn ready() -> bool {
    COMPILED.is_some()
}

/// Finds providers' tokens, JWTs and private keys, plain and encoded.
pub(super) fn patterns(text: &[u8], spans: &mut Vec<Span>) {
    plain(text, spans);
    nested(text, spans, DEPTH);
}

fn plain(text: &[u8], spans: &mut Vec<Span>) {
    let Some(compiled) = COMPILED.as_ref() else {
        // It can't be (a test holds it); what can't be judged isn't shown.
        spans.push(Span::new(0, text.len(), "unmaskable"));
        return;
    };
    let mut seen = vec![false; RULES.len()];
    for found in compiled.keywords.find_overlapping_iter(text) {
        let Some(&rule) = compiled.owner.get(found.pattern().as_usize()) else { continue };
        let first = seen.get_mut(rule).is_some_and(|seen| !std::mem::replace(seen, true));
        if first && let (Some(rule), Some(regex)) = (RULES.get(rule), compiled.regexes.get(rule)) {
            matches(rule, regex, text, spans);
        }
    }
}

fn matches(rule: &Rule, regex: &Regex, text: &[u8], spans: &mut Vec<Span>) {
    for found in regex.captures_iter(text) {
        if let Some(secret) = found.get(1).or_else(|| found.get(0)) {
            spans.push(Span::new(secret.start(), secret.end(), rule.sort));
        }
    }
}

/// Looks into words that are an encoding of something else; a word that hides a secret is masked
/// whole, under the secret's own token.
fn nested(text: &[u8], spans: &mut Vec<Span>, depth: u32) {
    for (start, end, decoded) in encoding::words(text) {
        if spans.iter().any(|span| span.start <= start && end <= span.end) {
            continue;
        }
        if let Some((sort, secret)) = hidden(&decoded, depth) {
            let mut span = Span::new(start, end, sort);
            span.decoded = Some(secret);
            spans.push(span);
        }
    }
}

fn hidden(text: &[u8], depth: u32) -> Option<(&'static str, Vec<u8>)> {
    let mut spans = super::structure::spans(text);
    plain(text, &mut spans);
    if let Some(span) = spans.first() {
        return Some((span.sort, span.of(text).to_vec()));
    }
    if depth <= 1 {
        return None;
    }
    encoding::words(text).into_iter().find_map(|(.., inner)| hidden(&inner, depth - 1))
}

/// Spans in order, overlapping ones as one: the widest span's sort and value speak for it.
pub(super) fn merge(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| span.start < span.end);
    spans.sort_by(|a, b| a.start.cmp(&b.start).then(b.end.cmp(&a.end)));
    let mut out: Vec<Span> = vec![];
    for span in spans {
        match out.last_mut() {
            Some(last) if span.start < last.end => {
                if span.end > last.end {
                    last.end = span.end;
                    last.decoded = None;
                }
            }
            _ => out.push(span),
        }
    }
    out
}

//! The run's dictionary: a secret found by structure or pattern is masked wherever the run shows
//! it again, in each of its usual encodings.

use std::collections::HashSet;

use aho_corasick::{AhoCorasick, MatchKind};
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

use super::scan::Span;

/// Values that are remembered. When it is full, what is found by structure or pattern is still
/// masked where it is found.
const VALUES: usize = 2048;
/// Shorter ones would mask ordinary words.
const SHORTEST: usize = 6;
/// Of a longer one, its beginning is remembered.
const LONGEST: usize = 512;

#[derive(Default)]
pub(super) struct Taint {
    known: HashSet<Vec<u8>>,
    /// Each form of each value, with its value and sort.
    forms: Vec<(Vec<u8>, usize)>,
    values: Vec<(Vec<u8>, &'static str)>,
    automaton: Option<AhoCorasick>,
    dirty: bool,
}

impl Taint {
    pub(super) fn learn(&mut self, value: &[u8], sort: &'static str) {
        let value = &value[..value.len().min(LONGEST)];
        let ordinary = value.len() < SHORTEST || is_ordinary(value);
        if ordinary || self.values.len() >= VALUES || self.known.contains(value) {
            return;
        }
        self.known.insert(value.to_vec());
        let index = self.values.len();
        self.values.push((value.to_vec(), sort));
        self.forms.extend(forms(value).into_iter().map(|form| (form, index)));
        self.dirty = true;
    }

    pub(super) fn find(&mut self, text: &[u8], spans: &mut Vec<Span>) {
        if self.dirty {
            let patterns = self.forms.iter().map(|(form, _)| form);
            let builder =
                AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(patterns);
            self.automaton = builder.ok();
            self.dirty = false;
        }
        let Some(automaton) = &self.automaton else { return };
        for found in automaton.find_iter(text) {
            let form = self.forms.get(found.pattern().as_usize());
            let Some((value, sort)) = form.and_then(|(_, index)| self.values.get(*index)) else {
                continue;
            };
            let mut span = Span::new(found.start(), found.end(), sort);
            span.decoded = Some(value.clone());
            span.learn = false;
            spans.push(span);
        }
    }
}

/// Values that are no secret wherever they stand.
fn is_ordinary(value: &[u8]) -> bool {
    const WORDS: &[&[u8]] =
        &[b"password", b"secret", b"bearer", b"default", b"localhost", b"undefined", b"github"];
    WORDS.iter().any(|word| value.eq_ignore_ascii_case(word))
        || value.iter().all(|b| matches!(b, b'*' | b'x' | b'X' | b'.'))
}

/// A value raw, JSON-escaped, percent- and form-encoded, in hex, and in base64 at each of its
/// three alignments and in both alphabets.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut out = vec![value.to_vec()];
    let text = String::from_utf8_lossy(value);
    if let Ok(json) = serde_json::to_string(&text) {
        out.push(json.trim_matches('"').replace('/', "\\/").into_bytes());
        out.push(json.trim_matches('"').as_bytes().to_vec());
    }
    for upper in [true, false] {
        for space in ["%20", "+"] {
            out.push(percent(value, upper, space));
        }
    }
    out.push(HEXLOWER.encode(value).into_bytes());
    out.push(HEXUPPER.encode(value).into_bytes());
    for shift in 0..3 {
        for url in [false, true] {
            out.extend(base64(value, shift, url));
        }
    }
    out.sort();
    out.dedup();
    out
}

fn percent(value: &[u8], upper: bool, space: &str) -> Vec<u8> {
    let mut out = vec![];
    for &b in value {
        match b {
            b' ' => out.extend_from_slice(space.as_bytes()),
            b if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) => out.push(b),
            b if upper => out.extend(format!("%{b:02X}").into_bytes()),
            b => out.extend(format!("%{b:02x}").into_bytes()),
        }
    }
    out
}

/// The digits of base64 that depend on the value alone, where `shift` bytes stand before it.
fn base64(value: &[u8], shift: usize, url: bool) -> Option<Vec<u8>> {
    let mut padded = vec![0; shift];
    padded.extend_from_slice(value);
    let text = if url { BASE64URL_NOPAD.encode(&padded) } else { BASE64_NOPAD.encode(&padded) };
    let skip = [0, 2, 3].get(shift)?;
    // The last digit shares bits with what follows, unless the value ends on a boundary.
    let drop = usize::from(!padded.len().is_multiple_of(3));
    let form = text.as_bytes().get(*skip..text.len().checked_sub(drop)?)?;
    (form.len() >= SHORTEST + 2).then(|| form.to_vec())
}

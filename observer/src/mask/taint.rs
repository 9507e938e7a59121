//! The run's dictionary: a secret found by structure or pattern is masked wherever the run shows
//! it again, whole in each of its usual encodings, and in pieces.
//!
//! There is no automaton to build: the text is probed with a window of six bytes, so learning a
//! value costs what the value is long, and looking costs the same however many values are known.
//! Of three neighbouring windows one probe of four bytes tells whether any may be known.

use std::collections::HashMap;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

use super::random;
use super::span::Span;

/// Values that are remembered. When it is full, what is found by structure or pattern is still
/// masked where it is found.
const VALUES: usize = 4096;
/// Shorter ones would mask ordinary words.
const SHORTEST: usize = 6;
/// Of a longer one, its beginning is remembered.
const LONGEST: usize = 512;
/// What the text is probed with.
const WINDOW: usize = 6;
/// A piece of a value that is shorter than this tells nothing.
const PIECE: usize = 8;
/// Values that begin alike and are compared one by one.
const ALIKE: usize = 32;

#[derive(Default)]
pub(super) struct Taint {
    values: Vec<(Vec<u8>, &'static str)>,
    known: HashMap<Vec<u8>, u32>,
    /// By the first bytes of a form: the forms, each with its value, the longest first.
    heads: HashMap<u64, Vec<(Vec<u8>, u32)>>,
    /// Windows within values that look like no word: the value that they come from.
    pieces: HashMap<u64, u32>,
    filter: Filter,
    /// Each four bytes within a window that is known.
    scouts: Filter,
    /// Values that found no room.
    left_out: u64,
}

impl Taint {
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Remembers a value; whether it is new.
    pub(super) fn learn(&mut self, value: &[u8], sort: &'static str) -> bool {
        let value = &value[..value.len().min(LONGEST)];
        if value.len() < SHORTEST || is_ordinary(value) || self.known.contains_key(value) {
            return false;
        }
        if self.values.len() >= VALUES {
            self.left_out += 1;
            return false;
        }
        let index = self.values.len() as u32;
        self.known.insert(value.to_vec(), index);
        self.values.push((value.to_vec(), sort));
        for form in forms(value) {
            let Some(window) = window(&form, 0) else { continue };
            self.watch(window);
            let alike = self.heads.entry(window).or_default();
            if alike.len() < ALIKE {
                let at = alike.partition_point(|(other, _)| other.len() >= form.len());
                alike.insert(at, (form, index));
            }
        }
        for (at, piece) in value.windows(WINDOW).enumerate() {
            let around = &value[at.saturating_sub(3)..(at + WINDOW + 3).min(value.len())];
            if is_telling(piece, around)
                && let Some(window) = window(value, at)
            {
                self.watch(window);
                self.pieces.entry(window).or_insert(index);
            }
        }
        let windows = || self.heads.keys().chain(self.pieces.keys()).copied();
        self.filter.grow(windows);
        self.scouts.grow(|| windows().flat_map(scouts));
        true
    }

    /// From here on the window is looked for.
    fn watch(&mut self, window: u64) {
        self.filter.add(window);
        scouts(window).into_iter().for_each(|four| self.scouts.add(four));
    }

    /// How many values are known.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Adds what the text shows of known values. Linear in the text: each place is probed once,
    /// and a bounded number of values is compared there.
    pub(super) fn find(&self, text: &[u8], spans: &mut Vec<Span>) {
        if self.values.is_empty() {
            return;
        }
        let (mut at, mut piece) = (0, None::<(usize, usize, u32)>);
        while let Some((found, window)) = self.next(text, at) {
            at = found;
            if let Some((len, index)) = self.whole(text, at, window) {
                self.push(at, at + len, index, true, spans);
                at += len;
                continue;
            }
            if let Some(&index) = self.pieces.get(&window) {
                piece = match piece {
                    Some((start, end, first)) if at <= end => Some((start, at + WINDOW, first)),
                    other => {
                        self.settle(other, spans);
                        Some((at, at + WINDOW, index))
                    }
                };
            }
            at += 1;
        }
        self.settle(piece, spans);
    }

    /// The next window from a place on that may be known, and where it stands.
    fn next(&self, text: &[u8], from: usize) -> Option<(usize, u64)> {
        let known = |at| Some((at, window(text, at).filter(|&w| self.filter.may_have(w))?));
        let mut at = from;
        // Two probes in what eight bytes have, while there are as many.
        while let Some(eight) = text.get(at + SCOUTS - 1..).and_then(|rest| rest.first_chunk()) {
            let eight = u64::from_le_bytes(*eight);
            if self.scouts.may_have(eight & FOUR) || self.scouts.may_have(eight >> 24 & FOUR) {
                let found = (at..at + 2 * SCOUTS).find_map(known);
                if found.is_some() {
                    return found;
                }
            }
            at += 2 * SCOUTS;
        }
        (at..text.len()).find_map(known)
    }

    /// The longest form that stands here, or of which the text's end leaves enough.
    fn whole(&self, text: &[u8], at: usize, window: u64) -> Option<(usize, u32)> {
        let rest = text.get(at..)?;
        self.heads.get(&window)?.iter().find_map(|(form, index)| {
            if rest.starts_with(form) {
                return Some((form.len(), *index));
            }
            let cut = rest.len() < form.len() && rest.len() >= PIECE && form.starts_with(rest);
            cut.then_some((rest.len(), *index))
        })
    }

    fn settle(&self, piece: Option<(usize, usize, u32)>, spans: &mut Vec<Span>) {
        if let Some((start, end, index)) = piece
            && end - start >= PIECE
        {
            self.push(start, end, index, false, spans);
        }
    }

    fn push(&self, start: usize, end: usize, index: u32, whole: bool, spans: &mut Vec<Span>) {
        let Some((value, sort)) = self.values.get(index as usize) else { return };
        let mut span = Span::new(start, end, sort).by("taint");
        span.decoded = Some(value.clone());
        span.learn = false;
        span.piece = !whole;
        spans.push(span);
    }
}

/// How many places of four bytes a window has.
const SCOUTS: usize = WINDOW - 4 + 1;

/// The first four bytes of a word.
const FOUR: u64 = 0xffff_ffff;

/// Each four bytes of a window.
fn scouts(window: u64) -> [u64; SCOUTS] {
    [0, 1, 2].map(|at| window >> (8 * at) & FOUR)
}

fn window(text: &[u8], at: usize) -> Option<u64> {
    if let Some(eight) = text.get(at..at + 8) {
        let all = u64::from_le_bytes(eight.try_into().ok()?);
        return Some(all & 0xffff_ffff_ffff);
    }
    let mut bytes = [0; 8];
    bytes[..WINDOW].copy_from_slice(text.get(at..at + WINDOW)?);
    Some(u64::from_le_bytes(bytes))
}

/// A set that may say yes without need, and never no: thirty bits and more for each member.
struct Filter {
    bits: Vec<u64>,
    shift: u32,
    members: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Self { bits: vec![0; 2048], shift: 64 - 17, members: 0 }
    }
}

impl Filter {
    fn place(&self, window: u64) -> (usize, u64) {
        let hash = window.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift;
        ((hash >> 6) as usize, 1 << (hash & 63))
    }

    fn add(&mut self, window: u64) {
        let (word, bit) = self.place(window);
        if let Some(bits) = self.bits.get_mut(word) {
            self.members += usize::from(*bits & bit == 0);
            *bits |= bit;
        }
    }

    fn may_have(&self, window: u64) -> bool {
        let (word, bit) = self.place(window);
        self.bits.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Makes room when a thirtieth of it is full: amortised, as a vector does it.
    fn grow<I: Iterator<Item = u64>>(&mut self, all: impl Fn() -> I) {
        if self.members * 32 <= self.bits.len() * 64 || self.shift <= 64 - 24 {
            return;
        }
        *self = Self { bits: vec![0; self.bits.len() * 4], shift: self.shift - 2, members: 0 };
        all().for_each(|window| self.add(window));
    }
}

/// Values that are no secret wherever they stand.
fn is_ordinary(value: &[u8]) -> bool {
    const WORDS: &[&[u8]] = &[
        b"password",
        b"passwd",
        b"secret",
        b"bearer",
        b"default",
        b"localhost",
        b"undefined",
        b"github",
        b"changeme",
        b"string",
        b"number",
        b"boolean",
        b"object",
        b"example",
        b"public",
        b"private",
        b"session",
        b"application/json",
        b"required",
        b"optional",
        b"redacted",
    ];
    WORDS.iter().any(|word| value.eq_ignore_ascii_case(word))
        || value.iter().all(|b| matches!(b, b'*' | b'x' | b'X' | b'.' | b' ' | b'-' | b'_' | b'='))
        || value.iter().all(|b| b.is_ascii_digit()) && value.len() < 8
        || value.iter().filter(|b| b.is_ascii_whitespace()).count() * 3 > value.len()
}

/// Whether six bytes of a value would be met in no ordinary text.
fn is_telling(piece: &[u8], around: &[u8]) -> bool {
    if piece.iter().filter(|b| b.is_ascii_whitespace()).count() > 1 {
        return false;
    }
    let letters = piece.iter().filter(|b| b.is_ascii_alphabetic()).count();
    let digits = piece.iter().filter(|b| b.is_ascii_digit()).count();
    let odd = piece.len() - letters - digits;
    letters + odd > 0 && (letters > 0 || odd > 2) && random::score(around) < -6 && digits < WINDOW
}

/// A value raw, JSON-escaped, percent- and form-encoded, in hex, and in base64 at each of its
/// three alignments and in both alphabets.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut out = vec![value.to_vec()];
    let text = String::from_utf8_lossy(value);
    if let Ok(json) = serde_json::to_string(&text) {
        let inner = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
        out.push(inner.replace('/', "\\/").into_bytes());
        out.push(inner.as_bytes().to_vec());
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
    out.retain(|form| form.len() >= SHORTEST);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn found(taint: &Taint, text: &str) -> Vec<String> {
        let mut spans = vec![];
        taint.find(text.as_bytes(), &mut spans);
        spans.iter().map(|s| String::from_utf8_lossy(s.of(text.as_bytes())).into_owned()).collect()
    }

    #[test]
    fn a_value_is_found_whole_and_in_pieces() {
        let mut taint = Taint::default();
        taint.learn(b"zQ7vT2mXpLx9WkRb4", "password");
        assert_eq!(found(&taint, "a zQ7vT2mXpLx9WkRb4 b"), ["zQ7vT2mXpLx9WkRb4"]);
        assert_eq!(found(&taint, "a vT2mXpLx9 b"), ["vT2mXpLx9"]);
        assert_eq!(found(&taint, "zQ7vT2mX"), ["zQ7vT2mX"]);
        assert!(found(&taint, "ordinary text, and a zQ7vT2 too short to tell").is_empty());
    }

    #[test]
    fn the_words_of_a_passphrase_are_not_secrets() {
        let mut taint = Taint::default();
        taint.learn(b"correct horse battery staple", "password");
        assert!(found(&taint, "the battery of the horse is correct").is_empty());
        assert_eq!(found(&taint, "it is correct horse battery staple").len(), 1);
        assert_eq!(found(&taint, "cut: correct horse bat").len(), 1, "the text's end cuts it");
    }

    #[test]
    fn thousands_of_values_are_learnt_and_found() {
        let mut taint = Taint::default();
        for n in 0..6000u32 {
            let value = format!("s3cr-{:08x}-Zz{n}", n.wrapping_mul(0x9e37_79b9));
            taint.learn(value.as_bytes(), "secret");
            assert!(found(&taint, "an ordinary line between two secrets").is_empty());
        }
        assert_eq!(taint.left_out, 6000 - VALUES as u64);
        let last = format!("s3cr-{:08x}-Zz7", 7u32.wrapping_mul(0x9e37_79b9));
        assert_eq!(found(&taint, &last), [last.as_str()]);
    }

    #[test]
    fn values_that_begin_alike_are_compared_a_bounded_number_of_times() {
        let mut taint = Taint::default();
        for n in 0..2000 {
            taint.learn(format!("aaaaaaaaaaaaaaaaaaaa{n}").as_bytes(), "secret");
        }
        found(&taint, &"a".repeat(1 << 18));
    }
}

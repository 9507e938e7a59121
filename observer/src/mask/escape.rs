//! A text with its escapes undone, and where each byte of it stood: percent, `\uXXXX`, `\xXX`,
//! octal and character escapes, HTML's entities. NULs fall out, so that UTF-16 reads as ASCII.

use memchr::{memchr, memchr3_iter};

use super::bits::{self, BLOCK};

/// The longest text that is looked at through its escapes in one piece.
const LONGEST: usize = u32::MAX as usize;

/// A text without its escapes.
pub(super) struct View {
    pub(super) text: Vec<u8>,
    /// Where something was undone: from that place of the view on, what stands there stands so much
    /// further on in the source.
    places: Vec<(u32, u32)>,
    /// How long the source is.
    source: usize,
}

impl View {
    /// The stretch of the source that a stretch of the view came from.
    pub(super) fn source(&self, start: usize, end: usize) -> (usize, usize) {
        (self.place(start), self.place(end))
    }

    fn place(&self, at: usize) -> usize {
        let after = self.places.partition_point(|&(view, _)| view as usize <= at);
        let moved = after.checked_sub(1).and_then(|i| self.places.get(i));
        (at + moved.map_or(0, |&(_, by)| by as usize)).min(self.source)
    }
}

/// A view that is being made. It is never longer than its source, for which there is room from the
/// beginning: most of what stands between two escapes is moved as one chunk of known size.
struct Undone {
    text: Vec<u8>,
    len: usize,
    places: Vec<(u32, u32)>,
}

impl Undone {
    /// Adds a stretch of the source.
    #[inline]
    fn copy(&mut self, source: &[u8], start: usize, end: usize) {
        const CHUNK: usize = 16;
        let (at, len) = (self.len, end - start);
        let to = self.text.get_mut(at..).and_then(|room| room.first_chunk_mut::<CHUNK>());
        let from = source.get(start..).and_then(|rest| rest.first_chunk::<CHUNK>());
        match (to, from) {
            (Some(to), Some(from)) if len <= CHUNK => *to = *from,
            _ => self.text[at..at + len].copy_from_slice(&source[start..end]),
        }
        self.len += len;
    }

    #[inline]
    fn push(&mut self, b: u8) {
        self.text[self.len] = b;
        self.len += 1;
    }

    /// Adds what an escape at `place` of the source stands for.
    fn put(&mut self, unit: Unit, place: usize) {
        match unit {
            Unit::Byte(b) => self.push(b),
            Unit::Char(c) => {
                for (n, &b) in c.encode_utf8(&mut [0; 4]).as_bytes().iter().enumerate() {
                    // Each byte of a character stands where its escape begins.
                    if n > 0 {
                        self.goes_on(place);
                    }
                    self.push(b);
                }
            }
        }
    }

    /// What is added next stands at `place` of the source.
    fn goes_on(&mut self, place: usize) {
        self.places.push((self.len as u32, place.saturating_sub(self.len) as u32));
    }
}

/// Whether there is anything to undo.
pub(super) fn has_any(text: &[u8]) -> bool {
    memchr3_iter(b'%', b'\\', b'&', text).any(|at| one(text, at).is_some())
        || memchr(0, text).is_some()
}

/// Undoes one level of escapes; none where there are none.
pub(super) fn undo(text: &[u8]) -> Option<View> {
    if text.len() >= LONGEST || !has_any(text) {
        return None;
    }
    let mut view = Undone { text: vec![0; text.len()], len: 0, places: vec![] };
    let mut copied = 0;
    let is_sign = |b: u8| (b == b'\\') | (b == b'%') | (b == b'&') | (b == 0);
    for base in (0..text.len()).step_by(BLOCK) {
        let signs = bits::of(&bits::block(text, base), is_sign) & bits::upto(text.len() - base);
        for at in bits::places(signs).map(|place| base + place) {
            // What belongs to an escape begins none.
            if at < copied {
                continue;
            }
            let (unit, len) = match text[at..] {
                // The commonest, without asking.
                [b'\\', quoted, ..] if QUOTED[usize::from(quoted)] => (Some(Unit::Byte(quoted)), 2),
                [0, ..] => (None, 1),
                _ => match one(text, at) {
                    Some((unit, len)) => (Some(unit), len),
                    None => continue,
                },
            };
            view.copy(text, copied, at);
            unit.into_iter().for_each(|unit| view.put(unit, at));
            copied = at + len;
            view.goes_on(copied);
        }
    }
    view.copy(text, copied, text.len());
    view.text.truncate(view.len);
    Some(View { text: view.text, places: view.places, source: text.len() })
}

/// What stands for itself behind a backslash.
const QUOTED: [bool; 256] = {
    let (mut out, mut at) = ([false; 256], 0);
    let signs = b"\"'\\/`$ &=:@";
    while at < signs.len() {
        out[signs[at] as usize] = true;
        at += 1;
    }
    out
};

enum Unit {
    Byte(u8),
    Char(char),
}

/// The escape that begins at `at`: what it means and how long it is.
fn one(text: &[u8], at: usize) -> Option<(Unit, usize)> {
    let rest = text.get(at..)?;
    match rest.first()? {
        b'%' => hex(rest.get(1..3)?).map(|n| (Unit::Byte(n as u8), 3)),
        b'\\' => backslash(rest),
        b'&' => entity(rest),
        _ => None,
    }
}

fn backslash(rest: &[u8]) -> Option<(Unit, usize)> {
    let byte = |b: u8| Some((Unit::Byte(b), 2));
    match *rest.get(1)? {
        b'n' => byte(b'\n'),
        b'r' => byte(b'\r'),
        b't' => byte(b'\t'),
        b'b' => byte(8),
        b'f' => byte(12),
        b'a' => byte(7),
        b'e' => byte(27),
        quoted if QUOTED[usize::from(quoted)] => byte(quoted),
        b'x' | b'X' => hex(rest.get(2..4)?).map(|n| (Unit::Byte(n as u8), 4)),
        b'u' => unicode(rest),
        b'U' => {
            let c = char::from_u32(hex(rest.get(2..10)?)?)?;
            Some((Unit::Char(c), 10))
        }
        b'0'..=b'3' => {
            let digits = rest.get(1..4)?;
            let octal = digits.iter().all(|d| matches!(d, b'0'..=b'7'));
            let n = digits.iter().fold(0u32, |n, d| n * 8 + u32::from(d & 7));
            octal.then_some((Unit::Byte(n as u8), 4))
        }
        _ => None,
    }
}

fn unicode(rest: &[u8]) -> Option<(Unit, usize)> {
    if rest.get(2) == Some(&b'{') {
        let len = rest.iter().skip(3).take(7).position(|&b| b == b'}')?;
        let c = char::from_u32(hex(rest.get(3..3 + len)?)?)?;
        return Some((Unit::Char(c), len + 4));
    }
    let first = hex(rest.get(2..6)?)?;
    if let Some(c) = char::from_u32(first) {
        return Some((Unit::Char(c), 6));
    }
    // Half of a pair.
    let low = rest.get(6..8).filter(|pair| *pair == b"\\u").and_then(|_| hex(rest.get(8..12)?))?;
    let both = 0x1_0000 + ((first & 0x3ff) << 10) + (low & 0x3ff);
    let pair = (0xd800..0xdc00).contains(&first) && (0xdc00..0xe000).contains(&low);
    char::from_u32(both).filter(|_| pair).map(|c| (Unit::Char(c), 12))
}

fn entity(rest: &[u8]) -> Option<(Unit, usize)> {
    const NAMED: &[(&[u8], u8)] = &[
        (b"&amp;", b'&'),
        (b"&lt;", b'<'),
        (b"&gt;", b'>'),
        (b"&quot;", b'"'),
        (b"&apos;", b'\''),
    ];
    if rest.get(1) != Some(&b'#') {
        let (name, b) = NAMED.iter().find(|(name, _)| rest.starts_with(name))?;
        return Some((Unit::Byte(*b), name.len()));
    }
    let len = rest.iter().take(12).position(|&b| b == b';')?;
    let digits = rest.get(2..len)?;
    let n = match digits {
        [b'x' | b'X', digits @ ..] => hex(digits)?,
        _ if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) => return None,
        _ => {
            digits.iter().fold(0u32, |n, d| n.saturating_mul(10).saturating_add(u32::from(d & 15)))
        }
    };
    char::from_u32(n).map(|c| (Unit::Char(c), len + 1))
}

fn hex(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    digits.iter().try_fold(0u32, |n, &d| Some(n << 4 | char::from(d).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn undone(text: &str) -> String {
        undo(text.as_bytes()).map_or_else(
            || "(nothing)".to_owned(),
            |view| String::from_utf8_lossy(&view.text).into_owned(),
        )
    }

    #[test]
    fn each_escape_is_undone_once() {
        for (text, plain) in [
            ("a%41b", "aAb"),
            ("%2541", "%41"),
            (r"\u0041\n", "A\n"),
            (r"\ud83d\ude00", "😀"),
            (r"\u{41}b", "Ab"),
            (r"\x41\101", "AA"),
            (r#"\"a\""#, "\"a\""),
            ("&#65;&#x42;&amp;", "AB&"),
            ("100% & more", "(nothing)"),
            (r"\ud83d", "(nothing)"),
            ("&#;&#xzz;%4", "(nothing)"),
        ] {
            assert_eq!(undone(text), plain, "{text}");
        }
        assert_eq!(undo(b"g\0h\0").map(|view| view.text), Some(b"gh".to_vec()));
    }

    #[test]
    fn places_lead_back_to_the_source() {
        let text = b"k=%41%42&x";
        let view = undo(text).unwrap();
        assert_eq!(view.text, b"k=AB&x");
        let (start, end) = view.source(2, 4);
        assert_eq!(&text[start..end], b"%41%42");
        assert_eq!(view.source(0, 6), (0, text.len()));
    }

    /// The same, byte by byte.
    fn undone_byte_by_byte(text: &[u8]) -> (Vec<u8>, Vec<usize>) {
        let (mut out, mut places, mut at) = (vec![], vec![], 0);
        while at < text.len() {
            let (unit, len) = match one(text, at) {
                Some((unit, len)) => (Some(unit), len),
                None if text[at] == 0 => (None, 1),
                None => (Some(Unit::Byte(text[at])), 1),
            };
            match unit {
                Some(Unit::Byte(b)) => out.push(b),
                Some(Unit::Char(c)) => out.extend(c.encode_utf8(&mut [0; 4]).bytes()),
                None => {}
            }
            // No byte stands before as many bytes of the source as there are of the view.
            places.extend((places.len()..out.len()).map(|view| at.max(view)));
            at += len;
        }
        (out, places)
    }

    proptest! {
        #[test]
        fn whole_chunks_are_undone_as_bytes_are(
            text in "([a-z ]{0,40}|%[0-4][0-9a-f]|\\\\[\"nxu\\\\0-3]|\\\\u00e9|&(amp|#65|#x1f600|lt);|\\x00){0,30}",
        ) {
            let (plain, places) = undone_byte_by_byte(text.as_bytes());
            let view = undo(text.as_bytes());
            prop_assert_eq!(view.is_some(), plain != text.as_bytes());
            if let Some(view) = view {
                prop_assert_eq!(&view.text, &plain);
                let found: Vec<_> = (0..plain.len()).map(|at| view.place(at)).collect();
                prop_assert_eq!(found, places);
            }
        }
    }
}

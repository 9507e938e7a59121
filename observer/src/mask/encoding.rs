//! Words that are an encoding of text: base64 in both alphabets and at any alignment, over line
//! breaks too, hex, base32. One pass finds where decoding would give text; only that is decoded.

use data_encoding::{BASE32_NOPAD, HEXLOWER_PERMISSIVE};

use super::bits::{self, BLOCK, Both, within};

/// Fewer bytes of text than this hide nothing that is worth the look.
const SHORTEST: usize = 12;
/// Longer words are looked into up to here; what is beyond is judged by its own beginning.
const LONGEST: usize = 1 << 20;
/// A last word is looked at from this length on, the others are longer.
pub(super) const TAIL: usize = 10;
/// Shorter words are not looked into as base32.
const SHORTEST32: usize = 20;
/// Eleven digits two apart are so long.
const HEX: usize = 21;
/// Lines of base64 have at least so many digits.
const LINE: usize = 40;
/// Between two stretches of text so many digits may be of something else.
const GAP: usize = 32;

/// A word that is text in another form.
pub(super) struct Word {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) text: Vec<u8>,
}

/// Adds a word of digits, of at least `TAIL`, if it decodes to text. A word of base64 goes on over line
/// breaks beyond its end; where it ends then.
pub(super) fn run(text: &[u8], start: usize, end: usize, out: &mut Vec<Word>) -> usize {
    let mut reached = end;
    if end - start >= SHORTEST {
        let found = look(&text[start..end]);
        reached = word(text, start, end, found, out);
    }
    if end == text.len() {
        tail(text, start, out);
    }
    reached
}

/// The text's last word, which a cut may have left short: a few bytes of text are enough there.
fn tail(text: &[u8], at: usize, out: &mut Vec<Word>) {
    let word = &text[at..];
    if !(TAIL..TAIL * 5).contains(&word.len()) {
        return;
    }
    let mut add = |decoded: Vec<u8>| {
        let plain = decoded.iter().take_while(|b| (b' '..=b'~').contains(b)).count();
        // The last byte may be half of one.
        if plain >= 7 && plain + 1 >= decoded.len() {
            out.push(Word { start: at, end: text.len(), text: decoded[..plain].to_vec() });
        }
    };
    for digits in (0..4).filter_map(|phase| word.get(phase..)) {
        let (first, _) = four(digits);
        if first.iter().all(|b| (b' '..=b'~').contains(b)) {
            add(base64(digits));
        }
    }
    if word.iter().all(u8::is_ascii_hexdigit) {
        let whole = &word[..word.len() & !1];
        HEXLOWER_PERMISSIVE.decode(whole).into_iter().for_each(add);
    }
}

/// Whether a word may be base32 in either case.
pub(super) fn may_be_base32(word: &[u8]) -> bool {
    word.len() >= SHORTEST32
        && word.iter().all(|b| b.is_ascii_alphabetic() || (b'2'..=b'7').contains(b))
}

fn digits(text: &[u8], at: usize, to: usize) -> usize {
    text.get(at..to).map_or(0, |rest| rest.iter().take_while(|&&b| is_digit(b)).count())
}

fn word(text: &[u8], start: usize, end: usize, found: Look, out: &mut Vec<Word>) -> usize {
    let whole = &text[start..end];
    if found.hex {
        hex(whole, start, out);
    }
    if found.base32 {
        for phase in 0..8.min(whole.len()) {
            let digits = &whole[phase..];
            // Lengths of 1, 3 and 6 beyond eights are no whole bytes.
            let cut = match digits.len() % 8 {
                1 | 3 | 6 => digits.len() - 1,
                _ => digits.len(),
            };
            add(lax32(&digits[..cut]), start, end, out);
        }
    }
    if found.wide {
        add(Some(base64(whole)), start, end, out);
    }
    if found.regions.is_empty() {
        return end;
    }
    let after = joined(text, start, end, out);
    if after > end {
        return after;
    }
    for (from, to) in found.regions {
        // Its neighbours at both sides may share a byte with it, and so does what pads it.
        let from = if from >= 4 { from - 4 } else { from };
        let to = if to + 8 >= whole.len() { whole.len() } else { to + 4 };
        let padding = usize::from(to == whole.len())
            * text[end..].iter().take(2).take_while(|&&b| b == b'=').count();
        add(Some(base64(&whole[from..to])), start + from, start + to + padding, out);
    }
    end
}

/// The runs of hex digits in a word, at both alignments.
fn hex(word: &[u8], start: usize, out: &mut Vec<Word>) {
    let mut at = 0;
    while at < word.len() {
        let len = word[at..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
        if len >= SHORTEST * 2 {
            for phase in 0..2 {
                let digits = &word[at + phase..at + len];
                let whole = &digits[..digits.len() & !1];
                add(HEXLOWER_PERMISSIVE.decode(whole).ok(), start + at, start + at + len, out);
            }
        }
        at += len.max(1);
    }
}

/// Base32 that need not end on a boundary.
fn lax32(digits: &[u8]) -> Option<Vec<u8>> {
    let whole = &digits[..digits.len() - digits.len() % 8];
    let mut out = BASE32_NOPAD.decode(whole).ok()?;
    if let Some(tail) = digits.get(whole.len()..)
        && let Ok(more) = BASE32_NOPAD.decode(tail)
    {
        out.extend(more);
    }
    Some(out)
}

/// Keeps what has text in it.
fn add(decoded: Option<Vec<u8>>, start: usize, end: usize, out: &mut Vec<Word>) {
    let Some(mut text) = decoded else { return };
    if has_text(&text) {
        out.push(Word { start, end, text });
        return;
    }
    // UTF-16: what PowerShell's `-EncodedCommand` takes.
    if text.iter().filter(|&&b| b == 0).count() * 5 >= text.len() * 2 {
        text.retain(|&b| b != 0);
        if has_text(&text) {
            out.push(Word { start, end, text });
        }
    }
}

fn has_text(bytes: &[u8]) -> bool {
    let mut run = 0;
    bytes.iter().any(|&b| {
        run = if matches!(b, b' '..=b'~' | b'\t' | b'\n' | b'\r') { run + 1 } else { 0 };
        run >= SHORTEST
    })
}

/// A word of base64 that goes on over line breaks, as one; where it ends.
fn joined(text: &[u8], start: usize, end: usize, out: &mut Vec<Word>) -> usize {
    let next_line = |end: usize| {
        let next = match text.get(end..) {
            Some([b'\r', b'\n', ..]) => end + 2,
            Some([b'\n', ..]) => end + 1,
            Some([b'\\', b'n', ..]) => end + 2,
            _ => return None,
        };
        let len = digits(text, next, text.len());
        (len > 0).then_some((next, len))
    };
    if end - start < LINE || next_line(end).is_none() {
        return end;
    }
    let mut digits = text[start..end].to_vec();
    let mut end = end;
    while let Some((next, len)) = next_line(end).filter(|_| digits.len() < LONGEST) {
        digits.extend_from_slice(&text[next..next + len]);
        end = next + len;
    }
    end += text[end..].iter().take(2).take_while(|&&b| b == b'=').count();
    for phase in 0..4 {
        if let Some(digits) = digits.get(phase..) {
            add(Some(base64(digits)), start, end, out);
        }
    }
    end
}

fn base64(digits: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 3);
    for digits in digits.chunks(4) {
        let (bytes, len) = four(digits);
        out.extend_from_slice(&bytes[..len]);
    }
    out
}

/// What the first four digits stand for, and how many bytes that are.
fn four(digits: &[u8]) -> ([u8; 3], usize) {
    let mut bits = 0u32;
    for i in 0..4 {
        bits = bits << 6 | u32::from(digits.get(i).map_or(0, |&b| digit(b) & 63));
    }
    let [_, first, second, third] = bits.to_be_bytes();
    ([first, second, third], digits.len().min(4).saturating_sub(1))
}

/// What a word may be.
struct Look {
    /// Where base64 would give text: stretches of digits, each from an aligned one.
    regions: Vec<(usize, usize)>,
    /// Base64 with so many zeros that it may be UTF-16.
    wide: bool,
    hex: bool,
    base32: bool,
}

/// What a word of digits may be. Most are short and no text.
fn look(word: &[u8]) -> Look {
    let text = word.len() > BLOCK || may_be_text(word);
    Look {
        regions: if text { regions(word) } else { vec![] },
        wide: word.len() >= 24 && zeros(word) * 6 > word.len(),
        hex: word.len() >= HEX && may_be_hex(word),
        base32: word.len() >= SHORTEST32
            && word.iter().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7')),
    }
}

/// Where twelve bytes of ASCII in a row would come out of a word, at any alignment. A byte of ASCII has
/// its highest bit clear, and text is no control character: of four digits of base64 the first is `I`
/// to `f`, the second has its bit 3 clear, the third its bit 1.
fn regions(word: &[u8]) -> Vec<(usize, usize)> {
    let [mut first, mut second, mut groups] = [Both::default(); 3];
    let mut regions: Vec<(usize, usize)> = vec![];
    for base in (0..word.len()).step_by(BLOCK) {
        let values = bits::block(word, base).map(value);
        first.next(bits::of(&values, |d| within(d, 8, 31)));
        second.next(bits::of(&values, |d| d & 8 == 0));
        let third = bits::of(&values, |d| d & 2 == 0);
        groups.next(third & second.before(1) & first.before(2));
        // Four groups in a row: their third digits stand four apart.
        let text = groups.here() & groups.before(4) & groups.before(8) & groups.before(12);
        for at in bits::places(text).map(|place| base + place) {
            // The last group ends with the next digit.
            let (from, to) = (at.saturating_sub(14), at + 2);
            // The alignments are apart: a stretch goes on only where it began.
            let same = |r: &&mut (usize, usize)| r.0 % 4 == from % 4 && from <= r.1 + GAP;
            match regions.iter_mut().rev().take(4).find(same) {
                Some(region) => region.1 = to,
                None => regions.push((from, to)),
            }
        }
    }
    // The digit after the last one may be none.
    regions.iter_mut().for_each(|region| region.1 = region.1.min(word.len()));
    regions
}

/// Whether digits that begin a byte of text in hex are in a word, eleven of them two apart.
fn may_be_hex(word: &[u8]) -> bool {
    let mut sixteen = Both::default();
    (0..word.len()).step_by(BLOCK).any(|base| {
        sixteen.next(bits::of(&bits::block(word, base), |b| within(b, b'2', b'7')));
        (1..11).fold(sixteen.here(), |row, n| row & sixteen.before(2 * n)) != 0
    })
}

/// How many digits of a word are zero.
fn zeros(word: &[u8]) -> usize {
    let few = |few: &[u8]| few.iter().fold(0u8, |n, &b| n + u8::from(b == b'A'));
    word.chunks(BLOCK).map(|chunk| usize::from(few(chunk))).sum()
}

/// Whether a word that is no longer than a block has first digits of four groups in a row.
fn may_be_text(word: &[u8]) -> bool {
    let first = bits::of(&bits::block(word, 0), |b| within(b, b'I', b'Z') | within(b, b'a', b'f'));
    first & first << 4 & first << 8 & first << 12 != 0
}

/// The value of a digit, without a branch; for what is none, one that no text has.
#[inline(always)]
fn value(b: u8) -> u8 {
    let value = if within(b, b'A', b'Z') { b.wrapping_sub(b'A') } else { 63 };
    let value = if within(b, b'a', b'z') { b.wrapping_sub(b'a' - 26) } else { value };
    if within(b, b'0', b'9') { b.wrapping_add(52 - b'0') } else { value }
}

/// Whether a byte is a digit in either alphabet of base64.
#[inline(always)]
pub(super) fn is_digit(b: u8) -> bool {
    within(b | 0x20, b'a', b'z')
        // `/` stands before the digits.
        | within(b, b'/', b'9')
        | (b == b'+')
        | (b == b'-')
        | (b == b'_')
}

/// The value of a digit of base64 in either alphabet; 255 for what is none.
const fn digit(b: u8) -> u8 {
    match b {
        b'A'..=b'Z' => b - b'A',
        b'a'..=b'z' => b - b'a' + 26,
        b'0'..=b'9' => b - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => 255,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The digit of a group of base64 at `at`, in the middle of text.
    fn is_text(word: &[u8], at: usize) -> bool {
        let [first, second, third] = [0, 1, 2].map(|n| digit(word[at + n]));
        (8..32).contains(&first) && second & 8 == 0 && third & 2 == 0
    }

    proptest! {
        #[test]
        fn a_word_is_looked_into_where_its_digits_are_of_text(
            pieces in prop::collection::vec("[a-zA-Z0-9+/_-]{0,20}|[I-Za-f]{0,30}|([2-7][0-9a-f]){0,13}|A{0,9}", 0..12),
            text in "[ -~]{0,60}",
            at in any::<prop::sample::Index>(),
        ) {
            let mut pieces = pieces;
            let at = at.index(pieces.len() + 1);
            pieces.insert(at, data_encoding::BASE64_NOPAD.encode(text.as_bytes()));
            let word = pieces.concat().into_bytes();
            let found = look(&word);
            // Four groups in a row are in a stretch from the first of them on.
            for at in (0..word.len().saturating_sub(14)).filter(|at| (0..4).all(|n| is_text(&word, at + 4 * n))) {
                let covers = |&(from, to): &(usize, usize)| from <= at && from % 4 == at % 4 && to >= word.len().min(at + 16);
                prop_assert!(found.regions.iter().any(covers), "{at} {:?}", found.regions);
            }
            for &(from, _) in &found.regions {
                prop_assert!((0..4).all(|n| is_text(&word, from + 4 * n)));
            }
            let digits = |from: usize| (0..11).all(|n| matches!(word.get(from + 2 * n), Some(b'2'..=b'7')));
            prop_assert_eq!(found.hex, (0..word.len()).any(digits));
            let zeros = word.iter().filter(|&&b| b == b'A').count();
            prop_assert_eq!(found.wide, word.len() >= 24 && zeros * 6 > word.len());
        }
    }

    #[test]
    fn each_byte_has_its_value_as_a_digit() {
        for b in 0..=255u8 {
            assert_eq!(is_digit(b), digit(b) < 64, "{b}");
            // Of those that stand for no letter and no digit, the bits that no text has.
            let known = if digit(b) < 62 { digit(b) } else { 63 };
            assert_eq!(value(b), known, "{b}");
        }
    }
}

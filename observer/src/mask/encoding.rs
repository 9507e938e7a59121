//! Words that are an encoding of text: base64 in both alphabets and at any alignment, over line
//! breaks too, hex, base32. One pass finds where decoding would give text; only that is decoded.

use data_encoding::{BASE32_NOPAD, HEXLOWER_PERMISSIVE};

/// Fewer bytes of text than this hide nothing that is worth the look.
const SHORTEST: usize = 12;
/// Longer words are looked into up to here; what is beyond is judged by its own beginning.
const LONGEST: usize = 1 << 20;
/// A last word is looked at from this length on.
const TAIL: usize = 10;
/// Shorter words are not looked into as base32.
const SHORTEST32: usize = 20;
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

/// Adds each word within `from..to` that decodes to text. `from..to` is a stretch without
/// white space; a word of base64 goes on over line breaks beyond it. The end of the last word.
pub(super) fn words(text: &[u8], from: usize, to: usize, out: &mut Vec<Word>) -> usize {
    let mut at = from;
    let mut reached = to;
    while at < to {
        let (len, found) = look(&text[at..to]);
        if len >= SHORTEST {
            reached = reached.max(word(text, at, at + len, found, out));
        }
        if at + len == text.len() {
            tail(text, at, out);
        }
        at += len.max(1);
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

fn run(text: &[u8], at: usize, to: usize) -> usize {
    text.get(at..to).map_or(0, |rest| rest.iter().take_while(|&&b| DIGITS[usize::from(b)]).count())
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
        let len = run(text, next, text.len());
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

/// One pass over a word, which ends with its digits: how long it is, and where twelve bytes of ASCII in a row would come out of it, at any
/// alignment. A byte of ASCII has its highest bit clear, and text is no control character: of four
/// digits of base64 the first is `I` to `f`, the second has its bit 3 clear, the third its bit 1.
fn look(text: &[u8]) -> (usize, Look) {
    let mut lanes = 0u64;
    let mut hex = false;
    let mut regions: Vec<(usize, usize)> = vec![];
    let mut len = text.len();
    for (at, &b) in text.iter().enumerate() {
        let own = LANES[usize::from(b)];
        if own & NO_DIGIT != 0 {
            len = at;
            break;
        }
        // One shift for all of them; no bit goes on into the next lane.
        lanes = (lanes << 1) & !STARTS | own;
        hex |= lanes & SIXTEENS == SIXTEENS;
        if lanes & TEXT == TEXT {
            // Four groups, of which the last ends with the next digit.
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
    regions.iter_mut().for_each(|region| region.1 = region.1.min(len));
    let word = &text[..len];
    let found = Look {
        regions,
        wide: len >= 24 && word.iter().filter(|&&b| b == b'A').count() * 6 > len,
        hex,
        base32: len >= SHORTEST32 && word.iter().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7')),
    };
    (len, found)
}

/// Where the lanes of `look` begin: the last digits that may be a group's first, its second, its
/// third, and those of hex that begin a byte of text.
const FIRST: u32 = 0;
const SECOND: u32 = FIRST + 15;
const THIRD: u32 = SECOND + 14;
const SIXTEEN: u32 = THIRD + 13;
/// Beyond the lanes: what ends a word.
const NO_DIGIT: u64 = 1 << 63;
const STARTS: u64 = 1 << FIRST | 1 << SECOND | 1 << THIRD | 1 << SIXTEEN;
/// Four groups in a row: their third digits end here, their second a digit before, and so on.
const TEXT: u64 = 0x1111 << (FIRST + 2) | 0x1111 << (SECOND + 1) | 0x1111 << THIRD;
/// Eleven bytes of hex in a row, and as many as there is room for.
const SIXTEENS: u64 = 0x15_5555 << SIXTEEN;

const LANES: [u64; 256] = lanes();

const fn lanes() -> [u64; 256] {
    let mut out = [0; 256];
    let mut b = 0usize;
    while b < 256 {
        let c = b as u8;
        let d = digit(c);
        if d < 64 {
            out[b] |= ((d >= 8 && d < 32) as u64) << FIRST;
            out[b] |= ((d & 8 == 0) as u64) << SECOND;
            out[b] |= ((d & 2 == 0) as u64) << THIRD;
        } else {
            out[b] |= NO_DIGIT;
        }
        out[b] |= (matches!(c, b'2'..=b'7') as u64) << SIXTEEN;
        b += 1;
    }
    out
}

/// The digits of either alphabet of base64.
const DIGITS: [bool; 256] = {
    let mut out = [false; 256];
    let mut b = 0usize;
    while b < 256 {
        out[b] = digit(b as u8) < 64;
        b += 1;
    }
    out
};

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

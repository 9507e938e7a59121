//! Words that may be an encoding of something else, and what they decode to.

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};

/// Shorter words hide no token worth the look.
const SHORTEST: usize = 16;
/// Longer ones are looked into up to here.
const LONGEST: usize = 64 * 1024;

/// Each word of the text that decodes, with its place: base64 in both alphabets, hex, percent.
pub(super) fn words(text: &[u8]) -> Vec<(usize, usize, Vec<u8>)> {
    let mut out = vec![];
    let mut start = 0;
    while start < text.len() {
        let len = text[start..].iter().take_while(|&&b| is_word(b)).count();
        if len >= SHORTEST {
            let word = &text[start..start + len.min(LONGEST)];
            if let Some(decoded) = decode(word) {
                out.push((start, start + len, decoded));
            }
        }
        start += len.max(1);
    }
    out
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_' | b'=' | b'%' | b'.')
}

fn decode(word: &[u8]) -> Option<Vec<u8>> {
    if word.contains(&b'%') {
        return percent(word);
    }
    // A key may stand before it: `X=base64`.
    let word = match word.iter().position(|&b| b == b'=') {
        Some(at) if word[at..].iter().any(|&b| b != b'=') => &word[at + 1..],
        _ => word,
    };
    let end = word.iter().rposition(|&b| b != b'=').map_or(0, |at| at + 1);
    let word = &word[..end];
    if word.len() < SHORTEST {
        return None;
    }
    if word.len() % 2 == 0 && word.iter().all(u8::is_ascii_hexdigit) {
        return HEXLOWER_PERMISSIVE.decode(word).ok();
    }
    // A tail that does not fill its bytes is left off, not a reason to give up: it may be cut.
    let whole = &word[..word.len() - word.len() % 4];
    let url = word.iter().any(|b| matches!(b, b'-' | b'_'));
    let decoded = if url { BASE64URL_NOPAD.decode(whole) } else { BASE64_NOPAD.decode(whole) };
    let mut decoded = decoded.ok()?;
    let tail = &word[whole.len()..];
    if let Ok(more) = if url { BASE64URL_NOPAD.decode(tail) } else { BASE64_NOPAD.decode(tail) } {
        decoded.extend(more);
    }
    Some(decoded)
}

/// Percent-decodes; what is no escape stands for itself. None where there is no escape.
pub(super) fn percent(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut found = false;
    let mut at = 0;
    while let Some(&b) = text.get(at) {
        let escape = text.get(at + 1..at + 3).filter(|_| b == b'%');
        match escape.and_then(|hex| HEXLOWER_PERMISSIVE.decode(hex).ok()) {
            Some(byte) => {
                out.extend(byte);
                found = true;
                at += 3;
            }
            None => {
                out.push(b);
                at += 1;
            }
        }
    }
    found.then_some(out)
}

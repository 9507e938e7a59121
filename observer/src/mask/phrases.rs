//! Secrets that words around them tell, and not a key: PEM blocks, `Bearer X`, `password is X`,
//! netrc's and SQL's passwords. One search through the text
//! finds where any of them begins.

mod code;
pub(super) mod commands;
mod files;
mod hooks;
mod needles;
mod sql;

pub(super) use code::listed;

use data_encoding::BASE64_NOPAD;

use super::span::Span;
use super::{random, structure};
use needles::{Needle, Needles};

/// Looks for all of them; the stretches that are public though they look random.
pub(super) fn find(text: &[u8], spans: &mut Vec<Span>) -> Vec<(usize, usize)> {
    let needles = Needles::find(text);
    if needles.is_empty() {
        return vec![];
    }
    bearer(text, &needles, spans);
    basic(text, &needles, spans);
    digest(text, &needles, spans);
    told(text, &needles, spans);
    sql::find(text, &needles, spans);
    code::find(text, &needles, spans);
    files::find(text, &needles, spans);
    hooks::find(text, &needles, spans);
    putty(text, &needles, spans);
    pem(text, &needles, spans)
}

/// Private keys in PEM, from `BEGIN` to `END` or to the text's end; an `END` alone means that the
/// beginning was cut off. Certificates and public keys are told to the caller.
fn pem(text: &[u8], needles: &Needles, spans: &mut Vec<Span>) -> Vec<(usize, usize)> {
    const LABEL: usize = 64;
    let label = |at: usize| {
        let rest = text.get(at..(at + LABEL).min(text.len())).unwrap_or_default();
        let len = rest.windows(5).position(|five| five == b"-----").unwrap_or(rest.len());
        &rest[..len]
    };
    let mut public = vec![];
    let mut closed = 0;
    let mut at = 0;
    while let Some(begin) = needles.after(Needle::Begin, at) {
        let name = label(begin + 11);
        let end = needles.after(Needle::End, begin);
        let after = end.map_or(text.len(), |end| {
            let len = label(end + 9).len();
            (end + 9 + len + 5).min(text.len())
        });
        if is_private(name) {
            spans.push(Span::new(begin, after, "private-key"));
        } else {
            public.push((begin, after));
        }
        closed = after;
        at = after.max(begin + 11);
    }
    if let Some(end) = needles.after(Needle::End, closed)
        && is_private(label(end + 9))
    {
        let after = (end + 9 + label(end + 9).len() + 5).min(text.len());
        spans.push(Span::new(closed, after, "private-key"));
    }
    public
}

fn is_private(label: &[u8]) -> bool {
    // A label that is cut off may be a private key's.
    label.windows(7).any(|word| word == b"PRIVATE")
        || !label.ends_with(b"CERTIFICATE") && !label.ends_with(b"PUBLIC KEY") && label.len() < 7
}

/// PuTTY's key files have their secret after the public half.
fn putty(text: &[u8], needles: &Needles, spans: &mut Vec<Span>) {
    if let Some(&begin) = needles.of(Needle::Putty).first() {
        spans.push(Span::new(begin, text.len(), "private-key"));
    }
}

/// `Bearer X` outside of a header.
fn bearer(text: &[u8], needles: &Needles, spans: &mut Vec<Span>) {
    for &found in needles.of(Needle::Bearer) {
        let rest = &text[found + 5..];
        let gap = rest.iter().take_while(|&&b| matches!(b, b' ' | b'+' | b'\t')).count();
        let start = found + 5 + gap;
        let end = start + token(&text[start..]);
        let value = &text[start..end];
        if gap > 0 && value.len() >= 8 && (has_digit(value) || value.len() >= 20) {
            spans.push(Span::new(start, end, "bearer"));
        }
    }
}

/// `Basic dXNlcjpwYXNz`: what decodes to `user:password`.
fn basic(text: &[u8], needles: &Needles, spans: &mut Vec<Span>) {
    for &found in needles.of(Needle::Basic) {
        let start = found + 5;
        let end = start + token(&text[start..]);
        let digits = text[start..end].split(|&b| b == b'=').next().unwrap_or_default();
        let whole = &digits[..digits.len() - usize::from(digits.len() % 4 == 1)];
        let Ok(plain) = BASE64_NOPAD.decode(whole) else { continue };
        if let Some(colon) = plain.iter().position(|&b| b == b':')
            && plain.iter().all(|b| !b.is_ascii_control())
            && plain.len() > colon + 1
        {
            let mut span = Span::new(start, end, "basic");
            span.decoded = Some(plain[colon + 1..].to_vec());
            spans.push(span);
        }
    }
}

/// `response="X"` of a digest sign-in (RFC 7616), however often its quotes are escaped.
fn digest(text: &[u8], needles: &Needles, spans: &mut Vec<Span>) {
    for &found in needles.of(Needle::Digest) {
        let before = &text[found.saturating_sub(512)..found];
        if !before.windows(7).any(|w| w.eq_ignore_ascii_case(b"digest ")) {
            continue;
        }
        let rest = &text[found + 8..];
        let quote = rest.iter().take(8).take_while(|b| matches!(b, b'\\' | b'"')).count();
        let len = rest[quote..].iter().take(128).take_while(|b| b.is_ascii_hexdigit()).count();
        if len >= 32 {
            spans
                .push(Span::new(found + 8 + quote, found + 8 + quote + len, "secret").by("phrase"));
        }
    }
}

fn token(rest: &[u8]) -> usize {
    let is = |b: &&u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(b);
    rest.iter().take_while(is).count()
}

/// `password is X`, `PASSWORD 'X'`, `login u password X`, `identified by 'X'`.
fn told(text: &[u8], needles: &Needles, spans: &mut Vec<Span>) {
    for needle in [Needle::Password, Needle::PasswordUpper] {
        for &found in needles.of(needle) {
            let after = found + 7;
            let before = &text[found.saturating_sub(96)..found];
            let netrc = before.windows(6).any(|w| w.eq_ignore_ascii_case(b"login "))
                || before.windows(8).any(|w| w.eq_ignore_ascii_case(b"machine "));
            after_word(text, after, netrc, spans);
            made(text, after, spans);
            sent(text, after, spans);
        }
    }
    let before = spans.len();
    for &found in needles.of(Needle::Key).iter().filter(|&&at| at > 0) {
        // `using api key X`
        let before = &text[found.saturating_sub(16)..found];
        let word = before.trim_ascii_end().rsplit(|b| !b.is_ascii_alphabetic()).next();
        if matches!(before.last(), Some(b' ' | b'_' | b'-'))
            && word.is_some_and(|word| super::keys::is_secret(&[word, b"_key"].concat()))
        {
            after_word(text, found + 3, false, spans);
        }
    }
    for &found in needles.of(Needle::Token) {
        after_word(text, found + 4, false, spans);
    }
    // A kind of token says more.
    spans.iter_mut().skip(before).for_each(|span| span.sort = "secret");
    for &found in needles.of(Needle::Is) {
        // `the API key is X`: the two words before it are the key.
        let before = &text[found.saturating_sub(32)..found];
        let last = before.rsplit(|&b| b == b' ').next().unwrap_or_default();
        let Some(space) = before.len().checked_sub(last.len() + 1) else { continue };
        let first = before[..space].rsplit(|&b| b == b' ').next().unwrap_or_default();
        let pair = &before[space - first.len()..];
        if super::keys::is_secret(last) || super::keys::is_secret(pair) {
            after_word(text, found + 3, false, spans);
        }
    }
}

/// `A temporary password is generated for root@localhost: X`: what a program made and shows once.
fn made(text: &[u8], at: usize, spans: &mut Vec<Span>) {
    let rest = text.get(at..).unwrap_or_default();
    let rest = rest.get(..96).unwrap_or(rest);
    let around = &text[at.saturating_sub(28)..at];
    let says = |word: &[u8]| {
        rest.windows(word.len()).any(|w| w == word) || around.windows(word.len()).any(|w| w == word)
    };
    let Some(sign) = rest.windows(2).position(|w| w[0] == b':' && w[1].is_ascii_whitespace())
    else {
        return;
    };
    let words = |b: &u8| b.is_ascii_alphanumeric() || b" @._-[]'".contains(b);
    if sign < 4
        || !rest[..sign].iter().all(words)
        || !["generated", "temporary", "following", "initial"].iter().any(|w| says(w.as_bytes()))
    {
        return;
    }
    let from = at + sign + 1;
    let gap = text[from..].iter().take(8).take_while(|b| b.is_ascii_whitespace()).count();
    let len = text[from + gap..].iter().take_while(|b| !b.is_ascii_whitespace()).count();
    let value = &text[from + gap..from + gap + len];
    let ends = text.get(from + gap + len).is_none_or(|b| matches!(b, b'\n' | b'\r'));
    if ends && len >= 8 && has_digit(value) && structure::is_a_value(value) {
        spans.push(Span::new(from + gap, from + gap + len, "password").by("phrase"));
    }
}

/// `expect "assword:"; send "X\r"`, `expect('password:'); sendline('X')`: what is said when a program
/// asks for it.
fn sent(text: &[u8], at: usize, spans: &mut Vec<Span>) {
    const NEAR: usize = 64;
    const LONGEST: usize = 256;
    let rest = text.get(at..).unwrap_or_default();
    let near = rest.get(..NEAR).unwrap_or(rest);
    let Some(found) = memchr::memmem::find(near, b"send") else { return };
    // No other words lie between than what a pattern's end, a branch and an object are made of.
    let mut words = near[..found].split(|b| !b.is_ascii_alphanumeric());
    let known = |word: &[u8]| word.len() <= 1 || matches!(word, b"re" | b"child" | b"proc");
    if !words.all(known) {
        return;
    }
    let word = |b: &&u8| b.is_ascii_alphabetic() || **b == b'_';
    let mut from = at + found;
    from += text[from..].iter().take(16).take_while(word).count();
    let gap = |b: &&u8| matches!(**b, b' ' | b'-' | b'(' | b'\\' | b'\n' | b'b');
    from += text[from..].iter().take(16).take_while(gap).count();
    if !matches!(text.get(from), Some(b'\'' | b'"' | b'{')) {
        return;
    }
    let ends = |b: &u8| matches!(b, b'\'' | b'"' | b'}' | b'\\' | b'\r' | b'\n');
    let rest = &text[from + 1..];
    let len = rest.iter().take(LONGEST + 1).take_while(|b| !ends(b)).count();
    let value = &rest[..len];
    if (4..=LONGEST).contains(&len) && !value.starts_with(b"$") && structure::is_a_value(value) {
        spans.push(Span::new(from + 1, from + 1 + len, "password").by("phrase"));
    }
}

/// A value in quotes that stands here.
fn quoted(text: &[u8], at: usize, spans: &mut Vec<Span>) {
    if !matches!(text.get(at), Some(b'\'' | b'"')) {
        return;
    }
    let (start, end) = structure::value(text, at);
    let value = text.get(start..end).unwrap_or_default();
    if value.len() >= 4
        && value.len() <= 256
        && structure::is_a_value(value)
        && !value.contains(&b'\n')
    {
        spans.push(Span::new(start, end, "password").by("phrase"));
    }
}

/// The value after a word that tells it: quoted, or for `sure` any, or one that is no plain word.
fn after_word(text: &[u8], at: usize, sure: bool, spans: &mut Vec<Span>) {
    let rest = text.get(at..).unwrap_or_default();
    let gap = rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count();
    if gap == 0 || gap > 8 {
        return;
    }
    let mut start = at + gap;
    for filler in [&b"is "[..], b"is: ", b"was ", b"was: ", b"to ", b"of "] {
        if text[start..].starts_with(filler) && !sure {
            start += filler.len();
        }
    }
    // `Password for me: X`
    let line = text.get(start..).unwrap_or_default();
    let line = line.get(..48).unwrap_or(line).split(|&b| b == b'\n').next().unwrap_or_default();
    if !sure && line.starts_with(b"for ") {
        let sign = line.windows(2).position(|two| two == b": ");
        start += sign.map_or(0, |sign| sign + 2);
    }
    let quoted = matches!(text.get(start), Some(b'\'' | b'"' | b'`'));
    let (start, end) = structure::value(text, start);
    let value = &text[start..end];
    let odd = has_digit(value) && value.iter().any(u8::is_ascii_alphabetic)
        || value.len() >= if is_mixed(value) { 8 } else { 16 } && random::is_random(value);
    let worth = if sure { !value.is_empty() } else { value.len() >= 6 && odd };
    if (worth || quoted && value.len() >= 6 && !value.contains(&b' ') && odd)
        && structure::is_a_value(value)
    {
        spans.push(Span::new(start, end, "password").by("phrase"));
    }
}

/// Letters of both cases.
fn is_mixed(value: &[u8]) -> bool {
    value.iter().any(u8::is_ascii_uppercase) && value.iter().any(u8::is_ascii_lowercase)
}

fn has_digit(value: &[u8]) -> bool {
    value.iter().any(u8::is_ascii_digit)
}

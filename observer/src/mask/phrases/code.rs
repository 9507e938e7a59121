//! What programs and shells set, where the key and its value are two words of the language.

use super::needles::{Needle, Needles};
use super::{after_word, is_mixed, quoted};
use crate::mask::keys::{Kind, Known};
use crate::mask::span::Span;
use crate::mask::{keys, random, structure};

/// Looks for all of them.
pub(super) fn find(text: &[u8], needles: &Needles, spans: &mut Vec<Span>) {
    pairs(text, needles, spans);
    for &found in needles.of(Needle::Secure) {
        let rest = text.get(found + 13..).unwrap_or_default();
        let flag = if rest.starts_with(b"-String ") { 8 } else { 0 };
        quoted(text, found + 13 + flag, spans);
    }
    for (needle, len) in [
        (Needle::SetHeader, 12),
        (Needle::HeaderSet, 11),
        (Needle::Setenv, 7),
        (Needle::Setx, 5),
        (Needle::Define, 7),
        (Needle::Env, 4),
    ] {
        for &found in needles.of(needle) {
            set(text, found + len, spans);
        }
    }
    // fish: `set -gx KEY X`.
    for &found in needles.of(Needle::Set) {
        let rest = text.get(found + 5..).unwrap_or_default();
        let flags = rest.iter().take(4).take_while(|b| b.is_ascii_alphabetic()).count();
        if rest.get(flags) == Some(&b' ') && rest[..flags].contains(&b'x') {
            set(text, found + 5 + flags + 1, spans);
        }
    }
}

/// `KEY X` and `KEY "X"`.
fn set(text: &[u8], at: usize, spans: &mut Vec<Span>) {
    let rest = text.get(at..).unwrap_or_default();
    let is_key = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let len = rest.iter().take(keys::LONGEST).take_while(is_key).count();
    if matches!(rest.get(len), Some(b' ' | b'\t')) && keys::is_secret(&rest[..len]) {
        let gap = rest[len..].iter().take(8).take_while(|b| matches!(b, b' ' | b'\t')).count();
        match rest.get(len + gap) {
            Some(b'"' | b'\'') => quoted_value(text, at + len + gap, spans),
            _ => after_word(text, at + len, true, spans),
        }
    }
}

/// The same, without an authentication's scheme.
fn quoted_value(text: &[u8], at: usize, spans: &mut Vec<Span>) {
    let scheme = text.get(at + 1..).unwrap_or_default();
    let word = scheme.iter().take(16).take_while(|b| b.is_ascii_alphabetic()).count();
    let (start, end) = structure::value(text, at);
    let value = &text[start..end];
    if matches!(scheme[..word].to_ascii_lowercase().as_slice(), b"bearer" | b"basic" | b"token")
        && scheme.get(word) == Some(&b' ')
        && value.len() > word + 1
    {
        spans.push(Span::new(start + word + 1, end, "password").by("phrase"));
        return;
    }
    quoted(text, at, spans);
}

/// `auth=('user', 'X')`, `db.auth("user", "X")`, `smtp.login("user", "X")`.
fn pairs(text: &[u8], needles: &Needles, spans: &mut Vec<Span>) {
    for &found in needles.of(Needle::Auth) {
        let rest = text.get(found + 3..).unwrap_or_default();
        let gap = rest.iter().take(4).take_while(|b| matches!(b, b'=' | b':' | b' ')).count();
        if rest.get(gap) == Some(&b'(') {
            second(text, found + 3 + gap + 1, spans);
        }
    }
    for (needle, len) in [(Needle::Login, 5), (Needle::Credential, 10)] {
        for &found in needles.of(needle) {
            second(text, found + len, spans);
        }
    }
    // `new PDO(dsn, "user", "X")`, `FTP("host", "user", "X")`
    for &found in needles.of(Needle::Pdo).iter().chain(needles.of(Needle::Ftp)) {
        let rest = text.get(found + 4..).unwrap_or_default();
        let Some(&quote @ (b'\'' | b'"')) = rest.first() else { continue };
        let Some(end) = rest.iter().skip(1).take(160).position(|&b| b == quote) else { continue };
        let after = rest.get(end + 2..).unwrap_or_default();
        let gap = after.iter().take(8).take_while(|b| matches!(b, b',' | b' ' | b'\n')).count();
        second(text, found + 4 + end + 2 + gap, spans);
    }
    // `getConnection(url, "user", "X")`
    for &found in needles.of(Needle::Connection) {
        let rest = text.get(found + 10..).unwrap_or_default();
        let rest = rest.get(..160).unwrap_or(rest);
        if let Some(comma) = rest.windows(3).position(|w| w == b", \"") {
            second(text, found + 10 + comma + 2, spans);
        }
    }
}

/// The second of two quoted arguments.
fn second(text: &[u8], at: usize, spans: &mut Vec<Span>) {
    const LONGEST: usize = 96;
    let Some(&quote @ (b'\'' | b'"')) = text.get(at) else { return };
    let rest = text.get(at + 1..).unwrap_or_default();
    let Some(end) = rest.iter().take(LONGEST).position(|&b| b == quote) else { return };
    let rest = rest.get(end + 1..).unwrap_or_default();
    if rest.first() == Some(&b',') {
        let gap = rest[1..].iter().take(8).take_while(|b| b.is_ascii_whitespace()).count();
        quoted(text, at + 1 + end + 1 + 1 + gap, spans);
    }
}

/// `("password", "X")`, `set('X-Api-Key', 'X')`, `{password, "X"}`: the comma stands at `at`.
pub(in crate::mask) fn listed(text: &[u8], at: usize, known: &mut Known, spans: &mut Vec<Span>) {
    let rest = text.get(at + 1..).unwrap_or_default();
    let gap = rest.iter().take(8).take_while(|b| matches!(b, b' ' | b'\n')).count();
    let Some(&quote @ (b'"' | b'\'')) = rest.get(gap) else { return };
    // What a sign follows is the next key of an object.
    let inside = rest.get(gap + 1..).unwrap_or_default();
    let end = inside.iter().take(32).position(|&b| b == quote);
    if end.is_some_and(|end| inside.get(end + 1) == Some(&b':')) {
        return;
    }
    let before = &text[at.saturating_sub(keys::LONGEST)..at];
    let is_key = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let (key, opens) = match before.split_last() {
        Some((last, head)) if *last == quote => {
            let len = head.iter().rev().take_while(|b| is_key(b)).count();
            (&head[head.len() - len..], head.get(head.len().wrapping_sub(len + 1)) == Some(&quote))
        }
        _ => {
            let len = before.iter().rev().take_while(|b| is_key(b)).count();
            let head = before.get(before.len().wrapping_sub(len + 1));
            (&before[before.len() - len..], head == Some(&b'{'))
        }
    };
    if !opens || known.kind(key) != Kind::Strong {
        return;
    }
    // Lists of words that name secrets are many: a value is none of them.
    let (start, end) = structure::value(text, at + 1 + gap);
    let value = text.get(start..end).unwrap_or_default();
    let schemes = [&b"Bearer "[..], b"Basic ", b"Token ", b"bearer ", b"token "];
    let value = schemes.iter().find_map(|word| value.strip_prefix(*word)).unwrap_or(value);
    let digit = value.iter().any(u8::is_ascii_digit) && value.iter().any(u8::is_ascii_alphabetic);
    let sign = value.iter().any(|b| b"!#%*+?^~@$".contains(b));
    let random = value.len() >= 8 && is_mixed(value) && random::is_random(value);
    if value.len() >= 6
        && (digit || sign || random)
        && !value.contains(&b' ')
        && !keys::is_secret(
            value.trim_ascii_end().split(u8::is_ascii_digit).next().unwrap_or(value),
        )
    {
        quoted_value(text, at + 1 + gap, spans);
    }
}

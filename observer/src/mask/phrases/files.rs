//! Files and strings whose form alone says where the secret stands: `.pgpass`, Go's and Oracle's
//! connection strings, Kubernetes' secrets in YAML, tables.

use super::needles::{Needle, Needles};
use super::{after_word, quoted};
use crate::mask::span::Span;
use crate::mask::structure;

/// Looks for all of them.
pub(super) fn find(text: &[u8], needles: &Needles, spans: &mut Vec<Span>) {
    let word = |at: usize| {
        let ends = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'`');
        let len = text[..at].iter().rev().take(256).take_while(|b| !ends(b)).count();
        at - len
    };
    for needle in [Needle::Tcp, Needle::Unix] {
        for &at in needles.of(needle) {
            let start = word(at);
            if let Some(sign) = text[start..at].iter().position(|&b| b == b':') {
                push(text, start + sign + 1, at, spans);
            }
        }
    }
    for &at in needles.of(Needle::Oracle) {
        let rest = &text[at..];
        let rest = rest.get(..256).unwrap_or(rest);
        let slash = rest.iter().position(|&b| b == b'/');
        let sign = rest.iter().position(|&b| b == b'@');
        if let (Some(slash), Some(sign)) = (slash, sign) {
            push(text, at + slash + 1, at + sign, spans);
        }
    }
    for &at in needles.of(Needle::Oauth) {
        let start = word(at);
        let scheme = text[start..at].windows(3).rposition(|w| w == b"://");
        push(text, start + scheme.map_or(0, |at| at + 3), at, spans);
    }
    let cell = |at: &&usize| text[**at..].starts_with(b"assword |");
    for &at in needles.of(Needle::Password).iter().filter(cell) {
        let gap = text[at + 9..].iter().take(16).take_while(|&&b| b == b' ').count();
        let start = at + 9 + gap;
        let rest = &text[start..];
        let len = rest.iter().take(256).take_while(|b| !matches!(b, b'|' | b'\n')).count();
        let value = rest[..len].trim_ascii_end();
        // A heading's line has other headings in it.
        if rest.get(len) == Some(&b'|') && value.iter().any(u8::is_ascii_digit) {
            push(text, start, start + value.len(), spans);
        }
    }
    for needle in [Needle::Five, Needle::Port] {
        for &at in needles.of(needle) {
            pgpass(text, word(at), spans);
        }
    }
    for &at in needles.of(Needle::Psk) {
        quoted(text, at + 4, spans);
    }
    for needle in [Needle::RequirePass, Needle::MasterAuth] {
        for &at in needles.of(needle) {
            let line = text[..at].iter().rev().take_while(|b| **b != b'\n').take(9);
            if line.clone().count() < 9 && line.clone().all(u8::is_ascii_whitespace) {
                after_word(text, at + 11 - usize::from(needle == Needle::MasterAuth), true, spans);
            }
        }
    }
    for &at in needles.of(Needle::Chpasswd) {
        accounts(text, at + 9, spans);
    }
    for needle in [Needle::Phrase, Needle::Mnemonic] {
        for &at in needles.of(needle) {
            seed(text, at + if needle == Needle::Phrase { 6 } else { 7 }, spans);
        }
    }
    for &at in needles.of(Needle::KindSecret) {
        kubernetes(text, at, spans);
    }
}

fn push(text: &[u8], start: usize, end: usize, spans: &mut Vec<Span>) {
    if start < end && structure::is_a_value(&text[start..end]) {
        spans.push(Span::new(start, end, "password").by("phrase"));
    }
}

/// cloud-init's lines `user:X` below `chpasswd:`.
fn accounts(text: &[u8], from: usize, spans: &mut Vec<Span>) {
    const LONGEST: usize = 4096;
    let rest = &text[from..text.len().min(from + LONGEST)];
    let mut place = from;
    for (n, line) in rest.split(|&b| b == b'\n').enumerate() {
        if n > 0 && line.first().is_some_and(|b| !b.is_ascii_whitespace()) {
            return;
        }
        let account = line.trim_ascii();
        let sign = account.iter().position(|&b| b == b':');
        if let Some(sign) = sign.filter(|_| !account.contains(&b' ')) {
            let begin = place + line.len() - line.trim_ascii_start().len();
            push(text, begin + sign + 1, begin + account.len(), spans);
        }
        place += line.len() + 1;
    }
}

/// A seed phrase: twelve words of a list and more (BIP 39), after what names it.
fn seed(text: &[u8], at: usize, spans: &mut Vec<Span>) {
    const WORDS: usize = 12;
    let rest = &text[at..text.len().min(at + 512)];
    let sign = |b: &&u8| matches!(b, b'"' | b'\'' | b':' | b'=' | b' ' | b'\\' | b'\n');
    let gap = rest.iter().take(8).take_while(sign).count();
    let of_words = |b: &&u8| b.is_ascii_lowercase() || **b == b' ';
    let len = rest[gap..].iter().take_while(of_words).count();
    let words = rest[gap..gap + len].trim_ascii();
    let mut each = words.split(|&b| b == b' ');
    if gap > 0 && each.all(|word| (3..=8).contains(&word.len())) {
        let count = words.split(|&b| b == b' ').count();
        if (WORDS..=2 * WORDS).contains(&count) {
            spans.push(Span::new(at + gap, at + gap + words.len(), "secret").by("phrase"));
        }
    }
}

/// `host:port:database:user:X`, a line (PostgreSQL, 34.16).
fn pgpass(text: &[u8], start: usize, spans: &mut Vec<Span>) {
    let rest = &text[start..];
    let len = rest.iter().take(512).take_while(|b| !b.is_ascii_whitespace()).count();
    let mut fields = rest[..len].splitn(5, |&b| b == b':');
    let head: Vec<&[u8]> = fields.by_ref().take(4).collect();
    let port = head.get(1).is_some_and(|p| *p == b"*" || p.iter().all(u8::is_ascii_digit));
    if port && let Some(last) = fields.next() {
        push(text, start + len - last.len(), start + len, spans);
    }
}

/// The values below `data:` and `stringData:` of a document that is a Secret.
fn kubernetes(text: &[u8], at: usize, spans: &mut Vec<Span>) {
    const LONGEST: usize = 64 * 1024;
    const BACK: usize = 4096;
    // The document's beginning: keys come in any order.
    let head = &text[at.saturating_sub(BACK)..at];
    let begin = head.windows(4).rposition(|w| w == b"\n---").map_or(0, |begin| begin + 1);
    let start = at - (head.len() - begin);
    let document = &text[start..text.len().min(start + BACK + LONGEST)];
    let (mut place, mut inside) = (start, None::<usize>);
    for line in document.split(|&b| b == b'\n') {
        let indent = line.iter().take_while(|&&b| b == b' ').count();
        let key = line.trim_ascii();
        if line.starts_with(b"---") && place > at {
            break;
        }
        match inside {
            Some(outer) if indent > outer => {
                let sign = line.iter().position(|&b| b == b':').unwrap_or(indent);
                let gap = line[sign..].iter().skip(1).take_while(|&&b| b == b' ').count();
                let from = if sign > indent { (sign + 1 + gap).min(line.len()) } else { indent };
                let value = line[from..].trim_ascii();
                match value.first() {
                    Some(b'"' | b'\'') => quoted(text, place + from, spans),
                    Some(b'|' | b'>') | None => {}
                    _ => push(text, place + from, place + from + value.len(), spans),
                }
            }
            _ if !key.is_empty() => {
                inside = matches!(key, b"data:" | b"stringData:").then_some(indent);
            }
            _ => {}
        }
        place += line.len() + 1;
    }
}

//! What identifies people and accounts: payment cards, IBANs, and e-mail addresses on request.

mod card;
mod iban;

use super::bits::{self, within};
use super::span::Span;

/// The shortest number is a card's of thirteen digits.
const SHORTEST: usize = 13;

/// Looks at a word with digits in it.
pub(super) fn word(text: &[u8], start: usize, end: usize, spans: &mut Vec<Span>) {
    let mut at = start;
    while at < end {
        // Most words have too few in a row of what numbers are written with.
        let Some(number) = text.get(at..at + SHORTEST) else { return };
        if let Some(other) = number.iter().rposition(|&b| !is_of_number(b)) {
            let to = text.len().min(end + SHORTEST - 1);
            let next = bits::row(text, (at + other + 1, to), SHORTEST, is_of_number);
            let Some(next) = next else { return };
            at = next;
            continue;
        }
        let begins = at == 0 || !is_joined(text[at - 1]);
        let next = match text[at] {
            b'0'..=b'9' if begins => card::at(text, at, spans),
            b'A'..=b'Z' if begins => iban::at(text, at, spans),
            _ => at + 1,
        };
        // What is joined to it begins nothing.
        let joined = match text.get(next - 1) {
            Some(&last) if is_joined(last) => {
                let rest = text.get(next..end).unwrap_or_default();
                rest.iter().take_while(|&&b| is_joined(b)).count()
            }
            _ => 0,
        };
        at = next + joined;
    }
}

/// Looks at a word of four that may be the first group of a number.
pub(super) fn grouped(text: &[u8], start: usize, spans: &mut Vec<Span>) {
    match text.get(start) {
        _ if start > 0 && is_joined(text[start - 1]) => {}
        Some(b'0'..=b'9') => {
            card::at(text, start, spans);
        }
        Some(b'A'..=b'Z') => {
            iban::at(text, start, spans);
        }
        _ => {}
    }
}

/// An address around the `@` that stands at `at`.
pub(super) fn email(text: &[u8], at: usize, spans: &mut Vec<Span>) {
    const LOCAL: usize = 64;
    const DOMAIN: usize = 253;
    let local = |b: &u8| b.is_ascii_alphanumeric() || b"._%+-".contains(b);
    let domain = |b: &u8| b.is_ascii_alphanumeric() || b".-".contains(b);
    let before = text[..at].iter().rev().take(LOCAL).take_while(|b| local(b)).count();
    let after = text[at + 1..].iter().take(DOMAIN).take_while(|b| domain(b)).count();
    let host = &text[at + 1..at + 1 + after];
    let host = host.strip_suffix(b".").unwrap_or(host);
    let top = host.rsplit(|&b| b == b'.').next().unwrap_or_default();
    let named = host.contains(&b'.') && top.len() >= 2 && top.iter().all(u8::is_ascii_alphabetic);
    if before > 0 && named {
        let mut span = Span::new(at - before, at + 1 + host.len(), "email");
        span.learn = false;
        spans.push(span);
    }
}

fn is_joined(b: u8) -> bool {
    JOINED[usize::from(b)]
}

const JOINED: [bool; 256] = {
    let mut out = [false; 256];
    let mut b = 0usize;
    while b < 256 {
        out[b] = (b as u8).is_ascii_alphanumeric() || matches!(b as u8, b'_' | b'.');
        b += 1;
    }
    out
};

/// What numbers are written with.
#[inline(always)]
fn is_of_number(b: u8) -> bool {
    within(b, b'0', b'9') | within(b, b'A', b'Z') | (b == b' ') | (b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_around_its_sign() {
        let text = b"to: a.b+c@mail.example.org.";
        let mut spans = vec![];
        email(text, 9, &mut spans);
        assert_eq!(spans[0].of(text), b"a.b+c@mail.example.org");
        let mut spans = vec![];
        email(b"pkg@1.2.3 x", 3, &mut spans);
        email(b"@scope/x", 0, &mut spans);
        email(b"git@host", 3, &mut spans);
        assert!(spans.is_empty());
    }
}

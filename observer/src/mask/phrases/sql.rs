//! What SQL's statements set.

use super::needles::{Needle, Needles};
use super::{after_word, quoted};
use crate::mask::keys;
use crate::mask::span::Span;

/// `identified [with x] by 'X'`, `password('X')`, `password for u = 'X'`,
/// `pragma key = 'X'`, `secret 'X'`.
pub(super) fn find(text: &[u8], needles: &Needles, spans: &mut Vec<Span>) {
    /// What stands between the words of a statement.
    const BETWEEN: usize = 96;
    let rest = |at: usize| {
        let rest = text.get(at..).unwrap_or_default();
        rest.get(..BETWEEN).unwrap_or(rest)
    };
    let lower = |at: usize| rest(at).to_ascii_lowercase();
    for needle in [Needle::Identified, Needle::IdentifiedLower] {
        for &found in needles.of(needle) {
            let here = lower(found + 9);
            let Some(by) = here.windows(4).position(|w| w == b" by ") else { continue };
            let word = if here[by + 4..].starts_with(b"password ") { 9 } else { 0 };
            after_word(text, found + 9 + by + 3 + word, true, spans);
        }
    }
    for needle in [Needle::Password, Needle::PasswordUpper] {
        for &found in needles.of(needle) {
            let here = rest(found + 7);
            if matches!(here, [b'(', b'\'' | b'"', ..]) {
                quoted(text, found + 8, spans);
            } else if here.get(..5).is_some_and(|w| w.eq_ignore_ascii_case(b" for "))
                && let Some(sign) = here.iter().position(|&b| b == b'=')
            {
                let gap = here[sign + 1..].iter().take_while(|&&b| b == b' ').count();
                quoted(text, found + 7 + sign + 1 + gap, spans);
            }
        }
    }
    for needle in [Needle::Pragma, Needle::PragmaLower] {
        for &found in needles.of(needle) {
            let here = lower(found + 6);
            let Some(sign) = here.iter().position(|&b| b == b'=') else { continue };
            if here[..sign].trim_ascii().ends_with(b"key") {
                let gap = here[sign + 1..].iter().take_while(|&&b| b == b' ').count();
                quoted(text, found + 6 + sign + 1 + gap, spans);
            }
        }
    }
    for &found in needles.of(Needle::Secret) {
        quoted(text, found + 7, spans);
    }
    for needle in [Needle::Values, Needle::ValuesLower] {
        for &found in needles.of(needle) {
            inserted(text, found, spans);
        }
    }
}

/// `insert into t (name, password) values ('n', 'X')`: what stands in a secret's column.
fn inserted(text: &[u8], at: usize, spans: &mut Vec<Span>) {
    /// So far back stands the list of columns, and so many rows are read.
    const BACK: usize = 1024;
    const ROWS: usize = 64;
    const ROW: usize = 4096;
    let before = text[at.saturating_sub(BACK)..at].trim_ascii_end();
    let Some(columns) = before.strip_suffix(b")") else { return };
    let Some(open) = columns.iter().rposition(|&b| b == b'(') else { return };
    let names = columns[open + 1..].split(|&b| b == b',');
    let name = |name: &[u8]| keys::is_secret(name.trim_ascii());
    let secret: Vec<bool> = names.map(name).collect();
    if !secret.contains(&true) {
        return;
    }
    let mut from = at + 6;
    for _ in 0..ROWS {
        let rest = text.get(from..).unwrap_or_default();
        let gap =
            rest.iter().take(16).take_while(|b| b.is_ascii_whitespace() || **b == b',').count();
        if rest.get(gap) != Some(&b'(') {
            return;
        }
        let (mut column, mut quote, mut begun) = (0, false, true);
        let begin = from + gap + 1;
        let mut end = begin;
        while let Some(&b) = text.get(end).filter(|_| end - begin < ROW) {
            match b {
                b'\'' => {
                    quote = !quote;
                    if quote && begun && secret.get(column) == Some(&true) {
                        quoted(text, end, spans);
                    }
                    begun = false;
                }
                b',' if !quote => (column, begun) = (column + 1, true),
                b')' if !quote => break,
                _ => {}
            }
            end += 1;
        }
        from = end + 1;
    }
}

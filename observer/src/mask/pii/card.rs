//! Payment card numbers: issuer ranges and Luhn (ISO/IEC 7812-1), with or without separators.

use super::is_joined;
use crate::mask::span::Span;

/// The most digits of a card's number.
const MOST: usize = 19;

/// Looks at the number that begins at `at`; where it ends.
pub(super) fn at(text: &[u8], at: usize, spans: &mut Vec<Span>) -> usize {
    let mut digits = [0u8; MOST + 1];
    let (mut count, mut end, mut last) = (0, at, at);
    while let Some(&b) = text.get(end) {
        if b.is_ascii_digit() {
            digits[count] = b - b'0';
            count += 1;
            last = end + 1;
        } else if !(matches!(b, b' ' | b'-') && end > at && text[end - 1].is_ascii_digit()) {
            break;
        }
        end += 1;
        if count > MOST {
            // No card: the rest of the number is none of our business either.
            let more = text[end..].iter().take_while(|b| b.is_ascii_digit()).count();
            return end + more;
        }
        // A number that goes on in another group may be a card and something after it.
        let stops = !text.get(end).is_some_and(u8::is_ascii_digit);
        if stops && count >= 13 && last == end && is_card(&digits[..count]) && alone(text, end) {
            let mut span = Span::new(at, end, "card");
            span.decoded = Some(digits[..count].iter().map(|d| d + b'0').collect());
            spans.push(span);
            return end;
        }
    }
    // What follows the first group may begin a card itself.
    let group = text[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    at + group
}

/// Whether nothing is joined to the number's end: the full stop of a sentence isn't.
fn alone(text: &[u8], end: usize) -> bool {
    match text.get(end) {
        Some(b'.') => !text.get(end + 1).is_some_and(u8::is_ascii_alphanumeric),
        Some(&b) => !is_joined(b),
        None => true,
    }
}

fn is_card(digits: &[u8]) -> bool {
    let prefix = digits.iter().take(4).fold(0u32, |n, &d| n * 10 + u32::from(d));
    let issuer = match digits.len() {
        15 => matches!(prefix, 3400..=3499 | 3700..=3799 | 1800 | 2131),
        13 => matches!(prefix, 4000..=4999),
        14 => matches!(prefix, 3000..=3059 | 3095 | 3600..=3699 | 3800..=3999),
        16 => matches!(
            prefix,
            4000..=4999 | 5100..=5599 | 2221..=2720 | 6011 | 6440..=6599 | 3528..=3589
                | 2200..=2204 | 6200..=6299 | 5000 | 5018 | 5020 | 5038 | 5893 | 6304 | 6759
                | 6761..=6763 | 5067 | 9792
        ),
        19 => matches!(prefix, 4000..=4999 | 6200..=6299 | 6304 | 6759 | 6761..=6763 | 6011),
        _ => false,
    };
    // A dump of memory is full of zeros; no card ends in eight of them.
    let empty = digits.iter().rev().take(8).all(|&d| d == 0);
    issuer && !empty && luhn(digits)
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, &d)| match (i % 2, u32::from(d) * 2) {
            (0, _) => u32::from(d),
            (_, double) if double > 9 => double - 9,
            (_, double) => double,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_found_and_what_follows_it_left() {
        for (text, card) in [
            ("4111111111111111", "4111111111111111"),
            ("4111 1111 1111 1111 12/29", "4111 1111 1111 1111"),
            ("3782-822463-10005", "3782-822463-10005"),
            ("6212345678901232.", "6212345678901232"),
        ] {
            let mut spans = vec![];
            at(text.as_bytes(), 0, &mut spans);
            let found: Vec<_> = spans.iter().map(|span| span.of(text.as_bytes())).collect();
            assert_eq!(found, [card.as_bytes()], "{text}");
        }
        for text in
            ["4111111111111112", "20240101120000", "41111111111111110000001", "4111111111111111a"]
        {
            let mut spans = vec![];
            at(text.as_bytes(), 0, &mut spans);
            assert!(spans.is_empty(), "{text}");
        }
    }
}

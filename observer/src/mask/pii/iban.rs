//! International bank account numbers (ISO 13616): the country's length and the check digits, with
//! or without a space after each four.

use crate::mask::span::Span;

/// Countries, and how long their numbers are (the registry of SWIFT, by its documents).
const LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NL", 18),
    (b"NO", 15),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"SA", 24),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
];

/// Looks at the number that begins at `at`; where to look on.
pub(super) fn at(text: &[u8], at: usize, spans: &mut Vec<Span>) -> usize {
    let Some([a, b, c, d]) = text.get(at..at + 4) else { return at + 1 };
    if !(b.is_ascii_uppercase() && c.is_ascii_digit() && d.is_ascii_digit()) {
        return at + 1;
    }
    let Some(&(_, len)) = LENGTHS.iter().find(|(country, _)| *country == &[*a, *b]) else {
        return at + 1;
    };
    let mut number = Vec::with_capacity(len);
    let mut end = at;
    while number.len() < len {
        match text.get(end) {
            Some(&b) if b.is_ascii_uppercase() || b.is_ascii_digit() => number.push(b),
            Some(b' ' | b'-')
                if !number.is_empty()
                    && number.len() % 4 == 0
                    && !matches!(text[end - 1], b' ' | b'-') => {}
            _ => return at + 1,
        }
        end += 1;
    }
    let alone = text.get(end).is_none_or(|b| !b.is_ascii_alphanumeric());
    if alone && mod97(&number) == 1 {
        let mut span = Span::new(at, end, "iban");
        span.decoded = Some(number);
        spans.push(span);
        return end;
    }
    at + 1
}

/// The remainder of the number with its first four characters moved to its end.
fn mod97(number: &[u8]) -> u32 {
    let (head, tail) = number.split_at(number.len().min(4));
    tail.iter().chain(head).fold(0, |rest, &b| match b {
        b'0'..=b'9' => (rest * 10 + u32::from(b - b'0')) % 97,
        _ => (rest * 100 + u32::from(b.wrapping_sub(b'A')) + 10) % 97,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_their_check_digits_are_found() {
        for text in
            ["DE89370400440532013000", "GB82 WEST 1234 5698 7654 32", "NO93 8601 1117 947 x"]
        {
            let mut spans = vec![];
            at(text.as_bytes(), 0, &mut spans);
            assert_eq!(spans.len(), 1, "{text}");
        }
        for text in [
            "DE89370400440532013001",
            "DE8937040044053201300",
            "DEADBEEF",
            "XX89370400440532013000",
        ] {
            let mut spans = vec![];
            at(text.as_bytes(), 0, &mut spans);
            assert!(spans.is_empty(), "{text}");
        }
    }
}

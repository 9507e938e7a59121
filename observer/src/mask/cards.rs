//! Payment card numbers: issuer ranges and Luhn (ISO/IEC 7812-1), with or without separators.

use super::scan::Span;

/// Finds card numbers of 13 to 19 digits.
pub(super) fn find(text: &[u8], spans: &mut Vec<Span>) {
    let mut at = 0;
    while at < text.len() {
        if !text[at].is_ascii_digit() || at > 0 && is_joined(text[at - 1]) {
            at += 1;
            continue;
        }
        let mut digits = vec![];
        let mut end = at;
        let mut last = at;
        while let Some(&b) = text.get(end) {
            if b.is_ascii_digit() {
                digits.push(b - b'0');
                last = end + 1;
            } else if !(matches!(b, b' ' | b'-') && end > at && text[end - 1].is_ascii_digit()) {
                break;
            }
            end += 1;
            if digits.len() > 19 {
                break;
            }
        }
        let alone = text.get(last).is_none_or(|&b| !is_joined(b));
        if alone && is_card(&digits) {
            let mut span = Span::new(at, last, "card");
            span.decoded = Some(digits.iter().map(|d| d + b'0').collect());
            spans.push(span);
        }
        at = last.max(at + 1);
    }
}

fn is_joined(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.')
}

fn is_card(digits: &[u8]) -> bool {
    let prefix = digits.iter().take(4).fold(0u32, |n, &d| n * 10 + u32::from(d));
    let issuer = match digits.len() {
        15 => matches!(prefix, 3400..=3499 | 3700..=3799),
        13 | 19 => matches!(prefix, 4000..=4999),
        14 => matches!(prefix, 3000..=3059 | 3600..=3699 | 3800..=3999),
        16 => matches!(
            prefix,
            4000..=4999 | 5100..=5599 | 2221..=2720 | 6011 | 6440..=6599 | 3528..=3589
        ),
        _ => false,
    };
    issuer && luhn(digits)
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

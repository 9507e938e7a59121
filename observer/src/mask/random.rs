//! How little a word looks like a name: the difference between `getElementById` and a token.
//!
//! A log-likelihood ratio over neighbouring characters, in eighths of a bit: the words of source
//! code and documents against characters drawn at random. It is linear and allocates nothing.

/// Below this a word of sixteen or more characters is random: of names in source code one in a
/// hundred is lower, of random base62 words of this length ninety-nine in a hundred are.
pub(super) const RANDOM: i32 = -4;

/// The mean per pair of neighbours, in eighths of a bit: above zero for names, below it for what
/// was drawn at random. Separators count; other bytes are passed over.
pub(super) fn score(word: &[u8]) -> i32 {
    let mut sum = 0i64;
    let mut pairs = 0i64;
    for pair in word.windows(2) {
        let &[a, b] = pair else { continue };
        let (Some(from), Some(to)) = (class(a), class(b)) else { continue };
        sum += i64::from(TRANSITIONS[from][to]) * 2;
        if from < 2 && to < 2 && (from, to) != (0, 1) {
            sum += letters(a, b) * 4;
        }
        pairs += 1;
    }
    if pairs == 0 { 0 } else { i32::try_from(sum / pairs).unwrap_or(0) }
}

/// Whether a word looks drawn at random.
pub(super) fn is_random(word: &[u8]) -> bool {
    score(word) < RANDOM
}

/// Lower, upper, digit, separator.
fn class(b: u8) -> Option<usize> {
    match b {
        b'a'..=b'z' => Some(0),
        b'A'..=b'Z' => Some(1),
        b'0'..=b'9' => Some(2),
        b'_' | b'-' | b'+' | b'/' | b'.' => Some(3),
        _ => None,
    }
}

/// From a class to a class, in quarters of a bit.
const TRANSITIONS: [[i8; 4]; 4] =
    [[4, -14, -18, 6], [-3, 3, -14, 8], [-7, -13, 9, 8], [3, -3, -11, -3]];

/// One letter after another whatever their case, in halves of a bit.
fn letters(a: u8, b: u8) -> i64 {
    let row = usize::from(a.to_ascii_lowercase().wrapping_sub(b'a'));
    let column = usize::from(b.to_ascii_lowercase().wrapping_sub(b'a'));
    let cell = PAIRS.get(row).and_then(|row| row.get(column));
    cell.map_or(0, |&c| i64::from(c) - i64::from(b'N'))
}

/// Counted over the names and words of twelve and more characters in public source trees (crates,
/// npm's and Python's libraries) and their documents. A row for the first letter, a column for the
/// second; `N` is as often as chance, each letter after it half a bit more, before it less.
const PAIRS: [&[u8; 26]; 26] = [
    b"HNPOFINEMEJQOPDNEQPRLJIJKF",
    b"RIMJQGGFQNFRIIPNDNNMQGEFOF",
    b"QGKIQIHQNDPOJHSJFOKQMHEEKD",
    b"QKINTJKHRHFMIGPJFNNKNHLFKD",
    b"OIPPKMLFHEFNMQHLKRSPHLJOJE",
    b"PIJLOPIETEEPHHRIDPOMOEGEKD",
    b"NHJITGLOPDENKOMHEQPLOHGHHF",
    b"SHHITIGGQEFJLHRIFOJPLFJEKE",
    b"MLPNMMNEGEFONSQMFMPQILDKDL",
    b"OIJJUIIHNIMHKGQLGHQIPGJIII",
    b"OJLKUILIRFFNIOJKFKPKMFLFHF",
    b"QJHNSJHERDGPGFQJDGNONIFELE",
    b"SNHJTGFFPEFKNIQQFGMJNFEEIE",
    b"PGPQQNQGNFKJHLPJEIPRMLFEHE",
    b"KLOOGLKEKFKOOSLODRMNOKMIGF",
    b"RFLJRKHLNDHPIGQNERMPMIFEPE",
    b"HHIILHKFGGIOHJJJHLLHWHGHGF",
    b"QGMLSKLEQDKJMLQIENOOLKHEMD",
    b"MGNHRHHNPELLIINNGGPTNGHEME",
    b"PFKITIFORDEKIFPKDPNMMFHGNE",
    b"MNMLPKLDNDEQPRJPDQPQFEEIDE",
    b"TGLGUJGGQDEILHMLEIJJFHHIFE",
    b"RGJJPHHNSEGKGPRHFQOJFFIGFE",
    b"OJQKQKEIPFFJMHJREINSIFGNMF",
    b"KKMJMJJGKFFOPQLTFKRQFHLFJI",
    b"PGIIVHHHPFFIKHOIGGJGIGHHLP",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_not_random() {
        for name in [
            "getElementsByClassName",
            "CARGO_PKG_VERSION_MAJOR",
            "x86_64-unknown-linux-gnu",
            "node_modules/react-dom/server",
            "test_parses_http2_settings_frame",
            "internationalization",
            "kubernetes-dashboard-metrics",
        ] {
            assert!(!is_random(name.as_bytes()), "{name}: {}", score(name.as_bytes()));
        }
    }

    #[test]
    fn tokens_are() {
        for token in [
            "k3J9xQ0fTz8LmW2aVb7Y",
            "9f8JqWz1xKpL0vRt5YbN3mHd",
            "wJalrXUtnFEMIbPxRfiCYzQ7K2",
            "x7k2p9q4m1z8v3w6r5t0",
        ] {
            assert!(is_random(token.as_bytes()), "{token}: {}", score(token.as_bytes()));
        }
    }
}

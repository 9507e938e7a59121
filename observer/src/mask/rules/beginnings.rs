//! Where a keyword may begin: asked at each byte of a word before the automaton is. The automaton waits
//! at each step for the one before; these questions don't wait for each other.

/// How many slots pairs of bytes are told apart by.
const SLOTS: usize = 2048;

/// For each pair of bytes its slot, in it a bit for a byte beside them.
type Table = Box<[u64; SLOTS]>;

/// What is no letter and no digit in a word (`stops` says what words are made of; a test holds it).
const SIGNS: &[u8] = b"-_+/.~$!%=:@";

/// The first four bytes of keywords, or a sign and the first three of those that count only behind one.
/// It may say yes without need, and never no.
pub(super) struct Beginnings {
    /// The first two, and the third.
    first: Table,
    /// The third and the fourth, and the second.
    further: Table,
    /// As `first`, for the beginning of a word.
    word: Table,
}

impl Beginnings {
    /// Of keywords, each with whether it counts anywhere.
    pub(super) fn new<'a>(keywords: impl Iterator<Item = (&'a [u8], bool)>) -> Self {
        let table = || Box::new([0; SLOTS]);
        let mut all = Self { first: table(), further: table(), word: table() };
        for (keyword, anywhere) in keywords {
            let [first, further] = if anywhere {
                [&mut all.first, &mut all.further]
            } else {
                for sign in SIGNS {
                    add([&mut all.first, &mut all.further], &[&[*sign], keyword].concat());
                }
                [&mut all.word, &mut all.further]
            };
            add([first, further], keyword);
        }
        all
    }

    /// The first place of `from..end` where one may begin, or a sign before one, in the word that begins
    /// at `start`.
    #[inline(never)]
    pub(super) fn next(&self, text: &[u8], start: usize, from: usize, end: usize) -> Option<usize> {
        if from == start && self.may(&self.word, four(text, start)) {
            return Some(start);
        }
        let fours = text.get(from..text.len().min(end + 3)).unwrap_or_default().array_windows();
        let found = fours.clone().position(|four| self.may(&self.first, *four));
        let rest = from + fours.len();
        let last = || (rest..end).find(|&at| self.may(&self.first, four(text, at)));
        found.map(|n| from + n).or_else(last)
    }

    /// Whether these four bytes may begin one.
    #[inline(always)]
    fn may(&self, table: &Table, [first, second, third, fourth]: [u8; 4]) -> bool {
        table[slot(first, second)] & bit(third) != 0
            && self.further[slot(third, fourth)] & bit(second) != 0
    }
}

/// Adds a keyword of at least two bytes; each byte that it has not may be any.
fn add([first, further]: [&mut Table; 2], keyword: &[u8]) {
    let byte = |n: usize| keyword.get(n).copied();
    let (Some(a), Some(b)) = (byte(0), byte(1)) else { return };
    first[slot(a, b)] |= byte(2).map_or(u64::MAX, bit);
    match (byte(2), byte(3)) {
        (Some(c), Some(d)) => further[slot(c, d)] |= bit(b),
        (Some(c), None) => (0..=255).for_each(|any| further[slot(c, any)] |= bit(b)),
        _ => further.iter_mut().for_each(|bits| *bits |= bit(b)),
    }
}

/// The four bytes that stand there; at the text's end NULs for those that are missing.
fn four(text: &[u8], at: usize) -> [u8; 4] {
    let rest = text.get(at..).unwrap_or_default();
    rest.first_chunk().copied().unwrap_or_else(|| {
        let byte = |n: usize| rest.get(n).copied().unwrap_or(0);
        [byte(0), byte(1), byte(2), byte(3)]
    })
}

#[inline(always)]
fn slot(first: u8, second: u8) -> usize {
    let pair = u32::from(u16::from_le_bytes([first, second]));
    (pair.wrapping_mul(0x9e37_79b1) >> 21) as usize % SLOTS
}

#[inline(always)]
fn bit(byte: u8) -> u64 {
    1 << (byte & 63)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::stops;

    #[test]
    fn the_signs_are_those_that_words_have() {
        for b in (0..=255u8).filter(|b| !b.is_ascii_alphanumeric()) {
            assert_eq!(stops::is_of_word(b), SIGNS.contains(&b), "{b}");
        }
    }
}

//! Where a text is stopped at: separators of keys and values, ends of words that may hide something,
//! and words of commands. One pass says what each byte is, sixty-four at a time; what is nowhere
//! asked for costs nothing more.

use memchr::memchr;

use super::bits::{self, BLOCK, Both, within};
use super::phrases::commands;

/// Shorter words hide no whole token.
pub(super) const WORD: usize = 12;
/// What a cut leaves of one is looked at from this length on.
const REST: usize = 8;

/// What a text is stopped at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// A separator stands there.
    Separator(usize),
    /// A word that is long enough to hide a token.
    Word(usize, usize),
    /// A word of four that is the first group of a number, if it is one written in groups.
    Group(usize),
}

/// Tells each stop, in order, and gives the places where a word ends that names a command. Of a text
/// that is looked at through its escapes as well (`viewed`), what stands behind an escaped quote is
/// left to that, and so are words, but for those with a percent sign, which may be a token's own.
#[inline]
pub(super) fn each(text: &[u8], viewed: bool, mut stop: impl FnMut(Stop)) -> Vec<usize> {
    let worded = !viewed || memchr(b'%', text).is_some();
    let is_left = |start: usize, end: usize| viewed && memchr(b'%', &text[start..end]).is_none();
    let mut commands = vec![];
    let (mut words, mut spaces) = (Both::default(), Both::default());
    let (mut slashes, mut quotes) = (Both::default(), Both::default());
    // Where the word that goes on into this block begins.
    let mut begun = 0;
    for base in (0..text.len()).step_by(BLOCK) {
        let block = &bits::block(text, base);
        let mut separators = bits::of(block, is_separator);
        if viewed {
            slashes.next(bits::of(block, |b| b == b'\\'));
            quotes.next(bits::of(block, |b| b == b'"'));
            separators &= !(slashes.before(2) & quotes.before(1));
        }
        spaces.next(bits::of(block, |b| b == b' '));
        for place in bits::places(spaces.here() & !spaces.before(1)) {
            if commands::names_one(&text[..base + place]) {
                commands.push(base + place);
            }
        }
        if !worded {
            bits::places(separators).for_each(|place| stop(Stop::Separator(base + place)));
            continue;
        }
        words.next(bits::of(block, is_of_word));
        let gaps = !words.here() & bits::upto(text.len() - base);
        let long = gaps & words.row_before(WORD as u32);
        let four = if viewed { 0 } else { gaps & words.row_before(4) & !words.before(5) };
        for place in bits::places(separators | long | four) {
            let (at, bit) = (base + place, 1 << place);
            if separators & bit != 0 {
                stop(Stop::Separator(at));
            }
            if four & bit != 0 && is_group(text, at - 4, at) {
                stop(Stop::Group(at - 4));
            }
            if long & bit != 0 {
                let start = bits::after_last(gaps & (bit - 1), base).unwrap_or(begun);
                if !is_left(start, at) {
                    stop(Stop::Word(start, at));
                }
            }
        }
        begun = bits::after_last(gaps, base).unwrap_or(begun);
    }
    // The last word, which a cut may have left short.
    if worded && !is_left(begun, text.len()) {
        match text.len() - begun {
            4 if is_group(text, begun, text.len()) => stop(Stop::Group(begun)),
            REST.. => stop(Stop::Word(begun, text.len())),
            _ => {}
        }
    }
    commands
}

/// What stands between a key and its value, and before and behind an element of a list.
#[inline(always)]
fn is_separator(b: u8) -> bool {
    (b == b'=') | (b == b':') | (b == b'@') | (b == b'>') | (b == b',')
}

/// What words are made of; of the separators a comma and an end of a tag stand between words.
#[inline(always)]
pub(super) fn is_of_word(b: u8) -> bool {
    within(b | 0x20, b'a', b'z')
        // `-./`, the digits and `:` stand side by side.
        | within(b, b'-', b':')
        | within(b, b'$', b'%')
        | (b == b'_')
        | (b == b'=')
        | (b == b'@')
        | (b == b'+')
        | (b == b'~')
        | (b == b'!')
}

/// Whether a word is made of what groups of a number are made of; the separators count for none of it.
fn is_group(text: &[u8], start: usize, end: usize) -> bool {
    let is = |b: &u8| matches!(b, b'0'..=b'9' | b'A'..=b'Z' | b'=' | b':' | b'@');
    text[start..end].iter().all(is)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same, byte by byte.
    fn each_byte(text: &[u8], viewed: bool) -> (Vec<Stop>, Vec<usize>) {
        let (mut stops, mut commands, mut start) = (vec![], vec![], 0);
        let word = |start: usize, end: usize, stops: &mut Vec<Stop>| {
            let word = &text[start..end];
            match word.len() {
                _ if viewed && !word.contains(&b'%') => {}
                4 if is_group(text, start, end) => stops.push(Stop::Group(start)),
                WORD.. => stops.push(Stop::Word(start, end)),
                REST.. if end == text.len() => stops.push(Stop::Word(start, end)),
                _ => {}
            }
        };
        for (at, b) in text.iter().enumerate() {
            if b"=:@>,".contains(b) && !(viewed && text[..at].ends_with(b"\\\"")) {
                stops.push(Stop::Separator(at));
            }
            if !b.is_ascii_alphanumeric() && !b"-_+/.~$!%=:@".contains(b) {
                if *b == b' ' && commands::names_one(&text[..at]) {
                    commands.push(at);
                }
                word(start, at, &mut stops);
                start = at + 1;
            }
        }
        word(start, text.len(), &mut stops);
        (stops, commands)
    }

    proptest! {
        #[test]
        fn blocks_are_stopped_at_where_bytes_are(
            pieces in prop::collection::vec("[a-zA-Z0-9/.]{0,20}|[A-Z0-9=:]{4}[ ,]|[-_+/.~$!%=:@>,\\\\\" ]{0,3}|echo |%|[\\x00-\\xff]", 0..40),
            viewed: bool,
        ) {
            let text = pieces.concat().into_bytes();
            let mut stops = vec![];
            let commands = each(&text, viewed, |stop| stops.push(stop));
            prop_assert_eq!((stops, commands), each_byte(&text, viewed));
        }
    }

    #[test]
    fn each_byte_is_of_a_word_or_stands_between_words() {
        for b in 0..=255u8 {
            let word = b.is_ascii_alphanumeric() || b"-_+/.~$!%=:@".contains(&b);
            assert_eq!((is_of_word(b), is_separator(b)), (word, b"=:@>,".contains(&b)), "{b}");
        }
    }
}

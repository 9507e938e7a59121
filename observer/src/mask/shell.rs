//! Commands within an argument: `sh -c '…'`, `ssh host '…'`. Their words are found as a shell
//! finds them (POSIX, Shell Command Language, 2.2 and 2.3), so that what a word's neighbours tell
//! is known there too. Nothing is expanded: a secret that a variable holds does not stand there.

use super::argv;
use super::span::Span;
use crate::model::Raw;

/// Longer texts are programs and no commands that somebody typed.
const LONGEST: usize = 256 * 1024;

/// A word without its quotes.
#[derive(Default)]
struct Word {
    text: Vec<u8>,
    /// Where each byte stands in the command.
    at: Vec<usize>,
    /// Whether a quote began it, so that it is one even when it is empty.
    begun: bool,
}

/// What the words of a text tell of their neighbours. `depth` is how many texts more may stand
/// within each other's quotes.
pub(super) fn spans(text: &[u8], depth: u32) -> Vec<Span> {
    let mut out = vec![];
    if depth == 0 || text.len() > LONGEST || !text.iter().any(u8::is_ascii_whitespace) {
        return out;
    }
    for command in commands(text) {
        let words: Vec<Raw> = command.iter().map(|word| Raw::from(&word.text[..])).collect();
        for (word, spans) in command.iter().zip(argv::plan_within(&words, depth - 1)) {
            out.extend(spans.into_iter().filter_map(|span| word.place(span)));
        }
    }
    out
}

impl Word {
    fn push(&mut self, byte: u8, at: usize) {
        self.text.push(byte);
        self.at.push(at);
    }

    /// A span of the word as one of the text that it stands in.
    fn place(&self, mut span: Span) -> Option<Span> {
        let value = span.value(&self.text).to_vec();
        let (first, last) = (self.at.get(span.start)?, self.at.get(span.end.checked_sub(1)?)?);
        (span.start, span.end) = (*first, last + 1);
        span.decoded = Some(value);
        Some(span)
    }
}

/// The simple commands of a text, each as its words. What has no closing quote ends with the text.
fn commands(text: &[u8]) -> Vec<Vec<Word>> {
    let (mut out, mut command, mut word) = (vec![], vec![], Word::default());
    let mut quote = None;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (quote, byte) {
            (Some(open), _) if open == byte => quote = None,
            (None, b'\'' | b'"') => (quote, word.begun) = (Some(byte), true),
            (None | Some(b'"'), b'\\') => {
                at += 1;
                if let Some(&escaped) = text.get(at) {
                    word.push(escaped, at);
                }
            }
            (None, b'\n' | b';' | b'|' | b'&' | b'(' | b')' | b'`' | b'{' | b'}') => {
                end_word(&mut word, &mut command);
                end_command(&mut command, &mut out);
            }
            (None, _) if byte.is_ascii_whitespace() || matches!(byte, b'<' | b'>') => {
                end_word(&mut word, &mut command);
            }
            _ => word.push(byte, at),
        }
        at += 1;
    }
    end_word(&mut word, &mut command);
    end_command(&mut command, &mut out);
    out
}

fn end_word(word: &mut Word, command: &mut Vec<Word>) {
    let word = std::mem::take(word);
    if word.begun || !word.text.is_empty() {
        command.push(word);
    }
}

fn end_command(command: &mut Vec<Word>, out: &mut Vec<Vec<Word>>) {
    if !command.is_empty() {
        out.push(std::mem::take(command));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<Vec<String>> {
        let word = |word: &Word| String::from_utf8_lossy(&word.text).into_owned();
        commands(text.as_bytes()).iter().map(|c| c.iter().map(word).collect()).collect()
    }

    #[test]
    fn words_are_those_of_a_shell() {
        assert_eq!(words("a 'b c' \"d\\\"e\" f\\ g ''"), [["a", "b c", "d\"e", "f g", ""]]);
        assert_eq!(words("a|b;c && d\n$(e)"), [["a"], ["b"], ["c"], ["d"], ["$"], ["e"]]);
        assert_eq!(words("a 'never closed; b"), [["a", "never closed; b"]]);
        assert!(words(" ; \n").is_empty());
    }

    #[test]
    fn a_word_knows_where_its_bytes_stand() {
        let text = b"x --password='a b'\"c\" y";
        let spans = spans(text, 1);
        let found: Vec<&[u8]> = spans.iter().map(|span| span.of(text)).collect();
        assert_eq!(found, [&b"a b'\"c"[..]]);
        assert_eq!(spans[0].value(text), b"a bc");
    }

    proptest! {
        #[test]
        fn any_bytes_pass_and_spans_stay_inside(text: Vec<u8>) {
            for span in spans(&text, 3) {
                prop_assert!(span.start < span.end && span.end <= text.len());
            }
        }

        #[test]
        fn any_text_of_quotes_passes(text in "[-a-z'\"\\\\ =:;|$()]{0,200}") {
            for span in spans(text.as_bytes(), 3) {
                prop_assert!(span.start < span.end && span.end <= text.len());
            }
        }
    }
}

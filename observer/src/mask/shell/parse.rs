//! A text as a shell reads it: simple commands and their words (POSIX, Shell Command Language, 2.2 to
//! 2.4, 2.6 and 2.7). Nothing is expanded: a secret that a variable holds does not stand there.

use std::ops::Range;

/// Substitutions stand within each other this deep; deeper ones are read as words.
const NESTED: usize = 16;

/// A word without its quotes.
#[derive(Default)]
pub(super) struct Word {
    pub(super) text: Vec<u8>,
    /// Where each byte stands in the command.
    pub(super) at: Vec<usize>,
    /// Whether a quote began it, so that it is one even when it is empty.
    begun: bool,
}

/// A simple command.
#[derive(Default)]
pub(super) struct Command {
    pub(super) words: Vec<Word>,
    /// What the next word is, where it is none of the command's own.
    next: Next,
    /// What a here-string hands to it.
    pub(super) given: Vec<Word>,
    /// The files that it writes to.
    pub(super) targets: Vec<Word>,
    /// Which commands' output it is given as a file, and as which of its words.
    pub(super) files: Vec<(usize, Range<usize>)>,
    /// Its output goes into the next.
    pub(super) piped: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Next {
    #[default]
    Own,
    Source,
    Given,
    Target,
}

impl Word {
    fn push(&mut self, byte: u8, at: usize) {
        /// Most words are no longer.
        const USUAL: usize = 24;
        if self.text.capacity() == 0 {
            self.text.reserve(USUAL);
            self.at.reserve(USUAL);
        }
        self.text.push(byte);
        self.at.push(at);
    }
}

impl Command {
    fn is_empty(&self) -> bool {
        self.words.is_empty() && self.given.is_empty() && self.targets.is_empty()
    }
}

/// The simple commands of a text, in the order in which they begin. What has no closing quote ends
/// with the text.
pub(super) fn commands(text: &[u8]) -> Vec<Command> {
    let mut parser = Parser {
        text,
        out: vec![],
        open: vec![],
        command: Command::default(),
        word: Word::default(),
    };
    parser.run();
    parser.out
}

/// A substitution, and the command around it.
struct Open {
    command: Command,
    word: Word,
    /// What it ends with.
    end: u8,
    /// It is read as a file: `<(…)`.
    file: bool,
    /// Which command is its first.
    first: usize,
}

struct Parser<'a> {
    text: &'a [u8],
    out: Vec<Command>,
    /// The substitutions that are being read.
    open: Vec<Open>,
    command: Command,
    word: Word,
}

impl Parser<'_> {
    fn run(&mut self) {
        let mut quote = None;
        let mut at = 0;
        while let Some(&byte) = self.text.get(at) {
            let next = self.text.get(at + 1).copied().unwrap_or(0);
            let last = at.checked_sub(1).and_then(|at| self.text.get(at)).copied().unwrap_or(0);
            match (quote, byte) {
                (Some(open), _) if open == byte => quote = None,
                (None, b'\'' | b'"') => (quote, self.word.begun) = (Some(byte), true),
                // A line goes on.
                (None | Some(b'"'), b'\\') if next == b'\n' => at += 1,
                (None | Some(b'"'), b'\\') => {
                    at += 1;
                    if let Some(&escaped) = self.text.get(at) {
                        self.word.push(escaped, at);
                    }
                }
                (None, b'(') if self.open.len() < NESTED => self.begin(b')', false),
                (None, b'<') if next == b'(' && self.open.len() < NESTED => {
                    self.begin(b')', true);
                    at += 1;
                }
                (None, b'`') => match self.open.last() {
                    Some(Open { end: b'`', .. }) => self.close(),
                    _ if self.open.len() < NESTED => self.begin(b'`', false),
                    _ => self.word.push(byte, at),
                },
                (None, b')') => match self.open.last() {
                    Some(Open { end: b')', .. }) => self.close(),
                    _ => self.end_command(),
                },
                (None, b'&') if matches!(last, b'>' | b'<') || next == b'>' => {}
                (None, b'|') if next != b'|' && last != b'|' => {
                    self.end_word();
                    self.command.piped = true;
                    self.end_command();
                }
                (None, b'\n' | b';' | b'|' | b'&') => self.end_command(),
                (None, b'<' | b'>') => {
                    // A descriptor's number is no word.
                    if self.word.text.iter().all(u8::is_ascii_digit) {
                        self.word = Word::default();
                    }
                    self.end_word();
                    let here =
                        byte == b'<' && self.text.get(at..).is_some_and(|r| r.starts_with(b"<<<"));
                    if here {
                        at += 2;
                    }
                    self.command.next = match byte {
                        b'>' => Next::Target,
                        _ if here => Next::Given,
                        _ => Next::Source,
                    };
                }
                (None, _) if byte.is_ascii_whitespace() => self.end_word(),
                _ => self.word.push(byte, at),
            }
            at += 1;
        }
        self.end_command();
        while !self.open.is_empty() {
            self.close();
            self.end_command();
        }
    }

    /// A substitution or a subshell begins within a word or a command.
    fn begin(&mut self, end: u8, file: bool) {
        let (command, word) = (std::mem::take(&mut self.command), std::mem::take(&mut self.word));
        self.open.push(Open { command, word, end, file, first: self.out.len() });
    }

    /// It ends, and what is around it goes on.
    fn close(&mut self) {
        self.end_command();
        if let Some(Open { mut command, word, file, first, .. }) = self.open.pop() {
            if file {
                command.files.push((command.words.len(), first..self.out.len()));
            }
            (self.command, self.word) = (command, word);
            self.word.begun = true;
        }
    }

    fn end_word(&mut self) {
        let word = std::mem::take(&mut self.word);
        if !word.begun && word.text.is_empty() {
            return;
        }
        // Reserved words stand where a command begins.
        if !word.begun
            && self.command.words.is_empty()
            && matches!(word.text.as_slice(), b"{" | b"!")
        {
            return;
        }
        match std::mem::take(&mut self.command.next) {
            Next::Own => self.command.words.push(word),
            Next::Given => self.command.given.push(word),
            Next::Target => self.command.targets.push(word),
            Next::Source => {}
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        let command = std::mem::take(&mut self.command);
        if !command.is_empty() {
            self.out.push(command);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<String>> {
        let word = |word: &Word| String::from_utf8_lossy(&word.text).into_owned();
        let words = |command: &Command| command.words.iter().map(word).collect();
        commands(text.as_bytes()).iter().map(words).collect()
    }

    #[test]
    fn words_are_those_of_a_shell() {
        assert_eq!(words("a 'b c' \"d\\\"e\" f\\ g ''"), [["a", "b c", "d\"e", "f g", ""]]);
        assert_eq!(
            words("a|b;c && d\n$(e)"),
            [vec!["a"], vec!["b"], vec!["c"], vec!["d"], vec!["e"], vec!["$"]]
        );
        assert_eq!(words("a 'never closed; b"), [["a", "never closed; b"]]);
        assert_eq!(
            words("a $(b c) d `e f` g"),
            [vec!["b", "c"], vec!["e", "f"], vec!["a", "$", "d", "", "g"]]
        );
        assert_eq!(words("a 2>&1 -b &>x; c >x -d <y"), [vec!["a", "-b"], vec!["c", "-d"]]);
        assert_eq!(
            words("a \\\n b ${c} {d,e} { f; }"),
            [vec!["a", "b", "${c}", "{d,e}", "{", "f"], vec!["}"]]
        );
        assert!(words(" ; \n").is_empty());
    }
}

//! Commands within an argument: `sh -c '…'`, `ssh host '…'`. Their words are found as a shell
//! finds them (POSIX, Shell Command Language, 2.2 to 2.4, 2.6 and 2.7), so that what a word's
//! neighbours tell is known there too, and what one command hands to another. Nothing is expanded: a
//! secret that a variable holds does not stand there.

use std::ops::Range;

use super::span::Span;
use super::{argv, keys};
use crate::model::Raw;

/// Longer texts are programs and no commands that somebody typed.
const LONGEST: usize = 256 * 1024;
/// Substitutions stand within each other this deep; deeper ones are read as words.
const NESTED: usize = 16;
/// What says that a command reads a secret from its standard input: a word of its own, or two.
const READS: &[&[&str]] = &[
    &["--password-stdin"],
    &["--with-token"],
    &["--stdin"],
    &["--token-stdin"],
    &["--passphrase-fd"],
    &["--key-file=-"],
    &["--key-file", "-"],
    &["sudo", "-S"],
    &["su"],
    &["chpasswd"],
    &["cryptsetup"],
    &["smbpasswd", "-s"],
    &["passwd"],
    &["pass", "insert"],
    &["secret-tool", "store"],
    &["lpass"],
    &["bw"],
    &["secret", "create"],
    &["secret", "set"],
    &["secret", "put"],
    &["secrets", "set"],
    &["env", "add"],
    &["vault", "-"],
    &["ssh-add", "-"],
    &["htpasswd", "-i"],
    &["-passin", "stdin"],
    &["-pass", "stdin"],
    &["gpg", "--passphrase-fd"],
    &["kinit"],
    &["realm", "join"],
    &["vncpasswd"],
    &["createuser"],
    &["--data-file=-"],
];

/// A word without its quotes.
#[derive(Default)]
struct Word {
    text: Vec<u8>,
    /// Where each byte stands in the command.
    at: Vec<usize>,
    /// Whether a quote began it, so that it is one even when it is empty.
    begun: bool,
}

/// A simple command.
#[derive(Default)]
struct Command {
    words: Vec<Word>,
    /// What the next word is, where it is none of the command's own.
    next: Next,
    /// What a here-string hands to it.
    given: Vec<Word>,
    /// The files that it writes to.
    targets: Vec<Word>,
    /// Which commands' output it is given as a file, and as which of its words.
    files: Vec<(usize, Range<usize>)>,
    /// Its output goes into the next.
    piped: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Next {
    #[default]
    Own,
    Source,
    Given,
    Target,
}

/// What the words of a text tell of their neighbours. `depth` is how many texts more may stand
/// within each other's quotes.
pub(super) fn spans(text: &[u8], depth: u32) -> Vec<Span> {
    let mut out = vec![];
    if depth == 0 || text.len() > LONGEST || !text.iter().any(u8::is_ascii_whitespace) {
        return out;
    }
    let commands = commands(text);
    for (index, command) in commands.iter().enumerate() {
        let words: Vec<Raw> = command.words.iter().map(|word| Raw::from(&word.text[..])).collect();
        for (word, spans) in command.words.iter().zip(argv::plan_within(&words, depth - 1)) {
            out.extend(spans.into_iter().filter_map(|span| word.place(span)));
        }
        let before = index.checked_sub(1).and_then(|index| commands.get(index));
        let before = before.filter(|before| before.piped);
        let kept = command.targets.iter().any(Word::names_a_secret);
        if command.given.is_empty() && before.is_none() && command.files.is_empty() && !kept {
            // Nothing is handed to it, as to most.
            continue;
        }
        let reads = command.reads();
        let pairs = command.has("chpasswd");
        if reads {
            out.extend(command.given.iter().filter_map(|word| word.handed(pairs)));
        }
        if let Some(before) = before.filter(|_| reads) {
            out.extend(before.said().filter_map(|word| word.handed(pairs)));
        }
        for (word, within) in &command.files {
            if reads || command.takes_a_file(*word) {
                let said = commands.get(within.clone()).into_iter().flatten();
                out.extend(said.flat_map(Command::said).filter_map(|word| word.handed(pairs)));
            }
        }
        if kept {
            out.extend(command.said().filter_map(|word| word.handed(pairs)));
        }
    }
    out
}

impl Command {
    fn is_empty(&self) -> bool {
        self.words.is_empty() && self.given.is_empty() && self.targets.is_empty()
    }

    fn has(&self, word: &str) -> bool {
        let is = |own: &Word| {
            own.text == word.as_bytes()
                || own.text.rsplit(|&b| b == b'/').next() == Some(word.as_bytes())
        };
        self.words.iter().any(is)
    }

    /// Whether it reads a secret from its standard input.
    fn reads(&self) -> bool {
        READS.iter().any(|words| words.iter().all(|word| self.has(word)))
    }

    /// Whether one of its words is a file with a secret: by the flag before it, or joined to it.
    fn takes_a_file(&self, word: usize) -> bool {
        let flag = |word: &Word| {
            let flag = word.text.strip_suffix(b"=").unwrap_or(&word.text);
            let name = flag.strip_suffix(b"file").map_or(flag, |name| {
                name.strip_suffix(b"-").or(name.strip_suffix(b"_")).unwrap_or(name)
            });
            let pass = matches!(name, b"-pass" | b"-passin" | b"-passout");
            name.starts_with(b"-") && (pass || keys::is_secret(name))
        };
        let before = word.checked_sub(1).and_then(|before| self.words.get(before));
        self.words.get(word).is_some_and(flag) || before.is_some_and(flag)
    }

    /// What it prints, where it is a command that prints its arguments.
    fn said(&self) -> impl Iterator<Item = &Word> {
        let says = self.has("echo") || self.has("printf") || self.has("print");
        let forms = self.has("printf");
        self.words.iter().skip(1).enumerate().filter_map(move |(index, word)| {
            // A format is none of what it forms.
            let format = forms && index == 0 && word.text.contains(&b'%');
            let name = matches!(word.text.as_slice(), b"echo" | b"printf" | b"print");
            (says && !format && !name && !word.text.starts_with(b"-")).then_some(word)
        })
    }
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

    /// It as the secret that a command takes; `pairs` says that it takes `user:password`.
    fn handed(&self, pairs: bool) -> Option<Span> {
        let mut from = 0;
        if pairs {
            from = self.text.iter().position(|&b| b == b':').map_or(0, |at| at + 1);
        }
        let value = self.text.get(from..).unwrap_or_default();
        // A variable's value does not stand here.
        let worth = super::structure::is_a_value(value);
        worth.then(|| Span::new(from, self.text.len(), "password")).and_then(|s| self.place(s))
    }

    /// A span of the word as one of the text that it stands in.
    fn place(&self, mut span: Span) -> Option<Span> {
        let value = span.value(&self.text).to_vec();
        let (first, last) = (self.at.get(span.start)?, self.at.get(span.end.checked_sub(1)?)?);
        (span.start, span.end) = (*first, last + 1);
        span.decoded = Some(value);
        (span.start < span.end).then_some(span)
    }

    /// Whether it is a file that a secret is kept in: `/etc/token`, `~/.pgpass`, `key.secret`.
    fn names_a_secret(&self) -> bool {
        let name = self.text.rsplit(|&b| b == b'/').next().unwrap_or_default();
        let known: &[&[u8]] = &[b".pgpass", b".netrc", b".my.cnf", b".git-credentials"];
        let stem = name.strip_suffix(b".txt").unwrap_or(name);
        known.contains(&name) || keys::is_secret(stem)
    }
}

/// The simple commands of a text, in the order in which they begin. What has no closing quote ends
/// with the text.
fn commands(text: &[u8]) -> Vec<Command> {
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
    use proptest::prelude::*;

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

    #[test]
    fn a_word_knows_where_its_bytes_stand() {
        let text = b"x --password='a b'\"c\" y";
        let spans = spans(text, 1);
        let found: Vec<&[u8]> = spans.iter().map(|span| span.of(text)).collect();
        assert_eq!(found, [&b"a b'\"c"[..]]);
        assert_eq!(spans[0].value(text), b"a bc");
    }

    #[test]
    fn what_a_command_is_given_as_a_file_is_what_another_says() {
        let found = |text: &str| -> Vec<String> {
            let spans = spans(text.as_bytes(), 1);
            let value = |span: &Span| String::from_utf8_lossy(span.of(text.as_bytes())).into();
            spans.iter().map(value).collect()
        };
        for text in [
            "restic --password-file <(echo hunter2) backup /srv",
            "ansible-vault view --vault-password-file=<(echo hunter2) x.yml",
            "openssl pkcs12 -passin file:<(printf '%s' hunter2) -in a",
            "gpg --batch --passphrase-fd 3 -d a 3< <(echo hunter2)",
            "cryptsetup open /dev/x y --key-file <(echo -n hunter2)",
            "chpasswd < <(echo me:hunter2)",
        ] {
            assert_eq!(found(text).last().map(String::as_str), Some("hunter2"), "{text}");
        }
        for text in ["diff <(echo a1b2c3) <(echo d4e5f6)", "cat --number <(echo hunter2)"] {
            assert!(found(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn what_a_command_hands_on_takes_time_by_its_length() {
        // A look at all words for each of them takes minutes.
        let words = LONGEST / 5 - 8;
        let text = format!("echo{}>token", " zQ7v".repeat(words));
        let begun = std::time::Instant::now();
        let spans = spans(text.as_bytes(), 1);
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
        assert_eq!(spans.len(), words);
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

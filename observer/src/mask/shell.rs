//! Commands within an argument: `sh -c '…'`, `ssh host '…'`. They are taken apart as a shell does it
//! (`parse`), so that what a word's neighbours tell is known there too, and what one command hands to
//! another.

mod parse;

use super::span::Span;
use super::{argv, keys};
use crate::model::Raw;
use parse::{Command, Word, commands};

/// Longer texts are programs and no commands that somebody typed.
const LONGEST: usize = 256 * 1024;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

//! Commands that stand in a text: a log's `+ docker login -p X`, a line of a script, what is quoted in
//! Markdown. Where a program that is known begins one, its words are read as a shell reads them.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::mask::span::Span;
use crate::mask::{argv, random, shell};

/// So far before its first flag a command's program stands.
const BACK: usize = 256;
/// Longer ones are read to here.
const LONGEST: usize = 4096;

/// What hands something to a command.
const HANDED: &[&[u8]] = &[b"echo", b"printf", b"<<<"];
/// Words of commands that take a secret without a flag, or are handed one.
const WORDS: &[&[u8]] = &[
    b"echo",
    b"printf",
    b"<<<",
    b"alias",
    b"sqlplus",
    b"sqlldr",
    b"expdp",
    b"impdp",
    b"wandb",
    b"rabbitmqctl",
    b"wpa_passphrase",
    b"unlock",
    b"net",
    b"schtasks",
    b"signtool",
    b"xfreerdp",
    b"wfreerdp",
    b"unseal",
    b"db2",
    b"set-initial-password",
    b"iwconfig",
];

/// What the last three bytes of them may be: most words of a text end otherwise.
const ENDINGS: [bool; 4096] = {
    let mut out = [false; 4096];
    let mut at = 0;
    while at < WORDS.len() {
        if let Some(&three) = WORDS[at].last_chunk() {
            out[slot(three)] = true;
        }
        at += 1;
    }
    out
};

const fn slot([first, second, third]: [u8; 3]) -> usize {
    (first as usize * 7 + second as usize * 61 + third as usize * 509) % 4096
}

/// Whether a text ends with a word of a command that has no flag.
#[inline]
pub(in crate::mask) fn names_one(text: &[u8]) -> bool {
    text.last_chunk().is_some_and(|&three| ENDINGS[slot(three)]) && ends_with_one(text)
}

fn ends_with_one(text: &[u8]) -> bool {
    let is = |word: &&[u8]| {
        text.strip_suffix(*word).is_some_and(|rest| rest.last().is_none_or(|&b| ends_word(b)))
    };
    WORDS.iter().any(is)
}

static FLAG: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b" -"));

/// Looks for all of them; `words` are the places where a word ends that `names_one`.
pub(in crate::mask) fn find(text: &[u8], words: &[usize], spans: &mut Vec<Span>) {
    // A command that takes a secret has a flag nearly always, and a text without commands few; the
    // others have words of their own, or are handed something.
    let letter =
        |&at: &usize| text.get(at + 2).is_some_and(|b| b.is_ascii_alphabetic() || *b == b'-');
    let mut flags = FLAG.find_iter(text).filter(letter).peekable();
    let mut words = words.iter().copied().peekable();
    let next = std::iter::from_fn(|| match (flags.peek(), words.peek()) {
        (Some(&flag), word) if word.is_none_or(|&word| flag < word) => {
            flags.next().map(|flag| (flag, true))
        }
        _ => words.next().map(|word| (word, false)),
    });
    let mut read = 0;
    for (sign, flag) in next {
        if sign < read {
            continue;
        }
        let from = sign.saturating_sub(BACK).max(read);
        let from = text[from..sign].iter().rposition(|&b| b == b'\n').map_or(from, |at| from + at);
        read = sign;
        let Some(begin) = program(text, from, sign) else { continue };
        let end = end(text, begin, sign);
        let handed = HANDED.iter().any(|word| text[..sign].ends_with(word));
        for mut span in shell::spans(&text[begin..end], 1) {
            span.start += begin;
            span.end += begin;
            // What is said of commands has their form.
            if flag || handed || !is_said(span.of(text)) {
                spans.push(span);
            }
        }
        read = end;
    }
}

/// Whether it may be a word of a sentence.
fn is_said(value: &[u8]) -> bool {
    let letters = value.strip_suffix(b".").unwrap_or(value);
    letters.iter().skip(1).all(|b| b.is_ascii_lowercase() || *b == b'-')
        && !random::is_random(value)
}

/// Where a program that is known stands as a command's first word, before the flag at `to`.
fn program(text: &[u8], from: usize, to: usize) -> Option<usize> {
    let mut at = from;
    let mut first = from == 0 || text.get(from) == Some(&b'\n');
    while at < to {
        let b = text[at];
        if matches!(b, b' ' | b'\t' | b'\n') {
            at += 1;
            continue;
        }
        let len = text[at..to].iter().take_while(|b| !ends_word(**b)).count();
        let word = &text[at..at + len];
        if first && argv::is_known(word) {
            return Some(at);
        }
        // What stands before a command: a prompt, a list's sign, another program, a variable.
        let leads = matches!(
            word,
            b"sudo" | b"exec" | b"time" | b"env" | b"nohup" | b"RUN" | b"then" | b"do"
        ) || word.iter().all(|b| b"+$#%>*-".contains(b))
            || word.ends_with(b"$")
            || word.contains(&b'=');
        first = first && leads && len > 0;
        at += len;
        if let Some(&sign) = text.get(at).filter(|&&b| at < to && ends_word(b)) {
            first |= !sign.is_ascii_whitespace();
            at += 1;
        }
    }
    None
}

/// What ends a word, and unless it is white space begins a command.
fn ends_word(b: u8) -> bool {
    b.is_ascii_whitespace()
        || matches!(b, b'"' | b'\'' | b'`' | b'|' | b';' | b'&' | b'(' | b')' | b':')
}

/// Where the command ends that begins there: with its line, or with the quote that it stands in.
fn end(text: &[u8], begin: usize, flag: usize) -> usize {
    let quote =
        begin.checked_sub(1).map(|at| text[at]).filter(|b| matches!(b, b'"' | b'\'' | b'`'));
    let most = text.len().min(begin + LONGEST);
    let mut last = 0;
    for (at, &b) in text[..most].iter().enumerate().skip(flag) {
        if Some(b) == quote || b == b'\n' && last != b'\\' {
            return at;
        }
        last = b;
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<usize> {
        let ends = text.match_indices(' ').map(|(at, _)| at);
        ends.filter(|&at| names_one(&text.as_bytes()[..at])).collect()
    }

    fn found(text: &str) -> Vec<&str> {
        let mut spans = vec![];
        find(text.as_bytes(), &words(text), &mut spans);
        spans.iter().map(|span| &text[span.start..span.end]).collect()
    }

    #[test]
    fn a_command_in_a_text_is_read_as_a_shell_reads_it() {
        for text in [
            "+ docker login -u ci -p hunter2 r.example.org\n",
            "first a line\n$ sudo mysql -u root -phunter2 app",
            "run `mysql -u root -phunter2`, then wait",
            "a -x | curl -s -u me:hunter2 https://h/",
            "RUN curl -sS \\\n  -u me:hunter2 https://h/",
            "{\"content\":\"curl -u me:hunter2 h\"}",
            "$ echo root:hunter2 | chpasswd\n",
            "printf '%s' hunter2 | podman secret create db -",
            "then: kinit me <<< hunter2",
            "xfreerdp /u:me /p:hunter2 /v:h",
            "net use X: \\\\h\\s hunter2 /user:me",
        ] {
            assert_eq!(found(text), ["hunter2"], "{text}");
        }
    }

    #[test]
    fn what_is_no_command_is_left_alone() {
        for text in [
            "the option curl takes -u for a user:name",
            "- one -p two\n- three -a four",
            "a - b -c d:e",
            "curl -s https://h/a:b",
            "docker run -p 8080:80 nginx",
            "net use of energy rises\nnet user growth slows.",
            "echo the password again",
        ] {
            assert!(found(text).is_empty(), "{text}: {:?}", found(text));
        }
    }

    #[test]
    fn many_flags_take_time_by_the_length_of_the_text() {
        let begun = std::time::Instant::now();
        for text in
            [" -a", "echo a <<< ", "net use", "curl -a", "\ncurl -u a:b", "x\" -a", "a:b -c|"]
        {
            let mut spans = vec![];
            let text = text.repeat((1 << 20) / text.len());
            find(text.as_bytes(), &words(&text), &mut spans);
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(120), "{:?}", begun.elapsed());
    }
}

//! Commands that stand in a text: a log's `+ docker login -p X`, a line of a script, what is quoted in
//! Markdown. Where a program that is known begins one, its words are read as a shell reads them.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::needles::{Needle, Needles};
use crate::mask::span::Span;
use crate::mask::{argv, random, shell};

/// So far before its first flag a command's program stands.
const BACK: usize = 256;
/// Longer ones are read to here.
const LONGEST: usize = 4096;

/// What begins a command that hands something to another.
const HANDED: &[&str] = &["echo ", "printf ", " <<< "];

static FLAG: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b" -"));

/// Looks for all of them.
pub(super) fn find(text: &[u8], needles: &Needles, spans: &mut Vec<Span>) {
    // A command that takes a secret has a flag nearly always, and a text without commands few; the
    // others begin with words of their own, or are handed something.
    let letter =
        |&at: &usize| text.get(at + 2).is_some_and(|b| b.is_ascii_alphabetic() || *b == b'-');
    let mut flags = FLAG.find_iter(text).filter(letter).peekable();
    let mut words = needles.of(Needle::Command).iter().copied().peekable();
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
        let to = sign + text[sign..].iter().take_while(|b| !ends_word(**b)).count();
        read = sign;
        let Some(begin) = program(text, from, to) else { continue };
        let end = end(text, begin, sign);
        let handed = HANDED.iter().any(|word| text[sign..].starts_with(word.as_bytes()));
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

    fn found(text: &str) -> Vec<&str> {
        let mut spans = vec![];
        find(text.as_bytes(), &Needles::find(text.as_bytes()), &mut spans);
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
            find(text.as_bytes(), &Needles::find(text.as_bytes()), &mut spans);
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(120), "{:?}", begun.elapsed());
    }
}

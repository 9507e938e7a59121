//! JSON bodies: masked literal by literal, so that what is stored is JSON again, with every number as
//! it stood and every key in its place.

use serde::de::IgnoredAny;

use super::fields::Fields;
use super::span::{self, Span};
use super::{argv, keys, shell, structure};
use crate::model::Raw;

/// Texts of JSON may stand within each other's strings this deep.
const NESTED: u32 = 2;

/// A string's inside, a number or a word of a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Literal {
    start: usize,
    end: usize,
    string: bool,
    /// It stands below a key that names secrets, and is no key itself.
    secret: bool,
    /// The number of the list that it stands in, from 1; 0 for none.
    list: usize,
}

/// Masks a JSON text, or several one after another; none where it is none, or so deep that
/// `serde_json` (128 levels) does not read it.
pub(super) fn masked(fields: &mut Fields<'_>, text: &[u8]) -> Option<Raw> {
    is_json(text).then_some(())?;
    let (literals, known) = judged(text, NESTED);
    let clusters = span::merge(fields.masker.spans(text, known));
    if clusters.is_empty() {
        return Some(Raw::from(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let (mut at, mut next) = (0, 0);
    for literal in literals {
        // A cluster may lie over several literals: each loses its own part.
        while clusters.get(next).is_some_and(|cluster| cluster.end <= literal.start) {
            next += 1;
        }
        let mut here = next;
        while let Some(cluster) = clusters.get(here).filter(|c| c.start < literal.end) {
            here += 1;
            let (start, end) = widened(text, &literal, cluster.start, cluster.end);
            let start = start.max(at);
            if start >= end {
                continue;
            }
            out.extend_from_slice(text.get(at..start).unwrap_or_default());
            let whole = cluster.start >= literal.start && cluster.end <= literal.end;
            let mut tokens = String::new();
            if whole {
                for (sort, value) in cluster.tokens(text) {
                    tokens += &fields.token(sort, value);
                }
            } else {
                let sort = cluster.spans.first().map_or("secret", |span| span.sort);
                tokens = fields.token(sort, text.get(start..end).unwrap_or_default());
            }
            let quote = if literal.string { "" } else { "\"" };
            out.extend_from_slice(format!("{quote}{tokens}{quote}").as_bytes());
            at = end;
        }
    }
    out.extend_from_slice(text.get(at..).unwrap_or_default());
    // It can't be anything else; if it is, it is a text whose masking is done by spans alone.
    is_json(&out).then(|| Raw::new(out))
}

/// What the keys and the commands of a text tell, where it is JSON and not long.
pub(super) fn known(text: &[u8]) -> Vec<Span> {
    const LONGEST: usize = 64 * 1024;
    let begins = matches!(text.first(), Some(b'{' | b'['));
    if !begins || text.len() > LONGEST || !is_json(text) {
        return vec![];
    }
    judged(text, NESTED).1
}

fn is_json(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok()
        && serde_json::Deserializer::from_slice(text)
            .into_iter::<IgnoredAny>()
            .all(|value| value.is_ok())
}

/// The literals of a text that is JSON, and what their keys and neighbours tell of them. `nested` is
/// how many JSON texts may stand within each other's strings.
fn judged(text: &[u8], nested: u32) -> (Vec<Literal>, Vec<Span>) {
    let literals = literals(text);
    let mut known: Vec<Span> =
        literals.iter().filter(|l| l.secret).filter_map(|l| told(text, l)).collect();
    commands(text, &literals, &mut known);
    // A tool's arguments are often JSON within a string.
    let inner = |l: &&Literal| l.string && matches!(text.get(l.start), Some(b'{' | b'['));
    for literal in literals.iter().filter(inner).filter(|_| nested > 0) {
        if let Some(plain) = literal.plain(text).filter(|plain| is_json(&plain.bytes)) {
            let (_, within) = judged(&plain.bytes, nested - 1);
            known.extend(within.into_iter().filter_map(|span| plain.place(span)));
        }
    }
    (literals, known)
}

/// What commands tell of their arguments: a list of strings may be one (`["mysql", "-pX"]`, after a
/// `"command"` beside it), and a string under a key that names commands is a shell's text.
fn commands(text: &[u8], literals: &[Literal], known: &mut Vec<Span>) {
    let mut program: Option<Raw> = None;
    let mut at = 0;
    while let Some(literal) = literals.get(at) {
        let after = text.get(literal.end + 1..).unwrap_or_default().trim_ascii_start();
        if literal.list == 0 {
            // A key and, next to it, its value.
            let named =
                literal.string && after.first() == Some(&b':') && names_commands(literal.of(text));
            if named
                && let Some(value) =
                    literals.get(at + 1).filter(|value| value.string && value.list == 0)
                && let Some(command) = value.plain(text)
            {
                let spans = shell::spans(&command.bytes, argv::DEPTH);
                known.extend(spans.into_iter().filter_map(|span| command.place(span)));
                program = Some(Raw::new(command.bytes));
            }
            at += 1;
            continue;
        }
        let list = literal.list;
        let end = at + literals[at..].iter().take_while(|l| l.list == list).count();
        let strings = &literals[at..end];
        at = end;
        if !strings.iter().all(|literal| literal.string) || strings.len() > ARGUMENTS {
            continue;
        }
        let plain: Vec<Plain> = strings.iter().filter_map(|l| l.plain(text)).collect();
        let words = |first: Option<&Raw>| -> Vec<Raw> {
            first
                .cloned()
                .into_iter()
                .chain(plain.iter().map(|p| Raw::from(&p.bytes[..])))
                .collect()
        };
        for first in [None, program.as_ref()].into_iter().take(1 + usize::from(program.is_some())) {
            let plan = argv::plan_within(&words(first), argv::DEPTH);
            for (plain, spans) in
                plain.iter().zip(plan.into_iter().skip(usize::from(first.is_some())))
            {
                known.extend(spans.into_iter().filter_map(|span| plain.place(span)));
            }
        }
    }
}

/// Longer lists are no commands.
const ARGUMENTS: usize = 256;

fn names_commands(key: &[u8]) -> bool {
    const NAMES: &[&[u8]] = &[
        b"command",
        b"cmd",
        b"script",
        b"shell",
        b"bash",
        b"exec",
        b"run",
        b"entrypoint",
        b"program",
        b"commandline",
        b"input",
    ];
    NAMES.iter().any(|name| key.eq_ignore_ascii_case(name))
}

/// A string without its escapes, and where each byte of it stands.
struct Plain {
    bytes: Vec<u8>,
    at: Vec<usize>,
}

impl Plain {
    fn place(&self, mut span: Span) -> Option<Span> {
        span.decoded = Some(span.value(&self.bytes).to_vec());
        let last = *self.at.get(span.end)?;
        span.start = *self.at.get(span.start)?;
        span.end = last;
        (span.start < span.end).then_some(span)
    }
}

impl Literal {
    fn of<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// The string that it stands for; none where that is long or odd.
    fn plain(&self, text: &[u8]) -> Option<Plain> {
        const LONGEST: usize = 64 * 1024;
        let inner = self.of(text);
        if inner.len() > LONGEST {
            return None;
        }
        let mut plain = Plain { bytes: Vec::with_capacity(inner.len()), at: vec![] };
        let mut from = 0;
        while from < inner.len() {
            let rest = &inner[from..];
            let len = match rest {
                // Both halves of a pair.
                [b'\\', b'u', b'd' | b'D', ..] => rest.len().min(12),
                [b'\\', b'u', ..] => rest.len().min(6),
                [b'\\', ..] => rest.len().min(2),
                _ => rest.iter().take_while(|&&b| b != b'\\').count(),
            };
            let piece = &rest[..len];
            if piece.first() == Some(&b'\\') {
                let quoted = [b"\"", piece, b"\""].concat();
                let read = serde_json::from_slice::<String>(&quoted).ok()?;
                plain.at.extend(read.bytes().map(|_| self.start + from));
                plain.bytes.extend_from_slice(read.as_bytes());
            } else {
                plain.at.extend((0..len).map(|n| self.start + from + n));
                plain.bytes.extend_from_slice(piece);
            }
            from += len;
        }
        plain.at.push(self.end);
        Some(plain)
    }
}

/// The place of a value that its key tells.
fn told(text: &[u8], literal: &Literal) -> Option<Span> {
    let raw = text.get(literal.start..literal.end)?;
    let mut span = Span::new(literal.start, literal.end, "secret").by("key");
    if raw.contains(&b'\\') {
        let quoted = text.get(literal.start - 1..literal.end + 1)?;
        span.decoded = Some(serde_json::from_slice::<String>(quoted).ok()?.into_bytes());
    }
    let value = span.value(text);
    let word = value.iter().all(u8::is_ascii_alphabetic) && value.len() < 16;
    let odd = literal.string && !word && structure::is_a_value(value);
    odd.then_some(span)
}

/// A stretch of a literal that cuts no escape: numbers go as a whole.
fn widened(text: &[u8], literal: &Literal, start: usize, end: usize) -> (usize, usize) {
    if !literal.string {
        return (literal.start, literal.end);
    }
    let (mut from, mut to) = (start.max(literal.start), end.min(literal.end));
    // The escape that a place stands in begins at most eleven bytes before it.
    let open = |place: usize| {
        let mut at = place;
        let mut first = None;
        while at > literal.start && place - at < 6 {
            at -= 1;
            if text.get(at) == Some(&b'\\') {
                let run = text[literal.start..at].iter().rev().take_while(|&&b| b == b'\\').count();
                let len = if text.get(at + 1) == Some(&b'u') { 6 } else { 2 };
                if run % 2 == 0 && at + len > place {
                    first = Some((at, at + len));
                }
                break;
            }
        }
        first
    };
    if let Some((begin, _)) = open(from) {
        from = begin;
    }
    if let Some((_, end)) = open(to) {
        to = end.min(literal.end);
    }
    (from, to)
}

/// The literals of a text that is JSON, in order.
fn literals(text: &[u8]) -> Vec<Literal> {
    /// So many bytes a literal takes with what stands around it, more or less.
    const USUAL: usize = 16;
    let mut out = Vec::with_capacity(text.len() / USUAL);
    // For each object or list that is open: whether it is an object, whether it is secret, and a
    // list's number.
    let mut open: Vec<(bool, bool, usize)> = vec![];
    // A Secret of Kubernetes' has them under keys that say nothing.
    let has = |word: &[u8]| memchr::memmem::find(text, word).is_some();
    let kubernetes = has(b"\"Secret\"") && has(b"\"kind\"");
    let mut lists = 0;
    let mut key_secret = false;
    let mut expects_key = false;
    let mut at = 0;
    while let Some(&b) = text.get(at) {
        let (_, inside, list) = open.last().copied().unwrap_or_default();
        match b {
            b'{' | b'[' => {
                lists += usize::from(b == b'[');
                open.push((b == b'{', inside || key_secret, if b == b'[' { lists } else { 0 }));
                (expects_key, key_secret) = (b == b'{', false);
            }
            b'}' | b']' => {
                open.pop();
                (expects_key, key_secret) = (false, false);
            }
            b',' => {
                (expects_key, key_secret) =
                    (open.last().is_some_and(|&(object, ..)| object), false);
            }
            b':' => expects_key = false,
            b'"' => {
                let start = at + 1;
                let mut end = start;
                while let Some(&b) = text.get(end).filter(|&&b| b != b'"') {
                    end += if b == b'\\' { 2 } else { 1 };
                }
                let end = end.min(text.len());
                let secret = !expects_key && inside && !key_secret && !is_about(text, &out);
                out.push(Literal { start, end, string: true, secret, list });
                if expects_key {
                    let key = &text[start..end];
                    key_secret =
                        names_secrets(key) || kubernetes && matches!(key, b"data" | b"stringData");
                }
                at = end;
            }
            b'-' | b'0'..=b'9' | b'a'..=b'z' => {
                let ends = |b: &u8| b",]}:{[\"".contains(b) || b.is_ascii_whitespace();
                let len = text[at..].iter().take_while(|b| !ends(b)).count();
                out.push(Literal { start: at, end: at + len, string: false, secret: false, list });
                at += len - 1;
            }
            _ => {}
        }
        at += 1;
    }
    out
}

/// Whether a key's object or list holds secrets, whatever their own keys say.
fn names_secrets(key: &[u8]) -> bool {
    const GROUPS: &[&[u8]] = &[
        b"secret",
        b"password",
        b"passwd",
        b"passphrase",
        b"credential",
        b"creds",
        b"token",
        b"apikey",
    ];
    if !keys::is_secret(key) {
        return false;
    }
    let lower: Vec<u8> =
        key.iter().filter(|b| b.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect();
    let lower = lower.strip_suffix(b"s").unwrap_or(&lower);
    GROUPS.iter().any(|group| lower.ends_with(group.strip_suffix(b"s").unwrap_or(group)))
}

/// Whether the key that was met last says that its value is about a secret: its type, its name.
fn is_about(text: &[u8], literals: &[Literal]) -> bool {
    literals.last().is_some_and(|key| {
        let after = text.get(key.end + 1..).unwrap_or_default();
        let sign = after.trim_ascii_start().first();
        key.string && sign == Some(&b':') && keys::is_about(&text[key.start..key.end])
    })
}

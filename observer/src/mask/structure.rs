//! Secrets that stand where secrets stand: headers, assignments, JSON, form and query keys, URLs,
//! elements of XML, pairs of a name and a value.
//!
//! It is asked at each separator of a text. What it reads backwards is bounded, and what it reads
//! forwards it then covers, so the whole is linear.

mod place;
mod value;

pub(super) use value::{is_a_value, value};

use super::keys::{self, Kind, Known};
use super::phrases;
use super::span::Span;
use value::{Form, is_worth};

/// Headers whose whole value is secret whatever their name says.
const HEADERS: &[&str] = &["authorization", "proxy-authorization", "cookie", "set-cookie"];
/// Within a value that is masked already so many more are looked for, to know them elsewhere.
const INNER: u32 = 16;

/// The state of one pass over a text.
pub(super) struct Structure<'a> {
    covered: usize,
    inner: u32,
    known: &'a mut Known,
}

impl<'a> Structure<'a> {
    pub(super) fn new(known: &'a mut Known) -> Self {
        Self { covered: 0, inner: 0, known }
    }

    /// Looks at the separator (`=`, `:`, `@`, `>`, or a comma after a quote) that stands at `at`.
    pub(super) fn at(&mut self, text: &[u8], at: usize, out: &mut Vec<Span>) {
        if at < self.covered {
            self.inner += 1;
            if self.inner > INNER {
                return;
            }
        }
        let before = out.len();
        match text.get(at) {
            Some(b'@') => place::userinfo(text, at, out),
            Some(b'>') => place::element(text, at, out),
            Some(b',') => phrases::listed(text, at, self.known, out),
            Some(_) => self.assignment(text, at, out),
            None => {}
        }
        let reached = out.iter().skip(before).map(|span| span.end).max().unwrap_or(0);
        if reached > self.covered {
            self.covered = reached;
            self.inner = 0;
        }
    }

    /// `key=value`, `"key": "value"`, `Header: value`.
    fn assignment(&mut self, text: &[u8], at: usize, out: &mut Vec<Span>) {
        let sign = text[at];
        let next = text.get(at + 1).copied().unwrap_or(0);
        let last = at.checked_sub(1).and_then(|i| text.get(i)).copied().unwrap_or(0);
        let operator = match sign {
            b':' => {
                next == b':' && !matches!(text.get(at + 2), Some(b' '))
                    || last == b':' && next != b' '
                    || next == b'='
                    || next == b'/' && text.get(at + 2) == Some(&b'/')
            }
            _ => next == b'=' || b"=!<>+*|^~".contains(&last),
        };
        if operator {
            return;
        }
        // `a := b` and `a => b` are assignments too.
        let key_end = if sign == b'=' && last == b':' { at - 1 } else { at };
        let after = if sign == b'=' && next == b'>' { at + 2 } else { at + 1 };
        // LDIF's `key:: X`.
        let key_end = if sign == b':' && last == b':' { at - 1 } else { key_end };
        let (key_start, key) = place::key_before(text, key_end);
        let (key_start, key) = place::annotated(text, sign, key_start, key);
        if key.is_empty() || sign == b':' && next == b':' {
            return;
        }
        let kind = self.known.kind(key);
        if kind == Kind::Plain || key.len() <= 6 && key.eq_ignore_ascii_case(b"value") {
            if place::is_value_key(key) {
                let (start, end) = value(text, after);
                let named = place::name_before(text, key_start).is_some_and(keys::is_secret)
                    || place::name_after(text, end).is_some_and(keys::is_secret)
                    || place::block_before(text, key_start).is_some_and(keys::is_secret);
                if named && is_a_value(&text[start..end]) {
                    out.push(Span::new(start, end, "secret").by("name-value"));
                }
            }
            return;
        }
        if sign == b':' && place::is_header(text, key, after) {
            place::header(text, key_start, after, out);
            return;
        }
        if kind == Kind::Strong && place::list(text, after, out) {
            return;
        }
        let form = Form::new(text, key_start, key, sign, after);
        if !is_worth(text, &form, kind) {
            return;
        }
        let (start, end) = form.extent(text);
        if start < end && !place::is_session(key, &text[start..end]) {
            let mut span = Span::new(start, end, "secret").by(if kind == Kind::Weak {
                "weak-key"
            } else {
                "key"
            });
            span.learn = form.is_learnt(&text[start..end]);
            out.push(span);
            doubtful(text, start, end, out);
        }
    }
}

/// A shell would end an unquoted value at these, and a password may go on: all of it is masked,
/// and the dictionary knows both.
fn doubtful(text: &[u8], start: usize, end: usize, out: &mut Vec<Span>) {
    let stops = |b: &u8| matches!(b, b'<' | b'>' | b'|');
    if let Some(len) = text[start..end].iter().position(stops).filter(|&len| len > 0) {
        let mut span = Span::new(start, start + len, "secret").by("key");
        span.piece = true;
        out.push(span);
    }
}

/// What goes of a header that stands from `from` on, to the text's end.
pub(super) fn header_line(text: &[u8], from: usize) -> Vec<Span> {
    let mut spans = vec![];
    let line = text.get(from..).unwrap_or_default();
    if let Some(sign) = line.iter().position(|&b| b == b':') {
        let name = line[..sign].trim_ascii();
        let known = HEADERS.iter().any(|header| name.eq_ignore_ascii_case(header.as_bytes()));
        if known || keys::is_secret(name) {
            place::header(text, from, from + sign + 1, &mut spans);
        }
    }
    spans
}

/// Whether an argument is a header with all of its value: what comes after it is another's.
pub(super) fn is_whole_header(arg: &[u8]) -> bool {
    let Some(sign) = arg.iter().position(|&b| b == b':') else { return false };
    let known = HEADERS.iter().any(|name| arg[..sign].eq_ignore_ascii_case(name.as_bytes()));
    let mut spans = vec![];
    if known {
        place::header(arg, 0, sign + 1, &mut spans);
    }
    spans.iter().any(|span| !place::is_scheme(span.of(arg)))
}

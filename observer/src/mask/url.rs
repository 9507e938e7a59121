//! URLs and headers: what a query's and a header's names tell.

use super::fields::Fields;
use super::span::Span;
use super::{Masker, argv, keys, structure};
use crate::model::Raw;

/// So many fields of a query are looked at by their names; the text as a whole is judged anyway.
const FIELDS: usize = 1024;

impl Fields<'_> {
    /// A URL, or the target of a request: the query's and the fragment's fields by their names, and
    /// all of it as a text.
    pub(super) fn url(&mut self, url: Raw, cut: bool) -> Raw {
        let bytes = url.bytes();
        let mut known = vec![];
        if let Some(at) = bytes.iter().position(|b| matches!(b, b'?' | b'#')) {
            query(bytes, at + 1, &mut known);
        }
        if cut {
            known.extend(argv::last_word(bytes));
        }
        self.apply(url, known)
    }

    /// A header: its value by its name, and both as a text. Cookies stand by their names.
    pub(super) fn header(&mut self, name: Raw, value: Raw, cut: bool) -> (Raw, Raw) {
        let text = value.bytes();
        // As the line that it was: there its name tells what the value is.
        let start = name.len() + 2;
        let mut line = [name.bytes(), b": ", text].concat();
        // A value goes on over folded lines (RFC 9112, 5.2).
        for b in line.iter_mut().skip(start).filter(|b| matches!(b, b'\r' | b'\n')) {
            *b = b' ';
        }
        // A line is taken apart in one way alone, and is what the value's own text is.
        let usual = !cut && !name.bytes().contains(&b':') && line.get(start..) == Some(text);
        let Masker { headers, taint, .. } = &mut *self.masker;
        if usual && headers.has(&line, taint) {
            return (name, value);
        }
        let known = self.header_places(name.bytes(), text, &line, start, cut);
        let pair = (self.text(name, false), self.apply(value, known));
        let Masker { headers, clean, taint, .. } = &mut *self.masker;
        let (name, value) = (pair.0.bytes(), pair.1.bytes());
        // Where nothing was found in any of the three, and nothing is encoded in them.
        if usual && [&line, name, value].iter().all(|it| it.is_empty() || clean.has(it, taint)) {
            headers.keep(&line, taint);
        }
        pair
    }

    /// What of a header's value its name tells, and the line that both are, in which the value begins
    /// at `start`.
    fn header_places(
        &mut self,
        name: &[u8],
        text: &[u8],
        line: &[u8],
        start: usize,
        cut: bool,
    ) -> Vec<Span> {
        let lower = name.to_ascii_lowercase();
        let mut known = vec![];
        match lower.as_slice() {
            b"cookie" => cookies(text, usize::MAX, &mut known),
            b"set-cookie" => cookies(text, 1, &mut known),
            b"location" | b"referer" | b"content-location" => {
                if let Some(at) = text.iter().position(|b| matches!(b, b'?' | b'#')) {
                    query(text, at + 1, &mut known);
                }
            }
            _ => {}
        }
        if cut {
            known.extend(argv::last_word(text));
        }
        if !lower.ends_with(b"cookie") {
            let found = self.masker.spans(line, vec![]);
            known.extend(found.into_iter().filter(|span| span.end > start).map(|mut span| {
                if span.start < start {
                    span.decoded = None;
                }
                span.start = span.start.max(start) - start;
                span.end -= start;
                span
            }));
        }
        known
    }
}

/// The values of a query's fields whose names say that they are secret. They go to the next sign,
/// whatever stands in them.
fn query(url: &[u8], from: usize, known: &mut Vec<Span>) {
    let mut at = from;
    for field in url.get(from..).unwrap_or_default().split(is_sign).take(FIELDS) {
        if let Some(sign) = field.iter().position(|&b| b == b'=')
            && keys::is_secret(&field[..sign])
            && structure::is_a_value(&field[sign + 1..])
        {
            known.push(Span::new(at + sign + 1, at + field.len(), "secret").by("query"));
        }
        at += field.len() + 1;
    }
}

fn is_sign(b: &u8) -> bool {
    matches!(b, b'&' | b';' | b'?' | b'#')
}

/// The values of the first so many cookies (RFC 6265, 4.1 and 4.2).
fn cookies(text: &[u8], most: usize, known: &mut Vec<Span>) {
    let mut at = 0;
    for field in text.split(|&b| b == b';').take(most) {
        let sign = field.iter().position(|&b| b == b'=').map_or(0, |sign| sign + 1);
        let space = field[sign..].iter().take_while(|b| b.is_ascii_whitespace()).count();
        let (start, end) = (at + sign + space, at + field.trim_ascii_end().len());
        if start < end {
            known.push(Span::new(start, end, "cookie"));
        }
        at += field.len() + 1;
    }
}

//! Forms: `application/x-www-form-urlencoded` (WHATWG URL, 5.1) and multipart bodies (RFC 2046, 5.1;
//! RFC 7578). Each field is masked by its name.

use super::body::{Body, parameter};
use super::fields::Fields;
use super::span::Span;
use super::{json, keys, structure};
use crate::model::Raw;

/// So many fields and parts are told apart; what is beyond stays one text.
const FIELDS: usize = 1024;
/// The longest headers of a part.
const HEAD: usize = 16 * 1024;

/// A part of a multipart body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The field's name, masked; empty where it has none.
    pub name: Raw,
    /// The name of the file that it came from, masked.
    pub filename: Option<Raw>,
    /// What the part's `Content-Type` says, masked.
    pub kind: Option<Raw>,
    /// What stands in it.
    pub body: Body,
}

/// The fields of a form, decoded and masked.
pub(super) fn fields(fields: &mut Fields<'_>, text: &[u8], cut: bool) -> Vec<(Raw, Raw)> {
    let mut out = vec![];
    let mut rest = Some(text);
    while let Some(here) = rest {
        let end = here.iter().position(|&b| b == b'&').filter(|_| out.len() < FIELDS);
        let field = here.get(..end.unwrap_or(here.len())).unwrap_or_default();
        rest = end.and_then(|end| here.get(end + 1..));
        if field.is_empty() {
            continue;
        }
        let sign = field.iter().position(|&b| b == b'=');
        let (name, value) = match sign {
            Some(sign) => (&field[..sign], &field[sign + 1..]),
            None => (field, &b""[..]),
        };
        let cut = cut && rest.is_none();
        out.push(fields.keyed(&decode(name), &decode(value), cut));
    }
    out
}

impl Fields<'_> {
    /// A field that has a name: what the name tells goes, and whatever else is found in it.
    pub(super) fn keyed(&mut self, name: &[u8], value: &[u8], cut: bool) -> (Raw, Raw) {
        let secret = keys::is_secret(name) && structure::is_a_value(value.trim_ascii());
        if secret {
            self.masker.taint.learn(value, "secret");
            let token = self.token("secret", value);
            let name = self.text(Raw::from(name), cut && value.is_empty());
            return (name, Raw::from(token.as_str()));
        }
        // Name and value as one text, so that a weaker name counts too.
        let both = [name, b"=", value].concat();
        let at = name.len();
        let mut known = json::known(value);
        for span in &mut known {
            (span.start, span.end) = (span.start + at + 1, span.end + at + 1);
        }
        if cut {
            known.extend(super::argv::last_word(&both));
        }
        let spans = self.masker.spans(&both, known);
        let side = |from: usize, to: usize| {
            let inside = move |span: &Span| span.start < to && span.end > from;
            spans.iter().filter(move |span| inside(span)).map(move |span| {
                let mut part = span.clone();
                // What lies over the sign is no value of either alone.
                if span.start < from || span.end > to {
                    part.decoded = None;
                }
                part.start = span.start.max(from) - from;
                part.end = span.end.min(to) - from;
                part
            })
        };
        let (left, right): (Vec<_>, Vec<_>) =
            (side(0, at).collect(), side(at + 1, both.len()).collect());
        (self.replace(name, left), self.replace(value, right))
    }
}

/// Undoes `+` and percent.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    let hex = |b: u8| char::from(b).to_digit(16);
    while let Some(&b) = text.get(at) {
        let pair = text.get(at + 1).zip(text.get(at + 2));
        match (b, pair.and_then(|(&a, &b)| Some(hex(a)? * 16 + hex(b)?))) {
            (b'%', Some(byte)) => {
                out.push(byte as u8);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(b),
        }
        at += 1;
    }
    out
}

/// The parts of a multipart body; none where it has no such form, so that nothing of it vanishes.
pub(super) fn parts(
    fields: &mut Fields<'_>,
    text: &[u8],
    boundary: &[u8],
    cut: bool,
    depth: u32,
) -> Option<Vec<Part>> {
    let split = split(text, boundary, cut)?;
    Some(split.into_iter().map(|(head, body)| part(fields, head, body, depth)).collect())
}

/// What stands between the delimiters, in heads and bodies.
fn split<'a>(text: &'a [u8], boundary: &[u8], cut: bool) -> Option<Vec<(Head, &'a [u8])>> {
    // RFC 2046 bounds it at 70.
    if boundary.is_empty() || boundary.len() > 70 {
        return None;
    }
    let line = [b"--", boundary].concat();
    let finder = memchr::memmem::Finder::new(&line);
    // A delimiter begins a line.
    let mut at = finder.find_iter(text).find(|&at| at == 0 || text[at - 1] == b'\n')?;
    if at > 0 && !text[..at].trim_ascii().is_empty() {
        return None; // a preamble, which nobody sends and nobody judges
    }
    let mut out = vec![];
    loop {
        let after = text.get(at + line.len()..)?;
        if let Some(rest) = after.strip_prefix(b"--") {
            return rest.trim_ascii().is_empty().then_some(out);
        }
        let skip = after.iter().position(|&b| b == b'\n').map(|end| end + 1);
        let Some(begin) = skip.map(|skip| at + line.len() + skip) else {
            let ends = after.trim_ascii();
            return (cut && matches!(ends, b"" | b"-")).then_some(out);
        };
        if !text.get(at + line.len()..begin)?.trim_ascii().is_empty() {
            return None; // text where a delimiter's line may have space alone
        }
        let rest = text.get(begin..)?;
        let next = finder.find_iter(rest).find(|&at| at == 0 || rest[at - 1] == b'\n');
        let content = rest.get(..next.unwrap_or(rest.len()))?;
        if out.len() >= FIELDS || next.is_none() && !cut {
            return None;
        }
        let content = match next {
            Some(_) => strip_line(content),
            None => content,
        };
        out.push(Head::read(content, cut && next.is_none())?);
        match next {
            Some(next) => at = begin + next,
            None => return Some(out),
        }
    }
}

fn strip_line(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

/// What a part's headers say.
#[derive(Default)]
struct Head {
    name: Vec<u8>,
    filename: Option<Vec<u8>>,
    kind: Option<Vec<u8>>,
    coding: Vec<u8>,
    /// The headers that are not stored.
    left: usize,
    /// The capture ended within the part.
    cut: bool,
}

impl Head {
    /// Takes a part's headers apart, and gives its body. None where something stands among them that
    /// is no header, or where no empty line ends them: it would be content, and vanish as theirs.
    fn read(text: &[u8], cut: bool) -> Option<(Self, &[u8])> {
        let mut head = Self { cut, ..Self::default() };
        let mut at = 0;
        loop {
            let rest = text.get(at..)?;
            let len = rest.iter().position(|&b| b == b'\n');
            let line = strip_line(rest.get(..len.map_or(rest.len(), |len| len + 1))?);
            if line.is_empty() {
                return Some((head, rest.get(len.map_or(0, |len| len + 1)..)?));
            }
            if at + line.len() > HEAD {
                return None;
            }
            match len {
                Some(len) => {
                    head.line(line)?;
                    at += len + 1;
                }
                // Where the capture ended within a header there is no more of the part.
                None => {
                    let name = line.split(|&b| b == b':').next().unwrap_or(line);
                    head.left += 1;
                    return (cut && is_name(name)).then_some((head, b""));
                }
            }
        }
    }

    fn line(&mut self, line: &[u8]) -> Option<()> {
        let sign = line.iter().position(|&b| b == b':')?;
        let (name, value) = (&line[..sign], line[sign + 1..].trim_ascii());
        if !is_name(name) {
            return None;
        }
        match name.to_ascii_lowercase().as_slice() {
            b"content-disposition" => {
                self.name = parameter(value, b"name").unwrap_or_default();
                self.filename = parameter(value, b"filename");
            }
            b"content-type" => self.kind = Some(value.to_vec()),
            b"content-transfer-encoding" => self.coding = value.to_ascii_lowercase(),
            _ => self.left += 1,
        }
        Some(())
    }
}

/// Whether it can be a header's name.
fn is_name(name: &[u8]) -> bool {
    const LONGEST: usize = 64;
    let is = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=LONGEST).contains(&name.len()) && name.iter().all(is)
}

fn part(fields: &mut Fields<'_>, head: Head, body: &[u8], depth: u32) -> Part {
    for _ in 0..head.left {
        fields.count("left-out");
    }
    let cut = head.cut;
    let secret = keys::is_secret(&head.name) && head.filename.is_none();
    let body = if secret {
        Body::Text(fields.keyed(&head.name, body, cut).1)
    } else if head.coding == b"base64" {
        Body::Text(fields.text(Raw::from(body), cut))
    } else {
        fields.undone(body, head.kind.as_deref().unwrap_or_default(), cut, depth)
    };
    let mut masked = |text: &[u8]| fields.text(Raw::from(text), false);
    Part {
        name: masked(&head.name),
        filename: head.filename.map(|name| masked(&name)),
        kind: head.kind.map(|kind| masked(&kind)),
        body,
    }
}

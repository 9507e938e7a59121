//! Heads of HTTP/1 messages (RFC 9112 §§2–5). What httparse takes is taken; what it refuses is read
//! as leniently as some servers do, and each leniency is named, since another reader may differ.

use super::super::limits;
use super::collect::Lines;
use crate::model::{HttpFields, HttpVersion, Raw};

/// A start line and fields.
#[derive(Debug)]
pub(super) struct Head<S> {
    pub(super) start: S,
    pub(super) version: HttpVersion,
    pub(super) fields: HttpFields,
    pub(super) doubts: Vec<&'static str>,
}

/// A request's start line.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Vec<u8>,
    pub(super) target: Vec<u8>,
}

/// Reads a request's head.
pub(super) fn request(lines: &Lines) -> Result<Head<Asked>, &'static str> {
    let (first, rest) = first_line(&lines.text);
    let mut doubts = vec![];
    let line = without_end(first, &mut doubts);
    let mut words = line.split(|&b| b == b' ');
    let strict = match (words.next(), words.next(), words.next(), words.next()) {
        (Some(method), Some(target), Some(version), None)
            if !method.is_empty() && !target.is_empty() =>
        {
            Some((method, target, version))
        }
        _ => None,
    };
    let (method, target, version) = match strict {
        Some(parts) => parts,
        None => {
            doubt(&mut doubts, "request-line");
            lenient_start(line).ok_or("a request line without a target or a version")?
        }
    };
    if target.iter().any(|&b| b < b' ' || b == 0x7f) {
        doubt(&mut doubts, "request-line");
    }
    let version = version_of(version, &mut doubts)?;
    let start = Asked { method: method.to_vec(), target: target.to_vec() };
    let fields = fields(rest, lines, &mut doubts);
    Ok(Head { start, version, fields, doubts })
}

/// Reads a response's head; its start is the status.
pub(super) fn response(lines: &Lines) -> Result<Head<u16>, &'static str> {
    let (first, rest) = first_line(&lines.text);
    let mut doubts = vec![];
    let line = without_end(first, &mut doubts);
    let (version, after) =
        line.split_at(line.iter().position(|&b| b == b' ').unwrap_or(line.len()));
    let version = version_of(version, &mut doubts)?;
    let code = after.trim_ascii_start();
    if after.len() != code.len() + 1 {
        doubt(&mut doubts, "status-line");
    }
    let digits = code.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit));
    let digits = digits.ok_or("a status line without a status")?;
    if !matches!(code.get(3), None | Some(b' ')) {
        return Err("a status line without a status");
    }
    let status = digits.iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0'));
    if status < 100 {
        return Err("a status line without a status");
    }
    let fields = fields(rest, lines, &mut doubts);
    Ok(Head { start: status, version, fields, doubts })
}

/// Reads trailers.
pub(super) fn trailers(lines: &Lines, doubts: &mut Vec<&'static str>) -> HttpFields {
    fields(&lines.text, lines, doubts)
}

/// Adds a word that is not there yet.
pub(super) fn doubt(doubts: &mut Vec<&'static str>, word: &'static str) {
    if !doubts.contains(&word) {
        doubts.push(word);
    }
}

fn first_line(text: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', text).map_or(text.len(), |at| at + 1);
    text.split_at(end)
}

fn without_end<'a>(line: &'a [u8], doubts: &mut Vec<&'static str>) -> &'a [u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or_else(|| {
        doubt(doubts, "bare-lf");
        line
    })
}

/// Words between any white space; the target is what stands between the first and the last.
fn lenient_start(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let line = line.trim_ascii();
    let method_end = line.iter().position(u8::is_ascii_whitespace)?;
    let (method, rest) = line.split_at(method_end);
    let rest = rest.trim_ascii();
    let version_start = rest.iter().rposition(u8::is_ascii_whitespace)?;
    let (target, version) = rest.split_at(version_start);
    let (target, version) = (target.trim_ascii(), version.trim_ascii());
    (!target.is_empty()).then_some((method, target, version))
}

/// RFC 9112 §2.3; a minor version that is not known counts as the highest that is (RFC 9110 §2.5).
fn version_of(word: &[u8], doubts: &mut Vec<&'static str>) -> Result<HttpVersion, &'static str> {
    match word {
        b"HTTP/1.1" => Ok(HttpVersion::Http11),
        b"HTTP/1.0" => Ok(HttpVersion::Http10),
        _ => {
            doubt(doubts, "version");
            let own = word.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"HTTP/1."));
            match word.get(7..) {
                Some(b"0") if own => Ok(HttpVersion::Http10),
                Some([digit]) if own && digit.is_ascii_digit() => Ok(HttpVersion::Http11),
                _ => Err("a version of HTTP that is not known"),
            }
        }
    }
}

fn fields(text: &[u8], from: &Lines, doubts: &mut Vec<&'static str>) -> HttpFields {
    let mut out = HttpFields { lines: vec![], bytes: from.seen, cut: from.cut };
    if from.bare {
        doubt(doubts, "bare-lf");
    }
    if !strict(text, &mut out.lines) {
        out.lines.clear();
        out.cut |= !lenient(text, &mut out.lines, doubts);
    }
    out
}

/// What httparse takes and every reader understands alike. False where it refuses.
fn strict(text: &[u8], out: &mut Vec<(Raw, Raw)>) -> bool {
    const MOST: usize = 96;
    let bare = memchr::memchr_iter(b'\n', text).any(|at| at == 0 || text[at - 1] != b'\r');
    if bare {
        return false;
    }
    // The end that was taken off when the lines were collected.
    let mut whole = Vec::with_capacity(text.len() + 2);
    whole.extend_from_slice(text);
    whole.extend_from_slice(b"\r\n");
    let mut headers = [httparse::EMPTY_HEADER; MOST];
    match httparse::parse_headers(&whole, &mut headers) {
        Ok(httparse::Status::Complete((taken, headers))) if taken == whole.len() => {
            let line = |header: &httparse::Header<'_>| {
                (Raw::from(header.name), Raw::from(header.value.trim_ascii()))
            };
            out.extend(headers.iter().map(line));
            true
        }
        _ => false,
    }
}

/// False where there are more fields than are kept.
fn lenient(text: &[u8], out: &mut Vec<(Raw, Raw)>, doubts: &mut Vec<&'static str>) -> bool {
    let mut fields: Vec<(Vec<u8>, Vec<u8>)> = vec![];
    let mut whole = true;
    for line in text.split_inclusive(|&b| b == b'\n') {
        let line = without_end(line, doubts);
        if matches!(line.first(), Some(b' ' | b'\t')) {
            doubt(doubts, "obs-fold");
            if let Some((_, value)) = fields.last_mut() {
                value.push(b' ');
                value.extend_from_slice(line.trim_ascii());
            }
            continue;
        }
        if fields.len() >= limits::FIELDS {
            whole = false;
            continue;
        }
        let (name, value) = match line.iter().position(|&b| b == b':') {
            Some(at) => (&line[..at], line[at + 1..].trim_ascii()),
            None => {
                doubt(doubts, "field-without-colon");
                (&line[..0], line)
            }
        };
        let bare = name.trim_ascii_end();
        if bare.len() != name.len() {
            doubt(doubts, "space-before-colon");
        }
        if !bare.iter().all(|&b| is_token(b)) {
            doubt(doubts, "field-name");
        }
        let control = |b: &u8| *b < b' ' && *b != b'\t' || *b == 0x7f;
        if value.iter().any(control) {
            doubt(doubts, "field-value");
        }
        // RFC 9112 §2.2, RFC 9110 §5.5: CR, LF and NUL within a value are refused or read as spaces.
        let value = value.iter().map(|&b| if b == b'\r' || b == 0 { b' ' } else { b });
        fields.push((bare.to_vec(), value.collect()));
    }
    out.extend(fields.into_iter().map(|(name, value)| (Raw::new(name), Raw::new(value))));
    whole
}

/// tchar (RFC 9110 §5.6.2).
pub(in super::super) fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Lines {
        Lines { text: text.as_bytes().to_vec(), seen: text.len() as u64, cut: false, bare: false }
    }

    fn shown(fields: &HttpFields) -> String {
        let text = |raw: &Raw| String::from_utf8_lossy(raw.bytes()).into_owned();
        let lines =
            fields.lines.iter().map(|(name, value)| format!("{}={}", text(name), text(value)));
        lines.collect::<Vec<_>>().join("|")
    }

    #[test]
    fn an_ordinary_head_raises_no_doubt() {
        let head = request(&lines("GET /a?b HTTP/1.1\r\nHost: h\r\nA:  b \r\n")).unwrap();
        assert_eq!(head.start.method, b"GET");
        assert_eq!(head.start.target, b"/a?b");
        assert_eq!(head.version, HttpVersion::Http11);
        assert_eq!(shown(&head.fields), "Host=h|A=b");
        assert!(head.doubts.is_empty(), "{:?}", head.doubts);
        let head = response(&lines("HTTP/1.0 404 Not Found\r\n")).unwrap();
        assert_eq!((head.start, head.version), (404, HttpVersion::Http10));
        assert!(response(&lines("HTTP/1.1 200\r\n")).unwrap().doubts.is_empty());
    }

    #[test]
    fn each_leniency_is_named() {
        for (text, fields, doubt) in [
            ("GET / HTTP/1.1\nHost: h\r\n", "Host=h", "bare-lf"),
            ("GET / HTTP/1.1\r\nHost: h\nA: b\r\n", "Host=h|A=b", "bare-lf"),
            ("GET / HTTP/1.1\r\nA: b\r\n c\r\n", "A=b c", "obs-fold"),
            ("GET / HTTP/1.1\r\nA : b\r\n", "A=b", "space-before-colon"),
            ("GET / HTTP/1.1\r\nA\u{1}: b\r\n", "A\u{1}=b", "field-name"),
            ("GET / HTTP/1.1\r\nA: b\0c\r\n", "A=b c", "field-value"),
            ("GET / HTTP/1.1\r\nnothing\r\n", "=nothing", "field-without-colon"),
            ("GET  /  HTTP/1.1\r\nA: b\r\n", "A=b", "request-line"),
            ("GET /a b HTTP/1.1\r\nA: b\r\n", "A=b", "request-line"),
            ("GET / http/1.1\r\nA: b\r\n", "A=b", "version"),
            ("GET / HTTP/1.7\r\nA: b\r\n", "A=b", "version"),
        ] {
            let head = request(&lines(text)).unwrap();
            assert_eq!(shown(&head.fields), fields, "{text:?}");
            assert_eq!(head.doubts, [doubt], "{text:?}");
        }
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for text in ["GET /\r\n", "GET / HTTP/2.0\r\n", "GET HTTP/1.1\r\n", "\r\n"] {
            assert!(request(&lines(text)).is_err(), "{text:?}");
        }
        for text in ["HTTP/1.1 20\r\n", "HTTP/1.1 2000\r\n", "HTTP/1.1\r\n", "HTTP/1.1 099 x\r\n"] {
            assert!(response(&lines(text)).is_err(), "{text:?}");
        }
    }

    #[test]
    fn many_fields_are_kept_to_a_bound() {
        let text = format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(limits::FIELDS + 10));
        let head = request(&lines(&text)).unwrap();
        assert_eq!(head.fields.lines.len(), limits::FIELDS);
        assert!(head.fields.cut);
    }

    #[test]
    fn both_ways_to_read_fields_agree_where_the_strict_one_takes_them() {
        let text = b"Host: h\r\nA:\tb \t\r\nEmpty:\r\nUtf: \xc3\xa9\r\nX-1_~: \"q;\"\r\n";
        let (mut one, mut other, mut doubts) = (vec![], vec![], vec![]);
        assert!(strict(text, &mut one) && lenient(text, &mut other, &mut doubts));
        assert_eq!(one, other);
        assert!(doubts.is_empty());
    }
}

//! The first bytes of a connection: what is spoken there. HTTP begins with its client.

use super::h1::is_token;
use super::{End, Way, limits};

/// HTTP/2's client preface (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest method that is looked for.
const METHOD: usize = 32;
/// A request line that is longer than this is one by its beginning.
const LINE: usize = 8 * 1024;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Http1,
    Http2,
    /// A line that a server of HTTP/0.9 would answer.
    Http09,
    Tls,
    Other,
}

/// Bytes that are held until it is known.
#[derive(Default)]
pub(super) struct Opening {
    out: Held,
    into: Held,
    /// How the server's direction ended, where it did: the agent may speak all the same.
    pub(super) over: Option<End>,
}

#[derive(Default)]
struct Held {
    at: u64,
    bytes: Vec<u8>,
}

impl Opening {
    /// Takes bytes; what is spoken, once that is known.
    pub(super) fn take(&mut self, way: Way, bytes: &[u8], now: u64) -> Option<Seen> {
        let held = match way {
            Way::Out => &mut self.out,
            Way::In => &mut self.into,
        };
        if held.bytes.is_empty() {
            held.at = now;
        }
        held.bytes.extend_from_slice(bytes);
        if self.into.bytes.len() > limits::HELD {
            return Some(Seen::Other);
        }
        if way == Way::In {
            return None;
        }
        judge(&self.out.bytes, false)
    }

    /// One direction ended: what is spoken, if that is known now.
    pub(super) fn end(&mut self, way: Way, how: End) -> Option<Seen> {
        match way {
            Way::In => {
                self.over.get_or_insert(how);
                None
            }
            Way::Out if !self.out.bytes.is_empty() => {
                Some(judge(&self.out.bytes, true).unwrap_or(Seen::Other))
            }
            Way::Out => None,
        }
    }

    /// What was held, in order.
    pub(super) fn held(self) -> impl Iterator<Item = (Way, u64, Vec<u8>)> {
        let (out, into) =
            ((Way::Out, self.out.at, self.out.bytes), (Way::In, self.into.at, self.into.bytes));
        // A server of HTTP/2 may send its settings before it has read anything; what a server of
        // HTTP/1 sends belongs after the request in any case.
        [out, into].into_iter().filter(|(_, _, bytes)| !bytes.is_empty())
    }

    pub(super) fn memory(&self) -> usize {
        self.out.bytes.capacity() + self.into.bytes.capacity()
    }
}

/// What a client's first bytes are; none where more are needed.
fn judge(bytes: &[u8], ended: bool) -> Option<Seen> {
    let shared = bytes.len().min(PREFACE.len());
    if bytes[..shared] == PREFACE[..shared] {
        return (shared == PREFACE.len()).then_some(Seen::Http2);
    }
    if bytes.first() == Some(&0x16) {
        // A handshake record of any TLS (RFC 8446 §5.1).
        return bytes.get(1).map(|&major| if major == 3 { Seen::Tls } else { Seen::Other });
    }
    // RFC 9112 §2.2: empty lines before a request are passed over.
    let start = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n'));
    let line = match start {
        Some(start) if start <= 64 => &bytes[start..],
        None if bytes.len() <= 64 && !ended => return None,
        _ => return Some(Seen::Other),
    };
    let word = line.iter().take(METHOD + 1).position(|&b| !is_token(b));
    match word {
        None if line.len() > METHOD => return Some(Seen::Other),
        None => return None,
        Some(0) => return Some(Seen::Other),
        Some(at) if !matches!(line[at], b' ' | b'\t') => return Some(Seen::Other),
        Some(_) => {}
    }
    let Some(end) = memchr::memchr(b'\n', line) else {
        let long = line.len() > LINE;
        let printable = line.iter().take(256).all(|&b| b >= b' ' || matches!(b, b'\t' | b'\r'));
        return match (printable, long || ended) {
            (false, _) => Some(Seen::Other),
            (true, true) if begins_as_request(line) => Some(Seen::Http1),
            (true, true) => Some(Seen::Other),
            (true, false) => None,
        };
    };
    let line = line[..end].trim_ascii_end();
    let last = line.rsplit(u8::is_ascii_whitespace).next().unwrap_or_default();
    if last.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"HTTP/")) {
        Some(Seen::Http1)
    } else if line.starts_with(b"GET /") {
        Some(Seen::Http09)
    } else {
        Some(Seen::Other)
    }
}

/// Whether a line without an end begins as a request does.
fn begins_as_request(line: &[u8]) -> bool {
    let method = line.iter().take_while(|b| b.is_ascii_uppercase()).count();
    let target = line.get(method + 1).copied().unwrap_or(0);
    method >= 3 && line.get(method) == Some(&b' ') && (target == b'/' || target == b'h')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_what_is_spoken() {
        let long = format!("GET /{}", "a".repeat(LINE));
        for (bytes, seen) in [
            (PREFACE, Some(Seen::Http2)),
            (&PREFACE[..10], None),
            (b"PRI", None),
            (b"PRINT / HTTP/1.1\r\n", Some(Seen::Http1)),
            (b"GET / HTTP/1.1\r\n", Some(Seen::Http1)),
            (b"\r\nGET / HTTP/1.1\n", Some(Seen::Http1)),
            (b"get  /  http/1.1\n", Some(Seen::Http1)),
            (b"GET / HT", None),
            (b"GET /\r\n", Some(Seen::Http09)),
            (b"EHLO example.com\r\n", Some(Seen::Other)),
            (b"*1\r\n$4\r\nPING\r\n", Some(Seen::Other)),
            (b"SSH-2.0-x\r\n", Some(Seen::Other)),
            (b"SET a HTTP\r\n", Some(Seen::Other)),
            (b"\x16\x03\x01", Some(Seen::Tls)),
            (b"\x16", None),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Some(Seen::Other)),
            (b"\xff", Some(Seen::Other)),
            (long.as_bytes(), Some(Seen::Http1)),
        ] {
            assert_eq!(judge(bytes, false), seen, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn it_is_the_same_however_the_bytes_are_split() {
        for text in [&b"POST /x HTTP/1.1\r\n"[..], PREFACE, b"QUIT\r\n", b"\x16\x03\x03"] {
            let whole = judge(text, false).unwrap();
            let mut opening = Opening::default();
            let seen = text.iter().find_map(|byte| opening.take(Way::Out, &[*byte], 0));
            assert_eq!(seen, Some(whole));
        }
    }

    #[test]
    fn a_server_that_speaks_first_and_much_is_no_server_of_http() {
        let mut opening = Opening::default();
        assert_eq!(opening.take(Way::In, b"220 hello\r\n", 1), None);
        assert_eq!(opening.take(Way::In, &[0; limits::HELD], 2), Some(Seen::Other));
    }
}

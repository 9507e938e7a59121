//! Functions that were told by more than their names: whether they are what they were taken for is
//! known once something that can only be plaintext came through them, both ways.

use std::collections::BTreeMap;

use memchr::memmem;
use observer_common::tls_site;

use super::stream::Direction;

/// What an HTTP/2 client says first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
/// What its server says first: a frame of settings, of no stream and without flags (6.5), behind three bytes
/// of length.
const SETTINGS: [u8; 6] = [4, 0, 0, 0, 0, 0];
/// Methods are no longer (RFC 9110 and what is registered).
const METHOD: usize = 32;

/// The files that were found so, by their numbers.
#[derive(Default)]
pub(super) struct Patterns {
    /// Each with the ways that it was seen in, sent and received: it is confirmed by both.
    seen: BTreeMap<u8, [bool; 2]>,
    /// Those that nobody was told of yet, with the time.
    new: Vec<(u64, u8)>,
}

impl Patterns {
    /// Whether what a library's functions gave is its connections' plaintext. Functions with a name
    /// are believed. Those of a file without are once a message that is plainly HTTP was sent and one
    /// was received, of connections that are `encrypted`: began with a handshake.
    pub(super) fn is_plaintext(
        &mut self,
        library: u32,
        encrypted: bool,
        way: Direction,
        at: u64,
        bytes: &[u8],
    ) -> bool {
        let file = (library >> (tls_site::FILE - tls_site::LIBRARY)) as u8;
        if file == 0 {
            return true;
        }
        let seen = self.seen.entry(file).or_default();
        if !seen.contains(&false) {
            return true;
        }
        if encrypted && is_http(way, bytes) {
            seen[way as usize] = true;
        }
        let confirmed = !seen.contains(&false);
        if confirmed {
            self.new.push((at, file));
        }
        confirmed
    }

    /// Those that became known since the last time.
    pub(super) fn take(&mut self) -> Vec<(u64, u8)> {
        std::mem::take(&mut self.new)
    }
}

/// Whether bytes begin a message of HTTP, by its first line, or what HTTP/2 begins with.
fn is_http(way: Direction, bytes: &[u8]) -> bool {
    // Either end can be the server's.
    if bytes.starts_with(b"HTTP/1.") || bytes.starts_with(PREFACE) {
        return true;
    }
    if way == Direction::Received && bytes.get(3..9) == Some(&SETTINGS) {
        return true;
    }
    let line = bytes.get(..memchr::memchr(b'\n', bytes).unwrap_or(0)).unwrap_or_default();
    let method = memchr::memchr(b' ', line).unwrap_or(0);
    (1..=METHOD).contains(&method)
        && line.get(..method).is_some_and(|method| method.iter().all(u8::is_ascii_uppercase))
        && memmem::find(line, b" HTTP/1.").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: u32 = 3 << (tls_site::FILE - tls_site::LIBRARY);

    #[test]
    fn what_is_plainly_http_both_ways_of_encrypted_connections_confirms_their_file() {
        use Direction::{Received, Sent};
        let answer = b"HTTP/1.1 200 OK\r\n";
        let firsts: [(&[u8], &[u8], bool); 5] = [
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", answer, true),
            (b"M-SEARCH * HTTP/1.1\r\n", answer, false),
            (b"GET / HTTP/1.1\r\n", b"\x05\xffgarbage", false),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3], true),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0, 0, 6, 4, 1, 0, 0, 0, 0], false),
        ];
        for (sent, received, wanted) in firsts {
            let mut patterns = Patterns::default();
            assert!(!patterns.is_plaintext(FILE, false, Sent, 1, sent), "nothing was encrypted");
            assert!(!patterns.is_plaintext(FILE, false, Received, 1, received));
            assert!(!patterns.is_plaintext(FILE, true, Sent, 2, sent), "it is half");
            assert_eq!(patterns.take(), []);
            assert_eq!(patterns.is_plaintext(FILE, true, Received, 3, received), wanted);
            assert_eq!(patterns.take(), if wanted { vec![(3, 3)] } else { vec![] });
            assert_eq!(patterns.is_plaintext(FILE, true, Sent, 4, b"more"), wanted);
            assert_eq!(patterns.take(), []);
        }
    }

    #[test]
    fn bytes_of_anything_else_confirm_nothing() {
        let mut patterns = Patterns::default();
        for bytes in [&b""[..], b"\n", b"GET", b"\x17\x03\x03\0\x20abc", b" HTTP/1.1\n", b"GET /\n"]
        {
            for way in [Direction::Sent, Direction::Received] {
                assert!(!patterns.is_plaintext(FILE, true, way, 1, bytes), "{bytes:?}");
            }
        }
        let sent = Direction::Sent;
        assert!(
            patterns.is_plaintext(0, false, sent, 1, b"x"),
            "functions with names are believed"
        );
        assert_eq!(patterns.take(), []);
    }
}

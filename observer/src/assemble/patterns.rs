//! Functions that were told by what their code does: whether they are what they were taken for is
//! known once something that can only be plaintext came through them.

use std::collections::BTreeSet;

use memchr::memmem;
use observer_common::tls_site;

/// What an HTTP/2 client says first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
/// Methods are no longer (RFC 9110 and what is registered).
const METHOD: usize = 32;

/// The files that were found so, by their numbers.
#[derive(Default)]
pub(super) struct Patterns {
    confirmed: BTreeSet<u8>,
    /// Those that nobody was told of yet, with the time.
    new: Vec<(u64, u8)>,
}

impl Patterns {
    /// Whether what a library's functions gave is its connections' plaintext. Functions with a name
    /// are believed. Those of a file without are from the first message on that is plainly HTTP,
    /// of a connection that is `encrypted`: began with a handshake.
    pub(super) fn is_plaintext(
        &mut self,
        library: u32,
        encrypted: bool,
        at: u64,
        bytes: &[u8],
    ) -> bool {
        let file = (library >> (tls_site::FILE - tls_site::LIBRARY)) as u8;
        if file == 0 || self.confirmed.contains(&file) {
            return true;
        }
        let confirms = encrypted && is_http(bytes);
        if confirms {
            self.confirmed.insert(file);
            self.new.push((at, file));
        }
        confirms
    }

    /// Those that became known since the last time.
    pub(super) fn take(&mut self) -> Vec<(u64, u8)> {
        std::mem::take(&mut self.new)
    }
}

/// Whether bytes begin a message of HTTP, by its first line.
fn is_http(bytes: &[u8]) -> bool {
    if bytes.starts_with(b"HTTP/1.") || bytes.starts_with(PREFACE) {
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
    fn what_is_plainly_http_of_an_encrypted_connection_confirms_its_file() {
        let firsts: [&[u8]; 4] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"M-SEARCH * HTTP/1.1\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ];
        for (first, wanted) in firsts.into_iter().zip([true, false, true, true]) {
            let mut patterns = Patterns::default();
            assert!(!patterns.is_plaintext(FILE, false, 1, first), "nothing was encrypted");
            assert_eq!(patterns.is_plaintext(FILE, true, 2, first), wanted, "{first:?}");
            assert_eq!(patterns.take(), if wanted { vec![(2, 3)] } else { vec![] });
            assert_eq!(patterns.is_plaintext(FILE, true, 3, b"more"), wanted);
            assert_eq!(patterns.take(), []);
        }
    }

    #[test]
    fn bytes_of_anything_else_confirm_nothing() {
        let mut patterns = Patterns::default();
        for bytes in [&b""[..], b"\n", b"GET", b"\x17\x03\x03\0\x20abc", b" HTTP/1.1\n", b"GET /\n"]
        {
            assert!(!patterns.is_plaintext(FILE, true, 1, bytes), "{bytes:?}");
        }
        assert!(patterns.is_plaintext(0, false, 1, b"x"), "functions with names are believed");
        assert_eq!(patterns.take(), []);
    }
}

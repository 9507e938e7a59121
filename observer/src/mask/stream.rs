//! A text that comes in pieces: masked with overlap, so that a value split over two of them is seen
//! whole.

use super::fields::Fields;
use super::{Masked, Masker};
use crate::model::Raw;

/// What is held back at most, to be seen together with what follows.
const HELD: usize = 64 * 1024;
/// A word that is longer than this is given up in parts, each masked to its end.
const CONTEXT: usize = 4 * 1024;

/// A stream of one run. What it gives is in order and complete; the end is given by `finish`.
#[derive(Default)]
pub struct Stream {
    held: Vec<u8>,
    /// A private key began, was masked, and has not ended yet.
    in_key: bool,
}

impl Stream {
    /// Takes a piece; what can be given already, masked.
    pub fn push(&mut self, masker: &mut Masker, piece: &[u8]) -> Masked<Raw> {
        self.held.extend_from_slice(piece);
        self.skip_key();
        let mut out = vec![];
        let mut fields = masker.fields();
        while self.held.len() >= HELD {
            self.give(&mut fields, &mut out);
        }
        fields.masked(Raw::new(out))
    }

    /// Ends the stream. `cut` says that it went on, and nobody saw how.
    pub fn finish(mut self, masker: &mut Masker, cut: bool) -> Masked<Raw> {
        if self.in_key {
            self.held.clear();
        }
        let mut fields = masker.fields();
        let value = fields.text(Raw::new(self.held), cut);
        fields.masked(value)
    }

    /// Within a private key, drops what comes until its end: its token stands already.
    fn skip_key(&mut self) {
        const END: &[u8] = b"-----END ";
        if !self.in_key {
            return;
        }
        let found = memchr::memmem::find(&self.held, END).map(|at| at + END.len());
        let closed = found.and_then(|at| {
            let rest = self.held.get(at..)?;
            memchr::memmem::find(rest, b"-----").map(|len| at + len + 5)
        });
        match closed {
            Some(end) => {
                self.held.drain(..end);
                self.in_key = false;
            }
            None => {
                let from =
                    found.map_or(self.held.len().saturating_sub(END.len()), |at| at - END.len());
                // A label has a bound; what has none is no end.
                let from = if self.held.len() - from > 256 { self.held.len() } else { from };
                self.held.drain(..from);
            }
        }
    }

    /// Gives what stands before the last safe place: between two clusters, at the end of a word, and
    /// far enough from the end of what is there.
    fn give(&mut self, fields: &mut Fields<'_>, out: &mut Vec<u8>) {
        let clusters = super::span::merge(fields.masker.spans(&self.held, vec![]));
        let mut at = self.held.len().saturating_sub(CONTEXT);
        loop {
            // Back to a line's end, or else to a space.
            let before = self.held.get(..at).unwrap_or_default();
            let line = before.iter().rposition(|&b| b == b'\n').filter(|&end| end + CONTEXT > at);
            let word = || before.iter().rposition(u8::is_ascii_whitespace);
            let Some(end) = line.or_else(word).map(|end| end + 1) else {
                at = 0;
                break;
            };
            match clusters.iter().find(|cluster| cluster.start < end && end < cluster.end) {
                Some(cluster) => at = cluster.start,
                None => {
                    at = end;
                    break;
                }
            }
        }
        if at == 0 {
            // One word or one secret fills it all: it goes as a whole, as one that was cut.
            let open = clusters.last().filter(|last| last.end == self.held.len());
            self.in_key =
                open.is_some_and(|open| open.spans.iter().any(|s| s.sort == "private-key"));
            let whole = Raw::new(std::mem::take(&mut self.held));
            out.extend_from_slice(fields.text(whole, true).bytes());
            return;
        }
        let rest = self.held.split_off(at);
        let ready = Raw::new(std::mem::replace(&mut self.held, rest));
        out.extend_from_slice(fields.text(ready, false).bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::MaskKey;

    const SECRET: &str = concat!("gh", "p_k3J9xQ0fTz8LmW2aVb7YpRs4Hd6GnCe1UiOq");

    fn streamed(text: &str, piece: usize) -> String {
        let mut masker = Masker::new(MaskKey::fixed(3));
        let mut stream = Stream::default();
        let mut out = vec![];
        for piece in text.as_bytes().chunks(piece) {
            out.extend_from_slice(stream.push(&mut masker, piece).get().bytes());
        }
        out.extend_from_slice(stream.finish(&mut masker, false).get().bytes());
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn a_secret_at_any_border_is_masked_and_nothing_is_lost() {
        let plain = "an ordinary line of text, as there are many\n".repeat(2000);
        let text = format!("{plain}token {SECRET} end\n{plain}{SECRET}\n{plain}");
        for piece in [1000, 4096, 65536, 70001] {
            let out = streamed(&text, piece);
            assert!(!out.contains(&SECRET[4..12]), "pieces of {piece}");
            assert_eq!(out.matches("<mask:github:").count(), 2, "pieces of {piece}");
            let rest = out.split("<mask:").next().unwrap_or_default();
            assert_eq!(rest, format!("{plain}token "));
            assert!(out.ends_with(&plain), "pieces of {piece}");
        }
    }

    #[test]
    fn a_key_that_fills_many_pieces_is_masked_to_its_end() {
        let body = "MIIEpAIBAAKCAQEA7bq0n3xkWm\n".repeat(9000);
        let text = format!(
            "a\n{}{body}-----END RSA PRIVATE KEY-----\nb",
            concat!("-----BEGIN RSA ", "PRIVATE KEY-----\n")
        );
        let out = streamed(&text, 5000);
        assert!(!out.contains("MIIEpAIB"), "{}", &out[..out.len().min(300)]);
        assert!(out.starts_with("a\n") && out.ends_with("\nb"));
    }
}

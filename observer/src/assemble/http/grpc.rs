//! gRPC over HTTP/2: messages are counted by their prefixes (one byte of flags, four of length),
//! and the status is read from the trailers. Their bytes are not looked into.

use data_encoding::HEXLOWER_PERMISSIVE;

use crate::model::{Grpc, HttpFields, Messages, Raw};

const PREFIX: usize = 5;
/// So much of a status message is kept.
const MESSAGE: usize = 1024;

/// Counts messages.
#[derive(Default)]
pub(super) struct Reader {
    prefix: [u8; PREFIX],
    have: usize,
    left: u64,
    messages: Messages,
    /// A gap went over a prefix: nothing is counted from there.
    lost: bool,
}

impl Reader {
    /// Takes bytes of the content.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.lost {
            if self.left > 0 {
                let taken = self.left.min(bytes.len() as u64);
                self.left -= taken;
                bytes = &bytes[taken as usize..];
                continue;
            }
            let taken = (PREFIX - self.have).min(bytes.len());
            self.prefix[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == PREFIX {
                let [_, a, b, c, d] = self.prefix;
                self.have = 0;
                self.left = u64::from(u32::from_be_bytes([a, b, c, d]));
                self.messages.add(self.left);
            }
        }
    }

    /// Passes over bytes that were missed.
    pub(super) fn skip(&mut self, bytes: u64) {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => self.lost = true,
        }
    }

    /// What was counted.
    pub(super) fn messages(&self) -> Messages {
        self.messages
    }
}

/// Reads the status from trailers (or from the head of a response that is only that).
pub(super) fn status(fields: &HttpFields, into: &mut Grpc) {
    if let Some(value) = fields.first("grpc-status") {
        into.status = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
    }
    if let Some(value) = fields.first("grpc-message") {
        let mut message = unescaped(value);
        into.message_bytes = message.len() as u64;
        message.truncate(MESSAGE);
        into.message_kept = message.len() as u64;
        into.message = Some(Raw::new(message));
    }
}

/// Undoes the percent-encoding of a status message; what is not one stays as it is.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let hex = text.get(at + 1..at + 3).filter(|_| byte == b'%');
        match hex.and_then(|hex| HEXLOWER_PERMISSIVE.decode(hex).ok()) {
            Some(decoded) => {
                out.extend_from_slice(&decoded);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_split() {
        let mut stream = vec![];
        for size in [3u32, 0, 300] {
            stream.push(0);
            stream.extend_from_slice(&size.to_be_bytes());
            stream.extend(vec![b'x'; size as usize]);
        }
        for piece in [1, 2, 5, 7, 400] {
            let mut reader = Reader::default();
            stream.chunks(piece).for_each(|piece| reader.push(piece));
            assert_eq!(reader.messages(), Messages { count: 3, bytes: 303, largest: 300 });
        }
    }

    #[test]
    fn a_gap_within_a_message_is_passed_over_and_one_over_a_prefix_ends_the_count() {
        let mut reader = Reader::default();
        reader.push(&[0, 0, 0, 0, 9, b'a']);
        reader.skip(8);
        reader.push(&[0, 0, 0, 0, 1]);
        reader.skip(3);
        reader.push(&[0, 0, 0, 0, 1]);
        assert_eq!(reader.messages().count, 2);
    }

    #[test]
    fn a_status_message_is_unescaped() {
        let line = |name: &str, value: &str| (Raw::from(name), Raw::from(value));
        let fields = HttpFields {
            lines: vec![line("grpc-status", "5"), line("grpc-message", "no%20such%2")],
            ..HttpFields::default()
        };
        let mut grpc = Grpc::default();
        status(&fields, &mut grpc);
        assert_eq!((grpc.status, grpc.message), (Some(5), Some(Raw::from("no such%2"))));
        assert_eq!((grpc.message_kept, grpc.message_bytes), (9, 9));
    }

    #[test]
    fn a_status_message_that_is_cut_says_so() {
        let long = Raw::from("%20".repeat(3000).as_str());
        let lines = vec![(Raw::from("grpc-message"), long)];
        let mut grpc = Grpc::default();
        status(&HttpFields { lines, ..HttpFields::default() }, &mut grpc);
        assert_eq!(grpc.message.map(|message| message.len()), Some(MESSAGE));
        assert_eq!((grpc.message_kept, grpc.message_bytes), (MESSAGE as u64, 3000));
    }
}

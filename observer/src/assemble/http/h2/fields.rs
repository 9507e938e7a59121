//! A decoded field block: pseudo-fields (RFC 9113 §8.3) apart from the others.

use super::super::h1::is_token;
use super::super::limits;
use super::hpack::Decoder;
use crate::model::{HttpFields, Raw};

/// What a field counts beside its bytes (RFC 9113 §6.5.2).
const FIELD: usize = 32;

/// A block's fields.
#[derive(Default)]
pub(super) struct Block {
    pub(super) method: Option<Vec<u8>>,
    pub(super) scheme: Option<Vec<u8>>,
    pub(super) authority: Option<Vec<u8>>,
    pub(super) path: Option<Vec<u8>>,
    pub(super) protocol: Option<Vec<u8>>,
    pub(super) status: Option<u16>,
    pub(super) fields: HttpFields,
    pub(super) doubts: Vec<&'static str>,
}

impl Block {
    /// Decodes a block: all of it, so that the table stays in step, and keeps what is within the
    /// bounds: `bound` bytes, and a count.
    pub(super) fn read(
        decoder: &mut Decoder,
        block: &[u8],
        bound: usize,
    ) -> Result<Self, &'static str> {
        let mut own = Self::default();
        let mut kept = 0;
        decoder.decode(block, &mut |name, value| {
            own.fields.bytes += (name.len() + value.len()) as u64;
            kept += name.len() + value.len() + FIELD;
            if kept > bound || own.fields.lines.len() >= limits::FIELDS {
                // Whatever follows: what is kept is a beginning.
                kept = bound;
                own.fields.cut = true;
                return own.beyond(name, value);
            }
            match name.strip_prefix(b":") {
                Some(name) => own.pseudo(name, value),
                None => own.field(name, value),
            }
        })?;
        Ok(own)
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) {
        if !self.fields.lines.is_empty() {
            self.doubt("pseudo-field");
        }
        let place = match name {
            b"method" => &mut self.method,
            b"scheme" => &mut self.scheme,
            b"authority" => &mut self.authority,
            b"path" => &mut self.path,
            b"protocol" => &mut self.protocol,
            b"status" => {
                let status = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                self.status = self.status.or(status.filter(|status| (100..1000).contains(status)));
                return;
            }
            _ => return self.doubt("pseudo-field"),
        };
        match place {
            None => *place = Some(value.to_vec()),
            Some(_) => self.doubt("pseudo-field"),
        }
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        if !name.iter().all(|&b| is_token(b) && !b.is_ascii_uppercase()) || name.is_empty() {
            self.doubt("field-name");
        }
        if value.iter().any(|b| matches!(b, 0 | b'\r' | b'\n')) {
            self.doubt("field-value");
        }
        // RFC 9113 §8.2.2.
        let connection: [&[u8]; 4] =
            [b"connection", b"transfer-encoding", b"upgrade", b"keep-alive"];
        if connection.contains(&name) {
            self.doubt("connection-field");
        }
        self.fields.lines.push((Raw::from(name), Raw::from(value)));
    }

    /// A field beyond the bounds: short pseudo-fields are still taken, the first of each.
    fn beyond(&mut self, name: &[u8], value: &[u8]) {
        if let Some(name) = name.strip_prefix(b":") {
            self.pseudo(name, &value[..value.len().min(1024)]);
        }
    }

    fn doubt(&mut self, word: &'static str) {
        if !self.doubts.contains(&word) {
            self.doubts.push(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(name: &str, value: &str) -> Vec<u8> {
        let mut out = vec![0x00, name.len() as u8];
        out.extend_from_slice(name.as_bytes());
        out.push(value.len() as u8);
        out.extend_from_slice(value.as_bytes());
        out
    }

    #[test]
    fn pseudo_fields_stand_apart_and_games_are_named() {
        let mut block = vec![0x82, 0x84];
        block.extend(literal("a", "b"));
        let read = Block::read(&mut Decoder::new(), &block, limits::HEAD).unwrap();
        assert_eq!(read.method.as_deref(), Some(&b"GET"[..]));
        assert_eq!(read.fields.lines.len(), 1);
        assert!(read.doubts.is_empty());
        for (field, word) in [
            (literal(":method", "PUT"), "pseudo-field"),
            (literal(":other", "x"), "pseudo-field"),
            (literal("Upper", "x"), "field-name"),
            (literal("a", "x\r\ny: z"), "field-value"),
            (literal("transfer-encoding", "chunked"), "connection-field"),
        ] {
            let mut with = vec![0x82];
            with.extend(field);
            let read = Block::read(&mut Decoder::new(), &with, limits::HEAD).unwrap();
            assert_eq!(read.doubts, [word]);
        }
    }

    #[test]
    fn a_bomb_is_kept_to_the_bound() {
        // A field of 4,000 bytes in the table, and references to it.
        let mut block = vec![0x40, 0x01, b'a', 0x7f, 0xa1, 0x1e];
        block.extend(vec![b'v'; 127 + 0x21 + (0x1e << 7)]);
        block.extend(vec![0xbe; 200_000]);
        let read = Block::read(&mut Decoder::new(), &block, limits::HEAD).unwrap();
        assert!(read.fields.cut && read.fields.lines.len() < 20);
        assert!(read.fields.bytes > 700 << 20, "{}", read.fields.bytes);
    }
}

//! TLS ClientHellos, as clients make them and as nobody does (RFC 8446, 4.1.2).

/// A block of bytes after its length.
fn block(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u16).to_be_bytes()[..], body].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [kind.to_be_bytes().to_vec(), block(data)].concat()
}

/// A ClientHello to be.
#[derive(Clone, Debug, Default)]
pub struct Hello<'a> {
    /// The names that it asks for: a client gives one, or none.
    pub names: &'a [&'a str],
    /// Bytes of padding before the name (RFC 7685), as a key share that large would be.
    pub padding: usize,
    /// Whether it has an encrypted hello.
    pub ech: bool,
    /// The most bytes of a record; 0 for one record.
    pub record: usize,
}

impl Hello<'_> {
    /// Its bytes, in records.
    pub fn bytes(&self) -> Vec<u8> {
        let message = self.message();
        let most = if self.record == 0 { 16_384 } else { self.record };
        message.chunks(most).flat_map(|part| [&[22, 3, 1][..], &block(part)].concat()).collect()
    }

    fn message(&self) -> Vec<u8> {
        let mut extensions = extension(0x2a2a, b"");
        extensions.extend(extension(21, &vec![0; self.padding]));
        for name in self.names {
            let entry = [&[0][..], &block(name.as_bytes())].concat();
            extensions.extend(extension(0, &block(&entry)));
        }
        extensions.extend(extension(16, &block(b"\x02h2\x08http/1.1")));
        extensions.extend(extension(43, &[6, 0x7a, 0x7a, 3, 4, 3, 3]));
        if self.ech {
            extensions.extend(extension(0xfe0d, &[0; 40]));
        }
        let body = [
            &[3, 3][..],
            &[7; 32],
            &[32],
            &[9; 32],
            &block(&[0x0a, 0x0a, 0x13, 0x01]),
            &[1, 0],
            &block(&extensions),
        ]
        .concat();
        let len = (body.len() as u32).to_be_bytes();
        [&[1][..], &len[1..], &body].concat()
    }
}

/// A ServerHello of TLS 1.2.
pub const ANSWER: &[u8] = b"\x16\x03\x03\0\x2a\x02\0\0\x26\x03\x03\
    00000000000000000000000000000000\0\xc0\x2f\0";

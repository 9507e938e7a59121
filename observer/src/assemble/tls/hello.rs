//! What is in the clear of a TLS handshake: ClientHello and ServerHello (RFC 8446, 4.1), put
//! together from records (5.1) however they are cut. Pure and total.

/// The largest record's fragment (RFC 8446, 5.1).
const FRAGMENT: usize = 1 << 14;
/// The largest hello that is read: a record's worth, and a little more.
const HELLO: usize = FRAGMENT + 1024;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const PRE_SHARED_KEY: u16 = 41;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;
/// encrypted_client_hello (RFC 9849).
const ECH: u16 = 0xfe0d;

/// What reading came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read<T> {
    /// It is not all here.
    More,
    /// It is not what was looked for.
    Not,
    /// Here it is.
    Hello(T),
}

/// What a client says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClientHello {
    /// The name that it asks for, as it is written there.
    pub(super) sni: Option<Vec<u8>>,
    /// The protocols that it offers, without placeholders (RFC 8701).
    pub(super) alpn: Vec<Vec<u8>>,
    /// The newest version that it offers.
    pub(super) version: u16,
    /// Whether there is an encrypted hello, or a placeholder for one: nobody can tell them apart.
    pub(super) ech: bool,
    /// Whether it goes on with an earlier session.
    pub(super) resumes: bool,
    /// Whether data goes with it.
    pub(super) early_data: bool,
    /// The message's length, in bytes.
    pub(super) len: usize,
}

/// What a server answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerHello {
    /// The version that it chose.
    pub(super) version: u16,
    /// The protocol that it chose, where that is in the clear (up to TLS 1.2).
    pub(super) alpn: Option<Vec<u8>>,
}

/// Reads the ClientHello that a connection begins with.
pub(super) fn client_hello(stream: &[u8]) -> Read<ClientHello> {
    read(stream, CLIENT_HELLO, |body| {
        let mut at = Reader(body);
        let legacy = at.u16()?;
        at.take(32)?;
        at.u8_block()?; // session
        at.u16_block()?; // cipher suites
        at.u8_block()?; // compression
        let mut hello = ClientHello { version: legacy, len: body.len() + 4, ..Default::default() };
        let mut extensions = Reader(at.u16_block().unwrap_or_default());
        while !extensions.0.is_empty() {
            let (kind, data) = (extensions.u16()?, extensions.u16_block()?);
            match kind {
                SERVER_NAME if hello.sni.is_none() => {
                    hello.sni = Some(server_name(data)?.to_vec());
                }
                ALPN => hello.alpn = protocols(data)?,
                SUPPORTED_VERSIONS => {
                    let versions = Reader(data).u8_block()?;
                    let versions =
                        versions.chunks_exact(2).map(|v| u16::from_be_bytes([v[0], v[1]]));
                    hello.version = versions.filter(|&v| !is_grease(v)).max().unwrap_or(legacy);
                }
                ECH => hello.ech = true,
                PRE_SHARED_KEY => hello.resumes = true,
                EARLY_DATA => hello.early_data = true,
                _ => {}
            }
        }
        Some(hello)
    })
}

/// Reads the ServerHello that an answer begins with.
pub(super) fn server_hello(stream: &[u8]) -> Read<ServerHello> {
    read(stream, SERVER_HELLO, |body| {
        let mut at = Reader(body);
        let legacy = at.u16()?;
        at.take(32)?;
        at.u8_block()?;
        at.take(3)?;
        let mut hello = ServerHello { version: legacy, alpn: None };
        let mut extensions = Reader(at.u16_block().unwrap_or_default());
        while !extensions.0.is_empty() {
            let (kind, data) = (extensions.u16()?, extensions.u16_block()?);
            match kind {
                ALPN => hello.alpn = protocols(data)?.into_iter().next(),
                SUPPORTED_VERSIONS => hello.version = Reader(data).u16()?,
                _ => {}
            }
        }
        Some(hello)
    })
}

/// A version's name.
pub(super) fn version_name(version: u16) -> String {
    match version {
        0x0300 => "ssl3".to_owned(),
        0x0301 => "1.0".to_owned(),
        0x0302 => "1.1".to_owned(),
        0x0303 => "1.2".to_owned(),
        0x0304 => "1.3".to_owned(),
        other => format!("0x{other:04x}"),
    }
}

/// A placeholder (RFC 8701).
fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

fn server_name(data: &[u8]) -> Option<&[u8]> {
    let mut names = Reader(Reader(data).u16_block()?);
    while !names.0.is_empty() {
        let (kind, name) = (names.u8()?, names.u16_block()?);
        if kind == 0 {
            return Some(name);
        }
    }
    None
}

fn protocols(data: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut list = Reader(Reader(data).u16_block()?);
    let mut out = vec![];
    while !list.0.is_empty() {
        let name = list.u8_block()?;
        let grease = <[u8; 2]>::try_from(name).is_ok_and(|n| is_grease(u16::from_be_bytes(n)));
        if !grease && out.len() < 16 {
            out.push(name.to_vec());
        }
    }
    Some(out)
}

/// Puts the first handshake message of a stream together, and reads its body.
fn read<T>(stream: &[u8], kind: u8, body: impl Fn(&[u8]) -> Option<T>) -> Read<T> {
    let (mut rest, mut message) = (Reader(stream), Vec::new());
    loop {
        if let Some(&first) = message.first()
            && first != kind
        {
            return Read::Not;
        }
        if let [_, a, b, c, ..] = message[..] {
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            if len > HELLO {
                return Read::Not;
            }
            if let Some(whole) = message.get(4..4 + len) {
                return body(whole).map_or(Read::Not, Read::Hello);
            }
        }
        match rest.0 {
            [] => return Read::More,
            [HANDSHAKE] | [HANDSHAKE, 3] => return Read::More,
            [HANDSHAKE, 3, ..] => {}
            _ => return Read::Not,
        }
        rest.0 = rest.0.get(3..).unwrap_or_default();
        let Some(len) = rest.u16() else { return Read::More };
        if len == 0 || usize::from(len) > FRAGMENT {
            return Read::Not;
        }
        let fragment = rest.0.get(..usize::from(len).min(rest.0.len())).unwrap_or_default();
        message.extend_from_slice(fragment);
        rest.0 = rest.0.get(fragment.len()..).unwrap_or_default();
        if fragment.len() < usize::from(len) {
            // One more look: the message may end before its record does.
            rest.0 = &[];
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u8_block(&mut self) -> Option<&'a [u8]> {
        let n = self.u8()?;
        self.take(usize::from(n))
    }

    fn u16_block(&mut self) -> Option<&'a [u8]> {
        let n = self.u16()?;
        self.take(usize::from(n))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block16(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u16).to_be_bytes()[..], body].concat()
    }

    fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
        [kind.to_be_bytes().to_vec(), block16(data)].concat()
    }

    /// A ClientHello as a browser makes one, as a handshake message.
    pub(in super::super) fn message(sni: Option<&str>, padding: usize) -> Vec<u8> {
        let mut extensions = extension(0x2a2a, b"");
        if let Some(name) = sni {
            let entry = [&[0][..], &block16(name.as_bytes())].concat();
            extensions.extend(extension(SERVER_NAME, &block16(&entry)));
        }
        extensions.extend(extension(ALPN, &block16(b"\x02\x8a\x8a\x02h2\x08http/1.1")));
        extensions.extend(extension(SUPPORTED_VERSIONS, &[6, 0x7a, 0x7a, 3, 4, 3, 3]));
        extensions.extend(extension(ECH, &[0; 40]));
        extensions.extend(extension(21, &vec![0; padding]));
        let body = [
            &[3, 3][..],
            &[7; 32],
            &[32],
            &[9; 32],
            &block16(&[0x0a, 0x0a, 0x13, 0x01]),
            &[1, 0],
            &block16(&extensions),
        ]
        .concat();
        let len = (body.len() as u32).to_be_bytes();
        [&[CLIENT_HELLO][..], &len[1..], &body].concat()
    }

    /// The message in records of at most so many bytes.
    pub(in super::super) fn records(message: &[u8], most: usize) -> Vec<u8> {
        message.chunks(most).flat_map(|part| [&[22, 3, 1][..], &block16(part)].concat()).collect()
    }

    #[test]
    fn a_hello_is_read_whole_and_without_its_placeholders() {
        let message = message(Some("Api.Example.com."), 0);
        let Read::Hello(hello) = client_hello(&records(&message, FRAGMENT)) else { panic!() };
        assert_eq!(hello.sni.as_deref(), Some(&b"Api.Example.com."[..]));
        assert_eq!(hello.alpn, [&b"h2"[..], b"http/1.1"]);
        assert_eq!((hello.version, hello.ech, hello.resumes), (0x0304, true, false));
        assert_eq!(hello.len, message.len());
    }

    #[test]
    fn what_is_no_hello_is_none() {
        assert_eq!(client_hello(b"GET / HTTP/1.1\r\n"), Read::Not);
        assert_eq!(client_hello(b""), Read::More);
        assert_eq!(client_hello(b"\x16\x03\x01\x00\x00"), Read::Not);
        assert_eq!(client_hello(b"\x16\x03\x01\x00\x04\x02\0\0\0"), Read::Not);
        assert_eq!(client_hello(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff"), Read::Not);
    }

    #[test]
    fn a_server_hello_tells_the_version() {
        let extensions = extension(SUPPORTED_VERSIONS, &[3, 4]);
        let body = [&[3, 3][..], &[1; 32], &[0], &[0x13, 1, 0], &block16(&extensions)].concat();
        let len = (body.len() as u32).to_be_bytes();
        let message = [&[SERVER_HELLO][..], &len[1..], &body].concat();
        let hello = ServerHello { version: 0x0304, alpn: None };
        assert_eq!(server_hello(&records(&message, 7)), Read::Hello(hello));
    }

    proptest! {
        #[test]
        fn any_cut_into_records_and_pieces_reads_the_same(most in 1usize..2000, padding in 0usize..15000) {
            let message = message(Some("example.com"), padding);
            let stream = records(&message, most);
            let Read::Hello(hello) = client_hello(&stream) else { panic!() };
            prop_assert_eq!(hello.sni.as_deref(), Some(&b"example.com"[..]));
            for end in (0..stream.len()).step_by(97) {
                prop_assert!(client_hello(&stream[..end]) == Read::More);
            }
        }

        #[test]
        fn no_bytes_panic(mut bytes: Vec<u8>, prefix: bool) {
            if prefix {
                let mut hello = records(&message(Some("a"), 3), 100);
                let at = bytes.first().map_or(0, |&b| usize::from(b)) % hello.len();
                for (to, from) in hello.iter_mut().skip(at).zip(&bytes) {
                    *to = *from;
                }
                bytes = hello;
            }
            client_hello(&bytes);
            server_hello(&bytes);
        }
    }
}

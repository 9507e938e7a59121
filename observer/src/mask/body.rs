//! Bodies of messages: what came compressed is undone within bounds and masked; what can't be
//! undone is not stored.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::{Masked, Masker};
use crate::model::Raw;

/// No body is looked at beyond this.
const LARGEST: usize = 4 << 20;
/// What grows more than this is a bomb.
const RATIO: usize = 200;
/// More codings on one body than this nobody uses.
const CODINGS: usize = 3;

/// A body as it can be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Its text, undone and masked.
    Text(Raw),
    /// It could not be judged: how many bytes came, and why.
    Left {
        /// The bytes that came.
        bytes: u64,
        /// Why they are not here, in our words.
        why: &'static str,
    },
}

impl Masker {
    /// Masks a body whose `Content-Encoding` says `coding`; empty for none. `cut` says that the
    /// capture ended before the body did.
    pub fn body(&mut self, body: &[u8], coding: &[u8], cut: bool) -> Masked<Body> {
        let mut counts = self.counts();
        let value = match undo(body, coding, cut) {
            Ok(text) => Body::Text(self.field(&Raw::new(text), cut, &mut counts)),
            Err(why) => {
                *counts.entry("left-out").or_default() += 1;
                Body::Left { bytes: body.len() as u64, why }
            }
        };
        self.masked(value, counts)
    }
}

/// Undoes the codings, the last first.
fn undo(body: &[u8], codings: &[u8], cut: bool) -> Result<Vec<u8>, &'static str> {
    let names = codings.split(|&b| b == b',').map(<[u8]>::trim_ascii);
    let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
    if names.len() > CODINGS {
        return Err("too many codings");
    }
    let mut text = body.to_vec();
    for name in names.into_iter().rev() {
        let lower = name.to_ascii_lowercase();
        let limit = (text.len().saturating_mul(RATIO)).min(LARGEST);
        text = match lower.as_slice() {
            b"identity" => text,
            b"gzip" | b"x-gzip" => inflate(MultiGzDecoder::new(text.as_slice()), limit, cut)?,
            // Some servers leave out the frame that RFC 9110 asks for.
            b"deflate" if text.first().is_some_and(|b| b & 15 == 8) => {
                inflate(ZlibDecoder::new(text.as_slice()), limit, cut)?
            }
            b"deflate" => inflate(DeflateDecoder::new(text.as_slice()), limit, cut)?,
            _ => return Err("a coding that is not known"),
        };
    }
    if text.len() > LARGEST { Err("larger than the bound") } else { Ok(text) }
}

fn inflate(decoder: impl Read, limit: usize, cut: bool) -> Result<Vec<u8>, &'static str> {
    let mut out = vec![];
    let read = decoder.take(limit as u64 + 1).read_to_end(&mut out);
    if out.len() > limit {
        return Err("larger than the bound when undone");
    }
    match read {
        Ok(_) => Ok(out),
        // What the capture cut gives its beginning.
        Err(_) if cut && !out.is_empty() => Ok(out),
        Err(_) => Err("damaged, or cut off"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;
    use crate::mask::MaskKey;

    const TEXT: &str = "{\"password\":\"zQ7vT2mXpLx9WkRb4\",\"name\":\"n\"}";

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(vec![], Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn body(body: &[u8], coding: &str, cut: bool) -> Masked<Body> {
        Masker::new(MaskKey::fixed(5)).body(body, coding.as_bytes(), cut)
    }

    #[track_caller]
    fn shows(masked: &Masked<Body>) {
        let Body::Text(text) = masked.get() else { panic!("{:?}", masked.get()) };
        let text = String::from_utf8_lossy(text.bytes());
        assert!(text.contains("<mask:secret:") && text.ends_with(",\"name\":\"n\"}"), "{text}");
        assert!(!text.contains("zQ7v"), "{text}");
    }

    #[test]
    fn each_coding_is_undone_and_masked() {
        let mut zlib = ZlibEncoder::new(vec![], Compression::best());
        zlib.write_all(TEXT.as_bytes()).unwrap();
        let mut bare = DeflateEncoder::new(vec![], Compression::best());
        bare.write_all(TEXT.as_bytes()).unwrap();
        shows(&body(TEXT.as_bytes(), "", false));
        shows(&body(TEXT.as_bytes(), "identity", false));
        shows(&body(&gzip(TEXT.as_bytes()), "GZip", false));
        shows(&body(&zlib.finish().unwrap(), "deflate", false));
        shows(&body(&bare.finish().unwrap(), "deflate", false));
        shows(&body(&gzip(&gzip(TEXT.as_bytes())), "gzip, gzip", false));
    }

    #[test]
    fn what_cant_be_undone_is_left_out_with_a_reason() {
        let bomb = gzip(&vec![b'a'; 8 << 20]);
        let damaged = gzip(TEXT.as_bytes())[..20].to_vec();
        for (bytes, coding, says) in [
            (bomb, "gzip", "larger"),
            (damaged.clone(), "gzip", "damaged"),
            (TEXT.into(), "br", "not known"),
            (TEXT.into(), "gzip,gzip,gzip,gzip", "too many"),
        ] {
            let out = body(&bytes, coding, false);
            let Body::Left { bytes: size, why } = out.get() else { panic!("{:?}", out.get()) };
            assert!(why.contains(says), "{why}");
            assert_eq!(*size, bytes.len() as u64);
            assert_eq!(out.counts().get("left-out"), Some(&1));
        }
    }

    #[test]
    fn a_cut_body_gives_its_beginning_and_no_secret() {
        let long = format!("{TEXT}{}", "an ordinary sentence, and another. ".repeat(40));
        let whole = gzip(long.as_bytes());
        for at in 1..whole.len() {
            if let Body::Text(text) = body(&whole[..at], "gzip", true).get() {
                let text = String::from_utf8_lossy(text.bytes());
                assert!(!text.contains("T2mXpLx9"), "{at}: {text}");
            }
        }
    }
}

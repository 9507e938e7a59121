//! Bodies of messages: undone where they came compressed, and masked by what they are. What can't
//! be judged, or is no text, is not stored: its size, the reason and a hash are.

use super::fields::Fields;
use super::form::{self, Part};
use super::{coding, json};
use crate::model::Raw;

/// A message's body as it came.
#[derive(Clone, Copy, Debug, Default)]
pub struct BodyBytes<'a> {
    /// Its bytes, as the wire had them.
    pub bytes: &'a [u8],
    /// What `Content-Type` says; empty for nothing.
    pub kind: &'a [u8],
    /// What `Content-Encoding` says; empty for nothing.
    pub coding: &'a [u8],
    /// The capture ended before the body did.
    pub cut: bool,
}

/// A body as it can be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Its text, masked.
    Text(Raw),
    /// JSON, or several one after another; masked value by value, so that it still is JSON.
    Json(Raw),
    /// A form's fields: names and values, decoded.
    Form(Vec<(Raw, Raw)>),
    /// The parts of a multipart body.
    Parts(Vec<Part>),
    /// It is not stored.
    Left {
        /// The bytes that came.
        bytes: u64,
        /// Why they are not here, in our words.
        why: &'static str,
        /// Their HMAC-SHA-256 under the run's mask key, in hex: equal bodies can be told.
        hmac: String,
    },
}

/// How deep bodies may stand within each other.
const DEPTH: u32 = 3;

impl Fields<'_> {
    /// A body.
    pub(super) fn body(&mut self, body: &BodyBytes<'_>) -> Body {
        match coding::undo(body.bytes, body.coding, body.cut) {
            Ok(text) => self.undone(&text, body.kind, body.cut, DEPTH),
            Err(why) => self.left(body.bytes, why),
        }
    }

    /// A body without its codings, or a part of one. `depth` is how many may stand within it.
    pub(super) fn undone(&mut self, text: &[u8], kind: &[u8], cut: bool, depth: u32) -> Body {
        let media = media(kind);
        if text.is_empty() {
            return Body::Text(Raw::default());
        }
        if media.starts_with(b"multipart/")
            && depth > 0
            && let Some(boundary) = parameter(kind, b"boundary")
            && let Some(parts) = form::parts(self, text, &boundary, cut, depth - 1)
        {
            return Body::Parts(parts);
        }
        if is_binary(text) {
            return self.left(text, "not text");
        }
        if media == b"application/x-www-form-urlencoded" {
            return Body::Form(form::fields(self, text, cut));
        }
        // Whatever its type says: many send JSON as text.
        let first = text.trim_ascii_start().first();
        if matches!(first, Some(b'{' | b'['))
            && let Some(masked) = json::masked(self, text)
        {
            return Body::Json(masked);
        }
        Body::Text(self.text(Raw::from(text), cut))
    }

    fn left(&mut self, bytes: &[u8], why: &'static str) -> Body {
        self.count("left-out");
        let mut hash = self.masker.rest_hmac();
        hash.update(bytes);
        Body::Left { bytes: bytes.len() as u64, why, hmac: hash.finish_hex() }
    }
}

/// The type without its parameters, in lower case.
fn media(kind: &[u8]) -> Vec<u8> {
    let media = kind.split(|&b| b == b';').next().unwrap_or_default();
    media.trim_ascii().to_ascii_lowercase()
}

/// A parameter of a `Content-Type` or `Content-Disposition` (RFC 9110, 5.6.6; RFC 7578, 4.2).
pub(super) fn parameter(value: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut rest = value;
    loop {
        let at = rest.iter().position(|&b| b == b';')?;
        rest = rest.get(at + 1..)?.trim_ascii_start();
        let sign = rest.iter().position(|b| matches!(b, b'=' | b';'))?;
        if rest.get(sign) != Some(&b'=') {
            continue;
        }
        let here = rest[..sign].trim_ascii().eq_ignore_ascii_case(name);
        rest = rest.get(sign + 1..)?.trim_ascii_start();
        let (text, len) = match rest.strip_prefix(b"\"") {
            Some(quoted) => {
                let (text, len) = unquote(quoted);
                (text, len + 1)
            }
            None => {
                let len = rest.iter().position(|&b| b == b';').unwrap_or(rest.len());
                (rest[..len].trim_ascii().to_vec(), len)
            }
        };
        if here {
            return Some(text);
        }
        rest = rest.get(len..)?;
    }
}

/// A quoted string to its closing quote, and how long it is with that.
fn unquote(text: &[u8]) -> (Vec<u8>, usize) {
    let mut out = vec![];
    let mut at = 0;
    while let Some(&b) = text.get(at) {
        at += 1;
        match b {
            b'"' => break,
            b'\\' => {
                out.extend(text.get(at));
                at += 1;
            }
            _ => out.push(b),
        }
    }
    (out, at.min(text.len()))
}

/// Whether nobody would read it as text.
fn is_binary(text: &[u8]) -> bool {
    const GLANCE: usize = 4096;
    let glance = text.get(..GLANCE).unwrap_or(text);
    // UTF-16 has a NUL for each letter of ASCII: that is text, and masked as such.
    let wide = glance.starts_with(&[0xff, 0xfe]) || glance.starts_with(&[0xfe, 0xff]);
    // Without a branch for each byte, and so few at a time that a byte can count them.
    let odd = |b: u8| u8::from((b < b' ') & !matches!(b, 9..=13 | 27) | (b == 127));
    let of = |bytes: &[u8]| usize::from(bytes.iter().map(|&b| odd(b)).sum::<u8>());
    let controls: usize = glance.chunks(128).map(of).sum();
    let broken = match std::str::from_utf8(glance) {
        Ok(_) => false,
        // A character that the glance cut is whole further on.
        Err(error) => error.error_len().is_some() || error.valid_up_to() + 4 < glance.len(),
    };
    !wide && (controls * 16 > glance.len() || broken && controls > 0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use data_encoding::BASE64;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;
    use crate::mask::{MaskKey, Masked, Masker};

    const TEXT: &str = "{\"password\":\"zQ7vT2mXpLx9WkRb4\",\"name\":\"n\"}";

    /// The same in brotli, whose encoder is no dependency of ours.
    const BROTLI: &[u8] = b"CxWAeyJwYXNzd29yZCI6InpRN3ZUMm1YcEx4OVdrUmI0IiwibmFtZSI6Im4ifQM=";
    /// Eight million bytes in fourteen.
    const BROTLI_BOMB: &[u8] = b"m///f/glwuKxQCD3/g8=";

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(vec![], Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn body(bytes: &[u8], coding: &str, cut: bool) -> Masked<Body> {
        let coding = coding.as_bytes();
        Masker::new(MaskKey::fixed(5)).body(&BodyBytes { bytes, kind: b"", coding, cut })
    }

    fn typed(bytes: &str, kind: &str) -> Body {
        let body =
            BodyBytes { bytes: bytes.as_bytes(), kind: kind.as_bytes(), ..BodyBytes::default() };
        Masker::new(MaskKey::fixed(5)).body(&body).get().clone()
    }

    fn said(raw: &Raw) -> String {
        String::from_utf8_lossy(raw.bytes()).into_owned()
    }

    #[track_caller]
    fn shows(masked: &Masked<Body>) {
        let Body::Json(text) = masked.get() else { panic!("{:?}", masked.get()) };
        let text = String::from_utf8_lossy(text.bytes());
        assert!(text.contains("<mask:secret:") && text.ends_with(",\"name\":\"n\"}"), "{text}");
        assert!(!text.contains("zQ7v"), "{text}");
    }

    /// A frame that asks for a window of 128 MiB.
    fn wide_zstd() -> Vec<u8> {
        let mut encoder = zstd::stream::Encoder::new(vec![], 3).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(TEXT.as_bytes()).unwrap();
        encoder.finish().unwrap()
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
        let br = BASE64.decode(BROTLI).unwrap();
        shows(&body(&br, "br", false));
        let zstd = zstd::stream::encode_all(TEXT.as_bytes(), 3).unwrap();
        shows(&body(&zstd, "zstd", false));
        shows(&body(&gzip(&zstd), "zstd, gzip", false));
        shows(&body(&gzip(&gzip(TEXT.as_bytes())), "gzip, gzip", false));
    }

    #[test]
    fn what_cant_be_undone_is_left_out_with_a_reason() {
        let bomb = gzip(&vec![b'a'; 8 << 20]);
        let damaged = gzip(TEXT.as_bytes())[..20].to_vec();
        for (bytes, coding, says) in [
            (bomb, "gzip", "larger"),
            (damaged.clone(), "gzip", "damaged"),
            (TEXT.into(), "compress", "not known"),
            (TEXT.into(), "br", "damaged"),
            (BASE64.decode(BROTLI_BOMB).unwrap(), "br", "larger"),
            (vec![0x11, 0x1e, 0xff], "br", "window"),
            (zstd::stream::encode_all(&*vec![b'a'; 8 << 20], 3).unwrap(), "zstd", "larger"),
            (wide_zstd(), "zstd", "damaged"),
            (TEXT.into(), "gzip,gzip,gzip,gzip", "too many"),
        ] {
            let out = body(&bytes, coding, false);
            let Body::Left { bytes: size, why, hmac } = out.get() else {
                panic!("{:?}", out.get())
            };
            assert!(why.contains(says), "{why}");
            assert_eq!(*size, bytes.len() as u64);
            assert_eq!(hmac.len(), 64);
            assert_eq!(out.counts().get("left-out"), Some(&1));
        }
    }

    #[test]
    fn nothing_hides_behind_a_streams_end() {
        let mut zlib = ZlibEncoder::new(vec![], Compression::best());
        zlib.write_all(TEXT.as_bytes()).unwrap();
        let mut bare = DeflateEncoder::new(vec![], Compression::best());
        bare.write_all(TEXT.as_bytes()).unwrap();
        for (bytes, coding) in [
            (zlib.finish().unwrap(), "deflate"),
            (bare.finish().unwrap(), "deflate"),
            (BASE64.decode(BROTLI).unwrap(), "br"),
            (gzip(TEXT.as_bytes()), "gzip"),
            (zstd::stream::encode_all(TEXT.as_bytes(), 3).unwrap(), "zstd"),
        ] {
            shows(&body(&bytes, coding, false));
            for behind in [1, 100, 5000, 9000] {
                let more = [&bytes[..], &vec![b'x'; behind]].concat();
                let out = body(&more, coding, false);
                assert!(matches!(out.get(), Body::Left { .. }), "{coding} {behind}: {out:?}");
            }
            let damaged = body(&bytes[..bytes.len() - 3], coding, false);
            assert!(matches!(damaged.get(), Body::Left { .. }), "{coding}: {damaged:?}");
        }
    }

    #[test]
    fn a_cut_body_gives_its_beginning_and_no_secret() {
        let long = format!("{TEXT}{}", "an ordinary sentence, and another. ".repeat(40));
        let whole = gzip(long.as_bytes());
        for at in 1..whole.len() {
            if let Body::Text(text) | Body::Json(text) = body(&whole[..at], "gzip", true).get() {
                let text = String::from_utf8_lossy(text.bytes());
                assert!(!text.contains("T2mXpLx9"), "{at}: {text}");
            }
        }
    }

    #[test]
    fn json_stays_json_and_is_masked_value_by_value() {
        let text = r#"{"credentials":{"type":"basic","n":["zQ7vT2mXpLx9WkRb4"],"odd":"p\"q\u0041-9z"},
            "a\n password=kP4wN8sYcVb3":1e400,"b":[1.50,null,"é"],"b":"-----BEGIN PRIVATE KEY-----\nMIIE"}"#;
        let Body::Json(masked) = typed(text, "text/plain") else { panic!() };
        let shown = said(&masked);
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(&shown).is_ok(), "{shown}");
        for secret in ["zQ7vT2mX", "kP4wN8sY", "MIIE", "-9z"] {
            assert!(!shown.contains(secret), "{secret}: {shown}");
        }
        for kept in ["\"type\":\"basic\"", ":1e400,", "[1.50,null,\"é\"]"] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
    }

    #[test]
    fn a_forms_fields_are_masked_by_their_names() {
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        let Body::Form(fields) = typed("user=a+b&password=zQ7%26vT2+mX&note=%2Fx&x", kind) else {
            panic!()
        };
        let shown: Vec<_> = fields.iter().map(|(name, value)| (said(name), said(value))).collect();
        assert_eq!(shown[0], ("user".into(), "a b".into()));
        assert!(shown[1].0 == "password" && shown[1].1.starts_with("<mask:secret:"), "{shown:?}");
        assert_eq!(shown[2], ("note".into(), "/x".into()));
        assert_eq!(shown[3], ("x".into(), String::new()));
    }

    #[test]
    fn parts_are_masked_by_their_names_and_types() {
        let text = "--b1\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\nhunter two\r\n\
            --b1\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a;b.json\"\r\n\
            Content-Type: application/json\r\n\r\n{\"token\":\"zQ7vT2mXpLx9WkRb4\"}\r\n\
            --b1\r\n\r\nplain\r\n--b1--\r\n";
        let Body::Parts(parts) = typed(text, "multipart/form-data; boundary=\"b1\"") else {
            panic!()
        };
        assert_eq!(parts.len(), 3);
        assert_eq!(said(&parts[0].name), "password");
        assert!(matches!(&parts[0].body, Body::Text(text) if said(text).starts_with("<mask:")));
        assert_eq!(parts[1].filename.as_ref().map(said).as_deref(), Some("a;b.json"));
        assert!(
            matches!(&parts[1].body, Body::Json(text) if said(text).starts_with("{\"token\":\"<mask:"))
        );
        assert!(matches!(&parts[2].body, Body::Text(text) if said(text) == "plain"));
    }

    #[test]
    fn no_content_vanishes_among_the_headers_of_a_part() {
        let long = format!("a: {}\r\n", "x".repeat(1000)).repeat(20);
        for text in [
            "--b\r\nunheard of\r\n--b--",
            "--b\r\nunheard: of\r\n--b--",
            "--b unheard of\r\n\r\nx\r\n--b--",
            "--b\r\nunheard of\r\n\r\nx\r\n--b--",
            "--b\r\nunheard of: it\r\n\r\nx\r\n--b--",
            &format!("--b\r\n{long}unheard of\r\n\r\nx\r\n--b--"),
            &format!("--b\r\n{long}\r\nunheard of\r\n--b--"),
        ] {
            let Body::Text(shown) = typed(text, "multipart/form-data; boundary=b") else {
                panic!("{text}")
            };
            assert!(said(&shown).contains("unheard"), "{text}");
        }
        let kind = b"multipart/form-data; boundary=b";
        let masked = |text: &'static str, cut| {
            let body = BodyBytes { bytes: text.as_bytes(), kind, coding: b"", cut };
            Masker::new(MaskKey::fixed(5)).body(&body)
        };
        let headers = masked("--b \r\nX-A: 1\r\nX-B: 2\r\n\r\nx\r\n--b--", false);
        let Body::Parts(parts) = headers.get() else { panic!("{headers:?}") };
        assert!(matches!(&parts[0].body, Body::Text(text) if said(text) == "x"));
        assert_eq!(headers.counts().get("left-out"), Some(&2));
        for (text, whole) in [
            ("--b\r\n\r\nx\r\n--b unheard of", false),
            ("--b\r\n\r\nx\r\n--b\r\nunheard of", false),
            ("--b\r\n\r\nx\r\n--b\r\nContent-Disp", true),
            ("--b\r\n\r\nx\r\n--b\r\nContent-Disposition: form-da", true),
            ("--b\r\n\r\nx\r\n--b-", true),
        ] {
            let out = masked(text, true);
            assert_eq!(matches!(out.get(), Body::Parts(_)), whole, "{text}: {out:?}");
        }
    }

    #[test]
    fn json_within_a_form_is_judged_as_json() {
        let json =
            "{\"command\":\"mysql -uroot -phunterzq\",\"args\":[\"curl\",\"-u\",\"me:hunterzq\"]}";
        let percent: String = json.bytes().map(|b| format!("%{b:02x}")).collect();
        let form = typed(&format!("note={percent}"), "application/x-www-form-urlencoded");
        let Body::Form(fields) = form else { panic!("{form:?}") };
        let text = said(&fields[0].1);
        assert!(!text.contains("hunterzq") && text.contains("mysql -uroot"), "{text}");
    }

    #[test]
    fn what_is_no_text_is_left_out() {
        let png =
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";
        let out = body(png, "", false);
        assert!(
            matches!(out.get(), Body::Left { bytes: 33, why: "not text", .. }),
            "{:?}",
            out.get()
        );
    }

    #[test]
    fn any_bytes_pass_in_any_coding_and_type() {
        use proptest::prelude::*;
        let codings = prop::sample::select(vec!["", "gzip", "deflate", "br", "zstd", "br,gzip"]);
        let kinds = prop::sample::select(vec![
            "",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=b",
            "multipart/form-data; boundary=\"",
        ]);
        let texts = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "[\\[\\]{}:,\"\\\\u0-9a-f -]{0,60}".prop_map(String::into_bytes),
            "(--b(--)?(\r\n|\n)?|[a-zN:;=\" \r\n]{0,12}){0,8}".prop_map(String::into_bytes),
        ];
        proptest!(|(bytes in texts, coding in codings, kind in kinds, cut: bool)| {
            let (coding, kind) = (coding.as_bytes(), kind.as_bytes());
            let body = BodyBytes { bytes: &bytes, kind, coding, cut };
            Masker::new(MaskKey::fixed(5)).body(&body);
        });
    }
}

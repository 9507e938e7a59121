//! Bodies of messages through the masker: as they come, and with a secret planted in a place that
//! says so, beside whatever the fuzzer made.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use observer::mask::{Body, BodyBytes, MaskKey, Masker, Part};
use observer::model::Raw;

/// The most that a body may be undone to.
const UNDONE: usize = 4 << 20;
/// A token is so many times what it stands for, at most.
const TOKEN: usize = 100;

/// A byte that says how the rest is used, a `Content-Type` to the line's end, a `Content-Encoding` to
/// the line's end, and a body.
///
/// # Panics
/// When more comes out than can be, or a planted secret does.
pub fn bodies(bytes: &[u8]) {
    let Some((&how, rest)) = bytes.split_first() else { return };
    let (kind, rest) = line(rest);
    let (coding, text) = line(rest);
    judge(&BodyBytes { bytes: text, kind, coding, cut: how & 1 == 1 });
    let secret = secret(bytes);
    let boundary = format!("{secret}-b").chars().rev().collect::<String>();
    let planted = match how >> 1 & 3 {
        0 => {
            let text = escaped(&String::from_utf8_lossy(text));
            format!("{{\"a\":\"{text}\",\"password\":\"{secret}\"}}").into_bytes()
        }
        1 => {
            let text: String = text.iter().map(|b| format!("%{b:02x}")).collect();
            format!("a={text}&password={secret}&b=1").into_bytes()
        }
        2 if holds(text, boundary.as_bytes()) => return,
        2 => {
            let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=");
            let before = format!("{head}\"a\"\r\n\r\n");
            let after = format!("\r\n{head}\"password\"\r\n\r\n{secret}\r\n--{boundary}--\r\n");
            [before.as_bytes(), text, after.as_bytes()].concat()
        }
        _ => return,
    };
    let kind = match how >> 1 & 3 {
        0 => "application/json".to_owned(),
        1 => "application/x-www-form-urlencoded".to_owned(),
        _ => format!("multipart/form-data; boundary={boundary}"),
    };
    let (coding, planted) = coded(how >> 3, &planted);
    let body = BodyBytes { bytes: &planted, kind: kind.as_bytes(), coding, cut: false };
    let shown = judge(&body);
    assert!(!holds(&shown, secret.as_bytes()), "{}", String::from_utf8_lossy(&shown));
}

/// Masks a body: everything that is shown of it.
fn judge(body: &BodyBytes<'_>) -> Vec<u8> {
    let mut masker = Masker::new(MaskKey::from_bytes([7; 32]));
    let mut shown = vec![];
    gather(masker.body(body).get(), &mut shown);
    let undone = match body.coding {
        [] => body.bytes.len(),
        _ => UNDONE.min((200 * body.bytes.len()).max(64 << 10)),
    };
    assert!(shown.len() <= TOKEN * undone + 256, "{} of {undone} bytes", shown.len());
    shown
}

fn gather(body: &Body, out: &mut Vec<u8>) {
    let mut add = |raw: &Raw| {
        out.extend_from_slice(raw.bytes());
        out.push(b'\n');
    };
    match body {
        Body::Text(text) | Body::Json(text) => add(text),
        Body::Form(fields) => fields.iter().for_each(|(name, value)| {
            add(name);
            add(value);
        }),
        Body::Left { why, hmac, .. } => assert!(!why.is_empty() && hmac.len() == 64),
        Body::Parts(parts) => {
            for Part { name, filename, kind, body } in parts {
                let said = [Some(name), filename.as_ref(), kind.as_ref()];
                said.into_iter().flatten().for_each(|raw| out.extend_from_slice(raw.bytes()));
                gather(body, out);
            }
        }
    }
}

/// A string of JSON, without its quotes.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out += &format!("\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out
}

/// A line and what follows it.
fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|&b| b == b'\n').unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

/// Compresses a body in one of four ways.
fn coded(how: u8, text: &[u8]) -> (&'static [u8], Vec<u8>) {
    const SAYS: &str = "memory has room";
    let level = Compression::fast();
    match how & 3 {
        0 => (b"", text.to_vec()),
        1 => {
            let mut to = GzEncoder::new(vec![], level);
            to.write_all(text).expect(SAYS);
            (b"gzip", to.finish().expect(SAYS))
        }
        2 => {
            let mut to = ZlibEncoder::new(vec![], level);
            to.write_all(text).expect(SAYS);
            (b"deflate", to.finish().expect(SAYS))
        }
        _ => {
            let mut to = DeflateEncoder::new(vec![], level);
            to.write_all(text).expect(SAYS);
            let mut twice = GzEncoder::new(vec![], level);
            twice.write_all(&to.finish().expect(SAYS)).expect(SAYS);
            (b"deflate, gzip", twice.finish().expect(SAYS))
        }
    }
}

/// A password that no input can hold, because it is made from it.
fn secret(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut state = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |state, &b| {
        (state ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
    });
    let mut letter = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        char::from(LETTERS[(state >> 33) as usize % LETTERS.len()])
    };
    (0..16).map(|_| letter()).collect()
}

/// Whether a text holds another.
fn holds(text: &[u8], piece: &[u8]) -> bool {
    text.windows(piece.len()).any(|window| window == piece)
}

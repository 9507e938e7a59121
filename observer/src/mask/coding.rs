//! Content codings (RFC 9110, 8.4.1): gzip and deflate, brotli (RFC 7932) and zstd (RFC 8878), each
//! undone within bounds.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use brotli_decompressor::Decompressor;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// No body is looked at beyond this.
pub(super) const LARGEST: usize = 4 << 20;
/// What grows more than this is a bomb.
const RATIO: usize = 200;
/// A small body may grow to this whatever the ratio says.
const FLOOR: usize = 64 * 1024;
/// The window that a zstd decoder must have room for, and no more (RFC 9659): 8 MiB.
const ZSTD_WINDOW: u32 = 23;
/// Brotli is read in pieces of this.
const PIECE: usize = 4096;
/// More codings on one body than this nobody uses.
const CODINGS: usize = 3;

/// Undoes the codings that a `Content-Encoding` names, the last first. `cut` says that the body's
/// end is not here: what there is of it is given then.
///
/// # Errors
/// Why it can't be undone, in our words.
pub(super) fn undo(body: &[u8], codings: &[u8], cut: bool) -> Result<Vec<u8>, &'static str> {
    let names = codings.split(|&b| b == b',').map(<[u8]>::trim_ascii);
    let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
    if names.len() > CODINGS {
        return Err("too many codings");
    }
    let mut text = body.to_vec();
    for name in names.into_iter().rev() {
        let lower = name.to_ascii_lowercase();
        let limit = text.len().saturating_mul(RATIO).clamp(FLOOR, LARGEST);
        text = match lower.as_slice() {
            b"identity" => text,
            b"gzip" | b"x-gzip" => read(MultiGzDecoder::new(text.as_slice()), limit, cut, refuses)?,
            // Some servers leave out the frame that RFC 9110 asks for.
            b"deflate" if text.first().is_some_and(|b| b & 15 == 8) => {
                let more = |decoder: &mut ZlibDecoder<&[u8]>| !decoder.get_ref().is_empty();
                read(ZlibDecoder::new(text.as_slice()), limit, cut, more)?
            }
            b"deflate" => {
                let more = |decoder: &mut DeflateDecoder<&[u8]>| !decoder.get_ref().is_empty();
                read(DeflateDecoder::new(text.as_slice()), limit, cut, more)?
            }
            b"br" => brotli(&text, limit, cut)?,
            b"zstd" => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(text.as_slice())
                    .map_err(|_| "no room for its window")?;
                let bounded = decoder.window_log_max(ZSTD_WINDOW);
                bounded.map_err(|_| "no room for its window")?;
                read(decoder, limit, cut, refuses)?
            }
            _ => return Err("a coding that is not known"),
        };
    }
    if text.len() > LARGEST { Err("larger than the bound") } else { Ok(text) }
}

/// Its window is 16 MiB at most, as RFC 7932 has it: a stream that asks for more (1 GiB is possible
/// in a form that no browser takes) is refused before anything is allocated.
fn brotli(text: &[u8], limit: usize, cut: bool) -> Result<Vec<u8>, &'static str> {
    if text.first().is_some_and(|b| b & 0x7f == 0x11) {
        return Err("a window beyond the bound");
    }
    // What it has taken in already it refuses when it is asked once more.
    let more = |decoder: &mut Decompressor<&[u8]>| {
        !decoder.get_ref().is_empty() || decoder.read(&mut [0]).is_err()
    };
    let undo = || read(Decompressor::new(text, PIECE), limit, cut, more);
    // Its decoder is written in Rust, and asserts what it expects.
    catch_unwind(AssertUnwindSafe(undo)).unwrap_or(Err("damaged, or cut off"))
}

/// A decoder that fails by itself where something follows its stream.
fn refuses<D>(_: &mut D) -> bool {
    false
}

/// Reads a stream to its end. `more` says whether something follows that, which nobody would see.
fn read<D: Read>(
    mut decoder: D,
    limit: usize,
    cut: bool,
    more: impl FnOnce(&mut D) -> bool,
) -> Result<Vec<u8>, &'static str> {
    let mut out = vec![];
    let read = decoder.by_ref().take(limit as u64 + 1).read_to_end(&mut out);
    if out.len() > limit {
        return Err("larger than the bound when undone");
    }
    match read {
        Ok(_) if more(&mut decoder) => Err("bytes behind its end"),
        Ok(_) => Ok(out),
        // What the capture cut gives its beginning.
        Err(_) if cut && !out.is_empty() => Ok(out),
        Err(_) => Err("damaged, or cut off"),
    }
}

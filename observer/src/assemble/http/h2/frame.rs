//! Frames of HTTP/2 (RFC 9113 §4, §6), a byte or a megabyte at a time. Contents pass through; of the
//! rest only what is needed is held.

use super::super::limits;

const HEADER: usize = 9;
/// SETTINGS have a few entries of six bytes; more than this is a flood.
const SETTINGS: usize = 16 * 1024;
/// CONTINUATION frames of one field block.
const CONTINUATIONS: usize = 1024;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// What a direction said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// A part of a stream's content.
    Data { stream: u32, bytes: &'a [u8] },
    /// A stream's content is over: it has no fields after it.
    EndOfData { stream: u32 },
    /// A field block.
    Fields { stream: u32, block: Vec<u8>, end: bool },
    /// A field block of a request that the server makes up (`PUSH_PROMISE`).
    Promise { stream: u32, block: Vec<u8> },
    /// A stream was broken off.
    Reset { stream: u32, code: u32 },
    /// `SETTINGS_HEADER_TABLE_SIZE`.
    TableSize(u32),
    /// No stream after `last` is answered.
    GoAway { last: u32, code: u32 },
    /// Nothing to tell yet.
    Nothing,
}

/// One direction's frames.
#[derive(Default)]
pub(super) struct Frames {
    header: [u8; HEADER],
    have: usize,
    body: Option<Body>,
    /// A field block that goes on.
    block: Option<Block>,
}

struct Body {
    kind: Kind,
    flags: u8,
    stream: u32,
    /// Bytes of the payload to come.
    left: usize,
    /// Of those, how many are padding; none until its length has come.
    padding: Option<usize>,
    held: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Fields,
    Promise,
    Continuation,
    Reset,
    Settings,
    GoAway,
    /// Nothing of it matters.
    Other,
}

struct Block {
    stream: u32,
    end: bool,
    promise: bool,
    bytes: Vec<u8>,
    frames: usize,
}

impl Frames {
    /// Takes at least one byte of `bytes`, which are not empty. How many, and what they said.
    pub(super) fn take<'a>(&mut self, bytes: &'a [u8]) -> Result<(usize, Said<'a>), &'static str> {
        let Some(body) = &mut self.body else {
            let taken = (HEADER - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            if self.have < HEADER {
                return Ok((taken, Said::Nothing));
            }
            self.have = 0;
            self.begin()?;
            return Ok((taken, self.end_if_over()?));
        };
        if body.kind == Kind::Data {
            let Some(padding) = body.padding else {
                let length = usize::from(bytes[0]);
                body.left -= 1;
                if length > body.left {
                    return Err("an HTTP/2 frame with more padding than it has room for");
                }
                body.padding = Some(length);
                return Ok((1, self.end_if_over()?));
            };
            let data = body.left.saturating_sub(padding).min(bytes.len());
            let stream = body.stream;
            if data > 0 {
                body.left -= data;
                // Its end is told with the next bytes, or with these where it is the last of them.
                return Ok((data, Said::Data { stream, bytes: &bytes[..data] }));
            }
        }
        let taken = body.left.min(bytes.len());
        body.left -= taken;
        let room = body.kind.holds().saturating_sub(body.held.len()).min(taken);
        body.held.extend_from_slice(&bytes[..room]);
        Ok((taken, self.end_if_over()?))
    }

    /// Whether a frame came to its end without being told so: to be asked after each `take`.
    pub(super) fn end_if_over(&mut self) -> Result<Said<'static>, &'static str> {
        match self.body.take_if(|body| body.left == 0) {
            Some(body) => self.end(body),
            None => Ok(Said::Nothing),
        }
    }

    /// Passes over bytes that were missed: the stream whose content they are, where they are one's.
    /// None where they can't be passed over.
    pub(super) fn skip(&mut self, bytes: u64) -> Option<Option<u32>> {
        let body = self.body.as_mut()?;
        let bytes = usize::try_from(bytes).ok()?;
        let padding = match body.kind {
            Kind::Data => body.padding?,
            Kind::Other => 0,
            _ => return None,
        };
        let data = body.left.checked_sub(padding)?;
        // Over the padding too, only to the frame's end.
        if bytes > data && bytes != body.left {
            return None;
        }
        body.left -= bytes;
        Some((body.kind == Kind::Data).then_some(body.stream))
    }

    pub(super) fn memory(&self) -> usize {
        self.body.as_ref().map_or(0, |body| body.held.capacity())
            + self.block.as_ref().map_or(0, |block| block.bytes.capacity())
    }

    fn begin(&mut self) -> Result<(), &'static str> {
        let [a, b, c, kind, flags, s1, s2, s3, s4] = self.header;
        let left = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes([s1 & 0x7f, s2, s3, s4]);
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Fields,
            3 => Kind::Reset,
            4 => Kind::Settings,
            5 => Kind::Promise,
            7 => Kind::GoAway,
            9 => Kind::Continuation,
            _ => Kind::Other,
        };
        let continues = self.block.as_ref().map(|block| block.stream);
        if continues.is_some_and(|of| kind != Kind::Continuation || of != stream)
            || continues.is_none() && kind == Kind::Continuation
        {
            return Err("an HTTP/2 frame within another's field block");
        }
        let of_stream = !matches!(kind, Kind::Settings | Kind::GoAway | Kind::Other);
        if of_stream && stream == 0 {
            return Err("an HTTP/2 frame without its stream");
        }
        let sized = match kind {
            Kind::Fields | Kind::Promise | Kind::Continuation => left <= limits::BLOCK,
            Kind::Settings => left <= SETTINGS && left.is_multiple_of(6),
            Kind::Reset => left == 4,
            Kind::GoAway => left >= 8,
            Kind::Data => left > 0 || flags & PADDED == 0,
            Kind::Other => true,
        };
        if !sized {
            return Err("an HTTP/2 frame of a size that can't be");
        }
        let padding = if flags & PADDED == 0 { Some(0) } else { None };
        self.body = Some(Body { kind, flags, stream, left, padding, held: vec![] });
        Ok(())
    }

    fn end(&mut self, body: Body) -> Result<Said<'static>, &'static str> {
        const SHORT: &str = "an HTTP/2 frame that is too short";
        let Body { kind, flags, stream, held, .. } = body;
        match kind {
            Kind::Data if flags & END_STREAM != 0 => Ok(Said::EndOfData { stream }),
            Kind::Fields => {
                let mut bytes = unpadded(&held, flags).ok_or(SHORT)?;
                if flags & PRIORITY != 0 {
                    bytes = bytes.get(5..).ok_or(SHORT)?;
                }
                let end = flags & END_STREAM != 0;
                let bytes = bytes.to_vec();
                self.block = Some(Block { stream, end, promise: false, bytes, frames: 0 });
                self.block_if_whole(flags)
            }
            Kind::Promise => {
                let bytes = unpadded(&held, flags).and_then(|bytes| bytes.get(4..)).ok_or(SHORT)?;
                let bytes = bytes.to_vec();
                self.block = Some(Block { stream, end: false, promise: true, bytes, frames: 0 });
                self.block_if_whole(flags)
            }
            Kind::Continuation => {
                if let Some(block) = &mut self.block {
                    block.bytes.extend_from_slice(&held);
                    block.frames += 1;
                    if block.bytes.len() > limits::BLOCK || block.frames > CONTINUATIONS {
                        return Err("an HTTP/2 field block without an end");
                    }
                }
                self.block_if_whole(flags)
            }
            Kind::Reset => Ok(Said::Reset { stream, code: number(&held, 0) }),
            Kind::Settings if flags & ACK == 0 => {
                let sizes = held.chunks_exact(6).filter(|entry| entry[..2] == [0, 1]);
                // The largest: in between, none was in force.
                let size = sizes.map(|entry| number(entry, 2)).max();
                Ok(size.map_or(Said::Nothing, Said::TableSize))
            }
            Kind::GoAway => {
                Ok(Said::GoAway { last: number(&held, 0) & 0x7fff_ffff, code: number(&held, 4) })
            }
            Kind::Data | Kind::Settings | Kind::Other => Ok(Said::Nothing),
        }
    }

    fn block_if_whole(&mut self, flags: u8) -> Result<Said<'static>, &'static str> {
        if flags & END_HEADERS == 0 {
            return Ok(Said::Nothing);
        }
        Ok(match self.block.take() {
            Some(Block { stream, bytes, promise: true, .. }) => {
                Said::Promise { stream, block: bytes }
            }
            Some(Block { stream, bytes, end, .. }) => Said::Fields { stream, block: bytes, end },
            None => Said::Nothing,
        })
    }
}

impl Kind {
    /// Bytes of a payload that are held.
    fn holds(self) -> usize {
        match self {
            Self::Data | Self::Other => 0,
            Self::Fields | Self::Promise | Self::Continuation => limits::BLOCK,
            Self::Reset | Self::GoAway => 8,
            Self::Settings => SETTINGS,
        }
    }
}

/// A payload without its padding.
fn unpadded(held: &[u8], flags: u8) -> Option<&[u8]> {
    if flags & PADDED == 0 {
        return Some(held);
    }
    let (&length, rest) = held.split_first()?;
    rest.get(..rest.len().checked_sub(usize::from(length))?)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |four| u32::from_be_bytes(four.try_into().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        out.extend_from_slice(&[kind, flags]);
        out.extend_from_slice(&stream.to_be_bytes());
        out.extend_from_slice(payload);
        out
    }

    fn read(bytes: &[u8], piece: usize) -> Result<Vec<String>, &'static str> {
        let mut frames = Frames::default();
        let mut out: Vec<String> = vec![];
        let mut data = vec![];
        for mut piece in bytes.chunks(piece) {
            while !piece.is_empty() {
                let (taken, said) = frames.take(piece)?;
                piece = &piece[taken..];
                for said in [said, frames.end_if_over()?] {
                    match said {
                        Said::Nothing => {}
                        Said::Data { bytes, .. } => data.extend_from_slice(bytes),
                        said => out.push(format!("{said:?}")),
                    }
                }
            }
        }
        out.push(String::from_utf8_lossy(&data).into_owned());
        Ok(out)
    }

    #[test]
    fn frames_are_read_however_they_are_split() {
        let mut bytes = frame(4, 0, 0, &[0, 1, 0, 0, 0x10, 0, 0, 3, 0, 0, 0, 9]);
        bytes.extend(frame(1, 0x28, 1, &[2, 0, 0, 0, 0, 0, 0x82, 0, 0]));
        bytes.extend(frame(9, 4, 1, &[0x84]));
        bytes.extend(frame(0, 8, 1, b"\x03hello\0\0\0"));
        bytes.extend(frame(6, 0, 0, &[0; 8]));
        bytes.extend(frame(0, 1, 1, b""));
        bytes.extend(frame(5, 4, 1, &[0, 0, 0, 2, 0x87]));
        bytes.extend(frame(0, 9, 3, b"\x02\0\0"));
        bytes.extend(frame(3, 0, 3, &[0, 0, 0, 8]));
        bytes.extend(frame(7, 0, 0, &[0x80, 0, 0, 1, 0, 0, 0, 11, b'x']));
        let whole = read(&bytes, bytes.len()).unwrap();
        assert_eq!(
            whole,
            [
                "TableSize(4096)",
                "Fields { stream: 1, block: [130, 132], end: false }",
                "EndOfData { stream: 1 }",
                "Promise { stream: 1, block: [135] }",
                "EndOfData { stream: 3 }",
                "Reset { stream: 3, code: 8 }",
                "GoAway { last: 1, code: 11 }",
                "hello",
            ]
        );
        for piece in 1..bytes.len() {
            assert_eq!(read(&bytes, piece).unwrap(), whole, "{piece}");
        }
    }

    #[test]
    fn what_can_t_be_is_refused() {
        let flood: Vec<u8> = [frame(1, 0, 1, b"")]
            .into_iter()
            .chain((0..2000).map(|_| frame(9, 0, 1, b"")))
            .flatten()
            .collect();
        let grown: Vec<u8> = [frame(1, 0, 1, b"")]
            .into_iter()
            .chain((0..32).map(|_| frame(9, 0, 1, &[0; 16384])))
            .flatten()
            .collect();
        for bytes in [
            frame(9, 4, 1, b""),
            frame(0, 0, 0, b"x"),
            frame(0, 8, 1, b"\x05abc"),
            frame(0, 8, 1, b""),
            frame(1, 0x2c, 1, &[1, 0, 0, 0, 0]),
            frame(3, 0, 1, b"x"),
            frame(4, 0, 0, b"x"),
            frame(4, 0, 0, &vec![0; 60_000]),
            [frame(1, 0, 1, b""), frame(0, 0, 1, b"x")].concat(),
            flood,
            grown,
        ] {
            assert!(read(&bytes, 1000).is_err(), "{:?}", &bytes[..10]);
        }
    }

    #[test]
    fn a_gap_is_passed_over_within_a_content_only() {
        let bytes = [frame(0, 0, 1, b"0123456789"), frame(0, 1, 1, b"")].concat();
        let mut frames = Frames::default();
        assert_eq!(frames.skip(1), None);
        frames.take(&bytes[..9]).unwrap();
        frames.take(&bytes[9..12]).unwrap();
        assert_eq!(frames.skip(8), None);
        assert_eq!(frames.skip(7), Some(Some(1)));
        assert_eq!(frames.end_if_over(), Ok(Said::Nothing));
        assert_eq!(frames.take(&bytes[19..]).unwrap().1, Said::EndOfData { stream: 1 });
    }
}

//! The chunked transfer coding (RFC 9112 §7.1), a byte or a megabyte at a time.

use super::super::limits;
use super::collect::{Collector, Lines};
use super::head::doubt;

/// Where in it we are.
pub(super) struct Chunked {
    state: State,
}

enum State {
    /// Within a chunk's size: the digits so far.
    Size {
        size: u64,
        digits: u8,
    },
    /// Within what follows the size, to the line's end; `cr` says that a CR came last.
    Rest {
        size: u64,
        cr: bool,
    },
    /// Within a chunk: bytes left.
    Data(u64),
    /// After a chunk, before its line's end.
    After {
        cr: bool,
    },
    Trailers(Box<Collector>),
}

/// What was taken.
pub(super) enum Taken<'a> {
    /// Bytes of the coding itself.
    Nothing(usize),
    /// Bytes of content.
    Data(&'a [u8]),
    /// The end, and the trailers.
    End(usize, Lines),
}

impl Chunked {
    pub(super) fn new() -> Self {
        Self { state: State::Size { size: 0, digits: 0 } }
    }

    pub(super) fn memory(&self) -> usize {
        if let State::Trailers(lines) = &self.state { lines.memory() } else { 0 }
    }

    /// Takes some of `bytes`, which are not empty.
    pub(super) fn take<'a>(
        &mut self,
        bytes: &'a [u8],
        doubts: &mut Vec<&'static str>,
    ) -> Result<Taken<'a>, &'static str> {
        const LARGEST: u64 = u64::MAX >> 4;
        let Some(&byte) = bytes.first() else { return Ok(Taken::Nothing(0)) };
        match &mut self.state {
            State::Size { size, digits } => {
                if let Some(digit) = char::from(byte).to_digit(16) {
                    if *size > LARGEST {
                        return Err("a chunk's size beyond 64 bits");
                    }
                    *size = *size << 4 | u64::from(digit);
                    *digits = digits.saturating_add(1);
                    return Ok(Taken::Nothing(1));
                }
                if *digits == 0 {
                    return Err("a chunk without a size");
                }
                if matches!(byte, b' ' | b'\t') {
                    doubt(doubts, "chunk-size");
                } else if !matches!(byte, b'\r' | b'\n' | b';') {
                    return Err("a chunk without a size");
                }
                self.state = State::Rest { size: *size, cr: false };
                Ok(Taken::Nothing(0))
            }
            State::Rest { size, cr } => {
                let Some(end) = memchr::memchr(b'\n', bytes) else {
                    let last = bytes.last() == Some(&b'\r');
                    // A CR that something else follows is within the line.
                    if memchr::memchr(b'\r', &bytes[..bytes.len() - 1]).is_some() || *cr {
                        doubt(doubts, "chunk-extension");
                    }
                    *cr = last;
                    return Ok(Taken::Nothing(bytes.len()));
                };
                let ended = if end == 0 { *cr } else { bytes[end - 1] == b'\r' };
                let inner = &bytes[..end.saturating_sub(usize::from(ended))];
                if memchr::memchr(b'\r', inner).is_some() || *cr && end > 0 {
                    doubt(doubts, "chunk-extension");
                }
                if !ended {
                    doubt(doubts, "bare-lf");
                }
                self.state = match *size {
                    0 => State::Trailers(Box::new(Collector::new(limits::TRAILERS))),
                    size => State::Data(size),
                };
                Ok(Taken::Nothing(end + 1))
            }
            State::Data(left) => {
                let taken = (*left).min(bytes.len() as u64);
                *left -= taken;
                if *left == 0 {
                    self.state = State::After { cr: false };
                }
                Ok(Taken::Data(&bytes[..taken as usize]))
            }
            State::After { cr } => match byte {
                b'\r' if !*cr => {
                    *cr = true;
                    Ok(Taken::Nothing(1))
                }
                b'\n' => {
                    if !*cr {
                        doubt(doubts, "bare-lf");
                    }
                    self.state = State::Size { size: 0, digits: 0 };
                    Ok(Taken::Nothing(1))
                }
                _ => Err("a chunk that is longer than its size"),
            },
            State::Trailers(lines) => {
                let (taken, done) = lines.feed(bytes)?;
                if done {
                    let lines = std::mem::take(&mut **lines).finish();
                    Ok(Taken::End(taken, lines))
                } else {
                    Ok(Taken::Nothing(taken))
                }
            }
        }
    }

    /// Passes over bytes that were missed: only those within a chunk.
    pub(super) fn skip(&mut self, bytes: u64) -> bool {
        let State::Data(left) = &mut self.state else { return false };
        match left.checked_sub(bytes) {
            Some(0) => self.state = State::After { cr: false },
            Some(rest) => *left = rest,
            None => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        text: &[u8],
        piece: usize,
    ) -> Result<(Vec<u8>, Lines, Vec<&'static str>), &'static str> {
        let (mut chunked, mut data, mut doubts) = (Chunked::new(), vec![], vec![]);
        for mut piece in text.chunks(piece) {
            while !piece.is_empty() {
                match chunked.take(piece, &mut doubts)? {
                    Taken::Nothing(taken) => piece = &piece[taken..],
                    Taken::Data(bytes) => {
                        data.extend_from_slice(bytes);
                        piece = &piece[bytes.len()..];
                    }
                    Taken::End(_, lines) => return Ok((data, lines, doubts)),
                }
            }
        }
        Err("no end")
    }

    #[test]
    fn chunks_extensions_and_trailers_are_read_however_they_are_split() {
        let text = b"5;a=\"b\"\r\nhello\r\n00A\r\n, 10 bytes\r\n0;x\r\nT: v\r\n\r\n";
        for piece in 1..text.len() {
            let (data, lines, doubts) = read(text, piece).unwrap();
            assert_eq!(data, b"hello, 10 bytes");
            assert_eq!(lines.text, b"T: v\r\n");
            assert!(doubts.is_empty(), "{doubts:?}");
        }
    }

    #[test]
    fn games_are_named_and_what_has_no_end_is_refused() {
        for (text, doubt) in [
            (&b"1 \r\na\r\n0\r\n\r\n"[..], "chunk-size"),
            (b"1\na\r\n0\r\n\r\n", "bare-lf"),
            (b"1;a\nb\r\n0\r\n\r\n", "bare-lf"),
            (b"1\r\na\n0\r\n\r\n", "bare-lf"),
            (b"1;a\rb\r\nc\r\n0\r\n\r\n", "chunk-extension"),
        ] {
            for piece in 1..text.len() {
                let (_, _, doubts) = read(text, piece).unwrap();
                assert_eq!(doubts, [doubt], "{text:?} {piece}");
            }
        }
        for text in [
            &b"\r\n"[..],
            b"x\r\n",
            b"-1\r\n",
            b"0x1\r\n",
            b"1\r\nab\r\n",
            b"11111111111111111\r\n",
        ] {
            assert!(read(text, 100).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_gap_is_passed_over_within_a_chunk_only() {
        let mut chunked = Chunked::new();
        assert!(!chunked.skip(1));
        let mut doubts = vec![];
        for _ in 0..3 {
            let _ = chunked.take(b"5\r\n", &mut doubts);
        }
        let mut chunked = Chunked { state: State::Data(5) };
        assert!(chunked.skip(5));
        assert!(matches!(chunked.state, State::After { cr: false }));
        assert!(!Chunked { state: State::Data(5) }.skip(6));
    }
}

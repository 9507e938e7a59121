//! Content as it is framed: how much of the bytes belongs to it, and where it ends.

use super::super::body::Content;
use super::chunked::{Chunked, Taken};
use super::collect::Lines;
use super::framing::Framing;

/// A content that is being read.
pub(super) struct Reader {
    pub(super) content: Content,
    frame: Frame,
}

enum Frame {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

/// What a reader took.
pub(super) struct Step {
    pub(super) taken: usize,
    /// The content ended; with its trailers, where it can have some.
    pub(super) end: Option<Option<Lines>>,
}

impl Reader {
    pub(super) fn new(framing: Framing, content: Content) -> Self {
        let frame = match framing {
            Framing::Length(length) => Frame::Length(length),
            Framing::Chunked => Frame::Chunked(Chunked::new()),
            Framing::UntilClose => Frame::UntilClose,
        };
        Self { content, frame }
    }

    /// Takes some of `bytes`.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        doubts: &mut Vec<&'static str>,
    ) -> Result<Step, &'static str> {
        match &mut self.frame {
            Frame::Length(left) => {
                let taken = (*left).min(bytes.len() as u64);
                *left -= taken;
                self.content.push(&bytes[..taken as usize]);
                Ok(Step { taken: taken as usize, end: (*left == 0).then_some(None) })
            }
            Frame::Chunked(chunked) => {
                let mut at = 0;
                while at < bytes.len() {
                    match chunked.take(&bytes[at..], doubts)? {
                        Taken::Nothing(taken) => at += taken,
                        Taken::Data(data) => {
                            self.content.push(data);
                            at += data.len();
                        }
                        Taken::End(taken, lines) => {
                            return Ok(Step { taken: at + taken, end: Some(Some(lines)) });
                        }
                    }
                }
                Ok(Step { taken: at, end: None })
            }
            Frame::UntilClose => {
                self.content.push(bytes);
                Ok(Step { taken: bytes.len(), end: None })
            }
        }
    }

    /// Passes over bytes that were missed. Whether the content ended with them; none where it can't
    /// be known what they were.
    pub(super) fn skip(&mut self, bytes: u64) -> Option<bool> {
        let ended = match &mut self.frame {
            Frame::Length(left) => {
                *left = left.checked_sub(bytes)?;
                *left == 0
            }
            Frame::Chunked(chunked) => {
                if !chunked.skip(bytes) {
                    return None;
                }
                false
            }
            Frame::UntilClose => false,
        };
        self.content.skip(bytes);
        Some(ended)
    }

    /// Whether the connection's end is its own.
    pub(super) fn ends_with_connection(&self) -> bool {
        matches!(self.frame, Frame::UntilClose)
    }

    pub(super) fn memory(&self) -> usize {
        let frame = if let Frame::Chunked(chunked) = &self.frame { chunked.memory() } else { 0 };
        self.content.memory() + frame
    }
}

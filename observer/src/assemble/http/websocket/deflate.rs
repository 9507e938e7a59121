//! permessage-deflate (RFC 7692): undone while texts are still kept, within a bound.

use flate2::{Decompress, FlushDecompress, Status};

use super::super::Way;

/// Bytes that all messages of one direction may grow to.
const GROWTH: usize = 1 << 20;

/// Undoes one direction's messages.
pub(super) struct Inflater {
    /// None once it can't or need not go on.
    stream: Option<Box<Decompress>>,
    /// Each message begins anew.
    fresh: bool,
    budget: usize,
}

impl Inflater {
    /// What the handshake agreed on for one direction; none where it agreed on nothing.
    pub(super) fn agreed(extensions: &[u8], way: Way) -> Option<Self> {
        let mut offers = extensions.split(|&b| b == b',').map(<[u8]>::trim_ascii);
        let agreed = offers.find(|offer| {
            let name = offer.split(|&b| b == b';').next().unwrap_or_default();
            name.trim_ascii().eq_ignore_ascii_case(b"permessage-deflate")
        })?;
        let fresh: &[u8] = match way {
            Way::Out => b"client_no_context_takeover",
            Way::In => b"server_no_context_takeover",
        };
        let mut parameters = agreed.split(|&b| b == b';').map(<[u8]>::trim_ascii);
        Some(Self {
            stream: Some(Box::new(Decompress::new(false))),
            fresh: parameters.any(|parameter| parameter.eq_ignore_ascii_case(fresh)),
            budget: GROWTH,
        })
    }

    /// Something is missing, or nothing more is needed: it undoes nothing from here on, and its
    /// memory is let go.
    pub(super) fn lost(self) -> Self {
        Self { stream: None, ..self }
    }

    /// Bytes that it holds: a window, and tables.
    pub(super) fn memory(&self) -> usize {
        self.stream.as_ref().map_or(0, |_| 48 * 1024)
    }

    /// Undoes a piece of a message; at most `keep` bytes of the message are kept in `out`.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>, keep: usize) {
        let mut rest = bytes;
        let mut buffer = [0; 4096];
        while let Some(stream) = &mut self.stream {
            let (read, written) = (stream.total_in(), stream.total_out());
            let status = stream.decompress(rest, &mut buffer, FlushDecompress::Sync);
            let read = (stream.total_in() - read) as usize;
            let written = (stream.total_out() - written) as usize;
            let room = keep.saturating_sub(out.len()).min(written);
            out.extend_from_slice(&buffer[..room]);
            rest = &rest[read.min(rest.len())..];
            self.budget = self.budget.saturating_sub(written);
            let broken = matches!(status, Err(_) | Ok(Status::StreamEnd));
            if broken || self.budget == 0 {
                self.stream = None;
            }
            if rest.is_empty() && written < buffer.len() || read == 0 && written == 0 {
                break;
            }
        }
    }

    /// Ends a message: whether all of it is in `out`.
    pub(super) fn end_message(&mut self, out: &mut Vec<u8>, keep: usize) -> bool {
        let before = self.stream.as_ref().map(|stream| stream.total_out());
        // RFC 7692 §7.2.2: the sender took these off.
        self.push(&[0, 0, 0xff, 0xff], out, keep);
        let whole = before.is_some() && self.stream.is_some() && out.len() < keep;
        if let Some(stream) = self.stream.as_mut().filter(|_| self.fresh) {
            stream.reset(false);
        }
        whole
    }
}

//! A message's content on its way: the beginning is kept, all of it is counted.

use super::grpc;
use super::sse;
use crate::model::{HttpBody, HttpContent, HttpFields, Raw};

/// Content that is being read.
#[derive(Default)]
pub(super) struct Content {
    media: Raw,
    coding: Raw,
    bytes: u64,
    missed: u64,
    kept: Vec<u8>,
    limit: usize,
    left: Option<&'static str>,
    /// Events within it, where it is such a stream.
    pub(super) events: Option<sse::Reader>,
    /// Messages within it, where it is gRPC.
    pub(super) grpc: Option<grpc::Reader>,
}

impl Content {
    /// Of a message with these fields; `codings` are those of the transfer coding, without
    /// `chunked`. At most `limit` bytes are kept; `left` says why nothing is.
    pub(super) fn new(
        fields: &HttpFields,
        codings: &[u8],
        limit: usize,
        left: Option<&'static str>,
    ) -> Self {
        let media = fields.first("content-type").unwrap_or_default();
        let mut coding = fields.all("content-encoding").collect::<Vec<_>>().join(&b", "[..]);
        if !codings.is_empty() {
            if !coding.is_empty() {
                coding.extend_from_slice(b", ");
            }
            coding.extend_from_slice(codings);
        }
        let is = |what: &[u8]| {
            media.get(..what.len()).is_some_and(|start| start.eq_ignore_ascii_case(what))
        };
        Self {
            events: (is(b"text/event-stream") && coding.is_empty()).then(sse::Reader::default),
            grpc: is(b"application/grpc").then(grpc::Reader::default),
            media: Raw::from(media),
            coding: Raw::new(coding),
            limit: if left.is_some() { 0 } else { limit },
            left,
            ..Self::default()
        }
    }

    /// Takes bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if let Some(events) = &mut self.events {
            events.push(bytes);
        }
        if let Some(grpc) = &mut self.grpc {
            grpc.push(bytes);
        }
        // After a gap nothing is kept: what is there is a beginning, never a patchwork.
        if self.missed == 0 {
            let room = self.limit.saturating_sub(self.kept.len()).min(bytes.len());
            self.kept.extend_from_slice(&bytes[..room]);
        }
    }

    /// Passes over bytes that the capture missed.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.missed += bytes;
        if let Some(grpc) = &mut self.grpc {
            grpc.skip(bytes);
        }
        if let Some(events) = &mut self.events {
            events.skip();
        }
    }

    /// Bytes that it holds.
    pub(super) fn memory(&self) -> usize {
        self.kept.capacity() + self.media.len() + self.coding.len()
    }

    /// What there is. `ended` says that nothing more belongs to it. None where the message has no
    /// content.
    pub(super) fn finish(self, ended: bool) -> Option<HttpBody> {
        if self.bytes == 0 && ended {
            return None;
        }
        let kept = self.kept.len() as u64;
        let whole = ended && kept == self.bytes;
        Some(HttpBody {
            media: self.media,
            coding: self.coding,
            bytes: self.bytes,
            missed: self.missed,
            content: match self.left {
                Some(why) => HttpContent::Left { why, hmac: None },
                None => HttpContent::Bytes(Raw::new(self.kept)),
            },
            kept,
            whole,
        })
    }
}

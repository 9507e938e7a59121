//! TCP connections: their payload, put in order, goes to whoever reads its protocol.

use std::mem;

use observer_common::{StreamEndEvent, StreamEvent};

use super::http::Way;
use super::stream::{Chunk, Direction, Flow, FlowId, Streams};
use super::web::{About, Carrier};
use super::{Assembler, Item, Names};
use crate::model::Transport;

impl Assembler {
    /// Payload of a connection.
    pub(super) fn stream(
        &mut self,
        event: &StreamEvent,
        bytes: &[u8],
        names: &mut dyn Names,
        out: &mut Vec<Item>,
    ) {
        let at = event.header.time;
        self.with_streams(at, names, out, |streams, give| streams.data(event, bytes, give));
    }

    /// A connection is closed.
    pub(super) fn stream_end(
        &mut self,
        event: &StreamEndEvent,
        names: &mut dyn Names,
        out: &mut Vec<Item>,
    ) {
        let at = event.header.time;
        self.with_streams(at, names, out, |streams, give| {
            streams.end(event, give);
        });
        let bytes = Some((event.sent, event.received));
        self.handshake_over(FlowId(event.cookie), at, bytes, out);
        self.stopped_over(event.cookie, names, out);
    }

    /// Gives what waited long enough.
    pub(super) fn settle_streams(&mut self, now: u64, names: &mut dyn Names, out: &mut Vec<Item>) {
        self.with_streams(now, names, out, |streams, give| streams.settle(now, give));
    }

    /// Gives what is left, and the end of each connection.
    pub(super) fn finish_streams(&mut self, now: u64, names: &mut dyn Names, out: &mut Vec<Item>) {
        self.with_streams(now, names, out, |streams, give| streams.finish(now, give));
        self.settle_web(out);
    }

    /// How many connections were given up so far, since there were too many.
    pub fn evicted(&self) -> u64 {
        self.streams.counts().evicted + self.libraries.counts().evicted
    }

    fn with_streams(
        &mut self,
        at: u64,
        names: &mut dyn Names,
        out: &mut Vec<Item>,
        work: impl FnOnce(&mut Streams, &mut dyn FnMut(&Flow, Direction, u64, Chunk<'_>)),
    ) {
        let mut streams = mem::take(&mut self.streams);
        work(&mut streams, &mut |flow, way, when, chunk| {
            if !self.handshake(flow, way, when, chunk, names, out) {
                self.read(flow, way, when, chunk);
            }
        });
        for id in streams.take_gone() {
            self.handshake_over(id, at, None, out);
        }
        self.streams = streams;
        self.told(names, out);
    }

    /// What the run asks of others: connections that it opened, and those whose beginning nobody saw,
    /// from where it sends.
    fn read(&mut self, flow: &Flow, way: Direction, at: u64, chunk: Chunk<'_>) {
        let carrier = Carrier::Socket(flow.id.0);
        let asks = flow.half_way && (way == Direction::Sent || self.web.knows(carrier));
        if !flow.opened && !asks {
            return;
        }
        let about = || About {
            who: flow.who,
            transport: Transport::Plaintext,
            peer: Some(flow.peer),
            name: None,
            connection: self.connects.call(flow.id.0),
            from_start: !flow.half_way,
        };
        let way = match way {
            Direction::Sent => Way::Out,
            Direction::Received => Way::In,
        };
        self.web.chunk(carrier, about, way, at, chunk);
        if flow.doubtful {
            self.web.doubt(carrier);
        }
    }
}

//! TCP connections: their payload, put in order, on its way to whoever reads a protocol.

use observer_common::{StreamEndEvent, StreamEvent};

use super::http::Way;
use super::stream::{Chunk, Direction, Flow};
use super::web::{About, Carrier, Web};
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
        let web = &mut self.web;
        self.streams
            .data(event, bytes, &mut |flow, way, at, chunk| read(web, flow, way, at, chunk));
        self.told(names, out);
    }

    /// A connection is closed.
    pub(super) fn stream_end(
        &mut self,
        event: &StreamEndEvent,
        names: &mut dyn Names,
        out: &mut Vec<Item>,
    ) {
        let web = &mut self.web;
        self.streams.end(event, &mut |flow, way, at, chunk| read(web, flow, way, at, chunk));
        self.told(names, out);
    }

    /// Gives what waited long enough.
    pub(super) fn settle_streams(&mut self, now: u64, names: &mut dyn Names, out: &mut Vec<Item>) {
        let web = &mut self.web;
        self.streams.settle(now, &mut |flow, way, at, chunk| read(web, flow, way, at, chunk));
        self.told(names, out);
    }

    /// Gives what is left, and the end of each connection.
    pub(super) fn finish_streams(&mut self, now: u64, names: &mut dyn Names, out: &mut Vec<Item>) {
        let web = &mut self.web;
        self.streams.finish(now, &mut |flow, way, at, chunk| read(web, flow, way, at, chunk));
        self.told(names, out);
        self.settle_web(out);
    }
}

/// What the run asks of others: connections that it opened.
fn read(web: &mut Web, flow: &Flow, way: Direction, at: u64, chunk: Chunk<'_>) {
    if !flow.opened {
        return;
    }
    let carrier = Carrier::Socket(flow.id.0);
    let about = || About {
        who: flow.who,
        transport: Transport::Plaintext,
        peer: Some(flow.peer),
        name: None,
        cookie: flow.id.0,
        from_start: !flow.half_way,
    };
    let way = match way {
        Direction::Sent => Way::Out,
        Direction::Received => Way::In,
    };
    web.chunk(carrier, about, way, at, chunk);
}

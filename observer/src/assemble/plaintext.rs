//! TLS connections: their plaintext on its way to whoever reads a protocol.

use observer_common::{StreamEndEvent, TlsEvent, stream_flag};

use super::connects::Connects;
use super::http::Way;
use super::library::{Connection, Out, TlsStreams};
use super::patterns::Patterns;
use super::stream::{Chunk, Close, Direction, FlowId, Streams};
use super::tls::Handshakes;
use super::web::{About, Carrier, Web};
use super::{Assembler, Item, Names};
use crate::model::Transport;

impl Assembler {
    /// Plaintext of a TLS library's connection.
    pub(super) fn plaintext(
        &mut self,
        event: &TlsEvent,
        bytes: &[u8],
        names: &mut dyn Names,
        out: &mut Vec<Item>,
    ) {
        self.give(names, out, |libraries, to| libraries.event(event, bytes, to));
    }

    /// A socket is closed, and with it what went through it.
    pub(super) fn plaintext_end(&mut self, event: &StreamEndEvent) {
        let reset = event.flags & stream_flag::RESET != 0 || event.error != 0;
        let close = if reset { Close::Reset } else { Close::Fin };
        self.libraries.closed(event.cookie, close, event.header.time);
    }

    /// Gives what waited long enough for its socket to be known.
    pub(super) fn settle_plaintext(
        &mut self,
        now: u64,
        names: &mut dyn Names,
        out: &mut Vec<Item>,
    ) {
        self.give(names, out, |libraries, to| libraries.settle(now, to));
    }

    /// Gives what is left, and the end of each connection.
    pub(super) fn finish_plaintext(
        &mut self,
        now: u64,
        names: &mut dyn Names,
        out: &mut Vec<Item>,
    ) {
        self.give(names, out, |libraries, to| libraries.finish(now, to));
    }

    /// Gives what the libraries' connections have by now to whoever reads it.
    fn give(
        &mut self,
        names: &mut dyn Names,
        out: &mut Vec<Item>,
        from: impl FnOnce(&mut TlsStreams, Out<'_>),
    ) {
        let mut readers = Readers {
            web: &mut self.web,
            handshakes: &mut self.handshakes,
            streams: &self.streams,
            connects: &self.connects,
            patterns: &mut self.patterns,
        };
        from(&mut self.libraries, &mut |connection, way, at, chunk| {
            readers.take(connection, way, at, chunk);
        });
        for (time, file) in self.patterns.take() {
            out.push(Item::Confirmed { at: self.stamp(time), file });
        }
        self.told(names, out);
    }
}

/// Who is told of plaintext: the handshake of its socket that it was read, and whoever reads HTTP.
struct Readers<'a> {
    web: &'a mut Web,
    handshakes: &'a mut Handshakes,
    streams: &'a Streams,
    connects: &'a Connects,
    patterns: &'a mut Patterns,
}

impl Readers<'_> {
    /// What the run asks of others: connections that it opened. Where nobody saw the socket opened,
    /// the one who speaks first asks.
    fn take(&mut self, connection: &Connection, way: Direction, at: u64, chunk: Chunk<'_>) {
        let cookie = connection.cookie.unwrap_or(0);
        if let Chunk::Bytes(bytes) = chunk {
            let encrypted = self.handshakes.has(FlowId(cookie));
            if self.patterns.is_plaintext(connection.library, encrypted, way, at, bytes) {
                self.handshakes.was_read(FlowId(cookie));
            }
        }
        let flow = self.streams.flow(FlowId(cookie));
        let carrier = Carrier::Tls(connection.id);
        if !self.web.knows(carrier) {
            let opened = match flow {
                Some(flow) => flow.opened,
                None => self.connects.peer(cookie).is_some() || way == Direction::Sent,
            };
            if !opened {
                return;
            }
        }
        let peer = flow.map(|flow| flow.peer).or_else(|| self.connects.peer(cookie));
        let about = || About {
            who: connection.who,
            transport: Transport::Tls,
            peer,
            name: None,
            connection: self.connects.call(cookie),
            from_start: true,
        };
        let way = match way {
            Direction::Sent => Way::Out,
            Direction::Received => Way::In,
        };
        self.web.chunk(carrier, about, way, at, chunk);
    }
}

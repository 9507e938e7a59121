//! TCP connections: their payload, put in order, on its way to whoever reads a protocol.

use observer_common::{StreamEndEvent, StreamEvent};

use super::{Assembler, Item};

impl Assembler {
    /// Payload of a connection.
    pub(super) fn stream(&mut self, event: &StreamEvent, bytes: &[u8], _out: &mut Vec<Item>) {
        self.streams.data(event, bytes, &mut |_, _, _, _| {});
    }

    /// A connection is closed.
    pub(super) fn stream_end(&mut self, event: &StreamEndEvent, _out: &mut Vec<Item>) {
        self.streams.end(event, &mut |_, _, _, _| {});
    }

    /// Gives what waited long enough.
    pub(super) fn settle_streams(&mut self, now: u64, _out: &mut Vec<Item>) {
        self.streams.settle(now, &mut |_, _, _, _| {});
    }
}

//! TLS plaintext → ordered bytes, a connection and a direction at a time. Pure.
//!
//! A library is called by one thread at a time for one connection, so its plaintext comes in
//! order; what was lost on the way shows in the offsets. Bytes are held until the socket is known
//! that their ciphertext went through, though not for long: memory is bounded for each connection
//! and for all together, and what is over the bound is given without it.

use std::collections::{HashMap, VecDeque};

use observer_common::{Header, TlsEvent, tls_op};

use super::stream::{Chunk, Close, Direction};

/// Connections that are followed at once. One more, and the one that began first is given up.
pub const CONNECTIONS: usize = 16_384;
/// Bytes of one connection that wait for its socket to be known.
pub const UNTIED_ONE: usize = 64 << 10;
/// Bytes that wait for it in all connections together.
pub const UNTIED_ALL: usize = 8 << 20;
/// How long they wait, nanoseconds: ciphertext is sent right after it was made.
pub const UNTIED_FOR: u64 = 200_000_000;
/// How long a connection whose socket was closed is still read, nanoseconds: after a reset, or where
/// both ends had said that they send no more, an agent reads what has arrived.
pub const CLOSED_FOR: u64 = 500_000_000;

/// A connection of a TLS library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its id: unique on this boot, and none of a socket's.
    pub id: u64,
    /// The cookie of its socket; none where that is not known.
    pub cookie: Option<u64>,
    /// Who used it first.
    pub who: Header,
    /// The library's number ([`crate::tls::Library`]).
    pub library: u32,
}

/// What was counted over the time of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were given up since there were too many.
    pub evicted: u64,
    /// Plaintext bytes that are missing: not kept, not readable, or lost on the way.
    pub gap_bytes: u64,
}

struct State {
    connection: Connection,
    /// Bytes given in each direction.
    given: [u64; 2],
    /// What waits for the socket.
    waiting: Vec<(Direction, u64, Piece)>,
    waiting_bytes: usize,
    since: u64,
    /// How its socket was closed, and when; or when something was read after that.
    closed: Option<(Close, u64)>,
}

enum Piece {
    Bytes(Vec<u8>),
    Gap(u64),
}

/// What takes the chunks: the connection, the direction, when (CLOCK_BOOTTIME, nanoseconds), what.
pub type Out<'o> = &'o mut dyn FnMut(&Connection, Direction, u64, Chunk<'_>);

/// Follows TLS libraries' connections.
#[derive(Default)]
pub struct TlsStreams {
    connections: HashMap<u64, State>,
    /// Those that go through a socket: more than one where TLS is within TLS.
    by_cookie: HashMap<u64, Vec<u64>>,
    order: VecDeque<u64>,
    untied: Vec<u64>,
    /// Those whose sockets were closed, each with when it was looked at or read last, the first first.
    closing: VecDeque<(u64, u64)>,
    waiting_bytes: usize,
    counts: Counts,
}

impl TlsStreams {
    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many connections are followed.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Takes what was seen, and gives what can be given now.
    pub fn event(&mut self, event: &TlsEvent, bytes: &[u8], out: Out<'_>) {
        let at = event.header.time;
        if event.op == tls_op::ENDED {
            self.end(event.stream, Close::Fin, at, out);
            return;
        }
        if !self.connections.contains_key(&event.stream) {
            self.make_room(at, out);
            self.order.push_back(event.stream);
        }
        let state = self.connections.entry(event.stream).or_insert_with(|| State {
            connection: Connection {
                id: event.stream,
                cookie: None,
                who: event.header,
                library: event.library,
            },
            given: [0, 0],
            waiting: vec![],
            waiting_bytes: 0,
            since: at,
            closed: None,
        });
        if event.cookie != 0 && state.connection.cookie.is_none() {
            state.connection.cookie = Some(event.cookie);
            self.by_cookie.entry(event.cookie).or_default().push(event.stream);
            self.waiting_bytes = self.waiting_bytes.saturating_sub(state.waiting_bytes);
            state.release(out);
        }
        let way = match event.op {
            tls_op::SENT => Direction::Sent,
            tls_op::RECEIVED => Direction::Received,
            _ => return,
        };
        if let Some((_, when)) = &mut state.closed {
            *when = at.max(*when);
        }
        let given = &mut state.given[way as usize];
        // What comes before its place was given already, or its stream's counts are off.
        let before = event.offset.saturating_sub(*given);
        let after = u64::from(event.seen).saturating_sub(bytes.len() as u64);
        *given = event.offset.saturating_add(u64::from(event.seen)).max(*given);
        let gaps = before.saturating_add(after);
        self.counts.gap_bytes = self.counts.gap_bytes.saturating_add(gaps);
        let pieces = [
            (before > 0).then_some(Piece::Gap(before)),
            (!bytes.is_empty()).then(|| Piece::Bytes(bytes.to_vec())),
            (after > 0).then_some(Piece::Gap(after)),
        ];
        if state.connection.cookie.is_some() || state.since == 0 {
            for piece in pieces.into_iter().flatten() {
                out(&state.connection, way, at, piece.chunk());
            }
            return;
        }
        if state.waiting.is_empty() {
            self.untied.push(event.stream);
        }
        state.waiting.extend(pieces.into_iter().flatten().map(|piece| (way, at, piece)));
        state.waiting_bytes += bytes.len();
        self.waiting_bytes += bytes.len();
        if state.waiting_bytes > UNTIED_ONE || self.waiting_bytes > UNTIED_ALL {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(state.waiting_bytes);
            state.since = 0;
            state.release(out);
        }
    }

    /// Gives what has waited long enough for its socket to be known, and the ends of connections whose
    /// sockets were closed long enough ago.
    pub fn settle(&mut self, now: u64, out: Out<'_>) {
        let mut untied = std::mem::take(&mut self.untied);
        untied.retain(|id| {
            let Some(state) = self.connections.get_mut(id) else { return false };
            if state.connection.cookie.is_some() || state.since == 0 {
                return false;
            }
            if now.saturating_sub(state.since) <= UNTIED_FOR {
                return true;
            }
            self.waiting_bytes = self.waiting_bytes.saturating_sub(state.waiting_bytes);
            state.since = 0;
            state.release(out);
            false
        });
        self.untied = untied;
        let is_soon = |at: u64| now.saturating_sub(at) <= CLOSED_FOR;
        while let Some((id, _)) = self.closing.pop_front_if(|(_, at)| !is_soon(*at)) {
            match self.connections.get(&id).and_then(|state| state.closed) {
                // It was read since, and lets those behind it go first.
                Some((_, read)) if is_soon(read) => self.closing.push_back((id, read)),
                _ => self.end(id, Close::Unseen, now, out),
            }
        }
    }

    /// A socket was closed: its connections end as it did, soon.
    pub fn closed(&mut self, cookie: u64, close: Close, at: u64) {
        for id in self.by_cookie.remove(&cookie).unwrap_or_default() {
            if let Some(state) = self.connections.get_mut(&id) {
                state.closed = Some((close, at));
                self.closing.push_back((id, at));
            }
        }
    }

    /// The recording ends: so does each connection.
    pub fn finish(&mut self, now: u64, out: Out<'_>) {
        let mut ids: Vec<u64> = self.connections.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.end(id, Close::Unseen, now, out);
        }
        self.order.clear();
        self.untied.clear();
        self.closing.clear();
    }

    /// Ends a connection: as its socket did, where that was closed.
    fn end(&mut self, id: u64, close: Close, at: u64, out: Out<'_>) {
        let Some(mut state) = self.connections.remove(&id) else { return };
        if let Some(cookie) = state.connection.cookie
            && let Some(ids) = self.by_cookie.get_mut(&cookie)
        {
            ids.retain(|&other| other != id);
            if ids.is_empty() {
                self.by_cookie.remove(&cookie);
            }
        }
        self.waiting_bytes = self.waiting_bytes.saturating_sub(state.waiting_bytes);
        state.release(out);
        let (close, at) = state.closed.unwrap_or((close, at));
        for way in [Direction::Sent, Direction::Received] {
            out(&state.connection, way, at, Chunk::End(close));
        }
    }

    fn make_room(&mut self, now: u64, out: Out<'_>) {
        if self.order.len() >= 2 * CONNECTIONS {
            self.order.retain(|id| self.connections.contains_key(id));
        }
        while self.connections.len() >= CONNECTIONS {
            let Some(id) = self.order.pop_front() else { return };
            if let Some(state) = self.connections.get(&id) {
                self.counts.evicted += u64::from(state.closed.is_none());
                self.end(id, Close::Unseen, now, out);
            }
        }
    }
}

impl State {
    fn release(&mut self, out: Out<'_>) {
        self.waiting_bytes = 0;
        for (way, at, piece) in self.waiting.drain(..) {
            out(&self.connection, way, at, piece.chunk());
        }
    }
}

impl Piece {
    fn chunk(&self) -> Chunk<'_> {
        match self {
            Self::Bytes(bytes) => Chunk::Bytes(bytes),
            Self::Gap(len) => Chunk::Gap(*len),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(op: u32, offset: u64, seen: usize, cookie: u64, time: u64) -> TlsEvent {
        let header = Header { time, pid: 7, ..Header::default() };
        TlsEvent { header, stream: 1, cookie, offset, seen: seen as u32, len: 0, op, library: 0 }
    }

    #[derive(Debug, PartialEq)]
    enum Seen {
        Bytes(Direction, Vec<u8>),
        Gap(Direction, u64),
        End(Direction, Close),
    }

    fn feed(
        streams: &mut TlsStreams,
        deed: impl FnOnce(&mut TlsStreams, Out<'_>),
    ) -> (Vec<Seen>, Option<u64>) {
        let (mut seen, mut cookie) = (vec![], None);
        deed(streams, &mut |connection, way, _, chunk| {
            cookie = connection.cookie;
            seen.push(match chunk {
                Chunk::Bytes(bytes) => Seen::Bytes(way, bytes.to_vec()),
                Chunk::Gap(len) => Seen::Gap(way, len),
                Chunk::End(close) => Seen::End(way, close),
            });
        });
        (seen, cookie)
    }

    #[test]
    fn plaintext_waits_for_its_socket_and_names_it() {
        let mut streams = TlsStreams::default();
        let first = event(tls_op::SENT, 0, 3, 0, 1);
        assert_eq!(feed(&mut streams, |s, out| s.event(&first, b"GET", out)).0, []);
        let tied = event(tls_op::TIED, 3, 0, 42, 2);
        let (seen, cookie) = feed(&mut streams, |s, out| s.event(&tied, b"", out));
        assert_eq!(seen, [Seen::Bytes(Direction::Sent, b"GET".to_vec())]);
        assert_eq!(cookie, Some(42));
        let reply = event(tls_op::RECEIVED, 0, 2, 42, 3);
        let (seen, _) = feed(&mut streams, |s, out| s.event(&reply, b"ok", out));
        assert_eq!(seen, [Seen::Bytes(Direction::Received, b"ok".to_vec())]);
        streams.closed(42, Close::Reset, 4);
        let late = event(tls_op::RECEIVED, 2, 1, 42, 5);
        let (seen, _) = feed(&mut streams, |s, out| s.event(&late, b"!", out));
        assert_eq!(seen, [Seen::Bytes(Direction::Received, b"!".to_vec())]);
        assert_eq!(feed(&mut streams, |s, out| s.settle(5 + CLOSED_FOR, out)).0, []);
        let (seen, _) = feed(&mut streams, |s, out| s.settle(6 + CLOSED_FOR, out));
        let ends = [Direction::Sent, Direction::Received].map(|way| Seen::End(way, Close::Reset));
        assert_eq!(seen, ends);
        assert!(streams.is_empty());
    }

    #[test]
    fn a_connection_ends_once_as_its_socket_did_whoever_says_so_first() {
        for say in [tls_op::ENDED, 0] {
            let mut streams = TlsStreams::default();
            let first = event(tls_op::SENT, 0, 3, 42, 1);
            feed(&mut streams, |s, out| s.event(&first, b"GET", out));
            streams.closed(42, Close::Reset, 4);
            let (seen, _) = feed(&mut streams, |s, out| match say {
                0 => s.finish(9, out),
                op => s.event(&event(op, 3, 0, 42, 9), b"", out),
            });
            let ends = [Direction::Sent, Direction::Received];
            assert_eq!(seen, ends.map(|way| Seen::End(way, Close::Reset)));
            assert_eq!(feed(&mut streams, |s, out| s.settle(CLOSED_FOR * 2, out)).0, []);
            assert!(streams.closing.is_empty() && streams.is_empty());
        }
    }

    #[test]
    fn a_connection_that_is_read_on_and_on_keeps_no_other_from_its_end() {
        let mut streams = TlsStreams::default();
        let first = TlsEvent { stream: 7, ..event(tls_op::SENT, 0, 1, 42, 1) };
        let other = TlsEvent { stream: 8, ..event(tls_op::SENT, 0, 1, 43, 2) };
        feed(&mut streams, |s, out| s.event(&first, b"a", out));
        feed(&mut streams, |s, out| s.event(&other, b"b", out));
        streams.closed(42, Close::Reset, 3);
        streams.closed(43, Close::Reset, 4);
        let mut ended = 0;
        for n in 1..4 {
            let now = n * CLOSED_FOR;
            let more = TlsEvent { stream: 7, ..event(tls_op::SENT, n, 1, 42, now) };
            feed(&mut streams, |s, out| s.event(&more, b"c", out));
            ended += feed(&mut streams, |s, out| s.settle(now + 5, out)).0.len();
        }
        assert_eq!(ended, 2, "one of two, in both directions");
        assert_eq!(streams.closing.len(), 1);
    }

    #[test]
    fn plaintext_without_a_socket_is_given_after_a_while() {
        let mut streams = TlsStreams::default();
        let first = event(tls_op::SENT, 0, 3, 0, 1);
        feed(&mut streams, |s, out| s.event(&first, b"GET", out));
        assert_eq!(feed(&mut streams, |s, out| s.settle(UNTIED_FOR, out)).0, []);
        let (seen, cookie) = feed(&mut streams, |s, out| s.settle(UNTIED_FOR + 2, out));
        assert_eq!((seen.len(), cookie), (1, None));
        let more = event(tls_op::SENT, 3, 1, 0, 9);
        assert_eq!(feed(&mut streams, |s, out| s.event(&more, b"/", out)).0.len(), 1);
    }

    #[test]
    fn what_is_missing_is_named_by_its_length() {
        let mut streams = TlsStreams::default();
        let first = event(tls_op::SENT, 5, 10, 1, 1);
        let (seen, _) = feed(&mut streams, |s, out| s.event(&first, b"abcd", out));
        let gap = |len| Seen::Gap(Direction::Sent, len);
        assert_eq!(seen, [gap(5), Seen::Bytes(Direction::Sent, b"abcd".to_vec()), gap(6)]);
        assert_eq!(streams.counts().gap_bytes, 11);
    }

    #[test]
    fn gaps_beyond_counting_do_not_overflow() {
        let mut libraries = TlsStreams::default();
        for stream in 0..3 {
            let mut event = event(tls_op::SENT, u64::MAX, 1, 7, 1);
            event.stream = stream;
            libraries.event(&event, b"x", &mut |_, _, _, _| {});
        }
        assert_eq!(libraries.counts().gap_bytes, u64::MAX);
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let mut streams = TlsStreams::default();
        let bytes = vec![0; 16 << 10];
        for n in 0..2_000u64 {
            let mut one = event(tls_op::SENT, 0, bytes.len(), 0, 1);
            one.stream = n + 1;
            feed(&mut streams, |s, out| s.event(&one, &bytes, out));
            assert!(streams.waiting_bytes <= UNTIED_ALL, "{}", streams.waiting_bytes);
        }
        for n in 0..2 * CONNECTIONS as u64 {
            let mut one = event(tls_op::SENT, 0, 1, n + 1, 1);
            one.stream = n + 10_000;
            feed(&mut streams, |s, out| s.event(&one, b"x", out));
        }
        assert!(streams.len() <= CONNECTIONS && streams.order.len() <= 2 * CONNECTIONS);
        assert!(streams.counts().evicted > 0);
        feed(&mut streams, |s, out| s.finish(9, out));
        assert!(streams.is_empty() && streams.waiting_bytes == 0);
        assert!(streams.by_cookie.is_empty());
    }
}

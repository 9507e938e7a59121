//! TCP payload → ordered bytes, a connection and a direction at a time. Pure.
//!
//! What comes out of a direction is its bytes in their order, each once, and what is missing by
//! its length; then its end, once. The first copy of a byte counts; a later one that differs is
//! marked. Memory is bounded for each connection and for all together: what is over the bound is
//! given up for a gap, or as a connection that nobody follows any more, and both are counted.

mod half;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use observer_common::{Header, StreamEndEvent, StreamEvent, direction, stream_flag};

use half::{Half, Piece};

/// Connections that are followed at once. One more, and the one that was silent the longest is
/// given up.
pub const FLOWS: usize = 65_536;
/// Bytes of one direction that wait for those before them.
pub const WAITING_ONE: usize = 128 * 1024;
/// Bytes that wait in all directions together.
pub const WAITING_ALL: usize = 32 << 20;
/// How long bytes that came wait for those before them: longer than a far end that sends them
/// again waits at first (RFC 6298: a second), nanoseconds.
pub const PATIENCE: u64 = 3_000_000_000;

/// How long what the other direction says was seen may take to arrive: two CPUs write the ring.
const SEEN_FOR: u64 = 100_000_000;
const WAYS: [Direction; 2] = [Direction::Sent, Direction::Received];

/// A connection: its socket's cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u64);

/// A direction, as the run's end of a connection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the run.
    Sent,
    /// To the run.
    Received,
}

/// What a direction gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// Its next bytes, never none. What follows a gap begins with a packet.
    Bytes(&'a [u8]),
    /// So many bytes are missing here.
    Gap(u64),
    /// It is over; nothing more comes.
    End(Close),
}

/// How a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// In order, by whoever sends in it.
    Fin,
    /// By a reset from either end, or an error.
    Reset,
    /// It was given up here: too many connections, or the recording ended.
    Unseen,
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Its name.
    pub id: FlowId,
    /// Who opened its socket, or listened; with pid 0 where nobody knows.
    pub who: Header,
    /// This end.
    pub local: SocketAddr,
    /// The far end.
    pub peer: SocketAddr,
    /// Whether this end opened the connection: then it is the client.
    pub opened: bool,
    /// Whether the connection is older than its observation.
    pub half_way: bool,
    /// Whether bytes came again and were others, or an urgent pointer was set: what the far end
    /// read may differ from what is here.
    pub doubtful: bool,
}

/// What was counted over the time of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were given up since there were too many.
    pub evicted: u64,
    /// Gaps, and their bytes, that no skipping explains: packets lost on their way here, or never
    /// seen.
    pub gaps: u64,
    /// Their bytes.
    pub gap_bytes: u64,
}

/// A connection and its two directions.
struct State {
    flow: Flow,
    halves: [Half; 2],
    /// It was heard from since it was last looked at for eviction.
    touched: bool,
}

/// Follows connections.
pub struct Streams {
    flows: HashMap<FlowId, State>,
    /// For eviction: those heard from since they were put here go to the end once more.
    order: VecDeque<FlowId>,
    /// Connections with bytes that wait.
    waiting: Vec<FlowId>,
    waiting_bytes: usize,
    most: usize,
    counts: Counts,
    /// Connections that were given up, until somebody asks.
    gone: Vec<FlowId>,
}

/// What takes the chunks: the connection, the direction, when (CLOCK_BOOTTIME, nanoseconds), what.
pub type Out<'o> = &'o mut dyn FnMut(&Flow, Direction, u64, Chunk<'_>);

impl Default for Streams {
    fn default() -> Self {
        Self::with_most(FLOWS)
    }
}

impl Streams {
    fn with_most(most: usize) -> Self {
        Self {
            flows: HashMap::new(),
            order: VecDeque::new(),
            waiting: vec![],
            waiting_bytes: 0,
            most: most.max(1),
            counts: Counts::default(),
            gone: vec![],
        }
    }

    /// A connection that is followed.
    pub fn flow(&self, id: FlowId) -> Option<&Flow> {
        self.flows.get(&id).map(|state| &state.flow)
    }

    /// Connections that were given up since this was asked before. Their directions have ended, by
    /// `Close::Unseen` where not in order before that.
    pub fn take_gone(&mut self) -> Vec<FlowId> {
        std::mem::take(&mut self.gone)
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes payload, and gives what can be given now.
    pub fn data(&mut self, event: &StreamEvent, bytes: &[u8], out: Out<'_>) {
        let id = FlowId(event.cookie);
        if !self.flows.contains_key(&id) {
            self.make_room(event.header.time, out);
            self.order.push_back(id);
        }
        let state = self.flows.entry(id).or_insert_with(|| State::new(flow(event)));
        state.touched = true;
        if state.flow.who.pid == 0 && event.header.pid != 0 {
            state.flow.who = event.header;
        }
        state.flow.doubtful |= event.flags & stream_flag::URGENT != 0;
        let (at, way) = (event.header.time, way(event.direction));
        let (before, waited) = (state.waiting_bytes(), state.waits());
        let State { flow, halves: [sent, received], .. } = &mut *state;
        let (half, other) = match way {
            Direction::Sent => (sent, received),
            Direction::Received => (received, sent),
        };
        let mut given = |chunk: Chunk<'_>| out(flow, way, at, chunk);
        if half.is_fresh() {
            half.begin(if flow.half_way { event.offset } else { 0 });
        }
        let piece = Piece { offset: event.offset, skipped: event.skipped, bytes, at };
        let differs = half.take(&piece, &mut given);
        if event.flags & stream_flag::FIN != 0 {
            half.set_fin(event.offset.wrapping_add(u64::from(event.seen)));
        }
        // What leaves is in order: what is missing there is not coming.
        let force =
            way == Direction::Sent || half.is_full(WAITING_ONE) || self.waiting_bytes > WAITING_ALL;
        let lost = half.give(force, &mut given);
        if !flow.half_way || !other.is_fresh() {
            other.begin(0);
            other.set_seen(event.other, at);
        }
        if event.flags & stream_flag::RESET != 0 {
            // Neither end takes anything more.
            half.give(true, &mut given);
            half.end(Close::Reset, &mut given);
        }
        state.flow.doubtful |= differs;
        if state.waits() && !waited {
            self.waiting.push(id);
        }
        self.waiting_bytes = (self.waiting_bytes + state.waiting_bytes()).saturating_sub(before);
        self.count_gap(lost);
    }

    /// A connection is closed: what waits is given, and both directions end.
    pub fn end(&mut self, event: &StreamEndEvent, out: Out<'_>) -> Option<Flow> {
        let state = self.flows.remove(&FlowId(event.cookie))?;
        let reset = event.flags & stream_flag::RESET != 0 || event.error != 0;
        let close = if reset { Close::Reset } else { Close::Fin };
        let totals = [Some(event.sent), Some(event.received)];
        Some(self.close(state, close, totals, event.header.time, out))
    }

    /// Gives up waiting for what is overdue.
    pub fn settle(&mut self, now: u64, out: Out<'_>) {
        let mut waiting = std::mem::take(&mut self.waiting);
        let mut lost = vec![];
        waiting.retain(|id| {
            let Some(state) = self.flows.get_mut(id) else { return false };
            let before = state.waiting_bytes();
            let State { flow, halves, .. } = &mut *state;
            for (half, way) in halves.iter_mut().zip(WAYS) {
                let mut given = |chunk: Chunk<'_>| out(flow, way, now, chunk);
                if half.waits_since().is_some_and(|since| now.saturating_sub(since) > PATIENCE) {
                    lost.push(half.give(true, &mut given));
                }
                half.settle_seen(now.saturating_sub(SEEN_FOR), &mut given);
            }
            self.waiting_bytes =
                (self.waiting_bytes + state.waiting_bytes()).saturating_sub(before);
            state.waits()
        });
        self.waiting = waiting;
        lost.into_iter().for_each(|bytes| self.count_gap(bytes));
    }

    /// The recording ends: so does each connection.
    pub fn finish(&mut self, now: u64, out: Out<'_>) {
        let mut ids: Vec<FlowId> = self.flows.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            if let Some(state) = self.flows.remove(&id) {
                self.close(state, Close::Unseen, [None; 2], now, out);
            }
        }
        self.order.clear();
        self.waiting.clear();
    }

    /// Makes room for one more, and keeps the names of those that are gone few.
    fn make_room(&mut self, now: u64, out: Out<'_>) {
        if self.order.len() >= 2 * self.most {
            self.order.retain(|id| self.flows.contains_key(id));
        }
        while self.flows.len() >= self.most {
            let Some(id) = self.order.pop_front() else { return };
            match self.flows.get_mut(&id) {
                Some(state) if state.touched => {
                    state.touched = false;
                    self.order.push_back(id);
                }
                Some(_) => {
                    if let Some(state) = self.flows.remove(&id) {
                        self.counts.evicted += 1;
                        self.close(state, Close::Unseen, [None; 2], now, out);
                    }
                }
                None => {}
            }
        }
    }

    fn close(
        &mut self,
        mut state: State,
        close: Close,
        totals: [Option<u64>; 2],
        at: u64,
        out: Out<'_>,
    ) -> Flow {
        self.waiting_bytes = self.waiting_bytes.saturating_sub(state.waiting_bytes());
        let flow = state.flow;
        if close == Close::Unseen {
            self.gone.push(flow.id);
        }
        for ((half, way), total) in state.halves.iter_mut().zip(WAYS).zip(totals) {
            let mut given = |chunk: Chunk<'_>| out(&flow, way, at, chunk);
            let lost = half.give(true, &mut given);
            if let Some(total) = total {
                if !flow.half_way {
                    half.begin(0);
                }
                half.pass(total, &mut given);
            }
            half.end(close, &mut given);
            self.count_gap(lost);
        }
        flow
    }

    fn count_gap(&mut self, bytes: u64) {
        self.counts.gaps += u64::from(bytes > 0);
        self.counts.gap_bytes = self.counts.gap_bytes.saturating_add(bytes);
    }
}

impl State {
    fn new(flow: Flow) -> Self {
        Self { flow, halves: [Half::default(), Half::default()], touched: false }
    }

    fn waiting_bytes(&self) -> usize {
        self.halves.iter().map(Half::waiting_bytes).sum()
    }

    /// Whether there is something to settle.
    fn waits(&self) -> bool {
        self.halves.iter().any(Half::waits)
    }
}

fn way(wire: u32) -> Direction {
    if wire == direction::SENT { Direction::Sent } else { Direction::Received }
}

fn flow(event: &StreamEvent) -> Flow {
    Flow {
        id: FlowId(event.cookie),
        who: event.header,
        local: address(event.local, event.local_port),
        peer: address(event.peer, event.peer_port),
        opened: event.flags & stream_flag::OPENED != 0,
        half_way: event.flags & stream_flag::HALF_WAY != 0,
        doubtful: false,
    }
}

/// A v4-mapped address stands as IPv4.
pub(super) fn address(addr: [u8; 16], port: u32) -> SocketAddr {
    let v6 = Ipv6Addr::from(addr);
    let ip = v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4);
    SocketAddr::new(ip, u16::try_from(port).unwrap_or(0))
}

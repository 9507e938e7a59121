//! Events as they are taken out of the rings, and how soon they have to be looked at.

use std::collections::BTreeSet;

use observer_common::{EventKind, Header, NetEvent, net_op, verdict};

/// Events as they came, in the order of their time.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each event stands in `bytes`, and when it happened.
    index: Vec<(u64, u32, u32)>,
    pressing: Pressing,
    /// Who began TCP connections.
    connecting: BTreeSet<u32>,
}

impl Batch {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Bytes of all events.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// How soon it has to be looked at: as that of its events which presses most.
    pub fn pressing(&self) -> Pressing {
        self.pressing
    }

    /// The processes that began TCP connections, each once.
    pub fn connecting(&self) -> impl Iterator<Item = u32> {
        self.connecting.iter().copied()
    }

    /// The events, each as its bytes.
    pub fn events(&self) -> impl Iterator<Item = &[u8]> {
        self.index
            .iter()
            .filter_map(|&(_, at, len)| self.bytes.get(at as usize..at as usize + len as usize))
    }

    /// Takes one more, and says when it happened.
    pub(super) fn push(&mut self, event: &[u8]) -> u64 {
        let at = self.bytes.len() as u32;
        let time = event
            .get(std::mem::offset_of!(Header, time)..)
            .and_then(|rest| rest.first_chunk::<8>())
            .map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let kind = event
            .get(std::mem::offset_of!(Header, kind)..)
            .and_then(|rest| rest.first_chunk::<4>())
            .map_or(0, |bytes| u32::from_ne_bytes(*bytes));
        let net = (kind == EventKind::Net as u32)
            .then(|| event.get(..size_of::<NetEvent>()))
            .flatten()
            .map(bytemuck::pod_read_unaligned);
        self.pressing = self.pressing.max(Pressing::of(kind, net.as_ref()));
        if let Some(net) = net.filter(connects) {
            self.connecting.insert(net.header.pid);
        }
        self.bytes.extend_from_slice(event);
        self.index.push((time, at, event.len() as u32));
        time
    }

    pub(super) fn append(&mut self, other: &Self) {
        for event in other.events() {
            self.push(event);
        }
    }

    /// When the youngest happened; 0 where there is none.
    pub(super) fn last(&self) -> u64 {
        self.index.iter().map(|&(time, ..)| time).max().unwrap_or(0)
    }

    /// Puts them in the order of their time.
    pub(super) fn sort(&mut self) {
        self.index.sort_by_key(|&(time, ..)| time);
    }

    /// Takes those out that happened after `time`.
    pub(super) fn split_off(&mut self, time: u64) -> Self {
        let (mut younger, mut older) = (Self::default(), Self::default());
        for (&(when, ..), event) in self.index.iter().zip(self.events()) {
            if when > time {
                younger.push(event)
            } else {
                older.push(event)
            };
        }
        *self = older;
        younger
    }
}

/// How soon events have to be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressing {
    /// What was said over connections, and their ends.
    #[default]
    Payload,
    /// Connects and sends that the policy allowed, and how they ended. Nothing follows from those but their
    /// records.
    Connects,
    /// Somebody may wait for what follows.
    Urgent,
}

impl Pressing {
    /// How an event of this kind presses. `net`: what it is, where it is a [`NetEvent`].
    fn of(kind: u32, net: Option<&NetEvent>) -> Self {
        const PAYLOAD: [u32; 3] =
            [EventKind::Stream as u32, EventKind::StreamEnd as u32, EventKind::Tls as u32];
        let goes_on = |net: &NetEvent| {
            let decided = net.verdict & (verdict::KIND | verdict::WOULD);
            matches!(net.op, net_op::CONNECT | net_op::SEND)
                && matches!(decided, verdict::ALLOW | verdict::ALLOW_RULE)
        };
        if PAYLOAD.contains(&kind) {
            Self::Payload
        } else if kind == EventKind::Result as u32 || net.is_some_and(goes_on) {
            Self::Connects
        } else {
            Self::Urgent
        }
    }
}

/// Whether a TCP connection began.
fn connects(net: &NetEvent) -> bool {
    matches!(net.op, net_op::CONNECT | net_op::CONNECT_UNHOOKED)
        && net.protocol == libc::IPPROTO_TCP.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time: u64) -> Vec<u8> {
        bytemuck::bytes_of(&Header { time, ..Header::default() }).to_vec()
    }

    fn batch(times: &[u64]) -> Batch {
        let mut batch = Batch::default();
        for &time in times {
            batch.push(&event(time));
        }
        batch
    }

    fn times(batch: &Batch) -> Vec<u64> {
        batch.index.iter().map(|&(time, ..)| time).collect()
    }

    fn net(change: impl FnOnce(&mut NetEvent)) -> Vec<u8> {
        let header = Header { kind: EventKind::Net as u32, time: 100, pid: 7, ..Header::default() };
        let mut net = NetEvent { header, op: net_op::CONNECT, protocol: 6, ..NetEvent::default() };
        change(&mut net);
        bytemuck::bytes_of(&net).to_vec()
    }

    fn of(kind: EventKind) -> Vec<u8> {
        let header = Header { kind: kind as u32, time: 100, ..Header::default() };
        bytemuck::bytes_of(&header).to_vec()
    }

    #[test]
    fn what_presses_most_decides_and_goes_with_its_event() {
        let mut payload = Batch::default();
        for (time, kind) in
            [EventKind::Stream, EventKind::Tls, EventKind::StreamEnd].iter().enumerate()
        {
            let header = Header { kind: *kind as u32, time: time as u64, ..Header::default() };
            payload.push(bytemuck::bytes_of(&header));
        }
        assert_eq!(payload.pressing(), Pressing::Payload);
        let by_rule = verdict::ALLOW_RULE | 3 << verdict::GENERATION;
        for (event, pressing) in [
            (net(|_| {}), Pressing::Connects),
            (net(|net| net.op = net_op::SEND), Pressing::Connects),
            (net(|net| net.verdict = by_rule), Pressing::Connects),
            (of(EventKind::Result), Pressing::Connects),
            (net(|net| net.verdict = verdict::DENY), Pressing::Urgent),
            (net(|net| net.verdict = verdict::DENY_RULE | verdict::WOULD), Pressing::Urgent),
            (net(|net| net.op = net_op::CONNECT_UNHOOKED), Pressing::Urgent),
            (net(|net| net.op = net_op::RECEIVE), Pressing::Urgent),
            (of(EventKind::Net), Pressing::Urgent),
            (of(EventKind::StreamDenied), Pressing::Urgent),
            (of(EventKind::Exec), Pressing::Urgent),
            (of(EventKind::Escape), Pressing::Urgent),
            (vec![1], Pressing::Urgent),
        ] {
            let mut one = Batch::default();
            one.push(&event);
            let mut batch = Batch::default();
            batch.append(&payload);
            batch.append(&one);
            assert_eq!(batch.pressing(), pressing, "{event:?}");
            if event.len() > 1 {
                assert_eq!(batch.split_off(50).pressing(), pressing, "{event:?}");
                assert_eq!(batch.pressing(), Pressing::Payload, "{event:?}");
            }
        }
    }

    #[test]
    fn who_connects_by_tcp_is_told_once_whether_it_may_or_not() {
        let mut batch = Batch::default();
        batch.push(&net(|_| {}));
        batch.push(&net(|_| {}));
        batch.push(&net(|net| (net.header.pid, net.verdict) = (8, verdict::DENY)));
        batch.push(&net(|net| (net.header.pid, net.op) = (9, net_op::CONNECT_UNHOOKED)));
        batch.push(&net(|net| (net.header.pid, net.protocol) = (10, 17)));
        batch.push(&net(|net| (net.header.pid, net.op) = (11, net_op::LISTEN)));
        batch.push(&of(EventKind::Net));
        batch.push(&net(|_| {}));
        assert!(batch.connecting().eq([7, 8, 9]), "each once, however they take turns");
        let younger = batch.split_off(50);
        assert!(batch.connecting().next().is_none() && younger.connecting().eq([7, 8, 9]));
    }

    #[test]
    fn an_exit_waits_for_its_exec_that_no_batch_had_room_for() {
        let mut control = batch(&[5, 20, 8]);
        let payload = batch(&[4, 9]);
        let held = control.split_off(payload.last());
        control.append(&payload);
        assert_eq!(times(&held), [20]);
        assert_eq!(times(&control), [5, 8, 4, 9]);
        assert_eq!(control.events().next(), Some(&event(5)[..]));
    }
}

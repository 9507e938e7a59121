//! The three rings, drained in batches.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use aya::maps::{Array, MapData, RingBuf};
use observer_common::{EventKind, Header};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Bytes of events taken in one go; what is over waits in the ring.
const BATCH: usize = 4 << 20;

/// Events as they came, in the order of their time.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each event stands in `bytes`, and when it happened.
    index: Vec<(u64, u32, u32)>,
    /// Something of it is no payload.
    urgent: bool,
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

    /// Whether there is anything but what was said over connections, and their ends: somebody may wait
    /// for what follows from it.
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// The events, each as its bytes.
    pub fn events(&self) -> impl Iterator<Item = &[u8]> {
        self.index
            .iter()
            .filter_map(|&(_, at, len)| self.bytes.get(at as usize..at as usize + len as usize))
    }

    /// Takes one more, and says when it happened.
    fn push(&mut self, event: &[u8]) -> u64 {
        const PAYLOAD: [u32; 3] =
            [EventKind::Stream as u32, EventKind::StreamEnd as u32, EventKind::Tls as u32];
        let at = self.bytes.len() as u32;
        let time = event
            .get(std::mem::offset_of!(Header, time)..)
            .and_then(|rest| rest.first_chunk::<8>())
            .map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let kind = event
            .get(std::mem::offset_of!(Header, kind)..)
            .and_then(|rest| rest.first_chunk::<4>())
            .map_or(0, |bytes| u32::from_ne_bytes(*bytes));
        self.urgent |= !PAYLOAD.contains(&kind);
        self.bytes.extend_from_slice(event);
        self.index.push((time, at, event.len() as u32));
        time
    }

    fn append(&mut self, other: &Self) {
        for event in other.events() {
            self.push(event);
        }
    }

    /// When the youngest happened; 0 where there is none.
    fn last(&self) -> u64 {
        self.index.iter().map(|&(time, ..)| time).max().unwrap_or(0)
    }

    /// Takes those out that happened after `time`.
    fn split_off(&mut self, time: u64) -> Self {
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

/// The rings, and the word that says whether their reader sleeps.
pub struct Rings {
    events: RingBuf<MapData>,
    control: RingBuf<MapData>,
    payload: RingBuf<MapData>,
    idle: Array<MapData, u32>,
    /// What is younger than the calls taken so far.
    held: Batch,
}

impl Rings {
    pub(super) fn new(
        events: RingBuf<MapData>,
        control: RingBuf<MapData>,
        payload: RingBuf<MapData>,
        idle: Array<MapData, u32>,
    ) -> Self {
        Self { events, control, payload, idle, held: Batch::default() }
    }

    /// Takes what is there, without waiting. The ring of calls goes last, so that an exit finds its
    /// exec, and payload its connect, in the same batch or an earlier one; then all is put in the
    /// order of its time. Where there are more calls than a batch holds, what is younger than the
    /// last of them waits.
    pub fn drain(&mut self) -> Batch {
        let mut batch = std::mem::take(&mut self.held);
        while batch.bytes.len() < BATCH {
            match self.control.next() {
                Some(item) => {
                    batch.push(&item);
                }
                None => break,
            }
        }
        // A bound of its own: payload holds no lifecycle up.
        let most = batch.bytes.len() + BATCH;
        let mut last = 0;
        let mut all = false;
        while !all && batch.bytes.len() < most {
            match self.payload.next() {
                Some(item) => last = batch.push(&item),
                None => all = true,
            }
        }
        let mut youngest = if all { u64::MAX } else { last };
        let mut calls = Batch::default();
        let mut all = false;
        while !all && calls.bytes.len() < BATCH {
            match self.events.next() {
                Some(item) => {
                    calls.push(&item);
                }
                None => all = true,
            }
        }
        if !all {
            youngest = youngest.min(calls.last());
        }
        batch.append(&calls);
        if youngest != u64::MAX {
            self.held = batch.split_off(youngest);
        }
        batch.index.sort_by_key(|&(time, ..)| time);
        batch
    }

    /// Tells the kernel that the reader is about to sleep (`true`): the next event wakes it.
    pub fn set_idle(&mut self, idle: bool) -> Result<(), aya::maps::MapError> {
        self.idle.set(0, u32::from(idle), 0)
    }

    /// Sleeps until an event, `stop` readable, or the time. Says whether `stop` is readable.
    pub fn wait(&self, stop: BorrowedFd<'_>, limit: Duration) -> rustix::io::Result<bool> {
        // SAFETY: the rings live as long as this borrow of them.
        let [events, control, payload] = unsafe {
            [&self.events, &self.control, &self.payload]
                .map(|ring| BorrowedFd::borrow_raw(ring.as_raw_fd()))
        };
        let mut fds = [
            PollFd::from_borrowed_fd(events.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(control.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(payload.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stop, PollFlags::IN),
        ];
        let limit = Timespec {
            tv_sec: limit.as_secs().cast_signed(),
            tv_nsec: limit.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(!fds[3].revents().is_empty()),
            Err(e) => Err(e),
        }
    }
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

    #[test]
    fn payload_alone_is_not_urgent() {
        let mut all = Batch::default();
        for kind in [EventKind::Stream, EventKind::Tls, EventKind::StreamEnd] {
            let header = Header { kind: kind as u32, time: kind as u64, ..Header::default() };
            all.push(bytemuck::bytes_of(&header));
        }
        assert!(!all.is_urgent());
        for kind in [EventKind::StreamDenied, EventKind::Net, EventKind::Exec, EventKind::Escape] {
            let mut batch = Batch::default();
            batch.append(&all);
            let header = Header { kind: kind as u32, time: 100, ..Header::default() };
            batch.push(bytemuck::bytes_of(&header));
            let held = batch.split_off(50);
            assert!(held.is_urgent() && !batch.is_urgent(), "{kind:?}");
        }
        assert!(batch(&[1]).is_urgent(), "what it is is not known");
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

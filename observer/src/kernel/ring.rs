//! The two rings, drained in batches.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use aya::maps::{Array, MapData, RingBuf};
use observer_common::Header;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Bytes of events taken in one go; what is over waits in the ring.
const BATCH: usize = 4 << 20;

/// Events as they came, in the order of their time.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each event stands in `bytes`, and when it happened.
    index: Vec<(u64, u32, u32)>,
    /// How many came through the payload ring.
    pub events: u64,
    /// How many came through the control ring.
    pub control: u64,
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

    /// The events, each as its bytes.
    pub fn events(&self) -> impl Iterator<Item = &[u8]> {
        self.index
            .iter()
            .filter_map(|&(_, at, len)| self.bytes.get(at as usize..at as usize + len as usize))
    }

    fn push(&mut self, event: &[u8]) {
        let at = self.bytes.len() as u32;
        let time = event
            .get(std::mem::offset_of!(Header, time)..)
            .and_then(|rest| rest.first_chunk::<8>())
            .map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        self.bytes.extend_from_slice(event);
        self.index.push((time, at, event.len() as u32));
    }
}

/// Both rings, and the word that says whether their reader sleeps.
pub struct Rings {
    events: RingBuf<MapData>,
    control: RingBuf<MapData>,
    idle: Array<MapData, u32>,
}

impl Rings {
    pub(super) fn new(
        events: RingBuf<MapData>,
        control: RingBuf<MapData>,
        idle: Array<MapData, u32>,
    ) -> Self {
        Self { events, control, idle }
    }

    /// Takes what is there, without waiting. The control ring goes first, so that an exit finds
    /// its exec in the same batch or an earlier one; then all is put in the order of its time.
    pub fn drain(&mut self) -> Batch {
        let mut batch = Batch::default();
        while batch.bytes.len() < BATCH {
            match self.control.next() {
                Some(item) => {
                    batch.push(&item);
                    batch.control += 1;
                }
                None => break,
            }
        }
        while batch.bytes.len() < BATCH {
            match self.events.next() {
                Some(item) => {
                    batch.push(&item);
                    batch.events += 1;
                }
                None => break,
            }
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
        let (events, control) = unsafe {
            (
                BorrowedFd::borrow_raw(self.events.as_raw_fd()),
                BorrowedFd::borrow_raw(self.control.as_raw_fd()),
            )
        };
        let mut fds = [
            PollFd::from_borrowed_fd(events.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(control.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stop, PollFlags::IN),
        ];
        let limit = Timespec {
            tv_sec: limit.as_secs().cast_signed(),
            tv_nsec: limit.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(!fds[2].revents().is_empty()),
            Err(e) => Err(e),
        }
    }
}

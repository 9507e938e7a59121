//! The three rings, drained in batches.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use aya::maps::{Array, MapData, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::batch::Batch;

/// Bytes of events taken in one go; what is over waits in the ring.
const BATCH: usize = 4 << 20;

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
        while batch.size() < BATCH {
            match self.control.next() {
                Some(item) => {
                    batch.push(&item);
                }
                None => break,
            }
        }
        // A bound of its own: payload holds no lifecycle up.
        let most = batch.size() + BATCH;
        let mut last = 0;
        let mut all = false;
        while !all && batch.size() < most {
            match self.payload.next() {
                Some(item) => last = batch.push(&item),
                None => all = true,
            }
        }
        let mut youngest = if all { u64::MAX } else { last };
        let mut calls = Batch::default();
        let mut all = false;
        while !all && calls.size() < BATCH {
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
        batch.sort();
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

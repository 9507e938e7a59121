//! The ring thread: it drains the rings, and never waits for anything but the channel.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use super::haste::Haste;
use super::{Connected, Message};
use crate::kernel::{Batch, Rings};

/// Between two drains while there is traffic: nobody wakes the reader then. What a process has
/// mapped is looked at when its connect is drained, before it speaks TLS if it can be.
const PACE: Duration = Duration::from_millis(2);
/// Empty drains before the reader goes to sleep.
const PATIENCE: u32 = 25;
/// How long it sleeps at most: the counters are looked at in between.
const SLEEP: Duration = Duration::from_secs(1);

/// The ring thread.
pub(super) fn read(
    mut rings: Rings,
    stop: &OwnedFd,
    batches: &SyncSender<Message>,
    mut haste: Haste,
    mut connected: Connected,
) {
    let mut empty = 0;
    loop {
        let batch = rings.drain();
        if !batch.is_empty() {
            empty = 0;
            tell(&batch, &mut connected);
            if haste.send(batches, batch).is_err() {
                return;
            }
            let mut stopped = waits(stop, PACE);
            while !stopped && haste.is_full() {
                stopped = waits(stop, PACE);
            }
            if stopped {
                break;
            }
            continue;
        }
        haste.hurry();
        empty += 1;
        if empty < PATIENCE {
            if waits(stop, PACE) {
                break;
            }
            continue;
        }
        // From here on the next event wakes us. One that came before the word was set is there
        // to be drained, and poll sees it.
        let _ = rings.set_idle(true);
        let stopped = rings.wait(stop.as_fd(), SLEEP).unwrap_or(true);
        let _ = rings.set_idle(false);
        if stopped {
            break;
        }
    }
    loop {
        let batch = rings.drain();
        tell(&batch, &mut connected);
        if batch.is_empty() || haste.send(batches, batch).is_err() {
            return haste.hurry();
        }
    }
}

/// Says who connects.
fn tell(batch: &Batch, connected: &mut Connected) {
    batch.connecting().for_each(connected);
}

/// Waits out the time; whether `stop` was set meanwhile.
fn waits(stop: &OwnedFd, time: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
    let mut fds = [PollFd::new(stop, PollFlags::IN)];
    poll(&mut fds, Some(&limit)).is_ok_and(|n| n > 0)
}

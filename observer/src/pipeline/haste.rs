//! When the ledger's thread makes haste. What an agent says over its connections can be written a
//! little later, and so can a connect that was allowed: while nothing but that waits, and neither much
//! of it nor for long, the thread lets everybody else run first, the agent and the server that it waits
//! for.
//!
//! The ring thread decides, which is always in haste: a thread that has given way can't change its
//! mind before it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SendError, SyncSender};
use std::time::{Duration, Instant};

use rustix::process::{Pid, getpriority_process, setpriority_process};

use super::Message;
use crate::kernel::{Batch, Pressing};

/// Bytes that wait before the rings are left to fill.
const MOST: usize = 24 << 20;
/// So many are not left waiting,
const MANY: usize = 16 << 20;
/// nor is payload for longer than the first, nor a connect for longer than the second.
const LATE: Duration = Duration::from_millis(500);
const SOON: Duration = Duration::from_millis(100);
/// How far the thread gives way (setpriority(2)): to a tenth of what another has.
const STEPS: i32 = 10;

/// What is on its way to the ledger's thread, or being worked on there.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// Messages with connects in them.
    connects: AtomicUsize,
    /// Messages that something waits for.
    urgent: AtomicUsize,
}

/// What a message adds to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weight {
    bytes: usize,
    pressing: Pressing,
}

impl Weight {
    pub(super) fn of(message: &Message) -> Self {
        match message {
            Message::Batch(batch) => Self { bytes: batch.size(), pressing: batch.pressing() },
            Message::Reload(..) | Message::Standing(_) | Message::Over(_) | Message::End(_) => {
                Self { bytes: 0, pressing: Pressing::Urgent }
            }
        }
    }
}

impl Backlog {
    /// Sends a message.
    pub(super) fn send(
        &self,
        to: &SyncSender<Message>,
        message: Message,
    ) -> Result<(), SendError<Message>> {
        let weight = Weight::of(&message);
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(weight.bytes, Ordering::Relaxed);
        if let Some(pressing) = self.pressing(weight) {
            pressing.fetch_add(1, Ordering::Relaxed);
        }
        to.send(message)
    }

    /// A message is done with.
    pub(super) fn done(&self, weight: Weight) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(weight.bytes, Ordering::Relaxed);
        if let Some(pressing) = self.pressing(weight) {
            pressing.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Where messages that press like this are counted.
    fn pressing(&self, weight: Weight) -> Option<&AtomicUsize> {
        match weight.pressing {
            Pressing::Payload => None,
            Pressing::Connects => Some(&self.connects),
            Pressing::Urgent => Some(&self.urgent),
        }
    }

    fn is_empty(&self) -> bool {
        self.messages.load(Ordering::Relaxed) == 0
    }

    /// Whether it can't wait, when it has been there for so long.
    fn presses(&self, since: Duration) -> bool {
        let limit = if self.connects.load(Ordering::Relaxed) > 0 { SOON } else { LATE };
        self.urgent.load(Ordering::Relaxed) > 0
            || self.bytes.load(Ordering::Relaxed) >= MANY
            || since >= limit
    }

    /// Whether nothing more is to be taken out of the rings.
    fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= MOST
    }
}

/// The ledger's thread, as the ring thread drives it.
pub(super) struct Haste {
    backlog: Arc<Backlog>,
    thread: Pid,
    /// Its priority in haste, and without; none where it could not come back from that.
    priorities: Option<(i32, i32)>,
    hurries: bool,
    /// Since when something has been waiting without a break.
    behind: Option<Instant>,
}

impl Haste {
    pub(super) fn new(thread: Pid, backlog: Arc<Backlog>) -> Self {
        // Whoever may go one up may come back.
        let may = |usual: &i32| {
            setpriority_process(Some(thread), usual - 1).is_ok()
                && setpriority_process(Some(thread), *usual).is_ok()
        };
        let usual = getpriority_process(Some(thread)).ok().filter(may);
        let priorities = usual.map(|usual| (usual, usual + STEPS));
        Self { backlog, thread, priorities, hurries: true, behind: None }
    }

    /// Sends the thread a batch.
    pub(super) fn send(
        &mut self,
        to: &SyncSender<Message>,
        batch: Batch,
    ) -> Result<(), SendError<Message>> {
        // Before it is there itself.
        if self.backlog.is_empty() {
            self.behind = None;
        }
        self.behind.get_or_insert_with(Instant::now);
        self.backlog.send(to, Message::Batch(batch))?;
        self.judge();
        Ok(())
    }

    /// Whether the rings are to be left to fill. Meanwhile it is time.
    pub(super) fn is_full(&mut self) -> bool {
        let full = self.backlog.is_full();
        if full {
            self.hurry();
        }
        full
    }

    /// Nothing more comes for now, or nothing more can: it is time.
    pub(super) fn hurry(&mut self) {
        self.set(true);
    }

    /// Looks at what waits: is it time?
    fn judge(&mut self) {
        let since = self.behind.map_or(Duration::ZERO, |since| since.elapsed());
        self.set(self.backlog.presses(since));
    }

    fn set(&mut self, hurries: bool) {
        let Some((usual, less)) = self.priorities.filter(|_| hurries != self.hurries) else {
            return;
        };
        let priority = if hurries { usual } else { less };
        if setpriority_process(Some(self.thread), priority).is_ok() {
            self.hurries = hurries;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn what_waits_for_long_or_is_much_or_urgent_can_wait_no_longer() {
        let backlog = |bytes, connects, urgent| Backlog {
            messages: 1.into(),
            bytes: AtomicUsize::new(bytes),
            connects: AtomicUsize::new(connects),
            urgent: AtomicUsize::new(urgent),
        };
        let soon = LATE / 2;
        for (bytes, connects, urgent, since, presses) in [
            (1000, 0, 0, soon, false),
            (1000, 0, 0, LATE, true),
            (1000, 1, 0, SOON / 2, false),
            (1000, 1, 0, SOON, true),
            (1000, 0, 1, Duration::ZERO, true),
            (MANY - 1, 0, 0, soon, false),
            (MANY, 0, 0, Duration::ZERO, true),
        ] {
            let backlog = backlog(bytes, connects, urgent);
            assert_eq!(backlog.presses(since), presses, "{bytes} {connects} {urgent} {since:?}");
            assert!(!backlog.is_full());
        }
        assert!(backlog(MOST, 0, 0).is_full());
    }

    #[test]
    fn what_waits_is_as_old_as_the_first_since_nothing_did() {
        let (to, from) = sync_channel(8);
        let backlog = Arc::new(Backlog::default());
        let mut haste = Haste {
            backlog: backlog.clone(),
            thread: rustix::thread::gettid(),
            priorities: None,
            hurries: true,
            behind: None,
        };
        let mut send = || {
            haste.send(&to, Batch::default()).unwrap();
            haste.behind.unwrap()
        };
        let first = send();
        assert_eq!(send(), first);
        backlog.done(Weight::of(&from.recv().unwrap()));
        assert_eq!(send(), first, "one waits still");
        (0..2).for_each(|_| backlog.done(Weight::of(&from.recv().unwrap())));
        assert!(send() > first);
    }

    #[test]
    fn a_message_weighs_until_it_is_done_with() {
        let (to, from) = sync_channel(2);
        let (backlog, (done, _told)) = (Backlog::default(), sync_channel(1));
        assert!(backlog.is_empty() && !backlog.presses(Duration::ZERO));
        backlog.send(&to, Message::Over(done)).unwrap();
        let message = from.recv().unwrap();
        assert!(!backlog.is_empty() && backlog.presses(Duration::ZERO));
        backlog.done(Weight::of(&message));
        assert!(backlog.is_empty() && !backlog.presses(Duration::ZERO));
    }
}

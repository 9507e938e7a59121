//! What a run waits for: its command's end, its cgroup's emptiness, a signal.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Session;
use crate::signals::Signals;
use crate::spawn::Child;

/// How often escaped processes are counted while they alone keep a run open.
const COUNT_EVERY: Duration = Duration::from_millis(200);

pub(super) enum Waited {
    /// The command ended.
    Child,
    /// Nothing of the run lives.
    Empty,
    /// A signal said to stop.
    Stopped(i32),
}

/// Waits for the child to end, or without one for the run to be empty.
pub(super) fn wait(session: &Session, signals: &Signals, child: Option<&Child>) -> Result<Waited> {
    // None where the cgroup is gone: nothing tells of it any more, and processes that left it
    // are counted.
    let mut events = session.cgroup.events().ok();
    let mut forwarded = 0;
    loop {
        // POLLPRI comes for changes since the last read: so the state is read before each wait.
        let populated = session.cgroup.populated();
        if child.is_none() && !populated && session.live() <= 0 {
            return Ok(Waited::Empty);
        }
        let never = child.is_some() || populated;
        let limit = Timespec { tv_sec: 0, tv_nsec: COUNT_EVERY.subsec_nanos().into() };
        let pidfd: Option<&OwnedFd> = child.map(Child::pidfd);
        let mut fds = vec![PollFd::new(signals.fd(), PollFlags::IN)];
        fds.extend(pidfd.map(|fd| PollFd::new(fd, PollFlags::IN)));
        fds.extend(events.as_ref().map(|events| PollFd::new(events, PollFlags::PRI)));
        match poll(&mut fds, if never { None } else { Some(&limit) }) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(io::Error::from(e).into()),
        }
        let ended = child.is_some() && fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        while let Some(received) = signals.next() {
            if session.reloads(&received) {
                session.reload();
                continue;
            }
            let Some(child) = child else { return Ok(Waited::Stopped(received.signal)) };
            if received.from_terminal {
                continue; // the agent has it already
            }
            forwarded += 1;
            if forwarded > 1 {
                return Ok(Waited::Stopped(received.signal));
            }
            child.signal(received.signal);
            if session.freezes && session.cgroup.frozen() {
                eprintln!(
                    "observer: signal {} was passed on, and the agent is frozen until the ledger \
                     can be written; another signal stops observing, and lets it go on",
                    received.signal
                );
            }
        }
        if ended {
            return Ok(Waited::Child);
        }
        // A read of a removed cgroup's file fails, and a wait for it would never wait.
        if events.as_ref().is_some_and(|events| events.read_at(&mut [0; 256], 0).is_err()) {
            events = None;
        }
    }
}

//! The whole way: ring → decode → assemble → mask → ledger.
//!
//! Two threads and one channel. The ring thread drains and never blocks on anything but the
//! channel; the ledger thread does all the rest, and gives way to others while only payload waits for
//! it (`haste`). When the channel is full the ring thread waits,
//! the kernel's rings fill, and what does not fit is counted there: the only place of loss, and
//! each count becomes a `loss` record.

mod bindings;
mod haste;
mod policies;
mod read;
mod standing;
mod worker;
mod world;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::thread::gettid;

use crate::abort::{Connection, Standing};
use crate::assemble::http::Capture;
use crate::cgroup::Mount;
use crate::exec_hold::Health;
use crate::kernel::{Batch, Meters, Rings};
use crate::ledger::{Carriers, Events, Writer};
use crate::mask::Masker;
use crate::model::{Answered, LibraryCoverage, Reload, RunId, Stamp};
use crate::probes::Missed;
pub use bindings::Bindings;
use haste::{Backlog, Haste};
pub use policies::Policies;
use read::read;
pub use standing::Ruled;
use worker::Worker;

/// Messages on their way. `haste` bounds their bytes.
const CHANNEL: usize = 1024;
/// What is looked after now and then is looked after this often.
const TICK: Duration = Duration::from_secs(1);
/// What the pipeline needs of a run.
pub struct Setup {
    /// The run.
    pub run: RunId,
    /// What was lost there.
    pub meters: Meters,
    /// The open ledger, with this run's `run.start` in it.
    pub writer: Writer,
    /// Where its checkpoints are taken.
    pub elsewhere: Carriers,
    /// The run's masker.
    pub masker: Masker,
    /// The cgroup v2 mount.
    pub mount: Mount,
    /// The run's policies.
    pub policies: Policies,
    /// What its answers bound, for a policy that takes over; none where none can.
    pub bindings: Option<Bindings>,
    /// Which contents of HTTP messages are kept.
    pub capture: Capture,
    /// What the run's world is told.
    pub hooks: Box<dyn Hooks>,
    /// What was found of TLS libraries.
    pub libraries: Finds,
    /// What is held, to be looked into.
    pub held: Vec<Held>,
}

/// Something that is held until it was looked into.
pub struct Held {
    /// What coverage calls it.
    pub what: &'static str,
    /// What follows where it can't be looked into.
    pub why: &'static str,
    /// Whether it can.
    pub health: Health,
}

/// Finds of TLS libraries, on their way.
pub struct Finds {
    /// What was found.
    pub reports: Receiver<LibraryCoverage>,
    /// What was not looked for.
    pub missed: Missed,
}

/// Is told of each process that connected, so that it may speak TLS from now on: by the ring
/// thread, within milliseconds, and it must not wait for anything.
pub type Connected = Box<dyn FnMut(u32) + Send>;

/// What happens elsewhere because of what was seen here.
pub trait Hooks: Send {
    /// A process went to the cgroup with this id: holds the socket rules there. Whether it could.
    fn follow(&mut self, cgroup: u64) -> bool;
    /// A connection was stopped for its name: ends it, so that nothing of it is sent again.
    ///
    /// # Errors
    /// When it could not be ended.
    fn stopped(&mut self, connection: Connection) -> io::Result<()>;
    /// The sockets at hand that are connected, and why some could not be looked at.
    fn connected(&mut self) -> (Vec<Standing>, io::Result<()>);
    /// A connection is denied by now: ends it. Whether it was there.
    ///
    /// # Errors
    /// When it could not be ended.
    fn end(&mut self, connection: &Standing) -> io::Result<bool>;
    /// An answer came of which the policy that decides may not know yet.
    ///
    /// # Errors
    /// When it can't be told of it, and why.
    fn answered(&mut self, answered: &Answered) -> Result<(), String>;
    /// The run is over: ends those whose parts waited for the rest.
    ///
    /// # Errors
    /// When one could not be ended.
    fn over(&mut self) -> io::Result<()>;
    /// The ledger can't be written (`false`), or can again (`true`).
    fn ledger(&mut self, works: bool);
}

/// What came of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// What the kernel told, and what came of it.
    pub events: Events,
    /// Whether everything stands in the ledger.
    pub written: bool,
}

/// A pipeline at work.
pub struct Pipeline {
    stop: OwnedFd,
    ring: JoinHandle<()>,
    ledger: JoinHandle<Summary>,
    requests: SyncSender<Message>,
    backlog: Arc<Backlog>,
}

enum Message {
    Batch(Batch),
    /// A policy was read again, then.
    Reload(Stamp, Box<Reload>),
    /// A policy decides that did not when connections began which are open.
    Standing(Box<Ruled>),
    /// The run is over, though not all is drained yet; an answer is waited for.
    Over(SyncSender<()>),
    /// Nothing more comes: the run ended so.
    End(Ending),
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// When.
    pub at: Stamp,
    /// Why.
    pub why: String,
    /// The exit code that `observer run` returns, where it ran the command.
    pub exit: Option<i32>,
}

impl Pipeline {
    /// Starts both threads. `rings`: where events come from; `connected`: who is told of connects.
    pub fn start(rings: Rings, connected: Connected, setup: Setup) -> io::Result<Self> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let (sender, receiver) = sync_channel(CHANNEL);
        let watch = stop.try_clone()?;
        let batches = sender.clone();
        let worker = Worker::new(setup);
        let backlog = Arc::new(Backlog::default());
        let (tell, told) = sync_channel(1);
        let counted = backlog.clone();
        let ledger = thread::Builder::new().name("observer-ledger".into()).spawn(move || {
            let _ = tell.send(gettid());
            worker.work(&receiver, &counted)
        })?;
        let ledger_id = told.recv().map_err(|_| io::Error::other("the ledger's thread is gone"))?;
        let haste = Haste::new(ledger_id, backlog.clone());
        let ring = thread::Builder::new()
            .name("observer-ring".into())
            .spawn(move || read(rings, &watch, &batches, haste, connected))?;
        Ok(Self { stop, ring, ledger, requests: sender, backlog })
    }

    /// Records what became of a policy that was read again.
    pub fn reload(&self, at: Stamp, policy: Reload) {
        // It fails only when the ledger's thread is gone, and then the summary says so.
        let _ = self.backlog.send(&self.requests, Message::Reload(at, Box::new(policy)));
    }

    /// Has connections end that are open, and that the policy denies which decides now.
    pub fn hold(&self, policy: Ruled) {
        // As above.
        let _ = self.backlog.send(&self.requests, Message::Standing(Box::new(policy)));
    }

    /// Has connections end that were stopped for a part: the rest is not coming.
    pub fn over(&self) {
        let (done, told) = sync_channel(1);
        if self.backlog.send(&self.requests, Message::Over(done)).is_ok() {
            // A ledger that can't be written holds nobody up longer.
            let _ = told.recv_timeout(TICK);
        }
    }

    /// Drains what is left, writes the run's end and the recorder's, and ends. The hooks must be
    /// detached already, so that nothing new comes.
    pub fn finish(self, ending: Ending) -> Summary {
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        let _ = self.ring.join();
        // It fails only when the ledger's thread is gone, and then the summary says so.
        let _ = self.backlog.send(&self.requests, Message::End(ending));
        drop(self.requests);
        self.ledger.join().unwrap_or_default()
    }
}

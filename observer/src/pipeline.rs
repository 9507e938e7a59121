//! The whole way: ring → decode → assemble → mask → ledger.
//!
//! Two threads and one channel. The ring thread drains and never blocks on anything but the
//! channel; the ledger thread does all the rest. When the channel is full the ring thread waits,
//! the kernel's rings fill, and what does not fit is counted there: the only place of loss, and
//! each count becomes a `loss` record.

mod confirm;
mod policies;
mod read;
mod world;

use std::collections::HashMap;
use std::collections::hash_map;
use std::io;
use std::mem::{self, Discriminant};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use observer_common::{Counters, exec_flag, net_op};
use rustix::event::{EventfdFlags, eventfd};

use crate::abort::Connection;
use crate::assemble::http::Capture;
use crate::assemble::{Assembler, Item};
use crate::cgroup::Mount;
use crate::clock;
use crate::decode::{self, Event};
use crate::kernel::{Batch, Meters, Rings};
use crate::ledger::{Carriers, CommitError, Entry, Events, KeptStatus, Writer};
use crate::mask::Masker;
use crate::model::{LibraryCoverage, Protocol, Reload, RunId, Stamp};
use crate::probes::Missed;
use crate::rescue;
pub use policies::Policies;
use read::read;
use world::World;

/// Batches on their way; each is bounded by the ring's `drain`.
const CHANNEL: usize = 8;
/// A commit group is written when it is this old, or this large: a sync costs what dozens of
/// records do.
const GROUP_AGE: Duration = Duration::from_millis(50);
const GROUP_SIZE: usize = 512;
/// What is looked after now and then is looked after this often.
const TICK: Duration = Duration::from_secs(1);
/// A ledger that can't be written is tried again after this long.
const RETRY: Duration = Duration::from_millis(200);
/// How long the last checkpoint may be on its way at the end.
const LAST_WORD: Duration = Duration::from_secs(3);
/// A ledger that can't be written is said again after this long.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// What the pipeline needs of a run.
pub struct Setup {
    /// The run.
    pub run: RunId,
    /// Where events come from.
    pub rings: Rings,
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
    /// Which contents of HTTP messages are kept.
    pub capture: Capture,
    /// What the run's world is told.
    pub hooks: Box<dyn Hooks>,
    /// What was found of TLS libraries.
    pub libraries: Finds,
}

/// Finds of TLS libraries, on their way.
pub struct Finds {
    /// What was found.
    pub reports: Receiver<LibraryCoverage>,
    /// What was not looked for.
    pub missed: Missed,
}

/// What happens elsewhere because of what was seen here.
pub trait Hooks: Send {
    /// A process went to the cgroup with this id: holds the socket rules there. Whether it could.
    fn follow(&mut self, cgroup: u64) -> bool;
    /// A process connected, so it may speak TLS from now on.
    fn connected(&mut self, pid: u32);
    /// A connection was stopped for its name: ends it, so that nothing of it is sent again.
    ///
    /// # Errors
    /// When it could not be ended.
    fn stopped(&mut self, connection: Connection) -> io::Result<()>;
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
}

enum Message {
    Batch(Batch),
    /// A policy was read again, then.
    Reload(Stamp, Box<Reload>),
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
    /// Starts both threads.
    pub fn start(setup: Setup) -> io::Result<Self> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let (sender, receiver) = sync_channel(CHANNEL);
        let watch = stop.try_clone()?;
        let rings = setup.rings;
        let batches = sender.clone();
        let ring = thread::Builder::new()
            .name("observer-ring".into())
            .spawn(move || read(rings, &watch, &batches))?;
        let mut assembler = Assembler::new(setup.run, clock::boot_id(), clock::wall_offset());
        assembler.set_capture(setup.capture);
        let worker = Worker {
            world: World::new(setup.mount, setup.policies.clone(), &setup.masker),
            policies: setup.policies,
            under: 0,
            assembler,
            run: setup.run,
            masker: setup.masker,
            writer: setup.writer,
            elsewhere: setup.elsewhere,
            meters: setup.meters,
            hooks: setup.hooks,
            libraries: setup.libraries,
            connected: HashMap::new(),
            confirmations: confirm::Confirmations::default(),
            told: Counters::default(),
            told_unended: false,
            told_missed: 0,
            told_evicted: 0,
            kept: 0,
            lost: 0,
            pending: 0,
            oldest: None,
            ticked: Instant::now(),
            failing: None,
            trouble: None,
        };
        let ledger = thread::Builder::new()
            .name("observer-ledger".into())
            .spawn(move || worker.work(&receiver))?;
        Ok(Self { stop, ring, ledger, requests: sender })
    }

    /// Records what became of a policy that was read again.
    pub fn reload(&self, at: Stamp, policy: Reload) {
        // It fails only when the ledger's thread is gone, and then the summary says so.
        let _ = self.requests.send(Message::Reload(at, Box::new(policy)));
    }

    /// Has connections end that were stopped for a part: the rest is not coming.
    pub fn over(&self) {
        let (done, told) = sync_channel(1);
        if self.requests.send(Message::Over(done)).is_ok() {
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
        let _ = self.requests.send(Message::End(ending));
        drop(self.requests);
        self.ledger.join().unwrap_or_default()
    }
}

/// The ledger thread's state.
struct Worker {
    world: World,
    policies: Policies,
    /// The generation of the policy that the last event was decided by.
    under: u32,
    assembler: Assembler,
    run: RunId,
    masker: Masker,
    writer: Writer,
    elsewhere: Carriers,
    meters: Meters,
    hooks: Box<dyn Hooks>,
    libraries: Finds,
    /// Who connected in this batch, and whether again.
    connected: HashMap<u32, bool>,
    confirmations: confirm::Confirmations,
    told: Counters,
    /// Whether it was said that a stopped connection stays open.
    told_unended: bool,
    told_missed: u64,
    told_evicted: u64,
    kept: u64,
    lost: u64,
    pending: usize,
    oldest: Option<Instant>,
    ticked: Instant,
    failing: Option<Failing>,
    /// What was said last of a checkpoint, a file or a key.
    trouble: Option<String>,
}

/// A ledger that can't be written: why, whether records are lost by now, and when that was said.
struct Failing {
    said: Instant,
    why: (Discriminant<CommitError>, bool),
}

impl Worker {
    fn work(mut self, messages: &Receiver<Message>) -> Summary {
        let mut last = None;
        loop {
            let wait = if self.pending > 0 { GROUP_AGE } else { TICK };
            match messages.recv_timeout(wait) {
                Ok(Message::Batch(batch)) => self.batch(&batch),
                Ok(Message::Reload(at, policy)) => {
                    let policy = Box::new(self.masker.reload(*policy));
                    self.append(Entry::Policy { at, run: self.run, policy });
                }
                Ok(Message::Over(done)) => {
                    self.over();
                    let _ = done.send(());
                }
                Ok(Message::End(ending)) => last = Some(ending),
                Err(RecvTimeoutError::Timeout) => self.settle(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.ticked.elapsed() >= TICK {
                self.tick();
            }
            // While it fails, what waits is written out again for each try: not for each batch.
            let failing = self.failing.is_some();
            let age = if failing { RETRY } else { GROUP_AGE };
            let due = self.oldest.is_some_and(|since| since.elapsed() >= age);
            if due || self.pending >= GROUP_SIZE && !failing {
                self.commit();
            }
        }
        self.end(last)
    }

    fn batch(&mut self, batch: &Batch) {
        let mut items = vec![];
        for bytes in batch.events() {
            self.kept += 1;
            match decode::decode(bytes) {
                Ok(event) => {
                    self.set_policy(event.generation());
                    self.event(&event, &mut items);
                }
                Err(error) => self.lose("decode", 1, &error.to_string()),
            }
            for item in items.drain(..) {
                self.item(item);
            }
        }
        for (pid, _) in self.connected.drain().filter(|&(_, again)| again) {
            self.hooks.connected(pid);
        }
        self.settle();
        self.count();
    }

    /// Lets records name the policy that decided what they tell.
    fn set_policy(&mut self, generation: u32) {
        if generation == 0 || generation == self.under {
            return;
        }
        // What waits for the rest of its argv was decided before.
        let mut items = vec![];
        if self.under != 0 {
            self.assembler.release_waiting(&mut items);
        }
        for item in items {
            self.item(item);
        }
        self.under = generation;
        let policy = self.policies.sha256(generation);
        self.writer.append(Entry::Under { run: self.run, policy });
    }

    /// Goes on with what waited for more.
    fn settle(&mut self) {
        let mut items = vec![];
        self.assembler.settle(clock::now().mono_ns, &mut self.world, &mut items);
        for item in items {
            self.item(item);
        }
    }

    /// Says that a process connects: at once, and once more at the batch's end where it did so again.
    fn connected(&mut self, pid: u32) {
        match self.connected.entry(pid) {
            hash_map::Entry::Occupied(mut again) => *again.get_mut() = true,
            hash_map::Entry::Vacant(first) => {
                first.insert(false);
                self.hooks.connected(pid);
            }
        }
    }

    fn over(&mut self) {
        if let Err(error) = self.hooks.over() {
            self.unended(&error);
        }
    }

    /// Says, once, that connections which were stopped stay open.
    fn unended(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.told_unended, true) {
            self.append(Entry::Coverage {
                run: self.run,
                at: clock::now(),
                what: "stopped connections".to_owned(),
                covered: false,
                why: format!("what was dropped can be sent again once the run has ended: {error}"),
            });
        }
    }

    fn event(&mut self, event: &Event<'_>, items: &mut Vec<Item>) {
        if let Event::Net(net) = event
            && matches!(net.op, net_op::CONNECT | net_op::CONNECT_UNHOOKED)
            && net.protocol == u32::from(Protocol::TCP.0)
        {
            self.connected(net.header.pid);
        }
        let stopped = match event {
            Event::StreamDenied { event, .. } => Connection::stopped(event),
            Event::Dns { event, .. } => Connection::asking(event),
            _ => None,
        };
        if let Some(connection) = stopped
            && let Err(error) = self.hooks.stopped(connection)
        {
            self.unended(&error);
        }
        if let Event::Fail { event: fail, filename, argv } = event
            && fail.flags & exec_flag::ARGV_UNREAD != 0
            && let Some(found) = rescue::argv(fail)
            && found.len() > argv.len()
        {
            let fuller = Event::Fail { event: *fail, filename, argv: &found };
            self.assembler.event(&fuller, &mut self.world, items);
            return;
        }
        self.assembler.event(event, &mut self.world, items);
    }

    fn item(&mut self, item: Item) {
        let entry = match item {
            Item::Call(call) => Entry::Call(Box::new(self.masker.call(*call))),
            Item::Result(result) => Entry::Result(result),
            Item::Resolved(answer) => Entry::Resolved(Box::new(self.masker.resolved(*answer))),
            Item::Answer(answer) => Entry::Answer(Box::new(self.masker.answer(*answer))),
            Item::Coverage { at, what, why } => {
                Entry::Coverage { run: self.run, at, what, covered: false, why }
            }
            Item::Confirmed { at, file } => {
                if let Some(found) = self.confirmations.confirmed(file, at) {
                    self.library(found);
                }
                return;
            }
            Item::TlsEnd(end) => Entry::TlsEnd(Box::new(self.masker.tls_end(*end))),
            Item::Escape { at, process, to, to_id } => Entry::Escape {
                run: self.run,
                at,
                process: self.masker.process(process),
                to: self.masker.text(to),
                held: self.hooks.follow(to_id),
            },
        };
        self.append(entry);
    }

    fn append(&mut self, entry: Entry) {
        self.writer.append(entry);
        self.pending += 1;
        self.oldest.get_or_insert_with(Instant::now);
    }

    /// What is looked after now and then, however much or little there is to do.
    fn tick(&mut self) {
        self.ticked = Instant::now();
        self.assembler.set_wall_offset(clock::wall_offset());
        self.count();
        self.count_evicted();
        self.count_missed();
        self.count_libraries();
        for kept in self.elsewhere.news() {
            if kept.status != KeptStatus::Kept {
                eprintln!("observer: {}: {}: {}", kept.place, kept.status.word(), kept.why);
            }
            self.append(Entry::Witness { at: clock::now(), kept });
        }
        if self.pending == 0 && self.failing.is_none() && self.writer.is_checkpoint_due() {
            self.commit();
        }
    }

    /// Turns counts of loss that rose into records.
    fn count(&mut self) {
        let Ok(now) = self.meters.counters() else {
            return self.lose("counters", 0, "the counts of loss can't be read");
        };
        let then = mem::replace(&mut self.told, now);
        self.lost = now.events_lost + now.control_lost + now.streams_lost;
        let rises = [
            ("events", now.events_lost, then.events_lost, "the payload ring was full"),
            ("control", now.control_lost, then.control_lost, "the control ring was full"),
            ("labels", now.labels_lost, then.labels_lost, "the map of processes was full"),
            ("streams", now.streams_lost, then.streams_lost, "the ring of TCP payload was full"),
            (
                "connections",
                now.streams_unkept,
                then.streams_unkept,
                "no room to follow a connection's payload",
            ),
            ("scratch", now.scratch_busy, then.scratch_busy, "the exec buffer was in use"),
            ("flows", now.flows_lost, then.flows_lost, "no room to await a connect's result"),
            ("tls", now.tls_lost, then.tls_lost, "a TLS library's call could not be followed"),
            ("dns", now.dns_busy, then.dns_busy, "a DNS message could not be read"),
            ("names", now.names_lost, then.names_lost, "no room to bind an address to a name"),
        ];
        for (place, now, then, why) in rises {
            if now > then {
                self.lose(place, now - then, why);
            }
        }
    }

    /// The same of connections whose payload was given up here.
    fn count_evicted(&mut self) {
        let evicted = self.assembler.evicted();
        if evicted > self.told_evicted {
            let rise = evicted - self.told_evicted;
            self.told_evicted = evicted;
            self.lose("connections", rise, "more connections at once than are followed");
        }
    }

    /// The same of the programs: the kernel tells it in a file for each.
    fn count_missed(&mut self) {
        let missed = self.meters.missed();
        if missed > self.told_missed {
            let rise = missed - self.told_missed;
            self.told_missed = missed;
            self.lose("programs", rise, "the kernel left a program out that was running already");
        }
    }

    /// Tells of TLS libraries that were found meanwhile.
    fn count_libraries(&mut self) {
        while let Ok(found) = self.libraries.reports.try_recv() {
            let confirmed = self.confirmations.found(&found);
            self.library(found);
            if let Some(found) = confirmed {
                self.library(found);
            }
        }
        let missed = self.libraries.missed.take();
        if missed > 0 {
            self.lose(
                "libraries",
                missed,
                "a TLS library may not have been looked for, or told of",
            );
        }
    }

    fn library(&mut self, found: LibraryCoverage) {
        let path = self.masker.text(found.path.clone());
        self.append(Entry::Library { run: self.run, path, found: Box::new(found) });
    }

    fn lose(&mut self, place: &str, lost: u64, why: &str) {
        self.append(Entry::Loss {
            run: Some(self.run),
            at: clock::now(),
            place: place.to_owned(),
            lost,
            why: why.to_owned(),
        });
    }

    fn commit(&mut self) {
        match self.writer.commit() {
            Ok(committed) => {
                self.pending = 0;
                self.oldest = None;
                if let Some(note) = &committed.checkpoint {
                    self.elsewhere.post(note);
                }
                if let Some(error) = &committed.trouble
                    && self.trouble.as_ref() != Some(&error.to_string())
                {
                    eprintln!("observer: trouble beside the ledger: {error}");
                    self.trouble = Some(error.to_string());
                }
                if self.failing.take().is_some() {
                    eprintln!("observer: the ledger can be written again");
                    self.hooks.ledger(true);
                }
            }
            Err(error) => {
                if self.failing.is_none() {
                    self.hooks.ledger(false);
                }
                let losing = matches!(error, CommitError::Io { lost, .. } if lost > 0);
                let why = (mem::discriminant(&error), losing);
                let told = self.failing.as_ref().is_some_and(|failing| {
                    failing.why == why && failing.said.elapsed() <= SAY_AGAIN
                });
                if !told {
                    eprintln!("observer: {error}");
                    self.failing = Some(Failing { said: Instant::now(), why });
                }
                // What waits is kept; it is tried again with the next group.
                self.oldest = Some(Instant::now());
            }
        }
    }

    fn end(mut self, ending: Option<Ending>) -> Summary {
        // What came since the run was over.
        self.over();
        let mut items = vec![];
        self.assembler.finish(clock::now().mono_ns, &mut self.world, &mut items);
        for item in items {
            self.item(item);
        }
        self.count();
        self.count_evicted();
        self.count_missed();
        self.count_libraries();
        let produced = self.told.events + self.told.control + self.told.streams;
        let unaccounted = produced.saturating_sub(self.kept + self.lost);
        if unaccounted > 0 {
            self.lose("rings", unaccounted, "counted as sent, and never arrived");
            self.lost += unaccounted;
        }
        let events = Events { produced, kept: self.kept, lost: self.lost };
        if let Some(Ending { at, why, exit }) = ending {
            self.append(Entry::RunEnd { run: self.run, at, why, exit, events });
        }
        self.append(Entry::ObserverStop { at: clock::now() });
        self.commit();
        if self.failing.is_some() {
            self.commit();
        }
        // The agent is gone, so this holds nobody up but whoever waits for the recorder.
        let (news, silent) = self.elsewhere.finish(LAST_WORD);
        for kept in news.iter().filter(|kept| kept.status != KeptStatus::Kept) {
            eprintln!("observer: {}: {}: {}", kept.place, kept.status.word(), kept.why);
        }
        for place in silent {
            eprintln!("observer: {place}: the last checkpoint has not arrived");
        }
        Summary { events, written: self.failing.is_none() }
    }
}

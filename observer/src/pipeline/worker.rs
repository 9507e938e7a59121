//! The ledger's thread: from decoded events to records in a file that is synced.

mod commit;
mod confirm;
mod held;
mod losses;
mod standing;

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use observer_common::exec_flag;

use super::haste::{Backlog, Weight};
use super::world::World;
use super::{Bindings, Ending, Finds, Held, Hooks, Message, Policies, Setup, Summary, TICK};
use crate::abort::{self, Connection};
use crate::assemble::{Assembler, Item};
use crate::clock;
use crate::decode::{self, Event};
use crate::kernel::Batch;
use crate::ledger::{Carriers, Entry, KeptStatus, Writer};
use crate::mask::Masker;
use crate::model::{LibraryCoverage, RunId};
use crate::rescue;
use commit::Failing;
use confirm::Confirmations;
use losses::Losses;
use standing::Holding;

/// A commit group is written when it is this old, or this large: a sync costs what dozens of
/// records do.
const GROUP_AGE: Duration = Duration::from_millis(50);
const GROUP_SIZE: usize = 512;
/// A ledger that can't be written is tried again after this long.
const RETRY: Duration = Duration::from_millis(200);
/// How long the last checkpoint may be on its way at the end.
const LAST_WORD: Duration = Duration::from_secs(3);

/// The ledger thread's state.
pub(super) struct Worker {
    world: World,
    policies: Policies,
    bindings: Option<Bindings>,
    /// The generation of the policy that the last event was decided by.
    under: u32,
    assembler: Assembler,
    run: RunId,
    masker: Masker,
    writer: Writer,
    elsewhere: Carriers,
    losses: Losses,
    hooks: Box<dyn Hooks>,
    libraries: Finds,
    held: Vec<Held>,
    confirmations: Confirmations,
    /// What connections that were open are held against once more.
    holding: Option<Holding>,
    /// Whether it was said that a stopped connection stays open.
    told_unended: bool,
    pending: usize,
    oldest: Option<Instant>,
    ticked: Instant,
    failing: Option<Failing>,
    /// What was said last of a checkpoint, a file or a key.
    trouble: Option<String>,
}

impl Worker {
    pub(super) fn new(setup: Setup) -> Self {
        let mut assembler = Assembler::new(setup.run, clock::boot_id(), clock::wall_offset());
        assembler.set_capture(setup.capture);
        Self {
            world: World::new(setup.mount, setup.policies.clone(), &setup.masker),
            policies: setup.policies,
            bindings: setup.bindings,
            under: 0,
            assembler,
            run: setup.run,
            masker: setup.masker,
            writer: setup.writer,
            elsewhere: setup.elsewhere,
            losses: Losses::new(setup.meters),
            hooks: setup.hooks,
            libraries: setup.libraries,
            held: setup.held,
            confirmations: Confirmations::default(),
            holding: None,
            told_unended: false,
            pending: 0,
            oldest: None,
            ticked: Instant::now(),
            failing: None,
            trouble: None,
        }
    }

    pub(super) fn work(mut self, messages: &Receiver<Message>, backlog: &Backlog) -> Summary {
        let mut last = None;
        loop {
            let wait = if self.pending > 0 { GROUP_AGE } else { TICK };
            match messages.recv_timeout(wait) {
                Ok(message) => {
                    let weight = Weight::of(&message);
                    self.message(message, &mut last);
                    backlog.done(weight);
                }
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

    fn message(&mut self, message: Message, last: &mut Option<Ending>) {
        match message {
            Message::Batch(batch) => self.batch(&batch),
            Message::Reload(at, policy) => {
                let policy = Box::new(self.masker.reload(*policy));
                self.append(Entry::Policy { at, run: self.run, policy });
            }
            Message::Standing(policy) => self.hold_standing(policy),
            Message::Over(done) => {
                self.over();
                let _ = done.send(());
            }
            Message::End(ending) => *last = Some(ending),
        }
    }

    fn batch(&mut self, batch: &Batch) {
        let mut items = vec![];
        for bytes in batch.events() {
            self.losses.kept += 1;
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

    fn over(&mut self) {
        if let Err(error) = self.hooks.over() {
            self.unended(&error);
        }
    }

    /// Says, once, that connections which are denied stay open.
    fn unended(&mut self, error: &io::Error) {
        if !mem::replace(&mut self.told_unended, true) {
            self.append(Entry::Coverage {
                run: self.run,
                at: clock::now(),
                what: "stopped connections".to_owned(),
                covered: false,
                why: format!(
                    "some can't be ended: what was dropped can be sent again once the run has ended, and what \
                     was open before its policy goes on: {}",
                    abort::why(error)
                ),
            });
        }
    }

    fn event(&mut self, event: &Event<'_>, items: &mut Vec<Item>) {
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
            Item::Answered { at, answered } => {
                let is_late = |kept: &Bindings| kept.add(Arc::clone(&answered), at);
                if !self.bindings.as_ref().is_some_and(is_late) {
                    return;
                }
                let Err(error) = self.hooks.answered(&answered) else { return };
                let why = format!(
                    "the policy that was read again does not know of {}: {error}",
                    answered.addr
                );
                Entry::Coverage {
                    run: self.run,
                    at: clock::now(),
                    what: "names".to_owned(),
                    covered: false,
                    why,
                }
            }
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
        self.tell_held();
        self.hold_standing_again();
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
        self.tell_held();
        let events = self.account();
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

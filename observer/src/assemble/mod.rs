//! Events → calls: which exec caused what, and how each attempt ended. Pure; the clock and the
//! names that only the system knows are handed in.

mod connects;
mod dns;
mod doors;
mod exec;
mod flows;
pub mod http;
pub mod library;
mod net;
mod patterns;
mod plaintext;
mod stopped;
pub mod stream;
mod tls;
mod wait;
mod web;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use observer_common::{Header, UNHASHED, denied_why, verdict};
use ring::digest;

use crate::decode::Event;
use crate::model::{
    Answer, Answered, Call, CallId, CallResult, DnsAnswer, Kind, Outcome, Process, ProcessId, Raw,
    Reason, RunId, Stamp, Status, TlsEnd, Verdict,
};
pub use connects::Denied;

/// Execs that are remembered, so that their children can name them. The oldest that have ended
/// go first: a child of one that is gone has no `parent`.
const EXECS: usize = 65_536;
/// Connects whose end is waited for. What does not fit is told as unknown at once.
const OPEN: usize = 65_536;

/// What the system knows and events name by number.
pub trait Names {
    /// A cgroup's path below the cgroup v2 mount; empty where it is gone.
    fn cgroup(&mut self, id: u64) -> Raw;
    /// The id of a rule of the policy of a generation, by its low bits; 0 for the newest.
    fn rule(&self, generation: u32, index: u32) -> String;
    /// A keyed hash, for what of an argv is cut.
    fn fingerprint(&self) -> Box<dyn Fingerprint>;
}

/// A keyed hash under way.
pub trait Fingerprint: Send {
    /// Adds bytes.
    fn update(&mut self, bytes: &[u8]);
    /// The hash, in hex.
    fn finish(self: Box<Self>) -> String;
}

/// What comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An attempt.
    Call(Box<Call>),
    /// The end of an attempt that was told before.
    Result(CallResult),
    /// The answer to a question that was told before.
    Resolved(Box<DnsAnswer>),
    /// An answer gave a name an address.
    Answered {
        /// When: CLOCK_BOOTTIME, nanoseconds.
        at: u64,
        /// Which.
        answered: Arc<Answered>,
    },
    /// The end of an attempt, and what came back.
    Answer(Box<Answer>),
    /// Something of the run can't be seen.
    Coverage {
        /// When that began.
        at: Stamp,
        /// Of what.
        what: String,
        /// Why.
        why: String,
    },
    /// Plaintext was read through functions that were told by more than their names.
    Confirmed {
        /// When.
        at: Stamp,
        /// Their file's number.
        file: u8,
    },
    /// The end of a connection that is encrypted.
    TlsEnd(Box<TlsEnd>),
    /// A process left its run's cgroup.
    Escape {
        /// When.
        at: Stamp,
        /// Which.
        process: Process,
        /// The cgroup that it is in now.
        to: Raw,
        /// That cgroup's id.
        to_id: u64,
    },
}

/// An exec that children may name.
struct Known {
    call: CallId,
    path: Raw,
    began: u64,
    /// Its result was told, or will not be.
    over: bool,
}

/// A call whose end is waited for.
struct Open {
    call: CallId,
    kind: Kind,
    began: u64,
}

/// Puts one run's events together.
pub struct Assembler {
    run: RunId,
    boot_id: String,
    /// UTC minus CLOCK_BOOTTIME, nanoseconds.
    wall_offset: u64,
    next: u64,
    execs: HashMap<u64, Known>,
    ended: VecDeque<u64>,
    open: HashMap<u64, Open>,
    waiting: HashMap<u64, wait::Waiting>,
    lookups: dns::Lookups,
    connects: connects::Connects,
    streams: stream::Streams,
    web: web::Web,
    handshakes: tls::Handshakes,
    stopped: stopped::Stopped,
    libraries: library::TlsStreams,
    patterns: patterns::Patterns,
}

impl Assembler {
    /// For one run on one boot. `wall_offset` is UTC minus CLOCK_BOOTTIME, in nanoseconds.
    pub fn new(run: RunId, boot_id: impl Into<String>, wall_offset: u64) -> Self {
        Self {
            run,
            boot_id: boot_id.into(),
            wall_offset,
            next: 1,
            execs: HashMap::new(),
            ended: VecDeque::new(),
            open: HashMap::new(),
            waiting: HashMap::new(),
            lookups: dns::Lookups::default(),
            connects: connects::Connects::default(),
            streams: stream::Streams::default(),
            web: web::Web::default(),
            handshakes: tls::Handshakes::default(),
            stopped: stopped::Stopped::default(),
            libraries: library::TlsStreams::default(),
            patterns: patterns::Patterns::default(),
        }
    }

    /// Follows the clock when it is set.
    pub fn set_wall_offset(&mut self, wall_offset: u64) {
        self.wall_offset = wall_offset;
    }

    /// Takes an event and gives what it made, in order.
    pub fn event(&mut self, event: &Event<'_>, names: &mut dyn Names, out: &mut Vec<Item>) {
        match event {
            Event::Exec { .. } => self.exec(event, names, out),
            Event::Args { event, bytes } => self.more_argv(event, bytes, out),
            Event::Fail { event, filename, argv } => {
                out.push(Item::Call(Box::new(self.failed_exec(event, filename, argv, names))));
            }
            Event::Exit(event) => self.exit(event, out),
            Event::Net(event) => self.net(event, names, out),
            Event::Result(event) => self.connected(event, out),
            Event::Unix { event, path } => {
                out.push(Item::Call(Box::new(self.unix(event, *path, names))));
            }
            Event::Dns { event, message } => self.dns(event, message, names, out),
            Event::Stream { event, bytes } => self.stream(event, bytes, names, out),
            Event::StreamDenied { event, name } => match event.why {
                denied_why::HOST | denied_why::HOST_UNREAD => {
                    self.request_denied(event, name, names, out);
                }
                _ => self.stream_denied(event, name, names, out),
            },
            Event::StreamEnd(event) => {
                self.stream_end(event, names, out);
                self.plaintext_end(event);
            }
            Event::Tls { event, bytes } => self.plaintext(event, bytes, names, out),
            Event::Door(event) => out.push(Item::Call(Box::new(self.door(event, names)))),
            Event::UnixSeen { event, name } => {
                out.push(Item::Call(Box::new(self.unix_seen(event, name, names))));
            }
            Event::Escape(event) => out.push(Item::Escape {
                at: self.stamp(event.header.time),
                process: self.process(&event.header, names),
                to: names.cgroup(event.to),
                to_id: event.to,
            }),
        }
    }

    /// Gives what still waits for more: its rest did not come in the batch after its own.
    pub fn settle(&mut self, now: u64, names: &mut dyn Names, out: &mut Vec<Item>) {
        self.settle_waiting(false, out);
        self.settle_dns(now, out);
        self.settle_streams(now, names, out);
        self.settle_plaintext(now, names, out);
        self.settle_web(out);
        self.settle_stopped(now, names, out);
    }

    /// Gives all that waits for more: what comes now is of another policy.
    pub fn release_waiting(&mut self, out: &mut Vec<Item>) {
        self.settle_waiting(true, out);
    }

    /// Ends: what has no result yet gets one that says so.
    pub fn finish(&mut self, now: u64, names: &mut dyn Names, out: &mut Vec<Item>) {
        self.settle_waiting(true, out);
        self.finish_plaintext(now, names, out);
        self.finish_streams(now, names, out);
        self.finish_stopped(names, out);
        let at = self.stamp(now);
        let mut left: Vec<(Kind, CallId)> =
            self.open.drain().map(|(_, open)| (open.kind, open.call)).collect();
        left.extend(self.lookups.drain().into_iter().map(|open| (open.kind, open.call)));
        let execs = self.execs.values().filter(|exec| !exec.over);
        left.extend(execs.map(|exec| (Kind::Exec, exec.call)));
        self.execs.clear();
        left.sort_by_key(|&(_, call)| call);
        for (kind, call) in left {
            let outcome = Outcome {
                status: Status::Unknown,
                reason: Reason::Unseen("not ended when the recording did"),
                duration_ns: None,
            };
            out.push(Item::Result(CallResult { call, kind, at, outcome }));
        }
    }

    fn call_id(&mut self) -> CallId {
        let n = self.next;
        self.next += 1;
        CallId { run: self.run, n }
    }

    fn stamp(&self, mono_ns: u64) -> Stamp {
        Stamp { mono_ns, wall_ns: mono_ns.wrapping_add(self.wall_offset) }
    }

    fn parent(&self, exec: u64) -> Option<CallId> {
        self.execs.get(&exec).map(|known| known.call)
    }

    fn process(&self, header: &Header, names: &mut dyn Names) -> Process {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(self.boot_id.as_bytes());
        hash.update(&header.pid.to_be_bytes());
        hash.update(&header.start.to_be_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finish().as_ref()[..16]);
        let cgroup = names.cgroup(header.cgroup);
        let exe = self.execs.get(&header.exec).map(|known| known.path.clone());
        let comm = header.comm.split(|&b| b == 0).next().unwrap_or_default();
        Process {
            id: ProcessId(id),
            pid: header.pid,
            ppid: header.ppid,
            uid: header.uid,
            exe: exe.unwrap_or_default(),
            comm: Raw::from(comm),
            container: container(cgroup.bytes()),
            cgroup,
        }
    }
}

/// Reads a verdict from the wire; one that is not known denies nothing silently: it reads as a
/// denial by a rule that does not exist.
fn verdict_of(kind: u32, rule: u32, names: &dyn Names) -> Verdict {
    if kind & verdict::WOULD != 0 {
        return match verdict_of(kind & !verdict::WOULD, rule, names) {
            Verdict::Denied { rule } => Verdict::WouldDeny { rule },
            other => other,
        };
    }
    let generation = kind >> verdict::GENERATION;
    match kind & verdict::KIND {
        verdict::ALLOW => Verdict::Allowed { rule: None },
        verdict::ALLOW_RULE => Verdict::Allowed { rule: Some(names.rule(generation, rule)) },
        verdict::DENY_RULE if rule == UNHASHED => {
            Verdict::Denied { rule: "unhashed-program".to_owned() }
        }
        verdict::DENY_RULE => Verdict::Denied { rule: names.rule(generation, rule) },
        verdict::DENY_UNHELD => Verdict::Denied { rule: "unheld-socket".to_owned() },
        verdict::DENY_UNREAD => Verdict::Denied { rule: "unread-name".to_owned() },
        _ => Verdict::Denied { rule: "default".to_owned() },
    }
}

/// The container that a cgroup's path names: 64 hex digits, as Docker, containerd, CRI-O and
/// Podman have it.
fn container(cgroup: &[u8]) -> Option<String> {
    cgroup.rsplit(|&b| b == b'/').filter(|part| part.len() >= 64).find_map(|part| {
        let part = part.strip_suffix(b".scope").unwrap_or(part);
        let id = part.rsplit(|&b| b == b'-').next()?;
        let hex = id.len() == 64 && id.iter().all(u8::is_ascii_hexdigit);
        hex.then(|| String::from_utf8_lossy(id).into_owned())
    })
}

#[cfg(test)]
mod tests;

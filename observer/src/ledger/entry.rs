//! What can be recorded. Text that came from an agent is here only as `Masked`.

use super::elsewhere::Kept;
use super::keys::PublicKey;
use crate::mask::Masked;
use crate::model::{
    Answer, Call, CallResult, DnsAnswer, LibraryCoverage, Process, Raw, Reload, RunId, Stamp,
    TlsEnd,
};

/// One record to be.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The recorder began.
    ObserverStart {
        /// When.
        at: Stamp,
        /// Its version.
        version: String,
        /// The kernel's release.
        kernel: String,
        /// The boot that CLOCK_BOOTTIME counts from.
        boot_id: String,
    },
    /// A run began.
    RunStart(RunStart),
    /// An attempt.
    Call(Box<Masked<Call>>),
    /// How an attempt ended.
    Result(CallResult),
    /// How a question ended: a result, with what was answered.
    Resolved(Box<Masked<DnsAnswer>>),
    /// How an attempt ended, and what came back.
    Answer(Box<Masked<Answer>>),
    /// How an encrypted connection ended.
    TlsEnd(Box<Masked<TlsEnd>>),
    /// Something was seen and could not be kept.
    Loss {
        /// The run, where it is one's.
        run: Option<RunId>,
        /// When it was noticed.
        at: Stamp,
        /// Where: a ring, a map, the ledger.
        place: String,
        /// How much: events, or records.
        lost: u64,
        /// Why.
        why: String,
    },
    /// What of a run can or can't be seen.
    Coverage {
        /// The run.
        run: RunId,
        /// When.
        at: Stamp,
        /// Of what.
        what: String,
        /// Whether it can.
        covered: bool,
        /// Why, or how.
        why: String,
    },
    /// What of a file's TLS library can or can't be seen.
    Library {
        /// The run.
        run: RunId,
        /// The file's path.
        path: Masked<Raw>,
        /// What was found; its own path is not written.
        found: Box<LibraryCoverage>,
    },
    /// A process left its run's cgroup.
    Escape {
        /// The run.
        run: RunId,
        /// When.
        at: Stamp,
        /// Which process; its cgroup is the one that it left.
        process: Masked<Process>,
        /// Where it went.
        to: Masked<Raw>,
        /// Whether the socket rules hold there too.
        held: bool,
    },
    /// The ledger was found in a state that a crash leaves, or that somebody made.
    Recover {
        /// When.
        at: Stamp,
        /// What was found.
        what: String,
        /// How many bytes were moved aside.
        bytes: u64,
        /// Their SHA-256, in hex.
        sha256: Option<String>,
        /// The run that lost its recorder.
        lost: Option<LostRun>,
    },
    /// A policy was to take another's place while a run lasts.
    Policy {
        /// When.
        at: Stamp,
        /// The run that it is for.
        run: RunId,
        /// What became of it.
        policy: Box<Masked<Reload>>,
    },
    /// No record: from here on a run's records name this policy.
    Under {
        /// The run.
        run: RunId,
        /// SHA-256 of the policy's text, in hex.
        policy: Option<String>,
    },
    /// A place for checkpoints began to keep them, or ceased to.
    Witness {
        /// When it was noticed.
        at: Stamp,
        /// What became of a checkpoint there.
        kept: Kept,
    },
    /// The host's next key: from the next record on it signs, and this one never again.
    Key {
        /// When.
        at: Stamp,
        /// The next public key.
        next: PublicKey,
    },
    /// A file of the ledger begins here; the earlier ones end with the record before.
    Segment {
        /// When.
        at: Stamp,
    },
    /// A run ended.
    RunEnd {
        /// The run.
        run: RunId,
        /// When.
        at: Stamp,
        /// Why.
        why: String,
        /// The exit code that `observer run` returns, where it ran the command.
        exit: Option<i32>,
        /// What the kernel told of the run, and what came of it.
        events: Events,
    },
    /// The recorder ended.
    ObserverStop {
        /// When.
        at: Stamp,
    },
}

/// Events of a run: `kept + lost = produced`, or the recorder has a bug that its ledger shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Those that the kernel side counted before it reserved room for them.
    pub produced: u64,
    /// Those that came through the rings.
    pub kept: u64,
    /// Those for which there was no room, or that never arrived.
    pub lost: u64,
}

/// A run that has no end because its recorder was killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRun {
    /// Its id, as it stands in the ledger.
    pub run: String,
    /// The records that it has.
    pub seq: u64,
}

/// The beginning of a run.
#[derive(Clone, Debug)]
pub struct RunStart {
    /// The run.
    pub run: RunId,
    /// When.
    pub at: Stamp,
    /// The agent's name.
    pub agent: String,
    /// Who started it: a user id.
    pub started_by: u32,
    /// Its cgroup's path.
    pub cgroup: String,
    /// The command; none where a cgroup was attached to.
    pub command: Option<Masked<Vec<Raw>>>,
    /// SHA-256 of the command's file, in hex, where it could be read.
    pub exe_sha256: Option<String>,
    /// SHA-256 of the policy's text, in hex.
    pub policy: Option<String>,
    /// Whether what ran there already is covered from now on only.
    pub attached: bool,
    /// How this kernel lets rules be held and failures be seen.
    pub enforcement: Vec<String>,
}

impl Entry {
    /// The run whose key signs it; none where the host's does.
    pub(super) fn run(&self) -> Option<RunId> {
        match self {
            Self::RunStart(start) => Some(start.run),
            Self::Call(call) => Some(call.get().id.run),
            Self::Result(result) => Some(result.call.run),
            Self::Resolved(answer) => Some(answer.get().result.call.run),
            Self::Answer(answer) => Some(answer.get().result.call.run),
            Self::TlsEnd(end) => Some(end.get().result.call.run),
            Self::Loss { run, .. } => *run,
            Self::Coverage { run, .. }
            | Self::Library { run, .. }
            | Self::Escape { run, .. }
            | Self::RunEnd { run, .. } => Some(*run),
            Self::ObserverStart { .. }
            | Self::Recover { .. }
            | Self::Segment { .. }
            | Self::Key { .. }
            | Self::Policy { .. }
            | Self::Witness { .. }
            | Self::ObserverStop { .. } => None,
            Self::Under { run, .. } => Some(*run),
        }
    }

    /// Its `type`.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::ObserverStart { .. } => "observer.start",
            Self::RunStart(_) => "run.start",
            Self::Call(_) => "call",
            Self::Result(_) | Self::Answer(_) | Self::Resolved(_) | Self::TlsEnd(_) => "result",
            Self::Loss { .. } => "loss",
            Self::Coverage { .. } | Self::Library { .. } => "coverage",
            Self::Escape { .. } => "escape",
            Self::Recover { .. } => "recover",
            Self::Segment { .. } => "segment",
            Self::Key { .. } => "key",
            Self::Policy { .. } => "policy",
            Self::Under { .. } => "",
            Self::Witness { .. } => "witness",
            Self::RunEnd { .. } => "run.end",
            Self::ObserverStop { .. } => "observer.stop",
        }
    }

    pub(super) fn at(&self) -> Stamp {
        match self {
            Self::RunStart(start) => start.at,
            Self::Call(call) => call.get().at,
            Self::Result(result) => result.at,
            Self::Resolved(answer) => answer.get().result.at,
            Self::Answer(answer) => answer.get().result.at,
            Self::TlsEnd(end) => end.get().result.at,
            Self::Library { found, .. } => found.at,
            Self::ObserverStart { at, .. }
            | Self::Loss { at, .. }
            | Self::Coverage { at, .. }
            | Self::Escape { at, .. }
            | Self::Recover { at, .. }
            | Self::Segment { at }
            | Self::Key { at, .. }
            | Self::Policy { at, .. }
            | Self::Witness { at, .. }
            | Self::RunEnd { at, .. }
            | Self::ObserverStop { at } => *at,
            Self::Under { .. } => Stamp { mono_ns: 0, wall_ns: 0 },
        }
    }
}

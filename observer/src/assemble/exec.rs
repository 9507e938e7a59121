//! Execs: that they happened, that they failed, how their processes ended.

use observer_common::{ExecEvent, ExitEvent, FailEvent, exec_flag};

use super::wait::Waiting;
use super::{Assembler, EXECS, Item, Known, Names, verdict_of};
use crate::decode::{self, Event};
use crate::model::{
    Action, Call, CallResult, Cut, CutField, Exec, Image, Kind, Outcome, Raw, Reason, Status,
    Verdict,
};

const EPERM: i32 = 1;
const SIGKILL: i32 = 9;
/// The core dump bit of a wait status.
const SIGNAL_BITS: u32 = 0x7f;

impl Assembler {
    pub(super) fn exec(&mut self, event: &Event<'_>, names: &mut dyn Names, out: &mut Vec<Item>) {
        let Event::Exec { event, path, cwd, filename, interp, argv } = event else { return };
        if event.flags & exec_flag::REPLACED != 0 {
            let replaced = Outcome {
                status: Status::Ok,
                reason: Reason::Unseen("its process went on with another program"),
                duration_ns: self.since(event.header.exec, event.header.time),
            };
            self.end(event.header.exec, event.header.time, replaced, out);
        }
        let verdict = verdict_of(event.verdict, event.rule, names);
        let denied = matches!(verdict, Verdict::Denied { .. });
        let path = Raw::new(decode::path(path, is_whole(event, path)));
        let call = Call {
            id: self.call_id(),
            at: self.stamp(event.header.time),
            parent: self.parent(event.header.exec),
            verdict,
            process: {
                let mut process = self.process(&event.header, names);
                process.exe = path.clone();
                process
            },
            outcome: denied.then_some(Outcome {
                status: Status::Failed,
                reason: Reason::Signal(SIGKILL),
                duration_ns: None,
            }),
            cuts: cuts(event, argv.len()),
            action: Action::Exec(Exec {
                image: image(event.flags, &path),
                path: path.clone(),
                filename: Raw::from(*filename),
                interpreter: (!interp.is_empty()).then(|| Raw::from(*interp)),
                argv: decode::strings(argv).map(Raw::from).collect(),
                cwd: if event.cwd_len == 0 && event.flags & exec_flag::CWD_CUT != 0 {
                    Raw::default()
                } else {
                    Raw::new(decode::path(cwd, event.flags & exec_flag::CWD_CUT == 0))
                },
            }),
        };
        self.remember(
            event.exec,
            Known { call: call.id, path, began: event.header.time, over: denied },
        );
        if event.flags & exec_flag::ARGV_CUT != 0 && !denied {
            let kept = argv.len() as u64;
            self.wait_for_rest(event.exec, Waiting::new(call, kept, event.argv_seen, names), out);
        } else {
            out.push(Item::Call(Box::new(call)));
        }
    }

    pub(super) fn failed_exec(
        &mut self,
        event: &FailEvent,
        filename: &[u8],
        argv: &[u8],
        names: &mut dyn Names,
    ) -> Call {
        let verdict = verdict_of(event.verdict, event.rule, names);
        let errno = match verdict {
            Verdict::Denied { .. } => EPERM,
            Verdict::Allowed { .. } | Verdict::WouldDeny { .. } => event.error.saturating_neg(),
        };
        let mut cuts = vec![];
        if event.flags & (exec_flag::ARGV_CUT | exec_flag::ARGV_UNREAD) != 0 {
            let kept = argv.len() as u64;
            cuts.push(Cut { field: CutField::Argv, seen: None, kept, rest: None });
        }
        if event.flags & exec_flag::FILENAME_UNREAD != 0 {
            cuts.push(Cut { field: CutField::Filename, seen: None, kept: 0, rest: None });
        }
        Call {
            id: self.call_id(),
            at: self.stamp(event.header.time),
            parent: self.parent(event.header.exec),
            verdict,
            process: self.process(&event.header, names),
            action: Action::Exec(Exec {
                path: Raw::default(),
                filename: Raw::from(filename),
                interpreter: None,
                argv: decode::strings(argv).map(Raw::from).collect(),
                cwd: Raw::default(),
                image: Image::Unknown,
            }),
            outcome: Some(Outcome {
                status: Status::Failed,
                reason: Reason::Errno(errno),
                duration_ns: None,
            }),
            cuts,
        }
    }

    pub(super) fn exit(&mut self, event: &ExitEvent, out: &mut Vec<Item>) {
        let signal = event.status & SIGNAL_BITS;
        let exit = (event.status >> 8) & 0xff;
        let (status, reason) = match (signal, exit) {
            (0, 0) => (Status::Ok, Reason::Exit(0)),
            (0, exit) => (Status::Failed, Reason::Exit(exit.cast_signed())),
            (signal, _) => (Status::Failed, Reason::Signal(signal.cast_signed())),
        };
        let duration_ns = self.since(event.header.exec, event.header.time);
        let outcome = Outcome { status, reason, duration_ns };
        self.end(event.header.exec, event.header.time, outcome, out);
    }

    fn since(&self, exec: u64, now: u64) -> Option<u64> {
        self.execs.get(&exec).map(|known| now.saturating_sub(known.began))
    }

    /// Tells how an exec ended, once.
    fn end(&mut self, exec: u64, now: u64, outcome: Outcome, out: &mut Vec<Item>) {
        let at = self.stamp(now);
        self.release(exec, out);
        let Some(known) = self.execs.get_mut(&exec) else { return };
        if known.over {
            return;
        }
        known.over = true;
        self.ended.push_back(exec);
        out.push(Item::Result(CallResult { call: known.call, kind: Kind::Exec, at, outcome }));
    }

    fn remember(&mut self, exec: u64, known: Known) {
        if known.over {
            self.ended.push_back(exec);
        }
        self.execs.insert(exec, known);
        while self.execs.len() > EXECS {
            // Those that run are bounded by the host's processes; they stay.
            let Some(oldest) = self.ended.pop_front() else { break };
            self.execs.remove(&oldest);
        }
    }
}

fn is_whole(event: &ExecEvent, components: &[u8]) -> bool {
    let memfd = event.flags & exec_flag::UNLINKED != 0 && components.starts_with(b"memfd:");
    event.flags & exec_flag::PATH_CUT == 0 && !memfd
}

fn image(flags: u32, path: &Raw) -> Image {
    if flags & exec_flag::UNLINKED != 0 {
        if path.bytes().starts_with(b"memfd:") { Image::Memfd } else { Image::Deleted }
    } else if flags & exec_flag::BY_FD != 0 {
        Image::Fd
    } else {
        Image::File
    }
}

fn cuts(event: &ExecEvent, argv: usize) -> Vec<Cut> {
    let mut cuts = vec![];
    let mut cut = |flag, field, seen, kept: u32| {
        if event.flags & flag != 0 {
            cuts.push(Cut { field, seen, kept: kept.into(), rest: None });
        }
    };
    let argv = u32::try_from(argv).unwrap_or(u32::MAX);
    let either = exec_flag::ARGV_CUT | exec_flag::ARGV_UNREAD;
    cut(either, CutField::Argv, Some(event.argv_seen), argv);
    cut(exec_flag::PATH_CUT, CutField::Path, None, event.path_len);
    cut(exec_flag::CWD_CUT, CutField::Cwd, None, event.cwd_len);
    cuts
}

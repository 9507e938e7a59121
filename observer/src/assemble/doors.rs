//! Unix sockets, and system calls that reach past the run.

use observer_common::{DoorEvent, Header, UnixEvent, UnixSeenEvent, unix_flag};

use super::{Assembler, Names, verdict_of};
use crate::decode::path;
use crate::model::{
    Action, Call, Cut, CutField, Door, Outcome, Raw, Reason, Status, System, Unix, UnixAddress,
    UnixOp, Verdict,
};

const EPERM: i32 = 1;
const UNWATCHED: Reason = Reason::Unseen("attempted; its end is not watched");

impl Assembler {
    /// A connect to a unix socket, told when it returned.
    pub(super) fn unix(
        &mut self,
        event: &UnixEvent,
        path: Option<&[u8]>,
        names: &mut dyn Names,
    ) -> Call {
        let address = match path {
            None => UnixAddress::Unread,
            Some([]) => UnixAddress::Unnamed,
            // All of it is the name, NULs too (unix(7)).
            Some([0, name @ ..]) => UnixAddress::Abstract(Raw::from(name)),
            Some(path) => UnixAddress::Path(Raw::from(until_nul(path))),
        };
        let (status, reason) = match event.error {
            0 => (Status::Ok, Reason::None),
            error => (Status::Failed, Reason::Errno(error.cast_signed())),
        };
        let action = Action::Unix(Unix { op: UnixOp::Connect, address });
        let verdict = verdict_of(event.verdict, event.rule, names);
        self.at_once(&event.header, verdict, action, (status, reason), names)
    }

    /// A unix socket that was judged: denied, or told before its end, which nothing watches.
    pub(super) fn unix_seen(
        &mut self,
        event: &UnixSeenEvent,
        name: &[u8],
        names: &mut dyn Names,
    ) -> Call {
        let is = |flag: u32| event.flags & flag != 0;
        let address = if is(unix_flag::ABSTRACT) {
            UnixAddress::Abstract(Raw::from(name))
        } else if is(unix_flag::WRITTEN) {
            UnixAddress::Path(Raw::from(until_nul(name)))
        } else {
            UnixAddress::Path(Raw::new(path(name, !is(unix_flag::CUT))))
        };
        let op = if is(unix_flag::RECEIVED) {
            UnixOp::Receive
        } else if is(unix_flag::DATAGRAM) {
            UnixOp::Send
        } else {
            UnixOp::Connect
        };
        let verdict = verdict_of(event.verdict, event.rule, names);
        let end = end_of(&verdict);
        let action = Action::Unix(Unix { op, address });
        let mut call = self.at_once(&event.header, verdict, action, end, names);
        if is(unix_flag::CUT) {
            let kept = name.len() as u64;
            call.cuts.push(Cut { field: CutField::Path, seen: None, kept, rest: None });
        }
        call
    }

    /// A system call that reaches past the run.
    pub(super) fn door(&mut self, event: &DoorEvent, names: &mut dyn Names) -> Call {
        let door = Door::ALL.get(event.door as usize).copied().unwrap_or(Door::Kernel);
        let comm = Raw::from(until_nul(&event.comm));
        let target = (event.target != 0).then_some((event.target, comm));
        let verdict = verdict_of(event.verdict, event.rule, names);
        let end = end_of(&verdict);
        let action = Action::System(System { door, target, value: event.value });
        self.at_once(&event.header, verdict, action, end, names)
    }

    /// A call of which nothing follows.
    fn at_once(
        &mut self,
        header: &Header,
        verdict: Verdict,
        action: Action,
        (status, reason): (Status, Reason),
        names: &mut dyn Names,
    ) -> Call {
        Call {
            id: self.call_id(),
            at: self.stamp(header.time),
            parent: self.parent(header.exec),
            verdict,
            process: self.process(header, names),
            action,
            outcome: Some(Outcome { status, reason, duration_ns: None }),
            cuts: vec![],
        }
    }
}

fn end_of(verdict: &Verdict) -> (Status, Reason) {
    match verdict {
        Verdict::Denied { .. } => (Status::Failed, Reason::Errno(EPERM)),
        _ => (Status::Unknown, UNWATCHED),
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&b| b == 0).next().unwrap_or_default()
}

//! Sockets: connects and their ends, datagrams to new destinations, binds, listens, raw sockets.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use observer_common::{NetEvent, ResultEvent, UnixEvent, net_op};

use super::{Assembler, Item, Names, OPEN, Open, verdict_of};
use crate::model::{
    Action, Call, CallResult, Kind, Net, NetOp, Outcome, Protocol, Raw, Reason, Status,
    UnixAddress, Verdict,
};

const EPERM: i32 = 1;
const SIGKILL: i32 = 9;

impl Assembler {
    pub(super) fn net(&mut self, event: &NetEvent, names: &mut dyn Names, out: &mut Vec<Item>) {
        let op = match event.op {
            net_op::CONNECT | net_op::CONNECT_UNHOOKED => NetOp::Connect,
            net_op::SEND => NetOp::Send,
            net_op::BIND => NetOp::Bind,
            net_op::LISTEN => NetOp::Listen,
            _ => NetOp::Open,
        };
        let there = address(event);
        let (peer, local) = match op {
            NetOp::Connect | NetOp::Send => (Some(there), None),
            NetOp::Bind | NetOp::Listen => (None, Some(there)),
            NetOp::Open => (None, None),
        };
        let verdict = verdict_of(event.verdict, event.rule, names);
        let denied = matches!(verdict, Verdict::Denied { .. });
        let awaited = op == NetOp::Connect && !denied;
        let outcome = if denied && event.op == net_op::CONNECT_UNHOOKED {
            Some((Status::Failed, Reason::Signal(SIGKILL)))
        } else if denied {
            Some((Status::Failed, Reason::Errno(EPERM)))
        } else if op == NetOp::Listen {
            Some((Status::Ok, Reason::None))
        } else if awaited && self.open.len() < OPEN {
            None
        } else if awaited {
            Some((Status::Unknown, Reason::Unseen("too many connects under way")))
        } else {
            // The hook stands before the call's end: a datagram has no answer to wait for.
            Some((Status::Unknown, Reason::Unseen("attempted; its end is not watched")))
        };
        let outcome = outcome.map(|(status, reason)| Outcome { status, reason, duration_ns: None });
        let call = Call {
            id: self.call_id(),
            at: self.stamp(event.header.time),
            parent: self.parent(event.header.exec),
            verdict,
            process: self.process(&event.header, names),
            action: Action::Net(Net {
                op,
                protocol: Protocol(u8::try_from(event.protocol).unwrap_or(u8::MAX)),
                peer,
                local,
                cookie: event.cookie,
            }),
            outcome,
            cuts: vec![],
        };
        if call.outcome.is_none() {
            let open = Open { call: call.id, kind: Kind::Connect, began: event.header.time };
            self.open.insert(event.call, open);
        }
        if op == NetOp::Connect && !denied {
            self.web.connected(event.cookie, call.id);
        }
        out.push(Item::Call(Box::new(call)));
    }

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
            Some(path) => {
                let path = path.split(|&b| b == 0).next().unwrap_or_default();
                UnixAddress::Path(Raw::from(path))
            }
        };
        let (status, reason) = match event.error {
            0 => (Status::Ok, Reason::None),
            error => (Status::Failed, Reason::Errno(error.cast_signed())),
        };
        Call {
            id: self.call_id(),
            at: self.stamp(event.header.time),
            parent: self.parent(event.header.exec),
            // No rule holds unix sockets: each run's coverage says so.
            verdict: Verdict::Allowed { rule: None },
            process: self.process(&event.header, names),
            action: Action::Unix(address),
            outcome: Some(Outcome { status, reason, duration_ns: None }),
            cuts: vec![],
        }
    }

    /// A connect ended. The first word on it counts: a connect that fails at once is told by its
    /// socket and by the call's return.
    pub(super) fn connected(&mut self, event: &ResultEvent, out: &mut Vec<Item>) {
        let Some(open) = self.open.remove(&event.call) else { return };
        let (status, reason) = match (event.abandoned, event.error) {
            (0, 0) => (Status::Ok, Reason::None),
            (0, error) => (Status::Failed, Reason::Errno(error.cast_signed())),
            _ => (Status::Unknown, Reason::Unseen("closed before it was established")),
        };
        let duration_ns = Some(event.header.time.saturating_sub(open.began));
        let outcome = Outcome { status, reason, duration_ns };
        let at = self.stamp(event.header.time);
        out.push(Item::Result(CallResult { call: open.call, kind: open.kind, at, outcome }));
    }
}

/// A v4-mapped address stands as IPv4.
fn address(event: &NetEvent) -> SocketAddr {
    let v6 = Ipv6Addr::from(event.addr);
    let ip = v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4);
    SocketAddr::new(ip, u16::try_from(event.port).unwrap_or(0))
}

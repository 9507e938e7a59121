//! Sockets: connects and their ends, datagrams to new destinations, binds, listens, raw sockets.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use observer_common::{NetEvent, ResultEvent, net_op};

use super::{Assembler, Item, Names, OPEN, Open, verdict_of};
use crate::model::{
    Action, Call, CallResult, Kind, Net, NetOp, OtherSocket, Outcome, Protocol, Reason, Status,
    Verdict,
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
            net_op::RECEIVE => NetOp::Receive,
            _ => NetOp::Open,
        };
        let there = address(event);
        let (peer, local) = match op {
            NetOp::Connect | NetOp::Send => (Some(there), None),
            NetOp::Bind | NetOp::Listen => (None, Some(there)),
            NetOp::Receive => (Some(there).filter(|there| there.port() != 0), None),
            NetOp::Open | NetOp::Keep => (None, None),
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
            action: match other_family(event) {
                Some(socket) => Action::Socket(socket),
                None => Action::Net(Net {
                    op,
                    protocol: Protocol(u8::try_from(event.protocol).unwrap_or(u8::MAX)),
                    peer,
                    local,
                    name: peer.and_then(|peer| self.lookups.name_of(peer.ip())),
                    cookie: event.cookie,
                }),
            },
            outcome,
            cuts: vec![],
        };
        if call.outcome.is_none() {
            let open = Open { call: call.id, kind: Kind::Connect, began: event.header.time };
            self.open.insert(event.call, open);
        }
        if op == NetOp::Connect && !denied {
            self.connects.add(event.cookie, call.id, there, event.header);
        }
        out.push(Item::Call(Box::new(call)));
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

/// A socket that is none of the internet's.
fn other_family(event: &NetEvent) -> Option<OtherSocket> {
    let family = u16::try_from(event.family).unwrap_or(u16::MAX);
    let internet = i32::from(family) == libc::AF_INET || i32::from(family) == libc::AF_INET6;
    (event.op == net_op::OPEN && !internet)
        .then_some(OtherSocket { family, protocol: event.protocol })
}

/// A v4-mapped address stands as IPv4.
fn address(event: &NetEvent) -> SocketAddr {
    let v6 = Ipv6Addr::from(event.addr);
    let ip = v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4);
    SocketAddr::new(ip, u16::try_from(event.port).unwrap_or(0))
}

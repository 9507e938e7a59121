//! Which call connected a socket, who did, where to, and the name that was asked for on it.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use observer_common::Header;

use super::{Assembler, Names};
use crate::model::{
    Action, Call, CallId, Net, NetOp, Outcome, Protocol, Raw, Reason, Status, Verdict,
};

/// Connects that are remembered. The oldest go first.
const CONNECTS: usize = 65_536;
/// A name that is longer is none (RFC 1035, 2.3.4).
const NAME: usize = 253;
const ECONNABORTED: i32 = 103;

/// Connects, by the cookies of their sockets.
#[derive(Default)]
pub(super) struct Connects {
    known: HashMap<u64, Connect>,
    order: VecDeque<u64>,
}

struct Connect {
    call: CallId,
    peer: SocketAddr,
    who: Header,
    asked: Option<Box<str>>,
}

impl Connects {
    /// A socket was connected; 0 is the cookie of none.
    pub(super) fn add(&mut self, cookie: u64, call: CallId, peer: SocketAddr, who: Header) {
        if cookie == 0 {
            return;
        }
        if self.known.insert(cookie, Connect { call, peer, who, asked: None }).is_none() {
            self.order.push_back(cookie);
        }
        while self.known.len() > CONNECTS {
            let Some(oldest) = self.order.pop_front() else { return };
            self.known.remove(&oldest);
        }
    }

    /// A name was asked for on it, of a server's.
    pub(super) fn ask(&mut self, cookie: u64, name: &[u8]) {
        let Some(connect) = self.known.get_mut(&cookie) else { return };
        let name = name.strip_suffix(b".").unwrap_or(name);
        let text = str::from_utf8(name).ok().filter(|name| (1..=NAME).contains(&name.len()));
        let named = text.filter(|name| name.parse::<IpAddr>().is_err());
        let same = |known: &str| named.is_some_and(|name| name.eq_ignore_ascii_case(known));
        // Most ask for the same again and again.
        if !connect.asked.as_deref().is_some_and(same) {
            connect.asked = named.map(|name| name.to_ascii_lowercase().into());
        }
    }

    /// Where it was connected to.
    pub(super) fn peer(&self, cookie: u64) -> Option<SocketAddr> {
        self.known.get(&cookie).map(|connect| connect.peer)
    }

    /// Which call connected it.
    pub(super) fn call(&self, cookie: u64) -> Option<CallId> {
        self.known.get(&cookie).map(|connect| connect.call)
    }
}

/// A connection that a policy denies which came after it began.
#[derive(Clone, Debug)]
pub struct Denied {
    /// Its socket's cookie.
    pub cookie: u64,
    /// Its IP protocol.
    pub protocol: u8,
    /// Where it leads.
    pub peer: SocketAddr,
    /// The cgroup that its socket was made in, or 0.
    pub cgroup: u64,
    /// The rule's id.
    pub rule: String,
    /// Whether it was ended.
    pub ended: bool,
}

impl Assembler {
    /// Whether the run is known to have begun a connection, and the last name that it asked for there.
    pub fn began(&self, cookie: u64) -> Option<Option<&str>> {
        self.connects.known.get(&cookie).map(|connect| connect.asked.as_deref())
    }

    /// The call of a connection that is kept, where that is denied by now.
    pub fn kept(&mut self, it: Denied, now: u64, names: &mut dyn Names) -> Call {
        let connect = self.connects.known.get(&it.cookie);
        let who = connect.map_or(Header { cgroup: it.cgroup, ..Header::default() }, |it| it.who);
        let parent = connect.map(|connect| connect.call);
        let (status, reason) = if it.ended {
            (Status::Failed, Reason::Errno(ECONNABORTED))
        } else {
            (Status::Unknown, Reason::Unseen("it could not be ended, and goes on"))
        };
        Call {
            id: self.call_id(),
            at: self.stamp(now),
            parent,
            verdict: Verdict::Denied { rule: it.rule },
            process: self.process(&who, names),
            action: Action::Net(Net {
                op: NetOp::Keep,
                protocol: Protocol(it.protocol),
                peer: Some(it.peer),
                local: None,
                name: self.lookups.name_of(it.peer.ip()),
                cookie: it.cookie,
            }),
            outcome: Some(Outcome { status, reason, duration_ns: None }),
            cuts: vec![],
        }
    }
}

/// The host that a URL names.
pub(super) fn host(url: &Raw) -> &[u8] {
    let whole = authority(url);
    match whole.iter().rposition(|&b| b == b':') {
        Some(at) if whole[at + 1..].iter().all(u8::is_ascii_digit) => &whole[..at],
        _ => whole,
    }
}

/// The host that a URL names, and its port.
pub(super) fn authority(url: &Raw) -> &[u8] {
    let at = memchr::memmem::find(url.bytes(), b"//").map_or(0, |at| at + 2);
    let rest = url.bytes().get(at..).unwrap_or_default();
    let whole = rest.split(|b| b"/?#".contains(b)).next().unwrap_or_default();
    whole.rsplit(|&b| b == b'@').next().unwrap_or_default()
}

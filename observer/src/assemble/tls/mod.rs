//! TLS handshakes of the run's connections: a call each, and a result with what passed. What is
//! encrypted stays so here; whoever sees the plaintext elsewhere tells it as calls of its own.

mod hello;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use observer_common::{StreamDeniedEvent, denied_why};

use super::stream::{Chunk, Close, Direction, FLOWS, Flow, FlowId, address};
use super::web::Carrier;
use super::{Assembler, Item, Names, verdict_of};
use crate::model::{
    Action, Call, CallId, CallResult, Kind, Outcome, Raw, Reason, Status, Tls, TlsEnd, TlsHello,
    Verdict,
};
use hello::{Read, ServerHello, client_hello, server_hello, version_name};

const EPERM: i32 = 1;
/// Bytes of one handshake that are kept to be read: more than the largest hello needs, in records
/// of a sensible size. One that is cut smaller is told as unread.
const ONE: usize = 24 * 1024;
/// Bytes of a server's answer likewise.
const ANSWER: usize = 4 * 1024;
/// Bytes of all handshakes together.
const ALL: usize = 32 << 20;

/// The handshakes under way, and the connections that they led to.
#[derive(Default)]
pub(super) struct Handshakes {
    talks: HashMap<FlowId, Talk>,
    bytes: usize,
}

#[derive(Default)]
struct Talk {
    sent: Vec<u8>,
    /// It is read again when it has grown to this.
    next: usize,
    told: Option<(CallId, u64)>,
    received: Vec<u8>,
    answer: Option<ServerHello>,
    answered: bool,
    closed: Option<Close>,
    /// Plaintext of it was read, in the library that encrypts.
    read: bool,
    /// It was stopped: its call has its outcome.
    denied: bool,
}

impl Handshakes {
    /// The connection's handshake is over for us: its bytes are let go.
    fn forget(bytes: &mut usize, kept: &mut Vec<u8>) {
        *bytes = bytes.saturating_sub(kept.len());
        *kept = Vec::new();
    }

    /// Whether a connection began with a handshake.
    pub(super) fn has(&self, id: FlowId) -> bool {
        self.talks.get(&id).is_some_and(|talk| talk.told.is_some())
    }

    /// Plaintext of a connection was read.
    pub(super) fn was_read(&mut self, id: FlowId) {
        if let Some(talk) = self.talks.get_mut(&id) {
            talk.read = true;
        }
    }

    /// Reads what was sent so far. None: there may be more. Some(None): it can't be read.
    fn read(&mut self, id: FlowId, last: bool) -> Option<Option<TlsHello>> {
        let full = self.bytes > ALL;
        let talk = self.talks.get_mut(&id)?;
        if talk.told.is_some() || talk.sent.is_empty() {
            return None;
        }
        let found = match client_hello(&talk.sent) {
            Read::Hello(hello) => Some(hello),
            Read::More if !last && !full && talk.sent.len() < ONE => {
                // Not at each byte again: a hello in pieces of one is read in linear time.
                talk.next = talk.sent.len() + talk.sent.len() / 4 + 1;
                return None;
            }
            Read::More | Read::Not => None,
        };
        Self::forget(&mut self.bytes, &mut talk.sent);
        Some(found.map(|hello| TlsHello {
            sni: hello.sni.map(Raw::new),
            alpn: hello.alpn.into_iter().map(Raw::new).collect(),
            version: version_name(hello.version),
            ech: hello.ech,
            resumes: hello.resumes,
            early_data: hello.early_data,
            bytes: hello.len as u64,
        }))
    }
}

impl Assembler {
    /// Takes a chunk of a connection that began with a handshake, or begins one. Whether it is one.
    pub(super) fn handshake(
        &mut self,
        flow: &Flow,
        way: Direction,
        at: u64,
        chunk: Chunk<'_>,
        names: &mut dyn Names,
        out: &mut Vec<Item>,
    ) -> bool {
        let known = self.handshakes.talks.contains_key(&flow.id);
        // Only where the agent said nothing before: a message's content may begin with this byte too.
        // And only by whom it opened: what a server of the run's sends is its answer.
        let theirs = flow.opened || flow.half_way;
        let begins = matches!(chunk, Chunk::Bytes([22, ..])) && way == Direction::Sent;
        let carrier = Carrier::Socket(flow.id.0);
        let begins = known || (begins && theirs && self.web.begins_otherwise(carrier));
        if !begins {
            return false;
        }
        let shakes = &mut self.handshakes;
        let talk = shakes.talks.entry(flow.id).or_default();
        let mut look = false;
        let mut last = false;
        match (way, chunk) {
            (Direction::Sent, Chunk::Bytes(bytes)) if talk.told.is_none() => {
                talk.sent.extend_from_slice(bytes);
                shakes.bytes += bytes.len();
                look = talk.sent.len() >= talk.next;
            }
            (Direction::Received, Chunk::Bytes(bytes)) if !talk.answered => {
                // The server answers: all that it waited for was sent.
                look = true;
                talk.received.extend_from_slice(bytes);
                shakes.bytes += bytes.len();
                let read = server_hello(&talk.received);
                if read != Read::More || talk.received.len() > ANSWER {
                    talk.answered = true;
                    Handshakes::forget(&mut shakes.bytes, &mut talk.received);
                }
                if let Read::Hello(answer) = read {
                    talk.answer = Some(answer);
                }
            }
            (Direction::Sent, Chunk::Gap(_)) => (look, last) = (true, true),
            (Direction::Received, Chunk::Gap(_)) if !talk.answered => {
                talk.answered = true;
                Handshakes::forget(&mut shakes.bytes, &mut talk.received);
            }
            (_, Chunk::End(close)) => {
                (look, last) = (way == Direction::Sent, true);
                if talk.closed != Some(Close::Reset) {
                    talk.closed = Some(close);
                }
            }
            _ => {}
        }
        if look && let Some(hello) = self.handshakes.read(flow.id, last) {
            let sni = hello.as_ref().and_then(|hello| hello.sni.as_ref());
            self.connects.ask(flow.id.0, sni.map_or(&[], Raw::bytes));
            let call = self.tls_call(flow, at, hello, names);
            if let Some(talk) = self.handshakes.talks.get_mut(&flow.id) {
                talk.told = Some((call.id, at));
            }
            out.push(Item::Call(Box::new(call)));
        }
        true
    }

    /// The kernel stopped a connection for the name in its hello, or would have.
    pub(super) fn stream_denied(
        &mut self,
        event: &StreamDeniedEvent,
        name: &[u8],
        names: &mut dyn Names,
        out: &mut Vec<Item>,
    ) {
        let unread = event.why == denied_why::UNREAD;
        let verdict = verdict_of(event.verdict, event.rule, names);
        let denied = matches!(verdict, Verdict::Denied { .. });
        let hello = (!unread).then(|| TlsHello {
            sni: (!name.is_empty()).then(|| Raw::from(name)),
            ..TlsHello::default()
        });
        let (id, at) = (FlowId(event.cookie), event.header.time);
        let refused =
            Outcome { status: Status::Failed, reason: Reason::Errno(EPERM), duration_ns: None };
        let call = Call {
            id: self.call_id(),
            at: self.stamp(at),
            parent: self.parent(event.header.exec),
            verdict,
            process: self.process(&event.header, names),
            action: Action::Tls(Tls {
                hello,
                local: address(event.local, event.local_port),
                peer: address(event.peer, event.peer_port),
                cookie: event.cookie,
            }),
            outcome: denied.then_some(refused),
            cuts: vec![],
        };
        if self.handshakes.talks.len() < 2 * FLOWS {
            // Its payload comes behind, and makes no call of its own.
            let talk = self.handshakes.talks.entry(id).or_default();
            (talk.told, talk.denied) = (Some((call.id, at)), denied);
        }
        out.push(Item::Call(Box::new(call)));
    }

    fn tls_call(
        &mut self,
        flow: &Flow,
        at: u64,
        hello: Option<TlsHello>,
        names: &mut dyn Names,
    ) -> Call {
        Call {
            id: self.call_id(),
            at: self.stamp(at),
            parent: self.parent(flow.who.exec),
            verdict: Verdict::Allowed { rule: None },
            process: self.process(&flow.who, names),
            action: Action::Tls(Tls {
                hello,
                local: flow.local,
                peer: flow.peer,
                cookie: flow.id.0,
            }),
            outcome: None,
            cuts: vec![],
        }
    }

    /// A connection is over, with so many bytes in each direction where that was seen.
    pub(super) fn handshake_over(
        &mut self,
        id: FlowId,
        at: u64,
        bytes: Option<(u64, u64)>,
        out: &mut Vec<Item>,
    ) {
        let Some(mut talk) = self.handshakes.talks.remove(&id) else { return };
        Handshakes::forget(&mut self.handshakes.bytes, &mut talk.sent);
        Handshakes::forget(&mut self.handshakes.bytes, &mut talk.received);
        let Some((call, began)) = talk.told.filter(|_| !talk.denied) else { return };
        let (status, reason) = match (talk.closed, talk.answer.is_some()) {
            (Some(Close::Unseen) | None, _) => {
                (Status::Unknown, Reason::Unseen("its end was not seen"))
            }
            (Some(Close::Fin), true) => (Status::Ok, Reason::None),
            (Some(Close::Reset), true) => (Status::Ok, Reason::Unseen("ended by a reset")),
            (Some(_), false) => (Status::Failed, Reason::Unseen("no answer to the handshake")),
        };
        let duration_ns = Some(at.saturating_sub(began));
        let outcome = Outcome { status, reason, duration_ns };
        let result = CallResult { call, kind: Kind::Tls, at: self.stamp(at), outcome };
        out.push(Item::TlsEnd(Box::new(TlsEnd {
            result,
            opaque: !talk.read,
            version: talk.answer.as_ref().map(|answer| version_name(answer.version)),
            alpn: talk.answer.and_then(|answer| answer.alpn).map(Raw::new),
            bytes,
        })));
    }
}

//! Requests and answers → calls and results: what `http` tells of each connection, tied to the
//! process that opened it, the exec that this process runs since, and the connect that was recorded.

mod memory;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use observer_common::Header;

use super::http::{self, Capture, Conversation, End, Told, Way};
use super::stream::{Chunk, Close};
use super::{Assembler, Item, Names, connects};
use crate::model::{
    Action, Answer, Call, CallId, CallResult, Http, HttpAnswer, HttpBody, HttpRequest, Kind,
    Outcome, Raw, Reason, Status, Transport,
};

/// Calls that wait for their content, within a batch.
const HELD: usize = 256;

/// What is said of messages where the far end may have read other bytes.
const DIFFER: &str = "bytes-differ";

/// What carries a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Carrier {
    /// A TCP connection, by its socket's cookie.
    Socket(u64),
    /// A TLS library's connection, by its id.
    Tls(u64),
}

/// What is known of a carrier.
#[derive(Clone, Debug)]
pub(super) struct About {
    /// Who opened it.
    pub(super) who: Header,
    pub(super) transport: Transport,
    pub(super) peer: Option<SocketAddr>,
    /// The name that TLS was given.
    pub(super) name: Option<Raw>,
    /// The call that connected the socket beneath.
    pub(super) connection: Option<CallId>,
    /// Whether its first byte was seen.
    pub(super) from_start: bool,
}

/// All conversations of a run.
#[derive(Default)]
pub(super) struct Web {
    capture: Capture,
    conversations: HashMap<Carrier, Talk>,
    /// What was told and is not yet made calls of.
    told: Vec<(Carrier, Told)>,
    /// Conversations whose connections ended.
    over: Vec<Carrier>,
    /// Calls that wait for the batch's end, for their content.
    held: VecDeque<(Carrier, u64)>,
    memory: usize,
    /// Counts chunks, to know who was silent the longest.
    turn: u64,
}

struct Talk {
    conversation: Conversation,
    about: About,
    asked: HashMap<u64, Asked>,
    /// Whether the agent has said anything in it.
    spoken: bool,
    /// Whether what the far end read may differ from what was read here.
    doubtful: bool,
    ended: [bool; 2],
    /// Bytes of the contents in `asked`.
    sent: usize,
    memory: usize,
    unweighed: usize,
    turn: u64,
}

/// A request that has no result yet.
struct Asked {
    call: CallId,
    at: u64,
    /// The call itself, until it is given.
    held: Option<Box<Call>>,
    /// Its content, where that came after the call was given.
    sent: Option<HttpBody>,
}

impl Web {
    /// Whether a conversation is followed.
    pub(super) fn knows(&self, carrier: Carrier) -> bool {
        self.conversations.contains_key(&carrier)
    }

    /// Lets a conversation go in which the server alone has spoken yet: the agent begins another
    /// protocol. False where the agent has spoken.
    pub(super) fn begins_otherwise(&mut self, carrier: Carrier) -> bool {
        match self.conversations.get(&carrier) {
            Some(talk) if talk.spoken => false,
            Some(talk) => {
                self.memory = self.memory.saturating_sub(talk.memory);
                self.conversations.remove(&carrier);
                true
            }
            None => true,
        }
    }

    /// From here on each message of a conversation bears that the far end may have read another one.
    pub(super) fn doubt(&mut self, carrier: Carrier) {
        if let Some(talk) = self.conversations.get_mut(&carrier) {
            talk.doubtful = true;
        }
    }

    /// Takes a part of a conversation. Call `Assembler::told` afterwards.
    pub(super) fn chunk(
        &mut self,
        carrier: Carrier,
        about: impl FnOnce() -> About,
        way: Way,
        at: u64,
        chunk: Chunk<'_>,
    ) {
        self.turn += 1;
        if let Entry::Vacant(place) = self.conversations.entry(carrier) {
            if matches!(chunk, Chunk::End(_)) {
                return;
            }
            let about = about();
            let flow = http::Flow {
                transport: about.transport,
                peer: about.peer,
                name: about.name.clone(),
                from_start: about.from_start,
            };
            let talk = Talk {
                conversation: Conversation::new(flow),
                about,
                asked: HashMap::new(),
                spoken: false,
                doubtful: false,
                ended: [false; 2],
                sent: 0,
                memory: 0,
                unweighed: 0,
                turn: 0,
            };
            place.insert(talk);
        }
        let Some(talk) = self.conversations.get_mut(&carrier) else { return };
        talk.turn = self.turn;
        talk.spoken |= way == Way::Out;
        let mut told = vec![];
        let (conversation, capture) = (&mut talk.conversation, &self.capture);
        match chunk {
            Chunk::Bytes(bytes) => {
                conversation.bytes(capture, way, at, bytes, &mut told);
                talk.unweighed += bytes.len();
            }
            Chunk::Gap(bytes) => conversation.gap(capture, way, at, Some(bytes), &mut told),
            Chunk::End(close) => {
                let how = match close {
                    Close::Fin => End::Closed,
                    Close::Reset => End::Reset,
                    Close::Unseen => End::Unseen,
                };
                conversation.end(capture, way, at, how, &mut told);
                talk.ended[usize::from(way == Way::In)] = true;
                talk.unweighed += memory::RECOUNT;
                if talk.ended == [true; 2] {
                    self.over.push(carrier);
                }
            }
        }
        self.told.extend(told.into_iter().map(|told| (carrier, told)));
        self.weigh(carrier, at);
    }
}

impl Assembler {
    /// Which contents of HTTP messages are kept.
    pub fn set_capture(&mut self, capture: Capture) {
        self.web.capture = capture;
    }

    /// Makes calls and results of what was told.
    pub(super) fn told(&mut self, names: &mut dyn Names, out: &mut Vec<Item>) {
        for (carrier, told) in std::mem::take(&mut self.web.told) {
            match told {
                Told::Request { id, at, request } => {
                    self.requested(carrier, id, at, request, names, out);
                }
                Told::Sent { id, body } => {
                    match self.web.asked(carrier, id).map(|asked| asked.held.take()) {
                        Some(Some(mut call)) => {
                            if let Action::Http(http) = &mut call.action {
                                http.request.body = Some(body);
                            }
                            out.push(Item::Call(call));
                        }
                        Some(None) => self.web.keep(carrier, id, body),
                        None => {}
                    }
                }
                Told::Answer { id, at, status, reason, answer } => {
                    let outcome = Outcome { status, reason, duration_ns: None };
                    self.answered((carrier, id), at, outcome, answer, out);
                }
                Told::Unparsed { at, way, why } => self.unparsed(carrier, at, way, why, out),
            }
        }
        for carrier in std::mem::take(&mut self.web.over) {
            self.forget(carrier, out);
        }
    }

    fn requested(
        &mut self,
        carrier: Carrier,
        id: u64,
        at: u64,
        mut request: Box<HttpRequest>,
        names: &mut dyn Names,
        out: &mut Vec<Item>,
    ) {
        let call_id = self.call_id();
        let stamp = self.stamp(at);
        let (verdict, outcome) = self.word_of(carrier, &request.url, names);
        if let Carrier::Socket(cookie) = carrier {
            self.connects.ask(cookie, connects::host(&request.url));
        }
        let Some(talk) = self.web.conversations.get(&carrier) else { return };
        request.ambiguous.extend(talk.doubtful.then_some(DIFFER));
        let call = Call {
            id: call_id,
            at: stamp,
            parent: self.parent(talk.about.who.exec),
            verdict,
            process: self.process(&talk.about.who, names),
            action: Action::Http(Box::new(Http {
                request: *request,
                connection: talk.about.connection,
                peer: talk.about.peer,
                transport: talk.about.transport,
            })),
            outcome,
            cuts: vec![],
        };
        if call.outcome.is_some() {
            // It was stopped: nothing answers it.
            self.settle_web(out);
            return out.push(Item::Call(Box::new(call)));
        }
        let asked = Asked { call: call_id, at, held: Some(Box::new(call)), sent: None };
        if let Some(talk) = self.web.conversations.get_mut(&carrier) {
            talk.asked.insert(id, asked);
        }
        self.web.held.push_back((carrier, id));
        while self.web.held.len() > HELD {
            self.give_oldest(out);
        }
    }

    fn answered(
        &mut self,
        (carrier, id): (Carrier, u64),
        at: u64,
        outcome: Outcome,
        mut answer: Box<HttpAnswer>,
        out: &mut Vec<Item>,
    ) {
        let stamp = self.stamp(at);
        let Some(talk) = self.web.conversations.get(&carrier) else { return };
        answer.ambiguous.extend(talk.doubtful.then_some(DIFFER));
        let Some(asked) = self.web.settle(carrier, id) else { return };
        out.extend(asked.held.map(Item::Call));
        answer.sent = asked.sent;
        let duration_ns = Some(at.saturating_sub(asked.at));
        let outcome = Outcome { duration_ns, ..outcome };
        let result = CallResult { call: asked.call, kind: Kind::Http, at: stamp, outcome };
        out.push(Item::Answer(Box::new(Answer { result, http: answer })));
    }

    fn unparsed(
        &mut self,
        carrier: Carrier,
        at: u64,
        way: Way,
        why: &'static str,
        out: &mut Vec<Item>,
    ) {
        let Some(talk) = self.web.conversations.get(&carrier) else { return };
        let what = match way {
            Way::Out => "requests",
            Way::In => "answers",
        };
        let peer = talk.about.peer.map_or_else(|| "?".to_owned(), |peer| peer.to_string());
        let call = talk.about.connection.map(|call| format!(" (call {call})")).unwrap_or_default();
        out.push(Item::Coverage {
            at: self.stamp(at),
            what: format!("http {what}"),
            why: format!("the connection to {peer}{call} is not read from here on: {why}"),
        });
    }

    /// Lets a conversation go that is over. Each of its calls has its result by now.
    fn forget(&mut self, carrier: Carrier, out: &mut Vec<Item>) {
        let Some(talk) = self.web.conversations.remove(&carrier) else { return };
        self.web.memory = self.web.memory.saturating_sub(talk.memory);
        debug_assert!(talk.asked.is_empty(), "a request without an answer");
        for asked in talk.asked.into_values() {
            out.extend(asked.held.map(Item::Call));
            let (status, reason) = (Status::Unknown, Reason::Unseen("no answer was seen"));
            let outcome = Outcome { status, reason, duration_ns: None };
            let at = self.stamp(asked.at);
            out.push(Item::Result(CallResult { call: asked.call, kind: Kind::Http, at, outcome }));
        }
    }

    /// Gives the calls that waited for their content.
    pub(super) fn settle_web(&mut self, out: &mut Vec<Item>) {
        while !self.web.held.is_empty() {
            self.give_oldest(out);
        }
    }

    fn give_oldest(&mut self, out: &mut Vec<Item>) {
        let Some((carrier, id)) = self.web.held.pop_front() else { return };
        let held = self.web.asked(carrier, id).and_then(|asked| asked.held.take());
        out.extend(held.map(Item::Call));
    }
}

impl Web {
    fn asked(&mut self, carrier: Carrier, id: u64) -> Option<&mut Asked> {
        self.conversations.get_mut(&carrier)?.asked.get_mut(&id)
    }
}

#[cfg(test)]
mod tests;

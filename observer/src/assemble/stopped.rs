//! Requests that the kernel stopped for the name that they ask for, or would have. Its word comes
//! before the payload that tells the request; where none does, the word alone is told.

use std::collections::HashMap;

use observer_common::StreamDeniedEvent;

use super::stream::{FLOWS, address};
use super::web::Carrier;
use super::{Assembler, Item, Names, verdict_of};
use crate::model::{
    Action, Call, Http, HttpFields, HttpRequest, HttpVersion, Outcome, Raw, Reason, Status,
    Transport, Verdict,
};

const EPERM: i32 = 1;
/// How long a request's payload is waited for, nanoseconds.
const PATIENCE: u64 = 1_000_000_000;

/// What the kernel said of connections, by the cookies of their sockets.
#[derive(Default)]
pub(super) struct Stopped(HashMap<u64, Word>);

struct Word {
    event: StreamDeniedEvent,
    name: Vec<u8>,
    /// A request bears it.
    told: bool,
}

impl Assembler {
    /// The kernel stopped a connection for the name in a request, or would have.
    pub(super) fn request_denied(
        &mut self,
        event: &StreamDeniedEvent,
        name: &[u8],
        names: &mut dyn Names,
        out: &mut Vec<Item>,
    ) {
        let full = self.stopped.0.len() >= FLOWS;
        let word = Word { event: *event, name: name.to_vec(), told: full };
        if full {
            let call = self.unseen(&word, names);
            out.push(Item::Call(Box::new(call)));
        }
        self.stopped.0.insert(event.cookie, word);
    }

    /// What was said of a request that is told now: its verdict, and its outcome if it was stopped.
    /// All that follows a stopped one is; what would be stopped is one alone.
    pub(super) fn word_of(
        &mut self,
        carrier: Carrier,
        names: &dyn Names,
    ) -> (Verdict, Option<Outcome>) {
        let allowed = (Verdict::Allowed { rule: None }, None);
        let Carrier::Socket(cookie) = carrier else { return allowed };
        let Some(word) = self.stopped.0.get_mut(&cookie) else { return allowed };
        let verdict = verdict_of(word.event.verdict, word.event.rule, names);
        if matches!(verdict, Verdict::Denied { .. }) {
            word.told = true;
            return (verdict, Some(refused()));
        }
        let told = self.stopped.0.remove(&cookie).is_some_and(|word| word.told);
        if told { allowed } else { (verdict, None) }
    }

    /// Tells what was said where no request bears it by now.
    pub(super) fn settle_stopped(&mut self, now: u64, names: &mut dyn Names, out: &mut Vec<Item>) {
        let due = |word: &Word| !word.told && now.saturating_sub(word.event.header.time) > PATIENCE;
        let due: Vec<u64> =
            self.stopped.0.iter().filter(|(_, word)| due(word)).map(|(&at, _)| at).collect();
        for cookie in due {
            self.tell_stopped(cookie, names, out);
        }
    }

    /// A connection is over: what was said of it is told, and forgotten.
    pub(super) fn stopped_over(&mut self, cookie: u64, names: &mut dyn Names, out: &mut Vec<Item>) {
        self.tell_stopped(cookie, names, out);
        self.stopped.0.remove(&cookie);
    }

    /// Tells all that is left.
    pub(super) fn finish_stopped(&mut self, names: &mut dyn Names, out: &mut Vec<Item>) {
        let mut left: Vec<u64> = self.stopped.0.keys().copied().collect();
        left.sort_unstable();
        for cookie in left {
            self.stopped_over(cookie, names, out);
        }
    }

    fn tell_stopped(&mut self, cookie: u64, names: &mut dyn Names, out: &mut Vec<Item>) {
        let Some(mut word) = self.stopped.0.remove(&cookie) else { return };
        if !word.told {
            let call = self.unseen(&word, names);
            out.push(Item::Call(Box::new(call)));
            word.told = true;
        }
        self.stopped.0.insert(cookie, word);
    }

    /// A request of which no more is known than its name, or that it can't be read.
    fn unseen(&mut self, word: &Word, names: &mut dyn Names) -> Call {
        let event = &word.event;
        let verdict = verdict_of(event.verdict, event.rule, names);
        let denied = matches!(verdict, Verdict::Denied { .. });
        let url = match word.name.as_slice() {
            [] => vec![],
            name => [b"http://", name].concat(),
        };
        Call {
            id: self.call_id(),
            at: self.stamp(event.header.time),
            parent: self.parent(event.header.exec),
            verdict,
            process: self.process(&event.header, names),
            action: Action::Http(Box::new(Http {
                request: HttpRequest {
                    version: HttpVersion::Http11,
                    method: Raw::default(),
                    url: Raw::new(url),
                    fields: HttpFields::default(),
                    body: None,
                    stream: None,
                    ambiguous: vec!["unread"],
                },
                connection: self.web.connection(event.cookie),
                peer: Some(address(event.peer, event.peer_port)),
                transport: Transport::Plaintext,
            })),
            outcome: denied.then(refused),
            cuts: vec![],
        }
    }
}

fn refused() -> Outcome {
    Outcome { status: Status::Failed, reason: Reason::Errno(EPERM), duration_ns: None }
}

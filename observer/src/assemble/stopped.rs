//! Requests that the kernel stopped for the name that they ask for, or would have. Its word comes
//! before the payload that tells the request; where none does, the word alone is told.

use std::collections::HashMap;

use observer_common::{StreamDeniedEvent, verdict};

use super::stream::{FLOWS, address};
use super::web::Carrier;
use super::{Assembler, Item, Names, connects, verdict_of};
use crate::model::{
    Action, Call, Http, HttpFields, HttpRequest, HttpVersion, Outcome, Raw, Reason, Status,
    Transport, Verdict,
};

const EPERM: i32 = 1;
/// How long a request's payload is waited for, nanoseconds.
const PATIENCE: u64 = 1_000_000_000;

/// What would be stopped of one connection, and waits for its request.
const WORDS: usize = 64;

/// What the kernel said of connections, by the cookies of their sockets: in the order in which it
/// did, and at most one that stopped one, the last.
#[derive(Default)]
pub(super) struct Stopped(HashMap<u64, Vec<Word>>);

#[cfg(test)]
impl Stopped {
    /// Of how many connections something is kept.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

struct Word {
    event: StreamDeniedEvent,
    name: Vec<u8>,
    /// A request bears it.
    told: bool,
}

impl Word {
    /// Whether it can be of this request: of its name, or of no name.
    fn speaks_of(&self, url: &Raw) -> bool {
        let host = connects::authority(url);
        // A port may follow, and no more of another name.
        host.split_at_checked(self.name.len()).is_some_and(|(begins, rest)| {
            begins.eq_ignore_ascii_case(&self.name)
                && (self.name.is_empty() || matches!(rest, [] | [b':', ..]))
        })
    }
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
        let full = self.stopped.0.len() >= FLOWS && !self.stopped.0.contains_key(&event.cookie);
        if let Some(other) = full.then(|| self.stopped.0.keys().next().copied()).flatten() {
            self.stopped_over(other, names, out);
        }
        let words = self.stopped.0.entry(event.cookie).or_default();
        words.push(Word { event: *event, name: name.to_vec(), told: false });
        if words.len() > WORDS {
            self.tell_stopped(event.cookie, names, out);
        }
    }

    /// What was said of a request that is told now: its verdict, and its outcome if it was stopped.
    /// All that comes with or after a stopped one is; what would be stopped is the one of that name.
    pub(super) fn word_of(
        &mut self,
        carrier: Carrier,
        url: &Raw,
        names: &dyn Names,
    ) -> (Verdict, Option<Outcome>) {
        let allowed = (Verdict::Allowed { rule: None }, None);
        let Carrier::Socket(cookie) = carrier else { return allowed };
        let Some(words) = self.stopped.0.get_mut(&cookie) else { return allowed };
        let ruling = |word: &Word| verdict_of(word.event.verdict, word.event.rule, names);
        if let Some(at) = words.iter().position(|word| !word.told && word.speaks_of(url)) {
            let verdict = ruling(&words[at]);
            if matches!(verdict, Verdict::WouldDeny { .. }) {
                words.remove(at);
                return (verdict, None);
            }
        }
        match words.last_mut().map(|word| (ruling(word), word)) {
            Some((verdict @ Verdict::Denied { .. }, word)) => {
                word.told = true;
                (verdict, Some(refused()))
            }
            _ => allowed,
        }
    }

    /// Tells what was said where no request bears it by now.
    pub(super) fn settle_stopped(&mut self, now: u64, names: &mut dyn Names, out: &mut Vec<Item>) {
        let due = |word: &Word| !word.told && now.saturating_sub(word.event.header.time) > PATIENCE;
        let due: Vec<u64> = self
            .stopped
            .0
            .iter()
            .filter(|(_, words)| words.iter().any(due))
            .map(|(&cookie, _)| cookie)
            .collect();
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

    /// Tells what no request has borne. Of that one that stopped its connection is kept, for what
    /// may follow.
    fn tell_stopped(&mut self, cookie: u64, names: &mut dyn Names, out: &mut Vec<Item>) {
        let words = self.stopped.0.remove(&cookie).unwrap_or_default();
        for mut word in words {
            if !word.told {
                let call = self.unseen(&word, names);
                out.push(Item::Call(Box::new(call)));
                word.told = true;
            }
            if word.event.verdict & verdict::WOULD == 0 {
                self.stopped.0.insert(cookie, vec![word]);
            }
        }
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
                connection: self.connects.call(event.cookie),
                peer: Some(address(event.peer, event.peer_port)),
                transport: Transport::Plaintext,
            })),
            outcome: Some(if denied { refused() } else { unread() }),
            cuts: vec![],
        }
    }
}

fn refused() -> Outcome {
    Outcome { status: Status::Failed, reason: Reason::Errno(EPERM), duration_ns: None }
}

fn unread() -> Outcome {
    let reason = Reason::Unseen("the request was not read");
    Outcome { status: Status::Unknown, reason, duration_ns: None }
}

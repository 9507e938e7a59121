//! What conversations hold, and the bound on it. How many there are is bounded by what carries them: a
//! conversation ends with its connection, and those are given up where there are too many.

use super::{Asked, Carrier, Talk, Web};
use crate::model::HttpBody;

/// Bytes that all conversations hold together; then the ones that were silent the longest are given
/// up.
pub(super) const MEMORY: usize = 64 << 20;
/// A conversation's memory is counted anew after so many bytes at the latest.
pub(super) const RECOUNT: usize = 8 * 1024;
/// What a byte may make a conversation hold, about: HPACK's fields. So one that holds little is
/// counted, which costs little, after a few bytes.
const GROWTH: usize = 128;
const FULL: &str = "too much is open at once";

impl Web {
    /// Counts anew what a conversation holds where it may be much more than it was, and lets some go
    /// where all hold too much.
    pub(super) fn weigh(&mut self, carrier: Carrier, at: u64) {
        let Some(talk) = self.conversations.get_mut(&carrier) else { return };
        if talk.unweighed >= RECOUNT.min(talk.memory / GROWTH) {
            talk.unweighed = 0;
            let now = talk.weight();
            self.memory = self.memory.saturating_sub(talk.memory) + now;
            talk.memory = now;
        }
        if self.memory > MEMORY {
            self.let_go(at, MEMORY / 4 * 3);
        }
    }

    /// Keeps a request's content, which came after its call was given, for its result.
    pub(super) fn keep(&mut self, carrier: Carrier, id: u64, body: HttpBody) {
        let Some(talk) = self.conversations.get_mut(&carrier) else { return };
        let Some(asked) = talk.asked.get_mut(&id) else { return };
        let held = body.memory();
        asked.sent = Some(body);
        talk.sent += held;
        talk.memory += held;
        self.memory += held;
    }

    /// Takes a request away whose answer is there.
    pub(super) fn settle(&mut self, carrier: Carrier, id: u64) -> Option<Asked> {
        let talk = self.conversations.get_mut(&carrier)?;
        let asked = talk.asked.remove(&id)?;
        let held = asked.sent.as_ref().map_or(0, HttpBody::memory);
        talk.sent = talk.sent.saturating_sub(held);
        let counted = held.min(talk.memory);
        talk.memory -= counted;
        self.memory = self.memory.saturating_sub(counted);
        Some(asked)
    }

    /// Gives up those that were silent the longest until no more than `most` is held.
    fn let_go(&mut self, at: u64, most: usize) {
        self.memory = 0;
        for talk in self.conversations.values_mut() {
            (talk.unweighed, talk.memory) = (0, talk.weight());
            self.memory += talk.memory;
        }
        let mut order: Vec<(u64, Carrier)> = self
            .conversations
            .iter()
            .filter(|(_, talk)| talk.memory > 0)
            .map(|(&carrier, talk)| (talk.turn, carrier))
            .collect();
        order.sort_unstable();
        for (_, carrier) in order {
            if self.memory <= most {
                return;
            }
            self.give_up(carrier, at);
        }
    }

    fn give_up(&mut self, carrier: Carrier, at: u64) {
        let Some(talk) = self.conversations.get_mut(&carrier) else { return };
        let mut told = vec![];
        talk.conversation.give_up(&self.capture, at, FULL, &mut told);
        self.told.extend(told.into_iter().map(|told| (carrier, told)));
        self.memory = self.memory.saturating_sub(talk.memory);
        talk.memory = 0;
    }
}

impl Talk {
    /// Bytes that it holds, beside its own size.
    pub(super) fn weight(&self) -> usize {
        self.conversation.memory() + self.asked.len() * size_of::<(u64, Asked)>() + self.sent
    }
}

//! One direction of a connection: pieces in, bytes in their order out.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;

use super::{Chunk, Close};

/// Pieces that were given last and can be told from others that come in their place.
const RECENT: usize = 4;
/// Pieces that wait at most, however small: one more gives up waiting.
const PIECES: usize = 1024;

/// A piece of a direction.
pub(super) struct Piece<'a> {
    /// Where it stands.
    pub(super) offset: u64,
    /// Bytes right before it that were seen and are not coming.
    pub(super) skipped: u64,
    /// Its bytes.
    pub(super) bytes: &'a [u8],
    /// When it was seen.
    pub(super) at: u64,
}

/// One direction.
#[derive(Default)]
pub(super) struct Half {
    /// The offset of the next byte to give; none before the first piece.
    next: Option<u64>,
    /// Pieces ahead of `next`, by offset: none overlaps another.
    waiting: BTreeMap<u64, Held>,
    waiting_bytes: usize,
    /// Since when there are some.
    since: Option<u64>,
    /// Where the direction ends, where that was said.
    fin: Option<u64>,
    /// All before this was seen by then: what is not here soon is not coming.
    seen: Option<(u64, u64)>,
    /// The newest such word, behind the one whose time runs.
    seen_next: Option<(u64, u64)>,
    ended: bool,
    recent: [(u64, usize, u64); RECENT],
    turn: usize,
}

struct Held {
    skipped: u64,
    bytes: Vec<u8>,
}

/// Takes chunks.
pub(super) type Give<'o> = &'o mut dyn FnMut(Chunk<'_>);

impl Half {
    /// Whether nothing has come yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.next.is_none()
    }

    /// Says where the direction begins.
    pub(super) fn begin(&mut self, offset: u64) {
        self.next.get_or_insert(offset);
    }

    /// Bytes that wait for those before them.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Since when, by the time of the pieces.
    pub(super) fn waits_since(&self) -> Option<u64> {
        self.since
    }

    /// Whether it can't wait for more.
    pub(super) fn is_full(&self, most: usize) -> bool {
        self.waiting_bytes > most || self.waiting.len() > PIECES
    }

    /// Says where it ends.
    pub(super) fn set_fin(&mut self, offset: u64) {
        self.fin.get_or_insert(offset);
    }

    /// Says that all before an offset was seen by a time.
    pub(super) fn set_seen(&mut self, offset: u64, at: u64) {
        let next = self.next.unwrap_or(0);
        if self.ended || ahead(offset, next).is_none_or(|n| n == 0) {
            return;
        }
        // The first word's time goes on, so that talk in the other direction does not put it off.
        match self.seen {
            Some((known, _)) if known != offset => self.seen_next = Some((offset, at)),
            Some(_) => {}
            None => self.seen = Some((offset, at)),
        }
    }

    /// Whether there is something that `settle` has to look after.
    pub(super) fn waits(&self) -> bool {
        self.waiting_bytes > 0 || self.seen.is_some()
    }

    /// Takes a piece, and gives it at once where nothing is before it. Whether bytes of it came
    /// before and were others.
    pub(super) fn take(&mut self, piece: &Piece<'_>, give: Give<'_>) -> bool {
        let next = *self.next.get_or_insert(piece.offset);
        let Piece { mut offset, skipped, mut bytes, at } = *piece;
        if self.ended {
            return false;
        }
        let mut differs = false;
        if let Some(late) = ahead(next, offset).filter(|&n| n > 0) {
            differs = self.differs_from_recent(offset, bytes);
            let late = usize::try_from(late).unwrap_or(usize::MAX).min(bytes.len());
            bytes = bytes.get(late..).unwrap_or_default();
            offset = next;
        }
        if bytes.is_empty() {
            return differs;
        }
        if self.waiting.is_empty() && ahead(offset, next).is_some_and(|n| n <= skipped) {
            self.pass(offset, give);
            self.hand(bytes, give);
            return differs;
        }
        self.since.get_or_insert(at);
        differs | self.hold(offset, skipped, bytes)
    }

    /// Gives what can be given; with `force` also past what is missing. How many bytes are missing
    /// that nothing explains.
    pub(super) fn give(&mut self, force: bool, give: Give<'_>) -> u64 {
        let mut lost: u64 = 0;
        while let Some(entry) = self.waiting.first_entry() {
            let next = self.next.unwrap_or(*entry.key());
            let missing = ahead(*entry.key(), next).unwrap_or(0);
            if missing > entry.get().skipped {
                if !force {
                    break;
                }
                lost = lost.saturating_add(missing - entry.get().skipped);
            }
            let (offset, held) = entry.remove_entry();
            self.waiting_bytes = self.waiting_bytes.saturating_sub(held.bytes.len());
            self.pass(offset, give);
            self.hand(&held.bytes, give);
        }
        if self.waiting.is_empty() {
            self.since = None;
        }
        if self.fin.is_some_and(|fin| self.next.is_some_and(|next| ahead(fin, next) == Some(0))) {
            self.end(Close::Fin, give);
        }
        lost
    }

    /// Goes on to what was seen, where it was said long enough ago.
    pub(super) fn settle_seen(&mut self, before: u64, give: Give<'_>) {
        if let Some((offset, at)) = self.seen
            && at <= before
        {
            self.seen = self.seen_next.take();
            if self.waiting.is_empty() {
                self.pass(offset, give);
                self.give(false, give);
            }
        }
    }

    /// Gives a gap up to an offset, where it is ahead.
    pub(super) fn pass(&mut self, offset: u64, give: Give<'_>) {
        let Some(next) = self.next else { return };
        if let Some(gap) = ahead(offset, next).filter(|&n| n > 0 && !self.ended) {
            self.next = Some(offset);
            give(Chunk::Gap(gap));
        }
    }

    /// Ends it, once.
    pub(super) fn end(&mut self, close: Close, give: Give<'_>) {
        if !self.ended {
            self.ended = true;
            self.seen = None;
            give(Chunk::End(close));
        }
    }

    fn hand(&mut self, bytes: &[u8], give: Give<'_>) {
        let offset = self.next.unwrap_or(0);
        if let Some(recent) = self.recent.get_mut(self.turn) {
            *recent = (offset, bytes.len(), SEED.with(|seed| seed.hash_one(bytes)));
        }
        self.turn = (self.turn + 1) % RECENT;
        self.next = Some(offset.wrapping_add(bytes.len() as u64));
        give(Chunk::Bytes(bytes));
    }

    /// Whether a piece that comes again, cut as before, is another.
    fn differs_from_recent(&self, offset: u64, bytes: &[u8]) -> bool {
        let same = self.recent.iter().find(|r| r.0 == offset && r.1 == bytes.len() && r.1 > 0);
        same.is_some_and(|recent| recent.2 != SEED.with(|seed| seed.hash_one(bytes)))
    }

    /// Keeps of a piece what is not here yet. Whether what was here is another.
    fn hold(&mut self, offset: u64, skipped: u64, bytes: &[u8]) -> bool {
        let mut differs = false;
        let (mut at, end) = (offset, offset.saturating_add(bytes.len() as u64));
        let mut skipped = skipped;
        while at < end {
            let part = |from: u64, to: u64| {
                let (from, to) = ((from - offset) as usize, (to - offset) as usize);
                bytes.get(from..to).unwrap_or_default()
            };
            // What stands at or before `at` and reaches past it was here first.
            let before = self.waiting.range(..=at).next_back();
            if let Some((&start, held)) = before
                && start.saturating_add(held.bytes.len() as u64) > at
            {
                let to = end.min(start.saturating_add(held.bytes.len() as u64));
                let there = (at - start) as usize..(to - start) as usize;
                differs |= held.bytes.get(there) != Some(part(at, to));
                at = to;
                skipped = 0;
                continue;
            }
            let after = self.waiting.range((Bound::Excluded(at), Bound::Unbounded)).next();
            let to = after.map_or(end, |(&start, _)| end.min(start));
            let fresh = part(at, to).to_vec();
            self.waiting_bytes += fresh.len();
            self.waiting.insert(at, Held { skipped, bytes: fresh });
            at = to;
            skipped = 0;
        }
        differs
    }
}

/// How far an offset is ahead of another; none where it is behind. Half of what 64 bits hold is
/// ahead, so that what stands before a connection's beginning is behind it.
fn ahead(offset: u64, next: u64) -> Option<u64> {
    let distance = offset.wrapping_sub(next);
    (distance <= u64::MAX / 2).then_some(distance)
}

thread_local! {
    /// So that nobody can find another piece with the same digest.
    static SEED: RandomState = RandomState::new();
}

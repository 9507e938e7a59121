//! Pieces of a packet's payload, each an event in the ring of payload.

use core::mem::size_of;

use aya_ebpf::bindings::__sk_buff;
use observer_common::{EventKind, STREAM_ROOMS, StreamEvent};

use super::Stream;
use crate::emit::{self, Ring};
use crate::maps::PAYLOAD;
use crate::segment::{at_most, load_raw};

/// An event without its bytes.
const FIXED: usize = size_of::<StreamEvent>();

/// A piece of a packet's payload on its way out.
pub(super) struct Piece {
    pub(super) offset: u64,
    /// Bytes before it that were not copied.
    pub(super) skipped: u64,
    /// Where it stands in the packet.
    pub(super) from: u32,
    /// Bytes of payload from there on.
    pub(super) seen: u32,
    pub(super) flags: u32,
}

impl Piece {
    /// Sends the next piece, and says how much that was.
    #[inline(always)]
    pub(super) fn send<const WAY: usize>(
        &self,
        skb: *mut __sk_buff,
        stream: &Stream,
        todo: u32,
    ) -> u32 {
        const A: u32 = STREAM_ROOMS[0];
        const B: u32 = STREAM_ROOMS[1];
        const C: u32 = STREAM_ROOMS[2];
        const D: u32 = STREAM_ROOMS[3];
        // Room that is left over is lost to the ring: rather another piece than a half-empty one.
        if todo <= A {
            self.carry::<A, { A as usize + FIXED }, WAY>(skb, stream, todo)
        } else if todo <= B {
            self.carry::<B, { B as usize + FIXED }, WAY>(skb, stream, todo)
        } else if todo <= 2 * C {
            self.carry::<C, { C as usize + FIXED }, WAY>(skb, stream, todo)
        } else {
            self.carry::<D, { D as usize + FIXED }, WAY>(skb, stream, todo)
        }
    }

    #[inline(always)]
    fn carry<const ROOM: u32, const ALL: usize, const WAY: usize>(
        &self,
        skb: *mut __sk_buff,
        stream: &Stream,
        todo: u32,
    ) -> u32 {
        let len = if todo < ROOM { todo } else { ROOM };
        let mut header = stream.who;
        emit::number(&mut header, Ring::Payload, EventKind::Stream);
        let Some(mut entry) = PAYLOAD.reserve::<[u8; ALL]>(0) else {
            emit::lost(Ring::Payload);
            return len;
        };
        let event = entry.as_mut_ptr().cast::<StreamEvent>();
        // SAFETY: the reservation is ours until it is submitted, its fixed part is written whole,
        // and what is read into it is bounded by its room.
        unsafe {
            event.write(StreamEvent {
                header,
                cookie: stream.cookie,
                offset: self.offset,
                skipped: self.skipped,
                other: stream.ways[1 - WAY].high,
                local: bytes(stream.local),
                peer: bytes(stream.peer),
                local_port: stream.local_port,
                peer_port: stream.peer_port,
                direction: WAY as u32,
                flags: self.flags,
                seen: self.seen,
                len,
            });
            let to = entry.as_mut_ptr().cast::<u8>().add(FIXED);
            // A packet shorter than its headers say: nothing of it is here. One without payload
            // may give a byte that is not counted.
            if !load_raw(skb, self.from, to, at_most::<ROOM>(len)) {
                (&raw mut (*event).len).write_volatile(0);
            }
        }
        entry.submit(emit::wake(Ring::Payload, false));
        len
    }
}

#[inline(always)]
fn bytes(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: sixteen bytes, whatever they are.
    unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(words) }
}

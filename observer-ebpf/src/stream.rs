//! TCP payload of the run's sockets, as it passes between them and the network: whoever wrote it,
//! by whatever call.
//!
//! The client's first bytes decide what a connection is. Of an HTTP connection each message's beginning is
//! copied, up to a bound a turn; of a TLS connection the handshake; of any other nothing. The
//! programs run in whoever's context sends or receives, so a connection's process is remembered
//! when its socket begins to connect or to listen.

mod life;
mod piece;

use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use aya_ebpf::helpers::generated::{bpf_sk_fullsock, bpf_tcp_sock};
use aya_ebpf::programs::SkBuffContext;
use observer_common::{
    Header, STREAM_EARLY, STREAM_ROOMS, STREAM_TURN, TLS_RECEIVED, TLS_SENT, direction,
    stream_flag, stream_kind, stream_kind_of, stream_offset,
};

use crate::emit;
use crate::host;
use crate::named::Held;
use crate::segment::{FIN, RST, SYN, Segment, URG, at_most, load_raw};
use crate::sni;
use life::find;
use piece::Piece;

pub use life::{closed, listening};

const IPPROTO_TCP: u32 = 6;
/// TCP_LISTEN (include/net/tcp_states.h).
const LISTEN: u32 = 10;
/// What is copied of an HTTP connection comes anew after this long, nanoseconds.
const RENEWAL: u64 = 1_000_000_000;
/// Payload that claims to be farther ahead than any window reaches is not the connection's: the
/// hook runs before TCP has looked (tcp_v4_rcv, tcp_filter).
const FAR: i32 = 64 << 20;
/// Pieces that one packet is told in at most: 64 KiB, which a packet has at most unless its device
/// asked for more (gso_max_size); the rest of such a one is not copied.
const PIECES: u32 = 4;
/// What of one packet is copied at most.
const MOST: u32 = PIECES * STREAM_ROOMS[3];
const SENT: usize = direction::SENT as usize;

/// What the programs answer: on with the packet, or away with it.
const PASS: i32 = 1;
const DROP: i32 = 0;
/// What [`Stream::held`] is.
const HELD_MORE: u32 = 0;
const HELD_ALLOWED: u32 = 1;
const HELD_DENIED: u32 = 2;

/// A connection. It lives as long as its socket.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Stream {
    /// Who opened it, or listened.
    pub who: Header,
    /// Of the socket.
    pub cookie: u64,
    /// As in [`StreamEvent`].
    pub local: [u32; 4],
    pub peer: [u32; 4],
    pub local_port: u32,
    pub peer_port: u32,
    /// By [`direction`].
    ways: [Way; 2],
    /// A state of its storage (`life::state`).
    state: u32,
    /// [`stream_flag`] bits that hold for all of it.
    flags: u32,
    /// A [`stream_kind`].
    kind: u32,
    /// Whether something of it was told.
    told: u32,
    /// The direction that had the last turn, plus one; 0 for none.
    last: u32,
    /// What the rules on names said of it so far.
    held: u32,
    /// Whether something may be kept of what was held against them, of this connection or an earlier
    /// one of its socket.
    kept: u32,
    /// Zero.
    reserved: u32,
}

/// A direction of a connection.
#[repr(C)]
#[derive(Clone, Copy)]
struct Way {
    /// The offset after the last byte seen.
    high: u64,
    /// The offset after the last byte copied.
    copied: u64,
    /// When what may be copied was renewed.
    renewed: u64,
    /// The sequence number at `high`.
    seq: u32,
    /// What may still be copied.
    left: u32,
}

impl Way {
    const fn at(seq: u32, offset: u64) -> Self {
        Self { high: offset, copied: offset, renewed: 0, seq, left: 0 }
    }
}

/// A packet of a socket in the cgroup, on its way out or in.
#[inline(always)]
pub fn packet<const WAY: usize>(ctx: &SkBuffContext) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: a field of the context, and the helper's check of what it holds.
    let sk = unsafe {
        let sk = (*skb).__bindgen_anon_2.sk;
        if sk.is_null() {
            return PASS;
        }
        bpf_sk_fullsock(sk)
    };
    if sk.is_null() {
        return PASS;
    }
    // SAFETY: fields of a checked socket. One that listens has no connection of its own.
    unsafe {
        if (&raw const (*sk).protocol).read_volatile() != IPPROTO_TCP
            || (&raw const (*sk).state).read_volatile() == LISTEN
        {
            return PASS;
        }
    }
    let Some(segment) = Segment::of(skb, sk, WAY == SENT) else { return PASS };
    if segment.len == 0 && segment.flags & (SYN | FIN | RST) == 0 {
        return PASS;
    }
    let opens = segment.flags & SYN != 0 && WAY == SENT;
    let Some(stream) = find::<WAY>(skb, sk, &segment, opens) else { return PASS };
    if segment.flags & SYN != 0 {
        // What a SYN carries (RFC 7413) begins after it.
        stream.ways[WAY] = Way::at(segment.seq.wrapping_add(1), 0);
        if opens && stream.kept != 0 {
            // What another connection on the socket said is not this one's.
            stream.kept = 0;
            sni::forget(sk);
            host::forget(sk);
        }
    }
    if segment.len > 0 {
        if stream.held == HELD_DENIED {
            return DROP;
        }
        if stream.kind == stream_kind::UNKNOWN {
            decide::<WAY>(skb, stream, &segment);
        }
    }
    if WAY == SENT
        && segment.len > 0
        && stream.held == HELD_MORE
        && stream.kind != stream_kind::UNKNOWN
        && stream.flags & (stream_flag::OPENED | stream_flag::HALF_WAY) == stream_flag::OPENED
    {
        held(skb, sk, stream, &segment);
    }
    told::<WAY>(skb, sk, stream, &segment);
    if WAY == SENT && segment.len > 0 && stream.held == HELD_DENIED { DROP } else { PASS }
}

/// Holds a packet against the rules on names, which a handshake and requests bring. A frame of its
/// own, as others that a packet goes through: the stack that one takes is free again for the next.
#[inline(never)]
fn held(skb: *mut __sk_buff, sk: *mut bpf_sock, stream: &mut Stream, segment: &Segment) {
    let seq = segment.seq.wrapping_add(u32::from(segment.flags & SYN != 0));
    let offset = stream_offset(stream.ways[SENT].seq, stream.ways[SENT].high, seq);
    stream.kept = 1;
    let held = if stream.kind == stream_kind::TLS {
        sni::hold(skb, sk, segment, offset, stream)
    } else {
        host::hold(skb, sk, segment, offset, stream)
    };
    stream.held = match held {
        Held::More => HELD_MORE,
        Held::Allowed => HELD_ALLOWED,
        Held::Denied => HELD_DENIED,
    };
}

/// Looks at a packet's payload, and tells what is asked for.
#[inline(never)]
fn told<const WAY: usize>(
    skb: *mut __sk_buff,
    sk: *mut bpf_sock,
    stream: &mut Stream,
    segment: &Segment,
) {
    let syn = u32::from(segment.flags & SYN != 0);
    let seq = segment.seq.wrapping_add(syn);
    if WAY != SENT && segment.len > 0 && !is_new(sk, seq, segment.len) {
        return;
    }
    let (high, copied) = (stream.ways[WAY].high, stream.ways[WAY].copied);
    let offset = stream_offset(stream.ways[WAY].seq, high, seq);
    let end = offset.wrapping_add(u64::from(segment.len));
    if end.wrapping_sub(high) as i64 > 0 {
        stream.ways[WAY].high = end;
        stream.ways[WAY].seq = seq.wrapping_add(segment.len);
    }
    let mut flags = stream.flags;
    if segment.len > 0 {
        if stream.last != WAY as u32 + 1 {
            stream.last = WAY as u32 + 1;
            flags |= stream_flag::TURN;
            renew::<WAY>(stream);
        } else if stream.ways[WAY].left == 0
            && stream.kind == stream_kind::HTTP
            && emit::now().wrapping_sub(stream.ways[WAY].renewed) > RENEWAL
        {
            renew::<WAY>(stream);
        }
    }
    let left = stream.ways[WAY].left;
    let wanted = if segment.len < left { segment.len } else { left };
    let wanted = if wanted < MOST { wanted } else { MOST };
    if wanted == 0 && (stream.told == 0 || segment.flags & (FIN | RST) == 0) {
        return;
    }
    stream.told = 1;
    stream.ways[WAY].left = left - wanted;
    if wanted > 0 {
        stream.ways[WAY].copied = offset.wrapping_add(u64::from(wanted));
    }
    if segment.flags & FIN != 0 {
        flags |= stream_flag::FIN;
    }
    if segment.flags & RST != 0 && segment.len == 0 {
        flags |= stream_flag::RESET;
    }
    if segment.flags & URG != 0 {
        flags |= stream_flag::URGENT;
    }
    // In order, and what is before it was not copied.
    let skipped = if offset == high { offset.wrapping_sub(copied) } else { 0 };
    let skipped = if skipped as i64 > 0 { skipped } else { 0 };
    let mut piece = Piece { offset, skipped, from: segment.payload, seen: segment.len, flags };
    let mut todo = wanted;
    // One more: the last but one may leave up to a smaller room.
    for _ in 0..=PIECES {
        let len = piece.send::<WAY>(skb, stream, todo);
        todo = todo.wrapping_sub(len);
        if todo == 0 {
            break;
        }
        piece.offset = piece.offset.wrapping_add(u64::from(len));
        piece.from += len;
        piece.seen -= len;
        piece.skipped = 0;
        piece.flags &= !stream_flag::TURN;
    }
}

/// Whether what came is ahead of what TCP has taken, and not beyond any window.
#[inline(always)]
fn is_new(sk: *mut bpf_sock, seq: u32, len: u32) -> bool {
    // SAFETY: takes a checked socket; a field of what it gives.
    let next = unsafe {
        let tcp = bpf_tcp_sock(sk);
        if tcp.is_null() {
            return true;
        }
        (*tcp).rcv_nxt
    };
    let ahead = seq.wrapping_add(len).wrapping_sub(next).cast_signed();
    // Before the handshake is over nothing is known (a SYN-ACK with data, RFC 7413).
    next == 0 || (ahead > 0 && ahead < FAR)
}

/// What a connection is, from the first bytes of it that are seen; where this end opened it, from
/// its own.
#[inline(always)]
fn decide<const WAY: usize>(skb: *mut __sk_buff, stream: &mut Stream, segment: &Segment) {
    if WAY != SENT && stream.flags & stream_flag::OPENED != 0 {
        // A server may speak first, and of HTTP/2's (its SETTINGS) nothing may be missing.
        let high = stream.ways[WAY].high;
        let most = STREAM_EARLY as u64;
        stream.ways[WAY].left = if high < most { (most - high) as u32 } else { 0 };
        return;
    }
    let mut head = [0u8; 8];
    let len = if segment.len < 8 { segment.len } else { 8 };
    // SAFETY: bounded by the room.
    if !unsafe { load_raw(skb, segment.payload, head.as_mut_ptr(), at_most::<8>(len)) } {
        return;
    }
    let half_way = stream.flags & stream_flag::HALF_WAY != 0;
    let mut kind = stream_kind_of(&head, len);
    if kind == stream_kind::OTHER && half_way {
        // TLS's application data tells what it is; anything else may be a message's middle.
        if head[0] != 0x17 || head[1] != 3 {
            return;
        }
        kind = stream_kind::TLS;
    }
    stream.kind = kind;
    if kind == stream_kind::TLS {
        // Whoever speaks first is the client.
        stream.ways[WAY].left = TLS_SENT;
        stream.ways[1 - WAY].left = TLS_RECEIVED;
    } else if kind == stream_kind::OTHER {
        stream.ways[1 - WAY].left = 0;
    }
}

/// A turn of an HTTP connection: another message may be copied.
#[inline(always)]
fn renew<const WAY: usize>(stream: &mut Stream) {
    if stream.kind != stream_kind::HTTP {
        return;
    }
    stream.ways[WAY].left = STREAM_TURN;
    stream.ways[WAY].renewed = emit::now();
}

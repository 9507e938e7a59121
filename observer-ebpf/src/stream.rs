//! TCP payload of the run's sockets, as it passes between them and the network: whoever wrote it,
//! by whatever call.
//!
//! The client's first bytes decide what a connection is. Of an HTTP connection each message's beginning is
//! copied, up to a bound a turn; of a TLS connection the handshake; of any other nothing. The
//! programs run in whoever's context sends or receives, so a connection's process is remembered
//! when its socket begins to connect or to listen.

mod piece;

use core::ffi::c_void;

use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_sk_cgroup_id, bpf_sk_fullsock, bpf_sk_storage_get, bpf_tcp_sock,
};
use aya_ebpf::programs::SkBuffContext;
use observer_common::{
    EventKind, Header, STREAM_EARLY, STREAM_ROOMS, STREAM_TURN, StreamEndEvent, TLS_RECEIVED,
    TLS_SENT, direction, stream_flag, stream_kind, stream_kind_of, stream_offset,
};

use crate::emit::{self, Ring};
use crate::host;
use crate::kernel::{self, Ptr, at};
use crate::lineage;
use crate::maps::STREAMS;
use crate::named::Held;
use crate::segment::{FIN, RST, SYN, Segment, URG, at_most, load_raw};
use crate::sni;
use piece::Piece;

/// BPF_SK_STORAGE_GET_F_CREATE.
const CREATE: u64 = 1;
const AF_INET6: u32 = 10;
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

/// What a socket's storage is of.
mod state {
    /// Nothing yet.
    pub const NEW: u32 = 0;
    /// A socket that listens, or one that it has just accepted: the storage is cloned.
    pub const LISTENS: u32 = 1;
    /// A connection.
    pub const OPEN: u32 = 2;
}

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
    /// A [`state`].
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
        if opens {
            // What another connection on the socket said is not this one's.
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

/// The socket's connection; a new one is made where it is the run's.
#[inline(never)]
fn find<'a, const WAY: usize>(
    skb: *mut __sk_buff,
    sk: *mut bpf_sock,
    segment: &Segment,
    opens: bool,
) -> Option<&'a mut Stream> {
    // SAFETY: the context's socket; the storage lives as long as it does.
    let found = unsafe { storage(sk.cast(), 0).as_mut() };
    if let Some(stream) = found {
        if stream.state == state::OPEN && !opens {
            return Some(stream);
        }
        if stream.state == state::LISTENS {
            // Just accepted. What it is told under is its own.
            begin(stream, skb, sk, segment);
            stream.flags = 0;
            return Some(stream);
        }
        if stream.state == state::OPEN
            && opens
            && stream.ways[0].seq == segment.seq.wrapping_add(1)
            && stream.ways[0].high == 0
        {
            return Some(stream); // the SYN comes again
        }
    }
    // Only what leaves tells whose it is: what comes in comes in anybody's context.
    let label = if WAY == SENT {
        kernel::tgid(kernel::current()).and_then(lineage::label_of)
    } else {
        None
    };
    // SAFETY: takes a checked socket.
    if label.is_none() && !lineage::is_ours(unsafe { bpf_sk_cgroup_id(sk.cast()) }) {
        return None;
    }
    // SAFETY: as above.
    let Some(stream) = (unsafe { storage(sk.cast(), CREATE).as_mut() }) else {
        emit::stream_unkept();
        return None;
    };
    stream.who = match label {
        Some(label) => kernel::identify_other(kernel::current(), label.exec),
        None => kernel::absent(0, 0),
    };
    begin(stream, skb, sk, segment);
    if opens {
        stream.flags = stream_flag::OPENED;
    }
    Some(stream)
}

/// Begins a connection, at what TCP itself has counted by now.
#[inline(always)]
fn begin(stream: &mut Stream, skb: *mut __sk_buff, sk: *mut bpf_sock, segment: &Segment) {
    stream.state = state::OPEN;
    stream.kind = stream_kind::UNKNOWN;
    stream.flags = 0;
    stream.told = 0;
    stream.last = 0;
    stream.held = HELD_MORE;
    // SAFETY: the helper takes the context.
    stream.cookie = unsafe { bpf_get_socket_cookie(skb.cast()) };
    addresses(stream, sk);
    stream.ways = [Way::at(segment.seq, 0), Way::at(segment.seq, 0)];
    // SAFETY: takes a checked socket; fields of what it gives.
    unsafe {
        let tcp = bpf_tcp_sock(sk);
        if tcp.is_null() || segment.flags & SYN != 0 {
            return;
        }
        // A SYN that was acknowledged is counted (tcp_snd_una_update), where this end sent it.
        let (acked, received) = ((*tcp).bytes_acked, (*tcp).bytes_received);
        stream.ways[0] = Way::at((*tcp).snd_una, acked);
        stream.ways[1] = Way::at((*tcp).rcv_nxt, received);
        if acked > 1 || received > 0 {
            stream.flags = stream_flag::HALF_WAY;
        }
    }
}

/// Both ends, as the socket has them.
#[inline(always)]
fn addresses(stream: &mut Stream, sk: *mut bpf_sock) {
    // SAFETY: fields of a checked socket, each read as the verifier wants it: whole and once.
    unsafe {
        stream.local_port = (&raw const (*sk).src_port).read_volatile();
        stream.peer_port = u32::from(u16::from_be((&raw const (*sk).dst_port).read_volatile()));
        if (&raw const (*sk).family).read_volatile() == AF_INET6 {
            let (local, peer) = (&raw const (*sk).src_ip6, &raw const (*sk).dst_ip6);
            for i in 0..4 {
                stream.local[i] = local.cast::<u32>().add(i).read_volatile();
                stream.peer[i] = peer.cast::<u32>().add(i).read_volatile();
            }
        } else {
            const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
            stream.local = [0, 0, MAPPED, (&raw const (*sk).src_ip4).read_volatile()];
            stream.peer = [0, 0, MAPPED, (&raw const (*sk).dst_ip4).read_volatile()];
        }
    }
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

#[inline(always)]
unsafe fn storage(sk: *mut c_void, flags: u64) -> *mut Stream {
    // SAFETY: the caller's socket.
    unsafe {
        let map = (&raw const STREAMS).cast_mut().cast();
        bpf_sk_storage_get(map, sk, core::ptr::null_mut(), flags).cast()
    }
}

/// A socket begins to listen, in its caller: what it accepts is this process's.
#[inline(always)]
pub fn listening(sk: Ptr, who: &Header) {
    // SAFETY: the tracepoint's own socket.
    match unsafe { storage(sk.cast_mut().cast(), CREATE).as_mut() } {
        Some(stream) => {
            stream.who = *who;
            stream.state = state::LISTENS;
        }
        None => {
            emit::stream_unkept();
        }
    }
}

/// A socket is closed: the end of what was told of it.
#[inline(always)]
pub fn closed(sk: Ptr) {
    // SAFETY: the tracepoint's own socket.
    let Some(stream) = (unsafe { storage(sk.cast_mut().cast(), 0).as_mut() }) else { return };
    if stream.told == 0 {
        return;
    }
    stream.told = 0;
    stream.state = state::NEW;
    let error: i32 = kernel::read_or_zero(sk, at!(sock_err));
    let mut header = stream.who;
    emit::send(&mut header, Ring::Payload, EventKind::StreamEnd, false, |header| StreamEndEvent {
        header: *header,
        cookie: stream.cookie,
        sent: stream.ways[0].high,
        received: stream.ways[1].high,
        flags: stream.flags,
        error: error as u32,
    });
}

//! A connection's life: found by its socket, begun where that is the run's, and ended with it.

use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_sk_cgroup_id, bpf_tcp_sock};
use observer_common::{EventKind, Header, StreamEndEvent, stream_flag, stream_kind};

use super::{HELD_MORE, SENT, Stream, Way};
use crate::emit::{self, Ring};
use crate::kernel::{self, Ptr, at};
use crate::lineage;
use crate::segment::{SYN, Segment};
use crate::storage::{self, Socket};

const AF_INET6: u32 = 10;

/// What [`Stream::state`] is.
mod state {
    /// Nothing yet.
    pub const NEW: u32 = 0;
    /// A socket that listens, or one that it has just accepted: the storage is cloned.
    pub const LISTENS: u32 = 1;
    /// A connection.
    pub const OPEN: u32 = 2;
}

/// The socket's connection; a new one is made where it is the run's.
#[inline(never)]
pub(super) fn find<'a, const WAY: usize>(
    skb: *mut __sk_buff,
    sk: *mut bpf_sock,
    segment: &Segment,
    opens: bool,
) -> Option<&'a mut Stream> {
    // SAFETY: the context's socket.
    let found = unsafe { storage::known(sk.cast()) };
    if let Some(Socket { stream, .. }) = found {
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
    // Verifier: on 6.1 this hook has no bpf_get_current_pid_tgid.
    let task = kernel::current();
    let label = if WAY == SENT { kernel::tgid(task).and_then(lineage::label_of) } else { None };
    // SAFETY: takes a checked socket.
    if label.is_none() && !lineage::is_ours(unsafe { bpf_sk_cgroup_id(sk.cast()) }) {
        return None;
    }
    // SAFETY: as above.
    let Some(Socket { flow, stream }) = (unsafe { storage::made(sk.cast()) }) else {
        emit::stream_unkept();
        return None;
    };
    match label {
        // As its connect was told. With TCP_FASTOPEN_CONNECT somebody else may send first.
        Some(label)
            if stream.who.exec == label.exec
                && flow.is_connecting()
                && stream.who.tid == kernel::read_or_zero(task, at!(task_pid)) => {}
        Some(label) => stream.who = kernel::identify_other(task, label.exec),
        None => stream.who = kernel::absent(0, 0),
    }
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

/// A socket begins to listen, in its caller: what it accepts is this process's.
#[inline(always)]
pub fn listening(sk: Ptr, who: &Header) {
    // SAFETY: the tracepoint's own socket.
    match unsafe { storage::made(sk.cast_mut().cast()) } {
        Some(Socket { stream, .. }) => {
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
    let Some(socket) = (unsafe { storage::known(sk.cast_mut().cast()) }) else { return };
    let stream = &mut socket.stream;
    if stream.state == state::LISTENS {
        // It may connect yet.
        stream.state = state::NEW;
    }
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

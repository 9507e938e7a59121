//! HTTP's name held against the rules on names, as a request in the clear leaves: its `Host`, and
//! the authority that its target names.
//!
//! What a connection sends is read byte by byte, over however many packets, and contents are
//! stepped over by their length (RFC 9112, 6), so that each request is found where a server finds
//! it. A server can't act on a name before it has it: the packet with that is let through or
//! dropped, and all that come after a dropped one are. Where servers are known to read differently
//! nothing is guessed: the request is denied as unread.

use core::ffi::c_void;

use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use aya_ebpf::helpers::generated::{bpf_loop, bpf_sk_storage_delete, bpf_sk_storage_get};
use observer_common::{Config, config_flag, denied_why};

use crate::maps::REQUESTS;
use crate::named::{self, Held};
use crate::names::NameBuf;
use crate::request::{PIECE, Request, get, set, state, take, unread};
use crate::segment::{Segment, URG, at_most, load_raw};
use crate::stream::Stream;
use crate::verdict as policy;

/// BPF_SK_STORAGE_GET_F_CREATE.
const CREATE: u64 = 1;

/// What the loop over a packet's bytes works on.
struct Work<'a> {
    request: *mut Request,
    skb: *mut __sk_buff,
    config: &'a Config,
    ends: &'a Stream,
}

/// Holds a packet of a connection in the clear against the rules. `offset` is where its payload
/// stands in what was sent.
#[inline(never)]
pub fn hold(
    skb: *mut __sk_buff,
    sk: *mut bpf_sock,
    segment: &Segment,
    offset: u64,
    ends: &Stream,
) -> Held {
    let config = policy::config();
    if config.flags & config_flag::NAME_RULES == 0 {
        return Held::Allowed;
    }
    // SAFETY: the context's socket; the storage is this socket's own, and what leaves it is
    // written by one at a time, under its lock.
    unsafe {
        let map = (&raw const REQUESTS).cast_mut().cast();
        let request: *mut Request =
            bpf_sk_storage_get(map, sk.cast(), core::ptr::null_mut(), CREATE).cast();
        if request.is_null() {
            let ruling = named::unread(&config);
            named::tell(&ruling, denied_why::HOST_UNREAD, core::ptr::null(), 0, ends);
            return if ruling.denies() { Held::Denied } else { Held::Allowed };
        }
        let known = get!(request, raw).wrapping_sub(offset);
        set!(request, piece_len, 0);
        let mut steps = 1;
        if (known as i64) < 0 || segment.flags & URG != 0 {
            // A hole before it, or a byte that the far end may leave out.
            unread(request);
        } else if known >= u64::from(segment.len) {
            return Held::More;
        } else {
            let end = segment.payload + segment.len;
            set!(request, raw, offset + u64::from(segment.len));
            set!(request, at, segment.payload + known as u32);
            set!(request, end, end);
            // Each takes a byte, or judges after one.
            steps = 2 * segment.len + 2;
        }
        let mut work = Work { request, skb, config: &config, ends };
        bpf_loop(steps, step as *mut c_void, (&raw mut work).cast(), 0);
        match get!(request, state) {
            state::DENIED => Held::Denied,
            state::OVER => {
                bpf_sk_storage_delete(map, sk.cast());
                Held::Allowed
            }
            _ => Held::More,
        }
    }
}

/// Another connection begins on the socket.
#[inline(always)]
pub fn forget(sk: *mut bpf_sock) {
    // SAFETY: the context's socket.
    unsafe { bpf_sk_storage_delete((&raw const REQUESTS).cast_mut().cast(), sk.cast()) };
}

/// Takes the packet's next byte. Returns 1 to end the loop.
unsafe extern "C" fn step(_index: u64, context: *mut c_void) -> i64 {
    // SAFETY: what `hold` handed over; the storage is this socket's own.
    unsafe {
        let work = &*context.cast::<Work<'_>>();
        let request = work.request;
        let state = get!(request, state);
        if state == state::JUDGE {
            return judge(work);
        }
        if state > state::JUDGE {
            return 1;
        }
        let (at, end) = (get!(request, at), get!(request, end));
        if at >= end {
            return 1;
        }
        let skip = get!(request, skip);
        if skip > 0 {
            let left = u64::from(end - at);
            let step = if skip < left { skip } else { left };
            set!(request, skip, skip - step);
            set!(request, at, at + step as u32);
            return 0;
        }
        set!(request, at, at + 1);
        let Some(byte) = byte(request, work.skb, at, end) else {
            unread(request);
            return 0;
        };
        take(request, state, byte);
        0
    }
}

/// A byte of the packet.
#[inline(always)]
unsafe fn byte(request: *mut Request, skb: *mut __sk_buff, at: u32, end: u32) -> Option<u8> {
    // SAFETY: inside the storage, by the mask and the bound.
    unsafe {
        let mut from = get!(request, piece_at);
        let piece = (&raw mut (*request).piece).cast::<u8>();
        if at.wrapping_sub(from) >= get!(request, piece_len) {
            let left = end - at;
            let len = if left < PIECE { left } else { PIECE };
            if !load_raw(skb, at, piece, at_most::<PIECE>(len)) {
                return None;
            }
            set!(request, piece_at, at);
            set!(request, piece_len, len);
            from = at;
        }
        let place = at.wrapping_sub(from);
        // SAFETY: a variable of our own; so that the mask stays.
        let place = (&raw const place).read_volatile() as usize & (PIECE as usize - 1);
        Some(piece.add(place).read_volatile())
    }
}

/// Asks the rules, and tells what they deny. Returns 1 to end the loop.
#[inline(always)]
unsafe fn judge(work: &Work<'_>) -> i64 {
    // SAFETY: the storage is this socket's own.
    unsafe {
        let request = work.request;
        let out = &raw mut (*request).ruling;
        named::address(out, work.config, work.ends);
        let preface = get!(request, preface) != 0;
        if preface && !named::read(out).denies() {
            set!(request, state, state::OVER);
            return 1;
        }
        let unread = get!(request, unread) != 0 || preface;
        let len = if unread { 0 } else { get!(request, name_len) };
        let ruling = if unread {
            named::unread(work.config)
        } else {
            let name = &raw mut (*request).name;
            named::rule(out, name, NameBuf::len(name) != 0, work.config, work.ends);
            named::read(out)
        };
        if ruling.denies() || ruling.would() {
            let why = if unread { denied_why::HOST_UNREAD } else { denied_why::HOST };
            let name = (&raw const (*request).written).cast();
            named::tell(&ruling, why, name, len, work.ends);
        }
        if ruling.denies() {
            set!(request, state, state::DENIED);
            return 1;
        }
        if unread {
            set!(request, state, state::OVER);
            return 1;
        }
        set!(request, state, get!(request, next));
        0
    }
}

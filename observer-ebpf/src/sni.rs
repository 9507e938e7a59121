//! TLS's name (SNI) held against the rules on names, as the ClientHello leaves.
//!
//! The message that a connection begins with is gathered in its socket's storage, however it is
//! cut into packets and records. A server can't act on a hello before its last byte: the packet
//! with that is let through or dropped, and all that come after a dropped one are.

use core::ffi::c_void;

use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use aya_ebpf::helpers::generated::{bpf_loop, bpf_sk_storage_delete, bpf_sk_storage_get};
use observer_common::{HOST_LEN, config_flag, denied_why};

use crate::maps::HEADS;
use crate::named::{self, Held};
use crate::names::NameBuf;
use crate::segment::{Segment, URG, at_most, load_raw};
use crate::stream::Stream;
use crate::verdict::{self as policy, Ruling};

/// The largest hello that is read, its records' headers included.
const WINDOW: usize = 1 << 14;
/// What of it is taken at once. A socket's storages may together take 20 KiB before 6.8
/// (net.core.optmem_max), so there is room for one such piece behind the window, not for another
/// window.
const PIECE: u32 = 1 << 10;
/// Extensions that are looked at. A browser sends some twenty.
const EXTENSIONS: u32 = 64;
/// A record's header, and the most that follows it (RFC 8446, 5.1).
const HEADER: u32 = 5;
const FRAGMENT: u32 = 1 << 14;
/// A message's header (4): its kind and its length.
const MESSAGE: u32 = 4;
const HANDSHAKE: u32 = 22;
const CLIENT_HELLO: u32 = 1;
const SERVER_NAME: u32 = 0;
/// BPF_SK_STORAGE_GET_F_CREATE.
const CREATE: u64 = 1;

/// The beginning of a connection, while it is gathered.
#[repr(C)]
pub struct Head {
    name: NameBuf,
    ruling: Ruling,
    /// Bytes of the connection so far.
    raw: u32,
    /// Bytes of the message so far.
    len: u32,
    /// What is to come of the record, and its header until that is whole.
    fragment: u32,
    header_len: u32,
    header: [u8; 8],
    /// Where the packet's next byte stands, and how many it has from there.
    from: u32,
    left: u32,
    /// Whether it is no hello.
    broken: u32,
    /// Where the name stands.
    at: u32,
    /// How long it is; 0 where there is none.
    name_len: u32,
    /// The next extension, where they end, and whether the last was reached.
    next: u32,
    end: u32,
    whole: u32,
    /// The message.
    bytes: [u8; WINDOW + PIECE as usize],
}

/// What a connection's beginning says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hello {
    /// Not all is here.
    More,
    /// It is whole, with its name in `Head::name`, or without one.
    Whole,
    /// It can't be read, and so not held: too large, or malformed.
    Unheld,
}

/// Holds a packet of a TLS connection's beginning against the rules. `offset` is where its payload
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
        let map = (&raw const HEADS).cast_mut().cast();
        let head: *mut Head =
            bpf_sk_storage_get(map, sk.cast(), core::ptr::null_mut(), CREATE).cast();
        let hello = if head.is_null() { Hello::Unheld } else { gather(head, skb, segment, offset) };
        if hello == Hello::More {
            return Held::More;
        }
        let readable = hello == Hello::Whole && !head.is_null();
        let len = if readable { (&raw const (*head).name_len).read_volatile() } else { 0 };
        let ruling = if readable {
            let out = &raw mut (*head).ruling;
            named::address(out, &config, ends);
            named::rule(out, &raw mut (*head).name, len != 0, &config, ends);
            named::read(out)
        } else {
            named::unread(&config)
        };
        let denied = ruling.denies();
        if denied || ruling.would() {
            let at = if len != 0 { inside((&raw const (*head).at).read_volatile()) } else { 0 };
            let from = (&raw const (*head).bytes).cast::<u8>().add(at);
            let why = if readable { denied_why::SNI } else { denied_why::UNREAD };
            named::tell(&ruling, why, from, len, ends);
        }
        bpf_sk_storage_delete(map, sk.cast());
        if denied { Held::Denied } else { Held::Allowed }
    }
}

/// Another connection begins on the socket.
#[inline(always)]
pub fn forget(sk: *mut bpf_sock) {
    // SAFETY: the context's socket.
    unsafe { bpf_sk_storage_delete((&raw const HEADS).cast_mut().cast(), sk.cast()) };
}

/// Takes what a packet adds, and reads the hello once it is whole.
#[inline(always)]
unsafe fn gather(head: *mut Head, skb: *mut __sk_buff, segment: &Segment, offset: u64) -> Hello {
    // SAFETY: inside the storage; what the loop is handed outlives it.
    unsafe {
        let have = (&raw const (*head).raw).read_volatile();
        let known = u64::from(have).wrapping_sub(offset);
        if (known as i64) < 0 || segment.flags & URG != 0 {
            // A hole before it, or a byte that the far end may leave out.
            return Hello::Unheld;
        }
        if known >= u64::from(segment.len) {
            return Hello::More;
        }
        let known = known as u32;
        (&raw mut (*head).from).write_volatile(segment.payload + known);
        (&raw mut (*head).left).write_volatile(segment.len - known);
        let mut context = Step { head, skb };
        bpf_loop(WINDOW as u32, step as *mut c_void, (&raw mut context).cast(), 0);
        if (&raw const (*head).broken).read_volatile() != 0 {
            return Hello::Unheld;
        }
        match end(head) {
            Some(end) => read(head, end),
            None if (&raw const (*head).raw).read_volatile() >= WINDOW as u32 => Hello::Unheld,
            None => Hello::More,
        }
    }
}

/// What the loop over a packet's bytes works on.
struct Step {
    head: *mut Head,
    skb: *mut __sk_buff,
}

/// Takes the next byte of a record's header, or the next piece of what is in it. Returns 1 to end
/// the loop.
unsafe extern "C" fn step(_index: u64, context: *mut c_void) -> i64 {
    // SAFETY: what `gather` handed over; inside the storage, by the bounds below.
    unsafe {
        let Step { head, skb } = *context.cast::<Step>();
        let left = (&raw const (*head).left).read_volatile();
        let raw = (&raw const (*head).raw).read_volatile();
        if left == 0 || raw >= WINDOW as u32 || end(head).is_some() {
            return 1;
        }
        let from = (&raw const (*head).from).read_volatile();
        let fragment = (&raw const (*head).fragment).read_volatile();
        let taken = if fragment == 0 {
            header(head, skb, from)
        } else {
            let len = if left < PIECE { left } else { PIECE };
            let len = if len < fragment { len } else { fragment };
            let have = (&raw const (*head).len).read_volatile();
            let to = (&raw mut (*head).bytes).cast::<u8>().add(inside(have));
            (&raw mut (*head).len).write_volatile(have + len);
            (&raw mut (*head).fragment).write_volatile(fragment - len);
            if load_raw(skb, from, to, at_most::<PIECE>(len)) { len } else { 0 }
        };
        (&raw mut (*head).raw).write_volatile(raw + taken);
        (&raw mut (*head).from).write_volatile(from + taken);
        (&raw mut (*head).left).write_volatile(left - taken);
        if taken == 0 {
            (&raw mut (*head).broken).write_volatile(1);
            return 1;
        }
        0
    }
}

/// Takes the next byte of a record's header: 1, or 0 where it is none of a handshake's.
#[inline(always)]
unsafe fn header(head: *mut Head, skb: *mut __sk_buff, from: u32) -> u32 {
    // SAFETY: inside the storage, by the mask.
    unsafe {
        let at = (&raw const (*head).header_len).read_volatile() & 7;
        let bytes = (&raw mut (*head).header).cast::<u8>();
        if !load_raw(skb, from, bytes.add(at as usize), 1) {
            return 0;
        }
        let next = (at + 1) % HEADER;
        (&raw mut (*head).header_len).write_volatile(next);
        if next != 0 {
            return 1;
        }
        let get = |at| u32::from(bytes.add(at).read_volatile());
        let len = get(3) << 8 | get(4);
        // One without content is forbidden, and may be what another end of the same line skips.
        if get(0) != HANDSHAKE || get(1) != 3 || len == 0 || len > FRAGMENT {
            return 0;
        }
        (&raw mut (*head).fragment).write_volatile(len);
        1
    }
}

/// Where the message ends, once all of it is here; or where it is no hello that can be read.
#[inline(always)]
unsafe fn end(head: *const Head) -> Option<u32> {
    // SAFETY: reads inside the storage, by `byte`.
    unsafe {
        let have = (&raw const (*head).len).read_volatile();
        if have < MESSAGE {
            return None;
        }
        let end = MESSAGE + (byte(head, 1) << 16 | short(head, 2));
        if have >= end || end > WINDOW as u32 || byte(head, 0) != CLIENT_HELLO {
            Some(end)
        } else {
            None
        }
    }
}

/// A place in the window, which it is taken to be.
///
/// Verifier: LLVM takes a mask away where a comparison made it needless, and 6.1 knows nothing of
/// that comparison once the value was spilled.
#[inline(always)]
fn inside(at: u32) -> usize {
    // SAFETY: a variable of our own; so that nothing is known of it.
    let at = unsafe { (&raw const at).read_volatile() };
    at as usize & (WINDOW - 1)
}

/// A byte of the beginning; past the window it comes round.
#[inline(always)]
unsafe fn byte(head: *const Head, at: u32) -> u32 {
    // SAFETY: inside the storage, by the mask.
    unsafe {
        let place = (&raw const (*head).bytes).cast::<u8>();
        u32::from(place.add(at as usize & (WINDOW - 1)).read_volatile())
    }
}

#[inline(always)]
unsafe fn short(head: *const Head, at: u32) -> u32 {
    // SAFETY: as above.
    unsafe { byte(head, at) << 8 | byte(head, at + 1) }
}

/// Reads a hello that ends here.
#[inline(always)]
unsafe fn read(head: *mut Head, end: u32) -> Hello {
    // SAFETY: reads inside the storage, by `byte`.
    unsafe {
        if byte(head, 0) != CLIENT_HELLO || end > WINDOW as u32 {
            return Hello::Unheld;
        }
        // Version, random, session, cipher suites, compression (4.1.2).
        let mut at = MESSAGE + 2 + 32;
        at += 1 + byte(head, at);
        at += 2 + short(head, at);
        at += 1 + byte(head, at);
        if at == end {
            return Hello::Whole; // no extensions at all
        }
        if at + 2 + short(head, at) != end {
            return Hello::Unheld;
        }
        (&raw mut (*head).next).write_volatile(at + 2);
        (&raw mut (*head).end).write_volatile(end);
        (&raw mut (*head).whole).write_volatile(0);
        let mut context = head;
        bpf_loop(EXTENSIONS + 1, extension as *mut c_void, (&raw mut context).cast(), 0);
        if (&raw const (*head).whole).read_volatile() == 0 {
            return Hello::Unheld;
        }
        name(head)
    }
}

/// Looks at one extension. Returns 1 to end the loop.
unsafe extern "C" fn extension(_index: u64, context: *mut c_void) -> i64 {
    // SAFETY: what `read` handed over; reads inside the storage, by `byte`.
    unsafe {
        let head = *context.cast::<*mut Head>();
        let at = (&raw const (*head).next).read_volatile();
        let end = (&raw const (*head).end).read_volatile();
        if at == end {
            (&raw mut (*head).whole).write_volatile(1);
            return 1;
        }
        let (kind, size) = (short(head, at), short(head, at + 2));
        if at + 4 + size > end {
            return 1;
        }
        if kind == SERVER_NAME {
            // One name of a host, as every client writes it (RFC 6066, 3); a second list would be
            // another's to choose from.
            let long = short(head, at + 7);
            if (&raw const (*head).name_len).read_volatile() != 0
                || size < 6
                || short(head, at + 4) != size - 2
                || byte(head, at + 6) != 0
                || long + 5 != size
            {
                return 1;
            }
            (&raw mut (*head).at).write_volatile(at + 9);
            (&raw mut (*head).name_len).write_volatile(long);
        }
        (&raw mut (*head).next).write_volatile(at + 4 + size);
        0
    }
}

/// Makes the name the key that rules are asked with: each label after a dot, and none for the root.
#[inline(always)]
unsafe fn name(head: *mut Head) -> Hello {
    // SAFETY: inside the storage.
    unsafe {
        let len = (&raw const (*head).name_len).read_volatile();
        let name = &raw mut (*head).name;
        NameBuf::clear(name);
        if len == 0 {
            return Hello::Whole;
        }
        if len >= HOST_LEN as u32 {
            return Hello::Unheld;
        }
        NameBuf::push(name, b'.');
        let mut context = head;
        bpf_loop(HOST_LEN as u32, letter as *mut c_void, (&raw mut context).cast(), 0);
        Hello::Whole
    }
}

/// Takes the name's next byte. Returns 1 to end the loop.
unsafe extern "C" fn letter(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: as above.
    unsafe {
        let head = *context.cast::<*mut Head>();
        let len = (&raw const (*head).name_len).read_volatile();
        let i = index as u32;
        if i >= len {
            return 1;
        }
        let byte = byte(head, (&raw const (*head).at).read_volatile() + i) as u8;
        if byte == b'.' && i + 1 == len {
            return 1;
        }
        NameBuf::push(&raw mut (*head).name, byte);
        0
    }
}

//! TLS's name (SNI) held against the rules on names, as the ClientHello leaves.
//!
//! The bytes that a connection begins with are gathered in its socket's storage, however they are
//! cut into packets. A server can't act on a hello before its last byte: the packet with that is
//! let through or dropped, and all that come after a dropped one are.

use core::ffi::c_void;

use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use aya_ebpf::helpers::generated::{
    bpf_loop, bpf_probe_read_kernel, bpf_sk_storage_delete, bpf_sk_storage_get,
};
use aya_ebpf::maps::lpm_trie::Key;
use observer_common::{
    Config, Decision, EventKind, HOST_LEN, StreamDeniedEvent, config_flag, decision,
    denied_why, verdict,
};

use crate::emit::{self, Ring};
use crate::maps::{CONTROL, HEADS, PREFIXES};
use crate::names::NameBuf;
use crate::segment::{Segment, URG, at_most, load_raw};
use crate::stream::Stream;
use crate::verdict::{self as policy, Ruling};

/// The largest hello that is read: a record's fragment (RFC 8446, 5.1).
const WINDOW: usize = 1 << 14;
/// What of it is taken at once. A socket's storages may together take 20 KiB before 6.8
/// (net.core.optmem_max), so there is room for one such piece behind the window, not for another
/// window.
const PIECE: u32 = 1 << 10;
/// Pieces of one packet.
const PIECES: u32 = WINDOW as u32 / PIECE;
/// Extensions that are looked at. A browser sends some twenty.
const EXTENSIONS: u32 = 64;
/// Where the message begins: after the record's header (5.1).
const MESSAGE: u32 = 5;
const HANDSHAKE: u32 = 22;
const CLIENT_HELLO: u32 = 1;
const SERVER_NAME: u32 = 0;
const IPPROTO_TCP: u32 = 6;
/// BPF_SK_STORAGE_GET_F_CREATE.
const CREATE: u64 = 1;

/// The beginning of a connection, while it is gathered.
#[repr(C)]
pub struct Head {
    name: NameBuf,
    /// Bytes so far.
    len: u32,
    /// Where the name stands.
    at: u32,
    /// How long it is; 0 where there is none.
    name_len: u32,
    /// The next extension, where they end, and whether the last was reached.
    next: u32,
    end: u32,
    whole: u32,
    bytes: [u8; WINDOW + PIECE as usize],
}

/// What a connection's beginning says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hello {
    /// Not all is here.
    More,
    /// It is whole, with its name in `Head::name`, or without one.
    Whole,
    /// It can't be read, and so not held: in several records, too large, or malformed.
    Unheld,
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It goes on; there is more to look at.
    More,
    /// It goes on, and so does all that follows.
    Allowed,
    /// It is dropped, and so is all that follows.
    Denied,
}

/// Holds a packet of a TLS connection's beginning against the rules. `offset` is where its payload
/// stands in what was sent.
#[inline(always)]
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
        let hello = if head.is_null() {
            Hello::Unheld
        } else {
            gather(head, skb, segment, offset)
        };
        if hello == Hello::More {
            return Held::More;
        }
        let ruling = rule(head, hello, &config, ends);
        let denied = ruling.denies();
        if denied || ruling.would() {
            tell(head, hello, ruling, ends);
        }
        bpf_sk_storage_delete(map, sk.cast());
        if denied { Held::Denied } else { Held::Allowed }
    }
}

/// Takes what a packet adds, and reads the hello once it is whole.
#[inline(always)]
unsafe fn gather(head: *mut Head, skb: *mut __sk_buff, segment: &Segment, offset: u64) -> Hello {
    // SAFETY: inside the storage, by the bounds below.
    unsafe {
        let have = (&raw const (*head).len).read_volatile();
        let known = u64::from(have).wrapping_sub(offset);
        if known > u64::from(segment.len) || segment.flags & URG != 0 {
            // A hole before it, or a byte that the far end may leave out.
            return Hello::Unheld;
        }
        let known = known as u32;
        let mut left = segment.len - known;
        if left == 0 {
            return Hello::More;
        }
        if have >= WINDOW as u32 {
            return Hello::Unheld;
        }
        let (mut have, mut from) = (have, segment.payload + known);
        for _ in 0..PIECES {
            // A hello ends within the window, or it is not read.
            if left == 0 || have >= WINDOW as u32 {
                break;
            }
            let len = if left < PIECE { left } else { PIECE };
            let place = (&raw mut (*head).bytes).cast::<u8>();
            let to = place.add(inside(have));
            if !load_raw(skb, from, to, at_most::<PIECE>(len)) {
                return Hello::Unheld;
            }
            (have, from, left) = (have + len, from + len, left - len);
        }
        (&raw mut (*head).len).write_volatile(have);
        read(head, have)
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

#[inline(always)]
unsafe fn read(head: *mut Head, have: u32) -> Hello {
    // SAFETY: reads inside the storage, by `byte`.
    unsafe {
        if have < MESSAGE + 4 {
            return Hello::More;
        }
        if byte(head, 0) != HANDSHAKE || byte(head, MESSAGE) != CLIENT_HELLO {
            return Hello::Unheld;
        }
        let len = byte(head, 6) << 16 | short(head, 7);
        let end = MESSAGE + 4 + len;
        // One record holds it, as clients write it.
        if short(head, 3) < len + 4 || end > WINDOW as u32 {
            return Hello::Unheld;
        }
        if have < end {
            return Hello::More;
        }
        // Version, random, session, cipher suites, compression (4.1.2).
        let mut at = MESSAGE + 4 + 2 + 32;
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
        let at = (&raw const (*head).at).read_volatile();
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

/// What the rules say.
#[inline(always)]
unsafe fn rule(head: *mut Head, hello: Hello, config: &Config, ends: &Stream) -> Ruling {
    let address = by_address(config, &ends.peer, ends.peer_port);
    let mut named = Decision::default();
    if hello == Hello::Whole && !head.is_null() {
        // SAFETY: the storage is this socket's own.
        unsafe {
            if (&raw const (*head).name_len).read_volatile() != 0 {
                let set = NameBuf::ask(&raw mut (*head).name, config).set;
                if set != 0 {
                    named = policy::of_set(config, set, ends.peer_port, IPPROTO_TCP);
                }
            }
        }
    }
    let ruling = if hello == Hello::Unheld {
        Ruling { verdict: verdict::DENY_UNREAD, rule: 0 }
    } else {
        // What the address allows by itself needs no name; a name that is denied is so anywhere.
        let allowed = Ruling::from(address, config.flags & config_flag::NET_DENY != 0);
        let by_name = Ruling::from(named, allowed.denies());
        if allowed.denies() || by_name.denies() || by_name.would() { by_name } else { allowed }
    };
    ruling.under(config)
}

/// What the rules on addresses say, without those on names.
#[inline(always)]
fn by_address(config: &Config, peer: &[u32; 4], port: u32) -> Decision {
    // SAFETY: sixteen bytes, whatever they are.
    let addr = unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(*peer) };
    let key = Key::new(128, addr);
    let Some(set) = PREFIXES.get_value_ptr_mut(config.bank(), &key) else {
        return Decision { kind: decision::DEFAULT, rule: 0 };
    };
    // SAFETY: read at once; a bank in use is not written.
    let set = unsafe { set.read_volatile() };
    policy::of_set(config, set, port, IPPROTO_TCP)
}

/// Tells a denial, with the name.
#[inline(always)]
unsafe fn tell(head: *mut Head, hello: Hello, ruling: Ruling, ends: &Stream) {
    let mut header = ends.who;
    emit::number(&mut header, Ring::Control, EventKind::StreamDenied);
    let Some(mut entry) = CONTROL.reserve::<StreamDeniedEvent>(0) else {
        return emit::lost(Ring::Control);
    };
    let event = entry.as_mut_ptr();
    // SAFETY: the reservation is ours until it is submitted, and is written whole; the name is
    // bounded by its room, and read from the socket's own storage.
    unsafe {
        event.write(StreamDeniedEvent {
            header,
            cookie: ends.cookie,
            local: core::mem::transmute::<[u32; 4], [u8; 16]>(ends.local),
            peer: core::mem::transmute::<[u32; 4], [u8; 16]>(ends.peer),
            local_port: ends.local_port,
            peer_port: ends.peer_port,
            verdict: ruling.verdict,
            rule: ruling.rule,
            why: if hello == Hello::Unheld { denied_why::UNREAD } else { denied_why::SNI },
            name_len: 0,
            name: [0; HOST_LEN],
        });
        if !head.is_null() && hello == Hello::Whole {
            let len = (&raw const (*head).name_len).read_volatile();
            if len != 0 {
                let at = (&raw const (*head).at).read_volatile() as usize & (WINDOW - 1);
                let from = (&raw const (*head).bytes).cast::<u8>().add(at).cast::<c_void>();
                let to = (&raw mut (*event).name).cast::<c_void>();
                if bpf_probe_read_kernel(to, at_most::<{ HOST_LEN as u32 }>(len), from) == 0 {
                    (&raw mut (*event).name_len).write_volatile(len);
                }
            }
        }
    }
    entry.submit(emit::wake(Ring::Control, true));
}

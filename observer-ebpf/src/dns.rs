//! DNS: questions on their way out are judged by name, and what answers say is bound to its
//! addresses before the run gets them.
//!
//! The message stands in a buffer of its own; its names are read one byte a step, by the same
//! callback wherever they stand.

mod answer;
mod message;
mod question;

use core::ffi::c_void;
use core::mem::size_of;

use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_loop, bpf_skb_load_bytes};
use observer_common::{
    Asked, AskedKey, Bound, Config, DNS_MAX, DNS_SEGMENT, DnsEvent, Header, config_flag, dns_flag,
    dns_op, verdict,
};

use crate::emit::{self, Ring};
use crate::kernel::{self, at};
use crate::lineage;
use crate::maps::{DNS, NETWORKS, RESOLVERS};
use crate::names::NameBuf;
use crate::packet::{self, Packet, TCP, UDP, UDPLITE};
use crate::socket::{self, Owner};
use crate::verdict as policy;
use answer::answer;
use question::question;

/// DNS, multicast DNS (RFC 6762), and link-local multicast name resolution (RFC 4795).
const PORT: u32 = 53;
const MULTICAST: u32 = 5353;
const LINK_LOCAL: u32 = 5355;

/// What the hooks return.
const PASS: i32 = 1;
const DROP: i32 = 0;

/// A message's header (RFC 1035, 4.1.1).
const HEAD: u32 = 12;
/// What follows a question's name.
const QUESTION_TAIL: u32 = 4;

/// What a hook takes: each looks at its own, and the verifier with it.
const QUESTIONS: u32 = dns_op::QUESTION;
const ANSWERS: u32 = dns_op::ANSWER;

/// A buffer for one message.
#[repr(C)]
pub struct Scratch {
    busy: u64,
    /// Where the next byte of a name stands.
    at: u32,
    /// Bytes left of its label.
    left: u32,
    /// Pointers lead to below here; 0 where none may stand.
    floor: u32,
    /// Where what follows the name stands; 0 until it is known.
    end: u32,
    /// How reading it stands: [`READING`], [`READ`], [`BAD`].
    state: u32,
    /// Bytes of the message here.
    len: u32,
    /// Where the next message begins in its packet.
    from: u32,
    /// Whether what is here is no message in one piece.
    odd: u32,
    /// Where the packet ends.
    until: u32,
    /// The sequence number at its first byte.
    seq: u32,
    /// Whether all its messages so far may pass.
    pass: u32,
    /// Zero.
    reserved: u32,
    key: AskedKey,
    asked: Asked,
    /// The policy that decides, read once a packet.
    config: Config,
    /// An address that is bound.
    addr: [u8; 16],
    /// A new entry for it, zeros but for its first way.
    fresh: Bound,
    name: NameBuf,
    event: DnsEvent,
    data: [u8; DNS_MAX],
}

/// A packet leaves a socket of the run.
#[inline(always)]
pub fn leaves(skb: *mut __sk_buff) -> i32 {
    let sk = packet::socket(skb);
    if sk.is_null() || !may_be_dns(sk, true) {
        return PASS;
    }
    let config = policy::config();
    let mut packet = Packet::EMPTY;
    if !packet::read(skb, &mut packet) {
        return unread(&config);
    }
    let owner = socket::owner(sk.cast());
    if packet.from_port == PORT {
        answered_itself(&packet, owner.as_ref());
    }
    if !matches!(packet.to_port, PORT | MULTICAST | LINK_LOCAL) || packet.len == 0 {
        return PASS;
    }
    let Some(who) = who(owner.as_ref()) else { return PASS };
    let Some(s) = claim(0) else { return unread(&config) };
    // SAFETY: this CPU's slot, claimed; the context is the hook's own.
    let pass = unsafe {
        (*s).config = config;
        identify(&raw mut (*s).event.header, &who);
        let event = &raw mut (*s).event;
        (*event).cookie = bpf_get_socket_cookie(skb.cast());
        (*event).server = packet.to;
        (*event).port = packet.to_port;
        (*event).local = packet.from;
        (*event).local_port = packet.from_port;
        (*event).protocol = packet.protocol;
        (*event).op = QUESTIONS;
        let pass = each::<QUESTIONS>(skb, s, &packet);
        release(s);
        pass
    };
    if pass { PASS } else { DROP }
}

/// A packet comes to a socket of the run.
#[inline(always)]
pub fn arrives(skb: *mut __sk_buff) -> i32 {
    let sk = packet::socket(skb);
    if sk.is_null() || !may_be_dns(sk, false) {
        return PASS;
    }
    let mut packet = Packet::EMPTY;
    if !packet::read(skb, &mut packet) || packet.from_port != PORT || packet.len == 0 {
        return PASS;
    }
    let config = policy::config();
    let network = socket::owner(sk.cast()).map_or(0, |owner| owner.network);
    let Some(s) = claim(1) else { return unread(&config) };
    // SAFETY: as above.
    unsafe {
        (*s).config = config;
        let event = &raw mut (*s).event;
        (*event).cookie = bpf_get_socket_cookie(skb.cast());
        (*event).server = packet.from;
        (*event).port = packet.from_port;
        (*event).local = packet.to;
        (*event).local_port = packet.to_port;
        (*event).protocol = packet.protocol;
        (*event).op = ANSWERS;
        (*event).verdict = verdict::ALLOW;
        (*event).rule = 0;
        let trusted = RESOLVERS.get(packet.from).copied().unwrap_or(0) != 0
            && NETWORKS.get(network).is_some();
        (*event).flags = if trusted { dns_flag::TRUSTED } else { 0 };
        each::<ANSWERS>(skb, s, &packet);
        release(s);
    }
    PASS
}

/// Whether a socket's packets have to be looked into: the first thing that is asked of each.
#[inline(always)]
fn may_be_dns(sk: *mut bpf_sock, out: bool) -> bool {
    // SAFETY: fields of the packet's socket.
    let (protocol, to, from) = unsafe {
        (
            (&raw const (*sk).protocol).read_volatile(),
            (&raw const (*sk).dst_port).read_volatile(),
            (&raw const (*sk).src_port).read_volatile(),
        )
    };
    match protocol {
        TCP => u32::from(u16::from_be(to)) == PORT || (out && from == PORT),
        UDP | UDPLITE => true,
        _ => false,
    }
}

/// What can't be looked into is counted, and where names are ruled it does not pass.
#[inline(always)]
fn unread(config: &Config) -> i32 {
    emit::dns_busy();
    let held = config.flags & (config_flag::NAME_RULES | config_flag::ADVISORY);
    if held == config_flag::NAME_RULES { DROP } else { PASS }
}

/// A process of the run answers from a resolver's address: what comes from there is its own word.
#[inline(always)]
fn answered_itself(packet: &Packet, owner: Option<&Owner>) {
    // Elsewhere the address is somebody else's. A server's accepted socket has no known network.
    let elsewhere = owner.is_some_and(|owner| {
        // SAFETY: only whether it is there.
        owner.network != 0 && unsafe { NETWORKS.get(owner.network).is_none() }
    });
    // SAFETY: as above.
    if !elsewhere && unsafe { RESOLVERS.get(packet.from).is_some() } {
        let _ = RESOLVERS.insert(packet.from, 0, 0);
    }
}

/// This CPU's buffer for one direction. What comes interrupts what leaves; where anything else
/// is in the way, the second comer leaves the buffer alone.
#[inline(always)]
fn claim(direction: u32) -> Option<*mut Scratch> {
    let s = DNS.get_ptr_mut(2 * emit::cpu() + direction)?;
    // SAFETY: the slot's own counter.
    unsafe {
        let busy = &raw mut (*s).busy;
        if kernel::fetch_add(busy, 1) != 0 {
            kernel::fetch_add(busy, u64::MAX);
            return None;
        }
    }
    Some(s)
}

#[inline(always)]
unsafe fn release(s: *mut Scratch) {
    // SAFETY: the caller claimed it.
    unsafe { kernel::fetch_add(&raw mut (*s).busy, u64::MAX) };
}

/// Who sent a packet: the process that runs, or the one that used the socket last.
struct Who {
    /// 0 for the task that runs.
    pid: u32,
    exec: u64,
}

#[inline(always)]
fn who(owner: Option<&Owner>) -> Option<Who> {
    let task = kernel::current();
    let tgid: u32 = kernel::read_or_zero(task, at!(task_tgid));
    match (owner, lineage::label_of(tgid)) {
        (Some(owner), _) if owner.pid != 0 && owner.pid != tgid => {
            Some(Who { pid: owner.pid, exec: owner.exec })
        }
        (_, Some(label)) => Some(Who { pid: 0, exec: label.exec }),
        (Some(owner), None) if owner.pid != 0 => Some(Who { pid: owner.pid, exec: owner.exec }),
        (_, None) if kernel::task_cgroup_id(task).is_some_and(lineage::is_ours) => {
            Some(Who { pid: 0, exec: 0 })
        }
        (_, None) => None,
    }
}

/// Writes a header. A frame of its own: the stack that a header is made on is free again after.
///
/// # Safety
/// `header` is valid for writing.
#[inline(never)]
unsafe fn identify(header: *mut Header, who: &Who) {
    // SAFETY: as the caller promises.
    unsafe {
        *header = if who.pid == 0 {
            kernel::identify_other(kernel::current(), who.exec)
        } else {
            kernel::absent(who.pid, who.exec)
        };
    }
}

/// The messages of a packet: one in a datagram; in a TCP segment several may follow each other,
/// each after its length (RFC 1035, 4.2.2).
struct Segment {
    skb: *mut __sk_buff,
    s: *mut Scratch,
}

/// Takes each message of a packet; whether all may pass.
///
/// Verifier: what differs from packet to packet stands in the buffer, a map value, before anything
/// is looped over: so all the ways that led here are one from here on.
#[inline(always)]
unsafe fn each<const WHAT: u32>(skb: *mut __sk_buff, s: *mut Scratch, packet: &Packet) -> bool {
    // SAFETY: as the caller promises; the callback has the helper's signature, and the context
    // outlives the call.
    unsafe {
        (&raw mut (*s).from).write_volatile(packet.at);
        (&raw mut (*s).until).write_volatile(packet.at + packet.len);
        (&raw mut (*s).seq).write_volatile(packet.seq.wrapping_sub(packet.at));
        (&raw mut (*s).odd).write_volatile(u32::from(packet.odd));
        (&raw mut (*s).pass).write_volatile(1);
        let mut segment = Segment { skb, s };
        bpf_loop(DNS_SEGMENT as u32 + 1, next::<WHAT> as *mut c_void, (&raw mut segment).cast(), 0);
        (&raw const (*s).pass).read_volatile() != 0
    }
}

/// Takes one message of a packet. Returns 1 to end the loop.
unsafe extern "C" fn next<const WHAT: u32>(index: u64, segment: *mut c_void) -> i64 {
    // SAFETY: what `each` handed over.
    unsafe {
        let c = &mut *segment.cast::<Segment>();
        let s = c.s;
        let mut at = (&raw const (*s).from).read_volatile();
        let until = (&raw const (*s).until).read_volatile();
        if at >= until {
            return 1;
        }
        let rest = until - at;
        let mut len = rest;
        if (&raw const (*s).event.protocol).read_volatile() == TCP {
            let said =
                packet::bytes::<2>(c.skb, at).map(|said| u32::from(u16::from_be_bytes(said)));
            match said {
                Some(said) if said + 2 <= rest && index < DNS_SEGMENT as u64 => {
                    at += 2;
                    len = said;
                }
                // A piece of a message, be it a byte, or more than are read.
                _ => (&raw mut (*s).odd).write_volatile(1),
            }
        }
        (&raw mut (*s).from).write_volatile(at + len);
        let whole = load(c.skb, s, at, len);
        if WHAT == ANSWERS {
            if whole && (&raw const (*s).odd).read_volatile() == 0 {
                answer(s);
            } else {
                emit::dns_busy();
            }
        } else {
            let seq = (&raw const (*s).seq).read_volatile();
            if !question(s, whole, seq.wrapping_add(at)) {
                (&raw mut (*s).pass).write_volatile(0);
            }
        }
        0
    }
}

/// Brings a message into the buffer; whether its header is there.
#[inline(always)]
unsafe fn load(skb: *mut __sk_buff, s: *mut Scratch, at: u32, len: u32) -> bool {
    // SAFETY: the bound is the buffer's.
    unsafe {
        (*s).event.len = len;
        (&raw mut (*s).len).write_volatile(if len > DNS_MAX as u32 { DNS_MAX as u32 } else { len });
        let kept = (&raw const (*s).len).read_volatile();
        // Verifier: the bound must be seen on the value that is used.
        if kept < HEAD || kept > DNS_MAX as u32 {
            (*s).event.kept = 0;
            return false;
        }
        let to = (&raw mut (*s).data).cast::<c_void>();
        if bpf_skb_load_bytes(skb.cast(), at, to, kept) != 0 {
            (&raw mut (*s).len).write_volatile(0);
            (*s).event.kept = 0;
            return false;
        }
        (*s).event.kept = kept;
        true
    }
}

#[inline(always)]
unsafe fn send(s: *mut Scratch, ring: Ring, urgent: bool) {
    // SAFETY: the data stands behind the event, and the bound is its own.
    unsafe {
        let kept = (&raw const (*s).event.kept).read_volatile() as usize;
        if kept <= DNS_MAX {
            let whole = size_of::<DnsEvent>() + kept;
            let bytes = core::slice::from_raw_parts((&raw const (*s).event).cast::<u8>(), whole);
            emit::send_bytes(bytes, ring, urgent);
        }
    }
}

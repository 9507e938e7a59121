//! A TCP segment in a packet, from the network header on.

use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;

use crate::kernel::{self, at};

/// Flags (RFC 9293, 3.1).
pub const FIN: u32 = 1;
/// Begins a connection.
pub const SYN: u32 = 1 << 1;
/// Breaks it off.
pub const RST: u32 = 1 << 2;
/// The urgent pointer counts.
pub const URG: u32 = 1 << 5;

/// A TCP segment.
pub struct Segment {
    /// Its first sequence number.
    pub seq: u32,
    /// Flags.
    pub flags: u32,
    /// Where its payload stands in the packet.
    pub payload: u32,
    /// How long that is.
    pub len: u32,
}

impl Segment {
    /// The segment of a TCP socket's packet; none where it holds none, or another protocol's around
    /// it (a tunnel's): the ports are not the socket's then. `local` says where this end's stands.
    #[inline(always)]
    pub fn of(skb: *mut __sk_buff, sk: *mut bpf_sock, sent: bool) -> Option<Self> {
        // Verifier: the kernel knows where the transport begins (net/ipv4/tcp_output.c,
        // __tcp_transmit_skb; ip6_protocol_deliver_rcu), so that no loop over IPv6's extension
        // headers has to find it.
        let place = skb.cast_const().cast::<u8>();
        let network: u16 = kernel::read_or_zero(place, at!(skb_network_header));
        let transport: u16 = kernel::read_or_zero(place, at!(skb_transport_header));
        let start = u32::from(transport.wrapping_sub(network));
        let mut tcp = [0u32; 5];
        if !load(skb, start, &mut tcp) {
            return None;
        }
        // SAFETY: fields of a checked socket, and of the context.
        let (local, total) = unsafe { ((&raw const (*sk).src_port).read_volatile(), (*skb).len) };
        let ports = u32::from_be(tcp[0]);
        if local != if sent { ports >> 16 } else { ports & 0xffff } {
            return None;
        }
        let bits = u32::from_be(tcp[3]);
        let payload = start + (bits >> 28) * 4;
        Some(Self {
            seq: u32::from_be(tcp[1]),
            flags: bits >> 16 & 0xff,
            payload,
            len: if total > payload { total - payload } else { 0 },
        })
    }
}

/// Copies as many bytes of a packet as there is room for.
#[inline(always)]
pub fn load<T>(skb: *mut __sk_buff, at: u32, to: &mut T) -> bool {
    // SAFETY: as many as there is room for.
    unsafe { load_raw(skb, at, (&raw mut *to).cast(), core::mem::size_of::<T>() as u32) }
}

/// A length from 1 to a power of two, which it is taken to be.
///
/// Verifier: a comparison with 0 leaves 0 possible (before 6.8), and LLVM makes one test of two; a
/// mask does neither.
#[inline(always)]
pub fn at_most<const ROOM: u32>(len: u32) -> u32 {
    const { assert!(ROOM.is_power_of_two()) };
    // SAFETY: a variable of our own; so that nothing is known of it.
    let len = unsafe { (&raw const len).read_volatile() };
    (len.wrapping_sub(1) & (ROOM - 1)) + 1
}

/// Copies bytes of a packet.
///
/// # Safety
/// `to` has room for `len` bytes.
#[inline(always)]
pub unsafe fn load_raw(skb: *mut __sk_buff, at: u32, to: *mut u8, len: u32) -> bool {
    // SAFETY: as the caller promises; the helper checks where it reads.
    unsafe { bpf_skb_load_bytes(skb.cast(), at, to.cast(), len) == 0 }
}

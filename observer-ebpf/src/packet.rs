//! Packets as the cgroup's hooks see them: from the network header on.

use core::ffi::c_void;

use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use aya_ebpf::helpers::generated::{bpf_sk_fullsock, bpf_skb_load_bytes};

pub const TCP: u32 = 6;
pub const UDP: u32 = 17;
pub const UDPLITE: u32 = 136;

/// IPv6 extension headers that are stepped over before one gives up.
const EXTENSIONS: usize = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// A packet's ends, and where its payload stands.
pub struct Packet {
    /// Source address; IPv4 as ::ffff:a.b.c.d.
    pub from: [u8; 16],
    /// Destination address.
    pub to: [u8; 16],
    /// Source port.
    pub from_port: u32,
    /// Destination port.
    pub to_port: u32,
    /// TCP or UDP (UDP-Lite too).
    pub protocol: u32,
    /// TCP's sequence number.
    pub seq: u32,
    /// Where the payload begins.
    pub at: u32,
    /// Its bytes.
    pub len: u32,
    /// Whether the packet is other than it says: its lengths differ, or it is several in one.
    pub odd: bool,
}

/// The whole socket of a packet; null where it has none.
#[inline(always)]
pub fn socket(skb: *mut __sk_buff) -> *mut bpf_sock {
    // SAFETY: a field of the context, and a helper that takes what is not null.
    unsafe {
        let sk = (&raw const (*skb).__bindgen_anon_2.sk).read_volatile();
        if sk.is_null() { sk } else { bpf_sk_fullsock(sk) }
    }
}

/// Reads `N` bytes of the packet.
#[inline(always)]
pub fn bytes<const N: usize>(skb: *mut __sk_buff, at: u32) -> Option<[u8; N]> {
    let mut out = [0u8; N];
    // SAFETY: the helper writes N bytes or none.
    let read =
        unsafe { bpf_skb_load_bytes(skb.cast::<c_void>(), at, out.as_mut_ptr().cast(), N as u32) };
    if read == 0 { Some(out) } else { None }
}

impl Packet {
    /// Nothing read.
    pub const EMPTY: Self = Self {
        from: [0; 16],
        to: [0; 16],
        from_port: 0,
        to_port: 0,
        protocol: 0,
        seq: 0,
        at: 0,
        len: 0,
        odd: false,
    };
}

/// Reads a packet's headers; false where it is neither TCP nor UDP. A frame of its own: the stack
/// that headers are read to is free again after.
#[inline(never)]
pub fn read(skb: *mut __sk_buff, packet: &mut Packet) -> bool {
    headers(skb, packet).is_some()
}

#[inline(always)]
fn headers(skb: *mut __sk_buff, packet: &mut Packet) -> Option<()> {
    // SAFETY: fields of the context.
    let (whole, gso) = unsafe {
        ((&raw const (*skb).len).read_volatile(), (&raw const (*skb).gso_size).read_volatile())
    };
    let [first] = bytes::<1>(skb, 0)?;
    let (protocol, at) = if first >> 4 == 4 {
        let [protocol] = bytes::<1>(skb, 9)?;
        packet.from = mapped(bytes::<4>(skb, 12)?);
        packet.to = mapped(bytes::<4>(skb, 16)?);
        (protocol, u32::from(first & 0xf) * 4)
    } else {
        let ([mut next], mut at) = (bytes::<1>(skb, 6)?, 40);
        packet.from = bytes::<16>(skb, 8)?;
        packet.to = bytes::<16>(skb, 24)?;
        for _ in 0..EXTENSIONS {
            if !matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION) {
                break;
            }
            let [after, len] = bytes::<2>(skb, at)?;
            at += if next == FRAGMENT { 8 } else { (u32::from(len) + 1) * 8 };
            next = after;
        }
        (next, at)
    };
    let ports = bytes::<8>(skb, at)?;
    let word = |i: usize| u32::from(u16::from_be_bytes([ports[i], ports[i + 1]]));
    packet.protocol = u32::from(protocol);
    packet.from_port = word(0);
    packet.to_port = word(2);
    packet.at = at + 8;
    packet.odd = gso != 0;
    match packet.protocol {
        TCP => {
            let [offset] = bytes::<1>(skb, at + 12)?;
            packet.seq = u32::from_be_bytes([ports[4], ports[5], ports[6], ports[7]]);
            packet.at = at + u32::from(offset >> 4) * 4;
            packet.odd = false;
        }
        UDP => packet.odd |= word(4) != whole.wrapping_sub(at),
        UDPLITE => {}
        _ => return None,
    }
    packet.len = whole.saturating_sub(packet.at);
    Some(())
}

#[inline(always)]
fn mapped(v4: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}

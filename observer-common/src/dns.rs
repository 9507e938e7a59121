//! DNS: messages as the wire had them, and what answers bound to addresses.

use core::mem::{offset_of, size_of};

use crate::Header;

/// Bytes kept of a DNS message.
pub const DNS_MAX: usize = 4096;
/// Answers of one message that are bound to their addresses.
pub const DNS_ANSWERS: usize = 64;
/// DNS messages judged in one TCP segment; a question beyond them can't be read.
pub const DNS_SEGMENT: usize = 4;
/// Resolvers that may be trusted.
pub const RESOLVERS_MAX: u32 = 64;
/// Addresses that are bound at most.
pub const BOUND_MAX: usize = 65_536;
/// Names by which one address is remembered.
pub const BOUND_WAYS: usize = 8;
/// Names in a chain of aliases that deny by rules of their own.
pub const BOUND_ALIASES: usize = 2;

/// A DNS message left for a resolver, or came from one. Its bytes follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct DnsEvent {
    /// Who asked.
    pub header: Header,
    /// The call's id: a question's own, and with an answer that of the question.
    pub call: u64,
    /// The socket's cookie.
    pub cookie: u64,
    /// With an answer, when the question was asked: CLOCK_BOOTTIME, nanoseconds.
    pub began: u64,
    /// The resolver's address, in network order; IPv4 as ::ffff:a.b.c.d.
    pub server: [u8; 16],
    /// Its port, in host order.
    pub port: u32,
    /// IP protocol number.
    pub protocol: u32,
    /// A [`dns_op`].
    pub op: u32,
    /// A [`crate::verdict`].
    pub verdict: u32,
    /// The rule that decided.
    pub rule: u32,
    /// Bytes of the message.
    pub len: u32,
    /// Bytes that follow.
    pub kept: u32,
    /// [`dns_flag`] bits.
    pub flags: u32,
    /// This end's port, in host order.
    pub local_port: u32,
    /// Zero.
    pub reserved: u32,
    /// This end's address.
    pub local: [u8; 16],
}

/// What a DNS message is.
pub mod dns_op {
    /// A question.
    pub const QUESTION: u32 = 1;
    /// The answer to one.
    pub const ANSWER: u32 = 2;
}

/// Bits of [`DnsEvent::flags`].
pub mod dns_flag {
    /// It is no single question in one piece: it could not be read.
    pub const UNREAD: u32 = 1;
    /// The resolver is one that is trusted, asked in the run's own network.
    pub const TRUSTED: u32 = 1 << 1;
}

/// A question that waits for its answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AskedKey {
    /// The socket's cookie.
    pub cookie: u64,
    /// The resolver.
    pub server: [u8; 16],
    /// The message's id.
    pub id: u32,
    /// The resolver's port.
    pub port: u32,
}

/// What is remembered of a question.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The call.
    pub call: u64,
    /// When.
    pub began: u64,
    /// A hash of the name.
    pub hash: u64,
    /// The exec of the process that asked.
    pub exec: u64,
    /// Who asked.
    pub pid: u32,
    /// Zero.
    pub reserved: u32,
}

/// How an address came by a name.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// The set of rules on the name that was asked for; 0 where no rule speaks of it.
    pub asked: u32,
    /// The sets of aliases on the way that hold a denial.
    pub aliases: [u32; BOUND_ALIASES],
    /// [`way_flag`] bits.
    pub flags: u32,
}

/// Bits of [`Way::flags`]. Above [`way_flag::GENERATION`] stand the low bits of the generation of
/// the policy whose sets are named, in whose bank it stands.
pub mod way_flag {
    /// The bit from which on the generation stands.
    pub const GENERATION: u32 = 8;
    /// There is a way here.
    pub const USED: u32 = 1;
    /// The answer came from somewhere that may be the agent's: it allows nothing.
    pub const UNTRUSTED: u32 = 1 << 1;
}

/// The names by which an address is known.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Each way once.
    pub ways: [Way; BOUND_WAYS],
    /// Ways that were written so far; past [`BOUND_WAYS`] the oldest were replaced.
    pub next: u64,
}

const _: () = {
    assert!(size_of::<DnsEvent>() == 80 + 96 && offset_of!(DnsEvent, flags) == 148);
    assert!(size_of::<AskedKey>() == 32);
    assert!(size_of::<Asked>() == 40);
    assert!(size_of::<Way>() == 16);
    assert!(size_of::<Bound>() == 16 * BOUND_WAYS + 8);
};

// SAFETY: integers and arrays of them, without padding, as the sizes above assert.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Bound {}

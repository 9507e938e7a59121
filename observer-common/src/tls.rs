//! TLS plaintext: what probes are told of their places, and what they tell.

use core::mem::size_of;

use crate::Header;

/// Plaintext that went through a TLS library, or the end of a connection of its. Its bytes follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct TlsEvent {
    /// Who.
    pub header: Header,
    /// The connection's id within the library, unique on this boot; never 0.
    pub stream: u64,
    /// The cookie of the socket that its ciphertext went through, or 0 while that is not known.
    pub cookie: u64,
    /// Where in its direction these bytes stand: plaintext bytes before them.
    pub offset: u64,
    /// Bytes that this event stands for; those that are not here could not be read, or are more
    /// than is kept of one call.
    pub seen: u32,
    /// How many of them follow.
    pub len: u32,
    /// A [`tls_op`].
    pub op: u32,
    /// The library, and the file's number above it: what its probes were told
    /// ([`tls_site::LIBRARY`], [`tls_site::FILE`]).
    pub library: u32,
}

/// What a [`TlsEvent`] tells.
pub mod tls_op {
    /// Plaintext that the process sent.
    pub const SENT: u32 = 1;
    /// Plaintext that it received.
    pub const RECEIVED: u32 = 2;
    /// The connection's state was freed: no more comes.
    pub const ENDED: u32 = 3;
    /// Nothing but the cookie is new.
    pub const TIED: u32 = 4;
}

/// What a probe is told of its place, as one number (bpf_get_attach_cookie): the bits here, the
/// stack's depth there, and the library.
pub mod tls_site {
    /// The function gives plaintext out; without it, it takes plaintext in.
    pub const RECEIVES: u64 = 1;
    /// The length is where the fourth argument points to, and the result is above 0 for success.
    /// Without it the result is the length.
    pub const OUT: u64 = 1 << 1;
    /// The result has 32 bits.
    pub const RESULT_32: u64 = 1 << 2;
    /// Arguments and results are in Go's registers (ABIInternal), and a goroutine calls.
    pub const GO: u64 = 1 << 3;
    /// The connection's state is freed.
    pub const FREES: u64 = 1 << 4;
    /// The function shakes hands: no plaintext goes through it.
    pub const SHAKES: u64 = 1 << 5;
    /// What is sent stands in pieces (rustls 0.23, `OutboundChunks`): the second argument points to
    /// four words. The first is 0, and the text and its length follow; or it points to the pieces, each a
    /// pointer and a length, and behind it stand how many there are and how many of their bytes are
    /// left out.
    pub const CHUNKS: u64 = 1 << 6;
    /// The function is given what was decrypted (rustls, `ExpectTraffic::handle`): the third argument
    /// points to the connection's pointer, the fourth to four words: what kind of message it is, one that
    /// says nothing, the text, and its length.
    pub const RECORD: u64 = 1 << 7;
    /// Where the kind stands that a message has which is plaintext, three bits: with the highest bit
    /// of 64 it is the first word.
    pub const KIND: u32 = 8;
    /// Where the library stands, eight bits.
    pub const LIBRARY: u32 = 16;
    /// Where the number of the file stands, eight bits: 0 where its functions have names, and one
    /// of its own where they were told by what their code does.
    pub const FILE: u32 = 24;
    /// How far below its caller's the stack stands, 16 bits.
    pub const DEPTH: u32 = 32;
}

/// Plaintext bytes that one event holds at most; what one call moves beyond this comes in more.
pub const TLS_PIECE: usize = 16 << 10;
/// Events of one call at most.
pub const TLS_PIECES: usize = 64;

const _: () = assert!(size_of::<TlsEvent>() == 80 + 40);

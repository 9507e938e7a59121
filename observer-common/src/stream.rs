//! TCP payload of the run's sockets, as `cgroup_skb` sees it.

use core::mem::{offset_of, size_of};

use crate::{HOST_LEN, Header};

/// Bytes that are copied of one direction before the other has its turn. More is copied where a
/// second has gone by.
pub const STREAM_TURN: u32 = 256 * 1024;
/// Bytes that are copied of what a server says before its client has said anything.
pub const STREAM_EARLY: u32 = 1024;
/// Bytes that are copied of a TLS connection's beginning, the ClientHello's and what follows it.
pub const TLS_SENT: u32 = 20 * 1024;
/// The same of the far end: its ServerHello is in the clear, the rest is not asked for.
pub const TLS_RECEIVED: u32 = 1024;
/// The bytes of payload for which room is reserved in an event: the smallest that fits.
pub const STREAM_ROOMS: [u32; 4] = [128, 1024, 4096, 16 * 1024];

/// TCP payload; its bytes follow. Offsets count payload bytes of one direction from the
/// connection's beginning (where it was met half way: from wherever the kernel's own count stands).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct StreamEvent {
    /// Who opened the socket, or listened. All zeros but the time where nobody knows.
    pub header: Header,
    /// The socket's cookie.
    pub cookie: u64,
    /// Where the bytes stand in their direction.
    pub offset: u64,
    /// Bytes right before them that were seen and not copied.
    pub skipped: u64,
    /// Where the other direction stands: all before was seen, and is told or not coming.
    pub other: u64,
    /// This end's address, in network order; IPv4 as ::ffff:a.b.c.d.
    pub local: [u8; 16],
    /// The far end's.
    pub peer: [u8; 16],
    /// This end's port, in host order.
    pub local_port: u32,
    /// The far end's.
    pub peer_port: u32,
    /// A [`direction`].
    pub direction: u32,
    /// [`stream_flag`] bits.
    pub flags: u32,
    /// Payload bytes from `offset` to the packet's end.
    pub seen: u32,
    /// How many follow here.
    pub len: u32,
}

/// A connection of which something was told is closed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct StreamEndEvent {
    /// As in [`StreamEvent::header`].
    pub header: Header,
    /// The socket's cookie.
    pub cookie: u64,
    /// Payload bytes that were sent: retransmitted ones once.
    pub sent: u64,
    /// Payload bytes that came.
    pub received: u64,
    /// [`stream_flag`] bits of both directions.
    pub flags: u32,
    /// `sk_err`: 0, or a positive errno.
    pub error: u32,
}

/// A connection was stopped for the name that it asked for: what brought the name, and all that
/// follows, is dropped.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct StreamDeniedEvent {
    /// As in [`StreamEvent::header`].
    pub header: Header,
    /// The socket's cookie.
    pub cookie: u64,
    /// As in [`StreamEvent`].
    pub local: [u8; 16],
    /// The far end's address.
    pub peer: [u8; 16],
    /// This end's port.
    pub local_port: u32,
    /// The far end's.
    pub peer_port: u32,
    /// A verdict: that it would be denied, where nothing is enforced.
    pub verdict: u32,
    /// The rule that decided.
    pub rule: u32,
    /// A [`denied_why`].
    pub why: u32,
    /// Bytes of the name; 0 where there is none.
    pub name_len: u32,
    /// The name, as it was sent.
    pub name: [u8; HOST_LEN],
}

/// What a connection was stopped for.
pub mod denied_why {
    /// The name in its ClientHello, or that there is none.
    pub const SNI: u32 = 1;
    /// Its beginning can't be read, so that no name can be held against the rules.
    pub const UNREAD: u32 = 2;
    /// The name in a request's Host or target, or that there is none.
    pub const HOST: u32 = 3;
    /// A request can't be read, so that no name can be held against the rules.
    pub const HOST_UNREAD: u32 = 4;
}

/// Directions, as the run's end of a connection sees them.
pub mod direction {
    /// From the run.
    pub const SENT: u32 = 0;
    /// To the run.
    pub const RECEIVED: u32 = 1;
}

/// Bits of [`StreamEvent::flags`] and [`StreamEndEvent::flags`].
pub mod stream_flag {
    /// The direction ends with this packet.
    pub const FIN: u32 = 1;
    /// The connection was reset.
    pub const RESET: u32 = 1 << 1;
    /// The first bytes after the other direction had its turn.
    pub const TURN: u32 = 1 << 2;
    /// This end opened the connection.
    pub const OPENED: u32 = 1 << 3;
    /// The connection is older than its observation.
    pub const HALF_WAY: u32 = 1 << 4;
    /// The urgent pointer is set: the far end may leave a byte out.
    pub const URGENT: u32 = 1 << 5;
}

/// What a direction's bytes are, as far as the kernel side needs to know.
pub mod stream_kind {
    /// Nothing has come yet.
    pub const UNKNOWN: u32 = 0;
    /// An HTTP/1 message, or HTTP/2's preface.
    pub const HTTP: u32 = 1;
    /// A TLS handshake.
    pub const TLS: u32 = 2;
    /// Nothing that is asked for.
    pub const OTHER: u32 = 3;
}

/// The offset at which a sequence number stands, next to a known pair of them. Both count modulo
/// what they count to; what stands before the beginning comes out as a huge number.
#[inline(always)]
pub const fn stream_offset(known_seq: u32, known_offset: u64, seq: u32) -> u64 {
    known_offset.wrapping_add_signed(seq.wrapping_sub(known_seq).cast_signed() as i64)
}

/// What a connection is from the first bytes of it that one end sends: a [`stream_kind`].
/// `head` is zero behind `len`.
#[inline(always)]
pub const fn stream_kind_of(head: &[u8; 8], len: u32) -> u32 {
    // ContentType handshake, legacy_record_version 3.x (RFC 8446, 5.1).
    if head[0] == 0x16 && (len < 2 || head[1] == 3) {
        return stream_kind::TLS;
    }
    // An empty line goes before a request without harm (RFC 9112, 2.2).
    if len > 0 && (head[0] == b'\r' || head[0] == b'\n') {
        return stream_kind::HTTP;
    }
    // A method and a space (RFC 9110, 9.1: a token), of letters as every registered method is,
    // or `PRI * HTTP/2.0`, or a status line. One that is cut short may still become one.
    let mut i = 0;
    while i < 8 {
        let byte = head[i];
        if i as u32 >= len {
            break;
        }
        if byte == b' ' || byte == b'/' {
            return if i >= 3 { stream_kind::HTTP } else { stream_kind::OTHER };
        }
        if !byte.is_ascii_alphabetic() && byte != b'-' && byte != b'_' {
            return stream_kind::OTHER;
        }
        i += 1;
    }
    if len == 0 { stream_kind::UNKNOWN } else { stream_kind::HTTP }
}

const _: () = {
    assert!(size_of::<StreamEvent>() == 80 + 88 && offset_of!(StreamEvent, len) == 164);
    assert!(size_of::<StreamEndEvent>() == 80 + 32);
    assert!(size_of::<StreamDeniedEvent>() == 80 + 64 + HOST_LEN);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_go_on_where_sequence_numbers_wrap() {
        assert_eq!(stream_offset(10, 0, 10), 0);
        assert_eq!(stream_offset(u32::MAX, 7, 4), 12);
        assert_eq!(stream_offset(4, (1 << 32) + 12, u32::MAX), (1 << 32) + 7);
        assert_eq!(stream_offset(10, 0, 9), u64::MAX);
    }

    #[test]
    fn the_first_bytes_tell_what_is_asked_for() {
        let kind = |text: &[u8]| {
            let mut head = [0; 8];
            let len = text.len().min(8);
            head[..len].copy_from_slice(&text[..len]);
            stream_kind_of(&head, text.len() as u32)
        };
        for http in [
            "GET / HTTP/1.1",
            "PROPFIND",
            "PRI * HTTP/2.0",
            "M-SEARCH *",
            "HTTP/1.1",
            "G",
            "\r\nGET",
            "get / ",
        ] {
            assert_eq!(kind(http.as_bytes()), stream_kind::HTTP, "{http}");
        }
        for tls in [&[0x16, 3, 1, 2, 0, 1][..], &[0x16]] {
            assert_eq!(kind(tls), stream_kind::TLS);
        }
        for other in [&b"SSH-2.0-OpenSSH"[..], b"220 mail", b"\0\0\0\x08", b"*1\r\n$4", b"\x16\x02"]
        {
            assert_eq!(kind(other), stream_kind::OTHER, "{other:?}");
        }
        assert_eq!(kind(b""), stream_kind::UNKNOWN);
    }
}

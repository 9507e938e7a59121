//! Bytes from the kernel → [`Event`]. Pure and total: whatever the bytes are, this returns.

use std::mem::{offset_of, size_of};

use observer_common::{
    ArgsEvent, DnsEvent, DoorEvent, EscapeEvent, EventKind, ExecEvent, ExitEvent, FailEvent,
    Header, NetEvent, ResultEvent, StreamDeniedEvent, StreamEndEvent, StreamEvent, TlsEvent,
    UnixEvent, UnixSeenEvent,
};
use thiserror::Error;

/// What the kernel told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A program ran, or was killed before it did.
    Exec {
        /// The fixed part.
        event: ExecEvent,
        /// The file's resolved path: components, leaf first, a NUL after each.
        path: &'a [u8],
        /// The working directory, likewise.
        cwd: &'a [u8],
        /// The file as it was named.
        filename: &'a [u8],
        /// The interpreter; empty where there is none.
        interp: &'a [u8],
        /// The arguments, a NUL after each.
        argv: &'a [u8],
    },
    /// More of an exec's arguments.
    Args {
        /// The fixed part.
        event: ArgsEvent,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// An exec that did not come to be.
    Fail {
        /// The fixed part.
        event: FailEvent,
        /// The file as it was named.
        filename: &'a [u8],
        /// The arguments, a NUL after each.
        argv: &'a [u8],
    },
    /// A process ended.
    Exit(ExitEvent),
    /// A socket was used.
    Net(NetEvent),
    /// A connect ended.
    Result(ResultEvent),
    /// A process left its run's cgroup.
    Escape(EscapeEvent),
    /// A unix socket was connected to.
    Unix {
        /// The fixed part.
        event: UnixEvent,
        /// `sun_path`, as long as the caller said; none where it could not be read.
        path: Option<&'a [u8]>,
    },
    /// A DNS message went out, or came in.
    Dns {
        /// The fixed part.
        event: DnsEvent,
        /// The message, from its header on.
        message: &'a [u8],
    },
    /// TCP payload.
    Stream {
        /// The fixed part.
        event: StreamEvent,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// A connection is closed.
    StreamEnd(StreamEndEvent),
    /// A connection was stopped for the name that it asked for.
    StreamDenied {
        /// The fixed part.
        event: StreamDeniedEvent,
        /// The name, as it was sent; empty where there is none.
        name: &'a [u8],
    },
    /// Something was tried at a door of the system.
    Door(DoorEvent),
    /// A unix socket was judged.
    UnixSeen {
        /// The fixed part.
        event: UnixSeenEvent,
        /// What its server bound: components, leaf first, a NUL after each, or an abstract name.
        name: &'a [u8],
    },
    /// Plaintext of a TLS connection, or its end.
    Tls {
        /// The fixed part.
        event: TlsEvent,
        /// The plaintext.
        bytes: &'a [u8],
    },
}

/// Bytes that are no event. It never happens while both sides are of one build; that it did is
/// counted as a loss.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Too few bytes for any event, or for one of its kind.
    #[error("an event of {0} bytes is too short")]
    Short(usize),
    /// A kind that this build does not know.
    #[error("an event of unknown kind {0}")]
    Kind(u32),
    /// A length inside it that its bytes don't have.
    #[error("an event names more bytes than it has")]
    Length,
}

impl Event<'_> {
    /// The low bits of the generation of the policy that decided; 0 where none has.
    pub fn generation(&self) -> u32 {
        let verdict = match self {
            Self::Exec { event, .. } => event.verdict,
            Self::Fail { event, .. } => event.verdict,
            Self::Net(event) => event.verdict,
            _ => 0,
        };
        verdict >> observer_common::verdict::GENERATION
    }
}

/// Reads one event.
pub fn decode(bytes: &[u8]) -> Result<Event<'_>, DecodeError> {
    let header: Header = fixed(bytes)?;
    let kind = EventKind::try_from(header.kind).map_err(|kind| DecodeError::Kind(kind.0))?;
    let mut rest = bytes.get(kind.fixed_size()..).ok_or(DecodeError::Short(bytes.len()))?;
    Ok(match kind {
        EventKind::Exec => {
            let event: ExecEvent = fixed(bytes)?;
            Event::Exec {
                path: cut(&mut rest, event.path_len)?,
                cwd: cut(&mut rest, event.cwd_len)?,
                filename: text(cut(&mut rest, event.filename_len)?),
                interp: text(cut(&mut rest, event.interp_len)?),
                argv: cut(&mut rest, event.argv_len)?,
                event,
            }
        }
        EventKind::Args => {
            let event: ArgsEvent = fixed(bytes)?;
            Event::Args { bytes: cut(&mut rest, event.len)?, event }
        }
        EventKind::Fail => {
            let event: FailEvent = fixed(bytes)?;
            Event::Fail {
                filename: text(cut(&mut rest, event.filename_len)?),
                argv: cut(&mut rest, event.argv_len)?,
                event,
            }
        }
        EventKind::Exit => Event::Exit(fixed(bytes)?),
        EventKind::Net => Event::Net(fixed(bytes)?),
        EventKind::Result => Event::Result(fixed(bytes)?),
        EventKind::Escape => Event::Escape(fixed(bytes)?),
        EventKind::Unix => {
            let event: UnixEvent = fixed(bytes)?;
            let room = offset_of!(UnixEvent, path)..size_of::<UnixEvent>();
            let mut path = bytes.get(room).unwrap_or_default();
            let path = match event.path_len {
                u32::MAX => None,
                len => Some(cut(&mut path, len)?),
            };
            Event::Unix { event, path }
        }
        EventKind::Dns => {
            let event: DnsEvent = fixed(bytes)?;
            Event::Dns { message: cut(&mut rest, event.kept)?, event }
        }
        EventKind::Stream => {
            let event: StreamEvent = fixed(bytes)?;
            Event::Stream { bytes: cut(&mut rest, event.len)?, event }
        }
        EventKind::StreamEnd => Event::StreamEnd(fixed(bytes)?),
        EventKind::StreamDenied => {
            let event: StreamDeniedEvent = fixed(bytes)?;
            let room = offset_of!(StreamDeniedEvent, name)..size_of::<StreamDeniedEvent>();
            let mut name = bytes.get(room).unwrap_or_default();
            Event::StreamDenied { name: cut(&mut name, event.name_len)?, event }
        }
        EventKind::Door => Event::Door(fixed(bytes)?),
        EventKind::UnixSeen => {
            let event: UnixSeenEvent = fixed(bytes)?;
            Event::UnixSeen { name: cut(&mut rest, event.len)?, event }
        }
        EventKind::Tls => {
            let event: TlsEvent = fixed(bytes)?;
            Event::Tls { bytes: cut(&mut rest, event.len)?, event }
        }
    })
}

fn cut<'a>(rest: &mut &'a [u8], len: u32) -> Result<&'a [u8], DecodeError> {
    let (head, tail) = rest.split_at_checked(len as usize).ok_or(DecodeError::Length)?;
    *rest = tail;
    Ok(head)
}

/// A text up to its NUL.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|&b| b == 0).next().unwrap_or_default()
}

/// A type of integers alone, in the machine's order, from the front of `bytes`.
fn fixed<T: bytemuck::AnyBitPattern>(bytes: &[u8]) -> Result<T, DecodeError> {
    let short = DecodeError::Short(bytes.len());
    let front = bytes.get(..size_of::<T>()).ok_or(short)?;
    bytemuck::try_pod_read_unaligned(front).map_err(|_| short)
}

/// Splits `a\0b\0` into its parts; what has no NUL at its end is a part cut short.
pub fn strings(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|&b| b == 0).map(|part| part.strip_suffix(&[0]).unwrap_or(part))
}

/// A path from its components, leaf first with a NUL each. `whole` says that the root was
/// reached; without it the path begins with its first known directory.
pub fn path(components: &[u8], whole: bool) -> Vec<u8> {
    let parts: Vec<&[u8]> = strings(components).collect();
    let mut out = Vec::with_capacity(components.len() + 1);
    for (i, part) in parts.iter().rev().enumerate() {
        if i > 0 || whole {
            out.push(b'/');
        }
        out.extend_from_slice(part);
    }
    if out.is_empty() && whole {
        out.push(b'/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exec_bytes(parts: [&[u8]; 5]) -> Vec<u8> {
        let event = ExecEvent {
            header: Header { kind: EventKind::Exec as u32, ..Header::default() },
            exec: 7,
            path_len: parts[0].len() as u32,
            cwd_len: parts[1].len() as u32,
            filename_len: parts[2].len() as u32,
            interp_len: parts[3].len() as u32,
            argv_len: parts[4].len() as u32,
            ..ExecEvent::default()
        };
        let mut bytes = bytemuck::bytes_of(&event).to_vec();
        bytes.extend(parts.concat());
        bytes
    }

    #[test]
    fn an_exec_comes_apart_as_it_was_put_together() {
        let bytes = exec_bytes([b"ls\0bin\0", b"tmp\0", b"/bin/ls\0", b"", b"ls\0-l\0\0"]);
        let Ok(Event::Exec { event, path, cwd, filename, interp, argv }) = decode(&bytes) else {
            panic!("{:?}", decode(&bytes));
        };
        assert_eq!((event.exec, path, cwd), (7, &b"ls\0bin\0"[..], &b"tmp\0"[..]));
        assert_eq!((filename, interp), (&b"/bin/ls"[..], &b""[..]));
        assert_eq!(strings(argv).collect::<Vec<_>>(), [&b"ls"[..], b"-l", b""]);
    }

    #[test]
    fn paths_are_put_in_order_and_marked_when_cut() {
        assert_eq!(path(b"ls\0bin\0usr\0", true), b"/usr/bin/ls");
        assert_eq!(path(b"c\0b\0", false), b"b/c");
        assert_eq!(path(b"", true), b"/");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }

        #[test]
        fn no_bytes_of_a_known_kind_panic(kind in 0u32..24, body in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut bytes = kind.to_ne_bytes().to_vec();
            bytes.extend(body);
            if let Ok(Event::Exec { argv, path: p, .. }) = decode(&bytes) {
                let _ = strings(argv).count();
                let _ = path(p, true);
            }
        }
    }
}

//! What crosses the kernel boundary, and every bound on it.
//!
//! Wire types are `#[repr(C)]`, of fixed-size integers only, without padding; a kind travels as an
//! integer and becomes an [`EventKind`] through `TryFrom`. Nothing here knows of records.
#![no_std]

mod dns;
mod doors;
mod event;
mod offsets;
mod stream;
mod table;
mod tls;

pub use dns::{
    Asked, AskedKey, BOUND_ALIASES, BOUND_MAX, BOUND_WAYS, Bound, DNS_ANSWERS, DNS_MAX,
    DNS_SEGMENT, DnsEvent, RESOLVERS_MAX, Way, dns_flag, dns_op, way_flag,
};
pub use doors::{DoorEvent, UnixPrefix, UnixSeenEvent, door, limit, unix_flag, unix_kind};
pub use event::{
    ArgsEvent, Counters, EscapeEvent, EventKind, ExecEvent, ExitEvent, FailEvent, Header, NetEvent,
    ResultEvent, UnixEvent, UnknownKind, exec_flag, net_op, verdict,
};
pub use offsets::Offsets;
pub use stream::{
    STREAM_EARLY, STREAM_ROOMS, STREAM_TURN, StreamDeniedEvent, StreamEndEvent, StreamEvent,
    TLS_RECEIVED, TLS_SENT, denied_why, direction, stream_flag, stream_kind, stream_kind_of,
    stream_offset,
};
pub use table::{
    ArgKey, Config, Decision, FILES_MAX, FileKey, Group, GroupRule, Label, NameKey, NameValue,
    NetKey, PortKey, ProgramKey, ProgramValue, UNHASHED, config_flag, decision, label_flag,
    name_flag, program_kind,
};
pub use tls::{TLS_PIECE, TLS_PIECES, TlsEvent, tls_op, tls_site};

/// The version of everything that is pinned: maps' layouts, wire types. Part of the pins' path.
pub const ABI: u32 = 1;

/// argv bytes kept of one exec.
pub const ARGV_MAX: usize = 48 * 1024;
/// argv bytes carried by one continuation event.
pub const ARGS_CHUNK: usize = 32 * 1024;
/// Continuation events of one exec at most: the kernel's own bound on argv is 6 MiB
/// (fs/exec.c, bprm_stack_limits: three quarters of _STK_LIM).
pub const ARGS_CHUNKS: usize = 192;
/// argv bytes kept of an exec that failed.
pub const FAIL_ARGV_MAX: usize = 12 * 1024;
/// Arguments read of an exec that failed.
pub const FAIL_ARGS: usize = 256;
/// argv bytes kept of an exec that was denied: its event goes through the control ring.
pub const DENIED_ARGV_MAX: usize = 8 * 1024;
/// Components kept of a path, leaf first.
pub const PATH_DEPTH: usize = 48;
/// The longest file name (NAME_MAX), with its NUL.
pub const NAME_LEN: usize = 256;
/// Bytes kept of a path that the kernel resolved.
pub const PATH_MAX: usize = 4096;
/// The longest program path or name that a rule can hold, with a NUL.
pub const PROGRAM_LEN: usize = 256;
/// The longest argument that a rule can hold, with a NUL.
pub const ARG_LEN: usize = 128;
/// Reads of arguments, at [`ARG_LEN`] bytes each, before an argument rule gives up and denies.
pub const ARG_READS: usize = 2048;
/// Room for the key of a host's name: 255 bytes on the wire (RFC 1035, 2.3.4), and the bound of a
/// longest-prefix map's data (kernel/bpf/lpm_trie.c, LPM_DATA_SIZE_MAX).
pub const HOST_LEN: usize = 256;
/// Rules in one group of argument rules.
pub const GROUP_RULES: usize = 16;
/// Destinations that a datagram socket remembers, to tell a new one.
pub const SENT_TO: usize = 4;
/// Room for `sun_path` (include/uapi/linux/un.h: UNIX_PATH_MAX is 108), in words.
pub const UNIX_PATH: usize = 112;
/// Bytes kept of the path of a unix socket that was judged.
pub const UNIX_RESOLVED: usize = 504;
/// Bytes of a unix socket's name that a prefix is held against, with its kind before it.
pub const UNIX_NAME: usize = 112;

//! Events: what the kernel side tells user space, in the order of their bytes.

use core::mem::{offset_of, size_of};

use crate::{DnsEvent, StreamDeniedEvent, StreamEndEvent, StreamEvent, UNIX_PATH};

/// What every event begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Header {
    /// An [`EventKind`].
    pub kind: u32,
    /// The CPU that counted it.
    pub cpu: u32,
    /// The count on this CPU and ring, taken before the reservation: a hole is a loss.
    pub seq: u64,
    /// CLOCK_BOOTTIME, nanoseconds.
    pub time: u64,
    /// Thread group id, initial pid namespace.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// The real parent's thread group id.
    pub ppid: u32,
    /// Effective user id, initial user namespace.
    pub uid: u32,
    /// The cgroup v2 directory's kernfs id.
    pub cgroup: u64,
    /// `task_struct.start_boottime` of the thread group's leader, nanoseconds.
    pub start: u64,
    /// The exec that this process runs since, or 0 (see [`ExecEvent::exec`]).
    pub exec: u64,
    /// `task_struct.comm`.
    pub comm: [u8; 16],
}

/// A program began to run, or was killed before its first instruction.
///
/// Its bytes follow: `path`, `cwd`, `filename`, `interp`, `argv`, in this order, as long as said.
/// Paths are components, leaf first, each with its NUL.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct ExecEvent {
    /// Who; `header.exec` is the exec that caused this one.
    pub header: Header,
    /// This exec's own id, never 0.
    pub exec: u64,
    /// argv bytes there were (`arg_end - arg_start`).
    pub argv_seen: u64,
    /// Bytes of the resolved path of the file.
    pub path_len: u32,
    /// Bytes of the working directory.
    pub cwd_len: u32,
    /// Bytes of the file as named.
    pub filename_len: u32,
    /// Bytes of the interpreter, which equals the file as named where there is none.
    pub interp_len: u32,
    /// Bytes of argv here.
    pub argv_len: u32,
    /// [`exec_flag`] bits.
    pub flags: u32,
    /// A [`verdict`].
    pub verdict: u32,
    /// The rule that decided, as an index into the policy's rules.
    pub rule: u32,
}

/// More of an exec's argv; its bytes follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct ArgsEvent {
    /// Who.
    pub header: Header,
    /// The exec.
    pub exec: u64,
    /// Where in argv these bytes stand.
    pub offset: u64,
    /// How many follow.
    pub len: u32,
    /// Zero.
    pub reserved: u32,
}

/// An exec that did not come to be. Its bytes follow: filename, then argv with a NUL each.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct FailEvent {
    /// Who; `header.exec` is the exec that this process runs since.
    pub header: Header,
    /// The address of argv in the caller, for whoever has to read what the kernel could not.
    pub argv_at: u64,
    /// What the call returned: a negative errno.
    pub error: i32,
    /// Bytes of the file as named.
    pub filename_len: u32,
    /// Bytes of argv here.
    pub argv_len: u32,
    /// [`exec_flag`] bits.
    pub flags: u32,
    /// A [`verdict`].
    pub verdict: u32,
    /// The rule that decided.
    pub rule: u32,
}

/// A process of the run ended, its last thread gone.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct ExitEvent {
    /// Who.
    pub header: Header,
    /// As wait(2) would give it.
    pub status: u32,
    /// 1 where this process itself ran `header.exec`, 0 for a child that only forked.
    pub execed: u32,
}

/// A socket was used: connect, send, bind, listen, open.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct NetEvent {
    /// Who.
    pub header: Header,
    /// This call's id, which its [`ResultEvent`] names.
    pub call: u64,
    /// The socket's cookie.
    pub cookie: u64,
    /// Address, in network order; IPv4 as ::ffff:a.b.c.d.
    pub addr: [u8; 16],
    /// Port, in host order.
    pub port: u32,
    /// A [`net_op`].
    pub op: u32,
    /// IP protocol number.
    pub protocol: u32,
    /// Address family of the socket.
    pub family: u32,
    /// A [`verdict`].
    pub verdict: u32,
    /// The rule that decided.
    pub rule: u32,
}

/// How a connect ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct ResultEvent {
    /// Whoever ran when it ended: often not the caller.
    pub header: Header,
    /// The call.
    pub call: u64,
    /// When the call was made, CLOCK_BOOTTIME, nanoseconds.
    pub began: u64,
    /// 0, or a positive errno.
    pub error: u32,
    /// 1 where the socket was closed before its connection had a result.
    pub abandoned: u32,
}

/// A process was moved out of its run's cgroup.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct EscapeEvent {
    /// Who was moved (not who moved it); `cgroup` is where it was.
    pub header: Header,
    /// The cgroup that it is in now.
    pub to: u64,
}

/// A connect to a unix socket, as it returned.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct UnixEvent {
    /// Who.
    pub header: Header,
    /// This call's id.
    pub call: u64,
    /// 0, or a positive errno.
    pub error: u32,
    /// Bytes of the path; [`u32::MAX`] where they could not be read.
    pub path_len: u32,
    /// `sun_path`: a path, with or without its NUL, or an abstract name after a NUL.
    pub path: [u8; UNIX_PATH],
    /// A [`verdict`]: what is denied is told by [`UnixSeenEvent`](crate::UnixSeenEvent) alone.
    pub verdict: u32,
    /// The rule that decided.
    pub rule: u32,
}

/// Counts of one CPU, never reset.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Counters {
    /// Events meant for the payload ring.
    pub events: u64,
    /// Events meant for the control ring.
    pub control: u64,
    /// Of `events`, those for which the ring had no room.
    pub events_lost: u64,
    /// Of `control`, likewise.
    pub control_lost: u64,
    /// Processes that could not be labelled: the label map is full.
    pub labels_lost: u64,
    /// Events left out since the scratch buffer was in use.
    pub scratch_busy: u64,
    /// Connects whose result cannot be told: no storage on the socket.
    pub flows_lost: u64,
    /// DNS messages left unread since the buffer was in use; where names are ruled, dropped.
    pub dns_busy: u64,
    /// Addresses that could not be bound to their names: the map is full.
    pub names_lost: u64,
    /// Descriptors whose signals are not told: the map is full.
    pub owners_lost: u64,
    /// Ids given to execs and calls on this CPU.
    pub ids: u64,
    /// Events meant for the ring of streams.
    pub streams: u64,
    /// Of `streams`, those for which the ring had no room.
    pub streams_lost: u64,
    /// Connections whose payload is not told: no storage on the socket.
    pub streams_unkept: u64,
    /// Calls of a TLS library that could not be followed: no room, or too deep in each other.
    pub tls_lost: u64,
}

/// The kinds of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EventKind {
    /// [`ExecEvent`].
    Exec = 1,
    /// [`ArgsEvent`].
    Args = 2,
    /// [`FailEvent`].
    Fail = 3,
    /// [`ExitEvent`].
    Exit = 4,
    /// [`NetEvent`].
    Net = 5,
    /// [`ResultEvent`].
    Result = 6,
    /// [`EscapeEvent`].
    Escape = 7,
    /// [`UnixEvent`].
    Unix = 8,
    /// [`DnsEvent`].
    Dns = 9,
    /// [`StreamEvent`].
    Stream = 16,
    /// [`StreamEndEvent`].
    StreamEnd = 17,
    /// [`StreamDeniedEvent`].
    StreamDenied = 18,
    /// [`DoorEvent`](crate::DoorEvent).
    Door = 20,
    /// [`UnixSeenEvent`](crate::UnixSeenEvent).
    UnixSeen = 21,
    /// [`crate::TlsEvent`].
    Tls = 24,
}

impl EventKind {
    /// The bytes that an event of this kind has at least.
    pub const fn fixed_size(self) -> usize {
        match self {
            Self::Exec => size_of::<ExecEvent>(),
            Self::Args => size_of::<ArgsEvent>(),
            Self::Fail => size_of::<FailEvent>(),
            Self::Exit => size_of::<ExitEvent>(),
            Self::Net => size_of::<NetEvent>(),
            Self::Result => size_of::<ResultEvent>(),
            Self::Escape => size_of::<EscapeEvent>(),
            Self::Unix => size_of::<UnixEvent>(),
            Self::Dns => size_of::<DnsEvent>(),
            Self::Stream => size_of::<StreamEvent>(),
            Self::StreamEnd => size_of::<StreamEndEvent>(),
            Self::StreamDenied => size_of::<StreamDeniedEvent>(),
            Self::Door => size_of::<crate::DoorEvent>(),
            Self::UnixSeen => size_of::<crate::UnixSeenEvent>(),
            Self::Tls => size_of::<crate::TlsEvent>(),
        }
    }
}

/// A number that is no [`EventKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownKind(pub u32);

impl TryFrom<u32> for EventKind {
    type Error = UnknownKind;

    fn try_from(kind: u32) -> Result<Self, UnknownKind> {
        Ok(match kind {
            1 => Self::Exec,
            2 => Self::Args,
            3 => Self::Fail,
            4 => Self::Exit,
            5 => Self::Net,
            6 => Self::Result,
            7 => Self::Escape,
            8 => Self::Unix,
            9 => Self::Dns,
            16 => Self::Stream,
            17 => Self::StreamEnd,
            18 => Self::StreamDenied,
            20 => Self::Door,
            21 => Self::UnixSeen,
            24 => Self::Tls,
            other => return Err(UnknownKind(other)),
        })
    }
}

/// Bits of [`ExecEvent::flags`] and [`FailEvent::flags`].
pub mod exec_flag {
    /// The process had run another program before, in the same process.
    pub const REPLACED: u32 = 1;
    /// The file was named by a descriptor.
    pub const BY_FD: u32 = 1 << 1;
    /// The file has no name left (a memfd has none from the start).
    pub const UNLINKED: u32 = 1 << 2;
    /// Some argv bytes could not be read.
    pub const ARGV_UNREAD: u32 = 1 << 3;
    /// There is more argv than fits.
    pub const ARGV_CUT: u32 = 1 << 4;
    /// The path has more components than fit.
    pub const PATH_CUT: u32 = 1 << 5;
    /// The working directory has more components than fit.
    pub const CWD_CUT: u32 = 1 << 6;
    /// Denied since the arguments were too long to be checked whole.
    pub const ARGS_UNCHECKED: u32 = 1 << 7;
    /// The file as named could not be read.
    pub const FILENAME_UNREAD: u32 = 1 << 8;
}

/// What the kernel decided: a kind, [`verdict::WOULD`], and above [`verdict::GENERATION`] the low bits of
/// the generation of the policy that did, or 0.
pub mod verdict {
    /// The bit from which on the policy's generation stands.
    pub const GENERATION: u32 = 16;
    /// The kind alone.
    pub const KIND: u32 = 0xff;
    /// Allowed, by the default.
    pub const ALLOW: u32 = 0;
    /// Allowed, by a rule.
    pub const ALLOW_RULE: u32 = 1;
    /// Denied, by the default.
    pub const DENY: u32 = 2;
    /// Denied, by a rule.
    pub const DENY_RULE: u32 = 3;
    /// Denied: a socket that no destination rule could hold.
    pub const DENY_UNHELD: u32 = 4;
    /// Denied: a question for a name that could not be read.
    pub const DENY_UNREAD: u32 = 5;
    /// A bit beside one that denies: it is not enforced, and the call went on.
    pub const WOULD: u32 = 1 << 8;
}

/// What was done with a socket.
pub mod net_op {
    /// connect(2).
    pub const CONNECT: u32 = 1;
    /// A datagram to a new destination.
    pub const SEND: u32 = 2;
    /// bind(2).
    pub const BIND: u32 = 3;
    /// listen(2).
    pub const LISTEN: u32 = 4;
    /// socket(2) of a kind that destination rules can't hold: raw, and others.
    pub const OPEN: u32 = 5;
    /// connect(2) outside of every cgroup that has the address hooks: seen as it began. One that
    /// the rules deny ended its process.
    pub const CONNECT_UNHOOKED: u32 = 6;
    /// A socket that was made elsewhere came from another process.
    pub const RECEIVE: u32 = 7;
}

const _: () = {
    assert!(size_of::<Header>() == 80 && offset_of!(Header, comm) == 64);
    assert!(size_of::<ExecEvent>() == 80 + 48 && offset_of!(ExecEvent, rule) == 124);
    assert!(size_of::<ArgsEvent>() == 80 + 24);
    assert!(size_of::<FailEvent>() == 80 + 32);
    assert!(size_of::<ExitEvent>() == 80 + 8);
    assert!(size_of::<NetEvent>() == 80 + 56);
    assert!(size_of::<ResultEvent>() == 80 + 24);
    assert!(size_of::<EscapeEvent>() == 80 + 8);
    assert!(size_of::<Counters>() == 120);
    assert!(size_of::<UnixEvent>() == 80 + 24 + UNIX_PATH);
};

#[cfg(feature = "user")]
mod pod {
    // SAFETY: integers only, without padding, as the sizes above assert.
    unsafe impl aya::Pod for super::Counters {}
}

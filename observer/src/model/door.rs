//! Doors beside programs and the internet: unix sockets, other families of sockets, system calls
//! that reach past the run.

use super::Raw;

/// A unix socket, and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unix {
    /// What was attempted.
    pub op: UnixOp,
    /// Where.
    pub address: UnixAddress,
}

/// What is done with unix sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnixOp {
    /// connect(2), or its equal through io_uring.
    Connect,
    /// A datagram to a socket that this process had not sent to.
    Send,
    /// A connected socket came from another process.
    Receive,
}

/// A unix socket's address (unix(7)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnixAddress {
    /// In the filesystem: as the caller wrote it, or where the kernel judged it, as its server
    /// bound it.
    Path(Raw),
    /// A name without a file.
    Abstract(Raw),
    /// None was given.
    Unnamed,
    /// It could not be read.
    Unread,
}

/// A socket of a family that has no destinations which rules could hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherSocket {
    /// Its family (include/linux/socket.h).
    pub family: u16,
    /// Its protocol within that, as socket(2) takes it.
    pub protocol: u32,
}

impl OtherSocket {
    /// The family's word, where it has one.
    pub fn word(self) -> Option<&'static str> {
        Some(match self.family {
            16 => "netlink",
            17 => "packet",
            21 => "rds",
            29 => "can",
            30 => "tipc",
            31 => "bluetooth",
            33 => "rxrpc",
            40 => "vsock",
            43 => "smc",
            44 => "xdp",
            45 => "mctp",
            _ => return None,
        })
    }
}

/// A system call that reaches past the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// Which door.
    pub door: Door,
    /// The process that it was aimed at: its id and short name.
    pub target: Option<(u32, Raw)>,
    /// The door's own number: a signal, a command of bpf(2), a mode of access, what is limited.
    pub value: u32,
}

/// The doors that `system` rules name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Door {
    /// Attaching to, or writing into, a process outside of the run.
    Ptrace,
    /// A signal to a process outside of the run.
    Signal,
    /// bpf(2).
    Bpf,
    /// Mounting, and taking mounts away.
    Mount,
    /// Code for the kernel: modules, kexec.
    Kernel,
    /// A user namespace.
    Userns,
    /// Writing to cgroups that are not the run's, or birth in one that is named.
    Cgroup,
    /// Netlink sockets but those of routing.
    Netlink,
    /// Limits, priorities and scheduling of a process outside of the run.
    Limits,
}

impl Door {
    /// All of them, in the order of their numbers on the wire.
    pub const ALL: [Self; 9] = [
        Self::Ptrace,
        Self::Signal,
        Self::Bpf,
        Self::Mount,
        Self::Kernel,
        Self::Userns,
        Self::Cgroup,
        Self::Netlink,
        Self::Limits,
    ];

    /// The door's word in rules and records.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ptrace => "ptrace",
            Self::Signal => "signal",
            Self::Bpf => "bpf",
            Self::Mount => "mount",
            Self::Kernel => "kernel",
            Self::Userns => "userns",
            Self::Cgroup => "cgroup",
            Self::Netlink => "netlink",
            Self::Limits => "limits",
        }
    }
}

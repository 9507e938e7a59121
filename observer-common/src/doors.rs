//! Doors beside files and internet sockets: system calls that reach past the run, and unix sockets.

use core::mem::{offset_of, size_of};

use crate::{Header, UNIX_NAME, UNIX_RESOLVED};

/// What a `system` rule names, as an index into the table of decisions.
pub mod door {
    /// Attaching to, or writing into, a process outside of the run: ptrace(2),
    /// process_vm_writev(2), `/proc/PID/mem`, pidfd_getfd(2).
    pub const PTRACE: u32 = 0;
    /// A signal to a process outside of the run.
    pub const SIGNAL: u32 = 1;
    /// bpf(2).
    pub const BPF: u32 = 2;
    /// mount(2), umount(2), pivot_root(2), move_mount(2), fsconfig(2)'s new superblock.
    pub const MOUNT: u32 = 3;
    /// Code for the kernel: modules, kexec.
    pub const KERNEL: u32 = 4;
    /// A user namespace.
    pub const USERNS: u32 = 5;
    /// Writing to cgroups that are not the run's, and birth in a cgroup that is named.
    pub const CGROUP: u32 = 6;
    /// Netlink sockets but those of routing, which every name look-up opens.
    pub const NETLINK: u32 = 7;
    /// A limit, a priority or a scheduling policy for a process outside of the run: prlimit(2),
    /// setpriority(2), ioprio_set(2), sched_setscheduler(2), sched_setaffinity(2).
    pub const LIMITS: u32 = 8;
    /// How many there are.
    pub const COUNT: u32 = 9;
}

/// What is set at [`door::LIMITS`]; less is the number of a limit (getrlimit(2)).
pub mod limit {
    /// Its nice value.
    pub const PRIORITY: u32 = 0x100;
    /// Its priority for disks.
    pub const IO_PRIORITY: u32 = 0x101;
    /// Its scheduling policy, or where it may run.
    pub const SCHEDULING: u32 = 0x102;
}

/// Something was tried at a door.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct DoorEvent {
    /// Who.
    pub header: Header,
    /// This call's id.
    pub call: u64,
    /// A [`door`].
    pub door: u32,
    /// The thread group that it was aimed at, or 0.
    pub target: u32,
    /// The door's own number: a signal, a command of bpf(2), a mode.
    pub value: u32,
    /// A [`verdict`](crate::verdict).
    pub verdict: u32,
    /// The rule that decided.
    pub rule: u32,
    /// Zero.
    pub reserved: u32,
    /// The target's short name.
    pub comm: [u8; 16],
}

/// Bits of [`UnixSeenEvent::flags`].
pub mod unix_flag {
    /// A datagram, not a connect.
    pub const DATAGRAM: u32 = 1;
    /// The bytes are an abstract name, not a path.
    pub const ABSTRACT: u32 = 1 << 1;
    /// The path has more bytes, or components, than fit.
    pub const CUT: u32 = 1 << 2;
    /// A socket that is connected there was received from another process.
    pub const RECEIVED: u32 = 1 << 3;
    /// The path stands as it was written, from its beginning: nothing resolved it.
    pub const WRITTEN: u32 = 1 << 4;
}

/// A unix socket was judged: by the name that its server bound, which is what the kernel found.
///
/// Its bytes follow, as long as said: the path as components, leaf first, a NUL after each, or the
/// name.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct UnixSeenEvent {
    /// Who.
    pub header: Header,
    /// This call's id.
    pub call: u64,
    /// [`unix_flag`] bits.
    pub flags: u32,
    /// A [`verdict`](crate::verdict).
    pub verdict: u32,
    /// The rule that decided.
    pub rule: u32,
    /// Bytes of the path or name.
    pub len: u32,
}

/// The beginning of a name, as the key of the longest-prefix map (after its prefix length): a
/// [`unix_kind`], then bytes.
pub type UnixPrefix = [u8; UNIX_NAME];

/// Kinds of keys for unix sockets.
pub mod unix_kind {
    /// A path from the root, leaf first.
    pub const PATH: u32 = 1;
    /// A directory, leaf first: what stands anywhere below.
    pub const BELOW: u32 = 2;
    /// The last part of a path.
    pub const NAME: u32 = 3;
    /// An abstract name.
    pub const ABSTRACT: u32 = 4;
}

const _: () = {
    assert!(size_of::<DoorEvent>() == 80 + 48 && offset_of!(DoorEvent, comm) == 112);
    assert!(size_of::<UnixSeenEvent>() == 80 + 24);
    assert!(UNIX_NAME.is_multiple_of(4) && UNIX_RESOLVED.is_multiple_of(8));
};

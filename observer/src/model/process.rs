//! Who made a call.

use std::fmt;

use super::Raw;

/// A process's identity across pid reuse and reboots: the first sixteen bytes of
/// SHA-256(boot id ‖ pid ‖ start time).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(pub [u8; 16]);

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The process behind a call, as the kernel knew it at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its identity.
    pub id: ProcessId,
    /// Thread group id in the initial pid namespace.
    pub pid: u32,
    /// Its parent's thread group id.
    pub ppid: u32,
    /// Effective user id in the initial user namespace.
    pub uid: u32,
    /// The file that it runs, resolved; empty where it was never seen to exec.
    pub exe: Raw,
    /// The kernel's short name for it, at most 15 bytes, which it can change.
    pub comm: Raw,
    /// Its cgroup's path below the cgroup v2 mount.
    pub cgroup: Raw,
    /// The container's id, where the cgroup's path names one.
    pub container: Option<String>,
}

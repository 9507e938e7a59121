//! Doors → the fields of their records: unix sockets, other families, system calls. Pure.

use observer_common::limit;

use super::json::{Fields, text};
use crate::model::{Door, OtherSocket, System, Unix, UnixAddress, UnixOp};

/// Of a unix socket: its path or its abstract name, and neither where there is none to tell.
pub(super) fn unix(unix: &Unix) -> Fields<'_> {
    let mut out = Fields::new();
    let op = match unix.op {
        UnixOp::Connect => "connect",
        UnixOp::Send => "send",
        UnixOp::Receive => "receive",
    };
    out.insert("op", op);
    out.insert("protocol", "unix");
    match &unix.address {
        UnixAddress::Path(path) => {
            out.insert("path", text(path));
        }
        UnixAddress::Abstract(name) => {
            out.insert("abstract", text(name));
        }
        UnixAddress::Unnamed => {}
        UnixAddress::Unread => {
            out.insert("unread", true);
        }
    }
    out
}

/// Of a socket of another family: its word, or the family's number, and the protocol's.
pub(super) fn socket<'a>(socket: OtherSocket) -> Fields<'a> {
    let family = socket.word().map_or_else(|| format!("family-{}", socket.family), str::to_owned);
    Fields::new().with("number", socket.protocol).with("op", "open").with("protocol", family)
}

/// Of a system call: its door, whom it was aimed at, and what the door's number means.
pub(super) fn system(system: &System) -> Fields<'_> {
    let mut out = Fields::new();
    out.insert("op", system.door.word());
    if let Some((pid, comm)) = &system.target {
        out.insert("target", Fields::new().with("comm", text(comm)).with("pid", *pid));
    }
    match system.door {
        Door::Signal => {
            out.insert("signal", system.value);
        }
        Door::Bpf => {
            out.insert("command", system.value);
        }
        Door::Mount => {
            let what = match system.value {
                1 => "mount",
                2 => "move",
                3 => "umount",
                4 => "pivot_root",
                _ => "superblock",
            };
            out.insert("what", what);
        }
        Door::Kernel => {
            let what = if system.value == 2 { "module" } else { "kexec" };
            out.insert("what", what);
        }
        Door::Limits => {
            out.insert("what", limited(system.value));
        }
        Door::Ptrace | Door::Userns | Door::Cgroup | Door::Netlink => {}
    }
    out
}

/// What is set for a process (include/uapi/asm-generic/resource.h).
fn limited(value: u32) -> &'static str {
    const LIMITS: [&str; 16] = [
        "RLIMIT_CPU",
        "RLIMIT_FSIZE",
        "RLIMIT_DATA",
        "RLIMIT_STACK",
        "RLIMIT_CORE",
        "RLIMIT_RSS",
        "RLIMIT_NPROC",
        "RLIMIT_NOFILE",
        "RLIMIT_MEMLOCK",
        "RLIMIT_AS",
        "RLIMIT_LOCKS",
        "RLIMIT_SIGPENDING",
        "RLIMIT_MSGQUEUE",
        "RLIMIT_NICE",
        "RLIMIT_RTPRIO",
        "RLIMIT_RTTIME",
    ];
    match value {
        limit::PRIORITY => "priority",
        limit::IO_PRIORITY => "io priority",
        limit::SCHEDULING => "scheduling",
        limit => LIMITS.get(limit as usize).copied().unwrap_or("limit"),
    }
}

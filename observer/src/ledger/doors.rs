//! Doors → the fields of their records: unix sockets, other families, system calls. Pure.

use serde_json::{Map, Value, json};

use super::record::text;
use crate::model::{Door, OtherSocket, System, Unix, UnixAddress, UnixOp};

/// Of a unix socket: its path or its abstract name, and neither where there is none to tell.
pub(super) fn unix(unix: &Unix) -> Value {
    let mut out = Map::new();
    let op = match unix.op {
        UnixOp::Connect => "connect",
        UnixOp::Send => "send",
        UnixOp::Receive => "receive",
    };
    out.insert("op".into(), op.into());
    out.insert("protocol".into(), "unix".into());
    match &unix.address {
        UnixAddress::Path(path) => {
            out.insert("path".into(), text(path));
        }
        UnixAddress::Abstract(name) => {
            out.insert("abstract".into(), text(name));
        }
        UnixAddress::Unnamed => {}
        UnixAddress::Unread => {
            out.insert("unread".into(), true.into());
        }
    }
    out.into()
}

/// Of a socket of another family: its word, or the family's number, and the protocol's.
pub(super) fn socket(socket: OtherSocket) -> Value {
    let family = socket.word().map_or_else(|| format!("family-{}", socket.family), str::to_owned);
    json!({ "number": socket.protocol, "op": "open", "protocol": family })
}

/// Of a system call: its door, whom it was aimed at, and what the door's number means.
pub(super) fn system(system: &System) -> Value {
    let mut out = Map::new();
    out.insert("op".into(), system.door.word().into());
    if let Some((pid, comm)) = &system.target {
        out.insert("target".into(), json!({ "comm": text(comm), "pid": pid }));
    }
    match system.door {
        Door::Signal => {
            out.insert("signal".into(), system.value.into());
        }
        Door::Bpf => {
            out.insert("command".into(), system.value.into());
        }
        Door::Mount => {
            let what = match system.value {
                1 => "mount",
                2 => "move",
                3 => "umount",
                4 => "pivot_root",
                _ => "superblock",
            };
            out.insert("what".into(), what.into());
        }
        Door::Kernel => {
            let what = if system.value == 2 { "module" } else { "kexec" };
            out.insert("what".into(), what.into());
        }
        Door::Ptrace | Door::Userns | Door::Cgroup | Door::Netlink => {}
    }
    out.into()
}

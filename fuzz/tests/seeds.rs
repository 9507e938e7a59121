//! Writes the seeds of `decode` anew, after a change of the wire types, and of `verify` the one
//! that no small run has:
//! `cargo test --manifest-path fuzz/Cargo.toml --no-default-features -- --ignored`.

use std::fs;
use std::path::Path;

use bytemuck::bytes_of;
use observer_common::{
    ArgsEvent, DoorEvent, EscapeEvent, EventKind, ExecEvent, ExitEvent, FailEvent, Header,
    NetEvent, ResultEvent, UNIX_PATH, UnixEvent, UnixSeenEvent, door, exec_flag, net_op, unix_flag,
    verdict,
};

fn header(kind: EventKind, time: u64, exec: u64) -> Header {
    let mut comm = [0; 16];
    comm[..5].copy_from_slice(b"agent");
    Header {
        kind: kind as u32,
        seq: time,
        time,
        pid: 42,
        tid: 42,
        ppid: 1,
        uid: 1000,
        cgroup: 7,
        start: 3,
        exec,
        comm,
        ..Header::default()
    }
}

/// An exec and the parts behind it, in their order.
fn exec(time: u64, by: u64, event: ExecEvent, parts: [&[u8]; 5]) -> Vec<u8> {
    let length = |i: usize| parts[i].len() as u32;
    let event = ExecEvent {
        header: header(EventKind::Exec, time, by),
        path_len: length(0),
        cwd_len: length(1),
        filename_len: length(2),
        interp_len: length(3),
        argv_len: length(4),
        argv_seen: event.argv_seen.max(parts[4].len() as u64),
        ..event
    };
    [bytes_of(&event), &parts.concat()].concat()
}

const CURL: [&[u8]; 5] =
    [b"curl\0bin\0usr\0", b"agent\0home\0", b"/usr/bin/curl\0", b"", b"curl\0-s\0example.org\0"];

fn exit(time: u64, exec: u64, status: u32) -> Vec<u8> {
    let header = header(EventKind::Exit, time, exec);
    bytes_of(&ExitEvent { header, status, execed: 1 }).to_vec()
}

fn net(time: u64, op: u32, protocol: u32, event: NetEvent) -> Vec<u8> {
    let mut addr = [0; 16];
    addr[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
    let header = header(EventKind::Net, time, 1);
    let event = NetEvent { header, cookie: 5, addr, port: 443, op, protocol, family: 2, ..event };
    bytes_of(&event).to_vec()
}

fn result(time: u64, call: u64, error: u32) -> Vec<u8> {
    let header = header(EventKind::Result, time, 1);
    bytes_of(&ResultEvent { header, call, began: 2, error, abandoned: 0 }).to_vec()
}

fn fail(flags: u32, argv: &[u8]) -> Vec<u8> {
    let filename = b"/usr/bin/missing\0";
    let event = FailEvent {
        header: header(EventKind::Fail, 4, 1),
        argv_at: 0x7fff_0000,
        error: -2,
        filename_len: filename.len() as u32,
        argv_len: argv.len() as u32,
        flags,
        ..FailEvent::default()
    };
    [bytes_of(&event), filename, argv].concat()
}

fn more(offset: u64, bytes: &[u8]) -> Vec<u8> {
    let header = header(EventKind::Args, 3, 1);
    let event = ArgsEvent { header, exec: 1, offset, len: bytes.len() as u32, reserved: 0 };
    [bytes_of(&event), bytes].concat()
}

fn unix(time: u64, error: u32, path_len: u32, name: &[u8]) -> Vec<u8> {
    let mut path = [0; UNIX_PATH];
    path[..name.len()].copy_from_slice(name);
    let header = header(EventKind::Unix, time, 1);
    bytes_of(&UnixEvent { header, call: time, error, path_len, path, verdict: 0, rule: 0 }).to_vec()
}

fn unix_seen(flags: u32, verdict: u32, name: &[u8]) -> Vec<u8> {
    let (header, len) = (header(EventKind::UnixSeen, 7, 1), name.len() as u32);
    let event = UnixSeenEvent { header, call: 9, flags, verdict, rule: 0, len };
    [bytes_of(&event), name].concat()
}

fn door(door: u32, value: u32, target: u32) -> Vec<u8> {
    let header = header(EventKind::Door, 8, 1);
    let event = DoorEvent { header, door, value, target, ..DoorEvent::default() };
    bytes_of(&event).to_vec()
}

#[test]
#[ignore = "it writes into the corpus"]
fn write_the_seeds_of_decode() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/decode");
    let one = || ExecEvent { exec: 1, ..ExecEvent::default() };
    let tcp = |call| NetEvent { call, ..NetEvent::default() };
    let denied = NetEvent { verdict: verdict::DENY_RULE, rule: 1, ..tcp(10) };
    let cut = ExecEvent {
        flags: exec_flag::ARGV_CUT | exec_flag::PATH_CUT | exec_flag::REPLACED,
        argv_seen: 400,
        ..one()
    };
    let killed = ExecEvent { verdict: verdict::DENY_RULE, rule: 2, ..one() };
    let escape = EscapeEvent { header: header(EventKind::Escape, 5, 1), to: 9 };
    let seeds: [(&str, Vec<Vec<u8>>); 10] = [
        ("exec-and-exit", vec![exec(1, 0, one(), CURL), exit(9, 1, 3 << 8)]),
        ("exec-killed", vec![exec(1, 0, killed, CURL), exit(2, 1, 9)]),
        ("argv-in-pieces", vec![exec(1, 0, cut, CURL), more(20, b"more\0"), more(25, &[b'x'; 90])]),
        ("exec-fails", vec![exec(1, 0, one(), CURL), fail(0, b"missing\0-x\0"), exit(5, 1, 0)]),
        ("exec-fails-unread", vec![fail(exec_flag::ARGV_UNREAD | exec_flag::FILENAME_UNREAD, b"")]),
        (
            "connect-and-result",
            vec![
                net(2, net_op::CONNECT, 6, tcp(10)),
                net(2, net_op::CONNECT, 6, tcp(11)),
                result(3, 10, 0),
                result(4, 11, 111),
                result(5, 12, 0),
            ],
        ),
        (
            "sockets-of-each-kind",
            vec![
                net(2, net_op::SEND, 17, tcp(10)),
                net(2, net_op::BIND, 6, tcp(11)),
                net(3, net_op::LISTEN, 6, tcp(12)),
                net(4, net_op::OPEN, 1, tcp(13)),
                net(5, net_op::CONNECT, 6, denied),
            ],
        ),
        (
            "unix-sockets-by-path-and-name",
            vec![
                unix(2, 0, 21, b"/var/run/docker.sock\0"),
                unix(3, 111, 7, b"\0a-name"),
                unix(4, 22, 0, b""),
                unix(5, 14, u32::MAX, b""),
                net(6, net_op::CONNECT_UNHOOKED, 6, denied),
            ],
        ),
        (
            "doors-and-judged-sockets",
            vec![
                unix_seen(0, verdict::DENY_RULE, b"docker.sock\0run\0"),
                unix_seen(unix_flag::ABSTRACT | unix_flag::DATAGRAM, 0, b"a-name"),
                unix_seen(unix_flag::CUT | unix_flag::RECEIVED, verdict::DENY_UNHELD, b"x\0"),
                door(door::SIGNAL, 9, 1),
                door(door::MOUNT, 5, 0),
                door(99, 0, 0),
            ],
        ),
        ("escape", vec![exec(1, 0, one(), CURL), bytes_of(&escape).to_vec(), exit(8, 1, 0)]),
    ];
    for (name, events) in seeds {
        let framed = events.iter().flat_map(|event| {
            let length = u16::try_from(event.len()).unwrap().to_le_bytes();
            length.into_iter().chain(event.iter().copied())
        });
        fs::write(dir.join(name), framed.collect::<Vec<u8>>()).unwrap();
    }
}

/// More records at once than are signed each: all but the last wait for its signature.
#[test]
#[ignore = "it writes into the corpus"]
fn write_the_seed_of_unsigned_lines() {
    use observer::ledger::{Entry, HostKey, Writer};
    use observer::model::Stamp;
    let dir = std::env::temp_dir().join(format!("observer-fuzz-{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    let (key, _) = HostKey::open_or_create(&dir.join("state")).unwrap();
    let (mut writer, _) = Writer::open(&dir.join("ledger"), key).unwrap();
    let at = Stamp { mono_ns: 1, wall_ns: 1_700_000_000_000_000_000 };
    let (version, kernel, boot_id) = ("0".to_owned(), "6.12".to_owned(), "boot".to_owned());
    writer.append(Entry::ObserverStart { at, version, kernel, boot_id });
    for lost in 0..70 {
        let (place, why) = ("ring".to_owned(), "full".to_owned());
        writer.append(Entry::Loss { run: None, at, place, lost, why });
    }
    writer.commit().unwrap();
    let bytes = fs::read(dir.join("ledger")).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/verify");
    fs::write(seeds.join("group-with-unsigned-lines"), bytes).unwrap();
}

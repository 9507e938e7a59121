//! Writes the seeds of `decode` anew, after a change of the wire types, and of `verify` the one
//! that no small run has:
//! `cargo test --manifest-path fuzz/Cargo.toml --no-default-features -- --ignored`.

use std::fs;
use std::path::{Path, PathBuf};

use bytemuck::{Zeroable, bytes_of};
use observer_common::{
    ArgsEvent, DnsEvent, DoorEvent, EscapeEvent, EventKind, ExecEvent, ExitEvent, FailEvent,
    HOST_LEN, Header, NetEvent, ResultEvent, StreamDeniedEvent, TlsEvent, UNIX_PATH, UnixEvent,
    UnixSeenEvent, denied_why, dns_op, door, exec_flag, net_op, tls_op, unix_flag, verdict,
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

fn tls(time: u64, cookie: u64, op: u32, offset: u64, bytes: &[u8]) -> Vec<u8> {
    let header = header(EventKind::Tls, time, 1);
    let (seen, len) = (bytes.len() as u32 + 1, bytes.len() as u32);
    let event = TlsEvent { header, stream: 1, cookie, offset, seen, len, op, library: 0 };
    [bytes_of(&event), bytes].concat()
}

/// A library of 64-bit words and two functions, as small as one can be.
fn library() -> Vec<u8> {
    let code = b"\x55\xc3\x48\x83\xec\x08\xe8\x05\0\0\0\x74\x01\x90\xc3\xc3";
    let names = b"\0SSL_write\0SSL_read\0";
    let word = |n: u64| n.to_le_bytes();
    let mut symbols = vec![0u8; 24];
    for (name, at, size) in [(1u32, 0x1000u64, 2u64), (11, 0x1002, 13)] {
        symbols
            .extend([&name.to_le_bytes()[..], &[0x12, 0, 1, 0], &word(at), &word(size)].concat());
    }
    let (phoff, code_at) = (64u64, 120u64);
    let names_at = code_at + code.len() as u64;
    let symbols_at = names_at + names.len() as u64;
    let shoff = symbols_at + symbols.len() as u64;
    let half = |n: u16| n.to_le_bytes();
    let int = |n: u32| n.to_le_bytes();
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([&half(3)[..], &half(62), &int(1), &word(0), &word(phoff), &word(shoff)].concat());
    file.extend(
        [&int(0)[..], &half(64), &half(56), &half(1), &half(64), &half(3), &half(0)].concat(),
    );
    file.extend([&int(1)[..], &int(5), &word(code_at), &word(0x1000), &word(0)].concat());
    file.extend([word(code.len() as u64), word(code.len() as u64), word(16)].concat());
    file.extend(code);
    file.extend(names);
    file.extend(&symbols);
    let section = |kind: u32, at: u64, size: usize, link: u32, entry: u64| {
        let head = [&int(0)[..], &int(kind), &word(0), &word(0), &word(at), &word(size as u64)];
        [&head.concat()[..], &int(link), &int(1), &word(1), &word(entry)].concat()
    };
    file.extend(section(0, 0, 0, 0, 0));
    file.extend(section(3, names_at, names.len(), 0, 0));
    file.extend(section(11, symbols_at, symbols.len(), 1, 24));
    file
}

#[test]
#[ignore = "it writes into the corpus"]
fn write_the_seeds_of_elf() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/elf");
    fs::create_dir_all(&dir).unwrap();
    let looked = observer::tls::look(&library()).unwrap();
    assert_eq!(looked.found.len(), 1, "{looked:?}");
    assert_eq!(looked.found[0].held, ["SSL_write", "SSL_read"], "{looked:?}");
    fs::write(dir.join("two-functions"), library()).unwrap();
    fs::write(dir.join("cut"), &library()[..150]).unwrap();
    // Where the program headers are (e_phoff), and how many sections there are (e_shnum).
    let with = |at: usize, byte: u8| {
        let mut file = library();
        file[at] = byte;
        file
    };
    fs::write(dir.join("headers-past-the-end"), with(39, 0xff)).unwrap();
    fs::write(dir.join("more-sections-than-there-are"), with(61, 0xff)).unwrap();
}

fn dns(time: u64, op: u32, message: &[u8]) -> Vec<u8> {
    let mut server = [0; 16];
    server[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 53]);
    let event = DnsEvent {
        header: header(EventKind::Dns, time, 1),
        call: 7,
        cookie: 5,
        server,
        port: 53,
        protocol: 17,
        op,
        len: message.len() as u32,
        kept: message.len() as u32,
        ..DnsEvent::default()
    };
    [bytes_of(&event), message].concat()
}

fn stopped(time: u64, verdict: u32, asked: &[u8]) -> Vec<u8> {
    let mut name = [0; HOST_LEN];
    name[..asked.len()].copy_from_slice(asked);
    let event = StreamDeniedEvent {
        header: header(EventKind::StreamDenied, time, 1),
        cookie: 5,
        peer_port: 80,
        verdict,
        rule: 1,
        why: denied_why::HOST,
        name_len: asked.len() as u32,
        name,
        ..Zeroable::zeroed()
    };
    bytes_of(&event).to_vec()
}

const QUESTION: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01";
const ANSWER: &[u8] = b"\0\x07\x81\x80\0\x01\0\x02\0\0\0\0\x01a\x07example\0\0\x01\0\x01\
    \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01b\xc0\x0e\
    \xc0\x27\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01";

#[test]
#[ignore = "it writes into the corpus"]
fn write_the_seeds_of_decode() {
    for (path, bytes) in seeds_of_decode() {
        fs::write(path, bytes).unwrap();
    }
}

/// After a change of the wire types they have to be written anew.
#[test]
fn the_seeds_of_decode_are_of_the_wire_types_as_they_are() {
    for (path, bytes) in seeds_of_decode() {
        assert!(fs::read(&path).is_ok_and(|seed| seed == bytes), "stale: {}", path.display());
    }
}

fn seeds_of_decode() -> Vec<(PathBuf, Vec<u8>)> {
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
    let seeds: [(&str, Vec<Vec<u8>>); 14] = [
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
            "dns-question-and-answer",
            vec![dns(2, dns_op::QUESTION, QUESTION), dns(3, dns_op::ANSWER, ANSWER)],
        ),
        ("question-at-the-end-of-time", vec![dns(u64::MAX - 2, dns_op::QUESTION, QUESTION)]),
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
        (
            "requests-stopped-and-not-read",
            vec![
                stopped(2, verdict::DENY_RULE | verdict::WOULD, b"a.example"),
                stopped(3, verdict::DENY_RULE | verdict::WOULD, b"b.example"),
                stopped(4, verdict::DENY_RULE, b""),
            ],
        ),
        (
            "tls-plaintext",
            vec![
                tls(2, 0, tls_op::SENT, 0, b"GET / HTTP/1.1\r\n\r"),
                tls(3, 9, tls_op::TIED, 19, b""),
                tls(4, 9, tls_op::RECEIVED, 5, b"HTTP/1.1 200 OK\r\n"),
                tls(5, 9, tls_op::ENDED, 19, b""),
            ],
        ),
        ("escape", vec![exec(1, 0, one(), CURL), bytes_of(&escape).to_vec(), exit(8, 1, 0)]),
    ];
    let framed = |events: Vec<Vec<u8>>| {
        let framed = |event: Vec<u8>| {
            let length = (event.len() as u16).to_le_bytes();
            [&length[..], &event].concat()
        };
        events.into_iter().flat_map(framed).collect()
    };
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/decode");
    seeds.into_iter().map(|(name, events)| (dir.join(name), framed(events))).collect()
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

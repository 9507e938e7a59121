//! What a record costs, stage by stage, from the kernel's bytes to a synced file: the part of the
//! work that the agent does not wait for, but that a small machine has to find the time for.
//!
//! Each round takes the same events through all stages; the figure is the median of the rounds.

mod common;

use std::time::{Duration, Instant};

use common::begin;
use observer::assemble::{Assembler, Fingerprint, Item, Names};
use observer::clock;
use observer::decode;
use observer::ledger::{Entry, HostKey, Writer};
use observer::mask::{MaskKey, Masker};
use observer::model::{Raw, RunId};
use observer_common::{
    EventKind, ExecEvent, ExitEvent, Header, NetEvent, ResultEvent, StreamEvent, direction, net_op,
    stream_flag, verdict,
};

/// Calls in a round, and rounds.
const CALLS: u64 = 20_000;
const ROUNDS: usize = 9;
/// Events that go through a stage at once.
const BATCH: usize = 64;
/// Records in a commit group.
const GROUP: usize = 512;

fn main() {
    println!(
        "{:<18} {:>8} {:>8} {:>8}   (ns for each call and its end, of {CALLS})",
        "stage", "exec", "connect", "http"
    );
    let all = [rounds(exec_events), rounds(connect_events), rounds(http_events)];
    let stages: [(&str, Stage); 4] = [
        ("decode, assemble", |s| s.assemble),
        ("mask", |s| s.mask),
        ("ledger", |s| s.ledger),
        ("all", |s| s.assemble + s.mask + s.ledger),
    ];
    for (name, of) in stages {
        row(name, all.each_ref().map(|rounds| median(rounds, of)));
    }
    // A call and its end are two records.
    let whole: Stage = |s| s.assemble + s.mask + s.ledger;
    row(
        "records a second",
        all.each_ref().map(|rounds| 2_000_000_000 / median(rounds, whole).max(1)),
    );
}

fn row(name: &str, figures: [u128; 3]) {
    let [exec, connect, http] = figures;
    println!("{name:<18} {exec:>8} {connect:>8} {http:>8}");
}

/// What a round took in each stage.
#[derive(Default)]
struct Stages {
    assemble: Duration,
    mask: Duration,
    ledger: Duration,
}

/// One of them.
type Stage = fn(&Stages) -> Duration;

fn rounds(events: fn() -> Vec<Vec<u8>>) -> Vec<Stages> {
    let events = events();
    // Once for nothing: what is compiled or looked up at first use.
    round(&events);
    (0..ROUNDS).map(|_| round(&events)).collect()
}

/// Nanoseconds a call.
fn median(rounds: &[Stages], of: Stage) -> u128 {
    let mut times: Vec<u128> = rounds.iter().map(|s| of(s).as_nanos()).collect();
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0, |ns| ns / u128::from(CALLS))
}

/// All events, a batch after the other through all stages, as the ledger's thread takes them.
fn round(events: &[Vec<u8>]) -> Stages {
    let run = RunId::generate();
    let mut assembler = Assembler::new(run, "boot", clock::wall_offset());
    let mut world = World;
    let key = MaskKey::generate().expect("randomness");
    let mut masker = Masker::new(key);
    let dir = tempfile::tempdir().expect("a directory");
    let (host, _) = HostKey::open_or_create(dir.path()).expect("a key");
    let (mut writer, _) = Writer::open(&dir.path().join("ledger.jsonl"), host).expect("a ledger");
    begin(&mut writer, run);
    let mut stages = Stages::default();
    let mut waiting = 0;
    for batch in events.chunks(BATCH) {
        let mut items = vec![];
        let began = Instant::now();
        for bytes in batch {
            match decode::decode(bytes) {
                Ok(event) => assembler.event(&event, &mut world, &mut items),
                Err(error) => panic!("{error}"),
            }
        }
        stages.assemble += began.elapsed();

        let began = Instant::now();
        let entries: Vec<Entry> = items.into_iter().map(|item| masked(&mut masker, item)).collect();
        stages.mask += began.elapsed();

        let began = Instant::now();
        waiting += entries.len();
        entries.into_iter().for_each(|entry| writer.append(entry));
        if waiting >= GROUP {
            writer.commit().expect("a commit");
            waiting = 0;
        }
        stages.ledger += began.elapsed();
    }
    let began = Instant::now();
    writer.commit().expect("a commit");
    stages.ledger += began.elapsed();
    stages
}

fn masked(masker: &mut Masker, item: Item) -> Entry {
    match item {
        Item::Call(call) => Entry::Call(Box::new(masker.call(*call))),
        Item::Result(result) => Entry::Result(result),
        Item::Resolved(answer) => Entry::Resolved(Box::new(masker.resolved(*answer))),
        Item::Answer(answer) => Entry::Answer(Box::new(masker.answer(*answer))),
        Item::TlsEnd(_) | Item::Confirmed { .. } => panic!("nobody talks TLS here"),
        Item::Answered { .. } => panic!("nobody asks for names here"),
        Item::Escape { .. } | Item::Coverage { .. } => panic!("nobody escapes here"),
    }
}

fn header(kind: EventKind, n: u64) -> Header {
    let mut comm = [0; 16];
    comm[..4].copy_from_slice(b"node");
    Header {
        kind: kind as u32,
        seq: n,
        time: 1_000_000_000 + n * 1000,
        pid: 4242,
        tid: 4242,
        ppid: 4200,
        uid: 1000,
        cgroup: 7,
        start: 900_000_000,
        exec: 1,
        comm,
        ..Header::default()
    }
}

/// Programs as a build runs them, each with its end.
fn exec_events() -> Vec<Vec<u8>> {
    let mut out = vec![];
    for n in 0..CALLS {
        let (path, cwd): (&[u8], &[u8]) = (b"git\0bin\0usr\0", b"work\0agent\0home\0");
        let name = b"/usr/bin/git\0";
        let argv = format!("git\0-C\0/home/agent/work\0show\0--stat\0HEAD~{n}\0--\0src/main.rs\0");
        let exec = n + 2;
        let event = ExecEvent {
            header: header(EventKind::Exec, n),
            exec,
            argv_seen: argv.len() as u64,
            path_len: path.len() as u32,
            cwd_len: cwd.len() as u32,
            filename_len: name.len() as u32,
            argv_len: argv.len() as u32,
            ..ExecEvent::default()
        };
        out.push([bytemuck::bytes_of(&event), path, cwd, name, argv.as_bytes()].concat());
        let header = Header { exec, ..header(EventKind::Exit, n) };
        let event = ExitEvent { header, status: 0, execed: 1 };
        out.push(bytemuck::bytes_of(&event).to_vec());
    }
    out
}

/// Connects to an API, each with its result.
fn connect_events() -> Vec<Vec<u8>> {
    let mut out = vec![];
    for n in 0..CALLS {
        let call = n + 1;
        let event = NetEvent {
            header: header(EventKind::Net, n),
            call,
            cookie: call,
            addr: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7],
            port: 443,
            op: net_op::CONNECT,
            protocol: 6,
            family: 2,
            verdict: verdict::ALLOW,
            rule: 0,
        };
        out.push(bytemuck::bytes_of(&event).to_vec());
        let header = header(EventKind::Result, n);
        let event = ResultEvent { header, call, began: header.time, error: 0, abandoned: 0 };
        out.push(bytemuck::bytes_of(&event).to_vec());
    }
    out
}

/// Requests over one connection that stays open: a JSON body of 600 bytes, and a short answer.
fn http_events() -> Vec<Vec<u8>> {
    let mut out = vec![];
    let mut stood = [0; 2];
    for n in 0..CALLS {
        let body = format!("{{\"n\":{n:010},\"text\":\"{}\"}}", "all is well. ".repeat(44));
        let body = &body[..600.min(body.len())];
        let request = format!(
            "POST /v1/items/{n} HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: agent/1.0\r\n\
             Accept: */*\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\
                      \r\n{\"done\":\"true\"}";
        for (way, bytes) in [(direction::SENT, request.as_str()), (direction::RECEIVED, answer)] {
            let (at, other) = (stood[way as usize], stood[1 - way as usize]);
            let event = StreamEvent {
                header: header(EventKind::Stream, n),
                cookie: 7,
                offset: at,
                skipped: 0,
                other,
                local: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1],
                peer: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7],
                local_port: 40_000,
                peer_port: 80,
                direction: way,
                flags: stream_flag::OPENED,
                seen: bytes.len() as u32,
                len: bytes.len() as u32,
            };
            stood[way as usize] += bytes.len() as u64;
            out.push([bytemuck::bytes_of(&event), bytes.as_bytes()].concat());
        }
    }
    out
}

/// A system that answers as the real one does, without asking.
struct World;

impl Names for World {
    fn cgroup(&mut self, _id: u64) -> Raw {
        Raw::from("/observer/01a20f96-9763-76fe-a785-9a37f677be63")
    }

    fn rule(&self, _: u32, index: u32) -> String {
        format!("rule-{index}")
    }

    fn fingerprint(&self) -> Box<dyn Fingerprint> {
        Box::new(Nothing)
    }
}

/// Nothing here is cut, so nothing is hashed.
struct Nothing;

impl Fingerprint for Nothing {
    fn update(&mut self, _bytes: &[u8]) {}

    fn finish(self: Box<Self>) -> String {
        String::new()
    }
}

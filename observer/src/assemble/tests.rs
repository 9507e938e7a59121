//! What comes of events, one story a test.

use observer_common::{
    ArgsEvent, EventKind, ExecEvent, ExitEvent, FailEvent, Header, NetEvent, ResultEvent,
    exec_flag, net_op, verdict,
};

use super::*;
use crate::model::{Action, CutField, NetOp};

pub(super) struct World;

struct Plain(Vec<u8>);

impl Fingerprint for Plain {
    fn update(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    fn finish(self: Box<Self>) -> String {
        format!("{} bytes", self.0.len())
    }
}

impl Names for World {
    fn cgroup(&mut self, id: u64) -> Raw {
        Raw::new(format!("/observer/{id}"))
    }
    fn rule(&self, _: u32, index: u32) -> String {
        format!("rule-{index}")
    }
    fn fingerprint(&self) -> Box<dyn Fingerprint> {
        Box::new(Plain(vec![]))
    }
}

pub(super) fn header(kind: EventKind, time: u64, exec: u64) -> Header {
    let mut comm = [0; 16];
    comm[..2].copy_from_slice(b"sh");
    Header { kind: kind as u32, time, pid: 42, start: 7, exec, comm, ..Header::default() }
}

pub(super) fn exec(time: u64, by: u64, id: u64) -> ExecEvent {
    ExecEvent { header: header(EventKind::Exec, time, by), exec: id, ..ExecEvent::default() }
}

pub(super) fn as_event(event: ExecEvent, argv: &'static [u8]) -> Event<'static> {
    Event::Exec { event, path: b"ls\0bin\0", cwd: b"", filename: b"ls", interp: b"", argv }
}

fn exit(time: u64, exec: u64, status: u32) -> Event<'static> {
    Event::Exit(ExitEvent { header: header(EventKind::Exit, time, exec), status, execed: 1 })
}

pub(super) fn connect(time: u64, exec: u64, call: u64) -> NetEvent {
    let mut addr = [0; 16];
    addr[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
    NetEvent {
        header: header(EventKind::Net, time, exec),
        call,
        addr,
        port: 80,
        op: net_op::CONNECT,
        protocol: 6,
        ..NetEvent::default()
    }
}

pub(super) fn run(events: &[Event<'_>]) -> Vec<Item> {
    let mut assembler = Assembler::new(RunId::generate(), "boot", 1_000);
    let mut out = vec![];
    for event in events {
        assembler.event(event, &mut World, &mut out);
    }
    assembler.finish(9_999, &mut World, &mut out);
    out
}

fn call(item: &Item) -> &Call {
    match item {
        Item::Call(call) => call,
        other => panic!("not a call: {other:?}"),
    }
}

fn result(item: &Item) -> &CallResult {
    match item {
        Item::Result(result) => result,
        other => panic!("not a result: {other:?}"),
    }
}

#[test]
fn a_connect_names_the_exec_that_caused_it_and_has_a_result() {
    let ended = ResultEvent {
        header: header(EventKind::Result, 30, 0),
        call: 5,
        error: 111,
        ..ResultEvent::default()
    };
    let out = run(&[
        as_event(exec(10, 0, 1), b"ls\0"),
        Event::Net(connect(20, 1, 5)),
        Event::Result(ended),
        Event::Result(ended),
        exit(40, 1, 0),
    ]);
    assert_eq!(out.len(), 4, "{out:?}");
    let (first, second) = (call(&out[0]), call(&out[1]));
    assert_eq!(second.parent, Some(first.id));
    assert_eq!(second.process.exe.bytes(), b"/bin/ls");
    let Action::Net(net) = &second.action else { panic!() };
    assert_eq!((net.op, net.peer), (NetOp::Connect, Some("127.0.0.1:80".parse().unwrap())));
    let failed = result(&out[2]);
    assert_eq!((failed.call, &failed.outcome.reason), (second.id, &Reason::Errno(111)));
    assert_eq!(failed.outcome.duration_ns, Some(10));
    assert_eq!(result(&out[3]).outcome.status, Status::Ok);
    assert_eq!(first.at.wall_ns, 1_010);
}

#[test]
fn an_exec_in_the_same_process_ends_the_one_before() {
    let mut second = exec(20, 1, 2);
    second.flags = exec_flag::REPLACED;
    let out =
        run(&[as_event(exec(10, 0, 1), b"sh\0"), as_event(second, b"ls\0"), exit(30, 2, 256)]);
    assert_eq!(result(&out[1]).call, call(&out[0]).id);
    assert_eq!(result(&out[1]).outcome.status, Status::Ok);
    assert_eq!(result(&out[3]).outcome.reason, Reason::Exit(1));
}

#[test]
fn a_kill_is_told_by_its_signal() {
    let out = run(&[as_event(exec(10, 0, 1), b"ls\0"), exit(20, 1, 0x80 | 11)]);
    assert_eq!(result(&out[1]).outcome.reason, Reason::Signal(11));
}

#[test]
fn a_denied_exec_has_its_outcome_at_once_and_no_result() {
    let mut denied = exec(10, 0, 1);
    denied.verdict = verdict::DENY_RULE;
    denied.rule = 3;
    let out = run(&[as_event(denied, b"rm\0-rf\0/\0"), exit(20, 1, 9)]);
    assert_eq!(out.len(), 1, "{out:?}");
    assert_eq!(call(&out[0]).verdict, Verdict::Denied { rule: "rule-3".into() });
    assert_eq!(call(&out[0]).outcome.as_ref().unwrap().reason, Reason::Signal(9));
}

#[test]
fn a_failed_exec_says_its_errno_and_what_could_not_be_read() {
    let event = FailEvent {
        header: header(EventKind::Fail, 10, 0),
        error: -2,
        flags: exec_flag::ARGV_UNREAD,
        ..FailEvent::default()
    };
    let out = run(&[Event::Fail { event, filename: b"/no/such", argv: b"such\0-a\0" }]);
    let failed = call(&out[0]);
    assert_eq!(failed.outcome.as_ref().unwrap().reason, Reason::Errno(2));
    assert_eq!((failed.cuts[0].field, failed.cuts[0].kept), (CutField::Argv, 8));
}

#[test]
fn the_rest_of_a_long_argv_is_hashed_and_let_go() {
    let mut long = exec(10, 0, 1);
    long.flags = exec_flag::ARGV_CUT;
    long.argv_seen = 10;
    let more = |offset, len: u32| ArgsEvent {
        header: header(EventKind::Args, 11, 0),
        exec: 1,
        offset,
        len,
        ..ArgsEvent::default()
    };
    let out = run(&[
        as_event(long, b"ls\0-l"),
        Event::Args { event: more(5, 3), bytes: b"abc" },
        Event::Args { event: more(8, 2), bytes: b"d\0" },
    ]);
    let cut = &call(&out[0]).cuts[0];
    assert_eq!((cut.seen, cut.kept, cut.rest.as_deref()), (Some(10), 5, Some("5 bytes")));
}

#[test]
fn a_long_argv_whose_rest_is_lost_is_told_without_its_hash() {
    let mut long = exec(10, 0, 1);
    long.flags = exec_flag::ARGV_CUT;
    long.argv_seen = 10;
    let out = run(&[as_event(long, b"ls\0-l"), exit(20, 1, 0)]);
    assert_eq!(call(&out[0]).cuts[0].rest, None);
    assert_eq!(result(&out[1]).call, call(&out[0]).id);
}

#[test]
fn what_has_no_end_is_told_as_unknown() {
    let out = run(&[as_event(exec(10, 0, 1), b"ls\0"), Event::Net(connect(20, 1, 5))]);
    let ends: Vec<_> = out[2..].iter().map(|item| result(item).outcome.status).collect();
    assert_eq!(ends, [Status::Unknown, Status::Unknown]);
}

#[test]
fn memory_stays_bounded_however_many_execs_there_are() {
    let mut assembler = Assembler::new(RunId::generate(), "boot", 0);
    let mut out = vec![];
    for id in 1..=(EXECS as u64 + 1_000) {
        assembler.event(&as_event(exec(id, id - 1, id), b"ls\0"), &mut World, &mut out);
        assembler.event(&exit(id, id, 0), &mut World, &mut out);
        out.clear();
    }
    assert!(assembler.execs.len() <= EXECS, "{}", assembler.execs.len());
}

#[test]
fn a_container_is_read_from_its_cgroup() {
    let id = "0123456789abcdef".repeat(4);
    for path in [format!("/docker/{id}"), format!("/system.slice/docker-{id}.scope/init")] {
        assert_eq!(container(path.as_bytes()).as_deref(), Some(id.as_str()), "{path}");
    }
    assert_eq!(container(b"/observer/0190"), None);
}

mod bounds;

use observer_common::{StreamEndEvent, StreamEvent, TlsEvent, direction, stream_flag, tls_op};

use super::super::tests::{World, as_event, connect, exec, header};
use super::super::*;
use super::*;
use crate::decode::Event;
use crate::model::{HttpContent, RunId};

const COOKIE: u64 = 77;

/// One run's connections.
struct Run {
    assembler: Assembler,
    out: Vec<Item>,
    /// Bytes so far, of each direction of each connection.
    offsets: HashMap<(u64, u32), u64>,
    now: u64,
}

impl Run {
    fn new() -> Self {
        Self {
            assembler: Assembler::new(RunId::generate(), "boot", 0),
            out: vec![],
            offsets: HashMap::new(),
            now: 100,
        }
    }

    fn event(&mut self, event: &Event<'_>) {
        self.assembler.event(event, &mut World, &mut self.out);
    }

    fn bytes(&mut self, cookie: u64, direction: u32, bytes: &[u8]) {
        self.now += 1;
        let offset = self.offsets.entry((cookie, direction)).or_default();
        let mut peer = [0; 16];
        peer[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
        let event = StreamEvent {
            header: header(observer_common::EventKind::Stream, self.now, 1),
            cookie,
            offset: *offset,
            peer,
            peer_port: 80,
            direction,
            flags: stream_flag::OPENED,
            seen: bytes.len() as u32,
            len: bytes.len() as u32,
            ..StreamEvent::default()
        };
        *offset += bytes.len() as u64;
        self.event(&Event::Stream { event, bytes });
    }

    fn out(&mut self, cookie: u64, text: &str) {
        self.bytes(cookie, direction::SENT, text.as_bytes());
    }

    fn back(&mut self, cookie: u64, text: &str) {
        self.bytes(cookie, direction::RECEIVED, text.as_bytes());
    }

    fn settle(&mut self) {
        self.assembler.settle(self.now, &mut World, &mut self.out);
    }

    fn close(&mut self, cookie: u64) {
        self.now += 1;
        let count = |way| self.offsets.get(&(cookie, way)).copied().unwrap_or(0);
        let event = StreamEndEvent {
            header: header(observer_common::EventKind::StreamEnd, self.now, 1),
            cookie,
            sent: count(direction::SENT),
            received: count(direction::RECEIVED),
            ..StreamEndEvent::default()
        };
        self.event(&Event::StreamEnd(event));
    }
}

fn http(item: &Item) -> (&Call, &Http) {
    match item {
        Item::Call(call) => match &call.action {
            Action::Http(http) => (call, http),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn answer(item: &Item) -> &Answer {
    match item {
        Item::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_names_its_exec_and_its_connect_and_has_one_result() {
    let mut run = Run::new();
    run.event(&as_event(exec(10, 0, 1), b"curl\0"));
    run.event(&Event::Net(observer_common::NetEvent { cookie: COOKIE, ..connect(20, 1, 5) }));
    run.out(COOKIE, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n");
    run.out(COOKIE, "ok");
    run.settle();
    run.back(COOKIE, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    run.close(COOKIE);
    let [Item::Call(exec), Item::Call(connect), ..] = run.out.as_slice() else { panic!() };
    let (call, request) = http(&run.out[2]);
    assert_eq!((call.parent, request.connection), (Some(exec.id), Some(connect.id)));
    assert_eq!(call.process.exe.bytes(), b"/bin/ls");
    assert_eq!(request.request.url, Raw::from("http://h/a"));
    assert_eq!(request.peer, Some("127.0.0.1:80".parse().unwrap()));
    // It had come by the batch's end: it stands in the call.
    let body = request.request.body.as_ref().unwrap();
    assert_eq!((&body.content, body.whole), (&HttpContent::Bytes(Raw::from("ok")), true));
    let answer = answer(&run.out[3]);
    assert_eq!(answer.result.call, call.id);
    assert_eq!(answer.result.outcome.status, Status::Failed);
    assert_eq!(answer.result.outcome.reason, Reason::Http { status: 403, note: None });
    assert_eq!(answer.result.outcome.duration_ns, Some(2));
    assert_eq!(run.out.len(), 4);
    assert!(run.assembler.web.conversations.is_empty());
}

#[test]
fn a_content_that_comes_later_stands_in_the_result() {
    let mut run = Run::new();
    run.out(1, "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nsl");
    run.settle();
    assert!(http(&run.out[0]).1.request.body.is_none());
    run.out(1, "ow");
    run.back(1, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    let answer = answer(&run.out[1]);
    assert_eq!(answer.http.sent.as_ref().unwrap().content, HttpContent::Bytes(Raw::from("slow")));
    assert_eq!(answer.http.body.as_ref().unwrap().content, HttpContent::Bytes(Raw::from("hi")));
}

#[test]
fn bytes_that_came_twice_and_differ_make_what_follows_ambiguous() {
    let mut run = Run::new();
    run.out(1, "GET /good HTTP/1.1\r\nHost: h\r\n\r\n");
    run.settle();
    assert!(http(&run.out[0]).1.request.ambiguous.is_empty());
    run.offsets.clear();
    run.out(1, "GET /evil HTTP/1.1\r\nHost: h\r\n\r\n");
    run.out(1, "GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
    run.back(1, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    run.settle();
    assert_eq!(run.out.len(), 3, "the first copy counts: {:?}", run.out);
    let next = run.out[1..].iter().find(|item| matches!(item, Item::Call(_))).unwrap();
    assert_eq!(http(next).1.request.ambiguous, ["bytes-differ"]);
    let came = run.out[1..].iter().find(|item| matches!(item, Item::Answer(_))).unwrap();
    assert_eq!(answer(came).http.ambiguous, ["bytes-differ"]);
}

#[test]
fn what_has_no_answer_when_the_recording_ends_is_told_as_unknown() {
    let mut run = Run::new();
    run.out(1, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    run.assembler.finish(900, &mut World, &mut run.out);
    http(&run.out[0]);
    assert_eq!(answer(&run.out[1]).result.outcome.status, Status::Unknown);
}

#[test]
fn what_can_t_be_read_is_said_with_its_connection() {
    let mut run = Run::new();
    run.out(1, "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n");
    let said = run.out.iter().find_map(|item| match item {
        Item::Coverage { what, why, .. } => Some((what.as_str(), why.as_str())),
        _ => None,
    });
    let (what, why) = said.unwrap();
    assert_eq!(what, "http requests");
    assert!(why.starts_with("the connection to 127.0.0.1:80 is not read from here on"), "{why}");
}

#[test]
fn ten_thousand_requests_on_one_connection_are_ten_thousand_calls() {
    let mut run = Run::new();
    for n in 0..10_000 {
        run.out(1, &format!("GET /{n} HTTP/1.1\r\nHost: h\r\n\r\n"));
        run.back(1, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
    run.close(1);
    assert_eq!(run.out.len(), 20_000);
    for (n, pair) in run.out.chunks(2).enumerate() {
        let (call, request) = http(&pair[0]);
        assert_eq!(request.request.url.bytes(), format!("http://h/{n}").as_bytes());
        assert_eq!(answer(&pair[1]).result.call, call.id);
    }
}

/// Plaintext of a library that never tells of a connection's end.
fn plaintext(run: &mut Run, stream: u64, op: u32, offset: u64, text: &str) {
    run.now += 1;
    let header = header(observer_common::EventKind::Tls, run.now, 1);
    let (seen, len) = (text.len() as u32, text.len() as u32);
    let event =
        TlsEvent { header, stream, cookie: COOKIE, offset, seen, len, op, ..TlsEvent::default() };
    run.event(&Event::Tls { event, bytes: text.as_bytes() });
}

#[test]
fn a_socket_that_is_closed_ends_what_its_library_does_not_and_what_it_had_received_is_read() {
    for answered in [false, true] {
        let mut run = Run::new();
        run.event(&Event::Net(observer_common::NetEvent { cookie: COOKIE, ..connect(20, 1, 5) }));
        let asks = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        plaintext(&mut run, 9, tls_op::SENT, 0, asks);
        run.close(COOKIE);
        run.settle();
        if answered {
            plaintext(&mut run, 9, tls_op::RECEIVED, 0, "HTTP/1.1 413 No\r\n\r\n");
        }
        let ended = run.now;
        run.now += crate::assemble::library::CLOSED_FOR + 1;
        run.settle();
        let [_, call, end] = run.out.as_slice() else { panic!("{:?}", run.out) };
        assert_eq!(http(call).1.transport, Transport::Tls);
        let result = &answer(end).result;
        assert_eq!((result.at.mono_ns, result.outcome.status), (ended, Status::Failed));
        let whole = Reason::Http { status: 413, note: None };
        assert_eq!(result.outcome.reason == whole, answered, "{:?}", result.outcome);
        // Another one, at the same place in the agent's memory.
        plaintext(&mut run, 10, tls_op::SENT, 0, asks);
        run.settle();
        http(&run.out[3]);
    }
}

/// The kernel's word on a request of a connection.
fn word(run: &mut Run, kind: u32, why: u32, name: &[u8]) {
    word_of(run, COOKIE, kind, why, name);
}

fn word_of(run: &mut Run, cookie: u64, kind: u32, why: u32, name: &[u8]) {
    run.now += 1;
    let event = observer_common::StreamDeniedEvent {
        header: header(observer_common::EventKind::StreamDenied, run.now, 1),
        cookie,
        local: [0; 16],
        peer: [0; 16],
        local_port: 0,
        peer_port: 80,
        verdict: kind,
        rule: 3,
        why,
        name_len: 0,
        name: [0; observer_common::HOST_LEN],
    };
    run.event(&Event::StreamDenied { event, name });
}

/// URLs and verdicts of what was told.
fn verdicts(run: &Run) -> Vec<(String, Verdict, bool)> {
    let calls = run.out.iter().filter(|item| matches!(item, Item::Call(_)));
    let told = calls.map(|item| {
        let (call, http) = http(item);
        let url = String::from_utf8_lossy(http.request.url.bytes()).into_owned();
        (url, call.verdict.clone(), call.outcome.is_some())
    });
    told.collect()
}

#[test]
fn a_request_that_the_kernel_stopped_is_told_whole_and_once() {
    use observer_common::{denied_why, verdict};
    let mut run = Run::new();
    run.out(COOKIE, "GET /a HTTP/1.1\r\nHost: good\r\n\r\n");
    run.settle();
    run.back(COOKIE, "HTTP/1.1 204 \r\n\r\n");
    word(&mut run, verdict::DENY_RULE, denied_why::HOST, b"evil");
    run.out(COOKIE, "GET /b HTTP/1.1\r\nHost: evil\r\n\r\n");
    run.close(COOKIE);
    run.settle();
    let rule = || "rule-3".to_owned();
    let wanted = [
        ("http://good/a".to_owned(), Verdict::Allowed { rule: None }, false),
        ("http://evil/b".to_owned(), Verdict::Denied { rule: rule() }, true),
    ];
    assert_eq!(verdicts(&run), wanted);
}

#[test]
fn a_request_that_would_be_stopped_is_one_alone() {
    use observer_common::{denied_why, verdict};
    let mut run = Run::new();
    word(&mut run, verdict::WOULD | verdict::DENY_RULE, denied_why::HOST, b"evil");
    run.out(COOKIE, "GET /b HTTP/1.1\r\nHost: evil\r\n\r\n");
    run.out(COOKIE, "GET /a HTTP/1.1\r\nHost: good\r\n\r\n");
    run.settle();
    let wanted = [
        ("http://evil/b".to_owned(), Verdict::WouldDeny { rule: "rule-3".to_owned() }, false),
        ("http://good/a".to_owned(), Verdict::Allowed { rule: None }, false),
    ];
    assert_eq!(verdicts(&run), wanted);
}

/// Whose ends were lost, say.
#[test]
fn stopped_connections_without_end_are_held_to_a_bound_and_each_is_told() {
    use observer_common::{denied_why, verdict};
    const MORE: u64 = 9;
    let (mut run, most) = (Run::new(), super::super::stream::FLOWS);
    for cookie in 0..most as u64 + MORE {
        word_of(&mut run, cookie, verdict::DENY_RULE, denied_why::HOST, b"evil");
    }
    assert_eq!(run.assembler.stopped.len(), most);
    assert_eq!(run.out.len() as u64, MORE);
}

/// In one packet, so that the kernel's words come before all of them.
#[test]
fn what_would_be_stopped_of_several_requests_is_each_one_of_its_name() {
    use observer_common::{denied_why, verdict};
    let mut run = Run::new();
    let would = verdict::WOULD | verdict::DENY_RULE;
    word(&mut run, would, denied_why::HOST, b"Evil");
    word(&mut run, would, denied_why::HOST, b"worse");
    word(&mut run, would, denied_why::HOST, b"unheard");
    let asks = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    run.out(COOKIE, &["good", "evil.example", "evil", "good", "worse:80"].map(asks).concat());
    run.close(COOKIE);
    run.settle();
    let mut told: Vec<_> = verdicts(&run)
        .into_iter()
        .map(|(url, verdict, ended)| (url, matches!(verdict, Verdict::WouldDeny { .. }), ended))
        .collect();
    // The last has no answer to come: it is told with its end.
    let mut wanted = [
        ("http://good/", false, false),
        ("http://evil.example/", false, false),
        ("http://evil/", true, false),
        ("http://good/", false, false),
        ("http://worse:80/", true, false),
        ("http://unheard", true, true),
    ];
    told.sort();
    wanted.sort_unstable();
    let told: Vec<_> = told.iter().map(|(url, would, ended)| (&**url, *would, *ended)).collect();
    assert_eq!(told, wanted);
}

#[test]
fn a_request_that_was_stopped_before_it_was_whole_is_told_by_its_name() {
    use observer_common::{denied_why, verdict};
    let cases = [
        (denied_why::HOST, verdict::DENY_RULE, "http://evil", "rule-3"),
        (denied_why::HOST_UNREAD, verdict::DENY_UNREAD, "", "unread-name"),
    ];
    for (why, kind, url, rule) in cases {
        let name: &[u8] = if url.is_empty() { b"" } else { b"evil" };
        for ends in [true, false] {
            let mut run = Run::new();
            run.out(COOKIE, "GET /b HTTP/1.1\r\n");
            word(&mut run, kind, why, name);
            if ends {
                run.close(COOKIE);
            }
            run.settle();
            run.now += 2_000_000_000;
            run.settle();
            run.assembler.finish(run.now, &mut World, &mut run.out);
            let wanted = (url.to_owned(), Verdict::Denied { rule: rule.to_owned() }, true);
            assert_eq!(verdicts(&run), [wanted], "{ends}");
        }
    }
}

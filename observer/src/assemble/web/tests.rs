use observer_common::{StreamEndEvent, StreamEvent, direction, stream_flag};

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

#[test]
fn idle_connections_without_end_are_held_to_the_bounds() {
    let mut run = Run::new();
    let half = "GET / HTTP/1.1\r\nX-Fill: ".to_owned() + &"f".repeat(9000);
    for cookie in 0..150_000u64 {
        // Most are idle after one request; some never end theirs.
        if cookie % 10 == 0 {
            run.out(cookie, &half);
        } else {
            run.out(cookie, "GET / HTTP/1.1\r\n\r\n");
            run.back(cookie, "HTTP/1.1 204 N\r\n\r\n");
        }
        if cookie % 1000 == 0 {
            run.out.retain(|item| matches!(item, Item::Coverage { .. }));
            let web = &run.assembler.web;
            assert!(web.conversations.len() <= CONVERSATIONS);
            assert!(web.memory <= MEMORY, "{}", web.memory);
            assert!(web.over.is_empty() && web.told.is_empty());
        }
    }
    // What was given up is said.
    assert!(run.out.iter().any(|item| matches!(item, Item::Coverage { .. })));
}

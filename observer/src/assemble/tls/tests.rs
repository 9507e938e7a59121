//! From packets of a handshake to records.

use observer_common::{
    EventKind, Header, StreamEndEvent, StreamEvent, TlsEvent, direction, stream_flag, tls_op,
};

use super::hello::tests::{message, records};
use super::*;
use crate::assemble::Fingerprint;
use crate::decode::Event;
use crate::model::RunId;

struct World;

impl Names for World {
    fn cgroup(&mut self, id: u64) -> Raw {
        Raw::new(format!("/observer/{id}"))
    }
    fn rule(&self, _: u32, index: u32) -> String {
        format!("rule-{index}")
    }
    fn fingerprint(&self) -> Box<dyn Fingerprint> {
        unreachable!("nothing is hashed here")
    }
}

/// A connection: each piece with whether it was sent.
fn told(pieces: &[(bool, &[u8])], end: Option<StreamEndEvent>) -> Vec<Item> {
    told_where(pieces, None, end)
}

/// The same, of which a library's plaintext was read, on the socket of this cookie.
fn told_where(
    pieces: &[(bool, &[u8])],
    read: Option<u64>,
    end: Option<StreamEndEvent>,
) -> Vec<Item> {
    let mut assembler = Assembler::new(RunId::generate(), "boot", 1_000);
    let (mut out, mut at) = (vec![], [0u64; 2]);
    for (time, (sent, bytes)) in (1..).zip(pieces) {
        let way = usize::from(!sent);
        let event = StreamEvent {
            header: Header { kind: EventKind::Stream as u32, time, pid: 42, ..Header::default() },
            cookie: 5,
            offset: at[way],
            direction: if *sent { direction::SENT } else { direction::RECEIVED },
            flags: stream_flag::OPENED,
            seen: bytes.len() as u32,
            len: bytes.len() as u32,
            peer_port: 443,
            ..StreamEvent::default()
        };
        at[way] += bytes.len() as u64;
        assembler.event(&Event::Stream { event, bytes }, &mut World, &mut out);
    }
    if let Some(cookie) = read {
        let (op, bytes) = (tls_op::SENT, &b"hello"[..]);
        let event = TlsEvent { stream: 9, cookie, seen: 5, len: 5, op, ..TlsEvent::default() };
        assembler.event(&Event::Tls { event, bytes }, &mut World, &mut out);
    }
    if let Some(end) = end {
        assembler.event(&Event::StreamEnd(end), &mut World, &mut out);
    }
    assembler.finish(9_999, &mut World, &mut out);
    assert!(assembler.handshakes.talks.is_empty() && assembler.handshakes.bytes == 0);
    out
}

fn over(sent: u64, received: u64, flags: u32) -> Option<StreamEndEvent> {
    Some(StreamEndEvent { cookie: 5, sent, received, flags, ..StreamEndEvent::default() })
}

fn hello(items: &[Item]) -> &Tls {
    match items {
        [Item::Call(call), ..] => match &call.action {
            Action::Tls(tls) => tls,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn ended(items: &[Item]) -> &TlsEnd {
    match items {
        [_, Item::TlsEnd(end)] => end,
        other => panic!("{other:?}"),
    }
}

/// A ServerHello of TLS 1.2.
const ANSWER: &[u8] =
    b"\x16\x03\x03\0\x2a\x02\0\0\x26\x03\x0300000000000000000000000000000000\0\xc0\x2f\0";

#[test]
fn a_handshake_is_a_call_with_its_name_and_a_result_with_what_passed() {
    let stream = records(&message(Some("example.com"), 0), 16_384);
    let items = told(&[(true, &stream), (false, ANSWER)], over(700, 9000, 0));
    let tls = hello(&items);
    assert_eq!(tls.hello.as_ref().unwrap().sni, Some(Raw::from("example.com")));
    assert_eq!((tls.peer.port(), tls.cookie), (443, 5));
    let end = ended(&items);
    assert_eq!((end.bytes, end.version.as_deref()), (Some((700, 9000)), Some("1.2")));
    assert_eq!(end.result.outcome.status, Status::Ok);
}

#[test]
fn only_a_connection_whose_plaintext_was_not_read_is_opaque() {
    let stream = records(&message(Some("example.com"), 0), 16_384);
    for (read, opaque) in [(None, true), (Some(6), true), (Some(5), false)] {
        for end in [over(700, 9000, 0), None] {
            let items = told_where(&[(true, &stream), (false, ANSWER)], read, end);
            assert_eq!(ended(&items).opaque, opaque, "{read:?}");
        }
    }
}

#[test]
fn a_server_that_speaks_first_does_not_hide_a_handshake() {
    let stream = records(&message(Some("example.com"), 0), 16_384);
    let greeting = (false, &b"220 hello\r\n"[..]);
    let items = told(&[greeting, (true, &stream), (false, ANSWER)], over(700, 9000, 0));
    assert!(hello(&items).hello.is_some());
    assert_eq!(ended(&items).version.as_deref(), Some("1.2"));
}

#[test]
fn a_hello_in_pieces_of_a_byte_is_read_when_the_server_answers() {
    let stream = records(&message(Some("example.com"), 3000), 1);
    let mut pieces: Vec<(bool, &[u8])> = stream.chunks(1).map(|byte| (true, byte)).collect();
    pieces.push((false, ANSWER));
    let items = told(&pieces, over(stream.len() as u64, 50, 0));
    assert!(hello(&items).hello.is_some());
}

#[test]
fn a_hello_without_a_name_says_so_and_one_that_nobody_answers_fails() {
    let stream = records(&message(None, 0), 16_384);
    let items = told(&[(true, &stream)], over(stream.len() as u64, 0, stream_flag::RESET));
    assert_eq!(hello(&items).hello.as_ref().unwrap().sni, None);
    assert_eq!(ended(&items).result.outcome.status, Status::Failed);
}

#[test]
fn a_hello_that_is_none_is_told_as_unread() {
    let items = told(&[(true, b"\x16\x03\x01\0\x05\x01\xff\xff\xff\xff")], None);
    assert_eq!(hello(&items).hello, None);
    assert_eq!(ended(&items).result.outcome.status, Status::Unknown);
}

#[test]
fn a_connection_that_both_ends_have_ended_is_over_when_the_recording_is() {
    let mut assembler = Assembler::new(RunId::generate(), "boot", 1_000);
    let (mut out, stream) = (vec![], records(&message(None, 0), 16_384));
    for (way, bytes) in [(direction::SENT, &stream[..]), (direction::RECEIVED, ANSWER)] {
        let len = bytes.len() as u32;
        let flags = stream_flag::OPENED | stream_flag::FIN;
        let event =
            StreamEvent { cookie: 5, direction: way, flags, seen: len, len, ..Default::default() };
        assembler.event(&Event::Stream { event, bytes }, &mut World, &mut out);
    }
    assembler.finish(9_999, &mut World, &mut out);
    assert_eq!(ended(&out).result.outcome.status, Status::Ok);
    assert!(assembler.handshakes.talks.is_empty());
}

#[test]
fn a_hello_that_was_stopped_is_one_call_though_its_payload_comes_behind() {
    use observer_common::verdict::{DENY_RULE, DENY_UNREAD};
    for (why, verdict, rule, sni) in [
        (denied_why::SNI, DENY_RULE, "rule-3", Some(Raw::from("evil.example"))),
        (denied_why::UNREAD, DENY_UNREAD, "unread-name", None),
    ] {
        let mut assembler = Assembler::new(RunId::generate(), "boot", 1_000);
        let mut out = vec![];
        let event = StreamDeniedEvent {
            header: Header { time: 1, ..Header::default() },
            cookie: 5,
            local: [0; 16],
            peer: [0; 16],
            local_port: 1,
            peer_port: 443,
            verdict,
            rule: 3,
            why,
            name_len: 12,
            name: [0; observer_common::HOST_LEN],
        };
        let name = if sni.is_some() { &b"evil.example"[..] } else { b"" };
        assembler.event(&Event::StreamDenied { event, name }, &mut World, &mut out);
        let bytes = &records(&message(Some("evil.example"), 0), 16_384)[..];
        let len = bytes.len() as u32;
        let event = StreamEvent { cookie: 5, seen: len, len, ..StreamEvent::default() };
        assembler.event(&Event::Stream { event, bytes }, &mut World, &mut out);
        assembler.finish(9, &mut World, &mut out);
        let [Item::Call(call)] = &out[..] else { panic!("{out:?}") };
        assert_eq!(call.verdict, Verdict::Denied { rule: rule.to_owned() });
        assert_eq!(hello(&out).hello.as_ref().and_then(|hello| hello.sni.clone()), sni);
        assert!(assembler.handshakes.talks.is_empty() && assembler.handshakes.bytes == 0);
    }
}

#[test]
fn what_is_no_handshake_is_no_tls_call() {
    let items = told(&[(true, b"GET / HTTP/1.1\r\n\r\n")], over(18, 0, 0));
    let is_tls = |item: &Item| match item {
        Item::Call(call) => call.action.kind() == Kind::Tls,
        Item::TlsEnd(_) => true,
        _ => false,
    };
    assert!(!items.iter().any(is_tls), "{items:?}");
}

#[test]
fn a_message_whose_content_begins_like_a_handshake_stays_http() {
    let items = told(
        &[
            (true, b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"),
            (true, b"\x16abcd"),
            (false, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            (true, b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n"),
            (false, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ],
        over(100, 100, 0),
    );
    let calls: Vec<_> = items.iter().filter(|item| matches!(item, Item::Call(_))).collect();
    let is_http =
        |item: &&Item| matches!(item, Item::Call(call) if matches!(call.action, Action::Http(_)));
    assert_eq!((calls.len(), items.iter().filter(is_http).count()), (2, 2), "{items:?}");
    assert_eq!(items.iter().filter(|item| matches!(item, Item::Answer(_))).count(), 2, "{items:?}");
}

#[test]
fn a_handshake_through_a_proxy_leaves_the_request_its_end() {
    let inner = records(&message(Some("example.com"), 0), 16_384);
    let items = told(
        &[
            (true, b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n"),
            (false, b"HTTP/1.1 200 OK\r\n\r\n"),
            (true, &inner),
            (false, ANSWER),
        ],
        over(100, 100, 0),
    );
    assert_eq!(items.iter().filter(|item| matches!(item, Item::Answer(_))).count(), 1, "{items:?}");
}

#[test]
fn what_a_server_of_the_runs_answers_is_no_handshake_of_its_own() {
    let mut assembler = Assembler::new(RunId::generate(), "boot", 1_000);
    let mut out = vec![];
    let event = StreamEvent {
        header: Header { kind: EventKind::Stream as u32, time: 1, ..Header::default() },
        cookie: 5,
        direction: direction::SENT,
        seen: ANSWER.len() as u32,
        len: ANSWER.len() as u32,
        ..StreamEvent::default()
    };
    assembler.event(&Event::Stream { event, bytes: ANSWER }, &mut World, &mut out);
    assembler.finish(9_999, &mut World, &mut out);
    assert!(!out.iter().any(|item| matches!(item, Item::Call(_))), "{out:?}");
}

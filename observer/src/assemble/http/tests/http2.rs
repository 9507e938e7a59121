use super::super::opening::PREFACE;
use super::*;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// A field without the table and without Huffman codes.
pub(super) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0, name.len() as u8];
    out.extend_from_slice(name.as_bytes());
    out.push(value.len() as u8);
    out.extend_from_slice(value.as_bytes());
    out
}

pub(super) fn request(stream: u32, method: &str, path: &str, end: bool) -> Vec<u8> {
    let block = [
        field(":method", method),
        field(":scheme", "http"),
        field(":authority", "h"),
        field(":path", path),
    ]
    .concat();
    frame(1, 4 | u8::from(end), stream, &block)
}

pub(super) fn response(stream: u32, status: &str, end: bool) -> Vec<u8> {
    frame(1, 4 | u8::from(end), stream, &field(":status", status))
}

fn preface() -> Vec<u8> {
    [PREFACE, &frame(4, 0, 0, &[])].concat()
}

fn server() -> Vec<u8> {
    frame(4, 0, 0, &[])
}

#[test]
fn streams_run_side_by_side() {
    let told = talk(&[
        out([preface(), request(1, "GET", "/a", true), request(3, "POST", "/b", false)].concat()),
        into([server(), response(3, "100", false)].concat()),
        out(frame(0, 0, 3, b"hel")),
        into([response(1, "200", false), frame(0, 0, 1, b"on")].concat()),
        out(frame(0, 1, 3, b"lo")),
        into([response(3, "503", true), frame(0, 1, 1, b"e")].concat()),
    ]);
    assert_eq!(
        lines(&told),
        [
            "1 GET http://h/a",
            "2 POST http://h/b",
            "2 sent 5 hello",
            "2 Failed 503 after [100]",
            "1 Ok 200 3 one",
        ]
    );
    let Told::Request { request, .. } = &told[1] else { panic!() };
    assert_eq!(request.stream, Some(3));
}

#[test]
fn a_server_may_speak_first() {
    let told = talk(&[
        into(server()),
        out([preface(), request(1, "GET", "/", true)].concat()),
        into(response(1, "204", true)),
    ]);
    assert_eq!(lines(&told), ["1 GET http://h/", "1 Ok 204"]);
}

#[test]
fn resets_and_a_server_that_goes_away_are_told() {
    let told = talk(&[
        out([preface(), request(1, "GET", "/1", true), request(3, "GET", "/3", true)].concat()),
        out([request(5, "GET", "/5", true), request(7, "PUT", "/7", false)].concat()),
        out(frame(3, 0, 1, &[0, 0, 0, 8])),
        into([server(), frame(3, 0, 3, &[0, 0, 0, 7])].concat()),
        into([response(7, "200", true), frame(3, 0, 7, &[0, 0, 0, 0])].concat()),
        into(frame(7, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0])),
    ]);
    assert_eq!(
        lines(&told)[4..],
        [
            "1 Unknown (broken off by the agent) reset 8",
            "2 Failed (broken off by the server) reset 7",
            "4 sent 0 …",
            "4 Ok 200",
            "3 Failed (refused: the server is going away) reset 0",
        ]
    );
}

#[test]
fn grpc_has_its_own_status() {
    let block = [
        field(":method", "POST"),
        field(":scheme", "http"),
        field(":authority", "h"),
        field(":path", "/pkg.Service/Method"),
        field("content-type", "application/grpc"),
    ]
    .concat();
    let trailers = [field("grpc-status", "7"), field("grpc-message", "not%20you")].concat();
    let head = [field(":status", "200"), field("content-type", "application/grpc")].concat();
    let told = talk(&[
        out([preface(), frame(1, 4, 1, &block), frame(0, 1, 1, b"\0\0\0\0\x02hi")].concat()),
        into([server(), frame(1, 4, 1, &head), frame(0, 0, 1, b"\0\0\0\0\x03")].concat()),
        into([frame(0, 0, 1, b"abc\0\0\0\0\0"), frame(1, 5, 1, &trailers)].concat()),
    ]);
    let Told::Answer { answer, .. } = told.last().unwrap() else { panic!() };
    let grpc = answer.grpc.as_ref().unwrap();
    assert_eq!((grpc.status, grpc.sent.count, grpc.received.count), (Some(7), 1, 2));
    assert_eq!(text(grpc.message.as_ref().unwrap()), "not you");
    assert!(lines(&told)[2].starts_with("1 Failed 200 (a gRPC status that is not OK)"));
}

#[test]
fn an_upgraded_request_is_answered_on_stream_1() {
    let told = talk(&[
        out(
            "GET /up HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        ),
        into(
            [
                &b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
                    [..],
                &server(),
            ]
            .concat(),
        ),
        out([preface(), request(3, "GET", "/next", true)].concat()),
        into([response(1, "200", true), response(3, "200", true)].concat()),
    ]);
    assert_eq!(
        lines(&told),
        ["1 GET http://h/up", "2 GET http://h/next", "1 Ok 200 after [101]", "2 Ok 200"]
    );
}

#[test]
fn a_gap_within_a_content_is_passed_over_and_one_elsewhere_ends_the_reading() {
    let start = [preface(), request(1, "POST", "/", false)].concat();
    let data = frame(0, 1, 1, &[b'x'; 100]);
    let told = talk(&[
        out(&start),
        out(&data[..20]),
        Step::Gap(Way::Out, 89),
        into([server(), response(1, "200", true)].concat()),
        out(request(3, "GET", "/next", true)),
    ]);
    assert_eq!(
        lines(&told)[1..],
        ["1 sent 100 xxxxxxxxxxx…".to_owned(), "1 Ok 200".into(), "2 GET http://h/next".into(),]
    );
    let told = talk(&[
        out(&start),
        Step::Gap(Way::Out, 4),
        out(request(3, "GET", "/next", true)),
        into([server(), response(1, "200", true)].concat()),
    ]);
    assert_eq!(
        lines(&told)[1..],
        [
            "unparsed Out: bytes were missed between its contents".to_owned(),
            "1 sent 0 …".into(),
            "1 Ok 200".into(),
        ]
    );
}

#[test]
fn pushed_streams_keep_the_table_in_step_and_are_no_calls() {
    // The promise puts a field into the table; the response refers to it.
    let mut promise = vec![0, 0, 0, 2, 0x40, 1, b'a', 1, b'b'];
    promise.extend(field(":method", "GET"));
    let mut head = vec![0x88];
    head.push(0xbe);
    let told = talk(&[
        out([preface(), request(1, "GET", "/", true)].concat()),
        into([server(), frame(5, 4, 1, &promise), frame(1, 5, 1, &head)].concat()),
        into([response(2, "200", false), frame(0, 1, 2, b"pushed")].concat()),
    ]);
    assert_eq!(lines(&told), ["1 GET http://h/", "1 Ok 200 pushed"]);
    let Told::Answer { answer, .. } = &told[1] else { panic!() };
    assert_eq!(answer.head.as_ref().unwrap().fields.first("a"), Some(&b"b"[..]));
}

#[test]
fn a_tunnel_within_a_stream_is_read_too() {
    let connect = [field(":method", "CONNECT"), field(":authority", "inner:80")].concat();
    let told = talk(&[
        out([preface(), frame(1, 4, 1, &connect)].concat()),
        into([server(), response(1, "200", false)].concat()),
        out(frame(0, 0, 1, b"GET /in HTTP/1.1\r\nHost: inner\r\n\r\n")),
        into(frame(0, 0, 1, b"HTTP/1.1 204 No\r\n\r\n")),
        into(frame(0, 1, 1, b"")),
        out(frame(0, 1, 1, b"")),
    ]);
    assert_eq!(lines(&told)[..3], ["1 CONNECT inner:80", "2 GET http://inner/in", "2 Ok 204"]);
    assert!(lines(&told)[3..].contains(&"1 Ok 200 tunnel 33 19 http".to_owned()), "{told:?}");
}

#[test]
fn more_streams_than_are_followed_are_still_told() {
    let capture = Capture::default();
    let mut conversation = Conversation::new(Flow::plaintext(None));
    let mut told = vec![];
    conversation.bytes(&capture, Way::Out, 0, &preface(), &mut told);
    let most = limits::STREAMS as u32 + 50;
    for n in 0..most {
        let bytes = request(2 * n + 1, "GET", "/", true);
        conversation.bytes(&capture, Way::Out, 0, &bytes, &mut told);
    }
    assert!(conversation.memory() < 4 << 20, "{}", conversation.memory());
    conversation.end(&capture, Way::In, 0, End::Reset, &mut told);
    let answers = told.iter().filter(|told| matches!(told, Told::Answer { .. })).count();
    assert_eq!(answers, most as usize);
}

#[test]
fn a_bomb_of_references_is_told_to_a_bound() {
    let capture = Capture::default();
    let mut conversation = Conversation::new(Flow::plaintext(None));
    let mut told = vec![];
    conversation.bytes(&capture, Way::Out, 0, &preface(), &mut told);
    // A field of some 4,000 bytes, then requests of a few bytes that refer to it.
    let mut first = vec![0x82, 0x86, 0x84, 0x40, 1, b'a', 0x7f, 0xa1, 0x1e];
    first.extend(vec![b'v'; 127 + 0x21 + (0x1e << 7)]);
    conversation.bytes(&capture, Way::Out, 0, &frame(1, 5, 1, &first), &mut told);
    let mut bytes = vec![];
    for n in 1..2000 {
        let mut block = vec![0x82, 0x86, 0x84];
        block.extend([0xbe; 15]);
        bytes.extend(frame(1, 5, 2 * n + 1, &block));
    }
    conversation.bytes(&capture, Way::Out, 0, &bytes, &mut told);
    let requests = told.iter().filter_map(|told| match told {
        Told::Request { request, .. } => Some(request),
        _ => None,
    });
    let kept: usize = requests
        .clone()
        .flat_map(|request| &request.fields.lines)
        .map(|(name, value)| name.len() + value.len())
        .sum();
    assert_eq!(requests.count(), 2000);
    assert!(kept < bytes.len() * 128 + (2 << 20), "{kept} of {}", bytes.len());
}

#[test]
fn a_request_in_a_streams_tunnel_is_read_though_the_far_end_closed_its_side() {
    let connect =
        frame(1, 4, 1, &[field(":method", "CONNECT"), field(":authority", "i:80")].concat());
    let told = talk(&[
        out([preface(), connect].concat()),
        into([server(), response(1, "200", true)].concat()),
        out(frame(0, 0, 1, b"GET /in HTTP/1.0\r\nHost: i\r\n\r\n")),
        out(frame(0, 1, 1, b"")),
    ]);
    let unanswered = "2 Failed (closed by the server before its answer ended)";
    let inside = ["2 GET http://i/in", unanswered, "1 Ok 200 tunnel 29 0 http"];
    assert_eq!(lines(&told)[1..], inside);
}

#[test]
fn what_a_tunnel_would_carry_after_an_answer_that_is_none_is_not_asked() {
    let connect = frame(1, 4, 1, &field(":method", "CONNECT"));
    let told = talk(&[
        out([preface(), connect].concat()),
        into(
            [server(), frame(1, 4, 1, &field("x", "no status")), response(1, "200", false)]
                .concat(),
        ),
        out(frame(0, 0, 1, b"GET /in HTTP/1.0\r\n\r\n")),
        Step::End(Way::Out, End::Closed),
        Step::End(Way::In, End::Closed),
    ]);
    let end = "1 Failed (an answer without a status) pseudo-field";
    let body = "1 sent 20 GET /in HTTP/1.0\r\n\r\n…";
    assert_eq!(lines(&told), ["1 CONNECT 127.0.0.1:8080", body, end]);
}

#[test]
fn trailers_of_a_streams_request_are_told_with_its_answer() {
    let told = talk(&[
        out([preface(), request(1, "POST", "/a", false), frame(0, 0, 1, b"hi")].concat()),
        out(frame(1, 5, 1, &field("x-key", "v"))),
        into([server(), response(1, "200", true)].concat()),
    ]);
    assert_eq!(lines(&told), ["1 POST http://h/a", "1 sent 2 hi", "1 Ok 200 sent trailers 1"]);
}

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn requests_of_one_connection_have_their_answers_in_order() {
    let told = talk(&[
        out("GET /a?b=c HTTP/1.1\r\nHost: h:80\r\n\r\n"),
        into(OK),
        out("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"),
        into("HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        into("2\r\nde\r\n0\r\nT: v\r\n\r\n"),
    ]);
    assert_eq!(
        lines(&told),
        [
            "1 GET http://h:80/a?b=c",
            "1 Ok 200 2 ok",
            "2 POST http://h/b",
            "2 sent 5 hello",
            "2 Failed 404 5 abcde trailers 1",
        ]
    );
    let Told::Answer { answer, at, .. } = &told[4] else { panic!() };
    assert_eq!(*at, 4_000_000);
    assert_eq!(answer.times.sent, Some(0));
    assert_eq!(answer.times.first_byte, Some(1_000_000));
    assert_eq!(answer.times.last_byte, Some(2_000_000));
}

#[test]
fn pipelined_requests_wait_in_line() {
    let one = "GET /1 HTTP/1.1\r\n\r\nHEAD /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n";
    let told = talk(&[
        out(one),
        into(format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")),
        into("HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"),
    ]);
    let here = "http://127.0.0.1:8080";
    assert_eq!(
        lines(&told),
        [
            format!("1 GET {here}/1"),
            format!("2 HEAD {here}/2"),
            format!("3 GET {here}/3"),
            "1 Ok 200 2 ok".into(),
            "2 Ok 200".into(),
            "3 Ok 304".into(),
        ]
    );
}

#[test]
fn a_response_without_a_length_ends_with_its_connection() {
    for (how, end) in [
        (End::Closed, "1 Ok 200 4 data"),
        (End::Reset, "1 Failed 200 (reset by the server before its answer ended) 4 data…"),
        (End::Unseen, "1 Unknown 200 (the answer's end was not seen) 4 data…"),
    ] {
        let told = talk(&[
            out("GET / HTTP/1.0\r\nHost: h\r\n\r\n"),
            into("HTTP/1.0 200 OK\r\n\r\nda"),
            into("ta"),
            Step::End(Way::In, how),
            Step::End(Way::Out, how),
        ]);
        assert_eq!(lines(&told)[1..], [end]);
    }
}

#[test]
fn a_reset_in_the_middle_and_no_answer_are_told() {
    let told = talk(&[
        out("GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        into("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        Step::End(Way::In, End::Reset),
    ]);
    assert_eq!(
        lines(&told)[1],
        "1 Failed 200 (reset by the server before its answer ended) 4 half…"
    );
    let told = talk(&[
        out("GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        Step::End(Way::Out, End::Closed),
        Step::End(Way::In, End::Closed),
    ]);
    assert_eq!(lines(&told)[1], "1 Failed (closed by the server before its answer ended)");
    let told = talk(&[
        out("GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        Step::End(Way::Out, End::Unseen),
        Step::End(Way::In, End::Unseen),
    ]);
    assert_eq!(lines(&told)[1], "1 Unknown (the answer's end was not seen)");
}

#[test]
fn a_half_closed_connection_is_still_answered() {
    let told = talk(&[
        out("GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        Step::End(Way::Out, End::Closed),
        into(OK),
        Step::End(Way::In, End::Closed),
    ]);
    assert_eq!(lines(&told), ["1 GET http://h/", "1 Ok 200 2 ok"]);
}

#[test]
fn interim_responses_come_before_the_final_one() {
    let told = talk(&[
        out("PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"),
        into("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
        out("ab"),
        into("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"),
    ]);
    assert_eq!(lines(&told)[1..], ["1 sent 2 ab", "1 Ok 201 after [100, 103]"]);
}

#[test]
fn an_early_answer_waits_for_the_request_to_end() {
    let told = talk(&[
        out("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nab"),
        into("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"),
        out("cd"),
        Step::End(Way::In, End::Closed),
        Step::End(Way::Out, End::Reset),
    ]);
    assert_eq!(lines(&told)[1..], ["1 sent 4 abcd…", "1 Failed 413"]);
    let told = talk(&[
        out("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab"),
        into(OK),
        out("cdGET /next HTTP/1.1\r\nHost: h\r\n\r\n"),
        into(OK),
    ]);
    assert_eq!(
        lines(&told)[1..],
        ["1 sent 4 abcd", "1 Ok 200 2 ok", "2 GET http://h/next", "2 Ok 200 2 ok"]
    );
}

#[test]
fn a_gap_within_a_content_leaves_the_next_message_readable() {
    let told = talk(&[
        out("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nab"),
        Step::Gap(Way::Out, 90),
        out("12345678GET /next HTTP/1.1\r\nHost: h\r\n\r\n"),
        into("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nxy"),
        Step::Gap(Way::In, 98),
        into("\r\n0\r\n\r\n"),
        into(OK),
    ]);
    assert_eq!(
        lines(&told),
        [
            "1 POST http://h/",
            "1 sent 100 ab…",
            "2 GET http://h/next",
            "1 Ok 200 100 xy…",
            "2 Ok 200 2 ok",
        ]
    );
}

#[test]
fn a_gap_within_a_head_ends_the_reading_of_that_direction_alone() {
    let told = talk(&[
        out("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HT"),
        Step::Gap(Way::Out, 10),
        out("GET /3 HTTP/1.1\r\nHost: h\r\n\r\n"),
        into(OK),
    ]);
    assert_eq!(
        lines(&told),
        ["1 GET http://h/1", "unparsed Out: bytes were missed within it", "1 Ok 200 2 ok"]
    );
    // Requests whose answers can't be read are still told.
    let told = talk(&[
        out("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"),
        into("HTTP/1.1 200"),
        Step::Gap(Way::In, 10),
        out("GET /2 HTTP/1.1\r\nHost: h\r\n\r\n"),
    ]);
    let why = "bytes were missed within it";
    assert_eq!(
        lines(&told),
        [
            "1 GET http://h/1".to_owned(),
            format!("unparsed In: {why}"),
            format!("1 Unknown ({why})"),
            "2 GET http://h/2".into(),
            format!("2 Unknown ({why})"),
        ]
    );
}

#[test]
fn smuggling_is_named_and_read_as_the_rfc_says_or_not_at_all() {
    let both = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
                0\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(
        lines(&talk(&[out(both), into(OK)])),
        [
            "1 POST http://h/ content-length-and-transfer-encoding",
            "2 GET http://h/next",
            "1 Ok 200 2 ok",
        ]
    );
    let twice = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde";
    assert_eq!(
        lines(&talk(&[out(twice), into("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")])),
        [
            "1 POST http://h/",
            "unparsed Out: Content-Length fields that contradict each other",
            "1 Failed 400",
        ]
    );
    let inner = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n";
    assert_eq!(lines(&talk(&[out(inner), into(OK)]))[2], "1 Ok 200 2 ok bare-lf");
}

#[test]
fn an_answer_that_nothing_asked_for_is_not_paired_with_the_next_request() {
    let told = talk(&[
        out("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"),
        into(format!("{OK}{OK}")),
        out("GET /2 HTTP/1.1\r\nHost: h\r\n\r\n"),
    ]);
    assert_eq!(
        lines(&told)[2..],
        [
            "unparsed In: an answer that nothing asked for",
            "2 GET http://h/2",
            "2 Unknown (an answer that nothing asked for)",
        ]
    );
    // A server that gives up on an idle connection is no such thing.
    let told = talk(&[
        out("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"),
        into(format!("{OK}HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n")),
        Step::End(Way::In, End::Closed),
        Step::End(Way::Out, End::Closed),
    ]);
    assert_eq!(lines(&told), ["1 GET http://h/1", "1 Ok 200 2 ok"]);
}

#[test]
fn what_is_no_http_is_nothing_to_tell() {
    let told = talk(&[into("220 ready\r\n"), out("EHLO x\r\n"), into("250 ok\r\n")]);
    assert_eq!(lines(&told), [""; 0]);
    assert_eq!(lines(&talk(&[out("GET /x\r\n")])), ["unparsed Out: a request of HTTP/0.9"]);
}

#[test]
fn a_connection_met_halfway_says_so() {
    let flow = || Flow { from_start: false, ..Flow::plaintext(None) };
    let told =
        talk_on(flow(), &Capture::default(), &[out("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), into(OK)]);
    assert_eq!(lines(&told), ["1 GET http://h/ met-halfway", "1 Ok 200 2 ok"]);
    let told = talk_on(flow(), &Capture::default(), &[out([0, 0, 5, 1, 4, 0, 0, 0, 9])]);
    assert_eq!(lines(&told), ["unparsed Out: its beginning was not seen"]);
}

#[test]
fn a_host_that_is_not_the_one_that_tls_was_told_is_named() {
    let flow = Flow {
        transport: Transport::Tls,
        name: Some(Raw::from("front.example")),
        ..Flow::plaintext(None)
    };
    let steps = [
        out("GET / HTTP/1.1\r\nHost: Front.example:443\r\n\r\n"),
        out("GET / HTTP/1.1\r\nHost: hidden.example\r\n\r\n"),
        out("GET / HTTP/1.1\r\n\r\n"),
    ];
    let told = talk_on(flow, &Capture::default(), &steps);
    assert_eq!(
        lines(&told),
        [
            "1 GET https://Front.example:443/",
            "2 GET https://hidden.example/ host-differs-from-sni",
            "3 GET https://front.example/",
        ]
    );
}

#[test]
fn contents_are_kept_as_the_settings_say() {
    let capture = Capture {
        body: 3,
        rules: vec![CaptureRule { media: Some("image/*".into()), ..CaptureRule::default() }],
    };
    let told = talk_on(
        Flow::plaintext(None),
        &capture,
        &[
            out(
                "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: image/png\r\nContent-Length: 5\r\n\r\nhello",
            ),
            into("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nworld"),
        ],
    );
    assert_eq!(lines(&told)[1..], ["1 sent 5 left", "1 Ok 200 5 wor…"]);
}

#[test]
fn eight_megabytes_of_headers_are_held_to_the_bound() {
    let capture = Capture::default();
    let mut conversation = Conversation::new(Flow::plaintext(None));
    let mut told = vec![];
    let mut push = |way, bytes: &[u8]| {
        conversation.bytes(&capture, way, 0, bytes, &mut told);
        assert!(conversation.memory() < 256 * 1024, "{}", conversation.memory());
    };
    push(Way::Out, b"POST /x HTTP/1.1\r\nHost: h\r\n");
    let line = format!("X-Fill: {}\r\n", "f".repeat(1000));
    for _ in 0..8_400 {
        push(Way::Out, line.as_bytes());
    }
    push(Way::Out, b"Content-Length: 2\r\n\r\nab");
    push(Way::In, OK.as_bytes());
    assert_eq!(lines(&told), ["1 POST http://h/x", "1 sent 2 ab", "1 Ok 200 2 ok"]);
    let Told::Request { request, .. } = &told[0] else { panic!() };
    assert!(request.fields.cut && request.fields.bytes > 8 << 20);
}

#[test]
fn an_endless_stream_and_endless_pipelining_hold_no_memory() {
    let capture = Capture::default();
    let mut conversation = Conversation::new(Flow::plaintext(None));
    let mut told = vec![];
    conversation.bytes(&capture, Way::Out, 0, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &mut told);
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    conversation.bytes(&capture, Way::In, 0, head, &mut told);
    for _ in 0..20_000 {
        conversation.bytes(&capture, Way::In, 0, b"data: {\"delta\":\"word\"}\n\n", &mut told);
    }
    assert!(conversation.memory() < 128 * 1024, "{}", conversation.memory());
    conversation.end(&capture, Way::In, 0, End::Closed, &mut told);
    let Told::Answer { answer, .. } = &told[1] else { panic!() };
    assert_eq!(answer.events.unwrap().count, 20_000);

    let mut conversation = Conversation::new(Flow::plaintext(None));
    let mut told = vec![];
    for _ in 0..5_000 {
        conversation.bytes(&capture, Way::Out, 0, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &mut told);
    }
    let requests = told.iter().filter(|told| matches!(told, Told::Request { .. })).count();
    assert_eq!(requests, limits::PIPELINED + 1);
    assert!(matches!(told.last(), Some(Told::Unparsed { .. })));
}

#[test]
fn trailers_of_a_request_are_told_with_its_answer() {
    let told = talk(&[
        out("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"),
        out("2\r\nhi\r\n0\r\nX-Key: v\r\nX-More: w\r\n\r\n"),
        into(OK),
    ]);
    assert_eq!(lines(&told)[2], "1 Ok 200 2 ok sent trailers 2");
}

use super::*;

#[test]
fn a_tunnel_is_one_call_and_the_http_inside_others() {
    let told = talk(&[
        out("CONNECT inner:80 HTTP/1.1\r\nHost: inner:80\r\n\r\n"),
        into("HTTP/1.1 200 Connection established\r\nContent-Length: 99\r\n\r\n"),
        out("GET /in HTTP/1.1\r\nHost: inner\r\n\r\n"),
        into("HTTP/1.1 204 No Content\r\n\r\n"),
        Step::End(Way::Out, End::Closed),
        Step::End(Way::In, End::Closed),
    ]);
    assert_eq!(
        lines(&told),
        ["1 CONNECT inner:80", "2 GET http://inner/in", "2 Ok 204", "1 Ok 200 tunnel 33 27 http"]
    );
}

#[test]
fn a_tunnel_that_was_refused_is_none_and_the_next_request_is_read() {
    let told = talk(&[
        out("CONNECT inner:443 HTTP/1.1\r\nHost: inner:443\r\n\r\n"),
        out("GET /early HTTP/1.1\r\nHost: proxy\r\n\r\n"),
        into("HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno"),
        into("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ]);
    assert_eq!(
        lines(&told),
        ["1 CONNECT inner:443", "1 Failed 407 2 no", "2 GET http://proxy/early", "2 Ok 200"]
    );
}

#[test]
fn tls_in_a_tunnel_is_named_and_its_bytes_are_counted() {
    let told = talk(&[
        out("CONNECT inner:443 HTTP/1.1\r\n\r\n"),
        into("HTTP/1.1 200 OK\r\n\r\n"),
        out(b"\x16\x03\x01\x00\x05hello"),
        Step::Gap(Way::Out, 90),
        into(b"\x16\x03\x03"),
        Step::End(Way::In, End::Reset),
    ]);
    assert_eq!(lines(&told)[1], "1 Ok 200 tunnel 100 3 tls");
}

#[test]
fn tunnels_within_tunnels_end_somewhere() {
    let mut steps = vec![];
    for _ in 0..20 {
        steps.push(out("CONNECT a:1 HTTP/1.1\r\n\r\n"));
        steps.push(into("HTTP/1.1 200 OK\r\n\r\n"));
    }
    steps.push(Step::End(Way::Out, End::Closed));
    steps.push(Step::End(Way::In, End::Closed));
    let told = talk(&steps);
    assert_eq!(told.len(), 2 * (usize::from(limits::DEPTH) + 1));
}

#[test]
fn a_request_that_is_under_way_in_a_tunnel_ends_with_it() {
    let told = talk(&[
        out("CONNECT inner:80 HTTP/1.1\r\nHost: inner:80\r\n\r\n"),
        into("HTTP/1.1 200 OK\r\n\r\n"),
        out("POST /in HTTP/1.1\r\nHost: inner\r\nContent-Length: 9\r\n\r\nhalf"),
        Step::End(Way::In, End::Reset),
        Step::End(Way::Out, End::Closed),
    ]);
    assert_eq!(lines(&told)[1..3], ["2 POST http://inner/in", "2 sent 4 half…"]);
    assert_eq!(lines(&told)[3], "2 Failed (reset by the server before its answer ended)");
}

#[test]
fn messages_of_a_websocket_are_part_of_their_call() {
    let told = talk(&[
        out(
            "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
        ),
        into(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x05hello"),
        out(b"\x81\x82\x01\x02\x03\x04ik"),
        out(b"\x88\x80\0\0\0\0"),
        into(b"\x88\x02\x03\xe8"),
        Step::End(Way::Out, End::Closed),
        Step::End(Way::In, End::Closed),
    ]);
    assert_eq!(lines(&told), ["1 GET http://h/ws", "1 Ok 101 websocket 1 1"]);
    let Told::Answer { answer, .. } = &told[1] else { panic!() };
    let socket = answer.websocket.as_ref().unwrap();
    assert_eq!(text(&socket.first[0].kept), "hello");
    assert_eq!((text(&socket.first[1].kept), socket.close), ("hi".into(), Some(1000)));
}

#[test]
fn an_upgrade_that_was_not_taken_is_an_ordinary_request() {
    let told = talk(&[
        out("GET /1 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
        into("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        out("GET /2 HTTP/1.1\r\nHost: h\r\n\r\n"),
        into("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ]);
    assert_eq!(lines(&told), ["1 GET http://h/1", "1 Ok 200", "2 GET http://h/2", "2 Ok 200"]);
    let told = talk(&[
        out("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"),
        into("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    ]);
    assert_eq!(lines(&told)[1], "unparsed In: a switch of protocols that nothing asked for");
}

#[test]
fn an_upgrade_to_something_else_is_counted() {
    let told = talk(&[
        out("POST /attach HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"),
        into("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n\x01\0\0"),
        out("ls\n"),
        Step::End(Way::In, End::Closed),
        Step::End(Way::Out, End::Closed),
    ]);
    assert_eq!(lines(&told)[1], "1 Ok 101 tunnel 3 3 other");
}

const OFFER: &str = "GET /1 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
const HIDDEN: &str = "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n";
const EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[test]
fn requests_behind_an_offer_are_read_though_the_agent_closed_its_side() {
    let told = talk(&[
        out([OFFER, HIDDEN].concat()),
        Step::End(Way::Out, End::Closed),
        into([EMPTY, EMPTY].concat()),
        Step::End(Way::In, End::Closed),
    ]);
    assert_eq!(lines(&told), ["1 GET http://h/1", "1 Ok 200", "2 GET http://h/2", "2 Ok 200"]);
}

#[test]
fn what_is_sent_behind_an_offer_without_an_answer_is_said_to_be_unread() {
    let unread = "unparsed Out: nothing says whether what follows an offer is HTTP";
    let told = talk(&[out([OFFER, HIDDEN].concat()), into("what?\r\n\r\n"), out(HIDDEN)]);
    let told = lines(&told);
    assert_eq!(
        (told.len(), told.iter().filter(|line| *line == unread).count()),
        (4, 1),
        "{told:?}"
    );
    let told = talk(&[out(OFFER), into("what?\r\n\r\n"), out(HIDDEN), out(HIDDEN)]);
    let told = lines(&told);
    assert_eq!(
        (told.len(), told.iter().filter(|line| *line == unread).count()),
        (4, 1),
        "{told:?}"
    );
}

#[test]
fn what_was_not_held_before_a_switch_is_not_passed_over_in_silence() {
    let told = talk(&[
        out(OFFER),
        out(vec![b'x'; limits::HELD + 1]),
        into("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
        out(HIDDEN),
        Step::End(Way::Out, End::Closed),
        Step::End(Way::In, End::Closed),
    ]);
    assert_eq!(
        lines(&told)[1..],
        [
            "unparsed Out: much was sent before an upgrade was answered",
            "1 Ok 101 tunnel 28 0 other"
        ]
    );
}

#[test]
fn a_request_in_a_tunnel_is_read_though_the_far_end_closed_its_side() {
    let told = talk(&[
        out("CONNECT inner:80 HTTP/1.1\r\nHost: inner:80\r\n\r\n"),
        into("HTTP/1.1 200 OK\r\n\r\n"),
        Step::End(Way::In, End::Closed),
        out(HIDDEN),
        Step::End(Way::Out, End::Closed),
    ]);
    let unanswered = "2 Failed (closed by the server before its answer ended)";
    assert_eq!(lines(&told)[1..], ["2 GET http://h/2", unanswered, "1 Ok 200 tunnel 28 0 http"]);
}

#[test]
fn a_request_that_follows_the_servers_end_has_an_answer() {
    let told =
        talk(&[Step::End(Way::In, End::Closed), out(HIDDEN), Step::End(Way::Out, End::Closed)]);
    let unanswered = "1 Failed (closed by the server before its answer ended)";
    assert_eq!(lines(&told), ["1 GET http://h/2", unanswered]);
    let told = talk(&[into(EMPTY), Step::End(Way::In, End::Closed), out(HIDDEN)]);
    assert_eq!(lines(&told), ["1 GET http://h/2", "1 Ok 200"]);
}

#[test]
fn a_message_of_a_websocket_without_an_end_is_counted() {
    let told = talk(&[
        out("GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
        into(b"HTTP/1.1 101 S\r\n\r\n\x01\x02he"),
        out(b"\x81\x85\0\0\0\0hid"),
        Step::End(Way::Out, End::Closed),
        Step::End(Way::In, End::Closed),
    ]);
    assert_eq!(lines(&told)[1], "1 Ok 101 websocket 1 1");
    let Told::Answer { answer, .. } = &told[1] else { panic!() };
    let socket = answer.websocket.as_ref().unwrap();
    assert_eq!((socket.sent.bytes, socket.received.bytes), (3, 2));
    assert_eq!(socket.first, []);
}

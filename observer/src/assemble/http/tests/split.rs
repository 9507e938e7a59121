//! Any split of the bytes gives the same calls, and any bytes give calls that all have an end.

use proptest::prelude::*;

use super::super::opening::PREFACE;
use super::http2::{field, frame, request, response};
use super::*;

/// Turns of one connection: what the agent sends, then what comes back.
fn stories() -> Vec<Vec<(Way, Vec<u8>)>> {
    let text = |turns: &[(Way, &str)]| {
        turns.iter().map(|(way, text)| (*way, text.as_bytes().to_vec())).collect::<Vec<_>>()
    };
    let gzip = |text: &str| {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let coded = gzip("{\"a\":1}");
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        coded.len()
    )
    .into_bytes();
    answer.extend(coded);
    let grpc = [
        field(":method", "POST"),
        field(":scheme", "http"),
        field(":path", "/s/m"),
        field("content-type", "application/grpc"),
    ]
    .concat();
    vec![
        text(&[
            (
                Way::Out,
                "\r\nPOST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: v\r\n\r\nGET /b HTTP/1.1\nHost : h\nA: b\n c\n\n",
            ),
            (
                Way::In,
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP/1.0 404 No\r\nContent-Type: text/event-stream\r\n\r\ndata: a\r\n\r\ndata: b\r\r",
            ),
        ]),
        vec![
            (Way::Out, b"CONNECT in:1 HTTP/1.1\r\n\r\n".to_vec()),
            (Way::In, b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
            (Way::Out, b"GET / HTTP/1.1\r\nHost: in\r\n\r\n".to_vec()),
            (Way::In, answer),
        ],
        vec![
            (
                Way::Out,
                b"GET /w HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n"
                    .to_vec(),
            ),
            (
                Way::In,
                b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n\x01\x02he\x80\x03llo\x89\0".to_vec(),
            ),
            (Way::Out, b"\x82\xfe\0\x80\x01\x02\x03\x04".iter().copied().chain([9; 128]).collect()),
            (Way::In, b"\x88\x04\x03\xe9by".to_vec()),
        ],
        vec![
            (
                Way::Out,
                [
                    PREFACE.to_vec(),
                    frame(4, 0, 0, &[0, 1, 0, 0, 0x10, 0]),
                    request(1, "PUT", "/a", false),
                    frame(0, 8, 1, b"\x02hello\0\0"),
                    frame(1, 4, 3, &grpc),
                    frame(0, 1, 3, b"\0\0\0\0\x02hi"),
                    frame(0, 1, 1, b""),
                ]
                .concat(),
            ),
            (
                Way::In,
                [
                    frame(4, 0, 0, &[]),
                    response(3, "200", false),
                    frame(0, 0, 3, b"\0\0\0\0\x01x"),
                    response(1, "302", true),
                    frame(1, 5, 3, &field("grpc-status", "0")),
                ]
                .concat(),
            ),
        ],
        text(&[
            (Way::Out, "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
            (Way::In, "HTTP/1.1 400 Bad\r\n\r\nno"),
        ]),
    ]
}

/// What was told, and the answers' whole contents.
fn whole(turns: &[(Way, Vec<u8>)], cuts: &[usize]) -> Vec<String> {
    let capture = Capture::default();
    let mut conversation = Conversation::new(Flow::plaintext(None));
    let mut told = vec![];
    let mut cuts = cuts.iter().cycle();
    for (way, bytes) in turns {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*cuts.next().unwrap()).clamp(1, rest.len()));
            conversation.bytes(&capture, *way, 7, piece, &mut told);
            rest = after;
        }
    }
    for way in [Way::Out, Way::In] {
        conversation.end(&capture, way, 7, End::Closed, &mut told);
    }
    let mut out = lines(&told);
    for told in &told {
        match told {
            Told::Request { request, .. } => out.push(format!("{request:?}")),
            Told::Answer { answer, .. } => out.push(format!("{answer:?}")),
            Told::Sent { .. } | Told::Unparsed { .. } => {}
        }
    }
    out
}

/// Whether each request has one answer.
fn balanced(told: &[Told]) -> bool {
    let mut open = std::collections::BTreeSet::new();
    for told in told {
        match told {
            Told::Request { id, .. } => {
                if !open.insert(*id) {
                    return false;
                }
            }
            Told::Answer { id, .. } => {
                if !open.remove(id) {
                    return false;
                }
            }
            Told::Sent { id, .. } => {
                if !open.contains(id) {
                    return false;
                }
            }
            Told::Unparsed { .. } => {}
        }
    }
    open.is_empty()
}

proptest! {
    #[test]
    fn any_split_gives_the_same_calls(cuts in prop::collection::vec(1usize..40, 1..30)) {
        for turns in stories() {
            prop_assert_eq!(whole(&turns, &cuts), whole(&turns, &[usize::MAX]));
        }
    }

    #[test]
    fn whatever_comes_each_request_has_one_answer(
        story in 0usize..5,
        harm in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cuts in prop::collection::vec(1usize..200, 1..10),
        gaps in prop::collection::vec(0u64..60, 1..10),
        how in prop::sample::select(vec![End::Closed, End::Reset, End::Unseen]),
    ) {
        let mut turns = stories().swap_remove(story);
        for (at, byte) in harm {
            let turn = at.index(turns.len());
            let bytes = &mut turns[turn].1;
            let place = at.index(bytes.len());
            bytes[place] = byte;
        }
        let capture = Capture { body: 16, rules: vec![] };
        let mut conversation = Conversation::new(Flow::plaintext(None));
        let mut told = vec![];
        let (mut cuts, mut gaps) = (cuts.iter().cycle(), gaps.iter().cycle());
        for (way, bytes) in &turns {
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                conversation.bytes(&capture, *way, 7, piece, &mut told);
                rest = after;
                let gap = *gaps.next().unwrap();
                if gap > 40 && rest.len() as u64 >= gap - 40 {
                    conversation.gap(&capture, *way, 7, Some(gap - 40), &mut told);
                    rest = &rest[(gap - 40) as usize..];
                }
                prop_assert!(conversation.memory() < 1 << 20);
            }
        }
        conversation.end(&capture, Way::Out, 8, how, &mut told);
        conversation.end(&capture, Way::In, 8, how, &mut told);
        prop_assert!(balanced(&told), "{:?}", lines(&told));
    }
}

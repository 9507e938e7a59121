use flate2::{Compress, Compression, FlushCompress};

use super::*;

fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut out = vec![first];
    let bit = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        len @ 0..126 => out.push(bit | len as u8),
        len @ 126..65536 => {
            out.push(bit | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(bit | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask.unwrap_or_default()[..if mask.is_some() { 4 } else { 0 }]);
    let mask = mask.unwrap_or_default();
    out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    out
}

fn plain() -> Socket {
    Socket::new(&HttpFields::default())
}

fn with(extensions: &str) -> Socket {
    let line = (Raw::from("Sec-WebSocket-Extensions"), Raw::from(extensions));
    Socket::new(&HttpFields { lines: vec![line], ..HttpFields::default() })
}

const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

#[test]
fn messages_are_counted_and_kept_however_they_are_split() {
    let mut stream = frame(0x81, b"hello", MASK);
    stream.extend(frame(0x01, b"one, ", MASK));
    stream.extend(frame(0x89, b"ping", MASK));
    stream.extend(frame(0x80, b"two", MASK));
    stream.extend(frame(0x82, &[7; 70_000], MASK));
    stream.extend(frame(0x88, &[0x03, 0xe8, b'b', b'y', b'e'], MASK));
    for piece in [1, 2, 3, 10, 1000, 100_000] {
        let mut socket = plain();
        stream.chunks(piece).for_each(|piece| socket.push(Way::Out, piece));
        let socket = socket.finish();
        assert_eq!(socket.sent, Messages { count: 3, bytes: 70_013, largest: 70_000 }, "{piece}");
        assert_eq!(socket.sent_control, Messages { count: 2, bytes: 9, largest: 5 }, "{piece}");
        assert_eq!(socket.received_control, Messages::default());
        assert_eq!(socket.first[0].kept, Raw::from("hello"));
        assert_eq!(socket.first[1].kept, Raw::from("one, two"));
        assert!(socket.first[1].whole && socket.first[1].sent);
        assert!(!socket.first[2].text && socket.first[2].kept.is_empty());
        assert_eq!(socket.unparsed, None);
        assert_eq!(socket.close, Some(1000), "{piece}");
    }
}

#[test]
fn what_is_compressed_is_undone_with_and_without_a_context() {
    for (extensions, fresh) in [
        ("permessage-deflate", false),
        ("x, permessage-deflate; server_no_context_takeover; client_max_window_bits=15", true),
    ] {
        let mut compress = Compress::new(Compression::best(), false);
        let mut socket = with(extensions);
        for n in 0..6 {
            let text = format!("{{\"message\":{n},\"text\":\"the same words again and again\"}}");
            let mut out = Vec::with_capacity(1000);
            compress.compress_vec(text.as_bytes(), &mut out, FlushCompress::Sync).unwrap();
            assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
            out.truncate(out.len() - 4);
            if fresh {
                compress.reset();
            }
            socket.push(Way::In, &frame(0xc1, &out, None));
        }
        let socket = socket.finish();
        assert_eq!((socket.received.count, socket.unparsed), (6, None));
        assert_eq!(socket.first.len(), FIRST);
        for (n, message) in socket.first.iter().enumerate() {
            let start = format!("{{\"message\":{n},");
            assert!(message.whole && message.kept.bytes().starts_with(start.as_bytes()), "{n}");
            assert!(message.kept.bytes().ends_with(b"again\"}"));
        }
    }
}

#[test]
fn a_bomb_is_undone_to_a_bound_and_no_further() {
    let mut compress = Compress::new(Compression::best(), false);
    let mut out = Vec::with_capacity(1 << 20);
    compress.compress_vec(&vec![b'a'; 64 << 20], &mut out, FlushCompress::Sync).unwrap();
    let mut socket = with("permessage-deflate");
    socket.push(Way::In, &frame(0xc1, &out, None));
    assert_eq!(socket.received.inflater.as_ref().unwrap().memory(), 0);
    let socket = socket.finish();
    assert_eq!(socket.received.count, 1);
    assert!(!socket.first[0].whole && socket.first[0].kept.len() == TEXT);
}

#[test]
fn a_text_that_the_connections_end_left_unfinished_is_never_shown_as_whole() {
    let half = &frame(0x81, b"password: zQ7vT2mXpLx9WkR", MASK)[..20];
    let parts = frame(0x01, b"password: zQ7vT2mX", MASK);
    for bytes in [half, &parts] {
        let mut socket = plain();
        socket.push(Way::Out, &frame(0x81, b"first", MASK));
        socket.push(Way::Out, bytes);
        let socket = socket.finish();
        assert_eq!((socket.first.len(), socket.sent.count), (1, 2), "{:?}", socket.first);
        assert_eq!(socket.first[0].kept, Raw::from("first"));
    }
}

#[test]
fn what_pings_and_pongs_carry_is_counted_also_where_the_connection_ends_within_one() {
    let mut socket = plain();
    (0..40).for_each(|_| socket.push(Way::Out, &frame(0x89, &[b'x'; 125], MASK)));
    let pong = frame(0x8a, &[b'y'; 100], None);
    socket.push(Way::In, &pong[..12]);
    let socket = socket.finish();
    assert_eq!(socket.sent_control, Messages { count: 40, bytes: 5000, largest: 125 });
    assert_eq!(socket.received_control, Messages { count: 1, bytes: 10, largest: 10 });
    assert_eq!((socket.sent.count, socket.received.count, socket.unparsed), (0, 0, None));
}

#[test]
fn noise_ends_the_reading_of_one_direction() {
    for (bytes, way) in [
        (frame(0x81, b"not masked", None), Way::Out),
        (frame(0x81, b"masked", MASK), Way::In),
        (frame(0x83, b"reserved", None), Way::In),
        (frame(0x80, b"continues nothing", None), Way::In),
        (frame(0xc1, b"not agreed on", None), Way::In),
        (frame(0x09, b"a ping in parts", None), Way::In),
    ] {
        let mut socket = plain();
        socket.push(way, &bytes);
        let other = match way {
            Way::Out => Way::In,
            Way::In => Way::Out,
        };
        socket.push(other, &frame(0x81, b"ok", (other == Way::Out).then_some([9; 4])));
        let socket = socket.finish();
        assert!(socket.unparsed.is_some(), "{bytes:?}");
        assert_eq!(socket.sent.count + socket.received.count, 1);
    }
}

#[test]
fn a_gap_within_a_message_leaves_the_next_readable() {
    let mut socket = plain();
    let first = frame(0x81, &[b'a'; 100], None);
    socket.push(Way::In, &first[..50]);
    socket.skip(Way::In, 20);
    socket.push(Way::In, &first[70..]);
    socket.push(Way::In, &frame(0x81, b"next", None));
    let socket = socket.finish();
    assert_eq!((socket.received.count, socket.received.bytes), (2, 104));
    assert!(!socket.first[0].whole && socket.first[1].whole);
    assert_eq!(socket.unparsed, None);
}

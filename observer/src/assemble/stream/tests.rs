use observer_common::{STREAM_TURN, stream_offset};
use proptest::prelude::*;

use super::*;

const CLIENT: u32 = stream_flag::OPENED;

fn event(cookie: u64, way: Direction, offset: u64, len: usize) -> StreamEvent {
    StreamEvent {
        header: Header { pid: 7, time: 1, ..Header::default() },
        cookie,
        offset,
        direction: if way == Direction::Sent { direction::SENT } else { direction::RECEIVED },
        flags: CLIENT,
        seen: len as u32,
        len: len as u32,
        ..StreamEvent::default()
    }
}

/// What came out, chunks of bytes joined.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Bytes(Vec<u8>),
    Gap(u64),
    End(Close),
}

#[derive(Default)]
struct Sink(HashMap<(u64, Direction), Vec<Got>>);

impl Sink {
    fn take(&mut self, flow: &Flow, way: Direction, chunk: Chunk<'_>) {
        let got = self.0.entry((flow.id.0, way)).or_default();
        match (chunk, got.last_mut()) {
            (Chunk::Bytes(bytes), Some(Got::Bytes(all))) => all.extend_from_slice(bytes),
            (Chunk::Bytes(bytes), _) => got.push(Got::Bytes(bytes.to_vec())),
            (Chunk::Gap(n), _) => got.push(Got::Gap(n)),
            (Chunk::End(close), _) => got.push(Got::End(close)),
        }
    }

    fn of(&self, cookie: u64, way: Direction) -> &[Got] {
        self.0.get(&(cookie, way)).map_or(&[], Vec::as_slice)
    }
}

fn bytes(text: &[u8]) -> Got {
    Got::Bytes(text.to_vec())
}

/// A connection's story: pieces of one direction, each at its offset.
struct Story {
    streams: Streams,
    sink: Sink,
}

impl Story {
    fn new() -> Self {
        Self { streams: Streams::default(), sink: Sink::default() }
    }

    fn data(&mut self, event: &StreamEvent, bytes: &[u8]) {
        let sink = &mut self.sink;
        self.streams.data(event, bytes, &mut |flow, way, _, chunk| sink.take(flow, way, chunk));
    }

    fn came(&mut self, offset: u64, text: &[u8]) {
        self.data(&event(1, Direction::Received, offset, text.len()), text);
    }

    fn sent(&mut self, offset: u64, skipped: u64, text: &[u8]) {
        let event = event(1, Direction::Sent, offset, text.len());
        self.data(&StreamEvent { skipped, ..event }, text);
    }

    fn settle(&mut self, now: u64) {
        let sink = &mut self.sink;
        self.streams.settle(now, &mut |flow, way, _, chunk| sink.take(flow, way, chunk));
    }

    fn end(&mut self, sent: u64, received: u64, flags: u32) {
        let event = StreamEndEvent { cookie: 1, sent, received, flags, ..Default::default() };
        let sink = &mut self.sink;
        self.streams.end(&event, &mut |flow, way, _, chunk| sink.take(flow, way, chunk));
    }

    fn received(&self) -> &[Got] {
        self.sink.of(1, Direction::Received)
    }

    fn what_was_sent(&self) -> &[Got] {
        self.sink.of(1, Direction::Sent)
    }
}

#[test]
fn what_came_out_of_order_is_put_in_order() {
    let mut story = Story::new();
    story.came(5, b"world");
    assert_eq!(story.received(), []);
    story.came(0, b"hello");
    assert_eq!(story.received(), [bytes(b"helloworld")]);
    assert_eq!(story.streams.waiting_bytes, 0);
}

#[test]
fn the_first_copy_counts_and_one_that_differs_is_marked() {
    let mut story = Story::new();
    story.came(2, b"cdef");
    story.came(0, b"abXXef");
    assert_eq!(story.received(), [bytes(b"abcdef")]);
    assert!(story.streams.flow(FlowId(1)).unwrap().doubtful);

    let mut story = Story::new();
    story.sent(0, 0, b"Host: good");
    story.sent(0, 0, b"Host: good");
    assert!(!story.streams.flow(FlowId(1)).unwrap().doubtful);
    story.sent(0, 0, b"Host: evil");
    assert_eq!(story.what_was_sent(), [bytes(b"Host: good")]);
    assert!(story.streams.flow(FlowId(1)).unwrap().doubtful);
}

#[test]
fn what_was_not_copied_is_a_gap_of_its_length() {
    let mut story = Story::new();
    story.sent(0, 0, b"head");
    story.sent(1004, 1000, b"tail");
    assert_eq!(story.what_was_sent(), [bytes(b"head"), Got::Gap(1000), bytes(b"tail")]);
    assert_eq!(story.streams.counts(), Counts::default());
}

#[test]
fn a_packet_that_never_comes_is_waited_for_and_then_a_gap() {
    let mut story = Story::new();
    story.came(0, b"one");
    story.came(10, b"two");
    story.settle(PATIENCE);
    assert_eq!(story.received(), [bytes(b"one")]);
    story.settle(PATIENCE + 2);
    assert_eq!(story.received(), [bytes(b"one"), Got::Gap(7), bytes(b"two")]);
    assert_eq!(story.streams.counts(), Counts { evicted: 0, gaps: 1, gap_bytes: 7 });
    // It comes after all.
    story.came(3, b"1234567");
    assert_eq!(story.received().len(), 3);
}

#[test]
fn the_end_of_an_answer_that_was_not_copied_is_known_when_the_next_request_is_sent() {
    let mut story = Story::new();
    story.sent(0, 0, b"GET");
    story.came(0, b"head");
    let next = event(1, Direction::Sent, 3, 3);
    story.data(&StreamEvent { other: 5004, ..next }, b"GET");
    assert_eq!(story.received(), [bytes(b"head")]);
    story.settle(SEEN_FOR + 1);
    assert_eq!(story.received(), [bytes(b"head"), Got::Gap(5000)]);
    story.came(5004, b"next");
    assert_eq!(story.received().last(), Some(&bytes(b"next")));
}

#[test]
fn each_direction_ends_by_itself() {
    let mut story = Story::new();
    story.sent(0, 0, b"request");
    let fin = event(1, Direction::Sent, 7, 0);
    story.data(&StreamEvent { flags: CLIENT | stream_flag::FIN, ..fin }, b"");
    assert_eq!(story.what_was_sent(), [bytes(b"request"), Got::End(Close::Fin)]);
    story.came(0, b"answer");
    story.end(7, 6, 0);
    assert_eq!(story.received(), [bytes(b"answer"), Got::End(Close::Fin)]);
    assert_eq!(story.what_was_sent().len(), 2);
    assert!(story.streams.flow(FlowId(1)).is_none());
}

#[test]
fn a_reset_says_so_and_what_is_missing() {
    let mut story = Story::new();
    story.sent(0, 0, b"request");
    story.came(0, b"half of");
    story.end(7, 5000, stream_flag::RESET);
    assert_eq!(story.received(), [bytes(b"half of"), Got::Gap(4993), Got::End(Close::Reset)]);
    assert_eq!(story.what_was_sent(), [bytes(b"request"), Got::End(Close::Reset)]);
}

#[test]
fn a_million_idle_connections_are_bounded_and_each_end_is_told() {
    let mut streams = Streams::with_most(1000);
    let mut sink = Sink::default();
    for cookie in 0..10_000 {
        let event = event(cookie, Direction::Sent, 0, 1);
        streams.data(&event, b"x", &mut |flow, way, _, chunk| sink.take(flow, way, chunk));
        assert!(streams.flows.len() <= 1000 && streams.order.len() <= 2000);
    }
    assert_eq!(streams.counts().evicted, 9000);
    streams.finish(9, &mut |flow, way, _, chunk| sink.take(flow, way, chunk));
    for cookie in 0..10_000 {
        let want = [bytes(b"x"), Got::End(Close::Unseen)];
        assert_eq!(sink.of(cookie, Direction::Sent), want);
    }
}

#[test]
fn one_that_talks_outlives_those_that_are_idle() {
    let mut streams = Streams::with_most(10);
    for cookie in 0..100 {
        for id in [cookie, 1000] {
            streams.data(&event(id, Direction::Sent, 0, 1), b"x", &mut |_, _, _, _| {});
        }
    }
    assert!(streams.flow(FlowId(1000)).is_some());
}

#[test]
fn pieces_that_wait_are_bounded_in_bytes_and_in_number() {
    let mut story = Story::new();
    let piece = [7; 1000];
    for n in 0..1000 {
        story.came(1 + n * 2000, &piece);
        assert!(story.streams.waiting_bytes <= WAITING_ONE + piece.len());
    }
    let mut story = Story::new();
    for n in 0..5000 {
        story.came(1 + n * 2, b"x");
    }
    assert!(story.streams.waiting_bytes < 2000);
    for cookie in 0..2000 {
        for n in 0..100 {
            let event = event(cookie + 2, Direction::Received, 1 + n * 2000, piece.len());
            story.data(&event, &piece);
        }
    }
    assert!(story.streams.waiting_bytes <= WAITING_ALL + WAITING_ONE);
}

#[test]
fn gaps_that_can_not_be_do_not_overflow_their_count() {
    let mut streams = Streams::default();
    for cookie in 0..3 {
        let event = event(cookie, Direction::Sent, u64::MAX / 2, 1);
        streams.data(&event, b"x", &mut |_, _, _, _| {});
    }
    assert_eq!(streams.counts().gap_bytes, u64::MAX);
}

#[test]
fn bytes_from_before_the_beginning_are_nobodys() {
    let mut story = Story::new();
    story.came(u64::MAX - 1, b"ab");
    story.came(u64::MAX - 1, b"abcd");
    assert_eq!(story.received(), [bytes(b"cd")]);
}

/// A stream cut at arbitrary places, with pieces that come twice, in any order.
fn segments() -> impl Strategy<Value = (Vec<u8>, Vec<(usize, usize)>)> {
    prop::collection::vec(any::<u8>(), 1..600).prop_flat_map(|stream| {
        let len = stream.len();
        let cuts = prop::collection::vec(0..len, 0..12);
        let again = prop::collection::vec((0..len, 1..len + 1), 0..8);
        (Just(stream), cuts, again).prop_flat_map(move |(stream, mut cuts, again)| {
            cuts.extend([0, len]);
            cuts.sort_unstable();
            cuts.dedup();
            let whole = cuts.windows(2).map(|w| (w[0], w[1]));
            let twice = again.into_iter().map(|(at, n)| (at, (at + n).min(len)));
            let pieces: Vec<_> = whole.chain(twice).collect();
            (Just(stream), Just(pieces).prop_shuffle())
        })
    })
}

proptest! {
    #[test]
    fn any_segmentation_gives_the_same_bytes((stream, pieces) in segments(), isn: u32) {
        let mut story = Story::new();
        for (from, to) in pieces {
            // As the kernel side counts, from sequence numbers that may wrap.
            let seq = isn.wrapping_add(from as u32);
            let offset = stream_offset(isn, 0, seq);
            story.came(offset, &stream[from..to]);
        }
        prop_assert!(!story.streams.flow(FlowId(1)).unwrap().doubtful);
        story.end(0, stream.len() as u64, 0);
        prop_assert_eq!(story.received(), [Got::Bytes(stream), Got::End(Close::Fin)]);
    }

    #[test]
    fn what_is_missing_is_named_to_the_byte(
        (stream, mut pieces) in segments(),
        lost in 0usize..4,
        sent: bool,
    ) {
        let way = if sent { Direction::Sent } else { Direction::Received };
        pieces.truncate(pieces.len().saturating_sub(lost));
        if sent {
            // What leaves is in order.
            pieces.sort_unstable();
        }
        let mut story = Story::new();
        for &(from, to) in &pieces {
            story.data(&event(1, way, from as u64, to - from), &stream[from..to]);
        }
        let total = stream.len() as u64;
        let (sent, received) = if sent { (total, 0) } else { (0, total) };
        story.end(sent, received, 0);
        let mut at = 0;
        for got in story.sink.of(1, way) {
            match got {
                Got::Bytes(bytes) => {
                    prop_assert_eq!(&stream[at..at + bytes.len()], &bytes[..]);
                    at += bytes.len();
                }
                Got::Gap(n) => at += *n as usize,
                Got::End(_) => {}
            }
        }
        prop_assert_eq!(at, if pieces.is_empty() { 0 } else { stream.len() });
    }

    #[test]
    fn nothing_hostile_panics_or_grows(
        events in prop::collection::vec(
            (0u64..3, any::<u64>(), any::<u64>(), 0u32..2, any::<u32>(), 0usize..2000), 0..200),
        near: bool,
    ) {
        let mut story = Story::new();
        for (cookie, offset, skipped, direction, flags, len) in events {
            let offset = if near { offset % 100_000 } else { offset };
            let event = StreamEvent {
                cookie, offset, skipped, direction, flags,
                other: skipped ^ offset,
                seen: STREAM_TURN,
                len: len as u32,
                ..StreamEvent::default()
            };
            story.data(&event, &vec![1; len]);
            story.settle(offset);
            let held: usize =
                story.streams.flows.values().map(State::waiting_bytes).sum();
            prop_assert_eq!(held, story.streams.waiting_bytes);
        }
    }
}

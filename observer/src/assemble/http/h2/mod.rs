//! HTTP/2 (RFC 9113): one connection, both directions, its streams side by side.
//!
//! A direction whose frames or field blocks can't be followed is told once; what it would have said
//! to the streams that are open is then not known, and they end so.

mod fields;
mod fixed;
mod frame;
mod hpack;
mod stream;

use std::collections::BTreeMap;

use super::exchange::Exchange;
use super::opening::PREFACE;
use super::{Context, End, Told, Way, limits};
use crate::model::Status;
use fields::Block;
use frame::{Frames, Said};
use hpack::Decoder;
use stream::Stream;

const REFUSED: &str = "refused: the server is going away";

/// One connection of HTTP/2.
pub(super) struct H2 {
    out: Half,
    into: Half,
    streams: BTreeMap<u32, Stream>,
    /// The newest stream that the agent opened.
    newest: u32,
    /// No answer comes any more, and what a request's is then.
    unanswered: Option<(Status, &'static str)>,
}

struct Half {
    /// Bytes of the preface that came.
    preface: usize,
    frames: Frames,
    fields: Decoder,
    /// Bytes of fields that may still be kept: they cost memory and records, and their sender next
    /// to nothing.
    credit: usize,
    /// It ended, or can't be read.
    over: bool,
}

impl Half {
    fn new(preface: usize) -> Self {
        Self {
            preface,
            frames: Frames::default(),
            fields: Decoder::new(),
            credit: limits::CREDIT,
            over: false,
        }
    }
}

impl H2 {
    pub(super) fn new() -> Self {
        Self {
            out: Half::new(0),
            into: Half::new(PREFACE.len()),
            streams: BTreeMap::new(),
            newest: 0,
            unanswered: None,
        }
    }

    /// After an upgrade from HTTP/1.1, whose request is answered on stream 1 (RFC 7540 §3.2).
    pub(super) fn upgraded(mut exchange: Exchange, cx: &mut Context<'_>) -> Self {
        let mut own = Self::new();
        own.newest = 1;
        exchange.sent(None, true, cx);
        if let Some(head) = exchange.answer.head.take() {
            exchange.answer.interim.push(head.status);
        }
        own.streams.insert(1, Stream::after_upgrade(exchange));
        own
    }

    pub(super) fn bytes(&mut self, way: Way, mut bytes: &[u8], cx: &mut Context<'_>) {
        while !bytes.is_empty() {
            let half = self.half(way);
            if half.over {
                return;
            }
            if half.preface < PREFACE.len() {
                let taken = (PREFACE.len() - half.preface).min(bytes.len());
                if bytes[..taken] != PREFACE[half.preface..half.preface + taken] {
                    return self.lose(way, "HTTP/2 without its preface", cx);
                }
                half.preface += taken;
                bytes = &bytes[taken..];
                continue;
            }
            let (taken, said) = match half.frames.take(bytes) {
                Ok(step) => step,
                Err(why) => return self.lose(way, why, cx),
            };
            half.credit = (half.credit + taken * limits::GROWTH).min(limits::CREDIT);
            bytes = &bytes[taken..];
            self.said(way, said, cx);
            self.end_of_frame(way, cx);
        }
    }

    fn end_of_frame(&mut self, way: Way, cx: &mut Context<'_>) {
        match self.half(way).frames.end_if_over() {
            Ok(said) => self.said(way, said, cx),
            Err(why) => self.lose(way, why, cx),
        }
    }

    fn said(&mut self, way: Way, said: Said<'_>, cx: &mut Context<'_>) {
        match said {
            Said::Nothing => {}
            Said::Data { stream, bytes } => {
                if let Some(stream) = self.streams.get_mut(&stream) {
                    stream.data(way, bytes, cx);
                }
            }
            Said::EndOfData { stream } => {
                if let Some(stream) = self.streams.get_mut(&stream) {
                    stream.end(way, cx);
                }
                self.tell(stream, cx);
            }
            Said::Fields { stream, block, end } => self.fields(way, stream, &block, end, cx),
            Said::Promise { stream, block } => {
                // The agent did not ask for it; its fields keep the table in step.
                if let Err(why) = self.half(way).fields.decode(&block, &mut |_, _| {}) {
                    return self.lose(way, why, cx);
                }
                if let Some(stream) = self.streams.get_mut(&stream) {
                    stream.exchange.doubt("pushed");
                }
            }
            Said::Reset { stream, code } => {
                if let Some(open) = self.streams.get_mut(&stream) {
                    open.reset(way, code, cx);
                }
                self.tell(stream, cx);
            }
            Said::TableSize(size) => match way {
                Way::Out => self.into.fields.allow(size),
                Way::In => self.out.fields.allow(size),
            },
            Said::GoAway { last, code } if way == Way::In => {
                let refused: Vec<u32> =
                    self.streams.range(last.saturating_add(1)..).map(|(&id, _)| id).collect();
                for id in refused {
                    if let Some(stream) = self.streams.get_mut(&id) {
                        stream.exchange.answer.reset = Some(code);
                        stream.break_off(Status::Failed, REFUSED, cx);
                    }
                    self.tell(id, cx);
                }
            }
            Said::GoAway { .. } => {}
        }
    }

    fn fields(&mut self, way: Way, id: u32, block: &[u8], end: bool, cx: &mut Context<'_>) {
        let half = self.half(way);
        let bound = half.credit.min(limits::HEAD);
        let block = match Block::read(&mut half.fields, block, bound) {
            Ok(block) => {
                half.credit = half.credit.saturating_sub(block.fields.size());
                block
            }
            Err(why) => return self.lose(way, why, cx),
        };
        match (way, self.streams.get_mut(&id)) {
            (Way::Out, Some(stream)) => stream.exchange.sent_trailers(block.fields),
            (Way::Out, None) => {
                if id.is_multiple_of(2) || id <= self.newest {
                    if id > self.newest {
                        self.lose(way, "a stream that a client can't open", cx);
                    }
                    // One that is over: a late end of it.
                    return;
                }
                self.newest = id;
                let mut stream = Stream::open(id, block, cx);
                if let Some((status, why)) = self.unanswered {
                    stream.exchange.flawed(status, why);
                }
                if self.streams.len() >= limits::STREAMS {
                    stream.break_off(Status::Unknown, "too many streams are open at once", cx);
                }
                self.streams.insert(id, stream);
            }
            (Way::In, Some(stream)) => stream.response(block, cx),
            (Way::In, None) => return, // pushed, or over already
        }
        if end && let Some(stream) = self.streams.get_mut(&id) {
            stream.end(way, cx);
        }
        self.tell(id, cx);
    }

    /// Tells of a stream that is over.
    fn tell(&mut self, id: u32, cx: &mut Context<'_>) {
        let over = |stream: &Stream| stream.exchange.sent && stream.exchange.answered;
        if self.streams.get(&id).is_some_and(over)
            && let Some(stream) = self.streams.remove(&id)
        {
            stream.tell(cx);
        }
    }

    pub(super) fn gap(&mut self, way: Way, bytes: Option<u64>, cx: &mut Context<'_>) {
        let half = self.half(way);
        if half.over {
            return;
        }
        let skipped = bytes.and_then(|bytes| Some((bytes, half.frames.skip(bytes)?)));
        let Some((bytes, stream)) = skipped else {
            return self.lose(way, "bytes were missed between its contents", cx);
        };
        if let Some(stream) = stream.and_then(|id| self.streams.get_mut(&id)) {
            stream.skip(way, bytes, cx);
        }
        self.end_of_frame(way, cx);
    }

    pub(super) fn end(&mut self, way: Way, how: End, cx: &mut Context<'_>) {
        self.half(way).over = true;
        match way {
            Way::Out => self.no_requests(cx),
            Way::In => {
                let (status, why) = match how {
                    End::Closed => (Status::Failed, "closed by the server before its answer ended"),
                    End::Reset => (Status::Failed, "reset by the server before its answer ended"),
                    End::Unseen => (Status::Unknown, "the answer's end was not seen"),
                };
                self.no_answers(status, why, cx);
            }
        }
    }

    pub(super) fn give_up(&mut self, why: &'static str, cx: &mut Context<'_>) {
        self.no_requests(cx);
        self.no_answers(Status::Unknown, why, cx);
        self.out.over = true;
        self.into.over = true;
    }

    fn lose(&mut self, way: Way, why: &'static str, cx: &mut Context<'_>) {
        if std::mem::replace(&mut self.half(way).over, true) {
            return;
        }
        cx.told.push(Told::Unparsed { at: cx.now, way, why });
        match way {
            Way::Out => self.no_requests(cx),
            Way::In => self.no_answers(Status::Unknown, why, cx),
        }
    }

    fn no_requests(&mut self, cx: &mut Context<'_>) {
        let open: Vec<u32> = self.streams.keys().copied().collect();
        for id in open {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.cut(Way::Out, cx);
            }
            self.tell(id, cx);
        }
    }

    fn no_answers(&mut self, status: Status, why: &'static str, cx: &mut Context<'_>) {
        self.unanswered.get_or_insert((status, why));
        let open: Vec<u32> = self.streams.keys().copied().collect();
        for id in open {
            if let Some(stream) = self.streams.get_mut(&id)
                && !stream.exchange.answered
            {
                stream.cut(Way::In, cx);
                stream.exchange.flawed(status, why);
            }
            self.tell(id, cx);
        }
    }

    fn half(&mut self, way: Way) -> &mut Half {
        match way {
            Way::Out => &mut self.out,
            Way::In => &mut self.into,
        }
    }

    pub(super) fn memory(&self) -> usize {
        let half = |half: &Half| half.frames.memory() + half.fields.memory();
        let streams = self.streams.values().map(|stream| size_of::<Stream>() + stream.memory());
        half(&self.out) + half(&self.into) + streams.sum::<usize>()
    }
}

//! The direction of answers.

use super::asking::UNDECIDED;
use super::collect::{Collector, Lines};
use super::framing::{self, Framing};
use super::reader::Reader;
use super::switched::{Switched, Upgrade};
use super::{Answering, Asking, H1, Method, feed, head};
use crate::assemble::http::exchange::content;
use crate::assemble::http::h2::H2;
use crate::assemble::http::websocket::Socket;
use crate::assemble::http::{Context, End, Through, Told, Way, limits};
use crate::model::Status;

impl H1 {
    pub(super) fn answered(&mut self, mut bytes: &[u8], cx: &mut Context<'_>) {
        while !bytes.is_empty() {
            if let Some(switched) = &mut self.switched {
                return switched.bytes(Way::In, bytes, cx);
            }
            match &mut self.answering {
                Answering::Head { lines, at } => match feed(lines, at, &mut bytes, cx.now) {
                    Ok(Some((lines, at))) => self.response(&lines, at, cx),
                    Ok(None) => {}
                    Err(why) => self.lose_answers(why, cx),
                },
                Answering::Content(reader) => {
                    let waiting = self.open.iter_mut().find(|asked| !asked.exchange.answered);
                    let Some(asked) = waiting else {
                        return self.lose_answers("an answer that nothing asked for", cx);
                    };
                    match reader.take(bytes, &mut asked.exchange.answer.ambiguous) {
                        Ok(step) => {
                            bytes = &bytes[step.taken..];
                            if let Some(lines) = step.end {
                                self.end_answer(lines, cx);
                            }
                        }
                        Err(why) => self.lose_answers(why, cx),
                    }
                }
                Answering::Over { .. } => return,
            }
        }
    }

    /// A response's head is there.
    fn response(&mut self, lines: &Lines, at: u64, cx: &mut Context<'_>) {
        self.answering = Answering::Head { lines: Collector::new(limits::HEAD), at: 0 };
        if lines.text.is_empty() && !lines.cut {
            return;
        }
        let mut head = match head::response(lines) {
            Ok(head) => head,
            Err(why) => return self.lose_answers(why, cx),
        };
        let waiting = self.open.iter_mut().find(|asked| !asked.exchange.answered);
        let Some(asked) = waiting else {
            let why = "an answer that nothing asked for";
            if head.start == 408 {
                // Servers say so before they close what is idle (RFC 9110 §15.5.9).
                self.answering = Answering::Over { status: Status::Unknown, why };
                return;
            }
            return self.lose_answers(why, cx);
        };
        let status = head.start;
        if status < 200 && !(status == 101 && asked.upgrade.is_some()) {
            let interim = &mut asked.exchange.answer.interim;
            if interim.len() < limits::INTERIM {
                interim.push(status);
            }
            if status == 101 {
                self.lose_answers("a switch of protocols that nothing asked for", cx);
            }
            return;
        }
        let tunnel = asked.method == Method::Connect && (200..300).contains(&status);
        let bare = status == 101 || status == 204 || status == 304 || asked.method == Method::Head;
        let mut doubts = std::mem::take(&mut head.doubts);
        let framed = framing::of_response(head.version, &head.fields, &mut doubts);
        let framing = framed.map(|framed| {
            let content = content(&head.fields, &framed.codings, &asked.exchange.host, cx);
            (framed.framing, content)
        });
        for word in doubts {
            asked.exchange.doubt(word);
        }
        let socket = (status == 101 && asked.upgrade == Some(Upgrade::WebSocket))
            .then(|| Socket::new(&head.fields));
        asked.exchange.head(head.version, status, head.fields, at);
        if status == 101 || tunnel {
            return self.switch(socket, cx);
        }
        match framing {
            _ if bare => self.end_answer(None, cx),
            Err(why) => self.lose_answers(why, cx),
            Ok((Framing::Length(0), _)) => self.end_answer(None, cx),
            Ok((framing, content)) => {
                self.answering = Answering::Content(Box::new(Reader::new(framing, content)));
            }
        }
    }

    /// The oldest answer that is open has all of it.
    pub(super) fn end_answer(&mut self, trailers: Option<Lines>, cx: &mut Context<'_>) {
        let next = Answering::Head { lines: Collector::new(limits::HEAD), at: 0 };
        let content = match std::mem::replace(&mut self.answering, next) {
            Answering::Content(reader) => Some(reader.content),
            _ => None,
        };
        let waiting = self.open.iter_mut().find(|asked| !asked.exchange.answered);
        let Some(asked) = waiting else { return };
        if let Some(lines) = trailers {
            let fields = head::trailers(&lines, &mut asked.exchange.answer.ambiguous);
            asked.exchange.trailers(fields);
        }
        asked.exchange.answered(content, true, cx.now);
        // It is no tunnel and no other protocol: what was held are requests.
        if asked.exchange.sent
            && let Asking::Held(held) = &mut self.asking
        {
            let held = std::mem::take(held);
            self.asking = Asking::Head { lines: Collector::new(limits::HEAD), at: 0 };
            self.tell(cx);
            self.asked(&held, cx);
            if self.closed {
                self.end(Way::Out, End::Closed, cx);
            }
        }
        self.tell(cx);
    }

    /// The connection goes on as something else, from both sides.
    fn switch(&mut self, socket: Option<Socket>, cx: &mut Context<'_>) {
        if let Asking::Content(_) = self.asking {
            // It was answered before its content ended: the rest is not the new protocol's.
            self.lose_requests("a switch of protocols within a request's content", cx);
        }
        let held = match std::mem::replace(&mut self.asking, Asking::Over) {
            Asking::Held(held) => Some(held),
            // Bytes may have come that nobody kept.
            _ => self.closed.then(Vec::new),
        };
        self.tell(cx);
        let Some(asked) = self.open.pop_front() else { return };
        let mut switched = match (socket, asked.upgrade) {
            (Some(socket), _) => Switched::Socket { socket, asked },
            (None, Some(Upgrade::H2c)) if asked.method != Method::Connect => {
                Switched::Http2(H2::upgraded(asked.exchange, cx))
            }
            _ => Switched::Tunnel { through: Through::new(cx.depth), asked },
        };
        match held {
            Some(held) if held.is_empty() => {}
            Some(held) => switched.bytes(Way::Out, &held, cx),
            None => switched.gap(Way::Out, None, cx),
        }
        if self.closed {
            switched.end(Way::Out, End::Closed, cx);
        }
        self.switched = Some(Box::new(switched));
    }

    /// Answers can't be read from here on.
    pub(super) fn lose_answers(&mut self, why: &'static str, cx: &mut Context<'_>) {
        cx.told.push(Told::Unparsed { at: cx.now, way: Way::In, why });
        self.no_answers(Status::Unknown, why, cx);
    }

    /// No further answer comes.
    pub(super) fn no_answers(&mut self, status: Status, why: &'static str, cx: &mut Context<'_>) {
        let over = Answering::Over { status, why };
        let content = match std::mem::replace(&mut self.answering, over) {
            Answering::Content(reader) => Some(reader.content),
            _ => None,
        };
        let mut waiting = self.open.iter_mut().filter(|asked| !asked.exchange.answered);
        if let (Some(first), Some(content)) = (waiting.next(), content) {
            first.exchange.answered(Some(content), false, cx.now);
            first.exchange.flawed(status, why);
        }
        for asked in self.open.iter_mut().filter(|asked| !asked.exchange.answered) {
            asked.exchange.flawed(status, why);
        }
        match &self.asking {
            Asking::Held(held) if !held.is_empty() => self.lose_requests(UNDECIDED, cx),
            _ => self.tell(cx),
        }
    }
}

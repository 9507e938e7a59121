//! HTTP/1.0 and 1.1 (RFC 9112): one connection, both directions.
//!
//! The requests of a connection stand in a queue; the answers are theirs in order. A direction that
//! can't be read any further is told so once. While answers can't be read, requests still are.

mod chunked;
mod collect;
mod framing;
mod head;
mod reader;

use std::collections::VecDeque;

use super::exchange::{Exchange, content};
use super::h2::H2;
use super::target;
use super::websocket::Socket;
use super::{Context, End, Through, Told, Wants, Way, limits};
use crate::model::{HttpFields, HttpRequest, Raw, Status};
use collect::{Collector, Lines};
use framing::Framing;
pub(super) use head::is_token;
use reader::Reader;

/// One connection of HTTP/1.
pub(super) struct H1 {
    asking: Asking,
    answering: Answering,
    /// Those whose request or answer has not ended, the oldest first.
    open: VecDeque<Asked>,
    switched: Option<Box<Switched>>,
    /// It was met when it had begun already.
    halfway: bool,
}

/// A request, and what its answer's framing depends on.
struct Asked {
    exchange: Exchange,
    method: Method,
    /// A protocol that it offers to go on with.
    upgrade: Option<Upgrade>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Head,
    Connect,
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Upgrade {
    WebSocket,
    H2c,
    Other,
}

/// The direction of requests.
enum Asking {
    Head {
        lines: Collector,
        at: u64,
    },
    Content(Box<Reader>),
    /// The answer decides what these bytes are: CONNECT, or an upgrade that was offered.
    Held(Vec<u8>),
    Over,
}

/// The direction of answers.
enum Answering {
    Head {
        lines: Collector,
        at: u64,
    },
    Content(Box<Reader>),
    /// It ended, or can't be read: what a request's answer is then.
    Over {
        status: Status,
        why: &'static str,
    },
}

/// What a connection went on with.
enum Switched {
    Socket {
        socket: Socket,
        asked: Asked,
    },
    Http2(H2),
    Tunnel {
        through: Through,
        asked: Asked,
    },
    /// All is told.
    Nothing,
}

impl H1 {
    pub(super) fn new(halfway: bool) -> Self {
        Self {
            asking: Asking::Head { lines: Collector::new(limits::HEAD), at: 0 },
            answering: Answering::Head { lines: Collector::new(limits::HEAD), at: 0 },
            open: VecDeque::new(),
            switched: None,
            halfway,
        }
    }

    pub(super) fn bytes(&mut self, way: Way, bytes: &[u8], cx: &mut Context<'_>) {
        if let Some(switched) = &mut self.switched {
            return switched.bytes(way, bytes, cx);
        }
        match way {
            Way::Out => self.asked(bytes, cx),
            Way::In => self.answered(bytes, cx),
        }
    }

    fn asked(&mut self, mut bytes: &[u8], cx: &mut Context<'_>) {
        while !bytes.is_empty() {
            match &mut self.asking {
                Asking::Head { lines, at } => {
                    if lines.is_empty() {
                        *at = cx.now;
                    }
                    match lines.feed(bytes) {
                        Ok((taken, done)) => {
                            bytes = &bytes[taken..];
                            if done {
                                let (lines, at) = (std::mem::take(lines).finish(), *at);
                                self.request(&lines, at, cx);
                            }
                        }
                        Err(why) => self.lose_requests(why, cx),
                    }
                }
                Asking::Content(reader) => {
                    let Some(last) = self.open.back_mut() else {
                        self.asking = Asking::Over;
                        return;
                    };
                    match reader.take(bytes, &mut last.exchange.answer.ambiguous) {
                        Ok(step) => {
                            bytes = &bytes[step.taken..];
                            if let Some(lines) = step.end {
                                if let Some(lines) = lines {
                                    let doubts = &mut last.exchange.answer.ambiguous;
                                    head::trailers(&lines, doubts);
                                }
                                self.end_request(true, cx);
                            }
                        }
                        Err(why) => self.lose_requests(why, cx),
                    }
                }
                Asking::Held(held) => {
                    held.extend_from_slice(bytes);
                    if held.len() > limits::HELD {
                        self.lose_requests("much was sent before an upgrade was answered", cx);
                    }
                    return;
                }
                Asking::Over => return,
            }
        }
    }

    /// A request's head is there.
    fn request(&mut self, lines: &Lines, at: u64, cx: &mut Context<'_>) {
        self.asking = Asking::Head { lines: Collector::new(limits::HEAD), at: 0 };
        if lines.text.is_empty() && !lines.cut {
            return; // an empty line before it (RFC 9112 §2.2)
        }
        let mut head = match head::request(lines) {
            Ok(head) => head,
            Err(why) => return self.lose_requests(why, cx),
        };
        let hosts: Vec<&[u8]> = head.fields.all("host").collect();
        let method = head.start.method.as_slice();
        let target =
            target::of_http1(cx.flow, method, &head.start.target, &hosts, &mut head.doubts);
        if method != b"CONNECT" && !target::is_told_to_tls(cx.flow, &target.host) {
            head::doubt(&mut head.doubts, "host-differs-from-sni");
        }
        if self.halfway {
            head::doubt(&mut head.doubts, "met-halfway");
        }
        let kind = match method {
            b"HEAD" => Method::Head,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        };
        let framed = framing::of_request(head.version, &head.fields, &mut head.doubts);
        let id = cx.id();
        let mut exchange = Exchange::new(id, at, target.host);
        let upgrade = upgrade(&head.fields);
        let reader = framed.map(|framed| {
            let content = content(&head.fields, &framed.codings, &exchange.host, cx);
            (framed.framing, content)
        });
        let request = HttpRequest {
            version: head.version,
            method: Raw::new(head.start.method),
            url: target.url,
            fields: head.fields,
            body: None,
            stream: None,
            ambiguous: head.doubts,
        };
        cx.told.push(Told::Request { id, at, request: Box::new(request) });
        if let Answering::Over { status, why } = self.answering {
            exchange.flawed(status, why);
        }
        self.open.push_back(Asked { exchange, method: kind, upgrade });
        match reader {
            Err(why) => self.lose_requests(why, cx),
            Ok((Framing::Length(0), _)) => self.end_request(true, cx),
            Ok((framing, content)) => {
                self.asking = Asking::Content(Box::new(Reader::new(framing, content)));
            }
        }
        if self.open.len() > limits::PIPELINED {
            self.lose_requests("too many requests without an answer", cx);
        }
    }

    /// The newest request has all that it will have.
    fn end_request(&mut self, ended: bool, cx: &mut Context<'_>) {
        let next = Asking::Head { lines: Collector::new(limits::HEAD), at: 0 };
        let content = match std::mem::replace(&mut self.asking, next) {
            Asking::Content(reader) => Some(reader.content),
            _ => None,
        };
        if let Some(asked) = self.open.back_mut() {
            asked.exchange.sent(content, ended, cx);
            let decides = asked.method == Method::Connect || asked.upgrade.is_some();
            if decides && !asked.exchange.answered {
                self.asking = Asking::Held(vec![]);
            }
        }
        self.tell(cx);
    }

    fn answered(&mut self, mut bytes: &[u8], cx: &mut Context<'_>) {
        while !bytes.is_empty() {
            if let Some(switched) = &mut self.switched {
                return switched.bytes(Way::In, bytes, cx);
            }
            match &mut self.answering {
                Answering::Head { lines, at } => {
                    if lines.is_empty() {
                        *at = cx.now;
                    }
                    match lines.feed(bytes) {
                        Ok((taken, done)) => {
                            bytes = &bytes[taken..];
                            if done {
                                let (lines, at) = (std::mem::take(lines).finish(), *at);
                                self.response(&lines, at, cx);
                            }
                        }
                        Err(why) => self.lose_answers(why, cx),
                    }
                }
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
    fn end_answer(&mut self, trailers: Option<Lines>, cx: &mut Context<'_>) {
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
        }
        self.tell(cx);
    }

    /// The connection goes on as something else, from both sides.
    fn switch(&mut self, socket: Option<Socket>, cx: &mut Context<'_>) {
        let held = match std::mem::replace(&mut self.asking, Asking::Over) {
            Asking::Held(held) => held,
            Asking::Content(reader) => {
                // It was answered before its content ended: the rest is not the new protocol's.
                if let Some(asked) = self.open.back_mut() {
                    asked.exchange.sent(Some(reader.content), false, cx);
                }
                vec![]
            }
            Asking::Head { .. } | Asking::Over => vec![],
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
        if !held.is_empty() {
            switched.bytes(Way::Out, &held, cx);
        }
        self.switched = Some(Box::new(switched));
    }

    pub(super) fn gap(&mut self, way: Way, bytes: Option<u64>, cx: &mut Context<'_>) {
        if let Some(switched) = &mut self.switched {
            return switched.gap(way, bytes, cx);
        }
        match way {
            Way::Out => {
                let ended = match &mut self.asking {
                    Asking::Content(reader) => bytes.and_then(|bytes| reader.skip(bytes)),
                    Asking::Over => return,
                    Asking::Head { .. } | Asking::Held(_) => None,
                };
                match ended {
                    Some(true) => self.end_request(true, cx),
                    Some(false) => {}
                    None => self.lose_requests("bytes were missed within it", cx),
                }
            }
            Way::In => {
                let ended = match &mut self.answering {
                    Answering::Content(reader) if reader.ends_with_connection() => {
                        reader.skip(bytes.unwrap_or(0))
                    }
                    Answering::Content(reader) => bytes.and_then(|bytes| reader.skip(bytes)),
                    Answering::Over { .. } => return,
                    Answering::Head { .. } => None,
                };
                match ended {
                    Some(true) => self.end_answer(None, cx),
                    Some(false) => {}
                    None => self.lose_answers("bytes were missed within it", cx),
                }
            }
        }
    }

    pub(super) fn end(&mut self, way: Way, how: End, cx: &mut Context<'_>) {
        if let Some(switched) = &mut self.switched {
            return switched.end(way, how, cx);
        }
        match way {
            Way::Out => match &self.asking {
                Asking::Head { lines, .. } if !lines.is_empty() => {
                    self.lose_requests("it ended within a request's head", cx);
                }
                Asking::Content(_) => {
                    self.end_request(false, cx);
                    self.asking = Asking::Over;
                }
                Asking::Head { .. } | Asking::Held(_) | Asking::Over => self.asking = Asking::Over,
            },
            Way::In => {
                let (status, why) = match how {
                    End::Closed => (Status::Failed, "closed by the server before its answer ended"),
                    End::Reset => (Status::Failed, "reset by the server before its answer ended"),
                    End::Unseen => (Status::Unknown, "the answer's end was not seen"),
                };
                match &self.answering {
                    Answering::Content(reader)
                        if reader.ends_with_connection() && how == End::Closed =>
                    {
                        self.end_answer(None, cx);
                    }
                    Answering::Over { .. } => return,
                    Answering::Content(_) | Answering::Head { .. } => {}
                }
                self.no_answers(status, why, cx);
            }
        }
    }

    pub(super) fn give_up(&mut self, why: &'static str, cx: &mut Context<'_>) {
        if let Some(switched) = &mut self.switched {
            return switched.give_up(why, cx);
        }
        if let Asking::Content(_) = self.asking {
            self.end_request(false, cx);
        }
        self.no_answers(Status::Unknown, why, cx);
    }

    /// Requests can't be read from here on. Answers to those that were are still awaited.
    fn lose_requests(&mut self, why: &'static str, cx: &mut Context<'_>) {
        if let Asking::Over = self.asking {
            return;
        }
        if let Asking::Content(_) = self.asking {
            self.end_request(false, cx);
        }
        self.asking = Asking::Over;
        if let Some(last) = self.open.back_mut() {
            last.exchange.sent(None, false, cx);
        }
        cx.told.push(Told::Unparsed { at: cx.now, way: Way::Out, why });
        self.tell(cx);
    }

    /// Answers can't be read from here on.
    fn lose_answers(&mut self, why: &'static str, cx: &mut Context<'_>) {
        cx.told.push(Told::Unparsed { at: cx.now, way: Way::In, why });
        self.no_answers(Status::Unknown, why, cx);
    }

    /// No further answer comes.
    fn no_answers(&mut self, status: Status, why: &'static str, cx: &mut Context<'_>) {
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
        if let Asking::Held(_) = self.asking {
            self.asking = Asking::Over;
        }
        self.tell(cx);
    }

    /// Tells of those that are over, in order.
    fn tell(&mut self, cx: &mut Context<'_>) {
        while self.open.front().is_some_and(|asked| asked.exchange.sent && asked.exchange.answered)
        {
            if let Some(asked) = self.open.pop_front() {
                asked.exchange.tell(cx);
            }
        }
    }

    pub(super) fn wants(&self, way: Way) -> Wants {
        if let Some(switched) = &self.switched {
            return switched.wants(way);
        }
        let reader = match way {
            Way::Out => match &self.asking {
                Asking::Content(reader) => reader,
                Asking::Over => return Wants::Nothing,
                Asking::Head { .. } | Asking::Held(_) => return Wants::All,
            },
            Way::In => match &self.answering {
                Answering::Content(reader) => reader,
                Answering::Over { .. } => return Wants::Nothing,
                Answering::Head { .. } => return Wants::All,
            },
        };
        match reader.ahead() {
            ahead if ahead > 0 && reader.content.is_full() => Wants::Skip(ahead),
            _ => Wants::All,
        }
    }

    pub(super) fn memory(&self) -> usize {
        let asking = match &self.asking {
            Asking::Head { lines, .. } => lines.memory(),
            Asking::Content(reader) => reader.memory(),
            Asking::Held(held) => held.capacity(),
            Asking::Over => 0,
        };
        let answering = match &self.answering {
            Answering::Head { lines, .. } => lines.memory(),
            Answering::Content(reader) => reader.memory(),
            Answering::Over { .. } => 0,
        };
        let open = self.open.iter().map(|asked| size_of::<Asked>() + asked.exchange.memory());
        let switched = self.switched.as_ref().map_or(0, |switched| switched.memory());
        asking + answering + open.sum::<usize>() + switched
    }
}

impl Switched {
    fn bytes(&mut self, way: Way, bytes: &[u8], cx: &mut Context<'_>) {
        match self {
            Self::Socket { socket, .. } => socket.push(way, bytes),
            Self::Http2(http) => http.bytes(way, bytes, cx),
            Self::Tunnel { through, .. } => through.bytes(way, bytes, cx),
            Self::Nothing => {}
        }
    }

    fn gap(&mut self, way: Way, bytes: Option<u64>, cx: &mut Context<'_>) {
        match self {
            Self::Socket { socket, .. } => socket.skip(way, bytes.unwrap_or(u64::MAX)),
            Self::Http2(http) => http.gap(way, bytes, cx),
            Self::Tunnel { through, .. } => through.gap(way, bytes, cx),
            Self::Nothing => {}
        }
    }

    fn end(&mut self, way: Way, how: End, cx: &mut Context<'_>) {
        match self {
            Self::Http2(http) => return http.end(way, how, cx),
            Self::Tunnel { through, .. } => through.end(way, how, cx),
            Self::Socket { .. } | Self::Nothing => {}
        }
        // One that is half closed is told when its other side ends.
        if way == Way::In {
            self.over(cx);
        }
    }

    fn give_up(&mut self, why: &'static str, cx: &mut Context<'_>) {
        match self {
            Self::Http2(http) => http.give_up(why, cx),
            Self::Tunnel { through, .. } => {
                through.within(cx, |inner, cx| inner.give_up(why, cx));
            }
            Self::Socket { .. } | Self::Nothing => {}
        }
        self.over(cx);
    }

    /// Tells of what was switched to.
    fn over(&mut self, cx: &mut Context<'_>) {
        let mut asked = match std::mem::replace(self, Self::Nothing) {
            Self::Socket { socket, mut asked } => {
                asked.exchange.answer.websocket = Some(socket.finish());
                asked
            }
            Self::Tunnel { through, mut asked } => {
                asked.exchange.answer.tunnel = Some(through.finish());
                asked
            }
            other @ (Self::Http2(_) | Self::Nothing) => {
                *self = other;
                return;
            }
        };
        asked.exchange.sent(None, true, cx);
        asked.exchange.answered(None, true, cx.now);
        asked.exchange.tell(cx);
    }

    fn wants(&self, way: Way) -> Wants {
        match self {
            Self::Socket { .. } => Wants::All,
            Self::Http2(http) => http.wants(way),
            Self::Tunnel { through, .. } => through.wants(way),
            Self::Nothing => Wants::Nothing,
        }
    }

    fn memory(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Socket { socket, .. } => socket.memory(),
                Self::Http2(http) => http.memory(),
                Self::Tunnel { through, .. } => through.memory(),
                Self::Nothing => 0,
            }
    }
}

/// The protocol that a request offers (RFC 9110 §7.8): it needs both fields.
fn upgrade(fields: &HttpFields) -> Option<Upgrade> {
    let words = |name| fields.all(name).flat_map(|line| line.split(|&b| b == b','));
    let is = |word: &[u8], wanted: &[u8]| word.trim_ascii().eq_ignore_ascii_case(wanted);
    if !words("connection").any(|word| is(word, b"upgrade")) {
        return None;
    }
    let mut found = None;
    for word in words("upgrade") {
        found = Some(if is(word, b"websocket") {
            return Some(Upgrade::WebSocket);
        } else if is(word, b"h2c") {
            return Some(Upgrade::H2c);
        } else {
            Upgrade::Other
        });
    }
    found
}

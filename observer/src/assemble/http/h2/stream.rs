//! One stream of HTTP/2: a request and its answer (RFC 9113 §8).

use super::super::body::Content;
use super::super::exchange::{Exchange, content};
use super::super::websocket::Socket;
use super::super::{Context, End, Through, Told, Way, target};
use super::fields::Block;
use crate::model::{HttpRequest, HttpVersion, Raw, Status};

/// RST_STREAM without a fault (RFC 9113 §7).
const NO_ERROR: u32 = 0;

/// A stream that is not over.
pub(super) struct Stream {
    pub(super) exchange: Exchange,
    asking: Option<Content>,
    answering: Option<Content>,
    connect: Option<Connect>,
    switched: Option<Switched>,
}

/// What a CONNECT asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connect {
    Tunnel,
    /// RFC 8441.
    WebSocket,
    Other,
}

enum Switched {
    Socket(Box<Socket>),
    Tunnel(Through),
}

impl Stream {
    /// A request's head came.
    pub(super) fn open(id: u32, block: Block, cx: &mut Context<'_>) -> Self {
        let mut doubts = block.doubts;
        let hosts: Vec<&[u8]> = block.fields.all("host").collect();
        let connect = match (block.method.as_deref(), block.protocol.as_deref()) {
            (Some(b"CONNECT"), None) => Some(Connect::Tunnel),
            (Some(b"CONNECT"), Some(b"websocket")) => Some(Connect::WebSocket),
            (Some(b"CONNECT"), Some(_)) => Some(Connect::Other),
            _ => None,
        };
        let target = target::of_http2(
            cx.flow,
            block.scheme.as_deref(),
            block.authority.as_deref(),
            block.path.as_deref(),
            &hosts,
            &mut doubts,
        );
        if connect != Some(Connect::Tunnel) {
            if block.path.is_none() || block.method.is_none() {
                doubts.push("pseudo-field");
            }
            if !target::is_told_to_tls(cx.flow, &target.host) {
                doubts.push("host-differs-from-sni");
            }
        }
        doubts.dedup();
        let number = cx.id();
        let exchange = Exchange::new(number, cx.now, target.host);
        let asking = content(&block.fields, b"", &exchange.host, cx);
        let request = HttpRequest {
            version: HttpVersion::Http2,
            method: Raw::new(block.method.unwrap_or_default()),
            url: target.url,
            fields: block.fields,
            body: None,
            stream: Some(id),
            ambiguous: doubts,
        };
        cx.told.push(Told::Request { id: number, at: cx.now, request: Box::new(request) });
        Self { exchange, asking: Some(asking), answering: None, connect, switched: None }
    }

    /// The stream that an upgraded request is answered on.
    pub(super) fn after_upgrade(exchange: Exchange) -> Self {
        Self { exchange, asking: None, answering: None, connect: None, switched: None }
    }

    /// A response's head came, or its trailers.
    pub(super) fn response(&mut self, block: Block, cx: &mut Context<'_>) {
        for word in block.doubts {
            self.exchange.doubt(word);
        }
        if self.exchange.answered {
            return;
        }
        if self.exchange.answer.head.is_some() {
            return self.exchange.trailers(block.fields);
        }
        let Some(status) = block.status else {
            self.exchange.doubt("pseudo-field");
            return self.exchange.flawed(Status::Failed, "an answer without a status");
        };
        if status < 200 {
            let interim = &mut self.exchange.answer.interim;
            if interim.len() < super::super::limits::INTERIM {
                interim.push(status);
            }
            return;
        }
        let opened = self.connect.filter(|_| status < 300);
        self.switched = opened.map(|connect| match connect {
            Connect::WebSocket => Switched::Socket(Box::new(Socket::new(&block.fields))),
            Connect::Tunnel | Connect::Other => Switched::Tunnel(Through::new(cx.depth)),
        });
        self.answering = Some(content(&block.fields, b"", &self.exchange.host, cx));
        self.exchange.head(HttpVersion::Http2, status, block.fields, cx.now);
    }

    /// Bytes of content.
    pub(super) fn data(&mut self, way: Way, bytes: &[u8], cx: &mut Context<'_>) {
        match &mut self.switched {
            Some(Switched::Socket(socket)) => socket.push(way, bytes),
            Some(Switched::Tunnel(through)) => through.bytes(way, bytes, cx),
            None => {
                if let Some(content) = self.content(way) {
                    content.push(bytes);
                }
            }
        }
    }

    /// Bytes of content were missed.
    pub(super) fn skip(&mut self, way: Way, bytes: u64, cx: &mut Context<'_>) {
        match &mut self.switched {
            Some(Switched::Socket(socket)) => socket.skip(way, bytes),
            Some(Switched::Tunnel(through)) => through.gap(way, Some(bytes), cx),
            None => {
                if let Some(content) = self.content(way) {
                    content.skip(bytes);
                }
            }
        }
    }

    /// END_STREAM.
    pub(super) fn end(&mut self, way: Way, cx: &mut Context<'_>) {
        if let Some(Switched::Tunnel(through)) = &mut self.switched {
            through.end(way, End::Closed, cx);
        }
        match way {
            Way::Out => self.exchange.sent(self.asking.take(), true, cx),
            Way::In => {
                if self.exchange.answered {
                    return;
                }
                if self.exchange.answer.head.is_none() {
                    return self.exchange.flawed(Status::Failed, "an answer without a head");
                }
                self.exchange.answered(self.answering.take(), true, cx.now);
                if self.connect.is_some() && self.switched.is_none() {
                    // There is no tunnel: nothing more goes in.
                    self.exchange.sent(self.asking.take(), true, cx);
                }
            }
        }
    }

    /// RST_STREAM.
    pub(super) fn reset(&mut self, way: Way, code: u32, cx: &mut Context<'_>) {
        if !(self.exchange.answered && code == NO_ERROR) {
            self.exchange.answer.reset = Some(code);
        }
        let (status, why) = match way {
            Way::Out => (Status::Unknown, "broken off by the agent"),
            Way::In => (Status::Failed, "broken off by the server"),
        };
        self.break_off(status, why, cx);
    }

    /// It ends in both directions. What is whole already stays so.
    pub(super) fn break_off(&mut self, status: Status, why: &'static str, cx: &mut Context<'_>) {
        self.cut(Way::Out, cx);
        if !self.exchange.answered {
            self.cut(Way::In, cx);
            self.exchange.flawed(status, why);
        }
    }

    /// One direction ends before its end.
    pub(super) fn cut(&mut self, way: Way, cx: &mut Context<'_>) {
        match way {
            Way::Out => self.exchange.sent(self.asking.take(), false, cx),
            Way::In => {
                self.exchange.answered(self.answering.take(), false, cx.now);
                if let Some(Switched::Tunnel(through)) = &mut self.switched {
                    through.end(way, End::Unseen, cx);
                }
            }
        }
    }

    /// Tells how it ended: in both directions.
    pub(super) fn tell(mut self, cx: &mut Context<'_>) {
        match self.switched.take() {
            Some(Switched::Socket(socket)) => {
                self.exchange.answer.websocket = Some(socket.finish());
            }
            Some(Switched::Tunnel(through)) => {
                self.exchange.answer.tunnel = Some(through.finish(cx));
            }
            None => {}
        }
        self.exchange.tell(cx);
    }

    fn content(&mut self, way: Way) -> Option<&mut Content> {
        match way {
            Way::Out => self.asking.as_mut(),
            Way::In => self.answering.as_mut(),
        }
    }

    pub(super) fn memory(&self) -> usize {
        let content = |content: &Option<Content>| content.as_ref().map_or(0, Content::memory);
        let switched = match &self.switched {
            Some(Switched::Socket(socket)) => size_of::<Socket>() + socket.memory(),
            Some(Switched::Tunnel(through)) => through.memory(),
            None => 0,
        };
        self.exchange.memory() + content(&self.asking) + content(&self.answering) + switched
    }
}

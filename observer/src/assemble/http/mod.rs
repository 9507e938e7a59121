//! HTTP over ordered bytes: requests and their answers, and what follows an upgrade. Pure; it does
//! not know where the bytes come from, and it holds no more of them than `limits` says.
//!
//! A [`Conversation`] is one connection of the agent's. It takes bytes, gaps and the end of each
//! direction, in order, and gives what it could tell of them. For each [`Told::Request`] comes one
//! [`Told::Answer`], at the latest with the connection's end.

mod body;
mod exchange;
mod grpc;
mod h1;
mod h2;
mod limits;
mod opening;
mod sse;
mod target;
mod websocket;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

pub use limits::{Capture, CaptureRule};

use crate::model::{
    HttpAnswer, HttpBody, HttpRequest, Inside, Raw, Reason, Status, Transport, Tunnel,
};
use h1::H1;
use h2::H2;
use opening::{Opening, Seen};

/// Which way bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The agent sent them.
    Out,
    /// They were sent to it.
    In,
}

/// How a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its sender closed it.
    Closed,
    /// Its sender broke it off.
    Reset,
    /// It is not known: the recording ended, or what was captured does.
    Unseen,
}

/// A connection, as far as it matters here.
#[derive(Clone, Debug)]
pub struct Flow {
    /// What carries it.
    pub transport: Transport,
    /// The far end.
    pub peer: Option<SocketAddr>,
    /// The name that TLS was given (SNI).
    pub name: Option<Raw>,
    /// Whether its first byte was seen.
    pub from_start: bool,
}

impl Flow {
    /// One that is not encrypted and was seen from its start.
    pub fn plaintext(peer: Option<SocketAddr>) -> Self {
        Self { transport: Transport::Plaintext, peer, name: None, from_start: true }
    }

    /// What stands for the authority where a request names none.
    fn place(&self) -> Vec<u8> {
        match (&self.name, self.peer) {
            (Some(name), _) => name.bytes().to_vec(),
            (None, Some(peer)) => peer.to_string().into_bytes(),
            (None, None) => vec![],
        }
    }
}

/// What a conversation tells. Times are those of the bytes (CLOCK_BOOTTIME, nanoseconds).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A request's head is whole.
    Request {
        /// Its number in this conversation.
        id: u64,
        /// When its first byte was seen.
        at: u64,
        /// The request, without content.
        request: Box<HttpRequest>,
    },
    /// A request's content is whole, or nothing more comes of it. Not told where there is none.
    Sent {
        /// The request.
        id: u64,
        /// The content.
        body: HttpBody,
    },
    /// How it ended.
    Answer {
        /// The request.
        id: u64,
        /// When.
        at: u64,
        /// Whether it worked.
        status: Status,
        /// What says so.
        reason: Reason,
        /// What came back.
        answer: Box<HttpAnswer>,
    },
    /// From here on one direction can't be read.
    Unparsed {
        /// When.
        at: u64,
        /// Which.
        way: Way,
        /// Why, in our words.
        why: &'static str,
    },
}

/// What the parts of a conversation need of it.
pub(super) struct Context<'a> {
    flow: &'a Flow,
    capture: &'a Capture,
    next: &'a mut u64,
    told: &'a mut Vec<Told>,
    now: u64,
    depth: u8,
}

impl Context<'_> {
    fn id(&mut self) -> u64 {
        *self.next += 1;
        *self.next
    }
}

/// One connection.
pub struct Conversation {
    flow: Flow,
    next: u64,
    inner: Inner,
}

/// What is spoken on a connection, or within a tunnel.
enum Inner {
    Opening(Opening),
    Http1(Box<H1>),
    Http2(Box<H2>),
    /// Nothing that is read here.
    Other(Inside),
}

impl Conversation {
    /// On a connection.
    pub fn new(flow: Flow) -> Self {
        Self { flow, next: 0, inner: Inner::Opening(Opening::default()) }
    }

    /// Takes bytes of one direction.
    pub fn bytes(
        &mut self,
        capture: &Capture,
        way: Way,
        now: u64,
        bytes: &[u8],
        told: &mut Vec<Told>,
    ) {
        let mut cx =
            Context { flow: &self.flow, capture, next: &mut self.next, told, now, depth: 0 };
        self.inner.bytes(way, bytes, &mut cx);
    }

    /// Takes that bytes of one direction were missed; how many is none where it is not known.
    pub fn gap(
        &mut self,
        capture: &Capture,
        way: Way,
        now: u64,
        bytes: Option<u64>,
        told: &mut Vec<Told>,
    ) {
        let mut cx =
            Context { flow: &self.flow, capture, next: &mut self.next, told, now, depth: 0 };
        self.inner.gap(way, bytes, &mut cx);
    }

    /// Takes the end of one direction.
    pub fn end(&mut self, capture: &Capture, way: Way, now: u64, how: End, told: &mut Vec<Told>) {
        let mut cx =
            Context { flow: &self.flow, capture, next: &mut self.next, told, now, depth: 0 };
        self.inner.end(way, how, &mut cx);
    }

    /// Bytes that it holds, beside its own size.
    pub fn memory(&self) -> usize {
        self.inner.memory()
    }

    /// Gives up on reading it, because of us and not of what came: what is open is told so.
    pub fn give_up(
        &mut self,
        capture: &Capture,
        now: u64,
        why: &'static str,
        told: &mut Vec<Told>,
    ) {
        let mut cx =
            Context { flow: &self.flow, capture, next: &mut self.next, told, now, depth: 0 };
        self.inner.give_up(why, &mut cx);
    }

    /// Whether it is HTTP as far as it was read.
    pub fn is_http(&self) -> bool {
        matches!(self.inner, Inner::Http1(_) | Inner::Http2(_))
    }
}

impl Inner {
    fn bytes(&mut self, way: Way, bytes: &[u8], cx: &mut Context<'_>) {
        match self {
            Self::Opening(opening) => {
                let Some(seen) = opening.take(way, bytes, cx.now) else { return };
                self.begin(seen, cx);
            }
            Self::Http1(http) => http.bytes(way, bytes, cx),
            Self::Http2(http) => http.bytes(way, bytes, cx),
            Self::Other(_) => {}
        }
    }

    /// It is known what is spoken: what was held is given to whoever reads it.
    fn begin(&mut self, seen: Seen, cx: &mut Context<'_>) {
        let Self::Opening(opening) = self else { return };
        let opening = std::mem::take(opening);
        *self = match seen {
            Seen::Http1 => Self::Http1(Box::new(H1::new(!cx.flow.from_start))),
            Seen::Http2 => Self::Http2(Box::new(H2::new())),
            Seen::Http09 => {
                let why = "a request of HTTP/0.9";
                cx.told.push(Told::Unparsed { at: cx.now, way: Way::Out, why });
                Self::Other(Inside::Other)
            }
            Seen::Tls => Self::Other(Inside::Tls),
            Seen::Other => {
                if !cx.flow.from_start && cx.depth == 0 {
                    let why = "its beginning was not seen";
                    cx.told.push(Told::Unparsed { at: cx.now, way: Way::Out, why });
                }
                Self::Other(Inside::Other)
            }
        };
        let (now, over) = (cx.now, opening.over);
        for (way, at, bytes) in opening.held() {
            cx.now = at;
            self.bytes(way, &bytes, cx);
        }
        cx.now = now;
        if let Some(how) = over {
            self.end(Way::In, how, cx);
        }
    }

    fn gap(&mut self, way: Way, bytes: Option<u64>, cx: &mut Context<'_>) {
        match self {
            Self::Opening(_) => {
                // What it would have been nobody knows.
                if cx.depth == 0 {
                    let why = "bytes were missed before it was known what is spoken";
                    cx.told.push(Told::Unparsed { at: cx.now, way, why });
                }
                *self = Self::Other(Inside::Other);
            }
            Self::Http1(http) => http.gap(way, bytes, cx),
            Self::Http2(http) => http.gap(way, bytes, cx),
            Self::Other(_) => {}
        }
    }

    fn end(&mut self, way: Way, how: End, cx: &mut Context<'_>) {
        match self {
            Self::Opening(opening) => {
                if let Some(seen) = opening.end(way, how) {
                    self.begin(seen, cx);
                    self.end(way, how, cx);
                }
            }
            Self::Http1(http) => http.end(way, how, cx),
            Self::Http2(http) => http.end(way, how, cx),
            Self::Other(_) => {}
        }
    }

    fn give_up(&mut self, why: &'static str, cx: &mut Context<'_>) {
        match self {
            Self::Http1(http) => http.give_up(why, cx),
            Self::Http2(http) => http.give_up(why, cx),
            Self::Opening(_) => {}
            Self::Other(_) => return,
        }
        cx.told.push(Told::Unparsed { at: cx.now, way: Way::Out, why });
        *self = Self::Other(Inside::Other);
    }

    fn memory(&self) -> usize {
        match self {
            Self::Opening(opening) => opening.memory(),
            Self::Http1(http) => size_of::<H1>() + http.memory(),
            Self::Http2(http) => size_of::<H2>() + http.memory(),
            Self::Other(_) => 0,
        }
    }

    fn inside(&self) -> Inside {
        match self {
            Self::Opening(_) => Inside::Nothing,
            Self::Http1(_) | Self::Http2(_) => Inside::Http,
            Self::Other(inside) => *inside,
        }
    }
}

/// What goes through CONNECT, or after an upgrade to something else.
struct Through {
    counts: Tunnel,
    /// None where tunnels are too deep to look inside.
    inner: Option<Box<Inner>>,
}

impl Through {
    fn new(depth: u8) -> Self {
        let inner = (depth < limits::DEPTH).then(|| Box::new(Inner::Opening(Opening::default())));
        Self { counts: Tunnel::default(), inner }
    }

    fn bytes(&mut self, way: Way, bytes: &[u8], cx: &mut Context<'_>) {
        self.count(way, bytes.len() as u64);
        self.within(cx, |inner, cx| inner.bytes(way, bytes, cx));
    }

    fn gap(&mut self, way: Way, bytes: Option<u64>, cx: &mut Context<'_>) {
        self.count(way, bytes.unwrap_or(0));
        self.within(cx, |inner, cx| inner.gap(way, bytes, cx));
    }

    fn end(&mut self, way: Way, how: End, cx: &mut Context<'_>) {
        self.within(cx, |inner, cx| inner.end(way, how, cx));
    }

    fn count(&mut self, way: Way, bytes: u64) {
        match way {
            Way::Out => self.counts.sent += bytes,
            Way::In => self.counts.received += bytes,
        }
    }

    fn within(&mut self, cx: &mut Context<'_>, act: impl FnOnce(&mut Inner, &mut Context<'_>)) {
        let Some(inner) = &mut self.inner else { return };
        cx.depth += 1;
        act(inner, cx);
        cx.depth -= 1;
    }

    fn memory(&self) -> usize {
        self.inner.as_ref().map_or(0, |inner| size_of::<Inner>() + inner.memory())
    }

    /// No more goes through it: what is open inside ends so.
    fn finish(mut self, cx: &mut Context<'_>) -> Tunnel {
        self.end(Way::Out, End::Unseen, cx);
        self.end(Way::In, End::Unseen, cx);
        let inside = self.inner.as_ref().map_or(Inside::Other, |inner| inner.inside());
        Tunnel { inside, ..self.counts }
    }
}

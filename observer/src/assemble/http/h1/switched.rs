//! What a connection went on with after an upgrade or CONNECT.

use super::Asked;
use crate::assemble::http::h2::H2;
use crate::assemble::http::websocket::Socket;
use crate::assemble::http::{Context, End, Through, Way};
use crate::model::HttpFields;

/// What a request offers to go on with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Upgrade {
    WebSocket,
    H2c,
    Other,
}

/// What a connection went on with.
pub(super) enum Switched {
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

impl Switched {
    pub(super) fn bytes(&mut self, way: Way, bytes: &[u8], cx: &mut Context<'_>) {
        match self {
            Self::Socket { socket, .. } => socket.push(way, bytes),
            Self::Http2(http) => http.bytes(way, bytes, cx),
            Self::Tunnel { through, .. } => through.bytes(way, bytes, cx),
            Self::Nothing => {}
        }
    }

    pub(super) fn gap(&mut self, way: Way, bytes: Option<u64>, cx: &mut Context<'_>) {
        match self {
            Self::Socket { socket, .. } => socket.skip(way, bytes.unwrap_or(u64::MAX)),
            Self::Http2(http) => http.gap(way, bytes, cx),
            Self::Tunnel { through, .. } => through.gap(way, bytes, cx),
            Self::Nothing => {}
        }
    }

    pub(super) fn end(&mut self, way: Way, how: End, cx: &mut Context<'_>) {
        match self {
            Self::Http2(http) => http.end(way, how, cx),
            Self::Tunnel { through, .. } => through.end(way, how, cx),
            Self::Socket { .. } | Self::Nothing => {}
        }
    }

    pub(super) fn give_up(&mut self, why: &'static str, cx: &mut Context<'_>) {
        match self {
            Self::Http2(http) => http.give_up(why, cx),
            Self::Tunnel { through, .. } => {
                through.within(cx, |inner, cx| inner.give_up(why, cx));
            }
            Self::Socket { .. } | Self::Nothing => {}
        }
        self.over(cx);
    }

    /// Tells of what was switched to: no more comes of it.
    pub(super) fn over(&mut self, cx: &mut Context<'_>) {
        let mut asked = match std::mem::replace(self, Self::Nothing) {
            Self::Socket { socket, mut asked } => {
                asked.exchange.answer.websocket = Some(socket.finish());
                asked
            }
            Self::Tunnel { through, mut asked } => {
                asked.exchange.answer.tunnel = Some(through.finish(cx));
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

    pub(super) fn memory(&self) -> usize {
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
pub(super) fn upgrade(fields: &HttpFields) -> Option<Upgrade> {
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

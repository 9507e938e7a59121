//! HTTP calls: what was asked of whom, and what came back.

use std::net::SocketAddr;

use super::{CallId, CallResult, Raw};

/// An HTTP call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// What was asked.
    pub request: HttpRequest,
    /// The connect that it travels on, where that was recorded.
    pub connection: Option<CallId>,
    /// The far end of that connection.
    pub peer: Option<SocketAddr>,
    /// What carries it.
    pub transport: Transport,
}

/// What carries a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// As it is on the wire.
    Plaintext,
    /// Within TLS, read before it was encrypted or after it was decrypted.
    Tls,
}

impl Transport {
    /// Its word in records.
    pub fn word(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Tls => "tls",
        }
    }
}

/// The versions of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HttpVersion {
    /// HTTP/1.0 (RFC 1945).
    Http10,
    /// HTTP/1.1 (RFC 9112).
    Http11,
    /// HTTP/2 (RFC 9113).
    Http2,
}

impl HttpVersion {
    /// Its word in records.
    pub fn word(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
        }
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The version.
    pub version: HttpVersion,
    /// The method, as it was sent.
    pub method: Raw,
    /// The target URI (RFC 9110 §7.1), put together from scheme, host and target; for CONNECT the
    /// host and port that were asked for.
    pub url: Raw,
    /// The fields of its head.
    pub fields: HttpFields,
    /// Its content, where it had come when the request was told.
    pub body: Option<HttpBody>,
    /// The stream, in HTTP/2.
    pub stream: Option<u32>,
    /// What another reader may understand otherwise, a word each.
    pub ambiguous: Vec<&'static str>,
}

/// The field lines of a head or of trailers, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpFields {
    /// Name and value of those that are kept.
    pub lines: Vec<(Raw, Raw)>,
    /// The bytes that all of them had.
    pub bytes: u64,
    /// Whether some of them are not kept, or the target is not whole.
    pub cut: bool,
}

impl HttpFields {
    /// The values of a field, in order; its name is compared without regard to case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = |line: &&(Raw, Raw)| line.0.bytes().eq_ignore_ascii_case(name.as_bytes());
        self.lines.iter().filter(named).map(|line| line.1.bytes())
    }

    /// Bytes of names and values that are kept.
    pub fn size(&self) -> usize {
        self.lines.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// The first value of a field.
    pub fn first<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.all(name).next()
    }
}

/// The content of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpBody {
    /// Its `Content-Type`; empty for none.
    pub media: Raw,
    /// Its codings, in the order that they were applied; empty for none.
    pub coding: Raw,
    /// The bytes that it had on its way, without the transfer coding's own.
    pub bytes: u64,
    /// Of those, how many the capture missed.
    pub missed: u64,
    /// Its bytes, or what masking made of them.
    pub content: HttpContent,
    /// How many of its bytes went into that.
    pub kept: u64,
    /// Whether that is all of it.
    pub whole: bool,
}

impl HttpBody {
    /// Bytes that it holds, beside its own size, before masking.
    pub fn memory(&self) -> usize {
        let kept = match &self.content {
            HttpContent::Bytes(kept) => kept.len(),
            _ => 0,
        };
        self.media.len() + self.coding.len() + kept
    }
}

/// A content's bytes, or what masking made of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpContent {
    /// The beginning, as it came. Only before masking.
    Bytes(Raw),
    /// Text.
    Text(Raw),
    /// JSON, or several one after another.
    Json(Raw),
    /// A form's fields.
    Form(Vec<(Raw, Raw)>),
    /// The parts of a multipart content.
    Parts(Vec<HttpPart>),
    /// It is not kept.
    Left {
        /// Why, in our words.
        why: &'static str,
        /// A keyed hash of what there was of it, in hex.
        hmac: Option<String>,
    },
}

impl Default for HttpContent {
    fn default() -> Self {
        Self::Bytes(Raw::default())
    }
}

/// A part of a multipart content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpPart {
    /// Its name.
    pub name: Raw,
    /// The file's name that it bears.
    pub filename: Option<Raw>,
    /// Its `Content-Type`.
    pub media: Option<Raw>,
    /// What it holds.
    pub content: HttpContent,
}

/// How a call ended, with what came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it ended.
    pub result: CallResult,
    /// What came back.
    pub http: Box<HttpAnswer>,
}

/// What came back, and how the exchange went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The response's head; none where none came.
    pub head: Option<HttpResponse>,
    /// The response's content.
    pub body: Option<HttpBody>,
    /// The request's content, where the call was told before it had come.
    pub sent: Option<HttpBody>,
    /// Trailers of the response.
    pub trailers: Option<HttpFields>,
    /// Trailers of the request.
    pub sent_trailers: Option<HttpFields>,
    /// Interim responses (1xx), in order; a few.
    pub interim: Vec<u16>,
    /// When things happened, in nanoseconds from the request's first byte.
    pub times: HttpTimes,
    /// Server-sent events within the response.
    pub events: Option<EventStream>,
    /// Messages of a WebSocket.
    pub websocket: Option<WebSocket>,
    /// What gRPC says.
    pub grpc: Option<Grpc>,
    /// A tunnel that CONNECT or an upgrade opened.
    pub tunnel: Option<Tunnel>,
    /// The code of the RST_STREAM or GOAWAY that ended it (RFC 9113 §7).
    pub reset: Option<u32>,
    /// What another reader may understand otherwise, found after the call was told.
    pub ambiguous: Vec<&'static str>,
}

/// A response's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The version.
    pub version: HttpVersion,
    /// The status.
    pub status: u16,
    /// The fields.
    pub fields: HttpFields,
}

/// Nanoseconds from the request's first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpTimes {
    /// To the last byte of the request.
    pub sent: Option<u64>,
    /// To the first byte of the final response.
    pub first_byte: Option<u64>,
    /// To the last byte of the response.
    pub last_byte: Option<u64>,
}

/// Server-sent events (HTML Standard §9.2). Their text is the response's content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventStream {
    /// How many were dispatched.
    pub count: u64,
    /// The bytes of the largest.
    pub largest: u64,
}

/// What went over a WebSocket (RFC 6455).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSocket {
    /// Sent by the agent.
    pub sent: Messages,
    /// Sent to it.
    pub received: Messages,
    /// Pings, pongs and closes that the agent sent: each has room for 125 bytes of anything.
    pub sent_control: Messages,
    /// Those that were sent to it.
    pub received_control: Messages,
    /// The first messages, in the order that they ended in.
    pub first: Vec<Message>,
    /// The status of the close frame that came first.
    pub close: Option<u16>,
    /// Why it could not be read to its end.
    pub unparsed: Option<&'static str>,
}

/// How many messages, and how large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// Their number.
    pub count: u64,
    /// The bytes of their payloads, as they went over the wire.
    pub bytes: u64,
    /// The payload bytes of the largest.
    pub largest: u64,
}

impl Messages {
    /// Counts one more.
    pub fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
        self.largest = self.largest.max(bytes);
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Whether the agent sent it.
    pub sent: bool,
    /// Whether it is text; else its bytes are not kept.
    pub text: bool,
    /// Its payload's bytes on the wire.
    pub bytes: u64,
    /// Its beginning.
    pub kept: Raw,
    /// Whether that is all of it.
    pub whole: bool,
}

/// What gRPC says in an exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grpc {
    /// `grpc-status`; none where it did not come.
    pub status: Option<u32>,
    /// The beginning of `grpc-message`, without its percent-encoding.
    pub message: Option<Raw>,
    /// The bytes that this had before it was masked.
    pub message_kept: u64,
    /// The bytes that all of it has.
    pub message_bytes: u64,
    /// Messages of the request.
    pub sent: Messages,
    /// Messages of the response.
    pub received: Messages,
}

/// Bytes that went through what was no longer HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tunnel {
    /// From the agent.
    pub sent: u64,
    /// To it.
    pub received: u64,
    /// What was seen inside.
    pub inside: Inside,
}

/// What was seen inside of a tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inside {
    /// Nothing yet.
    #[default]
    Nothing,
    /// TLS.
    Tls,
    /// HTTP, whose requests are calls of their own.
    Http,
    /// Something else.
    Other,
}

impl Inside {
    /// Its word in records.
    pub fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Other => "other",
        }
    }
}

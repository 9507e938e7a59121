//! HTTP calls and their answers in records: `http`, and what of them is not whole in `truncated`.
//! Pure.

use super::json::{Fields, Value, int, text};
use super::record::{address, note};
use crate::model::{
    Grpc, Http, HttpAnswer, HttpBody, HttpContent, HttpFields, HttpPart, Messages, Raw, WebSocket,
};

/// A request, for the call's own record.
pub(super) fn request<'a>(http: &'a Http, record: &mut Fields<'a>) {
    let request = &http.request;
    let mut out = Fields::new();
    let mut truncated = Fields::new();
    words("ambiguous", &request.ambiguous, &mut out);
    if let Some(content) = &request.body {
        out.insert("body", body(content));
        cut_body("body", content, &mut truncated);
    }
    out.insert_some("connection", http.connection);
    out.insert("headers", headers(&request.fields));
    cut_fields("headers", &request.fields, &mut truncated);
    out.insert("method", text(&request.method));
    out.insert_some("peer", http.peer.map(address));
    out.insert_some("stream", request.stream);
    out.insert("transport", http.transport.word());
    out.insert("url", text(&request.url));
    out.insert("version", request.version.word());
    record.insert("http", out);
    if !truncated.is_empty() {
        record.insert("truncated", truncated);
    }
}

/// What came back, for the result's record.
pub(super) fn answer<'a>(answer: &'a HttpAnswer, record: &mut Fields<'a>) {
    let mut out = Fields::new();
    let mut truncated = Fields::new();
    if let Some(head) = &answer.head {
        out.insert("headers", headers(&head.fields));
        cut_fields("headers", &head.fields, &mut truncated);
        out.insert("status", head.status);
        out.insert("version", head.version.word());
    }
    for (key, fields) in
        [("trailers", &answer.trailers), ("request_trailers", &answer.sent_trailers)]
    {
        if let Some(fields) = fields {
            out.insert(key, headers(fields));
            cut_fields(key, fields, &mut truncated);
        }
    }
    for (key, content) in [("body", &answer.body), ("request_body", &answer.sent)] {
        if let Some(content) = content {
            out.insert(key, body(content));
            cut_body(key, content, &mut truncated);
        }
    }
    if !answer.interim.is_empty() {
        out.insert("interim", answer.interim.iter().copied().collect::<Value<'_>>());
    }
    let mut times = Fields::new();
    for (key, ns) in [
        ("first_byte_ns", answer.times.first_byte),
        ("last_byte_ns", answer.times.last_byte),
        ("sent_ns", answer.times.sent),
    ] {
        if let Some(ns) = ns {
            times.insert(key, int(ns));
        }
    }
    if !times.is_empty() {
        out.insert("times", times);
    }
    if let Some(events) = &answer.events {
        let events =
            Fields::new().with("count", int(events.count)).with("largest", int(events.largest));
        out.insert("events", events);
    }
    if let Some(socket) = &answer.websocket {
        out.insert("websocket", websocket(socket));
    }
    if let Some(said) = &answer.grpc {
        out.insert("grpc", grpc(said));
        if said.message_kept < said.message_bytes {
            let cut = Fields::new()
                .with("kept", int(said.message_kept))
                .with("seen", int(said.message_bytes));
            truncated.insert("grpc_message".to_owned(), cut);
        }
    }
    if let Some(tunnel) = &answer.tunnel {
        let tunnel = Fields::new()
            .with("inside", tunnel.inside.word())
            .with("received", int(tunnel.received))
            .with("sent", int(tunnel.sent));
        out.insert("tunnel", tunnel);
    }
    if let Some(code) = answer.reset {
        let name = RESETS.get(code as usize).copied();
        out.insert("reset", name.map_or(code.into(), Value::from));
    }
    words("ambiguous", &answer.ambiguous, &mut out);
    record.insert("http", out);
    if !truncated.is_empty() {
        record.insert("truncated", truncated);
    }
}

/// The codes of RFC 9113 §7.
const RESETS: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

fn pair((name, value): &(Raw, Raw)) -> Value<'_> {
    Value::List(vec![text(name), text(value)])
}

fn headers(fields: &HttpFields) -> Value<'_> {
    fields.lines.iter().map(pair).collect()
}

fn cut_fields(key: &'static str, fields: &HttpFields, truncated: &mut Fields<'_>) {
    if fields.cut {
        let cut =
            Fields::new().with("kept", int(fields.size() as u64)).with("seen", int(fields.bytes));
        truncated.insert(key, cut);
    }
}

/// What was left out on purpose is not cut.
fn cut_body(key: &'static str, body: &HttpBody, truncated: &mut Fields<'_>) {
    if !body.whole && !matches!(body.content, HttpContent::Left { .. }) || body.missed > 0 {
        let mut cut = Fields::new();
        cut.insert("kept", int(body.kept));
        cut.insert("seen", int(body.bytes - body.missed.min(body.bytes)));
        truncated.insert(key, cut);
    }
}

fn body(body: &HttpBody) -> Fields<'_> {
    let mut out = content(&body.content);
    out.insert("bytes", int(body.bytes));
    if !body.media.is_empty() {
        out.insert("type", text(&body.media));
    }
    if !body.coding.is_empty() {
        out.insert("coding", text(&body.coding));
    }
    if body.missed > 0 {
        out.insert("missed", int(body.missed));
    }
    out
}

fn content(content: &HttpContent) -> Fields<'_> {
    let mut out = Fields::new();
    match content {
        // Masking leaves none; were one here, it would not be shown.
        HttpContent::Bytes(_) => {
            out.insert("left", "not masked");
        }
        HttpContent::Text(raw) => {
            out.insert("text", text(raw));
        }
        HttpContent::Json(raw) => {
            out.insert("json", text(raw));
        }
        HttpContent::Form(fields) => {
            out.insert("form", fields.iter().map(pair).collect::<Value<'_>>());
        }
        HttpContent::Parts(parts) => {
            out.insert("parts", parts.iter().map(part).collect::<Value<'_>>());
        }
        HttpContent::Left { why, hmac } => {
            out.insert("left", *why);
            if let Some(hmac) = hmac {
                out.insert("hmac", hmac.as_str());
            }
        }
    }
    out
}

fn part(part: &HttpPart) -> Fields<'_> {
    let mut out = content(&part.content);
    out.insert("name", text(&part.name));
    out.insert_some("filename", part.filename.as_ref().map(text));
    out.insert_some("type", part.media.as_ref().map(text));
    out
}

fn messages<'a>(messages: &Messages) -> Fields<'a> {
    Fields::new()
        .with("bytes", int(messages.bytes))
        .with("count", int(messages.count))
        .with("largest", int(messages.largest))
}

fn websocket(socket: &WebSocket) -> Fields<'_> {
    let mut out = Fields::new();
    let (sent, received) = (&socket.sent_control, &socket.received_control);
    if sent.count + received.count > 0 {
        let control =
            Fields::new().with("received", messages(received)).with("sent", messages(sent));
        out.insert("control", control);
    }
    out.insert("received", messages(&socket.received));
    out.insert("sent", messages(&socket.sent));
    let first = socket.first.iter().map(|message| {
        let mut out = Fields::new();
        out.insert("bytes", int(message.bytes));
        out.insert("from", if message.sent { "agent" } else { "server" });
        if message.text {
            out.insert("text", text(&message.kept));
            out.insert("whole", message.whole);
        }
        out
    });
    out.insert("first", first.collect::<Value<'_>>());
    out.insert_some("close", socket.close);
    out.insert_some("unparsed", socket.unparsed);
    out
}

fn grpc(grpc: &Grpc) -> Fields<'_> {
    let mut out = Fields::new();
    out.insert("sent", messages(&grpc.sent));
    out.insert("received", messages(&grpc.received));
    out.insert_some("status", grpc.status);
    out.insert_some("message", grpc.message.as_ref().map(text));
    out
}

fn words(key: &'static str, words: &[&'static str], out: &mut Fields<'_>) {
    if !words.is_empty() {
        out.insert(key, words.iter().copied().collect::<Value<'_>>());
    }
}

/// Takes something away of a record that is too long, and says so: contents first, then headers,
/// then the URL. False where nothing is left to take.
pub(super) fn shorten(record: &mut Fields<'_>) -> bool {
    let Some(http) = record.object_mut("http") else { return false };
    for key in ["body", "request_body"] {
        if let Some(kept) = http.get_mut(key).and_then(shorten_body) {
            return note(record, key, kept);
        }
    }
    if let Some(socket) = http.object_mut("websocket")
        && socket.remove("first").is_some()
    {
        return note(record, "websocket", 0);
    }
    for key in ["headers", "trailers", "request_trailers"] {
        let lines = http.get_mut(key).and_then(Value::as_list_mut);
        if let Some(lines) = lines.filter(|lines| lines.len() > 1) {
            lines.truncate(lines.len() / 2);
            let length = |line: &Value<'_>| {
                let texts = line.as_list().into_iter().flatten();
                texts.filter_map(Value::as_str).map(str::len).sum::<usize>()
            };
            let kept = lines.iter().map(length).sum::<usize>();
            return note(record, key, kept as u64);
        }
    }
    for key in ["url", "method"] {
        if let Some(kept) = http.get_mut(key).and_then(halve) {
            return note(record, key, kept);
        }
    }
    // One header fills it all.
    for key in ["headers", "trailers", "request_trailers"] {
        if http.remove(key).is_some() {
            return note(record, key, 0);
        }
    }
    false
}

/// Halves a content's text; whatever else there is of it goes as a whole. How many bytes are left.
fn shorten_body(body: &mut Value<'_>) -> Option<u64> {
    let body = body.as_object_mut()?;
    if let Some(text) = body.remove("json") {
        // Half of it is no JSON any more.
        body.insert("text", text);
    }
    if let Some(kept) = body.get_mut("text").and_then(halve) {
        return Some(kept);
    }
    let gone = ["text", "form", "parts"].iter().any(|key| {
        let long = body.get_mut(key).is_some_and(|value| value.as_str().is_none());
        long && body.remove(key).is_some()
    });
    if gone {
        body.insert("left", "the record's bound");
    }
    gone.then_some(0)
}

/// Halves a long text, between two characters and never within a token. How many bytes are left.
fn halve(value: &mut Value<'_>) -> Option<u64> {
    const SHORT: usize = 256;
    let Value::Text(text) = value else { return None };
    if text.len() <= SHORT {
        return None;
    }
    let mut end = text.len() / 2;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if let Some(token) = text[..end].rfind("<mask:").filter(|&at| !text[at..end].contains('>')) {
        end = token;
    }
    text.to_mut().truncate(end);
    Some(end as u64)
}

//! HTTP calls and their answers in records: `http`, and what of them is not whole in `truncated`.
//! Pure.

use serde_json::{Map, Value, json};

use super::record::{Fields, int, note, text};
use crate::model::{
    Grpc, Http, HttpAnswer, HttpBody, HttpContent, HttpFields, HttpPart, Messages, Raw, WebSocket,
};

/// A request, for the call's own record.
pub(super) fn request(http: &Http, put: &mut dyn FnMut(&str, Value)) {
    let request = &http.request;
    let mut out = Map::new();
    let mut truncated = Map::new();
    out.insert("method".into(), text(&request.method));
    out.insert("url".into(), text(&request.url));
    out.insert("version".into(), request.version.word().into());
    out.insert("transport".into(), http.transport.word().into());
    out.insert("headers".into(), headers(&request.fields));
    cut_fields("headers", &request.fields, &mut truncated);
    if let Some(content) = &request.body {
        out.insert("body".into(), body(content));
        cut_body("body", content, &mut truncated);
    }
    if let Some(stream) = request.stream {
        out.insert("stream".into(), stream.into());
    }
    if let Some(connection) = &http.connection {
        out.insert("connection".into(), connection.to_string().into());
    }
    if let Some(peer) = http.peer {
        let peer = json!({ "addr": peer.ip().to_string(), "port": peer.port() });
        out.insert("peer".into(), peer);
    }
    words("ambiguous", &request.ambiguous, &mut out);
    put("http", out.into());
    if !truncated.is_empty() {
        put("truncated", truncated.into());
    }
}

/// What came back, for the result's record.
pub(super) fn answer(answer: &HttpAnswer, put: &mut dyn FnMut(&str, Value)) {
    let mut out = Map::new();
    let mut truncated = Map::new();
    if let Some(head) = &answer.head {
        out.insert("status".into(), head.status.into());
        out.insert("version".into(), head.version.word().into());
        out.insert("headers".into(), headers(&head.fields));
        cut_fields("headers", &head.fields, &mut truncated);
    }
    if let Some(fields) = &answer.trailers {
        out.insert("trailers".into(), headers(fields));
        cut_fields("trailers", fields, &mut truncated);
    }
    for (key, content) in [("body", &answer.body), ("request_body", &answer.sent)] {
        if let Some(content) = content {
            out.insert(key.into(), body(content));
            cut_body(key, content, &mut truncated);
        }
    }
    if !answer.interim.is_empty() {
        out.insert("interim".into(), answer.interim.clone().into());
    }
    let mut times = Map::new();
    for (key, ns) in [
        ("first_byte_ns", answer.times.first_byte),
        ("last_byte_ns", answer.times.last_byte),
        ("sent_ns", answer.times.sent),
    ] {
        if let Some(ns) = ns {
            times.insert(key.into(), int(ns));
        }
    }
    if !times.is_empty() {
        out.insert("times".into(), times.into());
    }
    if let Some(events) = &answer.events {
        let events = json!({ "count": int(events.count), "largest": int(events.largest) });
        out.insert("events".into(), events);
    }
    if let Some(socket) = &answer.websocket {
        out.insert("websocket".into(), websocket(socket));
    }
    if let Some(said) = &answer.grpc {
        out.insert("grpc".into(), grpc(said));
        if said.message_kept < said.message_bytes {
            let cut = json!({ "kept": int(said.message_kept), "seen": int(said.message_bytes) });
            truncated.insert("grpc_message".to_owned(), cut);
        }
    }
    if let Some(tunnel) = &answer.tunnel {
        let tunnel = json!({
            "inside": tunnel.inside.word(),
            "received": int(tunnel.received),
            "sent": int(tunnel.sent),
        });
        out.insert("tunnel".into(), tunnel);
    }
    if let Some(code) = answer.reset {
        let name = RESETS.get(code as usize).copied();
        out.insert("reset".into(), name.map_or(code.into(), Value::from));
    }
    words("ambiguous", &answer.ambiguous, &mut out);
    put("http", out.into());
    if !truncated.is_empty() {
        put("truncated", truncated.into());
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

fn pair((name, value): &(Raw, Raw)) -> Value {
    Value::Array(vec![text(name), text(value)])
}

fn headers(fields: &HttpFields) -> Value {
    fields.lines.iter().map(pair).collect()
}

fn cut_fields(key: &str, fields: &HttpFields, truncated: &mut Map<String, Value>) {
    if fields.cut {
        let cut = json!({ "kept": int(fields.size() as u64), "seen": int(fields.bytes) });
        truncated.insert(key.to_owned(), cut);
    }
}

/// What was left out on purpose is not cut.
fn cut_body(key: &str, body: &HttpBody, truncated: &mut Map<String, Value>) {
    if !body.whole && !matches!(body.content, HttpContent::Left { .. }) || body.missed > 0 {
        let mut cut = Map::new();
        cut.insert("kept".into(), int(body.kept));
        cut.insert("seen".into(), int(body.bytes - body.missed.min(body.bytes)));
        truncated.insert(key.to_owned(), cut.into());
    }
}

fn body(body: &HttpBody) -> Value {
    let mut out = content(&body.content);
    out.insert("bytes".into(), int(body.bytes));
    if !body.media.is_empty() {
        out.insert("type".into(), text(&body.media));
    }
    if !body.coding.is_empty() {
        out.insert("coding".into(), text(&body.coding));
    }
    if body.missed > 0 {
        out.insert("missed".into(), int(body.missed));
    }
    out.into()
}

fn content(content: &HttpContent) -> Map<String, Value> {
    let mut out = Map::new();
    match content {
        // Masking leaves none; were one here, it would not be shown.
        HttpContent::Bytes(_) => {
            out.insert("left".into(), "not masked".into());
        }
        HttpContent::Text(raw) => {
            out.insert("text".into(), text(raw));
        }
        HttpContent::Json(raw) => {
            out.insert("json".into(), text(raw));
        }
        HttpContent::Form(fields) => {
            out.insert("form".into(), fields.iter().map(pair).collect());
        }
        HttpContent::Parts(parts) => {
            out.insert("parts".into(), parts.iter().map(part).collect());
        }
        HttpContent::Left { why, hmac } => {
            out.insert("left".into(), (*why).into());
            if let Some(hmac) = hmac {
                out.insert("hmac".into(), hmac.as_str().into());
            }
        }
    }
    out
}

fn part(part: &HttpPart) -> Value {
    let mut out = content(&part.content);
    out.insert("name".into(), text(&part.name));
    if let Some(filename) = &part.filename {
        out.insert("filename".into(), text(filename));
    }
    if let Some(media) = &part.media {
        out.insert("type".into(), text(media));
    }
    out.into()
}

fn messages(messages: &Messages) -> Value {
    json!({
        "bytes": int(messages.bytes),
        "count": int(messages.count),
        "largest": int(messages.largest),
    })
}

fn websocket(socket: &WebSocket) -> Value {
    let mut out = Map::new();
    out.insert("sent".into(), messages(&socket.sent));
    out.insert("received".into(), messages(&socket.received));
    let first = socket.first.iter().map(|message| {
        let mut out = Map::new();
        out.insert("bytes".into(), int(message.bytes));
        out.insert("from".into(), if message.sent { "agent" } else { "server" }.into());
        if message.text {
            out.insert("text".into(), text(&message.kept));
            out.insert("whole".into(), message.whole.into());
        }
        Value::Object(out)
    });
    out.insert("first".into(), first.collect());
    if let Some(close) = socket.close {
        out.insert("close".into(), close.into());
    }
    if let Some(why) = socket.unparsed {
        out.insert("unparsed".into(), why.into());
    }
    out.into()
}

fn grpc(grpc: &Grpc) -> Value {
    let mut out = Map::new();
    out.insert("sent".into(), messages(&grpc.sent));
    out.insert("received".into(), messages(&grpc.received));
    if let Some(status) = grpc.status {
        out.insert("status".into(), status.into());
    }
    if let Some(message) = &grpc.message {
        out.insert("message".into(), text(message));
    }
    out.into()
}

fn words(key: &str, words: &[&'static str], out: &mut Map<String, Value>) {
    if !words.is_empty() {
        out.insert(key.to_owned(), words.iter().copied().collect());
    }
}

/// Takes something away of a record that is too long, and says so: contents first, then headers,
/// then the URL. False where nothing is left to take.
pub(super) fn shorten(record: &mut Fields) -> bool {
    let Some(http) = record.get_mut("http").and_then(Value::as_object_mut) else { return false };
    for key in ["body", "request_body"] {
        if let Some(kept) = http.get_mut(key).and_then(shorten_body) {
            return note(record, key, kept);
        }
    }
    if let Some(socket) = http.get_mut("websocket").and_then(Value::as_object_mut)
        && socket.remove("first").is_some()
    {
        return note(record, "websocket", 0);
    }
    for key in ["headers", "trailers"] {
        let lines = http.get_mut(key).and_then(Value::as_array_mut);
        if let Some(lines) = lines.filter(|lines| lines.len() > 1) {
            lines.truncate(lines.len() / 2);
            let length = |line: &Value| {
                let texts = line.as_array().into_iter().flatten();
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
    for key in ["headers", "trailers"] {
        if http.remove(key).is_some() {
            return note(record, key, 0);
        }
    }
    false
}

/// Halves a content's text; whatever else there is of it goes as a whole. How many bytes are left.
fn shorten_body(body: &mut Value) -> Option<u64> {
    let body = body.as_object_mut()?;
    if let Some(text) = body.remove("json") {
        // Half of it is no JSON any more.
        body.insert("text".into(), text);
    }
    if let Some(kept) = body.get_mut("text").and_then(halve) {
        return Some(kept);
    }
    let gone = ["text", "form", "parts"].iter().any(|key| {
        let long = body.get(*key).is_some_and(|value| !matches!(value, Value::String(_)));
        long && body.remove(*key).is_some()
    });
    if gone {
        body.insert("left".into(), "the record's bound".into());
    }
    gone.then_some(0)
}

/// Halves a long text, between two characters and never within a token. How many bytes are left.
fn halve(value: &mut Value) -> Option<u64> {
    const SHORT: usize = 256;
    let Value::String(text) = value else { return None };
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
    text.truncate(end);
    Some(end as u64)
}

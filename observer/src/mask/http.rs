//! HTTP calls and their answers, field by field.

use std::mem::take;

use super::body::{Body, BodyBytes};
use super::fields::Fields;
use super::form::Part;
use super::{Masked, Masker};
use crate::model::{
    Answer, Http, HttpAnswer, HttpBody, HttpContent, HttpFields, HttpPart, HttpVersion, Raw,
};

/// A target or a method that is longer than this may have been cut where its head was. In HTTP/2
/// what a field block beyond its bound has of them is kept to this length.
fn long(version: HttpVersion) -> usize {
    if version == HttpVersion::Http2 { 1024 } else { 32 * 1024 }
}

impl Masker {
    /// Masks how a call ended, with what came back.
    pub fn answer(&mut self, answer: Answer) -> Masked<Answer> {
        let mut fields = self.fields();
        let mut answer = answer;
        fields.http_answer(&mut answer.http);
        fields.masked(answer)
    }
}

impl Fields<'_> {
    /// A request.
    pub(super) fn http(&mut self, http: &mut Http) {
        let request = &mut http.request;
        // First the fields and the content, so that what they name is known in the URL too.
        self.http_fields(&mut request.fields);
        if let Some(body) = &mut request.body {
            self.http_body(body);
        }
        let long = long(request.version);
        let cut = |text: &Raw| request.fields.cut && text.len() >= long;
        let (url, method) = (cut(&request.url), cut(&request.method));
        request.url = self.url(take(&mut request.url), url);
        request.method = self.text(take(&mut request.method), method);
    }

    fn http_answer(&mut self, answer: &mut HttpAnswer) {
        if let Some(head) = &mut answer.head {
            self.http_fields(&mut head.fields);
        }
        for trailers in [&mut answer.trailers, &mut answer.sent_trailers].into_iter().flatten() {
            self.http_fields(trailers);
        }
        for body in [&mut answer.body, &mut answer.sent].into_iter().flatten() {
            self.http_body(body);
        }
        if let Some(socket) = &mut answer.websocket {
            for message in &mut socket.first {
                let body = BodyBytes {
                    bytes: message.kept.bytes(),
                    cut: !message.whole,
                    ..BodyBytes::default()
                };
                message.kept = match self.body(&body) {
                    Body::Text(text) | Body::Json(text) => text,
                    Body::Form(_) | Body::Parts(_) | Body::Left { .. } => {
                        message.whole = false;
                        Raw::default()
                    }
                };
            }
        }
        if let Some(grpc) = &mut answer.grpc
            && let Some(message) = &mut grpc.message
        {
            *message = self.text(take(message), grpc.message_kept < grpc.message_bytes);
        }
    }

    fn http_fields(&mut self, fields: &mut HttpFields) {
        for (name, value) in &mut fields.lines {
            (*name, *value) = self.header(take(name), take(value), false);
        }
    }

    fn http_body(&mut self, body: &mut HttpBody) {
        if let HttpContent::Bytes(bytes) = &body.content {
            let cut = !body.whole;
            let taken = self.body(&BodyBytes {
                bytes: bytes.bytes(),
                kind: body.media.bytes(),
                coding: body.coding.bytes(),
                cut,
            });
            body.content = content(taken);
            if cut {
                without_hash(&mut body.content);
            }
        }
        body.media = self.text(take(&mut body.media), false);
        body.coding = self.text(take(&mut body.coding), false);
    }
}

/// A hash of what was cut would pass for the whole's. Of parts the last one is cut.
fn without_hash(content: &mut HttpContent) {
    match content {
        HttpContent::Left { hmac, .. } => *hmac = None,
        HttpContent::Parts(parts) => {
            parts.last_mut().into_iter().for_each(|part| without_hash(&mut part.content));
        }
        _ => {}
    }
}

fn content(body: Body) -> HttpContent {
    match body {
        Body::Text(text) => HttpContent::Text(text),
        Body::Json(text) => HttpContent::Json(text),
        Body::Form(fields) => HttpContent::Form(fields),
        Body::Parts(parts) => HttpContent::Parts(parts.into_iter().map(part).collect()),
        Body::Left { why, hmac, .. } => HttpContent::Left { why, hmac: Some(hmac) },
    }
}

fn part(part: Part) -> HttpPart {
    HttpPart {
        name: part.name,
        filename: part.filename,
        media: part.kind,
        content: content(part.body),
    }
}

#[cfg(test)]
mod tests {
    use super::super::MaskKey;
    use super::*;
    use crate::model::{Grpc, HttpRequest, HttpResponse, Message, Transport, WebSocket};

    const SECRET: &str = "zQ7vT2mXpLx9WkRb4";

    fn fields(lines: &[(&str, String)]) -> HttpFields {
        let lines = lines.iter().map(|(name, value)| (Raw::from(*name), Raw::from(value.as_str())));
        HttpFields { lines: lines.collect(), ..HttpFields::default() }
    }

    fn body(media: &str, text: &str) -> HttpBody {
        HttpBody {
            media: Raw::from(media),
            content: HttpContent::Bytes(Raw::from(text)),
            whole: true,
            ..HttpBody::default()
        }
    }

    /// All text of a value, however deep: `Raw` shows nothing in `Debug`.
    fn shown(raws: &[&Raw]) -> String {
        raws.iter().map(|raw| String::from_utf8_lossy(raw.bytes()).into_owned()).collect()
    }

    #[test]
    fn each_part_of_a_request_is_masked_by_its_place() {
        let mut http = Http {
            request: HttpRequest {
                version: HttpVersion::Http11,
                method: Raw::from("POST"),
                url: Raw::from(format!("http://u:{SECRET}@h/p?api_key={SECRET}&x=1").as_str()),
                fields: fields(&[("Authorization", format!("Bearer {SECRET}")), ("A", "b".into())]),
                body: Some(body("application/json", &format!("{{\"password\":\"{SECRET}\"}}"))),
                stream: None,
                ambiguous: vec![],
            },
            connection: None,
            peer: None,
            transport: Transport::Plaintext,
        };
        let mut masker = Masker::new(MaskKey::fixed(7));
        masker.fields().http(&mut http);
        let request = &http.request;
        let Some(HttpBody { content: HttpContent::Json(json), .. }) = &request.body else {
            panic!("{:?}", request.body)
        };
        let all = shown(&[&request.url, &request.fields.lines[0].1, json]);
        assert!(!all.contains(SECRET) && all.matches("<mask:").count() >= 4, "{all}");
        assert!(all.contains("&x=1"), "{all}");
    }

    #[test]
    fn each_part_of_an_answer_is_masked_and_a_cut_body_has_no_hash() {
        let message = Message {
            sent: false,
            text: true,
            bytes: 9,
            kept: Raw::from(format!("{{\"token\":\"{SECRET}\"}}").as_str()),
            whole: true,
        };
        let mut answer = HttpAnswer {
            head: Some(HttpResponse {
                version: HttpVersion::Http11,
                status: 200,
                fields: fields(&[("Set-Cookie", format!("sid={SECRET}; Path=/"))]),
            }),
            body: Some(HttpBody { whole: false, ..body("image/png", "\x01\x02\x03\x04\0\0") }),
            sent: Some(body("", &format!("client_secret={SECRET}"))),
            websocket: Some(WebSocket { first: vec![message], ..WebSocket::default() }),
            ..HttpAnswer::default()
        };
        let mut masker = Masker::new(MaskKey::fixed(7));
        masker.fields().http_answer(&mut answer);
        let content = &answer.body.as_ref().unwrap().content;
        assert!(matches!(content, HttpContent::Left { hmac: None, .. }), "{content:?}");
        let Some(HttpBody { content: HttpContent::Text(sent), .. }) = &answer.sent else {
            panic!()
        };
        let cookie = &answer.head.as_ref().unwrap().fields.lines[0].1;
        let all = shown(&[sent, cookie, &answer.websocket.as_ref().unwrap().first[0].kept]);
        assert!(!all.contains(SECRET) && all.matches("<mask:").count() == 3, "{all}");
    }

    #[test]
    fn a_path_that_a_field_block_cut_is_masked_as_cut() {
        let path = format!("https://h/{}?q=a '{}", "p".repeat(1010), &SECRET[..6]);
        for (cut, version, kept) in [
            (true, HttpVersion::Http2, false),
            (false, HttpVersion::Http2, true),
            (true, HttpVersion::Http11, true),
        ] {
            let mut http = Http {
                request: HttpRequest {
                    version,
                    method: Raw::from("GET"),
                    url: Raw::from(path.as_str()),
                    fields: HttpFields { cut, ..HttpFields::default() },
                    body: None,
                    stream: None,
                    ambiguous: vec![],
                },
                connection: None,
                peer: None,
                transport: Transport::Plaintext,
            };
            Masker::new(MaskKey::fixed(7)).fields().http(&mut http);
            let url = shown(&[&http.request.url]);
            assert_eq!(url.ends_with(&SECRET[..6]), kept, "{cut}: {url}");
            assert!(url.starts_with("https://h/ppp"), "{url}");
        }
    }

    #[test]
    fn a_status_message_that_was_cut_is_masked_as_cut() {
        let message = format!("no key '{}", &SECRET[..6]);
        for (more, kept) in [(1, false), (0, true)] {
            let grpc = Grpc {
                message: Some(Raw::from(message.as_str())),
                message_kept: message.len() as u64,
                message_bytes: message.len() as u64 + more,
                ..Grpc::default()
            };
            let mut answer = HttpAnswer { grpc: Some(grpc), ..HttpAnswer::default() };
            Masker::new(MaskKey::fixed(7)).fields().http_answer(&mut answer);
            let said = shown(&[answer.grpc.unwrap().message.as_ref().unwrap()]);
            assert_eq!(said.ends_with(&SECRET[..6]), kept, "{said}");
            assert!(said.starts_with("no key"), "{said}");
        }
    }

    #[test]
    fn a_cut_part_has_no_hash_and_what_is_left_out_is_not_whole() {
        let binary = "\x01\x02\x03\x04\0\0";
        let text = format!("--b\r\n\r\n{binary}\r\n--b\r\n\r\n{binary}");
        let sent = HttpBody { whole: false, ..body("multipart/mixed; boundary=b", &text) };
        let message =
            Message { sent: false, text: true, bytes: 6, kept: Raw::from(binary), whole: true };
        let mut answer = HttpAnswer {
            sent: Some(sent),
            websocket: Some(WebSocket { first: vec![message], ..WebSocket::default() }),
            ..HttpAnswer::default()
        };
        Masker::new(MaskKey::fixed(7)).fields().http_answer(&mut answer);
        let content = &answer.sent.as_ref().unwrap().content;
        let HttpContent::Parts(parts) = content else { panic!("{content:?}") };
        assert!(matches!(parts[0].content, HttpContent::Left { hmac: Some(_), .. }));
        assert!(matches!(parts[1].content, HttpContent::Left { hmac: None, .. }));
        let message = &answer.websocket.as_ref().unwrap().first[0];
        assert!(message.kept.is_empty() && !message.whole);
    }
}

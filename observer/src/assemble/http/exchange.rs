//! A request and what comes of it, in either version.

use super::{Context, Told};
use crate::model::{
    HttpAnswer, HttpBody, HttpFields, HttpResponse, HttpVersion, Raw, Reason, Status,
};

use super::body::Content;
use super::grpc;

/// A request that was told, and what is known of its answer.
pub(super) struct Exchange {
    pub(super) id: u64,
    /// When its first byte was seen.
    pub(super) at: u64,
    /// The authority that it asks, for what is kept of contents.
    pub(super) host: Vec<u8>,
    /// The request came to its end.
    pub(super) sent: bool,
    /// The answer came to its end.
    pub(super) answered: bool,
    pub(super) answer: Box<HttpAnswer>,
    /// Why there is no whole answer, and whether that is a failure.
    flaw: Option<(Status, &'static str)>,
}

impl Exchange {
    pub(super) fn new(id: u64, at: u64, host: Vec<u8>) -> Self {
        let answer = Box::default();
        Self { id, at, host, sent: false, answered: false, answer, flaw: None }
    }

    /// The request's content came to its end, or it has none.
    pub(super) fn sent(&mut self, content: Option<Content>, ended: bool, cx: &mut Context<'_>) {
        if self.sent {
            return;
        }
        self.sent = true;
        if ended {
            self.answer.times.sent = Some(cx.now.saturating_sub(self.at));
        }
        let Some(content) = content else { return };
        if let Some(grpc) = &content.grpc {
            self.answer.grpc.get_or_insert_default().sent = grpc.messages();
        }
        if let Some(body) = content.finish(ended) {
            cx.told.push(Told::Sent { id: self.id, body });
        }
    }

    /// The head of the final response.
    pub(super) fn head(&mut self, version: HttpVersion, status: u16, fields: HttpFields, at: u64) {
        self.answer.times.first_byte = Some(at.saturating_sub(self.at));
        if fields.first("grpc-status").is_some() {
            grpc::status(&fields, self.answer.grpc.get_or_insert_default());
        }
        self.answer.head = Some(HttpResponse { version, status, fields });
    }

    /// The response's content came to an end; `ended` says that it is its own.
    pub(super) fn answered(&mut self, content: Option<Content>, ended: bool, now: u64) {
        self.answered = true;
        if ended {
            self.answer.times.last_byte = Some(now.saturating_sub(self.at));
        }
        let Some(content) = content else { return };
        if let Some(grpc) = &content.grpc {
            self.answer.grpc.get_or_insert_default().received = grpc.messages();
        }
        self.answer.events = content.events.as_ref().map(|events| events.events());
        self.answer.body = content.finish(ended);
    }

    /// Trailers of the request.
    pub(super) fn sent_trailers(&mut self, fields: HttpFields) {
        if !fields.lines.is_empty() || fields.cut {
            self.answer.sent_trailers.get_or_insert(fields);
        }
    }

    /// Trailers of the response.
    pub(super) fn trailers(&mut self, fields: HttpFields) {
        if fields.lines.is_empty() && !fields.cut {
            return;
        }
        if fields.first("grpc-status").is_some() {
            grpc::status(&fields, self.answer.grpc.get_or_insert_default());
        }
        self.answer.trailers = Some(fields);
    }

    /// It has no whole answer, and why.
    pub(super) fn flawed(&mut self, status: Status, why: &'static str) {
        self.answered = true;
        self.flaw.get_or_insert((status, why));
    }

    /// A word about it that is not there yet.
    pub(super) fn doubt(&mut self, word: &'static str) {
        if !self.answer.ambiguous.contains(&word) {
            self.answer.ambiguous.push(word);
        }
    }

    /// Bytes that it holds.
    pub(super) fn memory(&self) -> usize {
        let fields = |fields: &HttpFields| {
            let line =
                |(name, value): &(Raw, Raw)| name.len() + value.len() + size_of::<(Raw, Raw)>();
            fields.lines.iter().map(line).sum::<usize>()
        };
        let answer = &self.answer;
        size_of::<HttpAnswer>()
            + self.host.len()
            + answer.head.as_ref().map_or(0, |head| fields(&head.fields))
            + answer.trailers.as_ref().map_or(0, fields)
            + answer.sent_trailers.as_ref().map_or(0, fields)
            + answer.body.as_ref().map_or(0, HttpBody::memory)
    }

    /// Tells how it ended.
    pub(super) fn tell(self, cx: &mut Context<'_>) {
        let failed_grpc =
            self.answer.grpc.as_ref().and_then(|grpc| grpc.status).is_some_and(|code| code != 0);
        let head = self.answer.head.as_ref().map(|head| head.status);
        let (status, reason) = match (head, self.flaw) {
            (None, None) => (Status::Unknown, Reason::Unseen("no answer was seen")),
            (None, Some((status, why))) => (status, Reason::Unseen(why)),
            (Some(code), Some((status, why))) => {
                (status, Reason::Http { status: code, note: Some(why) })
            }
            (Some(code), None) if failed_grpc => {
                let note = Some("a gRPC status that is not OK");
                (Status::Failed, Reason::Http { status: code, note })
            }
            (Some(code), None) => {
                let status = if code >= 400 { Status::Failed } else { Status::Ok };
                (status, Reason::Http { status: code, note: None })
            }
        };
        cx.told.push(Told::Answer { id: self.id, at: cx.now, status, reason, answer: self.answer });
    }
}

/// What is kept of a content, and why nothing is.
pub(super) fn content(
    fields: &HttpFields,
    codings: &[u8],
    host: &[u8],
    cx: &Context<'_>,
) -> Content {
    let media = fields.first("content-type").unwrap_or_default();
    let limit = cx.capture.of(host, media);
    Content::new(fields, codings, limit, (limit == 0).then_some("the settings keep none of it"))
}

//! The direction of requests.

use super::collect::{Collector, Lines};
use super::framing::{self, Framing};
use super::reader::Reader;
use super::switched::upgrade;
use super::{Answering, Asked, Asking, H1, Method, feed, head};
use crate::assemble::http::exchange::{Exchange, content};
use crate::assemble::http::{Context, Told, Way, limits, target};
use crate::model::{HttpRequest, Raw};

/// Why what was sent behind an offer to go on with another protocol is not read.
pub(super) const UNDECIDED: &str = "nothing says whether what follows an offer is HTTP";

impl H1 {
    pub(super) fn asked(&mut self, mut bytes: &[u8], cx: &mut Context<'_>) {
        while !bytes.is_empty() {
            match &mut self.asking {
                Asking::Head { lines, at } => match feed(lines, at, &mut bytes, cx.now) {
                    Ok(Some((lines, at))) => self.request(&lines, at, cx),
                    Ok(None) => {}
                    Err(why) => self.lose_requests(why, cx),
                },
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
                                    let fields = head::trailers(&lines, doubts);
                                    last.exchange.sent_trailers(fields);
                                }
                                self.end_request(true, cx);
                            }
                        }
                        Err(why) => self.lose_requests(why, cx),
                    }
                }
                Asking::Held(_) if matches!(self.answering, Answering::Over { .. }) => {
                    return self.lose_requests(UNDECIDED, cx);
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
    pub(super) fn end_request(&mut self, ended: bool, cx: &mut Context<'_>) {
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

    /// Requests can't be read from here on. Answers to those that were are still awaited.
    pub(super) fn lose_requests(&mut self, why: &'static str, cx: &mut Context<'_>) {
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
}

//! HTTP/1.0 and 1.1 (RFC 9112): one connection, both directions.
//!
//! The requests of a connection stand in a queue; the answers are theirs in order. A direction that
//! can't be read any further is told so once. While answers can't be read, requests still are.

mod answering;
mod asking;
mod chunked;
mod collect;
mod framing;
mod head;
mod reader;
mod switched;

use std::collections::VecDeque;

use super::exchange::Exchange;
use super::{Context, End, Way, limits};
use crate::model::Status;
use collect::{Collector, Lines};
pub(super) use head::is_token;
use reader::Reader;
use switched::{Switched, Upgrade};

/// One connection of HTTP/1.
pub(super) struct H1 {
    asking: Asking,
    answering: Answering,
    /// Those whose request or answer has not ended, the oldest first.
    open: VecDeque<Asked>,
    switched: Option<Box<Switched>>,
    /// The agent's direction came to its end.
    closed: bool,
    /// The server's did.
    left: bool,
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

/// The direction of requests.
enum Asking {
    Head {
        lines: Collector,
        at: u64,
    },
    Content(Box<Reader>),
    /// The answer decides what these bytes are: CONNECT, or an upgrade that was offered. Where no
    /// answer can come, nothing does.
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

impl H1 {
    pub(super) fn new(halfway: bool) -> Self {
        Self {
            asking: Asking::Head { lines: Collector::new(limits::HEAD), at: 0 },
            answering: Answering::Head { lines: Collector::new(limits::HEAD), at: 0 },
            open: VecDeque::new(),
            switched: None,
            closed: false,
            left: false,
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
        self.closed |= way == Way::Out;
        self.left |= way == Way::In;
        if let Some(switched) = &mut self.switched {
            switched.end(way, how, cx);
            // A side may say more when the other has ended, except after a reset.
            if self.left && (self.closed || how != End::Closed) {
                switched.over(cx);
            }
            return;
        }
        match way {
            Way::Out => match &self.asking {
                // The answer decides still what they are.
                Asking::Held(held) if !held.is_empty() => {}
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

    /// Tells of those that are over, in order.
    fn tell(&mut self, cx: &mut Context<'_>) {
        while self.open.front().is_some_and(|asked| asked.exchange.sent && asked.exchange.answered)
        {
            if let Some(asked) = self.open.pop_front() {
                asked.exchange.tell(cx);
            }
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

/// Takes what comes of a head. Once it is whole: its lines, and when it began.
fn feed(
    lines: &mut Collector,
    at: &mut u64,
    bytes: &mut &[u8],
    now: u64,
) -> Result<Option<(Lines, u64)>, &'static str> {
    if lines.is_empty() {
        *at = now;
    }
    let (taken, done) = lines.feed(bytes)?;
    *bytes = &bytes[taken..];
    Ok(done.then(|| (std::mem::take(lines).finish(), *at)))
}

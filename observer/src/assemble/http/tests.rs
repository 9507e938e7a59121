//! Conversations, one story a test.

mod http1;
mod http2;
mod split;
mod upgrades;

use super::*;

/// What is said, and by whom: `>` by the agent, `<` to it.
pub(super) enum Step {
    Bytes(Way, Vec<u8>),
    Gap(Way, u64),
    End(Way, End),
}

pub(super) fn out(text: impl AsRef<[u8]>) -> Step {
    Step::Bytes(Way::Out, text.as_ref().to_vec())
}

pub(super) fn into(text: impl AsRef<[u8]>) -> Step {
    Step::Bytes(Way::In, text.as_ref().to_vec())
}

/// Tells of steps, a millisecond each.
pub(super) fn talk(steps: &[Step]) -> Vec<Told> {
    let flow = Flow::plaintext(Some("127.0.0.1:8080".parse().unwrap()));
    talk_on(flow, &Capture::default(), steps)
}

pub(super) fn talk_on(flow: Flow, capture: &Capture, steps: &[Step]) -> Vec<Told> {
    let mut conversation = Conversation::new(flow);
    let mut told = vec![];
    for (n, step) in steps.iter().enumerate() {
        let now = n as u64 * 1_000_000;
        match step {
            Step::Bytes(way, bytes) => {
                conversation.bytes(capture, *way, now, bytes, &mut told);
            }
            Step::Gap(way, bytes) => conversation.gap(capture, *way, now, Some(*bytes), &mut told),
            Step::End(way, how) => conversation.end(capture, *way, now, *how, &mut told),
        }
    }
    told
}

pub(super) fn text(raw: &Raw) -> String {
    String::from_utf8_lossy(raw.bytes()).into_owned()
}

fn kept(body: &HttpBody) -> String {
    match &body.content {
        crate::model::HttpContent::Bytes(raw) => {
            format!("{}{}", text(raw), if body.whole { "" } else { "…" })
        }
        crate::model::HttpContent::Left { .. } => "left".into(),
        other => panic!("{other:?}"),
    }
}

/// What was told as lines, times left out.
pub(super) fn lines(told: &[Told]) -> Vec<String> {
    told.iter().map(line).collect()
}

fn line(told: &Told) -> String {
    match told {
        Told::Request { id, request, .. } => {
            let doubts = request.ambiguous.join(" ");
            let line = format!("{id} {} {} {doubts}", text(&request.method), text(&request.url));
            line.trim_end().to_owned()
        }
        Told::Sent { id, body } => format!("{id} sent {} {}", body.bytes, kept(body)),
        Told::Answer { id, status, reason, answer, .. } => {
            let mut line = format!("{id} {status:?}");
            match reason {
                Reason::Http { status, note } => {
                    line += &format!(" {status}");
                    if let Some(note) = note {
                        line += &format!(" ({note})");
                    }
                }
                Reason::Unseen(why) => line += &format!(" ({why})"),
                other => line += &format!(" {other:?}"),
            }
            if let Some(body) = &answer.body {
                line += &format!(" {} {}", body.bytes, kept(body));
            }
            if let Some(trailers) = &answer.trailers {
                line += &format!(" trailers {}", trailers.lines.len());
            }
            if let Some(trailers) = &answer.sent_trailers {
                line += &format!(" sent trailers {}", trailers.lines.len());
            }
            if !answer.interim.is_empty() {
                line += &format!(" after {:?}", answer.interim);
            }
            if let Some(tunnel) = &answer.tunnel {
                line += &format!(
                    " tunnel {} {} {}",
                    tunnel.sent,
                    tunnel.received,
                    tunnel.inside.word()
                );
            }
            if let Some(socket) = &answer.websocket {
                line += &format!(" websocket {} {}", socket.sent.count, socket.received.count);
            }
            if let Some(code) = answer.reset {
                line += &format!(" reset {code}");
            }
            for word in &answer.ambiguous {
                line += &format!(" {word}");
            }
            line
        }
        Told::Unparsed { way, why, .. } => format!("unparsed {way:?}: {why}"),
    }
}

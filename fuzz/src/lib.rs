//! What the fuzzer and the corpus test do with bytes: one function a door. A panic is a find.
//!
//! Nothing here touches the system, and nothing depends on what was tried before.

mod bodies;

use std::collections::HashSet;

use observer::assemble::http::{Capture, Conversation, End, Flow, Told, Way};
use observer::assemble::{Assembler, Fingerprint, Item, Names};
use observer::decode;
use observer::ledger::Verifier;
use observer::model::{Kind, Raw, RunId};
use observer::policy::Policy;
use observer::tls;

pub use bodies::bodies;

/// What is done with bytes at a door.
pub type Door = fn(&[u8]);

/// The targets: each a function of this crate, a binary, and a directory of seeds.
pub const TARGETS: [(&str, Door); 8] = [
    ("decode", decode),
    ("verify", verify),
    ("policy", policy),
    ("http1", http1),
    ("http2", http2),
    ("websocket", websocket),
    ("elf", elf),
    ("bodies", bodies),
];

/// Events, each with its length before it in two bytes, little-endian: decoded, then assembled.
/// What one event leaves behind is there when the next comes.
///
/// # Panics
/// When what came out can't be so.
pub fn decode(mut bytes: &[u8]) {
    let mut assembler = Assembler::new(RunId::generate(), "boot", 1);
    let (mut world, mut items) = (World, vec![]);
    let (mut events, mut results) = (0, 0);
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (event, rest) = rest.split_at(length);
        bytes = rest;
        match decode::decode(event) {
            Ok(event) => {
                events += 1;
                assembler.event(&event, &mut world, &mut items);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    assembler.settle(u64::MAX, &mut world, &mut items);
    assembler.finish(u64::MAX, &mut world, &mut items);
    let http = |item: &&Item| matches!(item, Item::Call(call) if call.action.kind() == Kind::Http);
    let ended = |item: &&Item| matches!(item, Item::Call(call) if call.outcome.is_some());
    let asked = items.iter().filter(|item| http(item) && !ended(item)).count();
    let answers = items.iter().filter(|item| matches!(item, Item::Answer(_))).count();
    assert_eq!(asked, answers, "each request has one answer, unless it was told with its end");
    let calls = items.iter().filter(|item| matches!(item, Item::Call(_)) && !http(item)).count();
    assert!(calls <= events, "{calls} calls of {events} events");
    for item in &items {
        results += usize::from(matches!(item, Item::Result(_) | Item::TlsEnd(_)));
    }
    assert!(results <= events + calls, "{results} results of {events} events");
}

/// A ledger, read as `observer verify` reads one.
///
/// # Panics
/// When the report contradicts itself.
pub fn verify(bytes: &[u8]) {
    let mut verifier = Verifier::new(None);
    let mut lines = 0;
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        if verifier.is_broken() {
            break;
        }
        lines += 1;
        if line.len() > Verifier::LINE {
            verifier.too_long();
            break;
        }
        verifier.line(line.strip_suffix(b"\n").unwrap_or(line), line.ends_with(b"\n"));
    }
    let report = verifier.finish();
    // A file may begin in the middle of a ledger, and says where.
    let records = report.records - report.from;
    assert!(records <= lines, "{records} records of {lines} lines");
    assert!(!report.pinned && !report.anchored, "{report:?}");
    match &report.broken {
        Some(broken) => {
            assert!(!report.holds() && !broken.why.is_empty(), "{report:?}");
            assert!(broken.offset <= bytes.len() as u64, "{report:?}");
        }
        None => assert!(records == lines && lines > 0, "{report:?}"),
    }
}

/// A file that may have a TLS library.
///
/// # Panics
/// When a place for a probe is not in the file.
pub fn elf(bytes: &[u8]) {
    let Ok(looked) = tls::look(&bytes.to_vec()) else { return };
    for site in looked.found.iter().flat_map(|found| &found.sites) {
        assert!(site.offset < bytes.len() as u64, "{site:?} of {} bytes", bytes.len());
    }
}

/// A policy's text.
///
/// # Panics
/// When what is wrong is not said, or what is right can't be told.
pub fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Policy::parse(text) {
        Ok(policy) => {
            for warning in policy.warnings() {
                assert!(!warning.to_string().is_empty());
            }
            let summary = policy.summary();
            assert!(!summary.to_string().is_empty());
            assert_eq!(policy.tables().rules.len(), summary.deny + summary.allow);
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            assert!(problems.iter().all(|problem| !problem.to_string().is_empty()));
        }
    }
}

/// A connection, from its first byte: pieces, each with a byte before it that says which way it went
/// and what it is (bytes, a gap, an end), and its length in two bytes, little-endian.
///
/// # Panics
/// When a request has not exactly one answer, or too much is held.
pub fn http1(bytes: &[u8]) {
    talk(&[], bytes);
}

/// The same, after the beginning of an HTTP/2 connection.
///
/// # Panics
/// As [`http1`].
pub fn http2(bytes: &[u8]) {
    talk(&[(Way::Out, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")], bytes);
}

/// The same, after a handshake with compression.
///
/// # Panics
/// As [`http1`].
pub fn websocket(bytes: &[u8]) {
    let asked = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answered = b"HTTP/1.1 101 S\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    talk(&[(Way::Out, asked), (Way::In, answered)], bytes);
}

fn talk(first: &[(Way, &[u8])], mut bytes: &[u8]) {
    let capture = Capture { body: 64, rules: vec![] };
    let mut conversation = Conversation::new(Flow::plaintext(None));
    let (mut told, mut now, mut fed) = (vec![], 0, bytes.len());
    // As on a socket, a direction ends once and says nothing more.
    let mut ended = [false; 2];
    for (way, bytes) in first {
        conversation.bytes(&capture, *way, now, bytes, &mut told);
        fed += bytes.len();
    }
    while let Some((&[kind, low, high], rest)) = bytes.split_first_chunk() {
        now += 1;
        let length = u16::from_le_bytes([low, high]);
        let way = if kind & 1 == 0 { Way::Out } else { Way::In };
        bytes = rest;
        let over = &mut ended[usize::from(way == Way::In)];
        match kind >> 1 & 7 {
            0 if !*over => conversation.gap(&capture, way, now, Some(length.into()), &mut told),
            1 if !*over => {
                let how = [End::Closed, End::Reset, End::Unseen][usize::from(low) % 3];
                conversation.end(&capture, way, now, how, &mut told);
                *over = true;
            }
            0 | 1 => {}
            _ => {
                let (piece, rest) = bytes.split_at(usize::from(length).min(bytes.len()));
                if !*over {
                    conversation.bytes(&capture, way, now, piece, &mut told);
                }
                bytes = rest;
            }
        }
        // Some of what is held costs more than its bytes: a request that waits, a field's name.
        assert!(conversation.memory() < (256 << 10) + 256 * fed, "{}", conversation.memory());
    }
    for (way, _) in [Way::Out, Way::In].into_iter().zip(ended).filter(|(_, over)| !over) {
        conversation.end(&capture, way, now, End::Closed, &mut told);
    }
    let mut open = HashSet::new();
    for told in &told {
        match told {
            Told::Request { id, .. } => assert!(open.insert(*id), "{id} is asked twice"),
            Told::Sent { id, .. } => assert!(open.contains(id), "{id} is over"),
            Told::Answer { id, .. } => assert!(open.remove(id), "{id} is answered twice"),
            Told::Unparsed { why, .. } => assert!(!why.is_empty()),
        }
    }
    assert!(open.is_empty(), "{open:?} have no answer");
}

/// A system that knows every name.
struct World;

impl Names for World {
    fn cgroup(&mut self, id: u64) -> Raw {
        Raw::new(format!("/observer/{id}"))
    }

    fn rule(&self, _: u32, index: u32) -> String {
        format!("rule-{index}")
    }

    fn fingerprint(&self) -> Box<dyn Fingerprint> {
        Box::new(Count(0))
    }
}

/// A hash that is good enough to see what is hashed.
struct Count(usize);

impl Fingerprint for Count {
    fn update(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    fn finish(self: Box<Self>) -> String {
        self.0.to_string()
    }
}

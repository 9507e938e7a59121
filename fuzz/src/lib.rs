//! What the fuzzer and the corpus test do with bytes: one function a door. A panic is a find.
//!
//! Nothing here touches the system, and nothing depends on what was tried before.

use observer::assemble::{Assembler, Fingerprint, Item, Names};
use observer::decode;
use observer::ledger::Verifier;
use observer::model::{Raw, RunId};
use observer::policy::Policy;

/// What is done with bytes at a door.
pub type Door = fn(&[u8]);

/// The targets: each a function of this crate, a binary, and a directory of seeds.
pub const TARGETS: [(&str, Door); 3] = [("decode", decode), ("verify", verify), ("policy", policy)];

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
    assembler.settle(u64::MAX, &mut items);
    assembler.finish(u64::MAX, &mut items);
    let calls = items.iter().filter(|item| matches!(item, Item::Call(_))).count();
    assert!(calls <= events, "{calls} calls of {events} events");
    for item in &items {
        results += usize::from(matches!(item, Item::Result(_)));
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

//! A command's arguments as one text: a shell splits at spaces what was one value.

use crate::mask::span::Span;
use crate::mask::structure;
use crate::model::Raw;

/// Longer commands are not looked at as one text.
const JOINED: usize = 256 * 1024;

/// A value that lies over more arguments than so many is told from others by its beginning,
const PARTS: usize = 16;
/// of so many bytes.
const BEGINNING: usize = 64;

/// All arguments as one text, with a space between two.
pub(in crate::mask) struct Joined {
    text: Vec<u8>,
    starts: Vec<usize>,
}

impl Joined {
    /// None where there are fewer than two, or so many bytes that nobody typed them.
    pub(in crate::mask) fn new(argv: &[Raw]) -> Option<Self> {
        let len: usize = argv.iter().map(|raw| raw.len() + 1).sum();
        if argv.len() < 2 || len > JOINED {
            return None;
        }
        let mut joined = Self { text: Vec::with_capacity(len), starts: vec![] };
        for raw in argv {
            joined.starts.push(joined.text.len());
            joined.text.extend_from_slice(raw.bytes());
            // A header's value goes to its line's end: the next argument is none of it.
            joined.text.push(if structure::is_whole_header(raw.bytes()) { b'\n' } else { b' ' });
        }
        joined.text.pop();
        Some(joined)
    }

    pub(in crate::mask) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Gives each argument its part of what lies over a border between two. What lies within one
    /// argument is found there.
    pub(in crate::mask) fn share(&self, spans: Vec<Span>, plan: &mut [Vec<Span>]) {
        for span in spans {
            let first = self.starts.partition_point(|&start| start <= span.start).saturating_sub(1);
            let last = self.starts.partition_point(|&start| start < span.end).saturating_sub(1);
            if first >= last {
                continue;
            }
            // Each part bears the whole value's token. Over many arguments its beginning stands for it:
            // parts times the value would be the square of the command.
            let value = span.value(&self.text);
            let most = if last - first < PARTS { value.len() } else { BEGINNING };
            let value = value[..value.len().min(most)].to_vec();
            for (index, spans) in plan.iter_mut().enumerate().take(last + 1).skip(first) {
                let Some(&from) = self.starts.get(index) else { continue };
                let next = self.starts.get(index + 1).map_or(self.text.len(), |next| next - 1);
                let (start, end) = (span.start.max(from), span.end.min(next));
                if start < end {
                    let mut part = span.clone();
                    (part.start, part.end) = (start - from, end - from);
                    part.decoded = Some(value.clone());
                    part.learn = false;
                    spans.reserve_exact(1);
                    spans.push(part);
                }
            }
        }
    }
}

//! Server-sent events (HTML Standard §9.2.6): counted, not kept. Their text is the content's.

use crate::model::EventStream;

/// Counts events. An event is dispatched at an empty line, if it had a `data` field.
#[derive(Default)]
pub(super) struct Reader {
    count: u64,
    largest: u64,
    /// Bytes of the event under way.
    size: u64,
    data: bool,
    /// Bytes of the line so far.
    line: u64,
    /// How much of `data` the line began with, until it is decided.
    matched: u8,
    /// The last byte was a CR: an LF after it is the same line's end.
    cr: bool,
    /// A gap: no event is counted until the next empty line.
    torn: bool,
}

impl Reader {
    /// Takes bytes of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let after_cr = std::mem::take(&mut self.cr);
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => {
                    self.cr = byte == b'\r';
                    self.end_line();
                }
                _ => self.in_line(byte),
            }
        }
    }

    /// Something was missed.
    pub(super) fn skip(&mut self) {
        self.torn = true;
        self.line = 1;
        self.matched = u8::MAX;
    }

    /// What was counted.
    pub(super) fn events(&self) -> EventStream {
        EventStream { count: self.count, largest: self.largest }
    }

    fn in_line(&mut self, byte: u8) {
        const FIELD: &[u8] = b"data";
        let at = self.line;
        self.line += 1;
        self.size += 1;
        if at == 0 {
            self.matched = 0;
        }
        match FIELD.get(usize::from(self.matched)) {
            Some(&wanted) if byte == wanted => self.matched += 1,
            None if self.matched == 4 => {
                self.data |= byte == b':';
                self.matched = u8::MAX;
            }
            _ => self.matched = u8::MAX,
        }
    }

    fn end_line(&mut self) {
        if self.line > 0 {
            // A field's name alone has an empty value.
            self.data |= self.matched == 4;
            self.line = 0;
            self.matched = 0;
            return;
        }
        if self.data && !self.torn {
            self.count += 1;
            self.largest = self.largest.max(self.size);
        }
        self.torn = false;
        self.data = false;
        self.size = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(pieces: &[&str]) -> EventStream {
        let mut reader = Reader::default();
        pieces.iter().for_each(|piece| reader.push(piece.as_bytes()));
        reader.events()
    }

    #[test]
    fn an_event_ends_at_an_empty_line_and_needs_data() {
        let text = "data: a\n\nevent: x\ndata: b\ndata: c\n\n: a comment\n\ndata\r\n\r\ndata: cut";
        assert_eq!(count(&[text]), EventStream { count: 3, largest: 22 });
        assert_eq!(count(&["dat", "a:1\r", "\n\r", "\ndatum: 2\n\n"]).count, 1);
    }

    #[test]
    fn after_a_gap_counting_begins_with_the_next_event() {
        let mut reader = Reader::default();
        reader.push(b"data: a\n\ndata: b");
        reader.skip();
        reader.push(b"end\n\ndata: c\n\n");
        assert_eq!(reader.events().count, 2);
    }
}

//! Lines up to an empty one: a head, or trailers. However long they are, a bounded part is held.

/// Fields that say where a message ends or what follows it: they are kept from beyond the bound too.
const FRAMING: &[&[u8]] =
    &[b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"host"];
/// Bytes of one line that are looked at beyond the bound.
const LINE: usize = 1024;
/// Bytes of framing fields that are kept from beyond the bound.
const EXTRA: usize = 8 * 1024;
/// Of a start line that is longer than the bound, its end is kept: the version stands there.
const TAIL: usize = 16;

/// What was collected.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Whole lines, each with its end, without the empty one.
    pub(super) text: Vec<u8>,
    /// The bytes that all of them had.
    pub(super) seen: u64,
    /// Whether lines are missing in `text`, or a part of the first.
    pub(super) cut: bool,
    /// Whether the empty line had no CR.
    pub(super) bare: bool,
}

/// Lines that are being collected.
#[derive(Default)]
pub(super) struct Collector {
    bound: usize,
    text: Vec<u8>,
    seen: u64,
    /// Bytes of the line so far, without its end.
    line: u64,
    cr: bool,
    /// The empty line came without a CR.
    bare: bool,
    over: Option<Box<Over>>,
}

/// What is held of lines beyond the bound.
#[derive(Default)]
struct Over {
    /// The beginning of the line under way.
    line: Vec<u8>,
    /// The end of the start line, where that alone goes beyond the bound.
    tail: Vec<u8>,
    in_first: bool,
    /// The line before was kept: one that continues it is too.
    kept_last: bool,
    extra: Vec<u8>,
}

impl Collector {
    /// Holds about `bound` bytes.
    pub(super) fn new(bound: usize) -> Self {
        Self { bound, ..Self::default() }
    }

    /// Whether nothing has come yet.
    pub(super) fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// Bytes that it holds.
    pub(super) fn memory(&self) -> usize {
        self.text.capacity() + self.over.as_ref().map_or(0, |_| LINE + EXTRA)
    }

    /// Takes bytes up to the empty line. How many it took, and whether the empty line was there.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(usize, bool), &'static str> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let Some(end) = memchr::memchr(b'\n', rest) else {
                self.take(rest)?;
                self.line += rest.len() as u64;
                self.cr = rest.last() == Some(&b'\r');
                return Ok((bytes.len(), false));
            };
            let before = &rest[..end];
            let cr = if end == 0 { self.cr } else { before.last() == Some(&b'\r') };
            let length = self.line + end as u64 - u64::from(cr);
            at += end + 1;
            self.take(&rest[..=end])?;
            self.line = 0;
            self.cr = false;
            if length == 0 {
                self.bare = !cr;
                return Ok((at, true));
            }
            self.end_line();
        }
        Ok((at, false))
    }

    /// What there is, after the empty line.
    pub(super) fn finish(mut self) -> Lines {
        let cut = self.over.is_some();
        match self.over {
            Some(mut over) => self.text.append(&mut over.extra),
            None => {
                // The empty line.
                self.text.pop();
                if self.text.last() == Some(&b'\r') {
                    self.text.pop();
                }
            }
        }
        Lines { text: self.text, seen: self.seen, cut, bare: self.bare }
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), &'static str> {
        self.seen += piece.len() as u64;
        if self.over.is_none() {
            if self.text.len() + piece.len() <= self.bound {
                self.text.extend_from_slice(piece);
                return Ok(());
            }
            self.go_over();
        }
        let Some(over) = &mut self.over else { return Ok(()) };
        if over.in_first {
            let room = self.bound.saturating_sub(self.text.len()).min(piece.len());
            self.text.extend_from_slice(&piece[..room]);
            over.tail.extend_from_slice(&piece[piece.len().saturating_sub(TAIL)..]);
            let excess = over.tail.len().saturating_sub(TAIL);
            over.tail.drain(..excess);
            return Ok(());
        }
        let room = LINE.saturating_sub(over.line.len()).min(piece.len());
        over.line.extend_from_slice(&piece[..room]);
        if room < piece.len() && (is_framing(&over.line) || over.continues()) {
            return Err("a field that frames the message is too long");
        }
        Ok(())
    }

    /// The bound is reached: the line under way is looked at from here on, and not kept.
    fn go_over(&mut self) {
        let last = self.text.iter().rposition(|&b| b == b'\n');
        let line = last.map(|end| self.text.split_off(end + 1));
        let mut over = Over { in_first: line.is_none(), ..Over::default() };
        if let Some(line) = line {
            over.line = line;
            over.line.truncate(LINE);
        }
        self.over = Some(Box::new(over));
    }

    fn end_line(&mut self) {
        let Some(over) = &mut self.over else { return };
        if std::mem::take(&mut over.in_first) {
            // What lies between is gone; the version stands at the end.
            let tail = over.tail.strip_suffix(b"\n").unwrap_or(&over.tail);
            let tail = tail.strip_suffix(b"\r").unwrap_or(tail);
            let version = tail.iter().rposition(|&b| b == b' ').map(|at| &tail[at..]);
            self.text.extend_from_slice(version.unwrap_or_default());
            self.text.extend_from_slice(b"\r\n");
            return;
        }
        let keep = (is_framing(&over.line) || over.continues())
            && over.extra.len() + over.line.len() <= EXTRA;
        over.kept_last = keep;
        if keep {
            over.extra.append(&mut over.line);
        }
        over.line.clear();
    }
}

impl Over {
    /// Whether the line under way continues one that was kept (RFC 9112 §5.2).
    fn continues(&self) -> bool {
        self.kept_last && matches!(self.line.first(), Some(b' ' | b'\t'))
    }
}

fn is_framing(line: &[u8]) -> bool {
    FRAMING.iter().any(|name| {
        let named = line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        named && matches!(line.get(name.len()), Some(b':' | b' ' | b'\t'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(text: &[u8], bound: usize, piece: usize) -> Result<(Lines, usize), &'static str> {
        let mut collector = Collector::new(bound);
        let mut at = 0;
        for piece in text.chunks(piece) {
            let (taken, done) = collector.feed(piece)?;
            at += taken;
            if done {
                return Ok((collector.finish(), at));
            }
        }
        panic!("it did not end");
    }

    #[test]
    fn lines_end_at_the_empty_one_however_they_are_split() {
        for text in ["GET / HTTP/1.1\r\nA: b\r\n\r\nrest", "GET / HTTP/1.1\nA: b\n\nrest"] {
            for piece in 1..text.len() {
                let (lines, at) = collect(text.as_bytes(), 100, piece).unwrap();
                assert_eq!(&text[at..], "rest");
                let whole = text.trim_end_matches("rest");
                let end = if whole.ends_with("\r\n") { 2 } else { 1 };
                assert_eq!(lines.text, &whole.as_bytes()[..whole.len() - end]);
                assert!(!lines.cut);
            }
        }
    }

    #[test]
    fn beyond_the_bound_the_fields_that_frame_are_kept() {
        let filler = format!("X-Fill: {}\r\n", "f".repeat(90)).repeat(100);
        let text = format!("POST / HTTP/1.1\r\n{filler}Content-Length: 5\r\nOther: 1\r\n\r\n");
        for piece in [1, 7, 100, 10_000] {
            let (lines, at) = collect(text.as_bytes(), 1000, piece).unwrap();
            assert_eq!(at, text.len());
            assert!(lines.cut && lines.text.len() < 1100);
            assert_eq!(lines.seen, text.len() as u64);
            assert!(lines.text.ends_with(b"Content-Length: 5\r\n"));
            assert!(lines.text.starts_with(b"POST / HTTP/1.1\r\nX-Fill"));
        }
    }

    #[test]
    fn a_start_line_beyond_the_bound_keeps_its_beginning_and_its_version() {
        let text = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(3000));
        for piece in [1, 5, 999, 10_000] {
            let (lines, _) = collect(text.as_bytes(), 1000, piece).unwrap();
            let shown = String::from_utf8(lines.text).unwrap();
            assert!(shown.starts_with("GET /aaa") && lines.cut, "{piece}");
            assert!(shown.ends_with("aaa HTTP/1.1\r\nHost: h\r\n"), "{piece} {shown}");
        }
    }

    #[test]
    fn a_long_framing_field_beyond_the_bound_is_refused() {
        let filler = "X: y\r\n".repeat(300);
        let long = format!("GET / HTTP/1.1\r\n{filler}Transfer-Encoding: {}", "x".repeat(2000));
        let mut collector = Collector::new(1000);
        assert!(collector.feed(long.as_bytes()).is_err());
    }
}

//! Spans of secrets in a text, and what becomes of them where they overlap.

/// A secret's place.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) sort: &'static str,
    /// What found it, for whoever tunes rules.
    pub(super) rule: &'static str,
    /// What it is without its encoding, where it has one.
    pub(super) decoded: Option<Vec<u8>>,
    /// Whether the dictionary should know it.
    pub(super) learn: bool,
    /// A piece of something, which has a token of its own only where nothing else is there.
    pub(super) piece: bool,
}

impl Span {
    pub(super) fn new(start: usize, end: usize, sort: &'static str) -> Self {
        Self { start, end, sort, rule: sort, decoded: None, learn: true, piece: false }
    }

    /// The same, found by a rule of that name.
    pub(super) fn by(mut self, rule: &'static str) -> Self {
        self.rule = rule;
        self
    }

    /// The same, unknown to the dictionary and without a token of its own beside others.
    pub(super) fn piece(mut self) -> Self {
        self.learn = false;
        self.piece = true;
        self
    }

    pub(super) fn of<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// What it is, without its encoding.
    pub(super) fn value<'a>(&'a self, text: &'a [u8]) -> &'a [u8] {
        self.decoded.as_deref().unwrap_or_else(|| self.of(text))
    }
}

/// A stretch of text that goes, and the spans that it is made of.
pub(super) struct Cluster {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) spans: Vec<Span>,
}

/// Each cluster shows at most this many tokens.
const TOKENS: usize = 4;

impl Cluster {
    /// The spans whose tokens stand for it: one for each value, the outer ones first, each under
    /// its most telling sort. No secret loses its identity to the one around it.
    pub(super) fn tokens<'a>(&'a self, text: &'a [u8]) -> Vec<(&'static str, &'a [u8])> {
        let whole = self.spans.iter().filter(|span| !span.piece);
        let mut out: Vec<(&'static str, &[u8])> = vec![];
        for span in whole {
            let value = span.value(text);
            if let Some((sort, _)) = out.iter_mut().find(|(_, known)| *known == value) {
                if is_vague(sort) {
                    *sort = span.sort;
                }
            } else if out.len() < TOKENS && !self.is_undone(span, value) {
                out.push((span.sort, value));
            }
        }
        if out.is_empty()
            && let Some(first) = self.spans.first()
        {
            out.push((first.sort, first.value(text)));
        }
        out
    }
}

impl Cluster {
    /// Whether the same stretch stands there without its encoding as well: that one speaks for it.
    fn is_undone(&self, span: &Span, value: &[u8]) -> bool {
        let same = |other: &&Span| other.start == span.start && other.end == span.end;
        span.decoded.is_none()
            && self.spans.iter().filter(same).any(|other| {
                !other.piece && other.decoded.as_deref().is_some_and(|decoded| decoded != value)
            })
    }
}

/// Sorts that name a place and not a kind.
fn is_vague(sort: &str) -> bool {
    matches!(sort, "secret" | "header" | "generic")
}

/// Spans in order, overlapping ones together.
pub(super) fn merge(mut spans: Vec<Span>) -> Vec<Cluster> {
    spans.retain(|span| span.start < span.end);
    spans.sort_by(|a, b| a.start.cmp(&b.start).then(b.end.cmp(&a.end)));
    let mut out: Vec<Cluster> = vec![];
    for span in spans {
        match out.last_mut() {
            Some(last) if span.start < last.end => {
                last.end = last.end.max(span.end);
                // The same again, or so many that nobody reads them: their place is enough.
                if last.spans.len() < 64 {
                    last.spans.push(span);
                }
            }
            _ => out.push(Cluster { start: span.start, end: span.end, spans: vec![span] }),
        }
    }
    out
}

//! One text through all layers: structure, providers' patterns, the generic layer, PII, and last the
//! run's dictionary; as it stands, through its escapes, and inside of what it encodes.
//!
//! One pass (`stops`) finds words and separators. What costs more is asked only of words that are
//! long enough to hide something. The work is bounded by the text's length, whatever the text.

use super::bits::{self, within};
use super::clean::Clean;
use super::encoding::{self, Word};
use super::escape::{self, View};
use super::keys::Known;
use super::rules::Rules;
use super::span::Span;
use super::stops::{self, Stop};
use super::structure::Structure;
use super::taint::Taint;
use super::{generic, phrases, pii};

/// Nested encodings are looked into this deep.
const DEPTH: usize = 3;
/// Decoded text may be this many times the text, and a little more; what is beyond is not judged,
/// and so not shown.
const GROWTH: usize = 6;
const GROWTH_FLOOR: usize = 64 * 1024;

/// A text that another one was made into.
struct Layer {
    text: Vec<u8>,
    parent: usize,
    place: Place,
    depth: usize,
}

/// How places of a layer lead back to its parent's.
enum Place {
    /// Byte by byte.
    View(View),
    /// All of it is one word.
    Word(usize, usize),
}

/// Scans texts for one run.
pub(super) struct Scanner<'a> {
    pub(super) rules: &'a Rules,
    pub(super) taint: &'a mut Taint,
    pub(super) clean: &'a mut Clean,
    pub(super) keys: &'a mut Known,
}

impl Scanner<'_> {
    /// Every span of the text that must go, unsorted. `known` are those that its place tells.
    pub(super) fn spans(&mut self, text: &[u8], known: Vec<Span>) -> Vec<Span> {
        if known.is_empty() && self.clean.has(text, self.taint) {
            return known;
        }
        let mut spans = known;
        let layers = self.dig(text, &mut spans);
        spans.retain(|span| !self.rules.allows(span.value(text)));
        // What is known already first: a value around a known one is not learnt beside it.
        let known = spans.len();
        self.recall(text, &layers, &mut spans);
        if spans.is_empty() {
            if layers.is_empty() {
                self.clean.keep(text, self.taint);
            }
            return spans;
        }
        let (new, old) = spans.split_at(known);
        let mut hits: Vec<_> =
            old.iter().filter(|hit| !hit.piece).map(|h| (h.start, h.end)).collect();
        hits.sort_unstable();
        let mut learnt = false;
        for span in new.iter().filter(|span| span.learn) {
            let next = hits.partition_point(|&(start, _)| start < span.start);
            // The first few that begin within it: a bounded look, so that many stay linear.
            if !hits.iter().skip(next).take(4).any(|&(_, end)| end <= span.end) {
                learnt |= self.taint.learn(span.value(text), span.sort);
            }
        }
        if learnt {
            self.recall(text, &layers, &mut spans);
        }
        spans
    }

    /// Adds what the text and its layers show of the run's dictionary.
    fn recall(&self, text: &[u8], layers: &[Layer], spans: &mut Vec<Span>) {
        if self.taint.is_empty() {
            return;
        }
        self.taint.find(text, spans);
        let mut found = vec![];
        for (index, layer) in layers.iter().enumerate() {
            self.taint.find(&layer.text, &mut found);
            spans.extend(found.drain(..).map(|span| project(layers, index, span)));
        }
    }

    /// Judges the text and what it encodes; the decoded layers, for another look.
    fn dig(&mut self, text: &[u8], spans: &mut Vec<Span>) -> Vec<Layer> {
        let mut layers: Vec<Layer> = vec![];
        let mut room = text.len().saturating_mul(GROWTH).saturating_add(GROWTH_FLOOR);
        let mut words = vec![];
        let view = escape::undo(text);
        self.plain(text, view.is_some(), spans, &mut words);
        branch(view, None, 0, &mut words, &mut layers, &mut room, spans);
        let mut next = 0;
        let mut found = vec![];
        while next < layers.len() {
            let Some(layer) = layers.get_mut(next) else { break };
            let (inner, depth) = (std::mem::take(&mut layer.text), layer.depth);
            let view = if depth < DEPTH { escape::undo(&inner) } else { None };
            self.plain(&inner, view.is_some(), &mut found, &mut words);
            for mut span in found.drain(..) {
                span.decoded.get_or_insert_with(|| {
                    inner.get(span.start..span.end).unwrap_or_default().to_vec()
                });
                spans.push(project(&layers, next, span));
            }
            if depth < DEPTH {
                branch(view, Some(next), depth, &mut words, &mut layers, &mut room, spans);
            } else {
                words.clear();
            }
            if let Some(layer) = layers.get_mut(next) {
                layer.text = inner;
            }
            next += 1;
        }
        layers
    }

    /// Judges a text as it stands, and collects its words that decode to text. Where it is looked
    /// at through its escapes as well (`viewed`), its words are left to that: there they stand whole.
    fn plain(&mut self, text: &[u8], viewed: bool, spans: &mut Vec<Span>, words: &mut Vec<Word>) {
        let rules = self.rules;
        let public = phrases::find(text, spans);
        rules.custom(text, spans);
        let mut judge = Judge { rules, text, public, decoded_to: 0, spans, words };
        let mut structure = Structure::new(self.keys);
        let commands = stops::each(text, viewed, |stop| match stop {
            Stop::Separator(at) => {
                structure.at(text, at, judge.spans);
                if rules.email() && text[at] == b'@' {
                    pii::email(text, at, judge.spans);
                }
            }
            Stop::Group(at) => pii::grouped(text, at, judge.spans),
            Stop::Word(start, end) => judge.word(start, end),
        });
        phrases::commands::find(text, &commands, spans);
    }
}

/// Adds the layers that a text gives: its words decoded, its escapes undone.
fn branch(
    view: Option<View>,
    parent: Option<usize>,
    depth: usize,
    words: &mut Vec<Word>,
    layers: &mut Vec<Layer>,
    room: &mut usize,
    spans: &mut Vec<Span>,
) {
    // One more than an index, so that the source itself is 0.
    let parent = parent.map_or(0, |index| index + 1);
    let mut add = |text: Vec<u8>, place: Place, layers: &mut Vec<Layer>, spans: &mut Vec<Span>| {
        let (start, end) = match &place {
            Place::Word(start, end) => (*start, *end),
            Place::View(_) => (0, usize::MAX),
        };
        if text.len() > *room {
            let whole = Span::new(start, end, "unmaskable").piece();
            let layer = Layer { text: vec![], parent, place: Place::Word(start, end), depth };
            layers.push(layer);
            spans.push(project(layers, layers.len() - 1, whole));
            layers.pop();
            return;
        }
        *room -= text.len();
        layers.push(Layer { text, parent, place, depth: depth + 1 });
    };
    for word in words.drain(..) {
        add(word.text, Place::Word(word.start, word.end), layers, spans);
    }
    if let Some(mut view) = view {
        let inner = std::mem::take(&mut view.text);
        add(inner, Place::View(view), layers, spans);
    }
}

/// A span of a layer as a span of the source.
fn project(layers: &[Layer], index: usize, mut span: Span) -> Span {
    let mut at = index + 1;
    while let Some(layer) = at.checked_sub(1).and_then(|index| layers.get(index)) {
        (span.start, span.end) = match &layer.place {
            Place::View(view) => view.source(span.start, span.end),
            Place::Word(start, end) => (*start, *end),
        };
        at = layer.parent;
    }
    span
}

struct Judge<'a> {
    rules: &'a Rules,
    text: &'a [u8],
    /// Stretches that are public though they look random: certificates, public keys.
    public: Vec<(usize, usize)>,
    decoded_to: usize,
    spans: &'a mut Vec<Span>,
    words: &'a mut Vec<Word>,
}

impl Judge<'_> {
    fn word(&mut self, start: usize, end: usize) {
        let Self { rules, text, public, spans, words, .. } = self;
        rules.builtin(text, start, end, spans);
        let digit = bits::any(text, (start, end), |b| within(b, b'0', b'9'));
        let letter = || bits::any(text, (start, end), |b| within(b | 0x20, b'a', b'z'));
        if digit {
            pii::word(text, start, end, spans);
        }
        let drawn =
            digit && letter() && !public.iter().any(|&(from, to)| from <= start && end <= to);
        let encoded = start >= self.decoded_to;
        if encoded {
            self.decoded_to = end;
        }
        bits::rows(text, (start, end), encoding::TAIL, encoding::is_digit, |from, to| {
            if drawn {
                generic::run(text, from, to, spans);
            }
            if encoded {
                self.decoded_to = self.decoded_to.max(encoding::run(text, from, to, words));
            }
        });
    }
}

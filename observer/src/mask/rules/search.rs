//! The search that runs the built-in rules over a word: one automaton of keywords, and a rule's
//! expression where its keyword stands.

use std::sync::{LazyLock, OnceLock};

use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::dfa::DFA;
use regex::bytes::Regex;

use super::beginnings::Beginnings;
use super::{Look, Rule, all};
use crate::mask::bits::BLOCK;
use crate::mask::random;
use crate::mask::span::Span;

/// Runs the rules that are not switched `off` over `start..end` of a text.
pub(super) fn word(off: &[bool], text: &[u8], start: usize, end: usize, spans: &mut Vec<Span>) {
    let Some(compiled) = COMPILED.as_ref() else {
        // It can't be (a test holds it); what can't be judged isn't shown.
        spans.push(Span::new(start, end, "unmaskable").piece());
        return;
    };
    let before = spans.len();
    let mut search =
        Search { compiled, off, text, start, end, covered: start, dead: 0, rests: vec![] };
    compiled.run(text, start, end, |state, after| search.hits(state, after, spans));
    if !search.rests.is_empty() {
        search.settle(before, spans);
    }
}

/// More often than once in so many bytes it isn't worth it to ask where a keyword may begin.
const OFTEN: usize = 8;

struct Compiled {
    keywords: DFA,
    start: StateID,
    /// For each keyword its rule, and how long it is.
    owner: Vec<(u16, u16)>,
    beginnings: Beginnings,
    rules: Vec<Entry>,
}

impl Compiled {
    /// Runs the automaton over the word that stands at `start..end`, where keywords may begin; tells in
    /// which states keywords end, and where.
    #[inline]
    fn run(&self, text: &[u8], start: usize, end: usize, mut hit: impl FnMut(StateID, usize)) {
        let (mut from, mut asked) = (start, 0);
        while let Some(begin) = self.beginnings.next(text, start, from, end) {
            let mut state = self.start;
            from = begin;
            asked += 1;
            while from < end {
                let b = text[from];
                state = self.step(state, b);
                // Nothing is under way but what begins with this byte: that is asked for anew, with
                // what may be a sign before it. Where the answer is yes too often nobody asks.
                let over = from >= begin + 2 && state == self.step(self.start, b);
                if over && asked * OFTEN <= from - start + BLOCK {
                    from -= usize::from(!text[from - 1].is_ascii_alphanumeric());
                    break;
                }
                from += 1;
                if self.ends_one(state) {
                    hit(state, from);
                }
            }
        }
    }

    /// The automaton's own table, asked without the bookkeeping of the common interface.
    #[inline(always)]
    fn step(&self, state: StateID, b: u8) -> StateID {
        self.keywords.next_state(Anchored::No, state, b)
    }

    #[inline(always)]
    fn ends_one(&self, state: StateID) -> bool {
        self.keywords.is_special(state) && self.keywords.is_match(state)
    }
}

struct Entry {
    rule: &'static Rule,
    regex: OnceLock<Option<Regex>>,
    /// The expression has a group: what is around it stays.
    grouped: bool,
    /// The expression has a dot of its own in it.
    dotted: bool,
    /// The fewest bytes that it matches.
    shortest: usize,
}

impl Entry {
    fn new(rule: &'static Rule) -> Self {
        let parsed = regex_syntax::ParserBuilder::new().utf8(false).build().parse(rule.regex).ok();
        let found = parsed.as_ref().map(regex_syntax::hir::Hir::properties);
        Self {
            rule,
            regex: OnceLock::new(),
            grouped: found.is_some_and(|p| p.explicit_captures_len() > 0),
            dotted: rule.regex.contains(r"}\."),
            shortest: found.and_then(|p| p.minimum_len()).unwrap_or(0),
        }
    }

    fn regex(&self) -> Option<&Regex> {
        let compile = || match self.rule.look {
            Look::Ahead => Regex::new(&format!(r"\A(?:{})", self.rule.regex)).ok(),
            Look::Around => Regex::new(self.rule.regex).ok(),
        };
        self.regex.get_or_init(compile).as_ref()
    }
}

/// Whether a keyword counts where it is joined to what stands before it: a short one is chance there;
/// a long one with a sign in it is none.
fn counts_within(look: Look, keyword: &[u8]) -> bool {
    let signs = || keyword.iter().any(|b| !b.is_ascii_alphanumeric());
    look == Look::Around || keyword.len() >= 4 && signs()
}

static COMPILED: LazyLock<Option<Compiled>> = LazyLock::new(|| {
    let (mut words, mut owner, mut rules) = (vec![], vec![], vec![]);
    for (index, rule) in all().enumerate() {
        for word in rule.keywords {
            words.push(*word);
            owner.push((index as u16, word.len() as u16));
        }
        rules.push(Entry::new(rule));
    }
    let keywords = DFA::builder().build(words).ok()?;
    let start = keywords.start_state(Anchored::No).ok()?;
    let beginnings = all().flat_map(|rule| {
        rule.keywords
            .iter()
            .map(|word| (word.as_bytes(), counts_within(rule.look, word.as_bytes())))
    });
    Some(Compiled { keywords, start, owner, beginnings: Beginnings::new(beginnings), rules })
});

struct Search<'a> {
    compiled: &'static Compiled,
    off: &'a [bool],
    text: &'a [u8],
    start: usize,
    end: usize,
    /// What is masked already.
    covered: usize,
    /// Up to here no JWT begins.
    dead: usize,
    /// Beginnings of tokens whose rule found no whole one: they count where no other rule does.
    rests: Vec<(usize, &'static str)>,
}

impl Search<'_> {
    /// Takes the keywords that end in a state, `after` the text's beginning. Few states are any's end:
    /// what asks each byte is left small.
    #[inline(never)]
    fn hits(&mut self, state: StateID, after: usize, spans: &mut Vec<Span>) {
        let automaton = &self.compiled.keywords;
        for index in 0..automaton.match_len(state) {
            let pattern = automaton.match_pattern(state, index).as_usize();
            if let Some(&(rule, len)) = self.compiled.owner.get(pattern) {
                let len = usize::from(len);
                self.hit(usize::from(rule), after - len, len, spans);
            }
        }
    }

    fn hit(&mut self, rule: usize, at: usize, len: usize, spans: &mut Vec<Span>) {
        let Some(entry) = self.compiled.rules.get(rule) else { return };
        if at < self.covered || self.off.get(rule).is_some_and(|&off| off) {
            return;
        }
        let joined = at > self.start && self.text[at - 1].is_ascii_alphanumeric();
        if joined && !counts_within(entry.rule.look, &self.text[at..at + len]) {
            return;
        }
        if entry.rule.sort == "jwt" {
            return self.jwt(at, spans);
        }
        match entry.rule.look {
            Look::Around => self.around(entry, at, len, spans),
            Look::Ahead => {
                if self.ahead(entry, at, len, spans) {
                    return;
                }
                self.rest(entry.rule.sort, at, len);
            }
        }
    }

    fn around(&mut self, entry: &Entry, at: usize, len: usize, spans: &mut Vec<Span>) {
        /// No token reaches further from what names it.
        const REACH: usize = 120;
        if self.end - self.start < entry.shortest {
            return;
        }
        // Where the word begins far before, so that a boundary in the middle is not taken for one.
        let from = self.start.max(at.saturating_sub(REACH));
        let to = self.end.min(at + len + REACH);
        // Most of these have a dot, which a word of base64 never has.
        if entry.dotted && memchr::memchr(b'.', &self.text[from..to]).is_none() {
            return;
        }
        let Some(regex) = entry.regex() else { return };
        let secret = regex.captures(&self.text[from..to]).and_then(|c| c.get(1).or(c.get(0)));
        if let Some(secret) = secret {
            let (from, to) = (from + secret.start(), from + secret.end());
            let more = self.text[to..].iter().take_while(|&&b| is_token(b)).count();
            spans.push(Span::new(from, to + more, entry.rule.sort));
            self.covered = to + more;
        }
    }

    fn ahead(&mut self, entry: &Entry, at: usize, len: usize, spans: &mut Vec<Span>) -> bool {
        // A rule with a group may look at what is around the word.
        let limit = if entry.grouped { self.text.len() } else { self.end };
        if limit - at < entry.shortest {
            return false;
        }
        let Some(regex) = entry.regex() else { return false };
        let text = &self.text[at..limit.min(at + 4096)];
        let secret = if entry.grouped {
            regex.captures(text).and_then(|found| found.get(1))
        } else {
            regex.find(text)
        };
        let Some(secret) = secret else { return false };
        let (from, to) = (at + secret.start(), at + secret.end());
        // A name may have the form of a token: `sk-learn-contrib-something`.
        let own = self.text.get((at + len).max(from)..to).unwrap_or_default();
        let cased = own.iter().any(u8::is_ascii_lowercase);
        let name = cased && !own.iter().any(u8::is_ascii_digit) && random::score(own) >= 0;
        if name || own.len() >= 24 && is_monotonous(own) {
            return false;
        }
        // A token that is longer than its documents say loses its tail as well.
        let more = self.text[to..].iter().take_while(|&&b| is_token(b)).count();
        spans.push(Span::new(from, to + more, entry.rule.sort));
        self.covered = to + more;
        true
    }

    /// What a cut left of a token: its beginning is there, and what follows looks like no name.
    fn rest(&mut self, sort: &'static str, at: usize, len: usize) {
        /// So much of it is looked at.
        const GLANCE: usize = 48;
        let keyword = &self.text[at..at + len];
        let signs = |b: &u8| matches!(b, b'_' | b'-' | b'.');
        let telling = len >= 3 && keyword.last().is_some_and(signs)
            || len >= 4 && keyword.iter().all(u8::is_ascii_uppercase);
        let joined = at > 0 && self.text[at - 1].is_ascii_alphanumeric();
        if !telling || joined || self.rests.last().is_some_and(|&(last, _)| at < last + GLANCE) {
            return;
        }
        let from = at + len;
        let tail = self.text[from..].iter().take(GLANCE).take_while(|&&b| is_token(b)).count();
        let value = &self.text[from..from + tail];
        let digit = value.iter().any(u8::is_ascii_digit);
        let upper =
            value.iter().any(u8::is_ascii_uppercase) && value.iter().any(u8::is_ascii_lowercase);
        let last = from + tail == self.text.len();
        // Hex reads like a name by its letters alone.
        let last_part = value.rsplit(|b| matches!(b, b'_' | b'-')).next().unwrap_or_default();
        let hex = last_part.len() >= 6
            && last_part.iter().all(u8::is_ascii_hexdigit)
            && last_part.iter().filter(|b| b.is_ascii_digit()).count() >= 2;
        let odd = hex
            || digit && (upper || random::score(value) < 0)
            || upper && random::is_random(value);
        let enough = if last { tail + len >= 7 } else { tail >= 6 && digit };
        if enough && odd {
            self.rests.push((at, sort));
        }
    }

    /// Adds the beginnings of tokens that stand in no token that was found.
    fn settle(self, before: usize, spans: &mut Vec<Span>) {
        let here = spans.iter().skip(before);
        let mut found: Vec<(usize, usize)> = here.map(|s| (s.start, s.end)).collect();
        found.sort_unstable();
        for (at, sort) in self.rests {
            let begun = found.partition_point(|&(start, _)| start <= at);
            if begun > 0 && found.get(begun - 1).is_some_and(|&(_, end)| at < end) {
                continue;
            }
            let len = self.text[at..].iter().take_while(|&&b| is_token(b) || b == b'.').count();
            let mut span = Span::new(at, at + len, sort).by("token-cut");
            span.learn = false;
            spans.push(span);
        }
    }

    /// A JWT from its header on, however much of it is there. A run of characters without a dot is
    /// none, and is looked at once.
    fn jwt(&mut self, at: usize, spans: &mut Vec<Span>) {
        if at < self.dead {
            return;
        }
        let part = |from: usize| {
            let rest = self.text.get(from..).unwrap_or_default();
            rest.iter()
                .take_while(|&&b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
                .count()
        };
        let head = part(at);
        self.dead = at + head;
        let rest = &self.text[at + head..];
        if head < 12 || rest.first() != Some(&b'.') {
            return;
        }
        let body = part(at + head + 1);
        let whole = rest.iter().take_while(|&&b| is_token(b) || b == b'.').count();
        if body < 4 && at + head + 1 + body < self.text.len() {
            return;
        }
        let end = at + head + whole;
        spans.push(Span::new(at, end, "jwt"));
        self.covered = end;
        self.dead = end;
    }
}

/// Whether a long value is made of a few different bytes: a table, not a token.
fn is_monotonous(value: &[u8]) -> bool {
    let mut seen = [false; 256];
    let mut different = 0;
    for &b in value.iter().take(64) {
        if let Some(seen) = seen.get_mut(usize::from(b)) {
            different += usize::from(!*seen);
            *seen = true;
        }
    }
    different < 8
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')
}

/// Whether the built-in rules compile; a test holds it.
#[cfg(test)]
pub(in crate::mask) fn ready() -> Result<(), String> {
    let compiled = COMPILED.as_ref().ok_or("no automaton")?;
    let broken = compiled.rules.iter().find(|entry| entry.regex().is_none());
    broken.map_or(Ok(()), |entry| Err(format!("{}: {}", entry.rule.sort, entry.rule.regex)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mask::stops;

    #[test]
    fn a_token_is_found_wherever_it_stands_in_a_long_word() {
        const LEN: usize = 400;
        let is_found = |token: &[u8], at: usize| {
            let mut text = vec![b'.'; LEN];
            text[at..at + token.len()].copy_from_slice(token);
            let mut spans = vec![];
            word(&[], &text, 0, LEN, &mut spans);
            spans.iter().any(|span| span.start < at + token.len() && at < span.end)
        };
        let mut tried = 0;
        for rule in all() {
            let token = rule.example.concat().into_bytes();
            // The others look at what stands around a word.
            if rule.look != Look::Ahead || token.len() > LEN / 2 || !is_found(&token, 0) {
                continue;
            }
            tried += 1;
            for at in 0..=LEN - token.len() {
                assert!(is_found(&token, at), "{} at {at}", rule.sort);
            }
        }
        assert!(tried > 100, "{tried}");
    }
    /// Each keyword in a word that counts where it stands, by the automaton alone or where one may begin.
    fn keywords(text: &[u8], asked: bool) -> Vec<(usize, usize, usize)> {
        let compiled = COMPILED.as_ref().unwrap();
        let mut out = vec![];
        let mut hit = |state, after: usize| {
            for index in 0..compiled.keywords.match_len(state) {
                let pattern = compiled.keywords.match_pattern(state, index).as_usize();
                let (rule, len) = compiled.owner[pattern];
                let at = after - usize::from(len);
                let joined = at > 0 && text[at - 1].is_ascii_alphanumeric();
                let look = compiled.rules[usize::from(rule)].rule.look;
                if !joined || counts_within(look, &text[at..after]) {
                    out.push((pattern, at, after));
                }
            }
        };
        if asked {
            compiled.run(text, 0, text.len(), hit);
        } else {
            let mut state = compiled.start;
            for (n, &b) in text.iter().enumerate() {
                state = compiled.step(state, b);
                if compiled.ends_one(state) {
                    hit(state, n + 1);
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn no_keyword_stands_where_none_may_begin(
            pieces in prop::collection::vec((any::<prop::sample::Index>(), 0..9usize, "[a-zA-Z0-9_/.+-]{0,9}"), 0..30),
        ) {
            let words: Vec<&str> = all().flat_map(|rule| rule.keywords).copied().collect();
            let mut text = vec![];
            for (index, cut, filler) in &pieces {
                let word = index.get(&words).as_bytes();
                // Whole ones, beginnings and ends, and something between them.
                text.extend(match cut {
                    0..4 => word,
                    4 => &word[..word.len() - 1],
                    5 => &word[1..],
                    6 => &word[..word.len().min(3)],
                    _ => filler.as_bytes(),
                });
            }
            text.retain(|&b| stops::is_of_word(b));
            prop_assert_eq!(keywords(&text, true), keywords(&text, false));
        }
    }
}

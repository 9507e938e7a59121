//! URLs that are themselves what grants: webhooks, inlets of logs, deploy hooks. Who knows one may
//! use it, so what is drawn in its path goes, and its query's keys.

use super::needles::{Needle, Needles};
use crate::mask::random;
use crate::mask::span::Span;

/// Longer ones are read to here.
const LONGEST: usize = 1024;

/// Looks for all of them.
pub(super) fn find(text: &[u8], needles: &Needles, spans: &mut Vec<Span>) {
    let mut read = 0;
    for needle in [
        Needle::Hook,
        Needle::Ping,
        Needle::Integration,
        Needle::Inputs,
        Needle::Input,
        Needle::Deploy,
    ] {
        for &at in needles.of(needle) {
            if needle == Needle::Hook && at < read {
                continue; // `webhooks/…/hook`: read already
            }
            if is_in_url(text, at) {
                let end = url(text, at, spans);
                read = if needle == Needle::Hook { end } else { read };
            }
        }
    }
    // InfluxDB's `?u=me&p=X`.
    for &at in needles.of(Needle::Query) {
        let before = &text[at.saturating_sub(64)..at];
        if before.windows(3).any(|w| matches!(w, b"?u=" | b"&u=")) {
            let len = field(&text[at + 3..]);
            push(at + 3, at + 3 + len, spans);
        }
    }
    for &at in needles.of(Needle::Hmac) {
        let rest = &text[at + 6..];
        let len = rest.iter().take(LONGEST).take_while(|b| b.is_ascii_hexdigit()).count();
        push(at + 6, at + 6 + len, spans);
    }
}

/// Whether a scheme stands before it in its word.
fn is_in_url(text: &[u8], at: usize) -> bool {
    let before = &text[at.saturating_sub(256)..at];
    let len = before.iter().rev().take_while(|b| !ends(**b)).count();
    before[before.len() - len..].windows(3).any(|w| w == b"://")
}

fn ends(b: u8) -> bool {
    b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'`' | b'<' | b'>' | b'\\' | b')')
}

/// What of a URL goes from a place of its path on; where it ends.
fn url(text: &[u8], at: usize, spans: &mut Vec<Span>) -> usize {
    let rest = &text[at..text.len().min(at + LONGEST)];
    let len = rest.iter().take_while(|b| !ends(**b)).count();
    let whole = &rest[..len];
    let path = whole.iter().position(|b| matches!(b, b'?' | b'#')).unwrap_or(len);
    let mut start = 0;
    for segment in whole[..path].split(|&b| b == b'/') {
        if start > 0 && is_drawn(segment) {
            push(at + start, at + start + segment.len(), spans);
        }
        start += segment.len() + 1;
    }
    let mut start = path + 1;
    for pair in whole.get(start..).unwrap_or_default().split(|&b| b == b'&') {
        let sign = pair.iter().position(|&b| b == b'=').unwrap_or(pair.len());
        let named = matches!(&pair[..sign], b"key" | b"token" | b"code" | b"s" | b"k" | b"auth");
        if named && pair.len() > sign + 8 {
            push(at + start + sign + 1, at + start + pair.len(), spans);
        }
        start += pair.len() + 1;
    }
    at + len
}

/// Whether a part of a path looks drawn: a UUID, hex, letters with digits.
fn is_drawn(segment: &[u8]) -> bool {
    let digits = segment.iter().filter(|b| b.is_ascii_digit()).count();
    let letters = segment.iter().filter(|b| b.is_ascii_alphabetic()).count();
    let plain = segment.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    plain
        && (segment.len() >= 8 && digits > 0 && letters > 0
            || segment.len() >= 8 && letters == segment.len() && random::is_random(segment))
}

fn field(rest: &[u8]) -> usize {
    rest.iter().take(LONGEST).take_while(|b| !ends(**b) && !matches!(b, b'&' | b'#')).count()
}

fn push(start: usize, end: usize, spans: &mut Vec<Span>) {
    if start < end {
        spans.push(Span::new(start, end, "secret").by("hook"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        let (text_of, mut spans) = (text.as_bytes(), vec![]);
        find(text_of, &Needles::find(text_of), &mut spans);
        spans.iter().map(|span| &text[span.start..span.end]).collect()
    }

    #[test]
    fn what_is_drawn_in_a_webhooks_url_goes_and_its_words_stay() {
        assert_eq!(
            found("https://mm.example.org/hooks/k3j9xq0ftz8lmw2avb7ypr4s6h"),
            ["k3j9xq0ftz8lmw2avb7ypr4s6h"]
        );
        assert_eq!(found("https://a/webhook/send?key=12ab34cd56ef&x=1 more"), ["12ab34cd56ef"]);
        assert_eq!(found("http://i:8086/query?u=root&p=hunter2"), ["hunter2"]);
    }

    #[test]
    fn what_only_speaks_of_hooks_is_left_alone() {
        for text in [
            "https://docs.example.org/webhooks/about-securing-webhooks",
            "import { useWebhook2 } from \"hooks/useWebhook2\"",
            "https://example.org/react/hooks/reference/useEffect",
            "a webhook/1234abcd",
            "https://h/list?a=1&p=2",
        ] {
            assert!(found(text).is_empty(), "{text}: {:?}", found(text));
        }
    }
}

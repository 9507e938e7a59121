//! The generic layer: words that look drawn at random and that nothing explains.
//!
//! What explains randomness is on the allow-list: digests, ids, public keys, embedded images.

use super::random;
use super::span::Span;

/// Shorter words are ids and versions more often than secrets.
const SHORTEST: usize = 20;
/// With `+` and `/` among them, digits of base64 are of a key from here on.
const SHORTEST_64: usize = 32;
/// Longer ones are embedded files and not tokens.
const LONGEST: usize = 400;

/// What stands right before a value that is public.
const BEFORE: &[&[u8]] = &[
    b"sha1-", b"sha256-", b"sha384-", b"sha512-", b"sha256:", b"sha512:", b"SHA256:", b"sha1:",
    b"md5:", b"h1:", b"base64,", b"md5-", b"rev=", b"commit/", b"tree/", b"blob/", b"etag=",
    b"nonce-",
];
/// Beginnings of ids that services show in the open.
const IDS: &[&[u8]] = &[
    b"toolu_",
    b"msg_",
    b"call_",
    b"chatcmpl-",
    b"cmpl-",
    b"resp_",
    b"req_",
    b"run_",
    b"thread_",
    b"asst_",
    b"file-",
    b"file_",
    b"step_",
    b"vs_",
    b"batch_",
    b"fc_",
    b"rs_",
    b"gen-",
    b"srvtoolu_",
    b"container_",
    b"evt_",
    b"cus_",
    b"prod_",
    b"price_",
    b"sub_",
    b"in_",
    b"pm_",
    b"acct_",
    b"txn_",
    b"prj_",
    b"dpl_",
    b"AAAAB3NzaC1",
    b"AAAAC3NzaC1",
    b"AAAAE2VjZHNh",
    b"AAAAGnNrLXNzaC",
    b"AAAAInNrLWVj",
    b"UklGR",
    b"iVBORw0KGgo",
    b"R0lGOD",
    b"/9j/4AAQ",
    b"d09GM",
    b"AGFzbQ",
    b"PHN2Zy",
    b"MIIB",
    b"MIIC",
    b"MIID",
    b"MIIE",
    b"MIIF",
    b"LS0tLS1CRUdJTiBDRVJ",
    b"LS0tLS1CRUdJTiBQVUJ",
    b"chunk-",
    b"pk_live_",
    b"pk_test_",
    b"phc_",
    b"xn--",
];

/// Looks at a run of a word that could be a token, in any alphabet.
pub(super) fn run(text: &[u8], start: usize, end: usize, spans: &mut Vec<Span>) {
    let run_ = &text[start..end];
    if !(SHORTEST..=LONGEST).contains(&run_.len())
        || is_explained(text, start)
        || is_wrapped(text, start, end)
    {
        return;
    }
    let base64 = run_.iter().any(|b| matches!(b, b'+' | b'/'));
    if base64 && run_.len() >= SHORTEST_64 && is_key64(run_) {
        return push(text, start, end, spans);
    }
    // Parts between slashes and pluses, and of those the parts that are no UUID.
    let mut at = start;
    for part in run_.split(|b| matches!(b, b'+' | b'/')) {
        if part.len() >= SHORTEST && is_token(part) && !is_explained(text, at) {
            push(text, at, at + part.len(), spans);
        }
        at += part.len() + 1;
    }
}

fn push(text: &[u8], start: usize, end: usize, spans: &mut Vec<Span>) {
    // Padding, and a part beyond a dot, belong to it.
    let rest = text.get(end..).unwrap_or_default();
    let padding = rest.iter().take(2).take_while(|&&b| b == b'=').count();
    spans.push(Span::new(start, end + padding, "generic"));
}

/// Letters of both cases or a mixture with digits, in no order that a name has.
fn is_token(part: &[u8]) -> bool {
    let digits = part.iter().filter(|b| b.is_ascii_digit()).count();
    let letters = part.iter().filter(|b| b.is_ascii_alphabetic()).count();
    if digits == 0 || letters < 4 || is_hex(part) || is_id(part) {
        return false;
    }
    // Its longest piece between separators is what is random: `my-service-9f8JqWz1xKpL0vRt5YbN`.
    let piece = part.split(|b| matches!(b, b'_' | b'-')).max_by_key(|piece| piece.len());
    let piece = piece.unwrap_or(part);
    if piece.len() >= 16 {
        return !is_hex(piece) && has_digit(piece) && random::is_random(piece);
    }
    // Base64 of the other alphabet has separators anywhere.
    random::score(part) < random::RANDOM * 2 && has_upper(part) && has_lower(part)
}

/// A word of base64 with `+` or `/` in it: of both cases, with digits, and no path.
fn is_key64(run: &[u8]) -> bool {
    let dashes = run.iter().any(|b| matches!(b, b'_' | b'-'));
    let named = run
        .split(|b| matches!(b, b'/' | b'+'))
        .any(|part| part.len() >= 5 && !has_digit(part) && random::score(part) > 0);
    !dashes
        && !named
        && has_upper(run)
        && has_lower(run)
        && has_digit(run)
        && random::score(run) < random::RANDOM * 2
}

/// Whether it is a line of an embedded file: as long as such lines are, with another beside it.
fn is_wrapped(text: &[u8], start: usize, end: usize) -> bool {
    let digits = |line: &[u8]| {
        let line = line.trim_ascii();
        line.len() >= 8 && line.iter().all(|b| b.is_ascii_alphanumeric() || b"+/=_-".contains(b))
    };
    let (before, after) = (&text[..start], text.get(end..).unwrap_or_default());
    let above = before.strip_suffix(b"\n").map(|before| {
        let from = before.iter().rev().take(80).position(|&b| b == b'\n');
        before.get(before.len() - from.unwrap_or(before.len().min(80))..).unwrap_or_default()
    });
    let below = after.strip_prefix(b"\r\n").or(after.strip_prefix(b"\n")).map(|after| {
        let to = after.iter().take(80).position(|&b| b == b'\n');
        after.get(..to.unwrap_or(after.len().min(80))).unwrap_or_default()
    });
    end - start >= 60 && (above.is_some_and(digits) || below.is_some_and(digits))
}

/// Whether what stands around a word says that it is public.
fn is_explained(text: &[u8], start: usize) -> bool {
    let before = &text[start.saturating_sub(16)..start];
    let rest = &text[start..];
    matches!(before.last(), Some(b'-' | b':' | b',' | b'=' | b'/'))
        && BEFORE.iter().any(|known| before.ends_with(known))
        || may_begin(rest) && BEFORE.iter().chain(IDS).any(|known| rest.starts_with(known))
}

fn is_id(word: &[u8]) -> bool {
    may_begin(word) && IDS.iter().any(|known| word.starts_with(known))
}

/// Whether a word begins as one of the lists: most words begin as none.
fn may_begin(word: &[u8]) -> bool {
    word.first_chunk().is_some_and(|&two| BEGINNINGS[slot(two)])
}

const BEGINNINGS: [bool; 1024] = {
    let mut out = [false; 1024];
    let lists = [BEFORE, IDS];
    let (mut list, mut at) = (0, 0);
    while list < lists.len() {
        if at == lists[list].len() {
            (list, at) = (list + 1, 0);
            continue;
        }
        out[slot([lists[list][at][0], lists[list][at][1]])] = true;
        at += 1;
    }
    out
};

const fn slot([first, second]: [u8; 2]) -> usize {
    (first as usize * 31 + second as usize) % 1024
}

/// Digests, UUIDs, trace ids.
fn is_hex(word: &[u8]) -> bool {
    word.iter().all(|b| b.is_ascii_hexdigit() || *b == b'-')
}

fn has_digit(word: &[u8]) -> bool {
    word.iter().any(u8::is_ascii_digit)
}

fn has_upper(word: &[u8]) -> bool {
    word.iter().any(u8::is_ascii_uppercase)
}

fn has_lower(word: &[u8]) -> bool {
    word.iter().any(u8::is_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::super::{bits, encoding};
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let mut spans = vec![];
        for part in text.split(' ') {
            let start = part.as_ptr() as usize - text.as_ptr() as usize;
            let range = (start, start + part.len());
            let each = |from, to| run(text.as_bytes(), from, to, &mut spans);
            bits::rows(text.as_bytes(), range, SHORTEST, encoding::is_digit, each);
        }
        spans.iter().map(|s| String::from_utf8_lossy(s.of(text.as_bytes())).into_owned()).collect()
    }

    #[test]
    fn what_stands_before_a_public_value_ends_with_a_sign_that_is_looked_for() {
        for known in BEFORE {
            let text = [*known, b"k3J9xQ0fTz8LmW2aVb7YpRs4"].concat();
            assert!(is_explained(&text, known.len()) && is_explained(&text, 0), "{known:?}");
        }
    }

    #[test]
    fn what_nothing_explains_is_found() {
        for token in [
            "acme_live_9f8JqWz1xKpL0vRt5YbN3mHd",
            "k3J9xQ0fTz8LmW2aVb7YpRs4",
            concat!("wJalrXUtnFEMI/K7MDENG/", "bPxRfiCY9zQ7vT2mXp"),
            "x7k2p9q4m1z8v3w6r5t0n2b4",
        ] {
            assert!(!found(token).is_empty(), "{token}");
        }
    }

    #[test]
    fn what_is_explained_is_not() {
        for text in [
            "0123456789abcdef0123456789abcdef01234567",
            "550e8400-e29b-41d4-a716-446655440000",
            "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
            "h1:4f5oXYA6OhMSKRzYyzTrRBqiuZl5Bp1NnaL0FZMIC6U=",
            "toolu_01T1x1fJ34qAmk2tNTrN7Up6",
            "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
            "/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30",
            "org.apache.commons.lang3.StringUtils",
            "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
            "https://example.com/assets/main-4f8a9c2b.js",
        ] {
            assert_eq!(found(text), Vec::<String>::new(), "{text}");
        }
    }
}

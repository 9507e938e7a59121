//! Which keys name a secret: `GITHUB_TOKEN`, `dbPassword`, `--api-key`, `x-auth-key`.
//!
//! It is asked at each `=` and `:` of everything an agent shows, so it allocates nothing.

mod words;

use std::sync::LazyLock;

/// How surely a key's value is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// It is none.
    Plain,
    /// It is one if it looks drawn at random.
    Weak,
    /// It is one.
    Strong,
}

/// The longest key that is looked at.
pub(super) const LONGEST: usize = 96;
/// More words than this no key has.
const WORDS: usize = 12;

/// What was said of short keys: the same few come again and again.
#[derive(Default)]
pub(super) struct Known(Vec<Option<(u128, Kind)>>);

impl Known {
    /// So many are remembered.
    const PLACES: usize = 512;

    /// How surely the key's value is a secret.
    pub(super) fn kind(&mut self, key: &[u8]) -> Kind {
        let Some(name) = name(key) else { return kind(key) };
        let folded = (name as u64) ^ (name >> 64) as u64;
        let mixed = folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        let slot = (mixed as usize % Self::PLACES) & !1;
        if self.0.is_empty() {
            self.0.resize(Self::PLACES, None);
        }
        // Two for each place, so that two keys that come by turns don't drive each other out.
        let Some([first, second]) = self.0.get_mut(slot..slot + 2) else { return kind(key) };
        match (*first, *second) {
            (Some((known, kind)), _) | (_, Some((known, kind))) if known == name => kind,
            _ => {
                let kind = kind(key);
                (*second, *first) = (*first, Some((name, kind)));
                kind
            }
        }
    }
}

/// A key of up to fifteen bytes as a number, with how long it is in its highest byte.
fn name(key: &[u8]) -> Option<u128> {
    let len = key.len();
    // The first of them and the last may be the same ones.
    let ends = |first: u64, last: u64, size: usize| {
        u128::from(first) | u128::from(last) << (8 * (len - size))
    };
    let bytes = match (key.first_chunk(), key.last_chunk(), key.first_chunk(), key.last_chunk()) {
        _ if len > 15 => return None,
        (Some(first), Some(last), ..) => {
            ends(u64::from_le_bytes(*first), u64::from_le_bytes(*last), 8)
        }
        (_, _, Some(first), Some(last)) => {
            ends(u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into(), 4)
        }
        _ => key.iter().rev().fold(0, |all, &b| all << 8 | u128::from(b)),
    };
    Some(bytes | (len as u128) << 120)
}

/// How surely the key's value is a secret.
pub(super) fn kind(key: &[u8]) -> Kind {
    let key = key.get(key.len().saturating_sub(LONGEST)..).unwrap_or(key);
    let mut lower = [0u8; LONGEST];
    let mut ends = [0usize; WORDS];
    let (used, words) = split(key, &mut lower, &mut ends);
    let joined = &lower[..used];
    if joined == b"sessionid" || joined == b"sessid" {
        return Kind::Strong;
    }
    // What all words are together, what the last one is, and whether any leaves no doubt.
    let (mut all, mut last, mut sure) = (0, 0, false);
    let mut start = 0;
    for &end in ends.iter().take(words) {
        let word = &lower[start..end];
        let pair = last & BEFORE_KEY != 0 && matches!(word, b"key" | b"keys");
        last = lists(word);
        all |= last;
        // `author`, `tokenizer` and `passenger` are words of their own; a glued `mytoken` is not.
        sure |= pair || is_glued(word);
        start = end;
    }
    if last & ABOUT != 0 {
        return Kind::Plain;
    }
    if sure || (all | lists(joined)) & STRONG != 0 {
        return Kind::Strong;
    }
    if all & DIGEST != 0 {
        return Kind::Plain;
    }
    if all & WEAK != 0 || joined.ends_with(b"key") { Kind::Weak } else { Kind::Plain }
}

/// Whether a key's value is surely a secret.
pub(super) fn is_secret(key: &[u8]) -> bool {
    kind(key) == Kind::Strong
}

/// Whether a key says that its value is where a secret is, or of what kind.
pub(super) fn is_about(key: &[u8]) -> bool {
    let key = key.get(key.len().saturating_sub(LONGEST)..).unwrap_or(key);
    let mut lower = [0u8; LONGEST];
    let mut ends = [0usize; WORDS];
    let (used, words) = split(key, &mut lower, &mut ends);
    let start = words.checked_sub(2).and_then(|i| ends.get(i)).copied().unwrap_or(0);
    lower.get(start..used).is_some_and(|last| lists(last) & ABOUT != 0)
}

/// A word that ends with one that leaves no doubt: `mypassword`, `bottoken`.
fn is_glued(word: &[u8]) -> bool {
    const TAILS: &[&[u8]] = &[
        b"password",
        b"passwd",
        b"passphrase",
        b"secret",
        b"apikey",
        b"token",
        b"secretkey",
        b"privatekey",
        b"accesskey",
        b"authkey",
    ];
    // Most words end otherwise.
    word.len() > 5
        && word.last().is_some_and(|b| b"detyn".contains(b))
        && TAILS.iter().any(|tail| word.ends_with(tail))
}

const STRONG: u8 = 1;
const BEFORE_KEY: u8 = 2;
const WEAK: u8 = 4;
const ABOUT: u8 = 8;
const DIGEST: u8 = 16;

/// The lists that a word is in.
fn lists(word: &[u8]) -> u8 {
    if !MAYBE.get(slot(word)).is_some_and(|&maybe| maybe) {
        return 0;
    }
    let of = |(list, bit): &(&[&str], u8)| {
        if list.iter().any(|item| item.as_bytes() == word) { *bit } else { 0 }
    };
    LISTS.iter().map(of).fold(0, |all, bit| all | bit)
}

const LISTS: [(&[&str], u8); 5] = [
    (words::STRONG, STRONG),
    (words::BEFORE_KEY, BEFORE_KEY),
    (words::WEAK, WEAK),
    (words::ABOUT, ABOUT),
    (words::DIGEST, DIGEST),
];

/// Whether a word with this slot is in any list: most words of a text are in none.
static MAYBE: LazyLock<[bool; 4096]> = LazyLock::new(|| {
    let mut out = [false; 4096];
    for word in LISTS.iter().flat_map(|(list, _)| *list) {
        if let Some(maybe) = out.get_mut(slot(word.as_bytes())) {
            *maybe = true;
        }
    }
    out
});

fn slot(word: &[u8]) -> usize {
    let (Some(&first), Some(&last)) = (word.first(), word.last()) else { return 0 };
    let middle = word.get(word.len() / 2).copied().unwrap_or(0);
    let mixed = usize::from(first) * 67 + usize::from(last) * 259 + usize::from(middle) * 1021;
    (mixed + word.len() * 13) % 4096
}

/// The lower-case words of a key, split at separators and humps, into one buffer; how much of it
/// is used, and how many words there are.
fn split(key: &[u8], lower: &mut [u8; LONGEST], ends: &mut [usize; WORDS]) -> (usize, usize) {
    if key.len() <= LONGEST && key.iter().all(u8::is_ascii_lowercase) {
        // One word, as most are.
        lower[..key.len()].copy_from_slice(key);
        ends[0] = key.len();
        return (key.len(), usize::from(!key.is_empty()));
    }
    let (mut used, mut words, mut open) = (0, 0, false);
    let mut before = 0u8;
    for (at, &b) in key.iter().enumerate() {
        let letter = b.is_ascii_alphanumeric();
        // `APIKey` is `api key`, `dbPassword` is `db password`.
        let next_lower = key.get(at + 1).is_some_and(u8::is_ascii_lowercase);
        let hump = b.is_ascii_uppercase()
            && (before.is_ascii_lowercase()
                || before.is_ascii_digit()
                || before.is_ascii_uppercase() && next_lower);
        if open && (!letter || hump) && words < WORDS {
            ends[words] = used;
            words += 1;
            open = false;
        }
        if letter && words < WORDS {
            lower[used] = b.to_ascii_lowercase();
            used += 1;
            open = true;
        }
        before = b;
    }
    if open && words < WORDS {
        ends[words] = used;
        words += 1;
    }
    (used, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_keys_have_one_name() {
        let text = b"key\0key\0\0keykeykey_id-key";
        let mut names = std::collections::BTreeMap::new();
        for start in 0..text.len() {
            for key in (start..=text.len()).map(|end| &text[start..end]) {
                let Some(name) = name(key) else {
                    assert!(key.len() > 15);
                    continue;
                };
                assert_eq!(*names.entry(name).or_insert(key), key);
            }
        }
        assert!(names.len() > 100);
    }

    #[test]
    fn keys_of_secrets() {
        for key in [
            "password",
            "DB_PASSWORD",
            "dbPassword",
            "--api-key",
            "x-auth-key",
            "GITHUB_TOKEN",
            "APIKey",
            "aws_secret_access_key",
            "//registry/:_authToken",
            "sessionid",
            "mytoken",
            "client_secret",
            "AccountKey",
            "stripe.api_key",
            "rootpassword",
            "PGPASSWORD",
        ] {
            assert_eq!(kind(key.as_bytes()), Kind::Strong, "{key}");
        }
    }

    #[test]
    fn keys_that_are_about_one() {
        for key in [
            "password_file",
            "token_type",
            "author",
            "tokenizer",
            "keyboard",
            "max-tokens-limit",
            "passenger",
            "commit_hash",
            "sha256",
            "git-key-hash",
            "name",
            "monkey_id",
            "",
        ] {
            assert_eq!(kind(key.as_bytes()), Kind::Plain, "{key}");
        }
    }

    #[test]
    fn keys_that_may_name_one() {
        for key in ["key", "acme-key", "sessionKey", "salt", "authzcode_state"] {
            assert!(kind(key.as_bytes()) >= Kind::Weak, "{key}");
        }
    }
}

//! Which keys name a secret: `GITHUB_TOKEN`, `dbPassword`, `--api-key`, `x-auth-key`.
//!
//! It is asked at each `=` and `:` of everything an agent shows, so it allocates nothing.

mod words;

use std::sync::LazyLock;

use words::{ABOUT, BEFORE_KEY, DIGEST, STRONG, WEAK};

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
        let mut bytes = [0; 16];
        let Some(place) = bytes.get_mut(..key.len()).filter(|_| key.len() < 16) else {
            return kind(key);
        };
        place.copy_from_slice(key);
        bytes[15] = key.len() as u8;
        let name = u128::from_le_bytes(bytes);
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

/// How surely the key's value is a secret.
pub(super) fn kind(key: &[u8]) -> Kind {
    let key = key.get(key.len().saturating_sub(LONGEST)..).unwrap_or(key);
    let mut lower = [0u8; LONGEST];
    let mut ends = [0usize; WORDS];
    let (used, words) = split(key, &mut lower, &mut ends);
    let word = |i: usize| {
        let start = if i == 0 { 0 } else { ends[i - 1] };
        &lower[start..ends[i]]
    };
    let Some(last) = words.checked_sub(1).map(word) else { return Kind::Plain };
    let joined = &lower[..used];
    if joined == b"sessionid" || joined == b"sessid" {
        return Kind::Strong;
    }
    if has(ABOUT, last) {
        return Kind::Plain;
    }
    let pair =
        |i: usize| matches!(word(i), b"key" | b"keys") && i > 0 && has(BEFORE_KEY, word(i - 1));
    // `author`, `tokenizer` and `passenger` are words of their own; a glued `mytoken` is not.
    if (0..words).any(|i| has(STRONG, word(i)) || pair(i) || is_glued(word(i)))
        || has(STRONG, joined)
    {
        return Kind::Strong;
    }
    if (0..words).any(|i| has(DIGEST, word(i))) {
        return Kind::Plain;
    }
    if (0..words).any(|i| has(WEAK, word(i))) || joined.ends_with(b"key") {
        return Kind::Weak;
    }
    Kind::Plain
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
    lower.get(start..used).is_some_and(|last| has(ABOUT, last))
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
    word.len() > 5 && TAILS.iter().any(|tail| word.ends_with(tail))
}

fn has(list: &[&str], word: &[u8]) -> bool {
    MAYBE.get(slot(word)).is_some_and(|&maybe| maybe)
        && list.iter().any(|item| item.as_bytes() == word)
}

/// Whether a word with this slot is in any list: most words of a text are in none.
static MAYBE: LazyLock<[bool; 4096]> = LazyLock::new(|| {
    let mut out = [false; 4096];
    for word in [STRONG, BEFORE_KEY, WEAK, ABOUT, DIGEST].into_iter().flatten() {
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

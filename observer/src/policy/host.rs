//! Names of hosts as rules write them, and as the kernel keys them.

use std::fmt;

/// The most bytes of a name as text, without the dot of the root (RFC 1035, 2.3.4: 255 on the
/// wire, which are two more).
pub const MAX_NAME: usize = 253;
/// The longest label (as above).
const MAX_LABEL: usize = 63;

/// A name, or all names below one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Host {
    /// The name: lower-case labels with dots between, no dot at its end.
    pub(super) name: String,
    /// Whether the names below it are meant (`*.name`), and not itself.
    pub(super) below: bool,
}

impl Host {
    /// Whether a name is meant; `name` is lower-case, without a dot at its end.
    pub(super) fn contains(&self, name: &[u8]) -> bool {
        let own = self.name.as_bytes();
        match name.strip_suffix(own) {
            Some([]) => !self.below,
            Some([first @ .., b'.']) => self.below && !first.is_empty(),
            _ => false,
        }
    }

    /// Whether all that another means is meant.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self == other
            || self.below
                && (self.contains(other.name.as_bytes()) || other.below && self.name == other.name)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.below { "*." } else { "" })?;
        f.write_str(&self.name)
    }
}

/// What keeps a text, lower-case and without a dot at its end, from being a name.
pub(super) fn flaw(name: &str) -> Option<&'static str> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    let labels = name.split('.');
    if labels.clone().any(str::is_empty) {
        Some("where a label is missing")
    } else if labels.clone().any(|label| label.len() > MAX_LABEL) {
        Some("where a label is longer than 63 bytes")
    } else if name.len() > MAX_NAME {
        Some("which is longer than 253 bytes")
    } else if !labels.flat_map(str::bytes).all(allowed) {
        Some("where something else than letters, digits, `-` and `_` stands")
    } else {
        None
    }
}

/// A name as rules are held against it: lower-case, without a dot at its end.
///
/// # Errors
/// What keeps the text from being a name.
pub fn plain(text: &str) -> Result<String, &'static str> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    flaw(&name).map_or(Ok(name), Err)
}

/// A name as the kernel's table is keyed by it: its bytes from the last to the first, then a dot.
/// So what is below a name begins with its key, and ends no label in the middle.
pub fn key(name: &[u8]) -> Vec<u8> {
    name.iter().rev().copied().chain([b'.']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        match text.strip_prefix("*.") {
            Some(name) => Host { name: name.to_owned(), below: true },
            None => Host { name: text.to_owned(), below: false },
        }
    }

    #[test]
    fn a_suffix_ends_at_a_label_and_is_not_the_name_itself() {
        let below = host("*.example.com");
        assert!(below.contains(b"a.example.com") && below.contains(b"b.a.example.com"));
        for other in ["example.com", "badexample.com", ".example.com", "com", "a.example.com.x"] {
            assert!(!below.contains(other.as_bytes()), "{other}");
        }
        assert!(host("example.com").contains(b"example.com"));
        assert!(!host("example.com").contains(b"a.example.com"));
    }

    #[test]
    fn what_covers_holds_all_that_is_covered() {
        assert!(host("*.com").covers(&host("*.example.com")));
        assert!(host("*.com").covers(&host("example.com")));
        assert!(host("*.com").covers(&host("*.com")));
        assert!(!host("*.com").covers(&host("com")));
        assert!(!host("com").covers(&host("*.com")));
    }

    #[test]
    fn keys_run_backwards() {
        assert_eq!(key(b"api.example.com"), b"moc.elpmaxe.ipa.");
    }
}

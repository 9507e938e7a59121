//! The words that begin a phrase, all of them looked for in one pass over a text.

use std::sync::LazyLock;

use aho_corasick::packed::{Config, MatchKind, Searcher};
use memchr::memmem;

macro_rules! needles {
    ($($name:ident $needle:literal)*) => {
        /// A word that begins a phrase.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Needle { $($name),* }

        const WORDS: &[&str] = &[$($needle),*];

        #[cfg(test)]
        const ALL: &[Needle] = &[$(Needle::$name),*];
    };
}

// None is another's beginning: at each place one may stand (a test holds it).
needles! {
    Begin "-----BEGIN "
    End "-----END "
    Bearer "earer"
    Basic "asic "
    Password "assword"
    PasswordUpper "ASSWORD"
    Is " is "
    Key "key "
    Token "oken "
    Putty "PuTTY-User-Key-File"
    Auth "uth"
    Login "ogin("
    Connection "onnection("
    Credential "redential("
    Secure "SecureString "
    SetHeader "_set_header "
    HeaderSet "Header set "
    Setenv "setenv "
    Setx "setx "
    Set "set -"
    Define "define "
    Env "ENV "
    Tcp "@tcp("
    Unix "@unix("
    Oracle "racle:thin:"
    KindSecret "kind: Secret"
    Oauth ":x-oauth-basic@"
    Five ":*:"
    Port ":5432:"
    Identified "DENTIFIED "
    IdentifiedLower "dentified "
    Pragma "RAGMA "
    PragmaLower "ragma "
    Secret "SECRET '"
    Values "VALUES"
    ValuesLower "values"
    Hook "hook"
    Ping "hc-ping.com/"
    Integration "/integration/"
    Inputs "/inputs/"
    Input "/v1/input/"
    Deploy "/deploy/"
    Query "&p="
    Hmac "~hmac="
    Psk "PSK "
    Pdo "PDO("
    RequirePass "requirepass "
    MasterAuth "masterauth "
    Chpasswd "chpasswd:"
    Phrase "phrase"
    Mnemonic "nemonic"
}

const COUNT: usize = WORDS.len();

/// Where each of them stands in a text, in order.
pub(super) struct Needles([Vec<usize>; COUNT]);

impl Needles {
    /// Looks for all of them.
    pub(super) fn find(text: &[u8]) -> Self {
        let mut out = Self([const { vec![] }; COUNT]);
        let Some(searcher) = SEARCHER.as_ref() else {
            for (word, places) in WORDS.iter().zip(&mut out.0) {
                let finder = memmem::Finder::new(word);
                let mut at = 0;
                while let Some(found) = text.get(at..).and_then(|rest| finder.find(rest)) {
                    places.push(at + found);
                    at += found + 1;
                }
            }
            return out;
        };
        let mut at = 0;
        while let Some(found) = searcher.find_in(text, (at..text.len()).into()) {
            if let Some(places) = out.0.get_mut(found.pattern().as_usize()) {
                places.push(found.start());
            }
            // The end of one may be the beginning of another: `token is`.
            at = found.start() + 1;
        }
        out
    }

    /// Where one stands.
    pub(super) fn of(&self, needle: Needle) -> &[usize] {
        self.0.get(needle as usize).map_or(&[], Vec::as_slice)
    }

    /// Where one stands from `at` on.
    pub(super) fn after(&self, needle: Needle, at: usize) -> Option<usize> {
        let places = self.of(needle);
        places.get(places.partition_point(|&place| place < at)).copied()
    }
}

/// None where the processor has no instructions for it.
static SEARCHER: LazyLock<Option<Searcher>> = LazyLock::new(|| {
    let mut config = Config::new();
    config.match_kind(MatchKind::LeftmostFirst).only_teddy(true).heuristic_pattern_limits(false);
    config.builder().extend(WORDS).build()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_needle_is_anothers_beginning() {
        for (at, word) in WORDS.iter().enumerate() {
            for (other, longer) in WORDS.iter().enumerate() {
                assert!(at == other || !longer.starts_with(word), "{word:?} {longer:?}");
            }
        }
    }

    #[test]
    fn one_pass_finds_what_a_search_for_each_finds() {
        let mut texts: Vec<String> = WORDS.iter().map(|word| (*word).to_owned()).collect();
        texts.push(WORDS.concat());
        texts.push("the API key is x, a token is y: auth basic  is is key token ".repeat(9));
        for first in WORDS {
            for second in WORDS {
                // Laid over each other as far as they go.
                let most = first.len().min(second.len());
                let shared = (0..most).rev().find(|&n| first.ends_with(&second[..n]));
                texts.push(format!("{first}{}, {first}", &second[shared.unwrap_or(0)..]));
            }
        }
        for text in texts {
            for pad in [0, 1, 7, 40] {
                let text = [" ".repeat(pad), text.clone(), ".".repeat(pad)].concat();
                let found = Needles::find(text.as_bytes());
                for needle in ALL {
                    let word = WORDS[*needle as usize];
                    let windows = text.as_bytes().windows(word.len()).enumerate();
                    let each: Vec<usize> =
                        windows.filter(|(_, w)| *w == word.as_bytes()).map(|(at, _)| at).collect();
                    assert_eq!(found.of(*needle), each, "{word:?} in {text:?}");
                }
            }
        }
    }
}

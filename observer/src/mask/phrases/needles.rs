//! The words that begin a phrase, all of them looked for in one pass over a text.

use std::sync::LazyLock;

use aho_corasick::packed::{Config, MatchKind, Searcher};
use memchr::memmem::Finder;

macro_rules! needles {
    ($($name:ident $($word:literal)+)*) => {
        /// Words that begin a phrase.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Needle { $($name,)* Five, Query }

        const WORDS: &[&str] = &[$($($word),+),*];
        /// What each word is one of.
        const OWNERS: &[Needle] = &[$($({
            let _: &str = $word;
            Needle::$name
        }),+),*];
        const COUNT: usize = Needle::Query as usize + 1;
    };
}

// None is another's beginning: at each place one may stand. None is shorter than four bytes, of which
// the search tells more texts apart than of three. (A test holds both.)
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
    Auth "uth(" "uth=" "uth:" "uth "
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
    Hmac "~hmac="
    Psk "PSK "
    Pdo "PDO("
    RequirePass "requirepass "
    MasterAuth "masterauth "
    Chpasswd "chpasswd:"
    Phrase "phrase"
    Mnemonic "nemonic"
    Ftp "FTP("
    Digest "esponse="
}

/// Where each of them stands in a text, in order.
pub(super) struct Needles {
    /// Those of the first, then those of the second, and so on.
    places: Vec<usize>,
    /// Where in `places` those of each end.
    ends: [usize; COUNT],
}

impl Needles {
    /// Looks for all of them.
    pub(super) fn find(text: &[u8]) -> Self {
        let mut found = match SEARCHER.as_ref() {
            Some(searcher) => Self::search(searcher, text),
            None => Self::search_each(text),
        };
        for (needle, finder) in &*SHORT {
            found.extend(each(finder, text).map(|at| (*needle, at)));
        }
        let mut ends = [0usize; COUNT];
        for &(needle, _) in &found {
            ends.get_mut(needle as usize).into_iter().for_each(|count| *count += 1);
        }
        // First where each begins; it ends where its last place was put.
        let mut begin = 0;
        for end in &mut ends {
            (begin, *end) = (begin + *end, begin);
        }
        let mut places = vec![0; found.len()];
        for (needle, at) in found {
            if let Some(end) = ends.get_mut(needle as usize) {
                places.get_mut(*end).into_iter().for_each(|place| *place = at);
                *end += 1;
            }
        }
        Self { places, ends }
    }

    /// Which of them stand where, in order.
    fn search(searcher: &Searcher, text: &[u8]) -> Vec<(Needle, usize)> {
        let (mut out, mut at) = (vec![], 0);
        while let Some(found) = searcher.find_in(text, (at..text.len()).into()) {
            out.extend(OWNERS.get(found.pattern().as_usize()).map(|&owner| (owner, found.start())));
            // The end of one may be the beginning of another: `token is`.
            at = found.start() + 1;
        }
        out
    }

    /// The same, without a searcher for all of them at once.
    fn search_each(text: &[u8]) -> Vec<(Needle, usize)> {
        let found = WORDS.iter().zip(OWNERS).flat_map(|(word, &owner)| {
            let places: Vec<usize> = each(&Finder::new(word), text).collect();
            places.into_iter().map(move |at| (owner, at))
        });
        let mut out: Vec<_> = found.collect();
        out.sort_unstable_by_key(|&(_, at)| at);
        out
    }

    /// Whether none stands there.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Where one stands.
    pub(super) fn of(&self, needle: Needle) -> &[usize] {
        let end = |needle: usize| self.ends.get(needle).copied().unwrap_or(0);
        let begin = (needle as usize).checked_sub(1).map_or(0, end);
        self.places.get(begin..end(needle as usize)).unwrap_or_default()
    }

    /// Where one stands from `at` on.
    pub(super) fn after(&self, needle: Needle, at: usize) -> Option<usize> {
        let places = self.of(needle);
        places.get(places.partition_point(|&place| place < at)).copied()
    }
}

/// What is too short for the search for all: two fields of a line of `.pgpass` with any between them, and
/// a key in a query.
static SHORT: LazyLock<[(Needle, Finder<'static>); 2]> =
    LazyLock::new(|| [(Needle::Five, Finder::new(":*:")), (Needle::Query, Finder::new("&p="))]);

/// Where a word stands, though it may overlap itself.
fn each(finder: &Finder<'_>, text: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let found = at + finder.find(text.get(at..)?)?;
        at = found + 1;
        Some(found)
    })
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
    fn no_needle_is_short_or_anothers_beginning() {
        for (at, word) in WORDS.iter().enumerate() {
            for (other, longer) in WORDS.iter().enumerate() {
                assert!(at == other || !longer.starts_with(word), "{word:?} {longer:?}");
            }
            assert!(word.len() >= 4, "{word:?}");
        }
    }

    #[test]
    fn one_pass_finds_what_a_search_for_each_finds() {
        let mut texts: Vec<String> = WORDS.iter().map(|word| (*word).to_owned()).collect();
        texts.push(WORDS.concat());
        texts.push(":*:*: :*::*:&p=&p=a".to_owned());
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
                let mut each = Needles::search_each(text.as_bytes());
                for (at, three) in text.as_bytes().windows(3).enumerate() {
                    match three {
                        b":*:" => each.push((Needle::Five, at)),
                        b"&p=" => each.push((Needle::Query, at)),
                        _ => {}
                    }
                }
                for &needle in OWNERS.iter().chain(&[Needle::Five, Needle::Query]) {
                    let here = each.iter().filter(|&&(owner, _)| owner == needle);
                    let here: Vec<usize> = here.map(|&(_, at)| at).collect();
                    assert_eq!(found.of(needle), here, "{needle:?} in {text:?}");
                }
            }
        }
    }
}

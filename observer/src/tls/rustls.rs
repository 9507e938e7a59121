//! rustls inside a program. Its functions have the compiler's own calling convention and are made anew
//! for each program, and what its callers use of it is mostly gone into them. But all that is sent goes
//! through one function of a connection's state, and what was decrypted to another, which is called by a
//! table and so stays what it is. Where a program keeps its symbols they have names, and where their
//! arguments stand was looked up for the versions and compilers that are known here (0.21 to 0.23).
//! It is a guess until plaintext was read through them: the compiler may place things otherwise.

mod names;

use std::collections::BTreeSet;

use memchr::memmem;
use observer_common::tls_site;

use super::elf::{Image, Symbol};
use super::flow::Code64;
use super::library::{self, Function};
use super::{Blind, FindError, Found, Library, Site};
use names::Name;

/// The errors' words (error.rs, 0.20 to 0.23), each in two parts: this program is not to be taken for one
/// that has rustls.
const WORDS: [[&str; 2]; 2] =
    [["received corrupt", " message of type "], ["peer mis", "behaved: "]];
/// Where its sources stood, before the version: in two parts, as above.
const PLACE: [&str; 2] = ["/rust", "ls-0."];
/// A version behind that is no longer.
const VERSION: u64 = 16;
/// The oldest compiler whose layouts are known: since then a vector's capacity has room for an enum's tag.
const COMPILER: (u32, u32) = (1, 76);
/// What a compiler calls itself, in the section that is made for it.
const COMMENT: (&str, &str) = (".comment", "rustc version ");
/// Bytes of that section that are looked through.
const COMMENTS: usize = 64 << 10;
/// Symbols that are looked at. A large program has some ten thousand with the crate's name in them.
const NAMES: usize = 1 << 18;
/// Copies of one function: a client's and a server's of two versions of TLS, and of what ends a
/// connection one for each type that has it.
const COPIES: usize = 32;

/// What sends: methods of a connection's state. Some call others, and some are compiled into others.
const SENDS: [&str; 4] = [
    "CommonState::send_appdata_encrypt",
    "CommonState::send_plain",
    "CommonState::send_some_plaintext",
    "CommonState::buffer_plaintext",
];
const RECEIVES: &str = "ExpectTraffic::handle";
const ENDS: &str = "CommonState::drop";

/// What is looked for among a file's constants: all of them are in one that has rustls.
pub(super) fn words() -> [Vec<u8>; 2] {
    WORDS.map(|parts| parts.concat().into_bytes())
}

/// What of its places differs between versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    /// Those of the functions that send which it has, the innermost first.
    sends: &'static [&'static str],
    /// What is told of them: [`tls_site`] bits.
    site: u64,
    /// The number of the kind that application data has (enum MessagePayload).
    kind: u64,
}

impl Shape {
    fn of(minor: u32, patch: u32) -> Option<Self> {
        const PLAIN: &[&str] = &[SENDS[0], SENDS[1], SENDS[2]];
        const PIECES: &[&str] = &[SENDS[0], SENDS[3]];
        let pieces = |kind| Self { sends: PIECES, site: tls_site::CHUNKS, kind };
        match (minor, patch) {
            (21 | 22, _) => Some(Self { sends: PLAIN, site: 0, kind: 3 }),
            // 0.23.14 has one more: HandshakeFlight.
            (23, ..14) => Some(pieces(4)),
            (23, _) => Some(pieces(5)),
            _ => None,
        }
    }
}

/// What is told of a file that has it.
pub(super) fn find(image: &Image<'_>) -> Result<Found, FindError> {
    let mut found = Found { library: Library::Rustls, sites: vec![], held: vec![], blind: vec![] };
    match places(image)? {
        Ok((shape, all)) => {
            let mut code = Code64::new(image);
            let mut hold =
                |name, site, copies: &[Symbol]| match sites(image, &mut code, site, copies) {
                    Ok(sites) => {
                        found.sites.extend(sites);
                        found.held.push(name);
                    }
                    Err(why) => found.blind.push((name, why)),
                };
            let (sends, copies) = all.sends(&shape);
            hold(sends, shape.site, copies);
            hold(
                RECEIVES,
                tls_site::RECEIVES | tls_site::RECORD | shape.kind << tls_site::KIND,
                &all.receives,
            );
            hold(ENDS, tls_site::FREES, &all.ends);
        }
        Err(why) => found.blind = [SENDS[0], RECEIVES].map(|name| (name, why)).to_vec(),
    }
    if found.blind.iter().any(|(name, _)| *name != ENDS) {
        // Half of what is said would be taken for all of it.
        (found.sites, found.held) = (vec![], vec![]);
    }
    found.sites.sort_unstable();
    found.sites.dedup();
    Ok(found)
}

/// Where its functions stand, and their arguments; or why that can't be told.
fn places(image: &Image<'_>) -> Result<Result<(Shape, All), Blind>, FindError> {
    let all = All::of(image)?;
    if all.is_empty() {
        return Ok(Err(Blind::Stripped));
    }
    let shape = match versions(image)?[..] {
        [(minor, patch)] => Shape::of(minor, patch),
        _ => None,
    };
    let compiler = compiler(image).filter(|version| *version >= COMPILER);
    Ok(match (shape, compiler) {
        (None, _) => Err(Blind::Version),
        (_, None) => Err(Blind::Compiler),
        (Some(shape), Some(_)) => Ok((shape, all)),
    })
}

/// Where the probes of a function's copies go.
fn sites(
    image: &Image<'_>,
    code: &mut Code64<'_>,
    shape: u64,
    copies: &[Symbol],
) -> Result<Vec<Site>, Blind> {
    if copies.is_empty() {
        return Err(Blind::Unnamed);
    }
    if copies.len() > COPIES {
        return Err(Blind::Alike);
    }
    let function = Function { name: "", library: Library::Rustls, shape, wraps: false };
    let mut all = vec![];
    for &symbol in copies {
        all.extend(library::sites(image, code, &function, symbol)?);
    }
    Ok(all)
}

/// The functions that matter, by their names.
#[derive(Default)]
struct All {
    sends: [Vec<Symbol>; SENDS.len()],
    receives: Vec<Symbol>,
    ends: Vec<Symbol>,
}

impl All {
    fn of(image: &Image<'_>) -> Result<Self, FindError> {
        let mut all = Self::default();
        let mut looked_at = 0;
        image.functions(&mut |name, symbol| {
            if looked_at >= NAMES || !names::may_matter(name) {
                return;
            }
            looked_at += 1;
            let copies = match Name::of(name) {
                Some(Name::Sends(which)) => all.sends.get_mut(which),
                Some(Name::Receives) => Some(&mut all.receives),
                Some(Name::Ends) => Some(&mut all.ends),
                None => None,
            };
            // One more than there can be tells that there are too many.
            if let Some(copies) = copies
                && copies.len() <= COPIES
                && !copies.contains(&symbol)
            {
                copies.push(symbol);
            }
        })?;
        Ok(all)
    }

    fn is_empty(&self) -> bool {
        self.sends.iter().all(Vec::is_empty) && self.receives.is_empty()
    }

    /// The innermost function that sends: the plaintext of those that call it goes through it.
    fn sends(&self, shape: &Shape) -> (&'static str, &[Symbol]) {
        let mut there = SENDS
            .into_iter()
            .zip(&self.sends)
            .filter(|(name, copies)| shape.sends.contains(name) && !copies.is_empty());
        there.next().map_or((SENDS[0], &[]), |(name, copies)| (name, copies))
    }
}

/// The versions whose sources' places the file names: minor and patch.
fn versions(image: &Image<'_>) -> Result<Vec<(u32, u32)>, FindError> {
    let place = PLACE.concat();
    let finder = memmem::Finder::new(&place);
    let mut found = BTreeSet::new();
    image.look_through(false, place.len() as u64 + VERSION, &mut |_, bytes| {
        for at in finder.find_iter(bytes) {
            let rest = bytes.get(at + place.len()..).unwrap_or_default();
            if found.len() < 2 {
                found.extend(version(rest));
            }
        }
    })?;
    Ok(found.into_iter().collect())
}

/// `MINOR.PATCH/…`
fn version(text: &[u8]) -> Option<(u32, u32)> {
    let text = text.get(..memchr::memchr(b'/', text)?)?;
    let (minor, patch) = std::str::from_utf8(text).ok()?.split_once('.')?;
    Some((minor.parse().ok()?, patch.parse().ok()?))
}

/// The oldest compiler that the file names.
fn compiler(image: &Image<'_>) -> Option<(u32, u32)> {
    let (section, word) = COMMENT;
    let comment = image.bytes(image.section(section)?, 0, COMMENTS)?;
    let names = comment.split(|&byte| byte == 0).filter_map(|name| {
        let version = std::str::from_utf8(name).ok()?.strip_prefix(word)?;
        let mut numbers = version.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    names.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_known_by_the_version() {
        let (pieces, plain) = (tls_site::CHUNKS, 0);
        for (text, shape) in [
            ("21.12/src/conn.rs", Some((plain, 3))),
            ("22.0/", Some((plain, 3))),
            ("23.13/src", Some((pieces, 4))),
            ("23.14/src", Some((pieces, 5))),
            ("23.46/src", Some((pieces, 5))),
            ("20.9/src", None),
            ("24.0/src", None),
        ] {
            let (minor, patch) = version(text.as_bytes()).unwrap();
            let found = Shape::of(minor, patch);
            assert_eq!(found.map(|shape| (shape.site, shape.kind)), shape, "{text}");
        }
        for text in ["23.0-dev.1/src", "23/src", "23.5", "", "23.99999999999/src", "-1.2/src"] {
            assert_eq!(version(text.as_bytes()), None, "{text}");
        }
    }
}

//! rustls inside a program: known by what its errors say (error.rs, 0.20 to 0.23). There is no way
//! into it: its functions have the compiler's own calling convention, are made anew for each
//! program, and their connections move in memory. So that it is there is all that is told.

use super::{Blind, Found, Library};

/// The errors' words, each in two parts: this program is not to be taken for one that has rustls.
const WORDS: [[&str; 2]; 2] =
    [["received corrupt", " message of type "], ["peer mis", "behaved: "]];

/// What is looked for among a file's constants: all of them are in one that has rustls.
pub(super) fn words() -> [Vec<u8>; 2] {
    WORDS.map(|parts| parts.concat().into_bytes())
}

/// What is told of a file that has it.
pub(super) fn found() -> Found {
    let blind = ["Writer::write", "Reader::read"].map(|name| (name, Blind::Rust)).to_vec();
    Found { library: Library::Rustls, sites: vec![], held: vec![], blind }
}

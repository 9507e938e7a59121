//! A file that has a TLS library: what of it is seen.

use super::{Raw, Stamp};

/// What came of a file that has a TLS library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryCoverage {
    /// When it was told.
    pub at: Stamp,
    /// The file, as it was named.
    pub path: Raw,
    /// Its build id (NT_GNU_BUILD_ID), hex.
    pub build_id: Option<String>,
    /// Its SHA-256, hex; none where it could not be read to its end.
    pub sha256: Option<String>,
    /// The library's word.
    pub library: &'static str,
    /// When it was looked at.
    pub since: Since,
    /// Functions that are held.
    pub held: Vec<&'static str>,
    /// How many probes stand in it.
    pub probes: u32,
    /// How its functions were told.
    pub told: Told,
    /// What is not seen of it, and why; empty where all is.
    pub blind: Vec<String>,
}

/// How a library's functions were told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// By their names.
    Name,
    /// By more than that. Until plaintext was read through them, it is a guess.
    Guess {
        /// By what.
        by: Guess,
        /// The file's number among such files of the run; 0 where there is no probe.
        file: u8,
        /// Plaintext was read through them.
        confirmed: bool,
    },
}

/// What a library's functions, or their arguments, were told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    /// By what their code does.
    Pattern,
    /// By their names, and where their arguments stand by the versions of library and compiler.
    Layout,
}

impl Guess {
    /// Its word in records.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pattern => "pattern",
            Self::Layout => "layout",
        }
    }
}

/// From when on a file's library is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// From before the run began.
    Start,
    /// Its first open in the run was held: from before it was loaded.
    Open,
    /// Its exec was held: from before its first instruction.
    Exec,
    /// From when its process connected: what went through before was not seen.
    Connect,
}

impl Since {
    /// Its word in records.
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Open => "open",
            Self::Exec => "exec",
            Self::Connect => "connect",
        }
    }
}

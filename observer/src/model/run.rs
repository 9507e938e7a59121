//! A run's identity, the time of things, and the policies that a run is given.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use uuid::Uuid;

use super::Raw;

/// One execution of an agent: a UUIDv7 (RFC 9562 §5.7), so that runs sort by when they began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(Uuid);

impl RunId {
    /// A new identity, from the clock and the system's randomness.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The identity as its sixteen bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// A text that is not a run's id.
#[derive(Debug, Error)]
#[error("not a run id (a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057)")]
pub struct RunIdError;

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, RunIdError> {
        // One spelling alone: lower case with hyphens, as Display writes it.
        let id = Uuid::try_parse(text).map_err(|_| RunIdError)?;
        let id = Self(id);
        if id.to_string() == text { Ok(id) } else { Err(RunIdError) }
    }
}

/// When something happened, on two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// CLOCK_BOOTTIME, in nanoseconds: what orders things.
    pub mono_ns: u64,
    /// UTC, in nanoseconds since the Unix epoch: what people read.
    pub wall_ns: u64,
}

/// A policy that was read while a run lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// Its file.
    pub file: Raw,
    /// SHA-256 of its text, in hex; none where it could not be read.
    pub sha256: Option<String>,
    /// Its count in the run, from 2; none where the one before goes on deciding.
    pub generation: Option<u32>,
    /// Why it does: this may show lines of the file.
    pub why: Option<Raw>,
    /// Whether that is its beginning alone.
    pub cut: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_survives_its_text_form() {
        let id = RunId::generate();
        assert_eq!(id.to_string().parse::<RunId>().unwrap(), id);
    }

    #[test]
    fn other_spellings_of_a_run_id_are_refused() {
        let id = RunId::generate().to_string();
        for text in [id.to_uppercase(), format!("{{{id}}}"), id.replace('-', "")] {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }
}

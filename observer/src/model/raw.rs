//! Bytes that an agent chose.

use std::fmt;

/// Bytes that came from an agent: hostile, perhaps secret, perhaps not UTF-8.
///
/// It has no `Serialize` and no `Display`, and its `Debug` shows a length alone, so that no log
/// line, error or panic message can carry what masking has not seen.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Raw(Vec<u8>);

impl Raw {
    /// Takes bytes as they came.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for whoever is about to judge or mask them.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is nothing here.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl From<&str> for Raw {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<&[u8]> for Raw {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Raw({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_a_length_and_never_the_bytes() {
        let shown = format!("{:?}", Raw::from("hunter2"));
        assert_eq!(shown, "Raw(7 bytes)");
    }
}

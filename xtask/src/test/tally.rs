//! Counting tests: what each kind of test program says at its end, summed.

use std::fmt;
use std::ops::AddAssign;

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: u32,
    pub(super) failed: u32,
    pub(super) skipped: u32,
}

impl Tally {
    pub(super) const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    pub(super) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    pub(super) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    /// libtest's last line: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    pub(super) fn of_libtest(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let mut tally = Self::default();
        for part in counts.split("; ") {
            match part.split_once(' ')? {
                (n, "passed") => tally.passed = n.parse().ok()?,
                (n, "failed") => tally.failed = n.parse().ok()?,
                (n, "ignored") => tally.skipped = n.parse().ok()?,
                _ => {}
            }
        }
        Some(tally)
    }

    /// The end-to-end tests' last line, which is ours too: `3 passed, 0 failed, 1 skipped`.
    pub(super) fn of_closing(line: &str) -> Option<Self> {
        let mut parts = line.trim().split(", ");
        let mut number = |word: &str| -> Option<u32> {
            parts.next()?.strip_suffix(word)?.strip_suffix(' ')?.parse().ok()
        };
        let tally = Self {
            passed: number("passed")?,
            failed: number("failed")?,
            skipped: number("skipped")?,
        };
        parts.next().is_none().then_some(tally)
    }

    /// The counts beside the exit status: a program that failed without naming a test (it didn't
    /// compile, it crashed) is a failure.
    pub(super) fn held_against(mut self, success: bool) -> Self {
        if !success && self.failed == 0 {
            self.failed = 1;
        }
        self
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtest_counts() {
        let line = "test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; \
                    finished in 0.02s";
        assert_eq!(Tally::of_libtest(line), Some(Tally { passed: 12, failed: 2, skipped: 1 }));
        assert_eq!(Tally::of_libtest("test mask::tests::x ... ok"), None);
    }

    #[test]
    fn the_closing_line_is_read_as_it_is_written() {
        let tally = Tally { passed: 3, failed: 0, skipped: 41 };
        assert_eq!(Tally::of_closing(&tally.to_string()), Some(tally));
        for line in ["3 passed, 0 failed", "3 passed, 0 failed, 1 skipped, 9 more", "x passed"] {
            assert_eq!(Tally::of_closing(line), None, "{line}");
        }
    }

    #[test]
    fn a_crash_without_a_failed_test_is_a_failure() {
        let tally = Tally { passed: 9, failed: 0, skipped: 0 };
        assert_eq!(tally.held_against(false).failed, 1);
        assert_eq!(tally.held_against(true).failed, 0);
        let named = Tally { failed: 2, ..tally };
        assert_eq!(named.held_against(false).failed, 2);
    }
}

//! The parts of a test run: their headings, their times, and the summary at the end.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::tally::Tally;

/// Whether a machine of CI is meant to be able to run a part.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Yes,
    No,
}

/// What has run so far.
pub(super) struct Report {
    in_ci: bool,
    parts: Vec<Part>,
}

struct Part {
    name: String,
    tally: Tally,
    took: Duration,
    note: String,
}

impl Report {
    pub(super) fn new(in_ci: bool) -> Self {
        Self { in_ci, parts: Vec::new() }
    }

    /// Runs a part that counts for itself; an error is a failure.
    pub(super) fn part(&mut self, name: &str, run: impl FnOnce() -> Result<Tally>) {
        println!("\n=== {name}");
        let start = Instant::now();
        let (tally, note) = match run() {
            Ok(tally) => (tally, String::new()),
            Err(error) => {
                println!("error: {error:#}");
                (Tally::FAILED, format!("{error:#}").lines().next().unwrap_or_default().to_owned())
            }
        };
        let took = start.elapsed();
        println!("--- {name}: {tally} ({:.1} s)", took.as_secs_f32());
        self.parts.push(Part { name: name.to_owned(), tally, took, note });
    }

    /// Runs a part that others build on, and counts as one.
    pub(super) fn value<T>(&mut self, name: &str, run: impl FnOnce() -> Result<T>) -> Option<T> {
        let mut value = None;
        self.part(name, || {
            value = Some(run()?);
            Ok(Tally::PASSED)
        });
        value
    }

    /// Says that a part can't run here.
    pub(super) fn skip(&mut self, name: &str, why: &str, expected: Expected) {
        let fails = self.in_ci && expected == Expected::Yes;
        let (tally, word) =
            if fails { (Tally::FAILED, "FAILED, not run") } else { (Tally::SKIPPED, "skipped") };
        println!("\n=== {name}\n--- {name}: {word}: {why}");
        let note = format!("{word}: {why}");
        self.parts.push(Part { name: name.to_owned(), tally, took: Duration::ZERO, note });
    }

    /// Prints the summary, and the sum as the very last line.
    pub(super) fn close(&self) -> ExitCode {
        println!("\n=== summary");
        let mut sum = Tally::default();
        for Part { name, tally, took, note } in &self.parts {
            println!("{:7.1} s  {name}: {tally}", took.as_secs_f32());
            if !note.is_empty() {
                println!("{:11}{note}", "");
            }
            sum += *tally;
        }
        println!("{sum}");
        if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    fn sum(report: &Report) -> Tally {
        report.parts.iter().fold(Tally::default(), |mut sum, part| {
            sum += part.tally;
            sum
        })
    }

    #[test]
    fn an_error_counts_and_the_rest_goes_on() {
        let mut report = Report::new(false);
        report.part("one", || bail!("no"));
        assert_eq!(report.value("two", || Ok(7)), Some(7));
        assert_eq!(report.value::<()>("three", || bail!("no")), None);
        assert_eq!(sum(&report), Tally { passed: 1, failed: 2, skipped: 0 });
    }

    #[test]
    fn what_ci_expects_may_not_be_skipped() {
        for (in_ci, expected, failed) in
            [(false, Expected::Yes, 0), (true, Expected::Yes, 1), (true, Expected::No, 0)]
        {
            let mut report = Report::new(in_ci);
            report.skip("part", "no root", expected);
            assert_eq!(sum(&report), Tally { passed: 0, failed, skipped: 1 - failed });
        }
    }
}

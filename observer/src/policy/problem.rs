//! What is wrong with a policy, where, and what to do about it.

use std::fmt;
use std::ops::Range;

/// One thing that is wrong with a policy's text, or worth saying about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The id of the rule, where one is known.
    pub rule: Option<String>,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub help: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        if let Some(rule) = &self.rule {
            write!(f, "rule {}: ", quote(rule))?;
        }
        write!(f, "{}\n  help: {}", self.message, self.help)
    }
}

/// What a check finds, before it is known where: the message and the help.
pub(super) type Finding = (String, String);

/// A finding from its two sentences.
pub(super) fn finding(message: impl Into<String>, help: impl Into<String>) -> Finding {
    (message.into(), help.into())
}

/// A piece of the policy's text in quotes: escaped, and cut where it is long.
pub(super) fn quote(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}… ({} bytes)", &text[..end], text.len()),
    }
}

/// Turns offsets into lines and columns, and collects problems.
pub(super) struct Report<'t> {
    text: &'t str,
    lines: Vec<usize>,
    /// What makes the policy unusable.
    pub(super) problems: Vec<Problem>,
    /// What is only worth saying.
    pub(super) notes: Vec<Problem>,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(starts.map(|(at, _)| at + 1)).collect();
        Self { text, lines, problems: Vec::new(), notes: Vec::new() }
    }

    /// The line and column of an offset, both from 1.
    pub(super) fn place(&self, offset: usize) -> (u32, u32) {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or("");
        let column = before.chars().count() + 1;
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
    }

    /// Something wrong.
    pub(super) fn problem(&mut self, rule: Option<&str>, span: Range<usize>, found: Finding) {
        let problem = self.build(rule, span, found);
        self.problems.push(problem);
    }

    /// Something worth saying.
    pub(super) fn note(&mut self, rule: Option<&str>, span: Range<usize>, found: Finding) {
        let note = self.build(rule, span, found);
        self.notes.push(note);
    }

    fn build(&self, rule: Option<&str>, span: Range<usize>, found: Finding) -> Problem {
        let (line, column) = self.place(span.start);
        let (message, help) = found;
        Problem { rule: rule.map(str::to_owned), line, column, message, help }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let report = Report::new("a\nüü x\n");
        assert_eq!(report.place(0), (1, 1));
        assert_eq!(report.place(2), (2, 1));
        assert_eq!(report.place(7), (2, 4));
        assert_eq!(report.place(999), (3, 1));
    }

    #[test]
    fn what_is_quoted_reaches_no_terminal_as_it_is() {
        assert_eq!(quote("\u{1b}[2J"), "\"\\u{1b}[2J\"");
        assert!(quote(&"x".repeat(500)).len() < 120);
    }
}

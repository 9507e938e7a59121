//! What is wrong with a policy, where, and what to do about it.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;

/// How many problems, and how many notes, are told one by one; the rest are counted.
const TOLD: usize = 200;

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
    /// The place told last, as offset, line and column: on a long line the next one is counted
    /// from there.
    last: Cell<(usize, usize, usize)>,
    untold: (usize, usize),
    /// What makes the policy unusable.
    pub(super) problems: Vec<Problem>,
    /// What is only worth saying.
    pub(super) notes: Vec<Problem>,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(starts.map(|(at, _)| at + 1)).collect();
        let last = Cell::new((0, 1, 1));
        Self { text, lines, last, untold: (0, 0), problems: Vec::new(), notes: Vec::new() }
    }

    /// The line and column of an offset, both from 1.
    pub(super) fn place(&self, offset: usize) -> (u32, u32) {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let (start, first) = match self.last.get() {
            (known, at, column) if at == line && known <= offset => (known, column),
            _ => (self.lines.get(line - 1).copied().unwrap_or(0), 1),
        };
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or("");
        let column = first + before.chars().count();
        self.last.set((offset, line, column));
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
    }

    /// Something wrong.
    pub(super) fn problem(&mut self, rule: Option<&str>, span: Range<usize>, found: Finding) {
        if self.problems.len() < TOLD {
            let problem = self.build(rule, span, found);
            self.problems.push(problem);
        } else {
            self.untold.0 += 1;
        }
    }

    /// Something worth saying.
    pub(super) fn note(&mut self, rule: Option<&str>, span: Range<usize>, found: Finding) {
        if self.notes.len() < TOLD {
            let note = self.build(rule, span, found);
            self.notes.push(note);
        } else {
            self.untold.1 += 1;
        }
    }

    /// The problems and the notes, each in the text's order, with a last one for those untold.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        (finished(self.problems, self.untold.0), finished(self.notes, self.untold.1))
    }

    fn build(&self, rule: Option<&str>, span: Range<usize>, found: Finding) -> Problem {
        let (line, column) = self.place(span.start);
        let (message, help) = found;
        Problem { rule: rule.map(str::to_owned), line, column, message, help }
    }
}

fn finished(mut found: Vec<Problem>, untold: usize) -> Vec<Problem> {
    found.sort_by_key(|problem| (problem.line, problem.column));
    if untold > 0 {
        found.push(Problem {
            rule: None,
            line: found.last().map_or(1, |last| last.line),
            column: found.last().map_or(1, |last| last.column),
            message: format!("and {untold} more of the like"),
            help: "mend these first, then check again".to_owned(),
        });
    }
    found
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
        assert_eq!(report.place(4), (2, 2));
        assert_eq!(report.place(999), (3, 1));
    }

    #[test]
    fn what_is_quoted_reaches_no_terminal_as_it_is() {
        assert_eq!(quote("\u{1b}[2J"), "\"\\u{1b}[2J\"");
        assert!(quote(&"x".repeat(500)).len() < 120);
    }
}

//! The text of a policy, rule by rule.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::hosts::Named;
use crate::model::moves;

/// A text that grows by rules with ids of their own.
#[derive(Default)]
pub(super) struct Text {
    pub(super) text: String,
    ids: BTreeSet<String>,
}

impl Text {
    pub(super) fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}");
    }

    pub(super) fn rule(&mut self, name: &str, why: &str) {
        let mut id = String::new();
        for c in name.chars().map(|c| c.to_ascii_lowercase()) {
            let kept = matches!(c, 'a'..='z' | '0'..='9' | '_' | '.');
            if kept && id.len() < 56 {
                id.push(c);
            } else if !id.ends_with('-') && id.len() < 56 {
                id.push('-');
            }
        }
        let id = id.trim_end_matches('-').to_owned();
        let free = (1..).map(|n| if n == 1 { id.clone() } else { format!("{id}-{n}") });
        let id = free.into_iter().find(|id| !self.ids.contains(id)).unwrap_or_default();
        let _ = write!(self.text, "\n[[allow]]\nid = {}\nwhy = {}\n", quoted(&id), quoted(why));
        self.ids.insert(id);
    }
}

/// A place of a rule's list, with how often it was reached and what a suffix stands for.
pub(super) fn entry_line(entry: &Named) -> String {
    const SHOWN: usize = 8;
    let (text, count) = (quoted(&entry.text), times(entry.count));
    if entry.names.is_empty() {
        return format!("  {text},  # {count}");
    }
    let parent = entry.text.len() - 1;
    let front = |name: &String| name.get(..name.len().saturating_sub(parent)).map(str::to_owned);
    let mut shown: Vec<String> = entry.names.iter().take(SHOWN).filter_map(front).collect();
    if entry.names.len() > SHOWN {
        shown.push("…".to_owned());
    }
    format!("  {text},  # {count}, {} names: {}", entry.names.len(), shown.join(", "))
}

pub(super) fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// A TOML basic string, without what a terminal would obey or hide.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if moves(c) => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

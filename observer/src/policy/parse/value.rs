//! Values as rules write them: known keys, one or many, integers.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::policy::problem::{Report, finding, quote};

/// Reports each key of a table that nothing reads.
pub(super) fn known(
    report: &mut Report<'_>,
    rule: Option<&str>,
    table: &DeTable<'_>,
    what: &str,
    keys: &[&str],
) {
    for key in table.keys() {
        let name: &str = key.get_ref();
        if !keys.contains(&name) {
            let message = format!("unknown key {} in {what}", quote(name));
            let help = format!("remove it; the keys of {what} are {}", keys.join(", "));
            report.problem(rule, key.span(), finding(message, help));
        }
    }
}

/// The table that a scope must be.
pub(super) fn table<'a, 't>(
    report: &mut Report<'_>,
    rule: Option<&str>,
    found: &'a Spanned<DeValue<'t>>,
    name: &str,
    example: &str,
) -> Option<&'a DeTable<'t>> {
    let table = found.get_ref().as_table();
    if table.is_none() {
        let message = format!("`{name}` must be a table, not {}", found.get_ref().type_str());
        report.problem(rule, found.span(), finding(message, format!("write `{example}`")));
    }
    table
}

/// The items of a list that may not be empty; a value alone is a list of one.
pub(super) fn one_or_many<'a, 't>(
    report: &mut Report<'_>,
    rule: Option<&str>,
    found: &'a Spanned<DeValue<'t>>,
    name: &str,
) -> &'a [Spanned<DeValue<'t>>] {
    match found.get_ref().as_array() {
        None => std::slice::from_ref(found),
        Some(items) => {
            if items.is_empty() {
                let message = format!("`{name}` is empty, so the rule could never match");
                let help = format!("name what is meant, or leave `{name}` out to mean any");
                report.problem(rule, found.span(), finding(message, help));
            }
            items
        }
    }
}

/// Each item as a string with its place; what is none is reported.
pub(super) fn strings<'a>(
    report: &mut Report<'_>,
    rule: Option<&str>,
    items: &'a [Spanned<DeValue<'_>>],
    name: &str,
) -> Vec<(Range<usize>, &'a str)> {
    let mut texts = Vec::with_capacity(items.len());
    for item in items {
        match item.get_ref().as_str() {
            Some(text) => texts.push((item.span(), text)),
            None => {
                let kind = item.get_ref().type_str();
                let message = format!("`{name}` holds {kind} where a string belongs");
                report.problem(rule, item.span(), finding(message, "put it in quotes"));
            }
        }
    }
    texts
}

/// A key's value as true or false; none where it is missing or something else.
pub(super) fn flag(
    report: &mut Report<'_>,
    rule: Option<&str>,
    table: &DeTable<'_>,
    name: &str,
) -> Option<bool> {
    let found = table.get(name)?;
    let flag = found.get_ref().as_bool();
    if flag.is_none() {
        let message = format!("`{name}` must be true or false, not {}", found.get_ref().type_str());
        let help = format!("write `{name} = false`, or leave it out: it is true then");
        report.problem(rule, found.span(), finding(message, help));
    }
    flag
}

/// A value as an integer.
pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let digits = value.as_integer()?;
    i64::from_str_radix(digits.as_str(), digits.radix()).ok()
}

//! Text → rules. Every problem of the text in one pass, each with its place and a way out.

mod door;
mod exec;
mod host;
mod net;
mod preset;
mod value;

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::MAX_TEXT;
use super::problem::{Finding, Problem, Report, finding, quote};
use super::rule::{Rule, Scope};
pub use preset::PRESETS;

/// A policy's text, read.
pub(super) struct Parsed {
    pub(super) default_deny: bool,
    /// Whether denials are held; else they are only recorded.
    pub(super) enforce: bool,
    /// Whose answers may bind names, beside the host's own resolvers.
    pub(super) resolvers: Vec<IpAddr>,
    /// In the file's order.
    pub(super) rules: Vec<Rule>,
    /// What is worth saying and no error.
    pub(super) notes: Vec<Problem>,
}

/// A rule's head, and its table.
struct Entry<'a, 't> {
    at: Range<usize>,
    deny: bool,
    table: &'a DeTable<'t>,
}

/// Reads a policy's text.
pub(super) fn parse(text: &str) -> Result<Parsed, Vec<Problem>> {
    let mut report = Report::new(text);
    if text.len() > MAX_TEXT {
        let message = format!("the policy has {} bytes, more than {MAX_TEXT}", text.len());
        report.problem(None, 0..0, finding(message, "say it in fewer rules: a list holds many"));
        return Err(report.finish().0);
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let message = format!("not TOML: {}", error.message());
        let help = "mend the syntax here; https://toml.io/en/v1.0.0 has the whole of it";
        report.problem(None, error.span().unwrap_or(0..0), finding(message, help));
    }
    if !errors.is_empty() {
        return Err(report.finish().0);
    }
    let root = root.get_ref();
    let default_deny = head(&mut report, root);
    let enforce = value::flag(&mut report, None, root, "enforce").unwrap_or(true);
    let resolvers = host::resolvers(&mut report, root);
    let mut rules = rules(&mut report, root);
    if let Some(preset) = root.get("preset") {
        let more = preset::rules(&mut report, preset, &rules);
        rules.extend(more);
    }
    let (problems, notes) = report.finish();
    match default_deny {
        Some(default_deny) if problems.is_empty() => {
            Ok(Parsed { default_deny, enforce, resolvers, rules, notes })
        }
        _ => Err(problems),
    }
}

/// Checks the top level's own keys; returns whether the default denies.
fn head(report: &mut Report<'_>, root: &DeTable<'_>) -> Option<bool> {
    value::known(
        report,
        None,
        root,
        "a policy",
        &["version", "default", "enforce", "preset", "resolvers", "deny", "allow"],
    );
    match root.get("version") {
        None => report.problem(
            None,
            0..0,
            finding("the policy has no `version`", "begin the file with `version = 1`"),
        ),
        Some(version) if value::integer(version.get_ref()) == Some(1) => {}
        Some(version) => report.problem(
            None,
            version.span(),
            finding("`version` must be 1, the only version there is", "write `version = 1`"),
        ),
    }
    let help = "write `default = \"allow\"` or `default = \"deny\"`: what holds where no rule does";
    match root.get("default").map(|found| (found.span(), found.get_ref().as_str())) {
        Some((_, Some("allow"))) => Some(false),
        Some((_, Some("deny"))) => Some(true),
        Some((span, _)) => {
            let message = "`default` must be \"allow\" or \"deny\"";
            report.problem(None, span, finding(message, help));
            None
        }
        None => {
            report.problem(None, 0..0, finding("the policy has no `default`", help));
            None
        }
    }
}

/// The rules in the file's order; those with problems are left out.
fn rules(report: &mut Report<'_>, root: &DeTable<'_>) -> Vec<Rule> {
    let mut entries = Vec::new();
    for (key, deny) in [("deny", true), ("allow", false)] {
        if let Some(list) = root.get(key) {
            collect(report, key, deny, list, &mut entries);
        }
    }
    entries.sort_by_key(|entry| entry.at.start);
    let mut ids: HashMap<&str, u32> = HashMap::new();
    let mut rules = Vec::with_capacity(entries.len());
    for entry in &entries {
        let place = report.place(entry.at.start);
        let id = id(report, entry, place.0, &mut ids);
        let (why, scope) = body(report, entry, id);
        let enforce = enforce(report, entry, id);
        if let (Some(id), Some(scope)) = (id, scope) {
            rules.push(Rule { id: id.to_owned(), why, deny: entry.deny, enforce, scope, place });
        }
    }
    rules
}

fn collect<'a, 't>(
    report: &mut Report<'_>,
    key: &str,
    deny: bool,
    list: &'a Spanned<DeValue<'t>>,
    entries: &mut Vec<Entry<'a, 't>>,
) {
    let help = format!("write each rule as a table of its own, below a line `[[{key}]]`");
    let Some(items) = list.get_ref().as_array() else {
        let message = format!("`{key}` is not a list of rules");
        report.problem(None, list.span(), finding(message, help));
        return;
    };
    for item in items.iter() {
        match item.get_ref().as_table() {
            Some(table) => entries.push(Entry { at: item.span(), deny, table }),
            None => {
                let message = format!("`{key}` holds something that is not a rule");
                report.problem(None, item.span(), finding(message, help.as_str()));
            }
        }
    }
}

/// The rule's id, checked and entered among those taken.
fn id<'a>(
    report: &mut Report<'_>,
    entry: &Entry<'a, '_>,
    line: u32,
    ids: &mut HashMap<&'a str, u32>,
) -> Option<&'a str> {
    const FORM: &str = "an id is 1 to 64 of the characters a-z 0-9 - _ .";
    let Some(found) = entry.table.get("id") else {
        let help = format!("add `id = \"…\"`, by which records name the rule: {FORM}");
        report.problem(None, entry.at.clone(), finding("the rule has no `id`", help));
        return None;
    };
    let Some(id) = found.get_ref().as_str() else {
        let message = format!("`id` must be a string, not {}", found.get_ref().type_str());
        report.problem(None, found.span(), finding(message, FORM));
        return None;
    };
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    if id.is_empty() || id.len() > 64 || !id.bytes().all(allowed) {
        let message = format!("the id {} is not in form", quote(id));
        report.problem(Some(id), found.span(), finding(message, FORM));
    } else if id == "default" {
        let message = "the id \"default\" is what records call the default";
        report.problem(Some(id), found.span(), finding(message, "choose another id"));
    } else if let Some(taken) = ids.get(id) {
        let message = format!("the id is taken by the rule at line {taken}");
        let help = "choose another id: records name rules by it, over [[deny]] and [[allow]] alike";
        report.problem(Some(id), found.span(), finding(message, help));
    } else {
        ids.insert(id, line);
    }
    Some(id)
}

/// The rule's reason and scope.
fn body(
    report: &mut Report<'_>,
    entry: &Entry<'_, '_>,
    id: Option<&str>,
) -> (Option<String>, Option<Scope>) {
    let keys = ["id", "why", "enforce", "net", "exec", "unix", "system"];
    value::known(report, id, entry.table, "a rule", &keys);
    let why = entry.table.get("why").and_then(|why| {
        let text = why.get_ref().as_str().map(str::to_owned);
        if text.is_none() {
            let message = format!("`why` must be a string, not {}", why.get_ref().type_str());
            report.problem(id, why.span(), finding(message, "say in words why the rule is there"));
        }
        text
    });
    let mut scopes = ["net", "exec", "unix", "system"]
        .into_iter()
        .filter_map(|key| entry.table.get(key).map(|found| (key, found)));
    let scope = match (scopes.next(), scopes.next()) {
        (Some((key, found)), None) => match key {
            "net" => net::scope(report, id, found).map(Scope::Net),
            "exec" => exec::scope(report, id, found).map(Scope::Exec),
            "unix" => door::unix(report, id, found).map(Scope::Unix),
            _ => door::system(report, id, found).map(Scope::System),
        },
        (None, _) => {
            let has = "neither `net` nor `exec`, `unix` or `system`";
            report.problem(id, entry.at.clone(), one_scope(has));
            None
        }
        (Some((first, _)), Some((second, found))) => {
            let has = format!("both `{first}` and `{second}`");
            report.problem(id, found.span(), one_scope(&has));
            None
        }
    };
    (why, scope)
}

/// Whether the rule's denials are held.
fn enforce(report: &mut Report<'_>, entry: &Entry<'_, '_>, id: Option<&str>) -> bool {
    let enforce = value::flag(report, id, entry.table, "enforce");
    if let (Some(_), false) = (enforce, entry.deny) {
        let at = entry.table.get("enforce").map_or(entry.at.clone(), Spanned::span);
        let message = "`enforce` stands in a rule that allows, where there is nothing to hold";
        report.problem(id, at, finding(message, "remove it, or write it into a `[[deny]]`"));
    }
    enforce.unwrap_or(true)
}

fn one_scope(has: &str) -> Finding {
    finding(
        format!("the rule has {has}"),
        "give it exactly one: `net = { to = [\"…\"] }` or `exec = { program = \"…\" }`",
    )
}

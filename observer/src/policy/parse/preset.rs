//! `preset = "contained"`: rules that come with observer, written in the language itself.

use std::collections::HashMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value;
use crate::policy::problem::{Report, finding, quote};
use crate::policy::rule::Rule;

/// The presets, and their text.
pub const PRESETS: [(&str, &str); 1] = [("contained", include_str!("../presets/contained.toml"))];

/// The rules of the presets that a policy names; they stand where they are named, after the
/// policy's own.
pub(super) fn rules(
    report: &mut Report<'_>,
    found: &Spanned<DeValue<'_>>,
    own: &[Rule],
) -> Vec<Rule> {
    let items = value::one_or_many(report, None, found, "preset");
    let mut rules: Vec<Rule> = Vec::new();
    let mut named: HashMap<&str, ()> = HashMap::new();
    for (span, name) in value::strings(report, None, items, "preset") {
        let Some((_, text)) = PRESETS.into_iter().find(|(preset, _)| *preset == name) else {
            let message = format!("`preset` holds {}, which is not known", quote(name));
            let names = PRESETS.map(|(name, _)| name).join(", ");
            report.problem(None, span, finding(message, format!("write one of {names}")));
            continue;
        };
        if named.insert(name, ()).is_some() {
            let message = format!("the preset {} is named twice", quote(name));
            report.problem(None, span, finding(message, "name it once"));
            continue;
        }
        let place = report.place(span.start);
        for rule in of(text) {
            if let Some(taken) = own.iter().find(|own| own.id == rule.id) {
                let message =
                    format!("the preset's id is taken by the rule at line {}", taken.place.0);
                let help = "choose another id for that rule";
                report.problem(Some(&rule.id), span.clone(), finding(message, help));
            }
            rules.push(Rule { place, ..rule });
        }
    }
    rules
}

/// A preset's rules. Its text is ours, and a test holds that it is right.
fn of(text: &str) -> Vec<Rule> {
    let mut report = Report::new(text);
    let Ok(root) = DeTable::parse(text) else { return vec![] };
    super::rules(&mut report, root.get_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_preset_holds_as_a_policy_of_its_own() {
        for (name, text) in PRESETS {
            let policy = format!("version = 1\ndefault = \"allow\"\n{text}");
            let policy = crate::policy::Policy::parse(&policy).unwrap();
            assert_eq!(policy.warnings(), [], "{name}");
            let prefix = format!("{name}.");
            assert!(of(text).iter().all(|rule| rule.id.starts_with(&prefix) && rule.why.is_some()));
            assert_eq!(of(text).len(), policy.tables().rules.len());
        }
    }
}

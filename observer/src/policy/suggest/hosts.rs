//! Names that share a parent, as one `*.parent`: never one below which anybody may have a name.

use std::collections::{BTreeMap, BTreeSet};

use psl::Psl as _;

/// Names that must have been reached below a parent before it stands for them.
const FEWEST: usize = 3;

/// How a rule names hosts, with how often they were reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The name, or `*.` and the parent.
    pub(super) text: String,
    pub(super) count: u64,
    /// The names that a parent stands for; none for a name by itself.
    pub(super) names: Vec<String>,
}

/// Names as rules are to have them: the nearest parent of enough of them stands for these, unless
/// it would let through what was denied.
pub(super) fn grouped(reached: Vec<(String, u64)>, denied: &BTreeSet<String>) -> Vec<Named> {
    let mut below: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, (name, _)) in reached.iter().enumerate() {
        for parent in parents(name) {
            below.entry(parent.to_owned()).or_default().push(index);
        }
    }
    for name in denied {
        parents(name).for_each(|parent| drop(below.remove(parent)));
    }
    below.retain(|parent, members| members.len() >= FEWEST && stands(parent));
    let mut nearest: Vec<_> = below.into_iter().collect();
    nearest.sort_by_key(|(parent, _)| std::cmp::Reverse(labels(parent)));
    let mut taken = BTreeSet::new();
    let mut named = vec![];
    for (parent, members) in nearest {
        let free: Vec<usize> = members.into_iter().filter(|one| !taken.contains(one)).collect();
        if free.len() < FEWEST {
            continue;
        }
        let of = || free.iter().filter_map(|one| reached.get(*one));
        let names = of().map(|(name, _)| name.clone()).collect();
        let count = of().map(|(_, count)| count).sum();
        named.push(Named { text: format!("*.{parent}"), count, names });
        taken.extend(free);
    }
    let alone = reached.into_iter().enumerate().filter(|(index, _)| !taken.contains(index));
    named.extend(alone.map(|(_, (text, count))| Named { text, count, names: vec![] }));
    named.sort_by(|a, b| a.text.cmp(&b.text));
    named
}

/// Places that share a rule.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Whether they are names.
    pub(super) host: bool,
    pub(super) protocol: u8,
    /// The protocols that no rule can name, where it is about these.
    pub(super) unnamed: BTreeSet<u8>,
    pub(super) ports: BTreeSet<u16>,
    pub(super) entries: Vec<Named>,
}

/// Gives what a parent in another group covers, for more ports, to that: a rule of its own would
/// never decide.
pub(super) fn absorb(groups: &mut Vec<Group>) {
    for at in 0..groups.len() {
        let Some(group) = groups.get_mut(at) else { return };
        let (protocol, ports) = (group.protocol, group.ports.clone());
        let entries = std::mem::take(&mut group.entries);
        let mut kept = vec![];
        for entry in entries {
            let parent = groups
                .iter_mut()
                .filter(|other| other.protocol == protocol && other.ports.is_superset(&ports))
                .flat_map(|other| &mut other.entries)
                .find(|other| covers(&other.text, &entry.text));
            match parent {
                Some(parent) => {
                    parent.count += entry.count;
                    let own = if entry.names.is_empty() { vec![entry.text] } else { entry.names };
                    parent.names.extend(own);
                }
                None => kept.push(entry),
            }
        }
        if let Some(group) = groups.get_mut(at) {
            group.entries = kept;
        }
    }
    groups.retain(|group| !group.entries.is_empty());
}

/// Whether `*.` and a parent stands for a name, or for what another such stands for.
fn covers(parent: &str, name: &str) -> bool {
    let below = parent.strip_prefix('*').is_some_and(|below| name.ends_with(below));
    below && parent != name
}

/// What a name lies below, the nearest first.
fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').filter_map(|(dot, _)| name.get(dot + 1..))
}

fn labels(name: &str) -> usize {
    name.split('.').count()
}

/// Whether all names below one belong to whoever has it, as far as the list of public suffixes
/// knows: it is none itself, and none lies below it (`s3.amazonaws.com` below `amazonaws.com`).
fn stands(parent: &str) -> bool {
    labels(parent) >= 2 && psl::domain(parent.as_bytes()).is_some() && !has_suffixes_below(parent)
}

/// The list is asked for a name label by label, from its end: it wants one more than there are
/// where suffixes lie below, and nowhere else.
fn has_suffixes_below(parent: &str) -> bool {
    let mut wanted = false;
    let mut labels = parent.rsplit('.').map(str::as_bytes);
    psl::List.find(std::iter::from_fn(|| {
        let label = labels.next();
        wanted |= label.is_none();
        label
    }));
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(names: &[&str], denied: &[&str]) -> Vec<String> {
        let reached = names.iter().map(|name| ((*name).to_owned(), 2)).collect();
        let denied = denied.iter().map(|name| (*name).to_owned()).collect();
        grouped(reached, &denied).into_iter().map(|named| named.text).collect()
    }

    #[test]
    fn three_names_below_a_parent_are_one_suffix_and_two_are_not() {
        let two = ["a.example.com", "b.example.com"];
        assert_eq!(texts(&two, &[]), two);
        assert_eq!(texts(&[&two[..], &["c.example.com"]].concat(), &[]), ["*.example.com"]);
        assert_eq!(
            texts(&[&two[..], &["example.com"]].concat(), &[]),
            ["a.example.com", "b.example.com", "example.com"],
            "a parent is not below itself"
        );
    }

    #[test]
    fn the_nearest_parent_stands_for_its_names() {
        let names = ["1.cdn.example.com", "2.cdn.example.com", "3.cdn.example.com"];
        let more = [&names[..], &["api.example.com", "www.example.com"]].concat();
        assert_eq!(texts(&more, &[]), ["*.cdn.example.com", "api.example.com", "www.example.com"]);
        let found = grouped(names.map(|name| (name.to_owned(), 2)).to_vec(), &BTreeSet::new());
        assert_eq!((found[0].count, found[0].names.len()), (6, 3));
    }

    #[test]
    fn what_a_suffix_covers_for_more_ports_stands_in_no_rule_of_its_own() {
        let group = |ports: &[u16], texts: &[&str]| Group {
            host: true,
            protocol: 6,
            unnamed: BTreeSet::new(),
            ports: ports.iter().copied().collect(),
            entries: texts
                .iter()
                .map(|text| Named { text: (*text).to_owned(), count: 1, names: vec![] })
                .collect(),
        };
        let mut groups = vec![
            group(&[80, 443], &["*.example.com"]),
            group(&[443], &["a.example.com", "*.cdn.example.com", "example.com"]),
            group(&[8080], &["b.example.com"]),
        ];
        absorb(&mut groups);
        let left: Vec<Vec<&str>> = groups
            .iter()
            .map(|group| group.entries.iter().map(|entry| entry.text.as_str()).collect())
            .collect();
        assert_eq!(left, [vec!["*.example.com"], vec!["example.com"], vec!["b.example.com"]]);
        assert_eq!(groups[0].entries[0].count, 3);
    }

    #[test]
    fn no_suffix_opens_what_others_have_names_below() {
        for parent in [
            "com",
            "co.uk",
            "github.io",
            "cloudfront.net",
            "s3.amazonaws.com",
            "amazonaws.com",
            "windows.net",
            "herokuapp.com",
            "pages.dev",
            "anything.ck",
            "internal",
        ] {
            let names = ["a", "b", "c", "d"].map(|label| format!("{label}.{parent}"));
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert_eq!(texts(&names, &[]), names, "{parent}");
        }
        for parent in ["example.com", "example.co.uk", "me.github.io", "corp.internal", "npmjs.org"]
        {
            let names = ["a", "b", "c"].map(|label| format!("{label}.{parent}"));
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert_eq!(texts(&names, &[]), [format!("*.{parent}")], "{parent}");
        }
    }

    #[test]
    fn no_suffix_lets_through_what_was_denied() {
        let names =
            ["1.cdn.example.com", "2.cdn.example.com", "3.cdn.example.com", "x.example.com"];
        assert_eq!(texts(&names, &["bad.cdn.example.com"]), names);
        assert_eq!(
            texts(&names, &["bad.example.com"]),
            ["*.cdn.example.com", "x.example.com"],
            "what lies beside it"
        );
    }
}

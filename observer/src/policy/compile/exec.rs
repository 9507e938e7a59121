//! Programs: settles each key's own decision, and groups the rules that ask for arguments.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    ArgEntry, Decision, Excess, Group, GroupRule, ProgramEntry, ProgramKey, Unhashed, first,
    number, own,
};
use crate::policy::problem::finding;
use crate::policy::rule::{Class, ExecScope, Rule, Scope};
use crate::policy::{MAX_ARGS, MAX_GROUP_RULES, MAX_PROGRAMS};

/// The tables that decide executions.
#[derive(Default)]
pub(super) struct ExecTables {
    pub(super) programs: Vec<ProgramEntry>,
    pub(super) args: Vec<ArgEntry>,
    pub(super) groups: Vec<Group>,
}

/// Compiles the rules about programs.
pub(super) fn tables(rules: &[Rule], default: Decision) -> Result<ExecTables, Excess> {
    let mut keys: BTreeMap<ProgramKey, Vec<usize>> = BTreeMap::new();
    for (index, rule) in rules.iter().enumerate() {
        let Scope::Exec(scope) = &rule.scope else { continue };
        for program in &scope.programs {
            keys.entry(program.clone()).or_default().push(index);
        }
        if keys.len() > MAX_PROGRAMS {
            let message = format!("the policy names more than {MAX_PROGRAMS} programs");
            let help = "name programs by name instead of by each path";
            return Err(Excess { rule: index, found: finding(message, help) });
        }
    }
    keys.extend(script_names(rules));
    let mut tables = ExecTables::default();
    let mut groups: HashMap<Vec<usize>, u32> = HashMap::new();
    for (key, matching) in keys {
        let plain = matching.iter().copied().filter(|index| args(rules, *index).is_empty());
        let own = first(rules, plain);
        let asking = asking(rules, &matching, own);
        let group = if asking.is_empty() {
            0
        } else if let Some(id) = groups.get(&asking) {
            *id
        } else {
            let id = add(rules, &asking, &mut tables)?;
            groups.insert(asking, id);
            id
        };
        let decision = own.unwrap_or(default);
        tables.programs.push(ProgramEntry { key, decision, group });
    }
    Ok(tables)
}

/// What the rules say of a program whose hash is not known.
pub(super) fn unhashed(rules: &[Rule]) -> Unhashed {
    let by_hash = |rule: &&Rule| match &rule.scope {
        Scope::Exec(exec) => exec.programs.iter().any(|key| matches!(key, ProgramKey::Sha256(_))),
        _ => false,
    };
    let of = |rule: &Rule| match rule.class() {
        Class::Deny => Unhashed::Denied,
        Class::Would => Unhashed::Would,
        Class::Allow => Unhashed::Unknown,
    };
    rules.iter().filter(by_hash).map(of).max().unwrap_or_default()
}

/// The last parts of the paths that rules deny, each with those rules: a script that is called by
/// another path, or from another directory, is denied by its name where no hook resolves that.
fn script_names(rules: &[Rule]) -> BTreeMap<ProgramKey, Vec<usize>> {
    let mut names: BTreeMap<ProgramKey, Vec<usize>> = BTreeMap::new();
    for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.class() == Class::Deny) {
        let Scope::Exec(scope) = &rule.scope else { continue };
        for program in &scope.programs {
            let ProgramKey::Path(path) = program else { continue };
            let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
            let matching = names.entry(ProgramKey::ScriptName(name.to_vec())).or_default();
            if matching.last() != Some(&index) {
                matching.push(index);
            }
        }
    }
    names
}

fn args(rules: &[Rule], index: usize) -> &[Vec<u8>] {
    match rules.get(index).map(|rule| &rule.scope) {
        Some(Scope::Exec(ExecScope { args, .. })) => args,
        _ => &[],
    }
}

/// The rules with arguments that can still decide beside the rules without: those that deny, those
/// that would, then those that allow, each in the file's order.
fn asking(rules: &[Rule], matching: &[usize], own: Option<Decision>) -> Vec<usize> {
    let side = |class: Class| {
        matching.iter().copied().filter(move |index| {
            let earlier = match own {
                Some(Decision::Deny(first)) => class == Class::Deny && number(*index) < first,
                Some(Decision::Would { rule: first, allowed }) => match class {
                    Class::Deny => true,
                    Class::Would => number(*index) < first,
                    Class::Allow => !allowed,
                },
                Some(Decision::Allow(first)) => class != Class::Allow || number(*index) < first,
                _ => true,
            };
            let same = rules.get(*index).is_some_and(|rule| rule.class() == class);
            same && earlier && !args(rules, *index).is_empty()
        })
    };
    side(Class::Deny).chain(side(Class::Would)).chain(side(Class::Allow)).collect()
}

/// Adds a group of rules with arguments; returns its id.
fn add(rules: &[Rule], asking: &[usize], tables: &mut ExecTables) -> Result<u32, Excess> {
    let latest = asking.iter().copied().max().unwrap_or(0);
    if asking.len() > MAX_GROUP_RULES {
        let message = format!(
            "{} rules with `args` apply to one program, more than {MAX_GROUP_RULES}",
            asking.len()
        );
        let help = "deny the program without `args` and allow the few calls that are meant under \
                    another name, or join rules";
        return Err(Excess { rule: latest, found: finding(message, help) });
    }
    let named: BTreeSet<&[u8]> =
        asking.iter().flat_map(|index| args(rules, *index)).map(Vec::as_slice).collect();
    if named.len() > MAX_ARGS {
        let message = format!(
            "the rules of one program name {} different arguments, more than {MAX_ARGS}",
            named.len()
        );
        let help = "name only the arguments that tell the calls apart";
        return Err(Excess { rule: latest, found: finding(message, help) });
    }
    let id = number(tables.groups.len() + 1);
    let bits: BTreeMap<&[u8], u8> = named.into_iter().zip(0..).collect();
    let mask = |index: usize| {
        let bits = args(rules, index).iter().filter_map(|arg| bits.get(arg.as_slice()));
        bits.fold(0, |mask, bit| mask | 1u64 << bit)
    };
    let decision = |index: usize| {
        rules.get(index).map_or(Decision::Deny(number(index)), |rule| own(rule, number(index)))
    };
    let list =
        asking.iter().map(|&index| GroupRule { mask: mask(index), decision: decision(index) });
    tables.groups.push(Group { id, rules: list.collect() });
    let list = bits.iter().map(|(arg, bit)| ArgEntry { group: id, arg: arg.to_vec(), bit: *bit });
    tables.args.extend(list);
    Ok(id)
}

//! Rules that are right and can never decide.
//!
//! A rule that no entry of the tables names decides nothing: that is the test, so it never errs
//! against a rule. It may miss one whose every address lies in narrower prefixes of other rules.

use std::collections::{HashMap, HashSet};

use super::Policy;
use super::compile::{Decision, ProgramKey, RAW, Tables};
use super::problem::{Problem, quote};
use super::rule::{Class, ExecScope, NetScope, Rule, Scope};

/// How many pairs of prefixes or programs are compared to name the rule that shadows another.
const BUDGET: usize = 20_000_000;

/// Warns of rules that change nothing.
pub(super) fn lint(policy: &Policy) -> Vec<Problem> {
    let mut found = Vec::new();
    let alive = Alive::of(&policy.tables);
    let mut budget = BUDGET;
    let would = policy.rules.iter().any(|rule| rule.class() == Class::Would);
    for (index, rule) in policy.rules.iter().enumerate() {
        // Below a rule that is only recorded, one that allows still lets the call go on.
        let hidden = would && !rule.deny;
        let dead = !hidden && !alive.decides(index, rule);
        if dead {
            let (by, help) = match shadow(&policy.rules, index, &mut budget) {
                Some(by) => {
                    (format!("rule {} at line {} does", quote(&by.id), by.place.0), "that one")
                }
                None => ("other rules do".to_owned(), "them"),
            };
            let message = format!("the rule never decides: wherever it matches, {by} first");
            let help = format!("remove the rule, or narrow {help}; deny stands over allow");
            found.push(warning(rule, message, help));
        } else if !rule.deny && !policy.default_deny && !opens_raw(rule) {
            let message = "the rule changes nothing: the default allows already, and no allow \
                           overrides a deny";
            let help = "remove it, narrow the deny that it was meant to lift, or write \
                        `default = \"deny\"`";
            found.push(warning(rule, message.to_owned(), help.to_owned()));
        }
    }
    let runs = |rule: &Rule| !rule.deny && matches!(rule.scope, Scope::Exec(_));
    if policy.default_deny && !policy.rules.iter().any(runs) {
        found.push(Problem {
            rule: None,
            line: 1,
            column: 1,
            message: "no rule allows a program, so nothing can be run, not even a run's first \
                      command"
                .to_owned(),
            help: "add `[[allow]]` rules with `exec = { program = … }`".to_owned(),
        });
    }
    found
}

/// Whether a rule decides sockets that are denied where nothing allows them, even by default.
fn opens_raw(rule: &Rule) -> bool {
    match &rule.scope {
        Scope::Net(net) => net.is_anywhere() && net.protocols.contains(&RAW),
        _ => false,
    }
}

fn warning(rule: &Rule, message: String, help: String) -> Problem {
    let (line, column) = rule.place;
    Problem { rule: Some(rule.id.clone()), line, column, message, help }
}

/// Which rules the tables name.
struct Alive<'t> {
    net: HashSet<u32>,
    doors: HashSet<u32>,
    programs: HashMap<&'t ProgramKey, (Decision, HashSet<u32>)>,
}

impl<'t> Alive<'t> {
    fn of(tables: &'t Tables) -> Self {
        let ports = tables.ports.iter().map(|entry| entry.decision);
        let net = ports.chain([tables.raw]).filter_map(Decision::rule).collect();
        let groups: HashMap<u32, &[_]> =
            tables.groups.iter().map(|group| (group.id, group.rules.as_slice())).collect();
        let programs = tables.programs.iter().map(|entry| {
            let group = groups.get(&entry.group).copied().unwrap_or_default();
            let decisions = group.iter().map(|rule| rule.decision).chain([entry.decision]);
            (&entry.key, (entry.decision, decisions.filter_map(Decision::rule).collect()))
        });
        let unix = tables.unix.iter().map(|entry| entry.decision);
        let doors = unix.chain(tables.system.iter().map(|(_, decision)| *decision));
        let doors = doors.filter_map(Decision::rule).collect();
        Self { net, doors, programs: programs.collect() }
    }

    fn decides(&self, index: usize, rule: &Rule) -> bool {
        let Ok(number) = u32::try_from(index) else { return true };
        let scope = match &rule.scope {
            Scope::Exec(scope) => scope,
            Scope::Net(_) => return self.net.contains(&number),
            Scope::Unix(_) | Scope::System(_) => return self.doors.contains(&number),
        };
        scope.programs.iter().any(|key| {
            let named = self.programs.get(key).is_some_and(|(_, rules)| rules.contains(&number));
            // A path's last part is looked up too, and a deny there is final.
            let by_name = base(key).and_then(|name| self.programs.get(&name));
            let lost = match by_name {
                Some((Decision::Deny(by), _)) => !rule.deny || *by < number,
                _ => false,
            };
            named && !lost
        })
    }
}

/// The name that a path ends in, as a key.
fn base(key: &ProgramKey) -> Option<ProgramKey> {
    match key {
        ProgramKey::Path(path) => {
            path.rsplit(|byte| *byte == b'/').next().map(|name| ProgramKey::Name(name.to_vec()))
        }
        _ => None,
    }
}

/// A single rule that decides before this one wherever this one matches.
fn shadow<'r>(rules: &'r [Rule], index: usize, budget: &mut usize) -> Option<&'r Rule> {
    let rule = rules.get(index)?;
    rules.iter().enumerate().find_map(|(other, by)| {
        let before = match (by.class(), rule.class()) {
            (by, class) if by == class => other < index,
            (by, _) => by == Class::Deny,
        };
        let covers = before
            && match (&by.scope, &rule.scope) {
                (Scope::Net(by), Scope::Net(rule)) => net_covers(by, rule, budget),
                (Scope::Exec(by), Scope::Exec(rule)) => exec_covers(by, rule, budget),
                _ => false,
            };
        covers.then_some(by)
    })
}

fn spend(budget: &mut usize, cost: usize) -> bool {
    let left = budget.checked_sub(cost.max(1));
    *budget = left.unwrap_or(0);
    left.is_some()
}

fn net_covers(by: &NetScope, rule: &NetScope, budget: &mut usize) -> bool {
    let size = |scope: &NetScope| scope.to.as_ref().map_or(1, Vec::len).max(scope.hosts.len());
    let cost = size(by) * size(rule);
    if !spend(budget, cost) {
        return false;
    }
    if by.hosts.is_empty() != rule.hosts.is_empty() {
        return false;
    }
    let names = rule.hosts.iter().all(|host| by.hosts.iter().any(|by| by.covers(host)));
    let addresses = match (&by.to, &rule.to) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(by), Some(rule)) => rule.iter().all(|net| by.iter().any(|by| by.covers(*net))),
    };
    let ports = by.ports.is_empty()
        || (!rule.ports.is_empty()
            && rule
                .ports
                .iter()
                .all(|(low, high)| by.ports.iter().any(|(from, to)| from <= low && high <= to)));
    let protocols = by.protocols.is_empty()
        || (!rule.protocols.is_empty() && rule.protocols.iter().all(|p| by.matches_protocol(*p)));
    addresses && names && ports && protocols
}

fn exec_covers(by: &ExecScope, rule: &ExecScope, budget: &mut usize) -> bool {
    spend(budget, by.programs.len() * rule.programs.len())
        && rule.programs.iter().all(|program| {
            by.programs.contains(program)
                || base(program).is_some_and(|name| by.programs.contains(&name))
        })
        && by.args.iter().all(|arg| rule.args.contains(arg))
}

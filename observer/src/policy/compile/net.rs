//! Destinations: closes prefixes over those that contain them, and settles each set's ports.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::{
    ANY_PORT, ANY_PROTOCOL, Decision, Excess, Name, PortEntry, Prefix, RAW, first, names, number,
    settled,
};
use crate::policy::problem::finding;
use crate::policy::rule::{Class, Net, NetScope, Rule, Scope};
use crate::policy::{MAX_PORT_ENTRIES, MAX_PREFIXES, MAX_SET_RULES};

/// The tables that decide network calls.
pub(super) struct NetTables {
    pub(super) prefixes: Vec<Prefix>,
    pub(super) names: Vec<Name>,
    pub(super) ports: Vec<PortEntry>,
    pub(super) raw: Decision,
}

/// Compiles the rules about destinations.
pub(super) fn tables(rules: &[Rule], default: Decision) -> Result<NetTables, Excess> {
    let mut anywhere = Vec::new();
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (index, scope) in scopes(rules) {
        match &scope.to {
            None if scope.hosts.is_empty() => anywhere.push(index),
            None => {}
            Some(nets) => {
                for net in nets {
                    if net.is_v4() { v4.push((*net, index)) } else { v6.push((*net, index)) }
                }
            }
        }
        if v4.len() + v6.len() > MAX_PREFIXES {
            let message = format!("the policy names more than {MAX_PREFIXES} prefixes");
            let help = "join prefixes that lie side by side, or drop those within others";
            return Err(Excess { rule: index, found: finding(message, help) });
        }
    }
    let mut sets = Sets::new(rules);
    let mut prefixes = Vec::with_capacity(v4.len() + v6.len() + 2);
    close(&mut sets, Net::ALL_V6, &anywhere, v6, &mut prefixes)?;
    close(&mut sets, Net::ALL_V4, &anywhere, v4, &mut prefixes)?;
    prefixes.sort_unstable();
    let (names, lookups) = names::table(rules, &mut sets)?;
    let mut ports = Vec::new();
    for (number, set) in (1..).zip(&sets.list) {
        settle(rules, default, number, set, &mut ports)?;
    }
    ports.extend(lookups);
    let raw = scopes(rules).filter(|(_, scope)| scope.is_anywhere() && scope.matches_protocol(RAW));
    let raw = first(rules, raw.map(|(index, _)| index));
    let ruled = |index: usize| rules.get(index).is_some_and(|rule| rule.class() != Class::Would);
    let ruled = scopes(rules).any(|(index, _)| ruled(index));
    let raw = settled(raw, if ruled { Decision::DefaultDeny } else { default });
    Ok(NetTables { prefixes, names, ports, raw })
}

pub(super) fn scopes(rules: &[Rule]) -> impl Iterator<Item = (usize, &NetScope)> {
    rules.iter().enumerate().filter_map(|(index, rule)| match &rule.scope {
        Scope::Net(scope) => Some((index, scope)),
        _ => None,
    })
}

pub(super) fn scope(rules: &[Rule], index: usize) -> Option<(&Rule, &NetScope)> {
    match rules.get(index) {
        Some(rule) => match &rule.scope {
            Scope::Net(scope) => Some((rule, scope)),
            _ => None,
        },
        None => None,
    }
}

/// Sets of rules by number, each once.
pub(super) struct Sets<'r> {
    rules: &'r [Rule],
    ids: HashMap<Rc<[usize]>, u32>,
    list: Vec<Rc<[usize]>>,
    weight: usize,
    /// What was joined before: a long list of prefixes joins the same rules over and over.
    joined: HashMap<(u32, Vec<usize>), Joined>,
}

/// A set's number and its rules.
pub(super) type Joined = (u32, Rc<[usize]>);

impl<'r> Sets<'r> {
    fn new(rules: &'r [Rule]) -> Self {
        let (ids, joined) = (HashMap::new(), HashMap::new());
        Self { rules, ids, list: Vec::new(), weight: 0, joined }
    }

    /// The set of a containing set's rules and those added.
    fn join(&mut self, (outer, rules): &Joined, own: Vec<usize>) -> Result<Joined, Excess> {
        let key = (*outer, own);
        if let Some(known) = self.joined.get(&key) {
            return Ok(known.clone());
        }
        let found = self.number(rules, &key.1)?;
        self.joined.insert(key, found.clone());
        Ok(found)
    }

    /// The set of these rules, with a number from 1.
    pub(super) fn number(&mut self, outer: &[usize], own: &[usize]) -> Result<Joined, Excess> {
        let mut all = [outer, own].concat();
        all.sort_unstable();
        all.dedup();
        let all: Rc<[usize]> = self.prune(all).into();
        if let Some(id) = self.ids.get(&all) {
            return Ok((*id, all));
        }
        self.weight += all
            .iter()
            .map(|index| scope(self.rules, *index).map_or(1, |(_, net)| net.ports.len().max(1)))
            .sum::<usize>();
        if self.weight > MAX_SET_RULES {
            let message = "too many rules overlap: each prefix counts every rule that reaches it";
            let help = "put prefixes that share one fate into one rule's `to`, and rules without \
                        conditions before rules with `port` or `protocol`";
            let rule = own.last().or(outer.last()).copied().unwrap_or(0);
            return Err(Excess { rule, found: finding(message, help) });
        }
        self.list.push(Rc::clone(&all));
        let id = number(self.list.len());
        self.ids.insert(Rc::clone(&all), id);
        Ok((id, all))
    }

    /// Drops what can't decide beside a rule that holds for every protocol and port: a later rule
    /// of its kind, and below one that denies all others.
    fn prune(&self, mut set: Vec<usize>) -> Vec<usize> {
        let always = |class: Class| {
            set.iter().copied().find(|index| {
                scope(self.rules, *index)
                    .is_some_and(|(rule, net)| rule.class() == class && net.unconditional())
            })
        };
        let (deny, would, allow) =
            (always(Class::Deny), always(Class::Would), always(Class::Allow));
        set.retain(|index| {
            let Some(class) = self.rules.get(*index).map(Rule::class) else { return false };
            let last = match class {
                Class::Deny => deny,
                Class::Would => would,
                Class::Allow => allow,
            };
            (class == Class::Deny || deny.is_none()) && last.is_none_or(|last| *index <= last)
        });
        set
    }
}

/// Gives each prefix of one family the set of all rules that reach it. A prefix that changes
/// nothing is left out: its container answers for it.
fn close(
    sets: &mut Sets<'_>,
    root: Net,
    anywhere: &[usize],
    mut nets: Vec<(Net, usize)>,
    prefixes: &mut Vec<Prefix>,
) -> Result<(), Excess> {
    nets.sort_unstable();
    let (own, nets) = nets.split_at(nets.partition_point(|(net, _)| *net <= root));
    let own: Vec<usize> = own.iter().map(|(_, index)| *index).collect();
    let set = sets.number(anywhere, &own)?;
    prefixes.push(entry(root, set.0));
    // The chain of prefixes around the one at hand, the widest first; never empty, for the root
    // holds every prefix of its family.
    let mut outer = vec![(root, set)];
    for same in nets.chunk_by(|a, b| a.0 == b.0) {
        let Some((net, _)) = same.first().copied() else { continue };
        while outer.len() > 1 && outer.last().is_some_and(|(last, _)| !last.covers(net)) {
            outer.pop();
        }
        let Some((_, around)) = outer.last() else { continue };
        let own: Vec<usize> = same.iter().map(|(_, index)| *index).collect();
        let set = sets.join(around, own)?;
        if set.0 != around.0 {
            prefixes.push(entry(net, set.0));
            outer.push((net, set));
        }
    }
    Ok(())
}

fn entry(net: Net, set: u32) -> Prefix {
    Prefix { addr: net.bits.to_be_bytes(), len: net.len, set }
}

/// Ports from the first to the last, both included, that share a decision.
type Segment = (u16, u16, Decision);

/// Writes a set's entries: one for any protocol and port, and what differs.
fn settle(
    rules: &[Rule],
    default: Decision,
    number: u32,
    set: &[usize],
    entries: &mut Vec<PortEntry>,
) -> Result<(), Excess> {
    let named: BTreeSet<u8> = set
        .iter()
        .filter_map(|index| scope(rules, *index))
        .flat_map(|(_, net)| net.protocols.iter().copied())
        .collect();
    let other = segments(rules, default, set, ANY_PROTOCOL);
    let same = |segments: &Vec<Segment>| *segments != other;
    let named: Vec<(u8, Vec<Segment>)> = named
        .into_iter()
        .map(|protocol| (protocol, segments(rules, default, set, protocol)))
        .filter(|(_, segments)| same(segments))
        .collect();
    for (protocol, segments) in std::iter::once((ANY_PROTOCOL, other.clone())).chain(named) {
        let usual = usual(&segments, default);
        entries.push(PortEntry { set: number, protocol, port: ANY_PORT, decision: usual });
        for (low, high, decision) in segments {
            if decision == usual {
                continue;
            }
            if entries.len() + usize::from(high - low) > MAX_PORT_ENTRIES {
                return Err(too_many_ports(rules, set));
            }
            entries.extend((low..=high).map(|port| PortEntry {
                set: number,
                protocol,
                port: u32::from(port),
                decision,
            }));
        }
        if entries.len() > MAX_PORT_ENTRIES {
            return Err(too_many_ports(rules, set));
        }
    }
    Ok(())
}

/// Names the rule of the set whose ports take the most room.
fn too_many_ports(rules: &[Rule], set: &[usize]) -> Excess {
    let width = |index: &usize| {
        scope(rules, *index).map_or(0, |(_, net)| {
            net.ports.iter().map(|(low, high)| u32::from(high - low) + 1).sum::<u32>()
        })
    };
    let message = format!(
        "the ports of all rules over all prefixes need more than {MAX_PORT_ENTRIES} entries"
    );
    let help = "name fewer ports, or put prefixes that share one fate into one rule's `to`";
    let rule = set.iter().copied().max_by_key(width).unwrap_or(0);
    Excess { rule, found: finding(message, help) }
}

/// What a set decides for a protocol, over all ports, in ascending order and with no two alike
/// side by side. [`ANY_PROTOCOL`] here is a protocol that no rule names.
fn segments(rules: &[Rule], default: Decision, set: &[usize], protocol: u8) -> Vec<Segment> {
    let mut edges: BTreeMap<u32, Vec<(bool, usize)>> = BTreeMap::new();
    for index in set {
        let Some((_, net)) = scope(rules, *index) else { continue };
        if !net.matches_protocol(protocol) {
            continue;
        }
        let everywhere = [(0, u16::MAX)];
        let ranges: &[(u16, u16)] = if net.ports.is_empty() { &everywhere } else { &net.ports };
        for (low, high) in ranges {
            edges.entry(u32::from(*low)).or_default().push((true, *index));
            edges.entry(u32::from(*high) + 1).or_default().push((false, *index));
        }
    }
    edges.entry(0).or_default();
    edges.entry(ANY_PORT).or_default();
    let mut active: [BTreeSet<usize>; 3] = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
    let mut found: Vec<Segment> = Vec::new();
    let mut edges = edges.into_iter().peekable();
    while let Some((start, changes)) = edges.next() {
        for (opens, index) in changes {
            let side = match rules.get(index).map(Rule::class) {
                Some(Class::Would) => &mut active[1],
                Some(Class::Allow) => &mut active[2],
                _ => &mut active[0],
            };
            let _ = if opens { side.insert(index) } else { side.remove(&index) };
        }
        let Some((end, _)) = edges.peek() else { break };
        let firsts = active.iter().filter_map(|side| side.first().copied());
        // Not settled with the default: another set may have a word on the same call.
        let decision = first(rules, firsts).unwrap_or(default);
        // Edges lie in 0..=65536, and a segment ends before the last.
        let (Ok(low), Ok(high)) = (u16::try_from(start), u16::try_from(end - 1)) else { continue };
        match found.last_mut() {
            Some(last) if last.2 == decision => last.1 = high,
            _ => found.push((low, high, decision)),
        }
    }
    found
}

/// The decision that most ports share.
fn usual(segments: &[Segment], default: Decision) -> Decision {
    let mut widths: BTreeMap<Decision, u32> = BTreeMap::new();
    for (low, high, decision) in segments {
        *widths.entry(*decision).or_default() += u32::from(high - low) + 1;
    }
    widths.into_iter().max_by_key(|(_, width)| *width).map_or(default, |(decision, _)| decision)
}

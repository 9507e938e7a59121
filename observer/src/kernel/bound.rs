//! What answers bound to addresses, where the kernel could not bind it itself.
//!
//! It binds each answer as it comes, by the names that its policy knows. Another policy knows
//! others: what was answered before it decides is bound from here, by the same rules
//! (observer-ebpf, dns/answer.rs and bind.rs).

use std::collections::HashMap as Map;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, MapData};
use observer_common::{
    BOUND_ALIASES, BOUND_WAYS, Bound, Config, HOST_LEN, NameKey, NameValue, NetKey, Way,
    config_flag, name_flag, way_flag,
};

use super::error::{LoadError, Step};
use super::tables;
use crate::model::Answered;
use crate::policy::host;

const WHAT: &str = "bind what was answered before";

/// A policy's names, and the addresses that answers bound to them.
pub(super) struct Names {
    config: Config,
    rules: LpmTrie<MapData, NameKey, NameValue>,
    bound: HashMap<MapData, NetKey, Bound>,
}

impl Names {
    /// `rules` and `bound`: the tables of one bank.
    pub(super) fn new(
        config: Config,
        rules: LpmTrie<MapData, NameKey, NameValue>,
        bound: HashMap<MapData, NetKey, Bound>,
    ) -> Self {
        Self { config, rules, bound }
    }

    /// The table that is filled.
    pub(super) fn bound(&self) -> &HashMap<MapData, NetKey, Bound> {
        &self.bound
    }

    /// Binds what was answered, the oldest first, in a table that nobody else writes to yet. With
    /// each goes whether its resolver is believed.
    pub(super) fn fill(&mut self, answers: &[(&Answered, bool)]) -> Result<(), LoadError> {
        let mut all: Map<NetKey, Bound> = Map::new();
        for (answered, trusted) in answers {
            if let Some(way) = self.way(answered, *trusted) {
                add(all.entry(tables::net_key(answered.addr)).or_default(), way);
            }
        }
        all.iter().try_for_each(|(addr, bound)| self.bound.insert(addr, bound, 0)).step(WHAT)
    }

    /// Binds one more, beside the kernel: it is bound at once, and what the kernel binds to the same
    /// address within these microseconds can get lost.
    pub(super) fn bind(&mut self, answered: &Answered, trusted: bool) -> Result<(), LoadError> {
        let Some(way) = self.way(answered, trusted) else { return Ok(()) };
        let addr = tables::net_key(answered.addr);
        let before = self.bound.get(&addr, 0).unwrap_or_default();
        let mut after = before;
        add(&mut after, way);
        if after == before { Ok(()) } else { self.bound.insert(addr, after, 0).step(WHAT) }
    }

    /// How an address came by a name; none where that decides nothing.
    fn way(&self, answered: &Answered, trusted: bool) -> Option<Way> {
        if self.config.flags & config_flag::NAME_RULES == 0 {
            return None;
        }
        let (asked, denied) = self.ask(&answered.name);
        let denying = answered.aliases.iter().map(|alias| self.ask(alias));
        let denying: Vec<u32> = denying.filter(|(_, denies)| *denies).map(|(set, _)| set).collect();
        let allows = asked != 0 || self.config.flags & config_flag::NET_DENY == 0;
        if !(denied || !denying.is_empty() || trusted && allows) {
            return None;
        }
        let mut aliases = [0; BOUND_ALIASES];
        aliases.iter_mut().zip(denying).for_each(|(to, set)| *to = set);
        let flags = self.config.generation << way_flag::GENERATION
            | way_flag::USED
            | if trusted { 0 } else { way_flag::UNTRUSTED };
        Some(Way { asked, aliases, flags })
    }

    /// The set of rules that speak of a name, and whether one of them denies.
    fn ask(&self, name: &str) -> (u32, bool) {
        let wanted = host::key(name.as_bytes());
        let mut key = [0; HOST_LEN];
        let Some(room) = key.get_mut(..wanted.len()) else { return (0, false) };
        room.copy_from_slice(&wanted);
        let len = wanted.len() as u32;
        let Ok(found) = self.rules.get(&Key::new(len * 8, key), 0) else { return (0, false) };
        if found.len == len {
            (found.exact, found.flags & name_flag::EXACT_DENIES != 0)
        } else {
            (found.below, found.flags & name_flag::BELOW_DENIES != 0)
        }
    }
}

/// Adds a way as the kernel does: each once, and the oldest makes room.
fn add(bound: &mut Bound, way: Way) {
    if !bound.ways.contains(&way) {
        let place = bound.next as usize % BOUND_WAYS;
        bound.ways[place] = way;
        bound.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_way_makes_room() {
        let mut bound = Bound::default();
        let way = |asked: u32| Way { asked, flags: way_flag::USED, ..Way::default() };
        (1..=BOUND_WAYS as u32).chain([2, 9]).for_each(|asked| add(&mut bound, way(asked)));
        let asked: Vec<u32> = bound.ways.iter().map(|way| way.asked).collect();
        assert_eq!(asked, [9, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(bound.next, 9);
    }
}

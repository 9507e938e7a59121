//! Connections that are open when a policy comes to decide: what it denies is ended, and told.
//!
//! It is looked twice. The second time, a tick later, all is there that was under way when the policy
//! came, and every connect is known that the run made by then.

use std::collections::HashSet;
use std::time::Instant;

use super::Worker;
use crate::abort::Standing;
use crate::assemble::{Denied, Item};
use crate::clock;
use crate::ledger::Entry;
use crate::pipeline::TICK;
use crate::pipeline::standing::{Ruled, Word};

/// A policy, until it was held against all of them.
pub(super) struct Holding {
    ruled: Box<Ruled>,
    since: Instant,
    told: HashSet<u64>,
}

impl Worker {
    /// A policy has come to decide.
    pub(super) fn hold_standing(&mut self, ruled: Box<Ruled>) {
        let mut holding = Holding { ruled, since: Instant::now(), told: HashSet::new() };
        // Before a run was recorded nothing of it can be known.
        let all = holding.ruled.generation == 1;
        self.look_at_standing(&mut holding, all);
        self.holding = Some(holding);
    }

    /// Looks again, where it is time.
    pub(super) fn hold_standing_again(&mut self) {
        let due = |holding: &mut Holding| holding.since.elapsed() >= TICK;
        if let Some(mut holding) = self.holding.take_if(due) {
            self.look_at_standing(&mut holding, true);
        }
    }

    /// `all`: also what is not known to be of the run by more than its socket's cgroup.
    fn look_at_standing(&mut self, holding: &mut Holding, all: bool) {
        let (connections, whole) = self.hooks.connected();
        let names = holding.ruled.names(self.bindings.as_ref());
        let mut unknown = 0;
        for it in connections {
            let asked = self.assembler.began(it.cookie());
            if asked.is_none() && !(all && it.own && !it.accepted) {
                continue;
            }
            let known = names.get(&it.peer().ip()).cloned().unwrap_or_default();
            match holding.ruled.word((it.peer(), it.protocol()), asked, known) {
                Word::Allowed => {}
                Word::Unknown => unknown += 1,
                Word::Denied(rule) => self.end_standing(holding, &it, rule),
            }
        }
        if let Err(error) = whole {
            self.unended(&error);
        }
        if unknown > 0 {
            self.append(Entry::Coverage {
                run: self.run,
                at: clock::now(),
                what: "connections of before".to_owned(),
                covered: false,
                why: format!(
                    "{unknown} that were open already go on: nobody saw which names led there"
                ),
            });
        }
    }

    fn end_standing(&mut self, holding: &mut Holding, it: &Standing, rule: String) {
        let ended = match self.hooks.end(it) {
            Ok(true) => true,
            // It has ended meanwhile.
            Ok(false) => return,
            Err(error) => {
                self.unended(&error);
                false
            }
        };
        if !holding.told.insert(it.cookie()) {
            return;
        }
        self.set_policy(holding.ruled.generation);
        let denied = Denied {
            cookie: it.cookie(),
            protocol: it.protocol(),
            peer: it.peer(),
            cgroup: it.cgroup(),
            rule,
            ended,
        };
        let call = self.assembler.kept(denied, clock::now().mono_ns, &mut self.world);
        self.item(Item::Call(Box::new(call)));
    }
}

//! What did not arrive: counted where it was lost, and each rise of a count a record.

use std::mem;

use observer_common::Counters;

use super::Worker;
use crate::clock;
use crate::kernel::Meters;
use crate::ledger::{Entry, Events};

/// What was counted, and what of it was told.
pub(super) struct Losses {
    meters: Meters,
    told: Counters,
    missed: u64,
    evicted: u64,
    /// Events that arrived.
    pub(super) kept: u64,
    lost: u64,
}

impl Losses {
    pub(super) fn new(meters: Meters) -> Self {
        Self { meters, told: Counters::default(), missed: 0, evicted: 0, kept: 0, lost: 0 }
    }
}

impl Worker {
    /// Turns counts of loss that rose into records.
    pub(super) fn count(&mut self) {
        let Ok(now) = self.losses.meters.counters() else {
            return self.lose("counters", 0, "the counts of loss can't be read");
        };
        let then = mem::replace(&mut self.losses.told, now);
        self.losses.lost = now.events_lost + now.control_lost + now.streams_lost;
        let rises = [
            ("events", now.events_lost, then.events_lost, "the payload ring was full"),
            ("control", now.control_lost, then.control_lost, "the control ring was full"),
            ("labels", now.labels_lost, then.labels_lost, "the map of processes was full"),
            ("streams", now.streams_lost, then.streams_lost, "the ring of TCP payload was full"),
            (
                "connections",
                now.streams_unkept,
                then.streams_unkept,
                "no room to follow a connection's payload",
            ),
            ("scratch", now.scratch_busy, then.scratch_busy, "the exec buffer was in use"),
            ("flows", now.flows_lost, then.flows_lost, "no room to await a connect's result"),
            ("tls", now.tls_lost, then.tls_lost, "a TLS library's call could not be followed"),
            ("dns", now.dns_busy, then.dns_busy, "a DNS message could not be read"),
            ("names", now.names_lost, then.names_lost, "no room to bind an address to a name"),
            (
                "signals",
                now.owners_lost,
                then.owners_lost,
                "no room to remember who asked for a descriptor's signals",
            ),
        ];
        for (place, now, then, why) in rises {
            if now > then {
                self.lose(place, now - then, why);
            }
        }
    }

    /// The same of connections whose payload was given up here.
    pub(super) fn count_evicted(&mut self) {
        let evicted = self.assembler.evicted();
        if evicted > self.losses.evicted {
            let rise = evicted - self.losses.evicted;
            self.losses.evicted = evicted;
            self.lose("connections", rise, "more connections at once than are followed");
        }
    }

    /// The same of the programs: the kernel tells it in a file for each.
    pub(super) fn count_missed(&mut self) {
        let missed = self.losses.meters.missed();
        if missed > self.losses.missed {
            let rise = missed - self.losses.missed;
            self.losses.missed = missed;
            self.lose("programs", rise, "the kernel left a program out that was running already");
        }
    }

    /// What the kernel told, and what came of it. What was counted there and never arrived is lost
    /// too.
    pub(super) fn account(&mut self) -> Events {
        let told = &self.losses.told;
        let produced = told.events + told.control + told.streams;
        let unaccounted = produced.saturating_sub(self.losses.kept + self.losses.lost);
        if unaccounted > 0 {
            self.lose("rings", unaccounted, "counted as sent, and never arrived");
        }
        let Losses { kept, lost, .. } = self.losses;
        Events { produced, kept, lost: lost + unaccounted }
    }

    pub(super) fn lose(&mut self, place: &str, lost: u64, why: &str) {
        self.append(Entry::Loss {
            run: Some(self.run),
            at: clock::now(),
            place: place.to_owned(),
            lost,
            why: why.to_owned(),
        });
    }
}

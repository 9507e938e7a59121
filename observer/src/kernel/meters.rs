//! What was told, and what was lost, as the kernel side counts it.

use aya::maps::{MapData, PerCpuArray};
use aya::programs::ProgramFd;
use observer_common::Counters;

use super::error::{LoadError, Step};

/// What was told, and what was lost, as the kernel side counts it.
pub struct Meters {
    pub(super) counters: PerCpuArray<MapData, Counters>,
    pub(super) programs: Vec<ProgramFd>,
}

impl Meters {
    /// The sums over all CPUs.
    pub fn counters(&self) -> Result<Counters, LoadError> {
        let slots = self.counters.get(&0, 0).step("read the counts of events")?;
        Ok(slots.iter().fold(Counters::default(), |sum, one| Counters {
            events: sum.events + one.events,
            control: sum.control + one.control,
            events_lost: sum.events_lost + one.events_lost,
            control_lost: sum.control_lost + one.control_lost,
            labels_lost: sum.labels_lost + one.labels_lost,
            scratch_busy: sum.scratch_busy + one.scratch_busy,
            flows_lost: sum.flows_lost + one.flows_lost,
            dns_busy: sum.dns_busy + one.dns_busy,
            names_lost: sum.names_lost + one.names_lost,
            owners_lost: sum.owners_lost + one.owners_lost,
            ids: sum.ids + one.ids,
            streams: sum.streams + one.streams,
            streams_lost: sum.streams_lost + one.streams_lost,
            streams_unkept: sum.streams_unkept + one.streams_unkept,
            tls_lost: sum.tls_lost + one.tls_lost,
        }))
    }

    /// Runs that the kernel left out since the program was running on that CPU already.
    pub fn missed(&self) -> u64 {
        super::probe::missed(self.programs.iter())
    }
}

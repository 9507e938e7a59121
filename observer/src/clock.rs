//! The two clocks, and the boot that they belong to.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

use crate::model::Stamp;

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Now, on both.
pub fn now() -> Stamp {
    Stamp { mono_ns: read(ClockId::Boottime), wall_ns: read(ClockId::Realtime) }
}

/// UTC minus CLOCK_BOOTTIME, in nanoseconds.
pub fn wall_offset() -> u64 {
    let now = now();
    now.wall_ns.wrapping_sub(now.mono_ns)
}

/// This boot's id (random(4), /proc/sys/kernel/random/boot_id); empty where it can't be read.
pub fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

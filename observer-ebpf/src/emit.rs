//! Events on their way out: counted before the reservation, and lost ones counted too.
//!
//! A wake-up for each event is what observation costs, so there is none, unless user space
//! sleeps, an event is urgent, or a ring is past its mark.

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns};
use aya_ebpf::maps::RingBuf;
use observer_common::{Counters, EventKind, Header};

use crate::maps::{CONTROL, COUNTERS, EVENTS, IDLE, PAYLOAD};

/// How full the rings of calls and of payload may be, and the control ring, before each event wakes
/// the reader: bytes, a quarter of each. User space sets it with their sizes.
#[unsafe(no_mangle)]
pub static RING_MARKS: [u64; 2] = [4 << 20, 1 << 20];

/// Which ring an event goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ring {
    /// Calls.
    Events,
    /// TCP payload.
    Payload,
    /// Denials and lifecycle.
    Control,
}

impl Ring {
    #[inline(always)]
    fn map(self) -> &'static RingBuf {
        match self {
            Self::Events => &EVENTS,
            Self::Payload => &PAYLOAD,
            Self::Control => &CONTROL,
        }
    }

    /// From here on each event wakes the reader.
    #[inline(always)]
    fn mark(self) -> u64 {
        let at = match self {
            Self::Events | Self::Payload => 0,
            Self::Control => 1,
        };
        // SAFETY: a global of our own; volatile, since user space changes it before the load.
        unsafe { (&raw const RING_MARKS[at]).read_volatile() }
    }
}

#[inline(always)]
fn count(field: impl FnOnce(*mut Counters) -> *mut u64) -> u64 {
    match COUNTERS.get_ptr_mut(0) {
        // SAFETY: this CPU's own slot; atomic, since a cgroup program can be preempted.
        Some(counters) => unsafe { crate::kernel::fetch_add(field(counters), 1) },
        None => 0,
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident, $field:ident) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name() -> u64 {
            // SAFETY: a place inside the slot; nothing is read through it here.
            count(|c| unsafe { &raw mut (*c).$field })
        }
    };
}

counter!(count_event, events);
counter!(count_control, control);
counter!(count_event_lost, events_lost);
counter!(count_control_lost, control_lost);
counter!(count_stream, streams);
counter!(count_stream_lost, streams_lost);
counter!(
    /// A connection's payload is not told.
    stream_unkept, streams_unkept
);
counter!(
    /// A process could not be labelled.
    label_lost, labels_lost
);
counter!(
    /// An event was left out: the scratch buffer was in use.
    scratch_busy, scratch_busy
);
counter!(
    /// A connect's result can't be told.
    flow_lost, flows_lost
);
counter!(
    /// A call of a TLS library could not be followed.
    tls_lost, tls_lost
);
counter!(
    /// A DNS message was left unread.
    dns_busy, dns_busy
);
counter!(
    /// An address could not be bound to its name.
    name_lost, names_lost
);
counter!(
    /// Who set a descriptor's owner could not be remembered.
    owner_lost, owners_lost
);
counter!(count_id, ids);

/// An id for an exec or a call: never 0, unique on this boot.
#[inline(always)]
pub fn new_id() -> u64 {
    ((cpu() as u64 + 1) << 48) | (count_id() + 1)
}

/// The CPU that runs this.
#[inline(always)]
pub fn cpu() -> u32 {
    // SAFETY: takes nothing.
    unsafe { bpf_get_smp_processor_id() }
}

/// CLOCK_BOOTTIME, nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: takes nothing.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Numbers an event, before its reservation.
#[inline(always)]
pub fn number(header: &mut Header, ring: Ring, kind: EventKind) {
    header.kind = kind as u32;
    header.cpu = cpu();
    header.time = now();
    header.seq = match ring {
        Ring::Events => count_event(),
        Ring::Payload => count_stream(),
        Ring::Control => count_control(),
    };
}

/// Counts an event that was numbered and has no place.
#[inline(always)]
pub fn lost(ring: Ring) {
    match ring {
        Ring::Events => count_event_lost(),
        Ring::Payload => count_stream_lost(),
        Ring::Control => count_control_lost(),
    };
}

/// Whether this event wakes the reader.
#[inline(always)]
pub fn wake(ring: Ring, urgent: bool) -> u64 {
    if urgent || ring.map().query(BPF_RB_AVAIL_DATA.into()) > ring.mark() {
        return BPF_RB_FORCE_WAKEUP.into();
    }
    if let Some(idle) = IDLE.get_ptr_mut(0) {
        // SAFETY: a slot of our own; a lost race costs one wake-up too many.
        unsafe {
            if idle.read_volatile() != 0 {
                idle.write_volatile(0);
                return BPF_RB_FORCE_WAKEUP.into();
            }
        }
    }
    BPF_RB_NO_WAKEUP.into()
}

/// Sends an event of fixed size: `fill` completes it in place of its reservation.
#[inline(always)]
pub fn send<T: 'static>(
    header: &mut Header,
    ring: Ring,
    kind: EventKind,
    urgent: bool,
    make: impl FnOnce(&Header) -> T,
) {
    number(header, ring, kind);
    match ring.map().reserve::<T>(0) {
        Some(mut entry) => {
            entry.write(make(header));
            entry.submit(wake(ring, urgent));
        }
        None => lost(ring),
    }
}

/// Sends bytes that stand elsewhere, numbered already.
#[inline(always)]
pub fn send_bytes(bytes: &[u8], ring: Ring, urgent: bool) {
    if ring.map().output::<[u8]>(bytes, wake(ring, urgent)).is_err() {
        lost(ring);
    }
}

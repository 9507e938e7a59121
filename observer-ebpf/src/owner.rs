//! Signals that the kernel sends for a descriptor (fcntl(2): F_SETOWN, F_SETSIG, O_ASYNC): sent in
//! whichever task or interrupt the data comes with, so they are judged, and told, as the doing of
//! who asked for them.

use observer_common::{Offsets, door};

use crate::doors;
use crate::emit;
use crate::kernel::{self, Ptr, at};
use crate::lineage;
use crate::maps::OWNERS;

/// What is sent where no signal was chosen (arch/x86/include/uapi/asm/signal.h).
const SIGIO: u32 = 29;

/// The process that runs sets who gets a file's signals.
#[inline(always)]
pub fn set(file: Ptr) {
    let key = file as u64;
    let Some(label) = lineage::current_label() else {
        let _ = OWNERS.remove(key);
        return;
    };
    if OWNERS.insert(key, kernel::identify_current(label.exec), 0).is_err() {
        emit::owner_lost();
    }
}

/// A signal is sent to `target`, for the file of `fown`.
#[inline(always)]
pub fn signal(target: Ptr, fown: Ptr, sig: u32) -> i32 {
    let file: Ptr = match at!(fown_file) {
        missing if missing == Offsets::MISSING as usize => fown.wrapping_sub(at!(file_owner)),
        offset => kernel::read_or_zero(fown, offset),
    };
    // SAFETY: copied at once; a value torn by who asks again is of processes of one run.
    let Some(header) = (unsafe { OWNERS.get(file as u64).copied() }) else { return 0 };
    if !doors::is_outside(target) {
        return 0;
    }
    let sig = if sig == 0 { SIGIO } else { sig };
    doors::tell_of(header, door::SIGNAL, target, sig, doors::ruling(door::SIGNAL))
}

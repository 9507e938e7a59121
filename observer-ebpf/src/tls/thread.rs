//! Who calls TLS libraries, and the calls of each that are under way.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use crate::kernel;
use crate::lineage;
use crate::maps::{TLS_ROUTINES, TLS_THREADS};

/// Calls of one thread that are under way at once, one within the other.
const DEPTH: usize = 4;
/// Where a goroutine's own registers stand at a system call (arch/x86/include/asm/ptrace.h: r14).
const R14: usize = 8;
/// Who calls: a thread, or a goroutine of a process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Caller {
    /// Process and thread; for a goroutine the process alone.
    pub(super) task: u64,
    /// The goroutine's address, or 0.
    pub(super) routine: u64,
}

/// A call under way.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Frame {
    /// The connection's address.
    pub(super) connection: u64,
    /// The plaintext's, or that of its pieces.
    pub(super) buffer: u64,
    /// Where the length will stand; of pieces, what [`super::plaintext::Chunks`] says.
    pub(super) out: u64,
    /// Where the stack stood as the function began.
    pub(super) stack: u64,
    /// The cookie of the socket that was used meanwhile, or 0.
    pub(super) cookie: u64,
    /// What the probe was told.
    pub(super) site: u64,
}

/// What of a call's plaintext is still to be copied.
///
/// Verifier: it stands in a map, whose numbers are any numbers. On the stack each would be followed through
/// all that it can be from piece to piece.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Cursor {
    /// Where it stands,
    pub(super) from: u64,
    /// and how many bytes of it are in one piece.
    pub(super) here: u64,
    /// Pieces behind it, and where the first of them is told of.
    pub(super) pieces: u64,
    pub(super) next: u64,
    /// Bytes of them that were moved.
    pub(super) left: u64,
}

/// A caller's calls.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Thread {
    pub(super) frames: [Frame; DEPTH],
    /// How many there are.
    pub(super) depth: u64,
    /// A connection that sent and whose socket is not known: the next one that is sent through is.
    pub(super) untied: u64,
    /// The cookie of the socket that was last received from, outside of any call.
    pub(super) received_from: u64,
    /// When that was.
    pub(super) received_at: u64,
    /// Where its call is copied from, while it is.
    pub(super) cursor: Cursor,
}

const NO_FRAME: Frame = Frame { connection: 0, buffer: 0, out: 0, stack: 0, cookie: 0, site: 0 };
pub(super) static NEW: Thread = Thread {
    frames: [NO_FRAME; DEPTH],
    depth: 0,
    untied: 0,
    received_from: 0,
    received_at: 0,
    cursor: Cursor { from: 0, here: 0, pieces: 0, next: 0, left: 0 },
};

/// The frame of this depth, from 1.
///
/// Verifier: the depth goes through memory that the compiler may not reason about. It would check
/// the depth and then read at an offset that is less than nothing by itself.
#[inline(always)]
pub(super) unsafe fn frame(thread: *mut Thread, depth: u64) -> Option<*mut Frame> {
    let mut index = 0u64;
    // SAFETY: our own variable, and a place inside the slot.
    unsafe {
        (&raw mut index).write_volatile(depth.wrapping_sub(1));
        let index = (&raw const index).read_volatile();
        if index >= DEPTH as u64 {
            return None;
        }
        Some((&raw mut (*thread).frames).cast::<Frame>().add(index as usize))
    }
}

/// Takes away the innermost frames for which `gone` holds: their calls ended unseen. Returns how
/// many are left.
#[inline(always)]
pub(super) unsafe fn settle(thread: *mut Thread, gone: impl Fn(&Frame) -> bool) -> u64 {
    // SAFETY: the caller's own slot, and places inside of it.
    unsafe {
        let mut depth = (&raw const (*thread).depth).read_volatile();
        for _ in 0..DEPTH {
            let Some(top) = frame(thread, depth) else { break };
            if !gone(&*top) {
                break;
            }
            depth -= 1;
        }
        (*thread).depth = depth;
        depth
    }
}

/// What is known of a caller.
#[inline(always)]
pub(super) fn known(caller: &Caller) -> Option<*mut Thread> {
    match caller.routine {
        0 => TLS_THREADS.get_ptr_mut(caller),
        _ => TLS_ROUTINES.get_ptr_mut(caller),
    }
}

/// The thread that runs, or the goroutine that runs on it, if it has called a library.
#[inline(always)]
pub(super) fn current_thread() -> Option<*mut Thread> {
    let task = bpf_get_current_pid_tgid();
    if let Some(thread) = TLS_THREADS.get_ptr_mut(&Caller { task, routine: 0 }) {
        return Some(thread);
    }
    lineage::label_of((task >> 32) as u32)?;
    let routine: u64 = kernel::read_or_zero(kernel::current_regs(), R14);
    TLS_ROUTINES.get_ptr_mut(&Caller { task: task & !0xffff_ffff, routine })
}

/// The thread that runs ends.
#[inline(always)]
pub fn thread_gone() {
    let task = bpf_get_current_pid_tgid();
    let _ = TLS_THREADS.remove(&Caller { task, routine: 0 });
}

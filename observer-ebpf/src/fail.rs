//! Execs that did not come to be, told at the end of the syscall: what was asked, with the argv
//! that stands in the caller's memory then.

use core::ffi::c_void;
use core::mem::size_of;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user_str};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use aya_ebpf::maps::RingBuf;
use aya_ebpf::programs::TracePointContext;
use observer_common::{
    EventKind, FAIL_ARGS, FAIL_ARGV_MAX, FailEvent, Label, PATH_MAX, decision, exec_flag, verdict,
};

use crate::emit::{self, Ring};
use crate::kernel::{self, FIRST, Ptr, SECOND, THIRD};
use crate::lineage;
use crate::maps::{CONTROL, EVENTS, JUDGED};
use crate::verdict::Ruling;

/// Where a syscall's arguments stand in its registers.
pub struct Arguments {
    filename: usize,
    argv: usize,
}

/// execve(filename, argv, envp).
pub const EXECVE: Arguments = Arguments { filename: FIRST, argv: SECOND };
/// execveat(fd, filename, argv, envp, flags).
pub const EXECVEAT: Arguments = Arguments { filename: SECOND, argv: THIRD };

/// The longest read of one piece of an argument.
const PIECE: usize = 256;
/// A small failure's room, and a large one's.
const SMALL: usize = 1024;
const LARGE: usize = PATH_MAX + FAIL_ARGV_MAX;

#[repr(C)]
struct Told<const N: usize> {
    event: FailEvent,
    data: [u8; N],
}

/// From the exit tracepoint of a syscall.
#[inline(always)]
pub fn from_tracepoint(ctx: &TracePointContext, arguments: Arguments) {
    let Some(ret) = kernel::syscall_return(ctx) else { return };
    if ret >= 0 {
        return;
    }
    execve(kernel::current_regs(), ret, arguments);
}

/// From the end of the syscall, with its registers.
#[inline(always)]
pub fn execve(regs: Ptr, ret: i64, arguments: Arguments) {
    if ret >= 0 {
        return;
    }
    let Some(label) = lineage::current_label() else { return };
    let thread = bpf_get_current_pid_tgid();
    let mut ruling = Ruling::ALLOW;
    // SAFETY: copied at once.
    if let Some(judged) = unsafe { JUDGED.get(thread).copied() } {
        let _ = JUDGED.remove(thread);
        ruling = judged.ruling;
    }
    let ring = if ruling.denies() { Ring::Control } else { Ring::Events };
    let filename: u64 = kernel::read_or_zero(regs, arguments.filename);
    let argv: u64 = kernel::read_or_zero(regs, arguments.argv);
    let mut event = FailEvent {
        header: kernel::identify_current(label.exec),
        argv_at: argv,
        error: ret as i32,
        filename_len: 0,
        argv_len: 0,
        flags: 0,
        verdict: ruling.verdict,
        rule: ruling.rule,
    };
    emit::number(&mut event.header, ring, EventKind::Fail);
    let map: &RingBuf = if ruling.denies() { &CONTROL } else { &EVENTS };
    if !tell::<SMALL, 512>(map, ring, &event, filename, argv, false)
        && !tell::<LARGE, PATH_MAX>(map, ring, &event, filename, argv, true)
    {
        emit::lost(ring);
    }
}

struct Collect {
    data: *mut u8,
    event: *mut FailEvent,
    argv: u64,
    /// What is being read: 0 between arguments.
    piece: u64,
    index: u64,
    /// 1: argv ended. 2: no room. 3: it could not be read.
    end: u32,
}

/// Tells it in `N` bytes; false where that is too little, or the ring has no room.
#[inline(always)]
fn tell<const N: usize, const NAME: usize>(
    map: &RingBuf,
    ring: Ring,
    event: &FailEvent,
    filename: u64,
    argv: u64,
    last: bool,
) -> bool {
    let Some(mut entry) = map.reserve::<Told<N>>(0) else { return false };
    let told = entry.as_mut_ptr();
    // SAFETY: the reservation is ours until it is submitted; writes are bounded by N.
    unsafe {
        let to = &raw mut (*told).event;
        to.write(*event);
        let data = (&raw mut (*told).data).cast::<u8>();
        let n = bpf_probe_read_user_str(data.cast(), NAME as u32, filename as *const c_void);
        if n <= 0 {
            (*to).flags |= exec_flag::FILENAME_UNREAD;
        } else if n as usize == NAME && !last {
            entry.discard(0);
            return false;
        } else {
            (*to).filename_len = n as u32;
        }
        let mut collect = Collect { data, event: to, argv, piece: 0, index: 0, end: 0 };
        bpf_loop(2 * FAIL_ARGS as u32, piece::<N> as *mut c_void, (&raw mut collect).cast(), 0);
        if collect.end == 2 && !last {
            entry.discard(0);
            return false;
        }
        if collect.end == 3 {
            (*to).flags |= exec_flag::ARGV_UNREAD;
        } else if collect.end != 1 {
            (*to).flags |= exec_flag::ARGV_CUT;
        }
        // What the kernel could not read, user space has to read while the process lives.
        let urgent = ring == Ring::Control || collect.end == 3;
        entry.submit(emit::wake(ring, urgent));
    }
    true
}

/// Reads one piece of an argument. Returns 1 to end the loop.
unsafe extern "C" fn piece<const N: usize>(_index: u64, collect: *mut c_void) -> i64 {
    // SAFETY: what `tell` handed over; `at <= N - PIECE` leaves room for one piece.
    unsafe {
        let c = &mut *collect.cast::<Collect>();
        if c.piece == 0 {
            let from = c.argv + c.index * 8;
            match bpf_probe_read_user::<u64>(from as *const u64) {
                Ok(0) => {
                    c.end = 1;
                    return 1;
                }
                Ok(at) => {
                    c.piece = at;
                    c.index += 1;
                }
                Err(_) => {
                    c.end = if c.argv == 0 { 1 } else { 3 };
                    return 1;
                }
            }
        }
        let event = c.event;
        let at = (&raw const (*event).filename_len).read_volatile()
            + (&raw const (*event).argv_len).read_volatile();
        // A constant here: the verifier can't tell what a limit in the context is.
        if at > (N - PIECE) as u32 {
            c.end = 2;
            return 1;
        }
        let to = c.data.add(at as usize);
        let n = bpf_probe_read_user_str(to.cast(), PIECE as u32, c.piece as *const c_void);
        if n <= 0 {
            c.end = 3;
            return 1;
        }
        // A piece that fills its place goes on after its last byte, which is a NUL in its stead.
        let kept = if n as usize == PIECE { n - 1 } else { n };
        c.piece = if n as usize == PIECE { c.piece + kept as u64 } else { 0 };
        let len = (&raw const (*event).argv_len).read_volatile();
        (&raw mut (*event).argv_len).write_volatile(len + kept as u32);
        0
    }
}

/// A denial that no exit of execve will tell: without argv, and said so.
#[inline(always)]
pub fn denied(ruling: Ruling, label: &Label, filename: Option<Ptr>) {
    let mut event = FailEvent {
        header: kernel::identify_current(label.exec),
        argv_at: 0,
        error: -1,
        filename_len: 0,
        argv_len: 0,
        flags: exec_flag::ARGV_UNREAD,
        verdict: ruling.verdict,
        rule: ruling.rule,
    };
    emit::number(&mut event.header, Ring::Control, EventKind::Fail);
    let Some(mut entry) = CONTROL.reserve::<Told<SMALL>>(0) else {
        return emit::lost(Ring::Control);
    };
    let told = entry.as_mut_ptr();
    // SAFETY: the reservation is ours; the helper writes SMALL bytes at the most.
    unsafe {
        let to = &raw mut (*told).event;
        to.write(event);
        let data = (&raw mut (*told).data).cast::<c_void>();
        let name = filename.unwrap_or(core::ptr::null());
        let n = aya_ebpf::helpers::generated::bpf_probe_read_kernel_str(
            data,
            SMALL as u32,
            name.cast(),
        );
        if n > 0 {
            (*to).filename_len = n as u32;
        } else {
            (*to).flags |= exec_flag::FILENAME_UNREAD;
        }
    }
    entry.submit(emit::wake(Ring::Control, true));
}

const _: () = {
    assert!(size_of::<Told<LARGE>>() < 32 * 1024);
    assert!(verdict::DENY > verdict::ALLOW_RULE && decision::DENY > decision::ALLOW);
};

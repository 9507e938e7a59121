//! Execs that happened, and those that are stopped: with EPERM where an LSM hook loads, and
//! otherwise by a kill before the first instruction.

mod judge;

use core::ffi::c_void;
use core::mem::size_of;

use aya_ebpf::helpers::generated::{
    bpf_loop, bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_send_signal,
};
use observer_common::{
    ARGS_CHUNK, ARGS_CHUNKS, ARGV_MAX, ArgsEvent, DENIED_ARGV_MAX, EventKind, ExecEvent, Header,
    Label, NAME_LEN, PATH_MAX, ProgramKey, config_flag, exec_flag, label_flag,
};

use crate::args::Scan;
use crate::emit::{self, Ring};
use crate::kernel::{self, Ptr, at};
use crate::lineage;
use crate::loader::Target;
use crate::maps::SCRATCH;
use crate::path::{self, Sink};
use crate::verdict::{Judged, config};

pub use judge::check;
use judge::{Of, rule};

const SIGKILL: u32 = 9;

/// Room for the paths and names of an exec: two resolved paths, two names as given.
const NAMES: usize = 4 * (PATH_MAX + NAME_LEN);
/// Room for all that follows an exec's event.
const DATA: usize = NAMES + ARGV_MAX;

/// One CPU's buffer for an exec.
#[repr(C)]
pub struct Scratch {
    busy: u64,
    cursor: u32,
    base: u32,
    key: ProgramKey,
    scan: Scan,
    target: Target,
    judged: Judged,
    /// What is known of the exec by now, 0 or 1. Kept here, where the verifier does not tell its
    /// values apart: each in a register would double the ways on.
    script: u32,
    named: u32,
    deny: u32,
    event: ExecEvent,
    data: [u8; DATA],
}

/// `sched_process_exec`.
#[inline(always)]
pub fn happened(task: Ptr, old_pid: i32, bprm: Ptr) {
    let Some(label) = lineage::current_label() else { return };
    let exec = emit::new_id();
    let tgid = kernel::current_tgid();
    lineage::set(
        tgid,
        &Label { exec, flags: label.flags | label_flag::EXECED, reserved: 0 },
        false,
    );
    let Some(scratch) = SCRATCH.get_ptr_mut(emit::cpu()) else { return unrecorded() };
    // SAFETY: this CPU's slot. A tracepoint is not preempted on the kernels that this was read
    // in; where one is, the second comer leaves the buffer alone and is counted.
    unsafe {
        let busy = &raw mut (*scratch).busy;
        if kernel::fetch_add(busy, 1) != 0 {
            kernel::fetch_add(busy, u64::MAX);
            return unrecorded();
        }
        // A thread that is not the leader takes the leader's id before this.
        let thread = u64::from(tgid) << 32 | u64::from(old_pid as u32);
        record(scratch, task, bprm, &label, exec, thread);
        kernel::fetch_add(busy, u64::MAX);
    }
}

/// No buffer, so no record and no judgement: counted, and where rules would have to hold, killed.
#[inline(always)]
fn unrecorded() {
    emit::scratch_busy();
    let flags = config().flags;
    if flags & config_flag::EXEC_RULES != 0 && flags & config_flag::ADVISORY == 0 {
        // SAFETY: ends the task that runs.
        unsafe { bpf_send_signal(SIGKILL) };
    }
}

/// # Safety
/// `s` is a map value that nobody else uses.
#[inline(always)]
unsafe fn record(s: *mut Scratch, task: Ptr, bprm: Ptr, label: &Label, exec: u64, thread: u64) {
    // SAFETY: as promised; every write below is bounded by the buffer it goes to.
    unsafe {
        let event = &mut (*s).event;
        event.header = kernel::identify_current(label.exec);
        event.exec = exec;
        event.flags = if label.flags & label_flag::EXECED != 0 { exec_flag::REPLACED } else { 0 };
        (&raw mut (*s).cursor).write_volatile(0);

        let file = kernel::follow(bprm, at!(bprm_file));
        if let Some(file) = file {
            if !path::components(file.wrapping_add(at!(file_path)), sink(s)) {
                event.flags |= exec_flag::PATH_CUT;
            }
            if links(file) == 0 {
                event.flags |= exec_flag::UNLINKED;
            }
        }
        let path_end = cursor(s);
        event.path_len = path_end;

        let fs = kernel::follow(task, at!(task_fs));
        if let Some(fs) = fs {
            if !path::components(fs.wrapping_add(at!(fs_pwd)), sink(s)) {
                event.flags |= exec_flag::CWD_CUT;
            }
        }
        let cwd_end = cursor(s);
        event.cwd_len = cwd_end - path_end;

        let filename = kernel::follow(bprm, at!(bprm_filename));
        let interp = kernel::follow(bprm, at!(bprm_interp));
        if let Some(filename) = filename {
            string(s, filename);
        }
        let filename_end = cursor(s);
        event.filename_len = filename_end - cwd_end;
        let script = interp != filename;
        if let (true, Some(interp)) = (script, interp) {
            string(s, interp);
        }
        event.interp_len = cursor(s) - filename_end;
        if at!(bprm_fdpath) != observer_common::Offsets::MISSING as usize
            && kernel::follow(bprm, at!(bprm_fdpath)).is_some()
        {
            event.flags |= exec_flag::BY_FD;
        }

        let mm = kernel::follow(task, at!(task_mm));
        let start: u64 = mm.and_then(|mm| kernel::read(mm, at!(mm_arg_start))).unwrap_or(0);
        let end: u64 = mm.and_then(|mm| kernel::read(mm, at!(mm_arg_end))).unwrap_or(0);
        event.argv_seen = end.saturating_sub(start);

        let of = Of { task, file, filename, script, start, end, thread };
        let ruling = rule(s, &of);
        event.verdict = ruling.verdict;
        event.rule = ruling.rule;
        if ruling.denies() {
            bpf_send_signal(SIGKILL);
        }

        let keep = if ruling.denies() { DENIED_ARGV_MAX } else { ARGV_MAX } as u64;
        argv(s, start, event.argv_seen, keep);

        let ring = if ruling.denies() { Ring::Control } else { Ring::Events };
        emit::number(&mut event.header, ring, EventKind::Exec);
        let total = size_of::<ExecEvent>() + cursor(s) as usize;
        let whole = event.argv_seen;
        let header = event.header;
        if total <= size_of::<ExecEvent>() + DATA {
            let bytes = core::slice::from_raw_parts((&raw const (*s).event).cast::<u8>(), total);
            emit::send_bytes(bytes, ring, ruling.denies());
        }
        if whole > ARGV_MAX as u64 && !ruling.denies() {
            rest(s, &header, exec, start, whole);
        }
    }
}

#[inline(always)]
unsafe fn cursor(s: *mut Scratch) -> u32 {
    // SAFETY: the caller's buffer.
    unsafe { (&raw const (*s).cursor).read_volatile() }
}

#[inline(always)]
unsafe fn sink(s: *mut Scratch) -> Sink {
    // SAFETY: places inside the caller's buffer; nothing is read here.
    unsafe {
        Sink {
            data: (&raw mut (*s).data).cast(),
            cursor: &raw mut (*s).cursor,
            limit: (NAMES - NAME_LEN) as u32,
        }
    }
}

#[inline(always)]
fn links(file: Ptr) -> u32 {
    kernel::follow(file, at!(file_inode))
        .and_then(|inode| kernel::read(inode, at!(inode_nlink)))
        .unwrap_or(1)
}

/// Appends a NUL-ended text of the kernel's.
#[inline(always)]
unsafe fn string(s: *mut Scratch, text: Ptr) {
    // SAFETY: `cursor <= NAMES - PATH_MAX` leaves room for PATH_MAX, the longest write.
    unsafe {
        let at = cursor(s);
        if at > (NAMES - PATH_MAX) as u32 {
            return;
        }
        let to = (&raw mut (*s).data).cast::<u8>().add(at as usize);
        let n = bpf_probe_read_kernel_str(to.cast(), PATH_MAX as u32, text.cast());
        if n > 0 {
            (&raw mut (*s).cursor).write_volatile(at + n as u32);
        }
    }
}

/// Appends argv, as much of it as `keep` says.
#[inline(always)]
unsafe fn argv(s: *mut Scratch, start: u64, seen: u64, keep: u64) {
    // SAFETY: `at <= DATA - ARGV_MAX` and `len <= ARGV_MAX`.
    unsafe {
        let event = &raw mut (*s).event;
        let len = if seen > keep { keep } else { seen };
        if seen > keep {
            (*event).flags |= exec_flag::ARGV_CUT;
        }
        (&raw mut (*event).argv_len).write_volatile(len as u32);
        let at = cursor(s);
        let len = (&raw const (*event).argv_len).read_volatile();
        if at > (DATA - ARGV_MAX) as u32 || len > ARGV_MAX as u32 {
            return;
        }
        let to = (&raw mut (*s).data).cast::<u8>().add(at as usize);
        if len == 0 || bpf_probe_read_user(to.cast(), len, start as *const c_void) != 0 {
            (*event).argv_len = 0;
            if seen != 0 {
                (*event).flags |= exec_flag::ARGV_UNREAD;
            }
            return;
        }
        (&raw mut (*s).cursor).write_volatile(at + len);
    }
}

struct Rest {
    s: *mut Scratch,
    header: Header,
    exec: u64,
    start: u64,
    seen: u64,
}

/// Sends what of argv stands beyond what the event holds.
#[inline(always)]
unsafe fn rest(s: *mut Scratch, header: &Header, exec: u64, start: u64, seen: u64) {
    let mut rest = Rest { s, header: *header, exec, start, seen };
    // SAFETY: the callback has the helper's signature, and the context outlives the call.
    unsafe { bpf_loop(ARGS_CHUNKS as u32, chunk as *mut c_void, (&raw mut rest).cast(), 0) };
}

/// Sends one piece. Returns 1 to end the loop.
unsafe extern "C" fn chunk(index: u64, rest: *mut c_void) -> i64 {
    const HEAD: usize = size_of::<ArgsEvent>();
    // SAFETY: what `rest` handed over; HEAD + ARGS_CHUNK fits in DATA.
    unsafe {
        let rest = &mut *rest.cast::<Rest>();
        let offset = ARGV_MAX as u64 + index * ARGS_CHUNK as u64;
        if offset >= rest.seen {
            return 1;
        }
        let left = rest.seen - offset;
        let data = (&raw mut (*rest.s).data).cast::<u8>();
        (&raw mut (*rest.s).base).write_volatile(if left > ARGS_CHUNK as u64 {
            ARGS_CHUNK as u32
        } else {
            left as u32
        });
        let len = (&raw const (*rest.s).base).read_volatile();
        if len == 0 || len > ARGS_CHUNK as u32 {
            return 1;
        }
        let from = (rest.start + offset) as *const c_void;
        if bpf_probe_read_user(data.add(HEAD).cast(), len, from) != 0 {
            return 1; // user space sees the hole: argv_seen says how much there was
        }
        emit::number(&mut rest.header, Ring::Events, EventKind::Args);
        data.cast::<ArgsEvent>().write(ArgsEvent {
            header: rest.header,
            exec: rest.exec,
            offset,
            len,
            reserved: 0,
        });
        let len = (&raw const (*rest.s).base).read_volatile();
        if len > ARGS_CHUNK as u32 {
            return 1;
        }
        let bytes = core::slice::from_raw_parts(data, HEAD + len as usize);
        emit::send_bytes(bytes, Ring::Events, false);
        0
    }
}

//! Whether an exec may go on: its file asked about where an LSM hook loads, and its arguments when
//! they stand.

use observer_common::{Config, NAME_LEN, config_flag, decision, exec_flag, program_kind, verdict};

use super::{Scratch, cursor, sink};
use crate::args::{self, Scan};
use crate::emit;
use crate::kernel::{self, Ptr, at};
use crate::maps::{JUDGED, PATHS, ZERO};
use crate::path::{self, Sink};
use crate::verdict::{Judged, Opinion, Ruling, config};
use crate::{hash, lineage, loader};

const EPERM: i32 = 1;

/// What there is to judge an exec by.
pub(super) struct Of {
    pub(super) task: Ptr,
    pub(super) file: Option<Ptr>,
    pub(super) filename: Option<Ptr>,
    pub(super) script: bool,
    /// Where argv stands.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Who called it.
    pub(super) thread: u64,
}

/// Judges an exec that has happened.
#[inline(always)]
pub(super) unsafe fn rule(s: *mut Scratch, of: &Of) -> Ruling {
    let Of { task, file, filename, script, start, end, thread } = *of;
    let config = config();
    if config.flags & config_flag::EXEC_RULES == 0 {
        return Ruling::ALLOW.under(&config);
    }
    let bank = config.bank();
    // SAFETY: the caller's buffer.
    let (judged, named) = unsafe { (&raw const (*s).judged, take(s, thread, &config)) };
    // SAFETY: keys and names stand in the caller's buffer.
    unsafe {
        let key = &raw mut (*s).key;
        let data = (&raw const (*s).data).cast::<u8>();
        let opinion = Scan::opinion(&raw mut (*s).scan);
        Opinion::clear(opinion);
        let len = (*s).event.path_len;
        let cut = (*s).event.flags & exec_flag::PATH_CUT != 0;
        if !cut && path::path_key(key, program_kind::PATH, data, len) {
            let known =
                file.is_some_and(|file| path::is_known(file.wrapping_add(at!(file_path)), &config));
            Opinion::ask(opinion, bank, key, 0, !script && known);
        }
        if path::name_key(key, program_kind::NAME, data) {
            Opinion::ask(opinion, bank, key, 1, !script);
        }
        if let Some(filename) = filename {
            path::basename(filename, &raw mut (*s).base);
            let base = (&raw const (*s).base).read_volatile();
            let name = filename.wrapping_add(base as usize);
            if path::name_key(key, program_kind::NAME, name) {
                Opinion::ask(opinion, bank, key, 2, true);
            }
            if script && !named {
                // Its own file is gone by now.
                hash::unknown(opinion, &config);
                if path::name_key(key, program_kind::SCRIPT, filename) {
                    Opinion::ask(opinion, bank, key, 3, is_rooted(s, task, &config));
                }
                if path::name_key(key, program_kind::SCRIPT_NAME, name) {
                    Opinion::ask_beside(opinion, bank, key);
                }
            }
        }
        if config.flags & config_flag::HASH_RULES != 0 {
            hash::ask(opinion, key, &config, file, !script);
        }
        let mut default_denies = config.flags & config_flag::EXEC_DENY != 0;
        (&raw mut (*s).script).write_volatile(u32::from(script));
        (&raw mut (*s).named).write_volatile(u32::from(named));
        if script && named {
            carry(opinion, judged);
        }
        let groups = Opinion::has_groups(opinion);
        if named {
            // The LSM hook judged names, a script's by its resolved path; what waits for argv is
            // judged here.
            let waits = !script || (&raw const (*judged).waits).read_volatile() != 0;
            default_denies &= groups && waits;
        }
        (&raw mut (*s).deny).write_volatile(u32::from(default_denies));
        if groups && args::judge(&raw mut (*s).scan, bank, start, end) {
            (*s).event.flags |= exec_flag::ARGS_UNCHECKED;
        }
        if Opinion::is_crowded(opinion) {
            // Rules on arguments that were not asked: what they might deny is denied.
            (*s).event.flags |= exec_flag::ARGS_UNCHECKED;
            Opinion::forget_allow(opinion);
            (&raw mut (*s).deny).write_volatile(1);
        }
        let default_denies = (&raw const (*s).deny).read_volatile() != 0;
        let ruling = if loader::is_one(data) {
            let own = Ruling::from(Opinion::decision(opinion), default_denies);
            let denies = config.flags & config_flag::EXEC_DENY != 0;
            // No exec tells of the file that it opens.
            hash::unknown(opinion, &config);
            let rooted = is_rooted(s, task, &config);
            let unread =
                loader::judge(&raw mut (*s).target, opinion, key, bank, rooted, start, end);
            if unread {
                (*s).event.flags |= exec_flag::ARGS_UNCHECKED;
            }
            let target = Ruling::from(Opinion::decision(opinion), denies || unread);
            // Both must be allowed, and what denies either denies both.
            if own.denies() { own } else { target }
        } else {
            Ruling::from(Opinion::decision(opinion), default_denies)
        };
        let ruling = ruling.under(&config);
        // What the LSM hook let go on, and would have denied, or knew the script's rule for.
        let before = (&raw const (*judged).ruling).read_volatile();
        let script = (&raw const (*s).script).read_volatile() != 0;
        let named = (&raw const (*s).named).read_volatile() != 0;
        let says = before.would() || script && ruling.is_silent();
        if named && says && !ruling.denies() { before } else { ruling }
    }
}

/// Takes what the LSM hook said of this exec. True where it speaks for the policy that holds: where
/// that was replaced since, the file is judged whole. A function of its own, for the stack's sake.
#[inline(never)]
unsafe fn take(s: *mut Scratch, thread: u64, config: &Config) -> bool {
    // SAFETY: places in the caller's buffer and in the map's value, word by word.
    unsafe {
        let judged = &raw mut (*s).judged;
        let Some(found) = JUDGED.get_ptr(thread) else { return false };
        let (from, to) = (found.cast::<u32>(), judged.cast::<u32>());
        for i in 0..size_of::<Judged>() / 4 {
            to.add(i).write_volatile(from.add(i).read_volatile());
        }
        let _ = JUDGED.remove(thread);
        (&raw const (*judged).ruling).read_volatile().is_of(config)
    }
}

/// Takes over the groups of argument rules that the LSM hook found for a script by its resolved path
/// and name.
#[inline(never)]
unsafe fn carry(opinion: *mut Opinion, judged: *const Judged) {
    // SAFETY: the caller's values.
    unsafe {
        let vouch = (&raw const (*judged).mute).read_volatile() == 0;
        let [path, name] = (&raw const (*judged).groups).read_volatile();
        Opinion::place(opinion, path, vouch);
        Opinion::place(opinion, name, true);
    }
}

/// Whether a process's root directory is the top of a mount namespace where paths mean what rules
/// say: else one that was written may lead anywhere.
#[inline(always)]
unsafe fn is_rooted(s: *mut Scratch, task: Ptr, config: &Config) -> bool {
    let Some(fs) = kernel::follow(task, at!(task_fs)) else { return false };
    let root = fs.wrapping_add(at!(fs_root));
    // SAFETY: the caller's buffer; what is written past its cursor is taken back.
    unsafe {
        let before = cursor(s);
        let whole = path::components(root, sink(s));
        let top = cursor(s) == before;
        (&raw mut (*s).cursor).write_volatile(before);
        whole && top && path::is_known(root, config)
    }
}

/// `lsm/bprm_check_security`: once for the file, and for a script once more for its interpreter.
#[inline(always)]
pub fn check(bprm: Ptr) -> i32 {
    let config = config();
    if config.flags & config_flag::EXEC_RULES == 0 {
        return 0;
    }
    let Some(label) = lineage::current_label() else { return 0 };
    let thread = aya_ebpf::helpers::bpf_get_current_pid_tgid();
    let held = if config.flags & config_flag::ADVISORY == 0 { -EPERM } else { 0 };
    let Some(zero) = ZERO.get(0) else { return held };
    if PATHS.insert(thread, zero, 0).is_err() {
        emit::scratch_busy();
        return held;
    }
    let first = kernel::follow(bprm, at!(bprm_interp)) == kernel::follow(bprm, at!(bprm_filename));
    // SAFETY: copied at once. What stands there when an exec begins is an earlier one's.
    let before = if first { None } else { unsafe { JUDGED.get(thread).copied() } };
    let file = judge_file(bprm, thread, &config);
    let _ = PATHS.remove(thread);
    let judged = file.after(before, &config);
    if !judged.ruling.denies() {
        // Where what was said of the script is gone, its interpreter's word must not stand for it:
        // then the whole is judged when it has happened.
        if first || before.is_some() {
            let _ = JUDGED.insert(thread, judged, 0);
        }
        return 0;
    }
    let told = config.flags & config_flag::EXEC_EXIT != 0
        && !kernel::in_compat_syscall()
        && JUDGED.insert(thread, judged, 0).is_ok();
    if !told {
        crate::fail::denied(judged.ruling, &label, kernel::follow(bprm, at!(bprm_filename)));
    }
    -EPERM
}

/// Judges the file that a `linux_binprm` holds now, by its names.
#[inline(always)]
fn judge_file(bprm: Ptr, thread: u64, config: &Config) -> Judged {
    const DENY: Judged = Judged::plain(Ruling { verdict: verdict::DENY, rule: 0 });
    let bank = config.bank();
    let default_denies = config.flags & config_flag::EXEC_DENY != 0;
    let Some(s) = PATHS.get_ptr_mut(thread) else { return DENY };
    let Some(file) = kernel::follow(bprm, at!(bprm_file)) else { return DENY };
    let Some(filename) = kernel::follow(bprm, at!(bprm_filename)) else { return DENY };
    let interpreter = kernel::follow(bprm, at!(bprm_interp)) != Some(filename);
    // SAFETY: this thread's own buffer.
    unsafe {
        let data = (&raw mut (*s).data).cast::<u8>();
        let cursor = &raw mut (*s).cursor;
        let limit = (crate::path::PATH_SPACE - NAME_LEN) as u32;
        let whole =
            path::components(file.wrapping_add(at!(file_path)), Sink { data, cursor, limit });
        let key = &raw mut (*s).key;
        let opinion = &raw mut (*s).opinion;
        if whole && path::path_key(key, program_kind::PATH, data, cursor.read_volatile()) {
            let known = path::is_known(file.wrapping_add(at!(file_path)), config);
            Opinion::ask(opinion, bank, key, 0, known);
        }
        if path::name_key(key, program_kind::NAME, data) {
            Opinion::ask(opinion, bank, key, 1, true);
        }
        path::basename(filename, &raw mut (*s).base);
        let base = (&raw const (*s).base).read_volatile();
        if path::name_key(key, program_kind::NAME, filename.wrapping_add(base as usize)) {
            Opinion::ask(opinion, bank, key, 2, true);
        }
        if config.flags & config_flag::HASH_RULES != 0 {
            hash::ask(opinion, key, config, Some(file), true);
        }
        // An interpreter is allowed where its script is; arguments are judged when argv stands.
        let default_denies = default_denies && !interpreter;
        let decision = Opinion::decision(opinion);
        Judged {
            ruling: Ruling::from(decision, default_denies && !Opinion::has_groups(opinion)),
            groups: [Opinion::group(opinion, 0), Opinion::group(opinion, 1)],
            mute: u32::from(Opinion::is_mute(opinion, 0)),
            waits: u32::from(default_denies && decision.kind & decision::ALLOW == 0),
            interpreter: 0,
            reserved: 0,
        }
    }
}

//! Which processes belong to the run: labels, inherited at fork, kept through every move.

use aya_ebpf::helpers::bpf_get_current_cgroup_id;
use observer_common::{EscapeEvent, EventKind, ExitEvent, Label, label_flag};

use crate::emit::{self, Ring};
use crate::kernel::{self, Ptr, at};
use crate::maps::{CGROUPS, LABELS, LIVE};
use crate::socket;

/// SIGNAL_GROUP_EXIT (include/linux/sched/signal.h).
const SIGNAL_GROUP_EXIT: u32 = 0x4;

/// The label of a process, if it has one.
#[inline(always)]
pub fn label_of(tgid: u32) -> Option<Label> {
    // SAFETY: copied at once; a value torn by a concurrent update is one of two true ones a word.
    unsafe { LABELS.get(tgid).copied() }
}

/// The label of the task that runs; one is made where its cgroup is the run's and it has none.
#[inline(always)]
pub fn current_label() -> Option<Label> {
    let tgid = kernel::current_tgid();
    if let Some(label) = label_of(tgid) {
        return Some(label);
    }
    // SAFETY: takes nothing.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    if !is_ours(cgroup) {
        return None;
    }
    let label = Label::default();
    set(tgid, &label, true);
    Some(label)
}

/// Whether a cgroup is the run's, or below it.
#[inline(always)]
pub fn is_ours(cgroup: u64) -> bool {
    // SAFETY: only whether it is there.
    unsafe { CGROUPS.get(cgroup).is_some() }
}

/// Sets a process's label; `new` counts it as alive.
#[inline(always)]
pub fn set(tgid: u32, label: &Label, new: bool) {
    if LABELS.insert(tgid, label, 0).is_err() {
        emit::label_lost();
    } else if new {
        live(1);
    }
}

#[inline(always)]
fn live(change: i64) {
    if let Some(slot) = LIVE.get_ptr_mut(0) {
        // SAFETY: this CPU's slot; atomic, since a cgroup program can be preempted.
        unsafe { kernel::fetch_add(slot.cast::<u64>(), change as u64) };
    }
}

/// A task was forked: a new process inherits its parent's label.
#[inline(always)]
pub fn fork(parent: Ptr, child: Ptr) {
    let (Some(parent), Some(child_tgid)) = (kernel::tgid(parent), kernel::tgid(child)) else {
        return;
    };
    if parent == child_tgid {
        return; // a thread
    }
    let to = kernel::task_cgroup_id(child);
    let ours = to.is_some_and(is_ours);
    let label = match label_of(parent) {
        Some(label) => label,
        // Born into the run's cgroup by clone3, or while its parent's label was lost.
        None if ours => Label::default(),
        None => return,
    };
    let mut flags = label.flags & !label_flag::EXECED;
    // clone3 puts a child into another cgroup without a move that anything else would see.
    let left = !ours && flags & label_flag::ESCAPED == 0;
    if left {
        flags |= label_flag::ESCAPED;
    }
    set(child_tgid, &Label { exec: label.exec, flags, reserved: 0 }, true);
    if left {
        escaped(child, label.exec, to.unwrap_or(0));
    }
}

/// Tells that a process is outside of its run's cgroup now.
#[inline(always)]
fn escaped(task: Ptr, exec: u64, to: u64) {
    let mut header = kernel::identify_other(task, exec);
    emit::send(&mut header, Ring::Control, EventKind::Escape, true, |header| EscapeEvent {
        header: *header,
        to,
    });
}

/// A thread ended; with the last one, its process.
#[inline(always)]
pub fn exit(task: Ptr) {
    let Some(tgid) = kernel::tgid(task) else { return };
    let Some(label) = label_of(tgid) else { return };
    crate::tls::thread_gone();
    let Some(signal) = kernel::follow(task, at!(task_signal)) else { return };
    // do_exit has counted this thread already.
    let threads: i32 = kernel::read(signal, at!(signal_live)).unwrap_or(0);
    if threads > 0 {
        return;
    }
    let flags: u32 = kernel::read(signal, at!(signal_flags)).unwrap_or(0);
    let status: u32 = if flags & SIGNAL_GROUP_EXIT != 0 {
        kernel::read(signal, at!(signal_group_exit_code))
    } else {
        kernel::read(task, at!(task_exit_code))
    }
    .unwrap_or(0);
    if LABELS.remove(tgid).is_ok() {
        live(-1);
    }
    // A child that only forked made no call: its end is no call's result.
    if label.flags & label_flag::EXECED == 0 {
        return;
    }
    let mut header = kernel::identify_current(label.exec);
    emit::send(&mut header, Ring::Control, EventKind::Exit, false, |header| ExitEvent {
        header: *header,
        status,
        execed: 1,
    });
}

/// A process was moved to another cgroup.
#[inline(always)]
pub fn moved(to: Ptr, task: Ptr) {
    let (Some(to), Some(tgid)) = (kernel::cgroup_id(to), kernel::tgid(task)) else { return };
    let ours = is_ours(to);
    match label_of(tgid) {
        None if ours => set(tgid, &Label::default(), true),
        Some(label) if !ours => {
            socket::moved(task);
            let flags = label.flags | label_flag::ESCAPED;
            set(tgid, &Label { exec: label.exec, flags, reserved: 0 }, false);
            escaped(task, label.exec, to);
        }
        _ => {}
    }
}

/// A cgroup was made: below the run's it is the run's.
#[inline(always)]
pub fn cgroup_made(cgroup: Ptr) {
    // `self` is the first member, and its parent's first member is the parent cgroup's:
    // cgroup.self.parent (include/linux/cgroup-defs.h).
    let Some(id) = kernel::cgroup_id(cgroup) else { return };
    let Some(parent) = kernel::follow(cgroup, at!(css_parent)) else { return };
    let Some(parent) = kernel::cgroup_id(parent) else { return };
    if is_ours(parent) && CGROUPS.insert(id, 1, 0).is_err() {
        emit::label_lost();
    }
}

/// A cgroup was removed.
#[inline(always)]
pub fn cgroup_removed(cgroup: Ptr) {
    if let Some(id) = kernel::cgroup_id(cgroup) {
        if is_ours(id) {
            let _ = CGROUPS.remove(id);
        }
    }
}

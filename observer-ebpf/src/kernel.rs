//! Reads of kernel memory, at offsets that user space took from the running kernel's BTF.

use core::intrinsics::{AtomicOrdering, atomic_xadd};
use core::mem::size_of;

use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel as bpf_probe_read_kernel_raw, bpf_task_pt_regs,
};
use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task,
    bpf_get_current_task_btf, bpf_probe_read_kernel,
};
use aya_ebpf::programs::TracePointContext;
use observer_common::{Header, Offsets};

/// Set by user space before the programs load.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = Offsets::missing();

/// A kernel pointer that is only ever read through the helper.
pub type Ptr = *const u8;

/// One member's offset. Volatile: the compiler sees the placeholder, the verifier the value.
macro_rules! at {
    ($field:ident) => {{
        #[allow(unused_unsafe, reason = "it stands inside and outside unsafe blocks")]
        // SAFETY: a read of our own read-only data.
        let offset =
            unsafe { core::ptr::read_volatile(&raw const $crate::kernel::OFFSETS.$field) as usize };
        offset
    }};
}
pub(crate) use at;

/// Reads a value at `base + offset`.
#[inline(always)]
pub fn read<T>(base: Ptr, offset: usize) -> Option<T> {
    // SAFETY: the helper checks the address and fails on one that is not mapped.
    unsafe { bpf_probe_read_kernel(base.wrapping_add(offset).cast::<T>()).ok() }
}

/// Reads a value at `base + offset`, or zeros where that can't be read: the helper clears what it
/// can't fill (kernel/trace/bpf_trace.c, bpf_probe_read_kernel_common).
///
/// Verifier: there is no branch on the result. Each branch that joins again doubles the states to
/// look at where the joined values differ, and 6.1 gives up on a chain of ten.
#[inline(always)]
pub fn read_or_zero<T: Copy>(base: Ptr, offset: usize) -> T {
    let mut value = core::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: the helper writes the whole of `value`, which is made of integers or is a pointer
    // that is only ever read through the helper.
    unsafe {
        bpf_probe_read_kernel_raw(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            base.wrapping_add(offset).cast(),
        );
        value.assume_init()
    }
}

/// Sets a value to zeros.
///
/// Verifier: one call of a helper, which clears what it can't fill, where stores would be looked at
/// once more on each way that leads here.
///
/// # Safety
/// `at` is valid for writing, and zeros are a value of its type.
#[inline(always)]
pub unsafe fn clear<T>(at: *mut T) {
    // SAFETY: as the caller promises; nothing is mapped at null.
    unsafe { bpf_probe_read_kernel_raw(at.cast(), size_of::<T>() as u32, core::ptr::null()) };
}

/// Follows a pointer at `base + offset`; null is none.
#[inline(always)]
pub fn follow(base: Ptr, offset: usize) -> Option<Ptr> {
    read::<Ptr>(base, offset).filter(|p| !p.is_null())
}

/// Adds to a counter that others add to as well, and returns what it was.
///
/// # Safety
/// `counter` points into a map value, aligned.
#[inline(always)]
pub unsafe fn fetch_add(counter: *mut u64, n: u64) -> u64 {
    // core's AtomicU64 has no fetch_add on this target, though the instruction is there since
    // Linux 5.12 (BPF_ATOMIC | BPF_FETCH).
    // SAFETY: as the caller promises.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(counter, n) }
}

/// The task that runs.
#[inline(always)]
pub fn current() -> Ptr {
    // SAFETY: takes nothing.
    unsafe { bpf_get_current_task() as Ptr }
}

/// Where a syscall's first three arguments stand in `struct pt_regs`
/// (arch/x86/include/asm/ptrace.h: di, si, dx).
pub const FIRST: usize = 14 * 8;
/// The second.
pub const SECOND: usize = 13 * 8;
/// The third.
pub const THIRD: usize = 12 * 8;
/// The syscall's number (orig_ax).
pub const SYSCALL: usize = 15 * 8;

/// The registers with which the task that runs came into the kernel.
#[inline(always)]
pub fn current_regs() -> Ptr {
    // SAFETY: takes the task that runs.
    unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) as Ptr }
}

/// The thread group id of the task that runs.
#[inline(always)]
pub fn current_tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// A task's thread group id.
#[inline(always)]
pub fn tgid(task: Ptr) -> Option<u32> {
    read(task, at!(task_tgid))
}

/// Whether the task that runs is inside a 32-bit system call: TS_COMPAT of
/// `thread_info.status` (arch/x86/include/asm/thread_info.h). The exits of those are not watched.
#[inline(always)]
pub fn in_compat_syscall() -> bool {
    const TS_COMPAT: u32 = 0x2;
    let status: u32 = read_or_zero(current(), at!(task_thread_info) + at!(thread_info_status));
    status & TS_COMPAT != 0
}

/// The kernfs id of a cgroup.
#[inline(always)]
pub fn cgroup_id(cgroup: Ptr) -> Option<u64> {
    read(follow(cgroup, at!(cgroup_kn))?, at!(kernfs_id))
}

/// The kernfs id of a task's cgroup v2 directory.
#[inline(always)]
pub fn task_cgroup_id(task: Ptr) -> Option<u64> {
    let set = follow(task, at!(task_cgroups))?;
    cgroup_id(follow(set, at!(css_set_dfl_cgrp))?)
}

/// What identifies `task`, which runs since the exec `exec`. Made whole at once: what is
/// filled in is stored twice.
#[inline(always)]
fn identify(task: Ptr, exec: u64, cgroup: u64, comm: [u8; 16]) -> Header {
    let parent: Ptr = read_or_zero(task, at!(task_real_parent));
    let cred: Ptr = read_or_zero(task, at!(task_cred));
    let leader: Ptr = read_or_zero(task, at!(task_group_leader));
    Header {
        kind: 0,
        cpu: 0,
        seq: 0,
        time: 0,
        pid: read_or_zero(task, at!(task_tgid)),
        tid: read_or_zero(task, at!(task_pid)),
        ppid: read_or_zero(parent, at!(task_tgid)),
        uid: read_or_zero(cred, at!(cred_euid)),
        cgroup,
        start: read_or_zero(leader, at!(task_start_boottime)),
        exec,
        comm,
    }
}

/// What identifies the task that runs.
#[inline(always)]
pub fn identify_current(exec: u64) -> Header {
    // SAFETY: takes nothing.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    let task = current();
    identify(task, exec, cgroup, read_or_zero(task, at!(task_comm)))
}

/// What identifies another task.
#[inline(always)]
pub fn identify_other(task: Ptr, exec: u64) -> Header {
    let set: Ptr = read_or_zero(task, at!(task_cgroups));
    let cgroup: Ptr = read_or_zero(set, at!(css_set_dfl_cgrp));
    let place: Ptr = read_or_zero(cgroup, at!(cgroup_kn));
    let cgroup = read_or_zero(place, at!(kernfs_id));
    identify(task, exec, cgroup, read_or_zero(task, at!(task_comm)))
}

/// What is known of a process that does not run now.
#[inline(always)]
pub fn absent(pid: u32, exec: u64) -> Header {
    Header {
        kind: 0,
        cpu: 0,
        seq: 0,
        time: 0,
        pid,
        tid: 0,
        ppid: 0,
        uid: 0,
        cgroup: 0,
        start: 0,
        exec,
        comm: [0; 16],
    }
}

/// What a syscall's exit tracepoint says that it returned
/// (`/sys/kernel/tracing/events/syscalls/sys_exit_*/format`: `long ret` at 16).
#[inline(always)]
pub fn syscall_return(ctx: &TracePointContext) -> Option<i64> {
    // SAFETY: inside the tracepoint's record, which its format fixes.
    unsafe { ctx.read_at::<i64>(16).ok() }
}

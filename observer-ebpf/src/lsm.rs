//! Entry points where the kernel asks its security modules (include/linux/lsm_hook_defs.h, 6.1 to
//! 6.18). The argument after a hook's own is what the programs before this one said: a refusal
//! stays a refusal.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use observer_common::{door, limit};

use crate::doors::{self, mounting};
use crate::kernel;
use crate::owner;
use crate::unix_judge;

macro_rules! after {
    ($ctx:ident, $n:literal, $judge:expr) => {{
        let earlier: i32 = $ctx.arg($n);
        if earlier != 0 { earlier } else { $judge }
    }};
}

/// net/socket.c, __sock_create: `(int family, int type, int protocol, int kern)`.
#[lsm(hook = "socket_create")]
pub fn door_socket(ctx: LsmContext) -> i32 {
    let made = || doors::socket_made(ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3));
    after!(ctx, 4, made())
}

/// net/unix/af_unix.c, unix_stream_connect: `(struct sock *sock, *other, *newsk)`.
#[lsm(hook = "unix_stream_connect")]
pub fn door_unix_connect(ctx: LsmContext) -> i32 {
    after!(ctx, 3, unix_judge::connecting(ctx.arg(1)))
}

/// net/unix/af_unix.c, unix_dgram_sendmsg and unix_dgram_connect: `(struct socket *sock, *other)`.
#[lsm(hook = "unix_may_send")]
pub fn door_unix_send(ctx: LsmContext) -> i32 {
    after!(ctx, 2, unix_judge::sending(ctx.arg(1)))
}

/// fs/file.c, receive_fd, and net/core/scm.c: `(struct file *file)`.
#[lsm(hook = "file_receive")]
pub fn door_receive(ctx: LsmContext) -> i32 {
    after!(ctx, 1, doors::received(ctx.arg(0)))
}

/// kernel/ptrace.c, __ptrace_may_access: `(struct task_struct *child, unsigned int mode)`.
#[lsm(hook = "ptrace_access_check")]
pub fn door_ptrace(ctx: LsmContext) -> i32 {
    after!(ctx, 2, doors::ptrace(ctx.arg(0), ctx.arg(1)))
}

/// kernel/signal.c, check_kill_permission:
/// `(struct task_struct *p, struct kernel_siginfo *info, int sig, const struct cred *cred)`.
#[lsm(hook = "task_kill")]
pub fn door_signal(ctx: LsmContext) -> i32 {
    // Verifier: 6.12's holds that a hook's pointer is never null, and drops what comes where one is
    // (kernel/bpf/verifier.c, is_branch_taken). This one is, whenever a call sends the signal: so
    // it is read as a number.
    let cred = || kernel::read_or_zero::<u64>(ctx.as_ptr().cast(), 3 * size_of::<u64>());
    after!(ctx, 4, doors::signal(ctx.arg(0), ctx.arg(2), cred()))
}

/// fs/fcntl.c, __f_setown: `(struct file *file)`. Nothing is answered.
#[lsm(hook = "file_set_fowner")]
pub fn door_owner(ctx: LsmContext) -> i32 {
    owner::set(ctx.arg(0));
    0
}

/// fs/fcntl.c, sigio_perm: `(struct task_struct *tsk, struct fown_struct *fown, int sig)`.
#[lsm(hook = "file_send_sigiotask")]
pub fn door_owned(ctx: LsmContext) -> i32 {
    after!(ctx, 3, owner::signal(ctx.arg(0), ctx.arg(1), ctx.arg(2)))
}

/// kernel/sys.c, do_prlimit:
/// `(struct task_struct *p, unsigned int resource, struct rlimit *new_rlim)`.
#[lsm(hook = "task_setrlimit")]
pub fn door_limit(ctx: LsmContext) -> i32 {
    after!(ctx, 3, doors::limited(ctx.arg(0), ctx.arg(1)))
}

/// kernel/sys.c, set_one_prio: `(struct task_struct *p, int nice)`.
#[lsm(hook = "task_setnice")]
pub fn door_nice(ctx: LsmContext) -> i32 {
    after!(ctx, 2, doors::limited(ctx.arg(0), limit::PRIORITY))
}

/// block/ioprio.c, set_task_ioprio: `(struct task_struct *p, int ioprio)`.
#[lsm(hook = "task_setioprio")]
pub fn door_ioprio(ctx: LsmContext) -> i32 {
    after!(ctx, 2, doors::limited(ctx.arg(0), limit::IO_PRIORITY))
}

/// kernel/sched/syscalls.c, and kernel/cgroup/cpuset.c where one is moved: `(struct task_struct *p)`.
#[lsm(hook = "task_setscheduler")]
pub fn door_scheduler(ctx: LsmContext) -> i32 {
    after!(ctx, 1, doors::limited(ctx.arg(0), limit::SCHEDULING))
}

/// kernel/bpf/syscall.c, __sys_bpf: `(int cmd, union bpf_attr *attr, unsigned int size)`; 6.16 adds
/// `bool kernel`.
#[lsm(hook = "bpf")]
pub fn door_bpf(ctx: LsmContext) -> i32 {
    doors::opened(door::BPF, ctx.arg(0))
}

/// fs/namespace.c, path_mount: `(dev_name, path, type, flags, data)`.
#[lsm(hook = "sb_mount")]
pub fn door_mount(ctx: LsmContext) -> i32 {
    after!(ctx, 5, doors::opened(door::MOUNT, mounting::MOUNT))
}

/// fs/namespace.c, move_mount(2): `(const struct path *from, *to)`.
#[lsm(hook = "move_mount")]
pub fn door_move_mount(ctx: LsmContext) -> i32 {
    after!(ctx, 2, doors::opened(door::MOUNT, mounting::MOVE))
}

/// fs/namespace.c, path_umount: `(struct vfsmount *mnt, int flags)`.
#[lsm(hook = "sb_umount")]
pub fn door_umount(ctx: LsmContext) -> i32 {
    after!(ctx, 2, doors::opened(door::MOUNT, mounting::UMOUNT))
}

/// fs/namespace.c, pivot_root(2): `(const struct path *old, *new)`.
#[lsm(hook = "sb_pivotroot")]
pub fn door_pivot(ctx: LsmContext) -> i32 {
    after!(ctx, 2, doors::opened(door::MOUNT, mounting::PIVOT))
}

/// fs/fsopen.c, fsconfig(2), and fs/namespace.c, do_new_mount_fc: `(const struct super_block *sb)`.
/// A mount that hangs nowhere is reached by its descriptor all the same.
#[lsm(hook = "sb_kern_mount")]
pub fn door_superblock(ctx: LsmContext) -> i32 {
    after!(ctx, 1, doors::superblock())
}

/// fs/kernel_read_file.c: `(struct file *file, enum kernel_read_file_id id, bool contents)`.
#[lsm(hook = "kernel_read_file")]
pub fn door_read_file(ctx: LsmContext) -> i32 {
    after!(ctx, 3, doors::code(ctx.arg(1)))
}

/// kernel/module/main.c and kernel/kexec.c: `(enum kernel_load_data_id id, bool contents)`.
#[lsm(hook = "kernel_load_data")]
pub fn door_load_data(ctx: LsmContext) -> i32 {
    after!(ctx, 2, doors::code(ctx.arg(0)))
}

/// kernel/user_namespace.c, create_user_ns: `(const struct cred *cred)`.
#[lsm(hook = "userns_create")]
pub fn door_userns(ctx: LsmContext) -> i32 {
    after!(ctx, 1, doors::opened(door::USERNS, 0))
}

/// fs/open.c, do_dentry_open: `(struct file *file)`.
#[lsm(hook = "file_open")]
pub fn door_file(ctx: LsmContext) -> i32 {
    after!(ctx, 1, doors::file_opened(ctx.arg(0)))
}

/// kernel/fork.c, copy_process: `(struct task_struct *task, unsigned long clone_flags)`.
#[lsm(hook = "task_alloc")]
pub fn door_birth(ctx: LsmContext) -> i32 {
    after!(ctx, 2, doors::born(ctx.arg(1)))
}

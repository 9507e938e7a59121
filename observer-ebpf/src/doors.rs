//! What reaches past the run by a system call: judged where the kernel asks its security modules,
//! so whichever way the call came there (32-bit calls, io_uring). Told each time.

use observer_common::{Decision, DoorEvent, EventKind, Header, Label, config_flag, door, net_op};

use crate::emit::{self, Ring};
use crate::kernel::{self, Ptr, at};
use crate::lineage;
use crate::maps::SYSTEM;
use crate::socket::{self, End};
use crate::unix_judge;
use crate::verdict::{self as policy, Ruling};

/// PTRACE_MODE_ATTACH (include/linux/ptrace.h): to write into a process or to take from it what it
/// holds. Looking alone (PTRACE_MODE_READ) is what `ps` does, and is let be.
const ATTACH: u32 = 0x2;
/// CLONE_INTO_CGROUP (include/uapi/linux/sched.h).
const INTO_CGROUP: u64 = 0x2_0000_0000;
/// READING_FIRMWARE (include/linux/kernel_read_file.h): what stands after it is code and keys for
/// the kernel; 0 is a file of no kind.
const FIRMWARE: u32 = 1;

/// Families of sockets (include/linux/socket.h).
const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;
/// The kernel's ciphers: nothing leaves by them.
const AF_ALG: u32 = 38;
/// NETLINK_ROUTE: addresses and routes, which a C library reads before it resolves a name.
const NETLINK_ROUTE: u32 = 0;

/// Kinds of inode (include/uapi/linux/stat.h).
const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;
/// FMODE_WRITE (include/linux/fs.h).
const FMODE_WRITE: u32 = 0x2;
/// include/uapi/linux/magic.h.
const CGROUP_MAGIC: u64 = 0x27e0eb;
const CGROUP2_MAGIC: u64 = 0x6367_7270;
/// mount(2) (arch/x86/entry/syscalls/syscall_64.tbl).
const SYS_MOUNT: u64 = 165;

/// What is done with mounts: the value of its events.
pub mod mounting {
    pub const MOUNT: u32 = 1;
    pub const MOVE: u32 = 2;
    pub const UMOUNT: u32 = 3;
    pub const PIVOT: u32 = 4;
    pub const SUPERBLOCK: u32 = 5;
}

/// A door with nobody behind it.
#[inline(always)]
pub fn opened(door: u32, value: u32) -> i32 {
    match lineage::current_label() {
        Some(label) => tell(&label, door, core::ptr::null(), value, ruling(door)),
        None => 0,
    }
}

/// A new superblock: mount(2) told it already, and was judged.
#[inline(always)]
pub fn superblock() -> i32 {
    let Some(label) = lineage::current_label() else { return 0 };
    let ruling = ruling(door::MOUNT);
    let call: u64 = kernel::read_or_zero(kernel::current_regs(), kernel::SYSCALL);
    if !ruling.denies() && call == SYS_MOUNT {
        return 0;
    }
    tell(&label, door::MOUNT, core::ptr::null(), mounting::SUPERBLOCK, ruling)
}

/// Code, or keys, for the kernel.
#[inline(always)]
pub fn code(id: u32) -> i32 {
    if id <= FIRMWARE { 0 } else { opened(door::KERNEL, id) }
}

/// Access to another process.
#[inline(always)]
pub fn ptrace(child: Ptr, mode: u32) -> i32 {
    if mode & ATTACH == 0 { 0 } else { aimed(door::PTRACE, child, mode) }
}

/// A signal; none is sent with 0, and `cred` is there where nobody's call sends it.
#[inline(always)]
pub fn signal(target: Ptr, sig: u32, cred: u64) -> i32 {
    if sig == 0 || cred != 0 { 0 } else { aimed(door::SIGNAL, target, sig) }
}

/// What a process may use, or when it runs: a limit can end it as a signal does.
#[inline(always)]
pub fn limited(target: Ptr, what: u32) -> i32 {
    aimed(door::LIMITS, target, what)
}

/// A birth in a cgroup that is named.
#[inline(always)]
pub fn born(flags: u64) -> i32 {
    if flags & INTO_CGROUP == 0 { 0 } else { opened(door::CGROUP, 0) }
}

/// A file is opened: to write to a cgroup that is not the run's, or below it.
#[inline(always)]
pub fn file_opened(file: Ptr) -> i32 {
    let Some(label) = lineage::current_label() else { return 0 };
    let mode: u32 = kernel::read_or_zero(file, at!(file_mode));
    if mode & FMODE_WRITE == 0 {
        return 0;
    }
    let inode: Ptr = kernel::read_or_zero(file, at!(file_inode));
    let sb: Ptr = kernel::read_or_zero(inode, at!(inode_sb));
    let magic: u64 = kernel::read_or_zero(sb, at!(sb_magic));
    if magic != CGROUP2_MAGIC && magic != CGROUP_MAGIC {
        return 0;
    }
    // A directory's inode number is its kernfs id (fs/kernfs/inode.c, kernfs_init_inode).
    let path = file.wrapping_add(at!(file_path));
    let dentry: Ptr = kernel::read_or_zero(path, at!(path_dentry));
    let parent: Ptr = kernel::read_or_zero(dentry, at!(dentry_parent));
    let parent: Ptr = kernel::read_or_zero(parent, at!(dentry_inode));
    let id: u64 = kernel::read_or_zero(parent, at!(inode_ino));
    if magic == CGROUP2_MAGIC && lineage::is_ours(id) {
        return 0;
    }
    tell(&label, door::CGROUP, core::ptr::null(), 0, ruling(door::CGROUP))
}

/// Something is done to a process; to one of the run's own, that is the run's affair.
#[inline(always)]
fn aimed(door: u32, target: Ptr, value: u32) -> i32 {
    match lineage::current_label() {
        Some(label) if is_outside(target) => tell(&label, door, target, value, ruling(door)),
        _ => 0,
    }
}

/// Whether a process is none of the run's.
#[inline(always)]
pub fn is_outside(target: Ptr) -> bool {
    kernel::tgid(target).is_some_and(|tgid| lineage::label_of(tgid).is_none())
        && !kernel::task_cgroup_id(target).is_some_and(lineage::is_ours)
}

/// What the rules say of a door.
#[inline(always)]
pub fn ruling(door: u32) -> Ruling {
    let config = policy::config();
    let denies = config.flags & config_flag::SYSTEM_DENY != 0;
    let decision = match SYSTEM.get_value_ptr_mut(config.bank(), &door) {
        // SAFETY: copied at once; a bank in use is not written.
        Some(found) => unsafe { *found },
        None => Decision::default(),
    };
    Ruling::from(decision, denies).under(&config)
}

#[inline(always)]
fn tell(label: &Label, door: u32, target: Ptr, value: u32, ruling: Ruling) -> i32 {
    tell_of(kernel::identify_current(label.exec), door, target, value, ruling)
}

/// Tells what the process of `header` does at a door, and answers.
#[inline(always)]
pub fn tell_of(mut header: Header, door: u32, target: Ptr, value: u32, ruling: Ruling) -> i32 {
    let denied = ruling.denies();
    let call = emit::new_id();
    let ring = if denied { Ring::Control } else { Ring::Events };
    let (pid, comm) = if target.is_null() {
        (0, [0; 16])
    } else {
        (kernel::read_or_zero(target, at!(task_tgid)), kernel::read_or_zero(target, at!(task_comm)))
    };
    emit::send(&mut header, ring, EventKind::Door, denied, |header| DoorEvent {
        header: *header,
        call,
        door,
        target: pid,
        value,
        verdict: ruling.verdict,
        rule: ruling.rule,
        reserved: 0,
        comm,
    });
    policy::answer(denied)
}

/// A socket is made. Those of the internet are judged where their family makes them
/// ([`socket::created`]), unix sockets where they are used.
#[inline(always)]
pub fn socket_made(family: u32, kind: u32, protocol: u32, kern: u32) -> i32 {
    if kern != 0 || matches!(family, AF_UNIX | AF_INET | AF_INET6 | AF_ALG) {
        return 0;
    }
    if family == AF_NETLINK && protocol == NETLINK_ROUTE {
        return 0;
    }
    let Some(label) = lineage::current_label() else { return 0 };
    let ruling = if family == AF_NETLINK {
        ruling(door::NETLINK)
    } else {
        socket::unheld(&policy::config())
    };
    let end = End { addr: [0; 16], port: kind & 0xf, protocol, family, cookie: 0 };
    socket::tell(&label, net_op::OPEN, &end, ruling, Ring::Control);
    policy::answer(ruling.denies())
}

/// A file comes from another process (SCM_RIGHTS, pidfd_getfd): a socket keeps the hooks of the
/// cgroup that it was made in, so one that was made elsewhere passes by the run's.
#[inline(always)]
pub fn received(file: Ptr) -> i32 {
    let inode: Ptr = kernel::read_or_zero(file, at!(file_inode));
    let mode: u16 = kernel::read_or_zero(inode, at!(inode_mode));
    if mode & S_IFMT != S_IFSOCK {
        return 0;
    }
    let Some(label) = lineage::current_label() else { return 0 };
    let socket: Ptr = kernel::read_or_zero(file, at!(file_private));
    let Some(sk) = kernel::follow(socket, at!(socket_sk)) else { return 0 };
    let common = sk.wrapping_add(at!(sock_common));
    let family: u16 = kernel::read_or_zero(common, at!(skc_family));
    let family = u32::from(family);
    if family == AF_UNIX {
        return unix_judge::received(&label, sk);
    }
    if matches!(family, AF_NETLINK | AF_ALG) {
        return 0;
    }
    let made_in: Ptr = kernel::read_or_zero(sk, at!(sock_cgroup) + at!(sock_cgroup_ptr));
    if kernel::cgroup_id(made_in).is_some_and(lineage::is_ours) {
        return 0;
    }
    let config = policy::config();
    let (end, ruling) = socket::far_end(&config, sk, family);
    socket::tell(&label, net_op::RECEIVE, &end, ruling, Ring::Control);
    policy::answer(ruling.denies())
}

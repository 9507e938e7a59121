//! Where the running kernel keeps what the programs read: filled from its BTF at load.

macro_rules! offsets {
    ($($(#[$doc:meta])* $field:ident = $structure:literal . $member:literal),* $(,)?) => {
        /// Byte offsets of kernel structure members. [`Offsets::MISSING`] marks one that the
        /// running kernel lacks.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Offsets {
            $($(#[$doc])* pub $field: u32,)*
        }

        impl Offsets {
            /// What has no offset here.
            pub const MISSING: u32 = u32::MAX;

            /// Nothing known: what the programs hold until they are loaded.
            pub const fn missing() -> Self {
                Self { $($field: Self::MISSING,)* }
            }

            /// Each member once: its structure, its name, and where its offset goes.
            pub fn each(&mut self, mut f: impl FnMut(&'static str, &'static str, &mut u32)) {
                $(f($structure, $member, &mut self.$field);)*
            }
        }
    };
}

offsets! {
    /// Its address space.
    task_mm = "task_struct"."mm",
    /// Its thread group id.
    task_tgid = "task_struct"."tgid",
    /// Its thread id.
    task_pid = "task_struct"."pid",
    /// Its real parent.
    task_real_parent = "task_struct"."real_parent",
    /// Its thread group's leader.
    task_group_leader = "task_struct"."group_leader",
    /// When it began, CLOCK_BOOTTIME.
    task_start_boottime = "task_struct"."start_boottime",
    /// Its root and working directory.
    task_fs = "task_struct"."fs",
    /// How it ended.
    task_exit_code = "task_struct"."exit_code",
    /// What it is (include/linux/sched.h, PF_).
    task_flags = "task_struct"."flags",
    /// What its thread group shares.
    task_signal = "task_struct"."signal",
    /// Its cgroups.
    task_cgroups = "task_struct"."cgroups",
    /// Its credentials.
    task_cred = "task_struct"."cred",
    /// Its low-level state: the first member.
    task_thread_info = "task_struct"."thread_info",
    /// Flags of its own that no other task writes.
    thread_info_status = "thread_info"."status",
    /// Its short name.
    task_comm = "task_struct"."comm",
    /// Effective user.
    cred_euid = "cred"."euid",
    /// Where argv begins.
    mm_arg_start = "mm_struct"."arg_start",
    /// Where argv ends.
    mm_arg_end = "mm_struct"."arg_end",
    /// The file as named.
    bprm_filename = "linux_binprm"."filename",
    /// The interpreter, or the file as named.
    bprm_interp = "linux_binprm"."interp",
    /// The file that runs.
    bprm_file = "linux_binprm"."file",
    /// The name made for a descriptor, or null.
    bprm_fdpath = "linux_binprm"."fdpath",
    /// Where an open file stands.
    file_path = "file"."f_path",
    /// Its inode.
    file_inode = "file"."f_inode",
    /// How many names it has.
    inode_nlink = "inode"."i_nlink",
    /// The mount of a path.
    path_mnt = "path"."mnt",
    /// The name of a path.
    path_dentry = "path"."dentry",
    /// The directory that holds a name.
    dentry_parent = "dentry"."d_parent",
    /// A name.
    dentry_name = "dentry"."d_name",
    /// A name's bytes.
    qstr_name = "qstr"."name",
    /// The top of a mount.
    vfsmount_root = "vfsmount"."mnt_root",
    /// The part of a mount that the rest of the kernel sees.
    mount_mnt = "mount"."mnt",
    /// The mount that it stands in.
    mount_parent = "mount"."mnt_parent",
    /// Where in that.
    mount_mountpoint = "mount"."mnt_mountpoint",
    /// The mount namespace that it is in.
    mount_ns = "mount"."mnt_ns",
    /// What all namespaces share.
    mnt_namespace_ns = "mnt_namespace"."ns",
    /// A namespace's number.
    ns_common_inum = "ns_common"."inum",
    /// The root directory.
    fs_root = "fs_struct"."root",
    /// The working directory.
    fs_pwd = "fs_struct"."pwd",
    /// Threads that have not ended.
    signal_live = "signal_struct"."live",
    /// How the group ended.
    signal_group_exit_code = "signal_struct"."group_exit_code",
    /// Whether it did.
    signal_flags = "signal_struct"."flags",
    /// The cgroup v2 directory.
    css_set_dfl_cgrp = "css_set"."dfl_cgrp",
    /// The directory above, through `cgroup.self`, which stands first.
    css_parent = "cgroup_subsys_state"."parent",
    /// Its place in kernfs.
    cgroup_kn = "cgroup"."kn",
    /// That place's id.
    kernfs_id = "kernfs_node"."id",
    /// Why a connection failed.
    sock_err = "sock"."sk_err",
    /// The transport.
    sock_protocol = "sock"."sk_protocol",
    /// What all sockets share.
    sock_common = "sock"."__sk_common",
    /// Its family.
    skc_family = "sock_common"."skc_family",
    /// Its local port, host order.
    skc_num = "sock_common"."skc_num",
    /// Its local IPv4 address.
    skc_rcv_saddr = "sock_common"."skc_rcv_saddr",
    /// Its local IPv6 address.
    skc_v6_rcv_saddr = "sock_common"."skc_v6_rcv_saddr",
    /// Its cookie, where it has one.
    skc_cookie = "sock_common"."skc_cookie",
    /// Its far port, network order.
    skc_dport = "sock_common"."skc_dport",
    /// Its far IPv4 address.
    skc_daddr = "sock_common"."skc_daddr",
    /// Its far IPv6 address.
    skc_v6_daddr = "sock_common"."skc_v6_daddr",
    /// Where a packet's network header begins.
    skb_network_header = "sk_buff"."network_header",
    /// Where its transport header does.
    skb_transport_header = "sk_buff"."transport_header",
    /// The cgroup that it was made in.
    sock_cgroup = "sock"."sk_cgrp_data",
    /// That cgroup, of what a socket keeps.
    sock_cgroup_ptr = "sock_cgroup_data"."cgroup",
    /// Who listens, or whom it was made with.
    sock_peer_pid = "sock"."sk_peer_pid",
    /// A socket's state for the network.
    socket_sk = "socket"."sk",
    /// What a file is of.
    file_private = "file"."private_data",
    /// Who gets signals for it: a structure, or a pointer to one that says whose it is.
    file_owner = "file"."f_owner",
    /// Whose it is, where the file has a pointer to it (Linux 6.12).
    fown_file = "fown_struct"."file",
    /// How it was opened.
    file_mode = "file"."f_mode",
    /// What an inode is.
    inode_mode = "inode"."i_mode",
    /// Its number.
    inode_ino = "inode"."i_ino",
    /// The filesystem that it is in.
    inode_sb = "inode"."i_sb",
    /// Its size.
    inode_size = "inode"."i_size",
    /// The seconds of its last change.
    inode_ctime_sec = "inode"."i_ctime_sec",
    /// The nanoseconds.
    inode_ctime_nsec = "inode"."i_ctime_nsec",
    /// A filesystem's device.
    sb_dev = "super_block"."s_dev",
    /// What kind of filesystem that is.
    sb_magic = "super_block"."s_magic",
    /// A name's inode.
    dentry_inode = "dentry"."d_inode",
    /// A process id's numbers; the first is that of the first namespace.
    pid_numbers = "pid"."numbers",
    /// A number.
    upid_nr = "upid"."nr",
    /// What a unix socket is bound to.
    unix_addr = "unix_sock"."addr",
    /// Where in the filesystem.
    unix_path = "unix_sock"."path",
    /// Whom it is connected to.
    unix_peer = "unix_sock"."peer",
    /// How long an address is.
    unix_addr_len = "unix_address"."len",
    /// The address.
    unix_addr_name = "unix_address"."name",
}

#[cfg(feature = "user")]
mod pod {
    // SAFETY: a row of u32, without padding.
    unsafe impl aya::Pod for super::Offsets {}
}

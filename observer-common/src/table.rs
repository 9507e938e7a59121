//! What user space gives to the kernel side: the run's configuration, its policy as tables,
//! labels.

use core::mem::size_of;

use crate::{ARG_LEN, GROUP_RULES, HOST_LEN, PROGRAM_LEN};

/// The run's configuration.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// [`config_flag`] bits.
    pub flags: u32,
    /// The decision on sockets that destination rules can't hold (raw and the like).
    pub unheld: Decision,
    /// The count of the policy, from 1. Its tables are in the bank [`Config::bank`].
    pub generation: u32,
    /// The mount namespaces in which paths mean what rules say, by number; 0 is none. Elsewhere a
    /// path allows nothing: whoever made the namespace chose what stands there.
    pub mounts: [u32; 2],
}

impl Config {
    /// Where the tables of a generation stand: there are two banks, and the one that is not in
    /// use takes the next policy.
    #[inline(always)]
    pub const fn bank(&self) -> u32 {
        self.generation & 1
    }

    /// What rules on hashes say of a file whose hash is not known.
    #[inline(always)]
    pub const fn unhashed(&self) -> Decision {
        const ANY: u32 = config_flag::HASH_WOULD | config_flag::HASH_DENY;
        Decision { kind: (self.flags & ANY) / config_flag::HASH_RULES, rule: UNHASHED }
    }
}

/// Bits of [`Config::flags`].
pub mod config_flag {
    /// There are rules on destinations, or their default denies.
    pub const NET_RULES: u32 = 1;
    /// There are rules on programs, or their default denies.
    pub const EXEC_RULES: u32 = 1 << 1;
    /// What no rule on destinations matches is denied.
    pub const NET_DENY: u32 = 1 << 2;
    /// What no rule on programs matches is denied.
    pub const EXEC_DENY: u32 = 1 << 3;
    /// The exit of execve is watched, and tells what the LSM hook denied.
    pub const EXEC_EXIT: u32 = 1 << 4;
    /// The LSM hook judges programs by name before they are loaded.
    pub const EXEC_LSM: u32 = 1 << 5;
    /// There are rules on names.
    pub const NAME_RULES: u32 = 1 << 6;
    /// Nothing is enforced: what is denied goes on, and is told as such (`Ruling::under`, which
    /// every denial passes).
    pub const ADVISORY: u32 = 1 << 7;
    /// Sockets that destination rules can't hold are denied where no rule allows them.
    pub const UNHELD_DENY: u32 = 1 << 8;
    /// There are rules on the hashes of files.
    pub const HASH_RULES: u32 = 1 << 9;
    /// One of them denies and is not enforced: so is a file without a hash
    /// ([`Config::unhashed`](super::Config::unhashed)).
    pub const HASH_WOULD: u32 = 1 << 10;
    /// One of them denies: so is a file without a hash.
    pub const HASH_DENY: u32 = 1 << 11;
    /// There are rules on unix sockets, or their default denies.
    pub const UNIX_RULES: u32 = 1 << 16;
    /// What no rule on unix sockets matches is denied.
    pub const UNIX_DENY: u32 = 1 << 17;
    /// What no rule on doors of the system matches is denied.
    pub const SYSTEM_DENY: u32 = 1 << 18;
}

/// A decision of the policy's compiler.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// A [`decision`].
    pub kind: u32,
    /// The rule's index, where a rule decided.
    pub rule: u32,
}

/// The index of no rule: what denies is that the file's hash is not known.
pub const UNHASHED: u32 = u32::MAX;

/// Kinds of [`Decision`]: bits, so that those on one call join by OR. The rule is that of the
/// highest.
pub mod decision {
    /// Nothing matched: the default decides.
    pub const DEFAULT: u32 = 0;
    /// An allow rule.
    pub const ALLOW: u32 = 1;
    /// A deny rule that is not enforced: it is told, and what else there is decides.
    pub const WOULD: u32 = 1 << 1;
    /// A deny rule.
    pub const DENY: u32 = 1 << 2;
}

/// What a process of the run carries; children inherit it. Keyed by thread group id.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// The exec that it runs since, or 0.
    pub exec: u64,
    /// [`label_flag`] bits.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}

/// Bits of [`Label::flags`].
pub mod label_flag {
    /// It ran an exec itself, since it was forked.
    pub const EXECED: u32 = 1;
    /// It was moved out of its run's cgroup.
    pub const ESCAPED: u32 = 1 << 1;
}

/// A destination, as the key of the longest-prefix map (after its prefix length).
pub type NetKey = [u8; 16];

/// A host's name, as the key of the longest-prefix map of names (after its prefix length, which
/// counts bits): lower-case, from the last byte to the first, a dot after each label; zeros after.
pub type NameKey = [u8; HOST_LEN];

/// The sets of rules that speak of a name; 0 is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameValue {
    /// Bytes of the key: a name whose key is as long is this name itself.
    pub len: u32,
    /// The set for the name itself.
    pub exact: u32,
    /// The set for the names below.
    pub below: u32,
    /// [`name_flag`] bits.
    pub flags: u32,
}

/// Bits of [`NameValue::flags`].
pub mod name_flag {
    /// A rule of `exact` denies.
    pub const EXACT_DENIES: u32 = 1;
    /// A rule of `below` denies.
    pub const BELOW_DENIES: u32 = 1 << 1;
}

/// What a set of rules says of a protocol and a port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PortKey {
    /// The set that the destination's prefix names.
    pub set: u32,
    /// The port, or [`PortKey::ANY_PORT`].
    pub port: u32,
    /// The IP protocol number, or 0 for any other.
    pub protocol: u32,
}

impl PortKey {
    /// Any port that has no entry of its own.
    pub const ANY_PORT: u32 = 0x1_0000;
    /// No port: whether a name of the set may be looked up.
    pub const LOOKUP: u32 = 0x1_0001;
}

/// A program, as rules name it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramKey {
    /// A [`program_kind`].
    pub kind: u32,
    /// The name, or the path as components, leaf first, with a NUL each, or the hash; zeros after.
    pub bytes: [u8; PROGRAM_LEN],
}

/// Kinds of [`ProgramKey`].
pub mod program_kind {
    /// A name without a slash.
    pub const NAME: u32 = 0;
    /// A path from the root, leaf first.
    pub const PATH: u32 = 1;
    /// A path from the root as it was written, for a script.
    pub const SCRIPT: u32 = 2;
    /// The name of a script whose path is denied, where no LSM hook can resolve how it was named.
    pub const SCRIPT_NAME: u32 = 3;
    /// The SHA-256 of a file.
    pub const SHA256: u32 = 4;
}

/// A file as it stood when it was hashed: written to, it is another one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileKey {
    /// The filesystem's device, as the kernel has it (MKDEV, include/linux/kdev_t.h).
    pub dev: u32,
    /// The nanoseconds of its last change.
    pub ctime_nsec: u32,
    /// Its inode's number.
    pub ino: u64,
    /// The seconds of its last change.
    pub ctime: u64,
    /// Its size.
    pub size: u64,
}

/// Files whose hashes are known at a time, at most.
pub const FILES_MAX: u32 = 1024;

/// What the rules say of a program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgramValue {
    /// Where no rule on arguments matches.
    pub decision: Decision,
    /// The group of rules on its arguments, or 0.
    pub group: u32,
    /// Zero.
    pub reserved: u32,
}

/// An argument that a group of rules looks for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgKey {
    /// The group.
    pub group: u32,
    /// The argument; zeros after.
    pub bytes: [u8; ARG_LEN],
}

/// A rule on arguments.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupRule {
    /// The bits of the arguments that must all be there.
    pub mask: u64,
    /// What it then decides.
    pub decision: Decision,
}

/// A group of rules on arguments: denials first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The rules; a mask of 0 ends them.
    pub rules: [GroupRule; GROUP_RULES],
}

const _: () = {
    assert!(size_of::<Config>() == 24);
    assert!(size_of::<Label>() == 16);
    assert!(size_of::<NameValue>() == 16);
    assert!(size_of::<PortKey>() == 12);
    assert!(size_of::<ProgramKey>() == 4 + PROGRAM_LEN);
    assert!(size_of::<ProgramValue>() == 16);
    assert!(size_of::<FileKey>() == 32);
    assert!(config_flag::HASH_WOULD / config_flag::HASH_RULES == decision::WOULD);
    assert!(config_flag::HASH_DENY / config_flag::HASH_RULES == decision::DENY);
    assert!(size_of::<ArgKey>() == 4 + ARG_LEN);
    assert!(size_of::<Group>() == 16 * GROUP_RULES);
};

#[cfg(feature = "user")]
mod pod {
    use super::*;

    // SAFETY: these are integers and arrays of them, without padding, as the sizes above assert.
    unsafe impl aya::Pod for Config {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Label {}
    // SAFETY: as above.
    unsafe impl aya::Pod for NameValue {}
    // SAFETY: as above.
    unsafe impl aya::Pod for PortKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for ProgramKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for ProgramValue {}
    // SAFETY: as above.
    unsafe impl aya::Pod for FileKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Decision {}
    // SAFETY: as above.
    unsafe impl aya::Pod for ArgKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Group {}
}

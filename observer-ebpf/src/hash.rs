//! Rules on the hash of a program's file. User space hashes it while its exec is held, before it lets
//! that go on; a file that it did not hash has none.

use observer_common::{Config, FileKey, ProgramKey, program_kind};

use crate::kernel::{self, Ptr, at};
use crate::maps::FILES;
use crate::verdict::Opinion;

/// Adds to the opinion what the rules say of a file by its hash. One that can't `vouch` can only have
/// the exec denied.
///
/// # Safety
/// `opinion` and `key` are map values that nobody else uses.
#[inline(always)]
pub unsafe fn ask(
    opinion: *mut Opinion,
    key: *mut ProgramKey,
    config: &Config,
    file: Option<Ptr>,
    vouch: bool,
) {
    // SAFETY: as promised; a file's words are in a map value of ours.
    unsafe {
        let to = &raw mut (*opinion).file;
        identify(to, file.unwrap_or(core::ptr::null()));
        let Some(hash) = FILES.get_ptr(&*to) else { return unknown(opinion, config) };
        kernel::clear(key);
        (*key).kind = program_kind::SHA256;
        let (from, words) = (hash.cast::<u32>(), (&raw mut (*key).bytes).cast::<u32>());
        for i in 0..8 {
            words.add(i).write_volatile(from.add(i).read_volatile());
        }
        Opinion::ask_only(opinion, config.bank(), key, vouch);
    }
}

/// Adds that a file's hash is not known.
///
/// # Safety
/// As above.
#[inline(always)]
pub unsafe fn unknown(opinion: *mut Opinion, config: &Config) {
    // SAFETY: as promised.
    unsafe { Opinion::merge(opinion, config.unhashed()) };
}

/// Sets `to` to what tells an open file, as it is now, from each other; of none, to zeros.
#[inline(always)]
unsafe fn identify(to: *mut FileKey, file: Ptr) {
    /// include/linux/fs.h: above the nanoseconds 6.13 keeps whether somebody asked for them.
    const NANOSECONDS: u32 = (1 << 30) - 1;
    let inode: Ptr = kernel::read_or_zero(file, at!(file_inode));
    let sb: Ptr = kernel::read_or_zero(inode, at!(inode_sb));
    let nsec: u32 = kernel::read_or_zero(inode, at!(inode_ctime_nsec));
    // SAFETY: as promised.
    unsafe {
        (&raw mut (*to).dev).write_volatile(kernel::read_or_zero(sb, at!(sb_dev)));
        (&raw mut (*to).ctime_nsec).write_volatile(nsec & NANOSECONDS);
        (&raw mut (*to).ino).write_volatile(kernel::read_or_zero(inode, at!(inode_ino)));
        (&raw mut (*to).ctime).write_volatile(kernel::read_or_zero(inode, at!(inode_ctime_sec)));
        (&raw mut (*to).size).write_volatile(kernel::read_or_zero(inode, at!(inode_size)));
    }
}

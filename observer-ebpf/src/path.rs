//! Paths as the kernel holds them: from a name up to the root, through mounts.

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_kernel_str};
use core::ffi::c_void;
use observer_common::{Config, NAME_LEN, PATH_DEPTH, PATH_MAX, PROGRAM_LEN, ProgramKey};

use crate::kernel::{self, Ptr, at};
use crate::verdict::Opinion;

/// Room for a resolved path, and for what its look-ups need.
#[repr(C)]
pub struct PathScratch {
    /// How far `data` is written. Read back before each use: the verifier forgets a bound that
    /// it saw on another path.
    pub cursor: u32,
    /// Where the last slash of a name stands, plus one.
    pub base: u32,
    /// A key for a look-up.
    pub key: ProgramKey,
    /// What the rules say.
    pub opinion: Opinion,
    /// The path's components, leaf first.
    pub data: [u8; PATH_SPACE],
}

/// A path and one component more.
pub const PATH_SPACE: usize = PATH_MAX + 2 * NAME_LEN;

/// Where components go: a buffer and its cursor.
#[derive(Clone, Copy)]
pub struct Sink {
    /// The buffer's first byte.
    pub data: *mut u8,
    /// How far it is written.
    pub cursor: *mut u32,
    /// Its size, less one component: a constant wherever this is made.
    pub limit: u32,
}

/// Whether a `struct path` stands in a mount namespace where paths mean what rules say.
#[inline(always)]
pub fn is_known(path: Ptr, config: &Config) -> bool {
    let mnt: Ptr = kernel::read_or_zero(path, at!(path_mnt));
    let namespace: Ptr = kernel::read_or_zero(mnt.wrapping_sub(at!(mount_mnt)), at!(mount_ns));
    let number: u32 = kernel::read_or_zero(namespace, at!(mnt_namespace_ns) + at!(ns_common_inum));
    number != 0 && (number == config.mounts[0] || number == config.mounts[1])
}

struct Walk {
    sink: Sink,
    dentry: Ptr,
    mnt: Ptr,
    end: u32,
    done: u32,
}

/// Writes the components of a `struct path` at `base + offset`, leaf first. True when the root
/// was reached, false when it was cut.
#[inline(always)]
pub fn components(path: Ptr, sink: Sink) -> bool {
    let Some(dentry) = kernel::follow(path, at!(path_dentry)) else { return false };
    let Some(mnt) = kernel::follow(path, at!(path_mnt)) else { return false };
    // SAFETY: the sink's cursor is its own.
    let start = unsafe { sink.cursor.read_volatile() };
    let mut walk = Walk { sink, dentry, mnt, end: start + PATH_MAX as u32, done: 0 };
    // SAFETY: the callback has the helper's signature, and the context outlives the call.
    unsafe {
        // Twice the depth: a step over a mount writes nothing.
        bpf_loop(2 * PATH_DEPTH as u32, step as *mut c_void, (&raw mut walk).cast(), 0);
    }
    walk.done == 1
}

/// One step up. Returns 1 to end the loop.
unsafe extern "C" fn step(_index: u64, walk: *mut c_void) -> i64 {
    // SAFETY: what `components` handed over.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    let parent = kernel::follow(walk.dentry, at!(dentry_parent));
    let top = kernel::follow(walk.mnt, at!(vfsmount_root));
    let (Some(parent), Some(top)) = (parent, top) else { return 1 };
    if walk.dentry == top || walk.dentry == parent {
        let mount = walk.mnt.wrapping_sub(at!(mount_mnt));
        let Some(above) = kernel::follow(mount, at!(mount_parent)) else { return 1 };
        if above == mount {
            walk.done = 1;
            // A memfd's name is a top without a directory: it is all the path there is. The root
            // of a file system is such a top too, named "/" (fs/dcache.c, d_make_root), and no part.
            // SAFETY: the sink's cursor is its own.
            let written = unsafe { walk.sink.cursor.read_volatile() };
            let empty = written + PATH_MAX as u32 == walk.end;
            if empty && walk.dentry == parent && first_byte(walk.dentry) != b'/' {
                let _ = push(walk.sink, walk.dentry);
            }
            return 1;
        }
        let Some(point) = kernel::follow(mount, at!(mount_mountpoint)) else { return 1 };
        walk.dentry = point;
        walk.mnt = above.wrapping_add(at!(mount_mnt));
        return 0;
    }
    match push(walk.sink, walk.dentry) {
        Some(written) if written < walk.end => {
            walk.dentry = parent;
            0
        }
        _ => 1,
    }
}

/// The first byte of a name.
#[inline(always)]
fn first_byte(dentry: Ptr) -> u8 {
    kernel::follow(dentry, at!(dentry_name) + at!(qstr_name))
        .map_or(0, |name| kernel::read_or_zero(name, 0))
}

/// Writes one name; returns how far the buffer is written.
#[inline(always)]
fn push(sink: Sink, dentry: Ptr) -> Option<u32> {
    let name = kernel::follow(dentry, at!(dentry_name) + at!(qstr_name))?;
    // SAFETY: `cursor <= limit` leaves room for one name: NAME_LEN is the longest write.
    unsafe {
        let cursor = sink.cursor.read_volatile();
        if cursor > sink.limit {
            return None;
        }
        let n = bpf_probe_read_kernel_str(
            sink.data.add(cursor as usize).cast(),
            NAME_LEN as u32,
            name.cast(),
        );
        if n <= 0 {
            return None;
        }
        sink.cursor.write_volatile(cursor + n as u32);
        Some(cursor + n as u32)
    }
}

/// Sets `key` to a name that ends with a NUL.
#[inline(always)]
pub fn name_key(key: *mut ProgramKey, kind: u32, name: *const u8) -> bool {
    // SAFETY: the key is ours and the helper writes its length at the most.
    unsafe {
        kernel::clear(key);
        (*key).kind = kind;
        let bytes = (&raw mut (*key).bytes).cast::<u8>();
        bpf_probe_read_kernel_str(bytes.cast(), PROGRAM_LEN as u32, name.cast()) > 1
    }
}

/// Sets `key` to a whole path, leaf first, of `len` bytes; false where it is longer than a rule
/// can be.
#[inline(always)]
pub fn path_key(key: *mut ProgramKey, kind: u32, path: *const u8, len: u32) -> bool {
    if len == 0 || len >= PROGRAM_LEN as u32 {
        return false;
    }
    // SAFETY: `len` is below the key's length.
    unsafe {
        kernel::clear(key);
        (*key).kind = kind;
        let bytes = (&raw mut (*key).bytes).cast::<u8>();
        // Verifier: 6.1's forgets the bound of a word that waits on the stack.
        let len = core::hint::black_box(len) & (PROGRAM_LEN as u32 - 1);
        aya_ebpf::helpers::generated::bpf_probe_read_kernel(bytes.cast(), len, path.cast()) == 0
    }
}

struct LastSlash {
    text: *const u8,
    base: *mut u32,
}

/// Finds the offset after the last slash of a NUL-ended text of up to PATH_MAX bytes in kernel
/// memory, and leaves it at `base`.
#[inline(always)]
pub fn basename(text: *const u8, base: *mut u32) {
    // SAFETY: `base` is ours; the callback has the helper's signature.
    unsafe {
        base.write_volatile(0);
        let mut find = LastSlash { text, base };
        bpf_loop(PATH_MAX as u32, look as *mut c_void, (&raw mut find).cast(), 0);
    }
}

unsafe extern "C" fn look(index: u64, find: *mut c_void) -> i64 {
    // SAFETY: what `basename` handed over.
    let find = unsafe { &mut *find.cast::<LastSlash>() };
    match kernel::read::<u8>(find.text, index as usize) {
        None | Some(0) => 1,
        Some(b'/') => {
            // SAFETY: the caller's own word.
            unsafe { find.base.write_volatile(index as u32 + 1) };
            0
        }
        Some(_) => 0,
    }
}

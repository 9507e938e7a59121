//! The dynamic loader, called as a program: `ld-linux-x86-64.so.2 prog args…` runs prog, and no exec
//! tells of it. So the arguments are asked for programs, too.
//!
//! Any of them can have it denied, since options stand before the program; where there are more
//! than are looked at, it is. The first one alone can have it allowed: what stands after an option
//! is not known to be what runs.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user_str};
use observer_common::{ARG_READS, PROGRAM_LEN, ProgramKey, program_kind};

use crate::kernel;
use crate::path;
use crate::verdict::Opinion;

/// An argument that is looked at, in a map value.
#[repr(C)]
pub struct Target {
    at: u64,
    end: u64,
    /// Which argument: 0 is the program's own name.
    index: u32,
    /// Where the last slash stands, plus one.
    base: u32,
    bank: u32,
    /// 1 where a path that was written can allow.
    rooted: u32,
    text: [u8; PROGRAM_LEN],
}

struct Context {
    target: *mut Target,
    opinion: *mut Opinion,
    key: *mut ProgramKey,
}

/// Whether a file is named as loaders are: ld-linux*, ld-musl-*, ld.so*, ld-2.*.
#[inline(always)]
pub fn is_one(name: *const u8) -> bool {
    let word: u64 = kernel::read_or_zero(name, 0);
    let five = word & 0xff_ffff_ffff;
    word == u64::from_le_bytes(*b"ld-linux")
        || word == u64::from_le_bytes(*b"ld-musl-")
        || five == u64::from_le_bytes(*b"ld.so\0\0\0")
        || five == u64::from_le_bytes(*b"ld-2.\0\0\0")
}

/// Adds to the opinion what the rules say of the programs among the arguments at `start..end`; that
/// the loader itself is allowed is forgotten. Whether some were not looked at.
///
/// # Safety
/// All pointers are to map values that nobody else uses.
#[inline(always)]
pub unsafe fn judge(
    target: *mut Target,
    opinion: *mut Opinion,
    key: *mut ProgramKey,
    bank: u32,
    rooted: bool,
    start: u64,
    end: u64,
) -> bool {
    // SAFETY: as promised; the callback has the helper's signature.
    unsafe {
        Opinion::forget_allow(opinion);
        (&raw mut (*target).at).write_volatile(start);
        (&raw mut (*target).end).write_volatile(end);
        (&raw mut (*target).index).write_volatile(0);
        (&raw mut (*target).bank).write_volatile(bank);
        (&raw mut (*target).rooted).write_volatile(u32::from(rooted));
        let mut context = Context { target, opinion, key };
        bpf_loop(ARG_READS as u32, next as *mut c_void, (&raw mut context).cast(), 0);
        (&raw const (*target).at).read_volatile() < end
    }
}

/// Finds the last slash. Returns 1 to end the loop.
unsafe extern "C" fn look(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: what `next` handed over; the index is masked to the array.
    unsafe {
        let target = (*context.cast::<Context>()).target;
        let index = index as usize & (PROGRAM_LEN - 1);
        match (&raw const (*target).text).cast::<u8>().add(index).read_volatile() {
            0 => 1,
            b'/' => {
                (&raw mut (*target).base).write_volatile(index as u32 + 1);
                0
            }
            _ => 0,
        }
    }
}

/// Looks at one argument. Returns 1 to end the loop.
unsafe extern "C" fn next(_index: u64, context: *mut c_void) -> i64 {
    // SAFETY: what `judge` handed over; the helper writes PROGRAM_LEN bytes at the most.
    unsafe {
        let Context { target, opinion, key } = *context.cast::<Context>();
        let at = (&raw const (*target).at).read_volatile();
        if at >= (&raw const (*target).end).read_volatile() {
            return 1;
        }
        let text = (&raw mut (*target).text).cast::<u8>();
        let n = bpf_probe_read_user_str(text.cast(), PROGRAM_LEN as u32, at as *const c_void);
        if n <= 0 {
            return 1;
        }
        // One that fills the room is longer than any rule, and what follows is its rest.
        (&raw mut (*target).at).write_volatile(at + n as u64);
        let index = (&raw const (*target).index).read_volatile();
        (&raw mut (*target).index).write_volatile(index + 1);
        if index == 0 {
            return 0;
        }
        let bank = (&raw const (*target).bank).read_volatile();
        let first = index == 1;
        let rooted = (&raw const (*target).rooted).read_volatile() != 0;
        if path::name_key(key, program_kind::SCRIPT, text) {
            Opinion::ask_only(opinion, bank, key, first && rooted);
        }
        (&raw mut (*target).base).write_volatile(0);
        let mut context = Context { target, opinion, key };
        bpf_loop(PROGRAM_LEN as u32, look as *mut c_void, (&raw mut context).cast(), 0);
        // Verifier: the bound must be seen on the value that is used.
        let base = (&raw const (*target).base).read_volatile() as usize & (PROGRAM_LEN - 1);
        let name = text.add(base);
        if path::name_key(key, program_kind::NAME, name) {
            Opinion::ask_only(opinion, bank, key, first);
        }
        if path::name_key(key, program_kind::SCRIPT_NAME, name) {
            Opinion::ask_only(opinion, bank, key, false);
        }
        0
    }
}

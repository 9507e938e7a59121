//! A message in its buffer: numbers, names, and what a question is remembered by.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use observer_common::{AskedKey, DNS_MAX};

use super::Scratch;
use crate::names::NameBuf;

/// Steps of reading a name: its 255 bytes, and pointers, each of which must lead further back.
const STEPS: u32 = 255 + 64;

/// How reading a name stands.
const READING: u32 = 0;
const READ: u32 = 1;
const BAD: u32 = 2;

/// One byte of the message; where it has none, whatever the buffer holds.
#[inline(always)]
pub(super) unsafe fn byte(s: *mut Scratch, at: u32) -> u8 {
    // SAFETY: the mask is the buffer's size, a power of two.
    unsafe {
        let data = (&raw const (*s).data).cast::<u8>();
        data.add(at as usize & (DNS_MAX - 1)).read_volatile()
    }
}

#[inline(always)]
pub(super) unsafe fn word(s: *mut Scratch, at: u32) -> u32 {
    // SAFETY: as above.
    unsafe { u32::from(byte(s, at)) << 8 | u32::from(byte(s, at + 1)) }
}

/// Reads the name at `at` into the buffer's own; whether it is one. `pointers` says whether it
/// may be compressed.
#[inline(always)]
pub(super) unsafe fn name(s: *mut Scratch, at: u32, pointers: bool) -> bool {
    // SAFETY: as the caller promises; the callback has the helper's signature, and the context
    // outlives the call.
    unsafe {
        NameBuf::clear(&raw mut (*s).name);
        (&raw mut (*s).at).write_volatile(at);
        (&raw mut (*s).left).write_volatile(0);
        (&raw mut (*s).end).write_volatile(0);
        (&raw mut (*s).state).write_volatile(READING);
        (&raw mut (*s).floor).write_volatile(if pointers { at } else { 0 });
        let mut context = s;
        bpf_loop(STEPS, letter as *mut c_void, (&raw mut context).cast(), 0);
        (&raw const (*s).state).read_volatile() == READ
    }
}

/// Reads one byte of a name (RFC 1035, 4.1.4). Returns 1 to end the loop.
unsafe extern "C" fn letter(_index: u64, context: *mut c_void) -> i64 {
    // SAFETY: what `name` handed over.
    unsafe {
        let s = *context.cast::<*mut Scratch>();
        let at = (&raw const (*s).at).read_volatile();
        let left = (&raw const (*s).left).read_volatile();
        if at >= (&raw const (*s).len).read_volatile() {
            return ends(s, BAD);
        }
        let b = byte(s, at);
        if left != 0 {
            // A dot within a label would make two names of one.
            if b == b'.' {
                return ends(s, BAD);
            }
            (&raw mut (*s).left).write_volatile(left - 1);
        } else if b == 0 {
            if (&raw const (*s).end).read_volatile() == 0 {
                (&raw mut (*s).end).write_volatile(at + 1);
            }
            return ends(s, READ);
        } else if b >= 0xc0 {
            let to = (u32::from(b) & 0x3f) << 8 | u32::from(byte(s, at + 1));
            if to >= (&raw const (*s).floor).read_volatile() {
                return ends(s, BAD);
            }
            (&raw mut (*s).floor).write_volatile(to);
            if (&raw const (*s).end).read_volatile() == 0 {
                (&raw mut (*s).end).write_volatile(at + 2);
            }
            (&raw mut (*s).at).write_volatile(to);
            return 0;
        } else if b > 63 {
            return ends(s, BAD);
        } else {
            (&raw mut (*s).left).write_volatile(u32::from(b));
        }
        // A label's length stands as the dot before it.
        let b = if left == 0 { b'.' } else { b };
        let name = &raw mut (*s).name;
        NameBuf::push(name, b);
        if NameBuf::len(name) > 254 {
            return ends(s, BAD);
        }
        (&raw mut (*s).at).write_volatile(at + 1);
        0
    }
}

#[inline(always)]
unsafe fn ends(s: *mut Scratch, state: u32) -> i64 {
    // SAFETY: the caller's buffer.
    unsafe { (&raw mut (*s).state).write_volatile(state) };
    1
}

/// The message at hand, as what is remembered of questions is keyed.
#[inline(always)]
pub(super) unsafe fn key(s: *mut Scratch) -> *mut AskedKey {
    // SAFETY: as the caller promises.
    unsafe {
        let key = &raw mut (*s).key;
        (*key).cookie = (*s).event.cookie;
        (*key).server = (*s).event.server;
        (*key).port = (*s).event.port;
        (*key).id = word(s, 0);
        key
    }
}

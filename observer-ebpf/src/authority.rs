//! A name as a request has it, in its target or its Host: with a port behind it, or an address in
//! its place.

use observer_common::HOST_LEN;

use crate::names::NameBuf;
use crate::request::{Request, get, judged_then, rest, set, state, unread};

/// Takes a byte of a name, of its port, or of an address in its place.
#[inline(always)]
pub unsafe fn name(request: *mut Request, state: u32, byte: u8) {
    // SAFETY: the caller's storage, by the mask.
    unsafe {
        let field = get!(request, field) != 0;
        if matches!(byte, b'\n' | b' ' | b'\t') || !field && matches!(byte, b'/' | b'?' | b'#') {
            return if field { host_end(request, byte) } else { authority_end(request, byte) };
        }
        if state == state::PORT {
            if !byte.is_ascii_digit() && byte != b':' {
                set!(request, odd, 1);
            }
            return;
        }
        let len = get!(request, name_len);
        if state == state::NAME {
            if byte == b':' {
                return set!(request, state, state::PORT);
            }
            letter(request, byte, len);
        } else if byte == b']' {
            set!(request, state, state::PORT);
        }
        if len >= HOST_LEN as u32 - 1 {
            return set!(request, odd, 1);
        }
        let place = (&raw mut (*request).written).cast::<u8>();
        place.add(len as usize & (HOST_LEN - 1)).write_volatile(byte);
        set!(request, name_len, len + 1);
    }
}

/// Takes a byte of a name for the key that rules are asked with: each label after a dot, and none
/// for the root.
#[inline(always)]
unsafe fn letter(request: *mut Request, byte: u8, len: u32) {
    // SAFETY: the caller's storage.
    unsafe {
        let name = &raw mut (*request).name;
        let dot = get!(request, dot) != 0;
        if byte == b'[' && len == 0 {
            set!(request, state, state::LITERAL);
        } else if byte == b'.' && len != 0 && !dot {
            set!(request, dot, 1);
        } else if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            if dot || len == 0 {
                set!(request, dot, 0);
                NameBuf::push(name, b'.');
            }
            NameBuf::push(name, byte);
        } else {
            set!(request, odd, 1);
        }
    }
}

/// A target's authority ends.
#[inline(always)]
unsafe fn authority_end(request: *mut Request, byte: u8) {
    // SAFETY: the caller's storage.
    unsafe {
        if get!(request, name_len) == 0 {
            set!(request, odd, 1);
        }
        rest(request, byte);
    }
}

/// A Host's name ends.
#[inline(always)]
unsafe fn host_end(request: *mut Request, byte: u8) {
    // SAFETY: the caller's storage.
    unsafe {
        if get!(request, odd) != 0 {
            unread(request);
        } else if byte == b'\n' {
            judged_then(request, state::FIELD);
        } else {
            set!(request, state, state::HOST_OVER);
        }
    }
}

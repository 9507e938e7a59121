//! What stands with a socket: one storage for all that is known of it, made once and freed once.
//! Making and freeing one is the dearest thing that observation does to a connect.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_sk_storage_get;

use crate::maps::SOCKETS;
use crate::socket::Flow;
use crate::stream::Stream;

/// BPF_SK_STORAGE_GET_F_CREATE.
const CREATE: u64 = 1;

/// A socket. Zeros are one of which nothing is known; one that is accepted begins with a copy of what
/// the listening one has.
#[repr(C)]
pub struct Socket {
    /// What it is at; cleared where it begins to listen, so that none inherits it.
    pub flow: Flow,
    /// What its TCP connection is at.
    pub stream: Stream,
}

/// What is known of a socket, if anything is.
///
/// # Safety
/// `sk` is a socket that the kernel keeps until the program ends: the context's own.
#[inline(always)]
pub unsafe fn known<'a>(sk: *mut c_void) -> Option<&'a mut Socket> {
    // SAFETY: as the caller promises.
    unsafe { get(sk, 0) }
}

/// The same, and there it is from now on; none where there is no memory.
///
/// # Safety
/// As above.
#[inline(always)]
pub unsafe fn made<'a>(sk: *mut c_void) -> Option<&'a mut Socket> {
    // SAFETY: as the caller promises.
    unsafe { get(sk, CREATE) }
}

#[inline(always)]
unsafe fn get<'a>(sk: *mut c_void, flags: u64) -> Option<&'a mut Socket> {
    let map = (&raw const SOCKETS).cast_mut().cast();
    // SAFETY: as the caller promises; the storage lives as long as the socket does.
    unsafe { bpf_sk_storage_get(map, sk, core::ptr::null_mut(), flags).cast::<Socket>().as_mut() }
}

//! Connects to unix sockets: recorded with their result, where connect(2) returns. What is denied
//! was told where it was judged ([`crate::unix_judge`]).

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use observer_common::{EventKind, UNIX_PATH, UnixEvent};

use crate::emit::{self, Ring};
use crate::kernel;
use crate::lineage;
use crate::maps::{EVENTS, UNIX_RULED};
use crate::verdict::{Ruling, config};

const AF_UNIX: u16 = 1;
/// As calls return it.
const EPERM: i64 = -1;
/// Where `sun_path` stands in `struct sockaddr_un`.
const SUN_PATH: u64 = 2;

/// Where an address stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// The kernel's own copy.
    Kernel,
    /// The caller's, which can have changed it since.
    User,
}

/// connect(2) returned `ret` for an address of `len` bytes.
#[inline(always)]
pub fn connect_returned(address: u64, len: u64, memory: Memory, ret: i64) {
    let mut family = 0u16;
    // SAFETY: two bytes into a place of two bytes.
    let unread = unsafe { copy((&raw mut family).cast(), 2, address, memory) };
    if unread || family != AF_UNIX || len < SUN_PATH {
        return;
    }
    let Some(label) = lineage::current_label() else { return };
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: copied at once.
    let ruled = unsafe { UNIX_RULED.get(thread).copied() };
    if ruled.is_some() {
        let _ = UNIX_RULED.remove(thread);
    }
    let ruling = ruled.unwrap_or_else(|| Ruling::ALLOW.under(&config()));
    if ruling.denies() && ret == EPERM {
        return;
    }
    let mut header = kernel::identify_current(label.exec);
    let call = emit::new_id();
    emit::number(&mut header, Ring::Events, EventKind::Unix);
    let Some(mut entry) = EVENTS.reserve::<UnixEvent>(0) else { return emit::lost(Ring::Events) };
    let event = entry.as_mut_ptr();
    let path_len = (len - SUN_PATH) as u32;
    // SAFETY: the reservation is ours until it is submitted, and is written whole; the read is
    // bounded by the path's room.
    unsafe {
        event.write(UnixEvent {
            header,
            call,
            error: if ret < 0 { (-ret) as u32 } else { 0 },
            path_len,
            path: [0; UNIX_PATH],
            verdict: ruling.verdict,
            rule: ruling.rule,
        });
        // Verifier: the bound must be seen on the value that is used.
        let kept = (&raw const (*event).path_len).read_volatile();
        let kept = if kept > UNIX_PATH as u32 { UNIX_PATH as u32 } else { kept };
        let to = (&raw mut (*event).path).cast::<c_void>();
        let gone = kept != 0 && copy(to, kept, address + SUN_PATH, memory);
        (&raw mut (*event).path_len).write_volatile(if gone { u32::MAX } else { kept });
    }
    entry.submit(emit::wake(Ring::Events, false));
}

/// Copies from an address; true where it can't be read.
///
/// # Safety
/// `to` has room for `len` bytes.
#[inline(always)]
unsafe fn copy(to: *mut c_void, len: u32, from: u64, memory: Memory) -> bool {
    // SAFETY: as the caller promises; the helpers check where they read.
    unsafe {
        match memory {
            Memory::Kernel => bpf_probe_read_kernel(to, len, from as *const c_void) != 0,
            Memory::User => bpf_probe_read_user(to, len, from as *const c_void) != 0,
        }
    }
}

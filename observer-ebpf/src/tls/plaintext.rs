//! What a library's call moved, copied in pieces.

use core::ffi::c_void;
use core::mem::{MaybeUninit, size_of};

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user};
use observer_common::{EventKind, Header, TLS_PIECE, TLS_PIECES, TlsEvent, tls_op, tls_site};

use super::session::{stream, stream_key};
use super::thread::{Cursor, Frame, Thread};
use crate::emit::{self, Ring};
use crate::kernel;
use crate::lineage;
use crate::maps::EVENTS;

/// More than any call moves: what agents' memory says of lengths is not believed beyond this.
const LONGEST: u64 = 1 << 30;

/// How many bytes a call moved; 0 where it failed.
#[inline(always)]
pub(super) fn moved(site: u64, result: u64, out: u64) -> u64 {
    let result =
        if site & tls_site::RESULT_32 != 0 { i64::from(result as i32) } else { result as i64 };
    if result <= 0 {
        return 0;
    }
    let mut len = result as u64;
    if site & tls_site::OUT != 0 {
        len = 0;
        // SAFETY: the helper checks the address, and clears what it can't fill.
        unsafe {
            bpf_probe_read_user((&raw mut len).cast(), size_of::<u64>() as u32, out as *const _);
        }
    }
    if len > LONGEST { LONGEST } else { len }
}

/// Where plaintext stands that is taken in: in one piece, or in several.
pub(super) struct Chunks {
    /// Its address, or that of the pieces.
    pub(super) address: u64,
    /// How many pieces there are; 0 where there is one. Where it is not in pieces, the fourth argument.
    pub(super) out: u64,
}

impl Chunks {
    /// Pieces of one call.
    const MOST: u64 = 0xffff;

    #[inline(always)]
    pub(super) fn of(site: u64, arguments: &[u64; 4]) -> Self {
        if site & tls_site::CHUNKS == 0 {
            return Self { address: arguments[1], out: arguments[3] };
        }
        let Some([pieces, count, skip, _]) = words(arguments[1]) else {
            // What can't be read is a gap of its length.
            return Self { address: 0, out: 0 };
        };
        if pieces == 0 {
            return Self { address: count, out: 0 };
        }
        if skip != 0 {
            // Only what was taken in before is sent so: a gap as well.
            return Self { address: 0, out: 0 };
        }
        Self { address: pieces, out: if count > Self::MOST { Self::MOST } else { count } }
    }
}

/// So many words of the agent's; none where they can't be read.
#[inline(always)]
pub(super) fn words<const N: usize>(at: u64) -> Option<[u64; N]> {
    let mut words = MaybeUninit::<[u64; N]>::uninit();
    let size = size_of::<[u64; N]>() as u32;
    // SAFETY: the helper checks the address, and clears what it can't fill.
    unsafe {
        let read = bpf_probe_read_user(words.as_mut_ptr().cast(), size, at as *const _);
        if read == 0 { Some(words.assume_init()) } else { None }
    }
}

#[inline(always)]
pub(super) fn plaintext(thread: *mut Thread, frame: &Frame, site: u64, moved: u64) {
    let Some(label) = lineage::current_label() else { return };
    let key = stream_key(frame.connection);
    let Some(stream) = stream(&key, frame.cookie) else {
        emit::tls_lost();
        return;
    };
    let received = site & tls_site::RECEIVES != 0;
    // SAFETY: slots of this map and of the caller; a connection is used by one thread at a time,
    // and where an agent doesn't keep to that, its own counts are off.
    let (id, cookie, offset) = unsafe {
        if (*stream).cookie == 0 && !received {
            (*thread).untied = frame.connection;
        }
        let slot = if received { &raw mut (*stream).moved[1] } else { &raw mut (*stream).moved[0] };
        let offset = *slot;
        *slot = offset + moved;
        ((*stream).id, (*stream).cookie, offset)
    };
    let pieces = if site & tls_site::CHUNKS != 0 { frame.out } else { 0 };
    let (here, left) = if pieces == 0 { (moved, 0) } else { (0, moved) };
    let from = frame.buffer;
    // SAFETY: the caller's own slot.
    let cursor = unsafe {
        let cursor = &raw mut (*thread).cursor;
        cursor.write(Cursor { from, here, pieces, next: from, left });
        cursor
    };
    let mut rest = Rest {
        header: kernel::identify_current(label.exec),
        cursor,
        event: [id, cookie, offset],
        op: if received { tls_op::RECEIVED } else { tls_op::SENT },
        library: (site >> tls_site::LIBRARY & 0xffff) as u32,
    };
    // SAFETY: the callback has the helper's signature, and the context outlives the call.
    unsafe { bpf_loop(TLS_PIECES as u32, piece as *mut c_void, (&raw mut rest).cast(), 0) };
}

/// What of a call is still to be copied.
struct Rest {
    header: Header,
    cursor: *mut Cursor,
    /// Session, cookie and offset.
    event: [u64; 3],
    op: u32,
    library: u32,
}

#[repr(C)]
struct Room<const N: usize> {
    event: TlsEvent,
    bytes: [u8; N],
}

/// Goes on to the next piece. Whether there is one: what can't be read ends them, and is a gap.
#[inline(always)]
unsafe fn turn(cursor: *mut Cursor) -> bool {
    // SAFETY: the caller's own slot.
    unsafe {
        let (pieces, left) = ((*cursor).pieces, (*cursor).left);
        if pieces == 0 || left == 0 {
            return false;
        }
        let next = (*cursor).next;
        let Some([from, len]) = words(next) else { return false };
        let here = if len > left { left } else { len };
        cursor.write(Cursor {
            from,
            here,
            pieces: pieces - 1,
            next: next.wrapping_add(size_of::<[u64; 2]>() as u64),
            left: left - here,
        });
        true
    }
}

/// Sends one piece of a call's plaintext. Returns 1 to end the loop.
unsafe extern "C" fn piece(_: u64, rest: *mut c_void) -> i64 {
    // SAFETY: what `plaintext` handed over.
    let rest = unsafe { &mut *rest.cast::<Rest>() };
    // SAFETY: the caller's own slot.
    let (from, here) = unsafe {
        if (*rest.cursor).here == 0 && !turn(rest.cursor) {
            return 1;
        }
        ((*rest.cursor).from, (*rest.cursor).here)
    };
    let len = if here > TLS_PIECE as u64 { TLS_PIECE as u64 } else { here };
    if len == 0 {
        return 0;
    }
    emit::number(&mut rest.header, Ring::Events, EventKind::Tls);
    if len <= 256 {
        fill::<256>(rest, from, len);
    } else if len <= 1024 {
        fill::<1024>(rest, from, len);
    } else if len <= 4096 {
        fill::<4096>(rest, from, len);
    } else {
        fill::<TLS_PIECE>(rest, from, len);
    }
    // SAFETY: as above.
    unsafe { ((*rest.cursor).from, (*rest.cursor).here) = (from.wrapping_add(len), here - len) };
    rest.event[2] += len;
    0
}

#[inline(always)]
fn fill<const N: usize>(rest: &Rest, from: u64, len: u64) {
    let Some(mut room) = EVENTS.reserve::<Room<N>>(0) else {
        emit::lost(Ring::Events);
        return;
    };
    let at = room.as_mut_ptr();
    // SAFETY: inside the reservation; the helper checks the agent's address.
    unsafe {
        let len = if len > N as u64 { N as u64 } else { len };
        let read =
            bpf_probe_read_user((&raw mut (*at).bytes).cast(), len as u32, from as *const c_void);
        (&raw mut (*at).event).write(TlsEvent {
            header: rest.header,
            stream: rest.event[0],
            cookie: rest.event[1],
            offset: rest.event[2],
            seen: len as u32,
            len: if read == 0 { len as u32 } else { 0 },
            op: rest.op,
            library: rest.library,
        });
    }
    room.submit(emit::wake(Ring::Events, false));
}

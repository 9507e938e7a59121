//! What a library's call moved, copied in pieces.

use core::ffi::c_void;
use core::mem::size_of;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user};
use observer_common::{EventKind, Header, TLS_PIECE, TLS_PIECES, TlsEvent, tls_op, tls_site};

use super::session::{stream, stream_key};
use super::thread::{Frame, Thread};
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
    let mut rest = Rest {
        header: kernel::identify_current(label.exec),
        from: frame.buffer,
        left: moved,
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
    from: u64,
    left: u64,
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

/// Sends one piece of a call's plaintext. Returns 1 to end the loop.
unsafe extern "C" fn piece(_: u64, rest: *mut c_void) -> i64 {
    // SAFETY: what `plaintext` handed over.
    let rest = unsafe { &mut *rest.cast::<Rest>() };
    let len = if rest.left > TLS_PIECE as u64 { TLS_PIECE as u64 } else { rest.left };
    if len == 0 {
        return 1;
    }
    emit::number(&mut rest.header, Ring::Events, EventKind::Tls);
    if len <= 256 {
        fill::<256>(rest, len);
    } else if len <= 1024 {
        fill::<1024>(rest, len);
    } else if len <= 4096 {
        fill::<4096>(rest, len);
    } else {
        fill::<TLS_PIECE>(rest, len);
    }
    rest.from += len;
    rest.left -= len;
    rest.event[2] += len;
    0
}

#[inline(always)]
fn fill<const N: usize>(rest: &Rest, len: u64) {
    let Some(mut room) = EVENTS.reserve::<Room<N>>(0) else {
        emit::lost(Ring::Events);
        return;
    };
    let at = room.as_mut_ptr();
    // SAFETY: inside the reservation; the helper checks the agent's address.
    unsafe {
        let len = if len > N as u64 { N as u64 } else { len };
        let read = bpf_probe_read_user(
            (&raw mut (*at).bytes).cast(),
            len as u32,
            rest.from as *const c_void,
        );
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

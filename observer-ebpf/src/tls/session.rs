//! Connections of TLS libraries, and what ties each to its socket.

use observer_common::{EventKind, TlsEvent, tls_op, tls_site};

use super::thread::{Thread, current_thread, frame};
use crate::emit::{self, Ring};
use crate::kernel::{self, Ptr, at};
use crate::lineage;
use crate::maps::TLS_STREAMS;

const IPPROTO_TCP: u16 = 6;

/// A library's connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SessionKey {
    /// Its address.
    connection: u64,
    /// Whose: a thread group id.
    pid: u64,
}

/// What is known of it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Session {
    /// Its id.
    pub(super) id: u64,
    /// The socket's cookie, or 0.
    pub(super) cookie: u64,
    /// When it was first used.
    pub(super) since: u64,
    /// Plaintext bytes so far, sent and received.
    pub(super) moved: [u64; 2],
}

#[inline(always)]
pub(super) fn stream_key(connection: u64) -> SessionKey {
    SessionKey { connection, pid: u64::from(kernel::current_tgid()) }
}

/// A library may be handed what its caller received (asyncio, node): then it reads, or shakes hands,
/// right after. What was received since a connection was first used, and is handed to it, came from
/// its socket. A connection's first call of these sends, and has received nothing yet.
///
/// So a connection is known by its handshake already. To go by what is sent after plaintext was
/// taken in is not enough: who has many connections may take it in for all of them, and send then.
/// Where the library has the socket itself, a handshake may be taken for another connection's here;
/// the first plaintext goes through a socket within its call, and that counts.
#[inline(always)]
pub(super) unsafe fn handed(thread: *mut Thread, connection: u64, exec: u64, site: u64) {
    let key = stream_key(connection);
    let Some(stream) = TLS_STREAMS.get_ptr_mut(&key) else {
        let new = Session { id: emit::new_id(), cookie: 0, since: emit::now(), moved: [0, 0] };
        if TLS_STREAMS.insert(&key, &new, 0).is_err() {
            emit::tls_lost();
        }
        return;
    };
    // SAFETY: the caller's own slot, and one of this map.
    let tied = unsafe {
        if (*stream).cookie != 0 || (*thread).received_at <= (*stream).since {
            return;
        }
        (*stream).cookie = (*thread).received_from;
        *stream
    };
    if tied.moved != [0, 0] {
        tell(exec, &tied, site, tls_op::TIED);
    }
}

/// Ties a connection to the socket that its thread received from last, where it is not tied yet.
#[inline(always)]
pub(super) fn came_from(key: &SessionKey, thread: *mut Thread) {
    // SAFETY: the caller's own slot.
    let from = unsafe { (*thread).received_from };
    if from == 0 {
        return;
    }
    let Some(stream) = stream(key, 0) else { return };
    // SAFETY: a slot of this map.
    unsafe {
        if (*stream).cookie == 0 {
            (*stream).cookie = from;
        }
    }
}

/// The stream of a connection: another one begins where the socket is another.
#[inline(always)]
pub(super) fn stream(key: &SessionKey, cookie: u64) -> Option<*mut Session> {
    if let Some(stream) = TLS_STREAMS.get_ptr_mut(key) {
        // SAFETY: a slot of this map.
        unsafe {
            let known = (*stream).cookie;
            if cookie == 0 || known == cookie {
                return Some(stream);
            }
            if known == 0 {
                (*stream).cookie = cookie;
                return Some(stream);
            }
        }
    }
    let new = Session { id: emit::new_id(), cookie, since: emit::now(), moved: [0, 0] };
    TLS_STREAMS.insert(key, &new, 0).ok()?;
    TLS_STREAMS.get_ptr_mut(key)
}

/// Tells of a stream without plaintext.
#[inline(always)]
pub(super) fn tell(exec: u64, stream: &Session, site: u64, op: u32) {
    let mut header = kernel::identify_current(exec);
    let (stream, cookie, offset) = (stream.id, stream.cookie, stream.moved[0]);
    let library = (site >> tls_site::LIBRARY & 0xffff) as u32;
    emit::send(&mut header, Ring::Events, EventKind::Tls, false, |header| TlsEvent {
        header: *header,
        stream,
        cookie,
        offset,
        seen: 0,
        len: 0,
        op,
        library,
    });
}

/// A socket was sent through (`received` false) or received from, by the thread that runs.
#[inline(always)]
pub fn socket_used(sk: Ptr, ret: i32, received: bool) {
    if ret <= 0 {
        return;
    }
    let Some(thread) = current_thread() else { return };
    let protocol: u16 = kernel::read_or_zero(sk, at!(sock_protocol));
    if protocol != IPPROTO_TCP {
        return;
    }
    let common = sk.wrapping_add(at!(sock_common));
    let cookie: u64 = kernel::read_or_zero(common, at!(skc_cookie));
    // SAFETY: the caller's own slot.
    let untied = unsafe {
        let depth = (&raw const (*thread).depth).read_volatile();
        if let Some(call) = frame(thread, depth) {
            (*call).cookie = cookie;
            return;
        }
        if received {
            ((*thread).received_from, (*thread).received_at) = (cookie, emit::now());
        }
        if received || cookie == 0 {
            return;
        }
        core::mem::replace(&mut (*thread).untied, 0)
    };
    if untied == 0 {
        return;
    }
    let key = stream_key(untied);
    let Some(stream) = TLS_STREAMS.get_ptr_mut(&key) else { return };
    let Some(label) = lineage::current_label() else { return };
    // SAFETY: a slot of this map.
    let tied = unsafe {
        if (*stream).cookie != 0 {
            return;
        }
        (*stream).cookie = cookie;
        *stream
    };
    tell(label.exec, &tied, 0, tls_op::TIED);
}

/// The same where only the `struct socket` is at hand.
#[inline(always)]
pub fn socket_returned(socket: Ptr, ret: i32, received: bool) {
    if let Some(sk) = kernel::follow(socket, at!(socket_sk)) {
        socket_used(sk, ret, received);
    }
}

//! TLS plaintext, where it goes into a library and comes out of it.
//!
//! Probes stand in files, so they are hit by every process of the host that runs them: the first
//! question is whether it is the run's. What a call moved is known when it returns; what it was
//! called with is kept until then, by thread and, for Go, by goroutine, which may change threads.
//! Calls nest (TLS within TLS), so each has a frame, told from others by where its stack stands.

mod plaintext;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::programs::ProbeContext;
use observer_common::{EventKind, TlsEvent, tls_op, tls_site};

use crate::emit::{self, Ring};
use crate::kernel::{self, Ptr, at};
use crate::lineage;
use crate::maps::{TLS_ROUTINES, TLS_STREAMS, TLS_THREADS};
use plaintext::{moved, plaintext};

/// Calls of one thread that are under way at once, one within the other.
const DEPTH: usize = 4;
const IPPROTO_TCP: u16 = 6;
/// Where a goroutine's own registers stand at a system call (arch/x86/include/asm/ptrace.h: r14).
const R14: usize = 8;
/// Who calls: a thread, or a goroutine of a process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Caller {
    /// Process and thread; for a goroutine the process alone.
    task: u64,
    /// The goroutine's address, or 0.
    routine: u64,
}

/// A call under way.
#[repr(C)]
#[derive(Clone, Copy)]
struct Frame {
    /// The connection's address.
    connection: u64,
    /// The plaintext's.
    buffer: u64,
    /// Where the length will stand.
    out: u64,
    /// Where the stack stood as the function began.
    stack: u64,
    /// The cookie of the socket that was used meanwhile, or 0.
    cookie: u64,
    /// What the probe was told.
    site: u64,
}

/// A caller's calls.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Thread {
    frames: [Frame; DEPTH],
    /// How many there are.
    depth: u64,
    /// A connection that sent and whose socket is not known: the next one that is sent through is.
    untied: u64,
    /// The cookie of the socket that was last received from, outside of any call.
    received_from: u64,
    /// When that was.
    received_at: u64,
}

const NO_FRAME: Frame = Frame { connection: 0, buffer: 0, out: 0, stack: 0, cookie: 0, site: 0 };
static NEW: Thread =
    Thread { frames: [NO_FRAME; DEPTH], depth: 0, untied: 0, received_from: 0, received_at: 0 };

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
    id: u64,
    /// The socket's cookie, or 0.
    cookie: u64,
    /// When it was first used.
    since: u64,
    /// Plaintext bytes so far, sent and received.
    moved: [u64; 2],
}

struct Registers {
    arguments: [u64; 4],
    result: u64,
    stack: u64,
    caller: Caller,
}

#[inline(always)]
fn registers(ctx: &ProbeContext, site: u64) -> Registers {
    let task = bpf_get_current_pid_tgid();
    // SAFETY: fields of the context.
    unsafe {
        let regs = ctx.regs;
        let rax = (&raw const (*regs).rax).read_volatile();
        let rcx = (&raw const (*regs).rcx).read_volatile();
        let stack = (&raw const (*regs).rsp).read_volatile() + (site >> tls_site::DEPTH & 0xffff);
        if site & tls_site::GO != 0 {
            let rbx = (&raw const (*regs).rbx).read_volatile();
            let routine = (&raw const (*regs).r14).read_volatile();
            let caller = Caller { task: task & !0xffff_ffff, routine };
            return Registers { arguments: [rax, rbx, rcx, 0], result: rax, stack, caller };
        }
        let rdi = (&raw const (*regs).rdi).read_volatile();
        let rsi = (&raw const (*regs).rsi).read_volatile();
        let rdx = (&raw const (*regs).rdx).read_volatile();
        let caller = Caller { task, routine: 0 };
        Registers { arguments: [rdi, rsi, rdx, rcx], result: rax, stack, caller }
    }
}

#[inline(always)]
fn site_of(ctx: &ProbeContext) -> u64 {
    // SAFETY: takes the context.
    unsafe { bpf_get_attach_cookie(ctx.regs.cast()) }
}

#[inline(always)]
fn stream_key(connection: u64) -> SessionKey {
    SessionKey { connection, pid: u64::from(kernel::current_tgid()) }
}

/// A library's function is called.
#[inline(always)]
pub fn entered(ctx: &ProbeContext) {
    let Some(label) = lineage::current_label() else { return };
    let site = site_of(ctx);
    let regs = registers(ctx, site);
    let connection = regs.arguments[0];
    if site & tls_site::FREES != 0 {
        let key = stream_key(connection);
        // SAFETY: copied at once.
        if let Some(stream) = unsafe { TLS_STREAMS.get(&key).copied() } {
            let _ = TLS_STREAMS.remove(&key);
            if stream.moved != [0, 0] {
                tell(label.exec, &stream, site, tls_op::ENDED);
            }
        }
        return;
    }
    let thread = match known(&regs.caller) {
        Some(thread) => thread,
        None => {
            let new = match regs.caller.routine {
                0 => TLS_THREADS.insert(&regs.caller, &NEW, 0),
                _ => TLS_ROUTINES.insert(&regs.caller, &NEW, 0),
            };
            if new.is_err() {
                emit::tls_lost();
                return;
            }
            match known(&regs.caller) {
                Some(thread) => thread,
                None => return,
            }
        }
    };
    // SAFETY: the caller's own slot.
    unsafe {
        let go = site & tls_site::GO != 0;
        let depth = settle(thread, |frame| {
            // A goroutine's stack moves as it grows: its frames are told by their connection.
            if go { frame.connection == connection } else { frame.stack <= regs.stack }
        });
        if depth == 0 && !go && site & (tls_site::RECEIVES | tls_site::SHAKES) != 0 {
            handed(thread, connection, label.exec, site);
        }
        if site & tls_site::SHAKES != 0 {
            return;
        }
        // A function that hands its work on to another one is told once. What a library calls
        // back meanwhile may use the same connection for something else: node's fetch writes its
        // request from within the read that ends the handshake.
        let buffer = regs.arguments[1];
        let hands_on = |outer: *mut Frame| {
            (*outer).connection == connection
                && (*outer).buffer == buffer
                && ((*outer).site ^ site) & tls_site::RECEIVES == 0
        };
        if frame(thread, depth).is_some_and(hands_on) {
            return;
        }
        let Some(place) = frame(thread, depth + 1) else {
            emit::tls_lost();
            return;
        };
        place.write(Frame {
            connection,
            buffer,
            out: regs.arguments[3],
            stack: regs.stack,
            cookie: 0,
            site,
        });
        (*thread).depth = depth + 1;
        // What it has made of plaintext may still wait to be sent, while it reads.
        if (*thread).untied != connection {
            (*thread).untied = 0;
        }
    }
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
unsafe fn handed(thread: *mut Thread, connection: u64, exec: u64, site: u64) {
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

/// The frame of this depth, from 1.
///
/// Verifier: the depth goes through memory that the compiler may not reason about. It would check
/// the depth and then read at an offset that is less than nothing by itself.
#[inline(always)]
unsafe fn frame(thread: *mut Thread, depth: u64) -> Option<*mut Frame> {
    let mut index = 0u64;
    // SAFETY: our own variable, and a place inside the slot.
    unsafe {
        (&raw mut index).write_volatile(depth.wrapping_sub(1));
        let index = (&raw const index).read_volatile();
        if index >= DEPTH as u64 {
            return None;
        }
        Some((&raw mut (*thread).frames).cast::<Frame>().add(index as usize))
    }
}

/// Takes away the innermost frames for which `gone` holds: their calls ended unseen. Returns how
/// many are left.
#[inline(always)]
unsafe fn settle(thread: *mut Thread, gone: impl Fn(&Frame) -> bool) -> u64 {
    // SAFETY: the caller's own slot, and places inside of it.
    unsafe {
        let mut depth = (&raw const (*thread).depth).read_volatile();
        for _ in 0..DEPTH {
            let Some(top) = frame(thread, depth) else { break };
            if !gone(&*top) {
                break;
            }
            depth -= 1;
        }
        (*thread).depth = depth;
        depth
    }
}

/// A library's function returns, or one that ends in the same place.
#[inline(always)]
pub fn left(ctx: &ProbeContext) {
    let site = site_of(ctx);
    let regs = registers(ctx, site);
    let go = site & tls_site::GO != 0;
    let Some(thread) = known(&regs.caller) else {
        // A thread may come here by a function that ends in the same place. A goroutine's call
        // began before the probes stood, or it was one too many.
        if go && lineage::current_label().is_some() {
            emit::tls_lost();
        }
        return;
    };
    // SAFETY: the caller's own slot.
    let call = unsafe {
        let depth = if go {
            (&raw const (*thread).depth).read_volatile()
        } else {
            settle(thread, |frame| frame.stack < regs.stack)
        };
        let Some(top) = frame(thread, depth) else { return };
        let top = top.read();
        let same =
            if go { (top.site ^ site) & tls_site::RECEIVES == 0 } else { top.stack == regs.stack };
        if !same {
            return;
        }
        (*thread).depth = depth - 1;
        if top.cookie != 0
            && let Some(outer) = frame(thread, depth - 1)
        {
            // TLS within TLS: both go through one socket.
            (*outer).cookie = top.cookie;
        }
        top
    };
    let moved = moved(site, regs.result, call.out);
    if moved != 0 {
        plaintext(thread, &call, site, moved);
    }
    // SAFETY: as above.
    if go && unsafe { (*thread).depth == 0 } {
        // Goroutines are many, and nobody tells when one ends.
        let _ = TLS_ROUTINES.remove(&regs.caller);
    }
}

/// The stream of a connection: another one begins where the socket is another.
#[inline(always)]
fn stream(key: &SessionKey, cookie: u64) -> Option<*mut Session> {
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
fn tell(exec: u64, stream: &Session, site: u64, op: u32) {
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

/// What is known of a caller.
#[inline(always)]
fn known(caller: &Caller) -> Option<*mut Thread> {
    match caller.routine {
        0 => TLS_THREADS.get_ptr_mut(caller),
        _ => TLS_ROUTINES.get_ptr_mut(caller),
    }
}

/// The thread that runs, or the goroutine that runs on it, if it has called a library.
#[inline(always)]
fn current_thread() -> Option<*mut Thread> {
    let task = bpf_get_current_pid_tgid();
    if let Some(thread) = TLS_THREADS.get_ptr_mut(&Caller { task, routine: 0 }) {
        return Some(thread);
    }
    lineage::label_of((task >> 32) as u32)?;
    let routine: u64 = kernel::read_or_zero(kernel::current_regs(), R14);
    TLS_ROUTINES.get_ptr_mut(&Caller { task: task & !0xffff_ffff, routine })
}

/// The thread that runs ends.
#[inline(always)]
pub fn thread_gone() {
    let task = bpf_get_current_pid_tgid();
    let _ = TLS_THREADS.remove(&Caller { task, routine: 0 });
}

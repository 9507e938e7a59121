//! TLS plaintext, where it goes into a library and comes out of it.
//!
//! Probes stand in files, so they are hit by every process of the host that runs them: the first
//! question is whether it is the run's. What a call moved is known when it returns; what it was
//! called with is kept until then, by thread and, for Go, by goroutine, which may change threads.
//! Calls nest (TLS within TLS), so each has a frame, told from others by where its stack stands.

mod plaintext;
mod record;
mod session;
mod thread;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::programs::ProbeContext;
use observer_common::{tls_op, tls_site};

use crate::emit;
use crate::lineage;
use crate::maps::{TLS_ROUTINES, TLS_STREAMS, TLS_THREADS};
use plaintext::{Chunks, moved, plaintext};
use session::{handed, stream_key, tell};
use thread::{Frame, NEW, frame, known, settle};

pub use session::{Session, SessionKey, socket_returned, socket_used};
pub use thread::{Caller, Thread, thread_gone};

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
    if site & tls_site::RECORD != 0 {
        record::handed_on(thread, site, &regs.arguments);
        return;
    }
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
        let chunks = Chunks::of(site, &regs.arguments);
        let buffer = chunks.address;
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
            out: chunks.out,
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

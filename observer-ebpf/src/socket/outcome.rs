//! What comes of a socket: connections as they begin and end, also those that no address hook saw,
//! and sockets that listen.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_send_signal;
use observer_common::{EventKind, Header, ResultEvent, net_op};

use super::{AF_INET6, End, Flow, IPPROTO_TCP, connected, mapped, tell};
use crate::emit::{self, Ring};
use crate::kernel::{self, Ptr, at};
use crate::lineage;
use crate::maps::CONNECTING;
use crate::storage::{self, Socket};
use crate::stream;
use crate::verdict::{self as policy, Ruling};

const SIGKILL: u32 = 9;

/// States of a TCP socket (include/net/tcp_states.h).
const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const CLOSE: i32 = 7;
const LISTEN: i32 = 10;

/// Errors of connect(2) that are not its end.
const EINTR: i64 = -4;
const EALREADY: i64 = -114;
const EINPROGRESS: i64 = -115;
const EISCONN: i64 = -106;
/// From here down, the kernel's own restarts of a syscall.
const ERESTARTSYS: i64 = -512;

/// A TCP socket changed its state.
#[inline(always)]
pub fn state(sk: Ptr, old: i32, new: i32) {
    if new == CLOSE {
        stream::closed(sk);
    }
    if new == SYN_SENT {
        unhooked(sk);
    } else if old == SYN_SENT && (new == ESTABLISHED || new == CLOSE) {
        // SAFETY: the tracepoint's own socket.
        let Some(socket) = (unsafe { storage::known(sk.cast_mut().cast()) }) else { return };
        let flow = &mut socket.flow;
        if flow.call == 0 {
            return;
        }
        let (call, began, thread) = (flow.call, flow.began, flow.thread);
        flow.call = 0;
        let error: i32 =
            if new == CLOSE { kernel::read(sk, at!(sock_err)).unwrap_or(0) } else { 0 };
        let header = kernel::absent(flow.pid, flow.exec);
        ended(header, call, began, error as u32, u32::from(new == CLOSE && error == 0));
        // Its thread has nothing to add as connect(2) returns; where that has returned by now, it may
        // be at another connect.
        if is_at(thread, call) {
            let _ = CONNECTING.remove(thread);
        }
    } else if new == LISTEN && old != LISTEN {
        listening(sk);
    }
}

/// A connection begins, in its caller (tcp_v4_connect, tcp_v6_connect: the far end is set by
/// then). Where no address hook saw it, its process is outside of the cgroups that have them: it
/// has just left its run's. It is told here, and where the rules deny it, its process ends before
/// it can send anything.
#[inline(always)]
fn unhooked(sk: Ptr) {
    // SAFETY: the tracepoint's own socket.
    let seen = unsafe { storage::known(sk.cast_mut().cast()) };
    if seen.is_some_and(|socket| hooked_now(&socket.flow)) {
        return;
    }
    let Some(label) = lineage::current_label() else { return };
    let common = sk.wrapping_add(at!(sock_common));
    let family: u16 = kernel::read_or_zero(common, at!(skc_family));
    let (end, ruling) = connected(&policy::config(), sk, u32::from(family), IPPROTO_TCP);
    let denied = ruling.denies();
    if denied {
        // SAFETY: ends the task that runs.
        unsafe { bpf_send_signal(SIGKILL) };
    }
    let (call, header) = tell(&label, net_op::CONNECT_UNHOOKED, &end, ruling, Ring::Events);
    // SAFETY: as above.
    match unsafe { storage::made(sk.cast_mut().cast()) } {
        Some(Socket { flow, stream }) => {
            flow.begin(call, &header);
            stream.who = header;
        }
        None => {
            emit::flow_lost();
        }
    }
}

/// Whether an address hook saw the connect that this thread is at. A socket's last connect may have
/// failed before it was on its way; what it left here says nothing of the next one.
#[inline(always)]
fn hooked_now(flow: &Flow) -> bool {
    flow.call != 0 && is_at(bpf_get_current_pid_tgid(), flow.call)
}

/// Whether a thread is at this connect.
#[inline(always)]
fn is_at(thread: u64, call: u64) -> bool {
    // SAFETY: read at once.
    let under_way = unsafe { CONNECTING.get(thread) };
    under_way.is_some_and(|connect| connect.call == call)
}

/// A process is moved: what its thread's last connect left here does not go with it.
#[inline(always)]
pub fn moved(task: Ptr) {
    let (tgid, pid): (u32, u32) =
        (kernel::read_or_zero(task, at!(task_tgid)), kernel::read_or_zero(task, at!(task_pid)));
    let _ = CONNECTING.remove((u64::from(tgid) << 32) | u64::from(pid));
}

/// connect(2) returned, in the thread that called it.
#[inline(always)]
pub fn connect_returned(ret: i64) {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: copied at once.
    let Some(flow) = (unsafe { CONNECTING.get(thread).copied() }) else { return };
    let _ = CONNECTING.remove(thread);
    let under_way = matches!(ret, EINTR | EALREADY | EINPROGRESS | EISCONN) || ret <= ERESTARTSYS;
    if under_way {
        return;
    }
    // For TCP the state's own word may come at the same time: user space takes the first.
    let header = kernel::absent(flow.pid, flow.exec);
    ended(header, flow.call, flow.began, (-ret) as u32, 0);
}

#[inline(always)]
fn ended(mut header: Header, call: u64, began: u64, error: u32, abandoned: u32) {
    emit::send(&mut header, Ring::Events, EventKind::Result, false, |header| ResultEvent {
        header: *header,
        call,
        began,
        error,
        abandoned,
    });
}

#[inline(always)]
fn listening(sk: Ptr) {
    // Whoever listens: what is accepted has not connected, and is nobody's who did.
    // SAFETY: the tracepoint's own socket.
    if let Some(socket) = unsafe { storage::known(sk.cast_mut().cast()) } {
        socket.flow.clear();
    }
    let Some(label) = lineage::current_label() else { return };
    let common = sk.wrapping_add(at!(sock_common));
    let family: u16 = kernel::read_or_zero(common, at!(skc_family));
    let port: u16 = kernel::read_or_zero(common, at!(skc_num));
    let addr: [u8; 16] = if family == AF_INET6 {
        kernel::read_or_zero(common, at!(skc_v6_rcv_saddr))
    } else {
        mapped(kernel::read_or_zero(common, at!(skc_rcv_saddr)))
    };
    let protocol: u16 = kernel::read_or_zero(sk, at!(sock_protocol));
    // The cookie that sock_gen_cookie gave it, or 0 where nobody has asked yet.
    let cookie: u64 = kernel::read_or_zero(common, at!(skc_cookie));
    let (protocol, family) = (u32::from(protocol), u32::from(family));
    let end = End { addr, port: u32::from(port), protocol, family, cookie };
    let (_, who) = tell(&label, net_op::LISTEN, &end, Ruling::ALLOW, Ring::Control);
    if protocol == IPPROTO_TCP {
        stream::listening(sk, &who);
    }
}

//! What runs in the kernel: entry points only. Each calls its room, and an error there becomes a
//! count that user space reads.
#![no_std]
#![no_main]
#![allow(internal_features, reason = "atomic_xadd: see kernel::fetch_add")]
#![feature(core_intrinsics)]

mod args;
mod authority;
mod bind;
mod dns;
mod doors;
mod emit;
mod exec;
mod fail;
mod fields;
mod hash;
mod host;
mod kernel;
mod lineage;
mod loader;
mod lsm;
mod maps;
mod named;
mod names;
mod owner;
mod packet;
mod path;
mod request;
mod segment;
mod sni;
mod socket;
mod storage;
mod stream;
mod tls;
mod token;
mod unix;
mod unix_judge;
mod verdict;

use aya_ebpf::macros::{
    btf_tracepoint, cgroup_skb, cgroup_sock, cgroup_sock_addr, fexit, lsm, tracepoint, uprobe,
};
use aya_ebpf::programs::{
    BtfTracePointContext, FExitContext, LsmContext, ProbeContext, SkBuffContext, SockAddrContext,
    SockContext, TracePointContext,
};
use observer_common::{direction, net_op};
use unix::Memory;

/// kernel/fork.c, copy_process, 6.1 to 6.18: `(struct task_struct *parent, *child)`.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn process_fork(ctx: BtfTracePointContext) -> i32 {
    lineage::fork(ctx.arg(0), ctx.arg(1));
    0
}

/// fs/exec.c, exec_binprm: `(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`.
/// argv stands in its final place and the new program has not run an instruction.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn process_exec(ctx: BtfTracePointContext) -> i32 {
    exec::happened(ctx.arg(0), ctx.arg(1), ctx.arg(2));
    0
}

/// kernel/exit.c, do_exit: `(struct task_struct *p)`, and since 6.17 `bool group_dead`.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn process_exit(ctx: BtfTracePointContext) -> i32 {
    lineage::exit(ctx.arg(0));
    0
}

/// kernel/cgroup/cgroup.c, cgroup_attach_task and cgroup_procs_write:
/// `(struct cgroup *dst, const char *path, struct task_struct *task, bool threadgroup)`.
#[btf_tracepoint(function = "cgroup_attach_task")]
pub fn cgroup_attach(ctx: BtfTracePointContext) -> i32 {
    lineage::moved(ctx.arg(0), ctx.arg(2));
    0
}

/// kernel/cgroup/cgroup.c, cgroup_mkdir: `(struct cgroup *cgrp, const char *path)`.
#[btf_tracepoint(function = "cgroup_mkdir")]
pub fn cgroup_made(ctx: BtfTracePointContext) -> i32 {
    lineage::cgroup_made(ctx.arg(0));
    0
}

/// kernel/cgroup/cgroup.c, cgroup_rmdir: `(struct cgroup *cgrp, const char *path)`.
#[btf_tracepoint(function = "cgroup_rmdir")]
pub fn cgroup_removed(ctx: BtfTracePointContext) -> i32 {
    lineage::cgroup_removed(ctx.arg(0));
    0
}

/// net/ipv4/af_inet.c, inet_sk_state_store and inet_sk_set_state:
/// `(const struct sock *sk, const int oldstate, const int newstate)`.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn sock_state(ctx: BtfTracePointContext) -> i32 {
    socket::state(ctx.arg(0), ctx.arg(1), ctx.arg(2));
    0
}

/// security/security.c, security_bprm_check: `(struct linux_binprm *bprm)`.
#[lsm(hook = "bprm_check_security")]
pub fn bprm_check(ctx: LsmContext) -> i32 {
    // The return value of the programs before this one: a refusal stays a refusal.
    let earlier: i32 = ctx.arg(1);
    if earlier != 0 { earlier } else { exec::check(ctx.arg(0)) }
}

/// fs/exec.c, SYSCALL_DEFINE3(execve), as the syscall table calls it: `(struct pt_regs *)`.
#[fexit]
pub fn execve_exit(ctx: FExitContext) -> i32 {
    if let Ok(ret) = ctx.ret::<i64>() {
        fail::execve(ctx.arg(0), ret, fail::EXECVE);
    }
    0
}

/// fs/exec.c, SYSCALL_DEFINE5(execveat): `(struct pt_regs *)`.
#[fexit]
pub fn execveat_exit(ctx: FExitContext) -> i32 {
    if let Ok(ret) = ctx.ret::<i64>() {
        fail::execve(ctx.arg(0), ret, fail::EXECVEAT);
    }
    0
}

/// net/socket.c, `__sys_connect_file(struct file *, struct sockaddr_storage *, int, int)`:
/// where connect(2) and io_uring's connect meet.
#[fexit]
pub fn connect_exit(ctx: FExitContext) -> i32 {
    if let Ok(ret) = ctx.ret::<i32>() {
        let (address, len): (u64, i32) = (ctx.arg(1), ctx.arg(2));
        socket::connect_returned(i64::from(ret));
        unix::connect_returned(address, len as u64, Memory::Kernel, i64::from(ret));
    }
    0
}

/// Where no trampoline loads: the tracepoint at the end of execve(2).
#[tracepoint]
pub fn sys_exit_execve(ctx: TracePointContext) -> u32 {
    fail::from_tracepoint(&ctx, fail::EXECVE);
    0
}

/// Where no trampoline loads: the tracepoint at the end of execveat(2).
#[tracepoint]
pub fn sys_exit_execveat(ctx: TracePointContext) -> u32 {
    fail::from_tracepoint(&ctx, fail::EXECVEAT);
    0
}

/// Where no trampoline loads: the tracepoint at the end of connect(2).
#[tracepoint]
pub fn sys_exit_connect(ctx: TracePointContext) -> u32 {
    if let Some(ret) = kernel::syscall_return(&ctx) {
        let regs = kernel::current_regs();
        let address: u64 = kernel::read_or_zero(regs, kernel::SECOND);
        let len: u32 = kernel::read_or_zero(regs, kernel::THIRD);
        socket::connect_returned(ret);
        unix::connect_returned(address, u64::from(len), Memory::User, ret);
    }
    0
}

/// net/ipv4: BPF_CGROUP_RUN_PROG_INET4_CONNECT, in the caller's context.
#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    socket::address(&ctx, net_op::CONNECT, false)
}

/// net/ipv6: BPF_CGROUP_RUN_PROG_INET6_CONNECT.
#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    socket::address(&ctx, net_op::CONNECT, true)
}

/// net/ipv4/udp.c, udp_sendmsg with an address.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    socket::address(&ctx, net_op::SEND, false)
}

/// net/ipv6/udp.c, udpv6_sendmsg with an address.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    socket::address(&ctx, net_op::SEND, true)
}

/// net/ipv4/af_inet.c, inet_bind.
#[cgroup_sock_addr(bind4)]
pub fn bind4(ctx: SockAddrContext) -> i32 {
    socket::address(&ctx, net_op::BIND, false)
}

/// net/ipv6/af_inet6.c, inet6_bind.
#[cgroup_sock_addr(bind6)]
pub fn bind6(ctx: SockAddrContext) -> i32 {
    socket::address(&ctx, net_op::BIND, true)
}

/// net/ipv4/af_inet.c and net/ipv6/af_inet6.c, inet_create and inet6_create.
#[cgroup_sock(sock_create)]
pub fn sock_create(ctx: SockContext) -> i32 {
    socket::created(&ctx)
}

/// net/ipv4/ip_output.c, ip_finish_output; net/ipv6/ip6_output.c, ip6_finish_output: before a
/// packet is cut to the size that the device takes.
#[cgroup_skb(egress)]
pub fn skb_egress(ctx: SkBuffContext) -> i32 {
    stream::packet::<{ direction::SENT as usize }>(&ctx)
}

/// net/core/filter.c, sk_filter_trim_cap, from tcp_filter: before TCP has looked at the packet.
#[cgroup_skb(ingress)]
pub fn skb_ingress(ctx: SkBuffContext) -> i32 {
    stream::packet::<{ direction::RECEIVED as usize }>(&ctx)
}

/// net/socket.c, call_trace_sock_send_length, since 6.3: `(struct sock *sk, int ret, int flags)`.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_sent(ctx: BtfTracePointContext) -> i32 {
    tls::socket_used(ctx.arg(0), ctx.arg(1), false);
    0
}

/// net/socket.c, call_trace_sock_recv_length, since 6.3: `(struct sock *sk, int ret, int flags)`.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_received(ctx: BtfTracePointContext) -> i32 {
    tls::socket_used(ctx.arg(0), ctx.arg(1), true);
    0
}

/// Before 6.3: net/ipv4/af_inet.c, `inet_sendmsg(struct socket *, struct msghdr *, size_t)`.
#[fexit]
pub fn inet_sent(ctx: FExitContext) -> i32 {
    if let Ok(ret) = ctx.ret::<i32>() {
        tls::socket_returned(ctx.arg(0), ret, false);
    }
    0
}

/// Before 6.3: net/ipv6/af_inet6.c, `inet6_sendmsg(struct socket *, struct msghdr *, size_t)`.
#[fexit]
pub fn inet6_sent(ctx: FExitContext) -> i32 {
    if let Ok(ret) = ctx.ret::<i32>() {
        tls::socket_returned(ctx.arg(0), ret, false);
    }
    0
}

/// Before 6.3: net/ipv4/af_inet.c, `inet_recvmsg(struct socket *, struct msghdr *, size_t, int)`.
#[fexit]
pub fn inet_received(ctx: FExitContext) -> i32 {
    if let Ok(ret) = ctx.ret::<i32>() {
        tls::socket_returned(ctx.arg(0), ret, true);
    }
    0
}

/// Before 6.3: net/ipv6/af_inet6.c, `inet6_recvmsg(struct socket *, struct msghdr *, size_t, int)`.
#[fexit]
pub fn inet6_received(ctx: FExitContext) -> i32 {
    if let Ok(ret) = ctx.ret::<i32>() {
        tls::socket_returned(ctx.arg(0), ret, true);
    }
    0
}

/// Where a TLS library's function is called: user space finds the places.
#[uprobe]
pub fn tls_entered(ctx: ProbeContext) -> u32 {
    tls::entered(&ctx);
    0
}

/// Where such a function returns.
#[uprobe]
pub fn tls_left(ctx: ProbeContext) -> u32 {
    tls::left(&ctx);
    0
}

/// net/ipv4/ip_output.c and net/ipv6/ip6_output.c, ip_finish_output and ip6_finish_output:
/// BPF_CGROUP_RUN_PROG_INET_EGRESS, before a packet is cut into fragments.
#[cgroup_skb(egress)]
pub fn dns_egress(ctx: SkBuffContext) -> i32 {
    dns::leaves(ctx.skb.skb)
}

/// net/core/filter.c, sk_filter_trim_cap: BPF_CGROUP_RUN_PROG_INET_INGRESS, before a packet is in
/// its socket's queue.
#[cgroup_skb(ingress)]
pub fn dns_ingress(ctx: SkBuffContext) -> i32 {
    dns::arrives(ctx.skb.skb)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // A panic that can be reached fails to load, as it should.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

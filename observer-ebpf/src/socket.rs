//! Sockets: where the run connects, sends and binds.
//!
//! The address hooks are attached to the run's cgroup, and after an escape to the cgroup that a
//! process went to; there they act on labelled processes alone.

mod outcome;

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie};
use aya_ebpf::programs::{SockAddrContext, SockContext};
use observer_common::{
    Config, EventKind, Header, Label, NetEvent, SENT_TO, config_flag, net_op, verdict,
};

use crate::emit::{self, Ring};
use crate::kernel::{self, Ptr, at};
use crate::lineage;
use crate::maps::CONNECTING;
use crate::storage::{self, Socket};
use crate::verdict::{self as policy, Ruling};

pub use outcome::{connect_returned, moved, state};

const AF_INET6: u16 = 10;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;
const IPPROTO_UDPLITE: u32 = 136;

/// What a socket's last connect, and its last destinations, were.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Flow {
    /// The connect under way, or 0.
    call: u64,
    /// When it was called.
    began: u64,
    /// The exec of the process that called it.
    exec: u64,
    /// Its network namespace's cookie.
    network: u64,
    /// The thread that called it.
    thread: u64,
    /// Its process; 0 where no hook of ours saw the socket.
    pid: u32,
    /// Where the next destination is remembered.
    next: u32,
    /// A digest of the last destinations, 0 where there is none.
    sent: [[u8; 20]; SENT_TO],
}

/// A connect under way, as its thread has it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Connect {
    /// As in [`Flow`].
    call: u64,
    began: u64,
    exec: u64,
    pid: u32,
    /// Zero.
    reserved: u32,
}

impl Flow {
    /// Whether it is being connected.
    #[inline(always)]
    pub fn is_connecting(&self) -> bool {
        self.call != 0
    }

    /// A connect begins, in the thread that runs.
    #[inline(always)]
    fn begin(&mut self, call: u64, header: &Header) {
        self.call = call;
        self.thread = bpf_get_current_pid_tgid();
        self.began = header.time;
        self.exec = header.exec;
        self.pid = header.pid;
    }

    /// What a socket that is accepted begins with. Its listening one may have connected before.
    #[inline(always)]
    fn clear(&mut self) {
        self.call = 0;
        self.exec = 0;
        self.network = 0;
        self.thread = 0;
        self.pid = 0;
    }
}

/// An address hook: connect, sendmsg, bind. Returns 1 to let the call go on, 0 to deny it.
#[inline(always)]
pub fn address(ctx: &SockAddrContext, op: u32, v6: bool) -> i32 {
    let Some(label) = lineage::current_label() else { return 1 };
    let sa = ctx.sock_addr;
    // SAFETY: fields of the context, each read as the verifier wants it: whole and once.
    let (port, protocol, family, addr) = unsafe {
        let port = u16::from_be((&raw const (*sa).user_port).read_volatile() as u16);
        let protocol = (&raw const (*sa).protocol).read_volatile();
        let family = (&raw const (*sa).family).read_volatile();
        let words = if v6 {
            let from = (&raw const (*sa).user_ip6).cast::<u32>();
            [
                from.read_volatile(),
                from.add(1).read_volatile(),
                from.add(2).read_volatile(),
                from.add(3).read_volatile(),
            ]
        } else {
            [
                0,
                0,
                u32::from_ne_bytes([0, 0, 0xff, 0xff]),
                (&raw const (*sa).user_ip4).read_volatile(),
            ]
        };
        (u32::from(port), protocol, family, words)
    };
    let addr = bytes(addr);
    let config = policy::config();
    let ruling = if op == net_op::BIND {
        Ruling::ALLOW
    } else {
        policy::destination(&config, &routed(addr), port, protocol)
    };
    let denied = ruling.denies();
    let mut socket = if op == net_op::BIND || denied { None } else { socket_of(ctx) };
    if let Some(Socket { flow, .. }) = socket.as_deref_mut() {
        // Packets name their socket alone: whose it is stands with it.
        flow.exec = label.exec;
        flow.pid = kernel::current_tgid();
        if flow.network == 0 {
            // SAFETY: the helper takes the context.
            flow.network = unsafe { bpf_get_netns_cookie(sa.cast()) };
        }
    }
    if op == net_op::SEND && !denied {
        // Each datagram is judged; a destination is told once.
        if let Some(Socket { flow, .. }) = socket.as_deref_mut() {
            if known(flow, &addr, port) {
                return 1;
            }
        }
    }
    // SAFETY: the helper takes the context.
    let cookie = unsafe { bpf_get_socket_cookie(sa.cast()) };
    let end = End { addr, port, protocol, family, cookie };
    let (call, header) = tell(&label, op, &end, ruling, Ring::Events);
    if denied {
        return 0;
    }
    if op == net_op::CONNECT {
        match socket {
            Some(Socket { flow, stream }) => {
                flow.begin(call, &header);
                // Its first packet leaves in this thread, as a rule, and begins the connection.
                stream.who = header;
                let Header { time: began, exec, pid, .. } = header;
                let connect = Connect { call, began, exec, pid, reserved: 0 };
                let _ = CONNECTING.insert(flow.thread, connect, 0);
            }
            None => {
                emit::flow_lost();
            }
        }
    }
    1
}

/// An end of a socket, as events tell it.
pub struct End {
    /// Network order; IPv4 as ::ffff:a.b.c.d.
    pub addr: [u8; 16],
    /// Host order.
    pub port: u32,
    /// IP protocol number.
    pub protocol: u32,
    /// The socket's family.
    pub family: u32,
    /// Its cookie, or 0.
    pub cookie: u64,
}

/// Tells what is done with a socket; a denial goes through the control ring at once. The call's id,
/// and what its event began with.
#[inline(always)]
pub fn tell(label: &Label, op: u32, end: &End, ruling: Ruling, ring: Ring) -> (u64, Header) {
    let denied = ruling.denies();
    let mut header = kernel::identify_current(label.exec);
    let call = emit::new_id();
    let ring = if denied { Ring::Control } else { ring };
    emit::send(&mut header, ring, EventKind::Net, denied, |header| NetEvent {
        header: *header,
        call,
        cookie: end.cookie,
        addr: end.addr,
        port: end.port,
        op,
        protocol: end.protocol,
        family: end.family,
        verdict: ruling.verdict,
        rule: ruling.rule,
    });
    (call, header)
}

#[inline(always)]
fn socket_of<'a>(ctx: &'a SockAddrContext) -> Option<&'a mut Socket> {
    // SAFETY: the context's socket.
    unsafe { storage::made((*ctx.sock_addr).__bindgen_anon_1.sk.cast()) }
}

/// Whose a socket is.
pub struct Owner {
    /// The exec of the process that connected it or sent from it last.
    pub exec: u64,
    /// That process; 0 where there is none: the socket was accepted, or is older than the run.
    pub pid: u32,
    /// Its network namespace's cookie, or 0.
    pub network: u64,
}

/// Whose a packet's socket is, where anything is known of it.
#[inline(always)]
pub fn owner(sk: *mut c_void) -> Option<Owner> {
    // SAFETY: the packet's own socket.
    let Flow { exec, pid, network, .. } = unsafe { storage::known(sk) }?.flow;
    Some(Owner { exec, pid, network })
}

#[inline(always)]
fn bytes(words: [u32; 4]) -> [u8; 16] {
    let mut out = [0u8; 16];
    for i in 0..4 {
        let word = words[i].to_ne_bytes();
        for j in 0..4 {
            out[4 * i + j] = word[j];
        }
    }
    out
}

/// Where an address leads: 0.0.0.0 and :: are this host (net/ipv4/route.c,
/// ip_route_output_key_hash; net/ipv6/tcp_ipv6.c, tcp_v6_connect).
#[inline(always)]
fn routed(addr: [u8; 16]) -> [u8; 16] {
    let mut to = addr;
    let (head, tail) = (u64::from_ne_bytes(half(&addr, 0)), u64::from_ne_bytes(half(&addr, 8)));
    if head == 0 && tail == 0 {
        to[15] = 1;
    } else if head == 0 && tail == u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]) {
        to[12] = 127;
        to[15] = 1;
    }
    to
}

#[inline(always)]
fn half(addr: &[u8; 16], from: usize) -> [u8; 8] {
    let mut out = [0u8; 8];
    for i in 0..8 {
        out[i] = addr[from + i];
    }
    out
}

/// Whether this socket has sent there before; if not, it has now.
#[inline(always)]
fn known(flow: &mut Flow, addr: &[u8; 16], port: u32) -> bool {
    let mut there = [0u8; 20];
    for i in 0..16 {
        there[i] = addr[i];
    }
    // One more than the port: an empty place is all zeros.
    let port = (port + 1).to_ne_bytes();
    for i in 0..4 {
        there[16 + i] = port[i];
    }
    for place in &flow.sent {
        let mut same = true;
        for i in 0..20 {
            same &= place[i] == there[i];
        }
        if same {
            return true;
        }
    }
    let next = flow.next as usize % SENT_TO;
    flow.sent[next] = there;
    flow.next = (next + 1) as u32;
    false
}

/// Where a socket is connected, and what the rules say of that.
#[inline(always)]
fn connected(config: &Config, sk: Ptr, family: u32, protocol: u32) -> (End, Ruling) {
    let common = sk.wrapping_add(at!(sock_common));
    let port: u16 = kernel::read_or_zero(common, at!(skc_dport));
    let port = u32::from(u16::from_be(port));
    let addr: [u8; 16] = if family == u32::from(AF_INET6) {
        kernel::read_or_zero(common, at!(skc_v6_daddr))
    } else {
        mapped(kernel::read_or_zero(common, at!(skc_daddr)))
    };
    let cookie: u64 = kernel::read_or_zero(common, at!(skc_cookie));
    let ruling = policy::destination(config, &routed(addr), port, protocol);
    (End { addr, port, protocol, family, cookie }, ruling)
}

/// Where a socket from elsewhere leads, and what the rules say of taking it. A TCP connection can
/// only go where it goes; any other socket can go where no hook of the run's would see it.
#[inline(always)]
pub fn far_end(config: &Config, sk: Ptr, family: u32) -> (End, Ruling) {
    let protocol: u16 = kernel::read_or_zero(sk, at!(sock_protocol));
    let (end, ruling) = connected(config, sk, family, u32::from(protocol));
    let settled = u32::from(protocol) == IPPROTO_TCP && end.port != 0;
    (end, if settled { ruling } else { unheld(config) })
}

/// What the rules say of a socket whose destinations they can't hold.
#[inline(always)]
pub fn unheld(config: &Config) -> Ruling {
    if config.flags & config_flag::NET_RULES == 0 {
        return Ruling::ALLOW.under(config);
    }
    let denied = config.flags & config_flag::UNHELD_DENY != 0;
    match Ruling::from(config.unheld, denied) {
        Ruling { verdict: verdict::DENY, .. } => Ruling { verdict: verdict::DENY_UNHELD, rule: 0 },
        other => other,
    }
    .under(config)
}

/// An IPv4 address, network order, as the IPv6 one that is mapped to it.
#[inline(always)]
fn mapped(v4: u32) -> [u8; 16] {
    bytes([0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), v4])
}

/// A socket was made. Those that destination rules can't hold are told, and denied where there
/// are such rules.
#[inline(always)]
pub fn created(ctx: &SockContext) -> i32 {
    let sk = ctx.sock;
    // SAFETY: fields of the context.
    let (kind, protocol, family) = unsafe {
        (
            (&raw const (*sk).type_).read_volatile(),
            (&raw const (*sk).protocol).read_volatile(),
            (&raw const (*sk).family).read_volatile(),
        )
    };
    let held = match kind {
        SOCK_STREAM => protocol == IPPROTO_TCP,
        SOCK_DGRAM => protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE,
        _ => false,
    };
    if held {
        return 1;
    }
    let Some(label) = lineage::current_label() else { return 1 };
    let ruling = unheld(&policy::config());
    let end = End { addr: [0; 16], port: kind, protocol, family, cookie: 0 };
    tell(&label, net_op::OPEN, &end, ruling, Ring::Control);
    i32::from(!ruling.denies())
}

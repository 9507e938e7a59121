//! Ends connections that were stopped for a name that they ask for, of a server or of a resolver.
//! What the kernel side dropped waits in its socket, and would be sent again: by the time that the
//! run's hooks are gone, the socket must be. Its owner gets ECONNABORTED, in place of a silence.
//!
//! sock_diag(7): SOCK_DESTROY, as `ss -K` has it (net/ipv4/inet_diag.c, tcp_abort).

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use observer_common::{DnsEvent, StreamDeniedEvent, dns_flag, verdict};
use rustix::io::Errno;
use rustix::net::sockopt::socket_cookie;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::network;

/// What is asked for (include/uapi/linux/sock_diag.h).
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
/// NLM_F_REQUEST with NLM_F_ACK, for one answer, or with NLM_F_DUMP, for all that there are.
const ONE: u16 = 1 | 4;
const ALL: u16 = 1 | 0x300;
/// Answers (netlink(7)): an error, whose code is 0 where all went well; the end of all.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// A message's header, and where an error's code ends.
const HEADER: usize = 16;
const ERROR: usize = HEADER + 4;
const TCP: u8 = 6;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// States of a socket that may have something to send: all but TIME_WAIT, LISTEN and
/// NEW_SYN_RECV, by their bits (include/net/tcp_states.h).
const STATES: u32 = !(1 << 6 | 1 << 10 | 1 << 12);
/// Network namespaces whose sockets are at hand.
const NETWORKS: usize = 64;
/// Sockets that are looked for when the run is over.
const LEFT: usize = 65_536;

/// A TCP connection of the run.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// Who has it.
    pid: u32,
    /// Of its socket.
    cookie: u64,
    /// This end's address and port, IPv4 as ::ffff:a.b.c.d.
    local: ([u8; 16], u32),
    /// The far end's.
    peer: ([u8; 16], u32),
    /// Whether it was stopped for a part, and may go on once the rest is there.
    partial: bool,
}

impl Connection {
    /// The connection that was stopped for what it asks a server for; none where it goes on.
    pub(crate) fn stopped(event: &StreamDeniedEvent) -> Option<Self> {
        denies(event.verdict).then_some(Self {
            pid: event.header.pid,
            cookie: event.cookie,
            local: (event.local, event.local_port),
            peer: (event.peer, event.peer_port),
            partial: false,
        })
    }

    /// The connection whose question to a resolver was stopped; none where it goes on, or where there
    /// is no connection.
    pub(crate) fn asking(event: &DnsEvent) -> Option<Self> {
        (event.protocol == u32::from(TCP) && denies(event.verdict)).then_some(Self {
            pid: event.header.pid,
            cookie: event.cookie,
            local: (event.local, event.local_port),
            peer: (event.server, event.port),
            partial: event.flags & dns_flag::UNREAD != 0,
        })
    }
}

impl Connection {
    /// A connection of our own.
    fn of(stream: &TcpStream) -> io::Result<Self> {
        let end = |at: SocketAddr| match at.ip() {
            IpAddr::V4(ip) => (ip.to_ipv6_mapped().octets(), at.port().into()),
            IpAddr::V6(ip) => (ip.octets(), at.port().into()),
        };
        Ok(Self {
            pid: std::process::id(),
            cookie: socket_cookie(stream.as_fd())?,
            local: end(stream.local_addr()?),
            peer: end(stream.peer_addr()?),
            partial: false,
        })
    }

    /// Its socket's family, and how the kernel looks it up.
    fn socket(&self) -> Socket {
        let mapped = self.peer.0.starts_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        let mut id = Vec::with_capacity(size_of::<Id>());
        for port in [self.local.1, self.peer.1] {
            id.extend((port as u16).to_be_bytes());
        }
        for address in [self.local.0, self.peer.0] {
            let (four, six) = (&address[12..], &address[..]);
            id.extend(if mapped { [four, &[0; 12]].concat() } else { six.to_vec() });
        }
        // No interface.
        id.extend([0; 4]);
        id.extend(self.cookie.to_ne_bytes());
        let id = id.first_chunk().copied().unwrap_or([0; size_of::<Id>()]);
        Socket { family: if mapped { AF_INET } else { AF_INET6 }, id }
    }
}

/// Whether connections can be ended here: tried on one of our own, of the network that we are in.
///
/// # Errors
/// Why not, and the way out.
pub fn try_one() -> Result<(), String> {
    let made = || {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let connection = Connection::of(&client)?;
        Ok((listener, client, connection))
    };
    let (_listener, client, connection) = made()
        .map_err(|error: io::Error| format!("there is no connection to try it on: {error}"))?;
    Aborts::default().stop(&connection).map_err(|error| why(&error))?;
    match client.take_error() {
        Ok(Some(error)) if error.kind() == io::ErrorKind::ConnectionAborted => Ok(()),
        _ => Err("the kernel said that it ended a connection, which goes on".to_owned()),
    }
}

/// Why a connection could not be ended, with the way out where one is known.
pub(crate) fn why(error: &io::Error) -> String {
    let way_out = match error.raw_os_error() {
        Some(libc::ENOENT) => ": the kernel finds no tcp_diag, `modprobe tcp_diag` loads it",
        Some(libc::EOPNOTSUPP) => ": this kernel was built without CONFIG_INET_DIAG_DESTROY",
        _ => "",
    };
    format!("{error}{way_out}")
}

/// Ports, addresses, interface and cookie: inet_diag_sockid (include/uapi/linux/inet_diag.h).
type Id = [u8; 48];

struct Socket {
    family: u8,
    id: Id,
}

fn denies(word: u32) -> bool {
    word & verdict::KIND >= verdict::DENY && word & verdict::WOULD == 0
}

/// What ends connections.
#[derive(Default)]
pub(crate) struct Aborts {
    /// Ways to the sockets of network namespaces, by these' inodes.
    ways: Vec<(u64, OwnedFd)>,
    /// Cookies of the sockets that are looked for when the run is over.
    left: HashSet<u64>,
}

impl Aborts {
    /// Ends a connection. One that may go on, or is not found, is ended when the run is over: the
    /// kernel finds no socket that is bound to an interface by its ends alone.
    pub(crate) fn stop(&mut self, it: &Connection) -> io::Result<()> {
        // A process may be gone, or have left for another network than its socket is in.
        for whose in [it.pid.to_string().as_str(), "self"] {
            let Ok(network) = File::open(format!("/proc/{whose}/ns/net")) else { continue };
            let way = self.way(network)?;
            if it.partial {
                continue;
            }
            match destroy(way, &it.socket()) {
                Err(Errno::NOENT) => {}
                done => return Ok(done?),
            }
        }
        if self.left.len() >= LEFT {
            return Err(io::Error::other("more of them at once than are remembered"));
        }
        self.left.insert(it.cookie);
        Ok(())
    }

    /// Ends those that were left: the run is over.
    pub(crate) fn stop_rest(&mut self) -> io::Result<()> {
        let left = std::mem::take(&mut self.left);
        let mut last = Ok(());
        if left.is_empty() {
            return last;
        }
        for (_, way) in &self.ways {
            for family in [AF_INET, AF_INET6] {
                let done = sockets(way, family).and_then(|all| {
                    let ours = |socket: &&Socket| left.contains(&cookie(&socket.id));
                    let ended = all.iter().filter(ours).map(|socket| destroy(way, socket));
                    // One that has ended meanwhile is gone.
                    ended.filter(|done| *done != Err(Errno::NOENT)).fold(Ok(()), Result::and)
                });
                last = last.and(done.map_err(io::Error::from));
            }
        }
        last
    }

    fn way(&mut self, network: File) -> io::Result<&OwnedFd> {
        let inode = network.metadata()?.ino();
        let at = match self.ways.iter().position(|(known, _)| *known == inode) {
            Some(at) => at,
            None if self.ways.len() >= NETWORKS => {
                return Err(io::Error::other("more network namespaces than are followed"));
            }
            None => {
                let own = fs::metadata("/proc/self/ns/net")?.ino() == inode;
                let way = network::diagnosis((!own).then_some(network))?;
                // A kernel whose module for this can't be loaded has the same answer as to a socket
                // that is gone. Sockets in no state are none.
                let none = Socket { family: AF_INET, id: [0; size_of::<Id>()] };
                ask(&way, &message(&none, SOCK_DIAG_BY_FAMILY, ALL, 0))?;
                self.ways.push((inode, way));
                self.ways.len() - 1
            }
        };
        Ok(&self.ways[at].1)
    }
}

fn destroy(way: &OwnedFd, socket: &Socket) -> rustix::io::Result<()> {
    ask(way, &message(socket, SOCK_DESTROY, ONE, u32::MAX))
}

/// Asks, and takes the answer, which is there when the question was sent.
fn ask(way: &OwnedFd, message: &[u8]) -> rustix::io::Result<()> {
    send(way, message, SendFlags::empty())?;
    let mut answer = [0; 256];
    let (_, len) = recv(way, &mut answer, RecvFlags::DONTWAIT)?;
    match end(answer.get(..len).unwrap_or(&answer)) {
        Some(done) => done,
        None => Err(Errno::PROTO),
    }
}

/// All sockets of a family that may have something to send.
fn sockets(way: &OwnedFd, family: u8) -> rustix::io::Result<Vec<Socket>> {
    let any = Socket { family, id: [0; size_of::<Id>()] };
    send(way, &message(&any, SOCK_DIAG_BY_FAMILY, ALL, STATES), SendFlags::empty())?;
    let (mut out, mut buffer) = (vec![], vec![0; 64 * 1024]);
    loop {
        let (_, len) = recv(way, &mut buffer, RecvFlags::DONTWAIT)?;
        let mut answers = buffer.get(..len).unwrap_or(&buffer);
        while let Some(size) = answers.first_chunk::<4>().map(|four| u32::from_ne_bytes(*four)) {
            let size = (size as usize).clamp(HEADER, answers.len().max(HEADER));
            let Some(answer) = answers.get(..size) else { return Err(Errno::PROTO) };
            if let Some(done) = end(answer) {
                return done.map(|()| out);
            }
            // inet_diag_msg: family, state, timer, retransmissions, and the socket.
            if let (Some(&family), Some(id)) =
                (answer.get(HEADER), answer.get(HEADER + 4..).and_then(<[u8]>::first_chunk))
            {
                out.push(Socket { family, id: *id });
            }
            answers = answers.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// What an answer says that is the last one.
fn end(answer: &[u8]) -> Option<rustix::io::Result<()>> {
    let kind = answer.get(4..6).and_then(<[u8]>::first_chunk).map(|two| u16::from_ne_bytes(*two));
    let code = answer.get(HEADER..ERROR).and_then(<[u8]>::first_chunk);
    match (kind?, code.map(|four| i32::from_ne_bytes(*four))) {
        (NLMSG_DONE, _) | (NLMSG_ERROR, Some(0)) => Some(Ok(())),
        (NLMSG_ERROR, Some(error)) => Some(Err(Errno::from_raw_os_error(-error))),
        _ => None,
    }
}

fn cookie(id: &Id) -> u64 {
    id.last_chunk().map_or(0, |eight| u64::from_ne_bytes(*eight))
}

/// A question about a socket: nlmsghdr, and inet_diag_req_v2.
fn message(socket: &Socket, what: u16, flags: u16, states: u32) -> Vec<u8> {
    const LENGTH: usize = HEADER + 8 + size_of::<Id>();
    let mut out = Vec::with_capacity(LENGTH);
    out.extend((LENGTH as u32).to_ne_bytes());
    out.extend(what.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    // Nobody else asks here, so nothing has to tell answers apart.
    out.extend([0; 8]);
    out.extend([socket.family, TCP, 0, 0]);
    out.extend(states.to_ne_bytes());
    out.extend(socket.id);
    out
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use observer_common::{Header, denied_why};

    use super::*;

    fn denied(stream: &TcpStream, kind: u32) -> StreamDeniedEvent {
        let Connection { pid, cookie, local, peer, .. } = Connection::of(stream).unwrap();
        StreamDeniedEvent {
            header: Header { pid, ..Header::default() },
            cookie,
            local: local.0,
            peer: peer.0,
            local_port: local.1,
            peer_port: peer.1,
            verdict: kind,
            rule: 0,
            why: denied_why::SNI,
            name_len: 0,
            name: [0; observer_common::HOST_LEN],
        }
    }

    /// As root alone: it is the network's administrator who may.
    #[test]
    fn a_connection_that_was_stopped_is_gone_for_both_ends() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            let mut aborts = Aborts::default();
            let ended = |stream: &mut TcpStream| stream.read(&mut [0]).map_err(|e| e.kind());
            let denied = denied(&client, verdict::DENY_RULE);
            match aborts.stop(&Connection::stopped(&denied).unwrap()) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return,
                done => done.unwrap(),
            }
            assert_eq!(ended(&mut client), Err(io::ErrorKind::ConnectionAborted), "{address}");
            assert_eq!(ended(&mut server), Err(io::ErrorKind::ConnectionReset), "{address}");
            // It is gone, and another in its place is another: its socket's cookie differs.
            aborts.stop(&Connection::stopped(&denied).unwrap()).unwrap();
        }
    }

    #[test]
    fn whether_connections_can_be_ended_is_tried_on_one_of_our_own() {
        match try_one() {
            Ok(()) => {}
            Err(told) => assert!(told.starts_with("Operation not permitted"), "{told}"),
        }
    }

    #[test]
    fn a_missing_module_and_a_kernel_without_it_are_told_apart_with_the_way_out() {
        let told = |code| why(&io::Error::from_raw_os_error(code));
        assert!(told(libc::ENOENT).contains("modprobe tcp_diag"));
        assert!(told(libc::EOPNOTSUPP).contains("CONFIG_INET_DIAG_DESTROY"));
        assert!(!told(libc::EPERM).contains(':'));
    }

    /// `SO_BINDTODEVICE` is anybody's, and a look-up by both ends finds no socket that is bound.
    #[test]
    fn what_is_not_found_and_what_may_go_on_is_ended_when_the_run_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            (client, server)
        };
        let (bound, waits, other) = (connect(), connect(), connect());
        let (name, fd) = (b"lo", std::os::fd::AsRawFd::as_raw_fd(&bound.0));
        // SAFETY: two bytes, as said.
        let set = unsafe {
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name.as_ptr().cast(), 2)
        };
        assert_eq!(set, 0);
        let connection = |stream: &TcpStream, partial| Connection {
            partial,
            ..Connection::stopped(&denied(stream, verdict::DENY)).unwrap()
        };
        let mut aborts = Aborts::default();
        match aborts.stop(&connection(&bound.0, false)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return,
            done => done.unwrap(),
        }
        aborts.stop(&connection(&waits.0, true)).unwrap();
        for (client, _) in [&bound, &waits, &other] {
            client.set_nonblocking(true).unwrap();
            let error = (&mut &*client).read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "it goes on");
        }
        aborts.stop_rest().unwrap();
        let after = [&bound, &waits, &other]
            .map(|(client, _)| (&mut &*client).read(&mut [0]).unwrap_err().kind());
        let gone = io::ErrorKind::ConnectionAborted;
        assert_eq!(after, [gone, gone, io::ErrorKind::WouldBlock]);
    }

    #[test]
    fn what_would_be_denied_goes_on_and_so_do_datagrams() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(Connection::stopped(&denied(&client, verdict::DENY | verdict::WOULD)).is_none());
        assert!(Connection::stopped(&denied(&client, verdict::ALLOW_RULE)).is_none());
        let asks = DnsEvent { protocol: 6, verdict: verdict::DENY_UNREAD, ..DnsEvent::default() };
        assert!(Connection::asking(&asks).is_some());
        assert!(Connection::asking(&DnsEvent { protocol: 17, ..asks }).is_none());
    }
}

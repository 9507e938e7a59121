//! Ends connections that were stopped for a name that they ask for, of a server or of a resolver. What the kernel side dropped
//! waits in its socket, and would be sent again: by the time that the run's hooks are gone, the socket
//! must be. Its owner gets ECONNABORTED at once, in place of a silence.
//!
//! sock_diag(7): SOCK_DESTROY, as `ss -K` has it (net/ipv4/inet_diag.c, tcp_abort).

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;

use observer_common::{DnsEvent, StreamDeniedEvent, dns_flag, verdict};
use rustix::io::Errno;
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
const TCP: u8 = 6;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// A message: its header (16), and inet_diag_req_v2 (56).
const LENGTH: usize = 16 + 56;
/// Network namespaces whose sockets are at hand.
const NETWORKS: usize = 16;
/// Connections that are remembered to the run's end; of more the parts are not waited for.
const PARTIAL: usize = 256;
/// Interfaces that a socket may be bound to, tried by their numbers.
const INTERFACES: u32 = 64;

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

fn denies(word: u32) -> bool {
    word & verdict::KIND >= verdict::DENY && word & verdict::WOULD == 0
}

/// What ends connections.
#[derive(Default)]
pub(crate) struct Aborts {
    /// Ways to the sockets of network namespaces, by these' inodes.
    ways: Vec<(u64, OwnedFd)>,
    /// Those that may go on as long as the run does.
    partial: Vec<Connection>,
}

impl Aborts {
    /// Ends a connection, or remembers one that may go on.
    pub(crate) fn stop(&mut self, it: Connection) -> io::Result<()> {
        if it.partial && self.partial.len() < PARTIAL {
            if self.partial.iter().all(|other| other.cookie != it.cookie) {
                self.partial.push(it);
            }
            return Ok(());
        }
        self.abort(&it)
    }

    /// Ends those that were remembered: the run is over.
    pub(crate) fn stop_rest(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.partial);
        rest.iter().try_for_each(|it| self.abort(it))
    }

    /// Ends a connection; one that is gone has ended.
    fn abort(&mut self, it: &Connection) -> io::Result<()> {
        // A process may be gone, or have left for another network than its socket is in.
        for whose in [it.pid.to_string().as_str(), "self"] {
            let Ok(network) = File::open(format!("/proc/{whose}/ns/net")) else { continue };
            let way = self.way(network, it)?;
            for interface in 0..=INTERFACES {
                match ask(way, &message(it, SOCK_DESTROY, ONE, u32::MAX, interface)) {
                    Err(error) if error == Errno::NOENT => {}
                    done => return Ok(done?),
                }
            }
        }
        Ok(())
    }

    fn way(&mut self, network: File, it: &Connection) -> io::Result<&OwnedFd> {
        let inode = network.metadata()?.ino();
        let at = match self.ways.iter().position(|(known, _)| *known == inode) {
            Some(at) => at,
            None => {
                let own = fs::metadata("/proc/self/ns/net")?.ino() == inode;
                let way = network::diagnosis((!own).then_some(network))?;
                // A kernel whose module for this can't be loaded has the same answer as to a socket
                // that is gone. Sockets in no state are none.
                let none = message(it, SOCK_DIAG_BY_FAMILY, ALL, 0, 0);
                ask(&way, &none)?;
                if self.ways.len() >= NETWORKS {
                    self.ways.remove(0);
                }
                self.ways.push((inode, way));
                self.ways.len() - 1
            }
        };
        Ok(&self.ways[at].1)
    }
}

/// Asks, and takes the answer, which is there when the question was sent.
fn ask(way: &OwnedFd, message: &[u8]) -> rustix::io::Result<()> {
    send(way, message, SendFlags::empty())?;
    let mut answer = [0; 256];
    let (len, _) = recv(way, &mut answer, RecvFlags::DONTWAIT)?;
    let kind = answer.get(4..6).filter(|_| len >= 20).map(|two| [two[0], two[1]]);
    let code = answer.get(16..20).and_then(|four| four.first_chunk::<4>());
    match (kind.map(u16::from_ne_bytes), code.map(|four| i32::from_ne_bytes(*four))) {
        (Some(NLMSG_DONE), _) | (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(Errno::from_raw_os_error(-error)),
        _ => Err(Errno::PROTO),
    }
}

/// A question: about which connection, by its ends and its socket's cookie (linux/inet_diag.h).
fn message(it: &Connection, what: u16, flags: u16, states: u32, interface: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(LENGTH);
    out.extend((LENGTH as u32).to_ne_bytes());
    out.extend(what.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    // Nobody else asks here, so nothing has to tell answers apart.
    out.extend([0; 8]);
    let mapped = it.peer.0.starts_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    out.extend([if mapped { AF_INET } else { AF_INET6 }, TCP, 0, 0]);
    out.extend(states.to_ne_bytes());
    let ends = [it.local, it.peer];
    for (_, port) in ends {
        out.extend((port as u16).to_be_bytes());
    }
    for (address, _) in ends {
        let (four, six) = (&address[12..], &address[..]);
        out.extend(if mapped { [four, &[0; 12]].concat() } else { six.to_vec() });
    }
    out.extend(interface.to_ne_bytes());
    out.extend(it.cookie.to_ne_bytes());
    out
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::AsFd as _;

    use observer_common::{Header, denied_why};

    use super::*;

    fn denied(stream: &TcpStream, kind: u32) -> StreamDeniedEvent {
        let bytes = |at: SocketAddr| match at.ip() {
            std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            std::net::IpAddr::V6(ip) => ip.octets(),
        };
        let (local, peer) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        StreamDeniedEvent {
            header: Header { pid: std::process::id(), ..Header::default() },
            cookie: rustix::net::sockopt::socket_cookie(stream.as_fd()).unwrap(),
            local: bytes(local),
            peer: bytes(peer),
            local_port: local.port().into(),
            peer_port: peer.port().into(),
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
            match aborts.abort(&Connection::stopped(&denied).unwrap()) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return,
                done => done.unwrap(),
            }
            assert_eq!(ended(&mut client), Err(io::ErrorKind::ConnectionAborted), "{address}");
            assert_eq!(ended(&mut server), Err(io::ErrorKind::ConnectionReset), "{address}");
            // It is gone, and another in its place is another: its socket's cookie differs.
            aborts.abort(&Connection::stopped(&denied).unwrap()).unwrap();
        }
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

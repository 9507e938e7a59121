//! Ends connections that were stopped for the name that they ask for. What the kernel side dropped
//! waits in its socket, and would be sent again: by the time that the run's hooks are gone, the socket
//! must be. Its owner gets ECONNABORTED at once, in place of a silence.
//!
//! sock_diag(7): SOCK_DESTROY, as `ss -K` has it (net/ipv4/inet_diag.c, tcp_abort).

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;

use observer_common::{StreamDeniedEvent, verdict};
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
/// Interfaces that a socket may be bound to, tried by their numbers.
const INTERFACES: u32 = 64;

/// Ways to the sockets of network namespaces, by these' inodes.
#[derive(Default)]
pub(crate) struct Aborts(Vec<(u64, OwnedFd)>);

impl Aborts {
    /// Ends a connection, unless nothing was enforced; one that is gone has ended.
    pub(crate) fn abort(&mut self, event: &StreamDeniedEvent) -> io::Result<()> {
        let kind = event.verdict & verdict::KIND;
        if kind < verdict::DENY || event.verdict & verdict::WOULD != 0 {
            return Ok(());
        }
        // A process may be gone, or have left for another network than its socket is in.
        for whose in [event.header.pid.to_string().as_str(), "self"] {
            let Ok(network) = File::open(format!("/proc/{whose}/ns/net")) else { continue };
            let way = self.way(network, event)?;
            for interface in 0..=INTERFACES {
                match ask(way, &message(event, SOCK_DESTROY, ONE, u32::MAX, interface)) {
                    Err(error) if error == Errno::NOENT => {}
                    done => return Ok(done?),
                }
            }
        }
        Ok(())
    }

    fn way(&mut self, network: File, event: &StreamDeniedEvent) -> io::Result<&OwnedFd> {
        let inode = network.metadata()?.ino();
        let at = match self.0.iter().position(|(known, _)| *known == inode) {
            Some(at) => at,
            None => {
                let own = fs::metadata("/proc/self/ns/net")?.ino() == inode;
                let way = network::diagnosis((!own).then_some(network))?;
                // A kernel whose module for this can't be loaded has the same answer as to a socket
                // that is gone. Sockets in no state are none.
                let none = message(event, SOCK_DIAG_BY_FAMILY, ALL, 0, 0);
                ask(&way, &none)?;
                if self.0.len() >= NETWORKS {
                    self.0.remove(0);
                }
                self.0.push((inode, way));
                self.0.len() - 1
            }
        };
        Ok(&self.0[at].1)
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
fn message(
    event: &StreamDeniedEvent,
    what: u16,
    flags: u16,
    states: u32,
    interface: u32,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(LENGTH);
    out.extend((LENGTH as u32).to_ne_bytes());
    out.extend(what.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    // Nobody else asks here, so nothing has to tell answers apart.
    out.extend([0; 8]);
    let mapped = event.peer.starts_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    out.extend([if mapped { AF_INET } else { AF_INET6 }, TCP, 0, 0]);
    out.extend(states.to_ne_bytes());
    for port in [event.local_port, event.peer_port] {
        out.extend((port as u16).to_be_bytes());
    }
    for address in [event.local, event.peer] {
        let (four, six) = (&address[12..], &address[..]);
        out.extend(if mapped { [four, &[0; 12]].concat() } else { six.to_vec() });
    }
    out.extend(interface.to_ne_bytes());
    out.extend(event.cookie.to_ne_bytes());
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
            match aborts.abort(&denied(&client, verdict::DENY_RULE)) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return,
                done => done.unwrap(),
            }
            assert_eq!(ended(&mut client), Err(io::ErrorKind::ConnectionAborted), "{address}");
            assert_eq!(ended(&mut server), Err(io::ErrorKind::ConnectionReset), "{address}");
            // It is gone, and so is what would be done about it.
            aborts.abort(&denied_again(&listener, client)).unwrap();
        }
    }

    /// A connection in the place of one that has ended is another: its socket's cookie differs.
    fn denied_again(listener: &TcpListener, gone: TcpStream) -> StreamDeniedEvent {
        drop(gone);
        let other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        StreamDeniedEvent { cookie: u64::MAX >> 1, ..denied(&other, verdict::DENY) }
    }

    #[test]
    fn what_would_be_denied_goes_on() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        Aborts::default().abort(&denied(&client, verdict::DENY | verdict::WOULD)).unwrap();
        drop(server);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}

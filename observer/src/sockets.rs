//! The sockets of a network namespace, as the kernel lists them: found by what they are connected to,
//! and ended, so that nothing of them is sent any more. Their owner gets ECONNABORTED.
//!
//! sock_diag(7): SOCK_DIAG_BY_FAMILY and SOCK_DESTROY, as `ss` and `ss -K` have them
//! (net/ipv4/inet_diag.c, tcp_abort and udp_abort).

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

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
/// A message's header, and where an error's code ends.
const HEADER: usize = 16;
const ERROR: usize = HEADER + 4;
/// inet_diag_msg, after which attributes follow, and the one that names a socket's cgroup
/// (include/uapi/linux/inet_diag.h).
const MSG: usize = HEADER + 72;
const INET_DIAG_CGROUP_ID: u16 = 21;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// States of a socket that may have something to send: all but TIME_WAIT, LISTEN and
/// NEW_SYN_RECV, by their bits (include/net/tcp_states.h).
const MAY_SEND: u32 = !(1 << 6 | 1 << 10 | 1 << 12);
/// Of one that listens.
const LISTENS: u32 = 1 << 10;

/// TCP's number.
pub(crate) const TCP: u8 = 6;
/// UDP's.
pub(crate) const UDP: u8 = 17;
/// UDP-Lite's.
pub(crate) const UDPLITE: u8 = 136;

/// Ports, addresses, interface and cookie: inet_diag_sockid (include/uapi/linux/inet_diag.h).
type Id = [u8; 48];

/// A socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    family: u8,
    protocol: u8,
    id: Id,
    cgroup: Option<u64>,
}

/// Two ends: an address, IPv4 as ::ffff:a.b.c.d, and a port.
type End = ([u8; 16], u32);

impl Socket {
    /// The TCP socket between two ends.
    pub(crate) fn between(local: End, peer: End, cookie: u64) -> Self {
        let mapped = peer.0.starts_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        let mut id = Vec::with_capacity(size_of::<Id>());
        for port in [local.1, peer.1] {
            id.extend((port as u16).to_be_bytes());
        }
        for address in [local.0, peer.0] {
            let (four, six) = (&address[12..], &address[..]);
            id.extend(if mapped { [four, &[0; 12]].concat() } else { six.to_vec() });
        }
        // No interface.
        id.extend([0; 4]);
        id.extend(cookie.to_ne_bytes());
        let id = id.first_chunk().copied().unwrap_or([0; size_of::<Id>()]);
        let family = if mapped { AF_INET } else { AF_INET6 };
        Self { family, protocol: TCP, id, cgroup: None }
    }

    /// Its protocol's number.
    pub(crate) fn protocol(&self) -> u8 {
        self.protocol
    }

    /// What the kernel knows it by, on this boot.
    pub(crate) fn cookie(&self) -> u64 {
        self.id.last_chunk().map_or(0, |eight| u64::from_ne_bytes(*eight))
    }

    /// The cgroup that it was made in; none where the kernel doesn't say.
    pub(crate) fn cgroup(&self) -> Option<u64> {
        self.cgroup
    }

    /// This end's port.
    pub(crate) fn port(&self) -> u16 {
        self.word(0)
    }

    /// The far end, a v4-mapped address as IPv4; port 0 where there is none.
    pub(crate) fn peer(&self) -> SocketAddr {
        let mut six = [0; 16];
        six.copy_from_slice(&self.id[20..36]);
        let ip = if self.family == AF_INET {
            IpAddr::V4(Ipv4Addr::new(six[0], six[1], six[2], six[3]))
        } else {
            IpAddr::V6(Ipv6Addr::from(six)).to_canonical()
        };
        SocketAddr::new(ip, self.word(2))
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.id[at], self.id[at + 1]])
    }

    /// Reads an answer: inet_diag_msg has family, state, timer, retransmissions, and the socket.
    fn read(answer: &[u8], protocol: u8) -> Option<Self> {
        let family = *answer.get(HEADER)?;
        let id = *answer.get(HEADER + 4..)?.first_chunk()?;
        Some(Self { family, protocol, id, cgroup: cgroup(answer.get(MSG..).unwrap_or_default()) })
    }
}

/// The cgroup among attributes (netlink(7): length, type, value, each from a multiple of four).
fn cgroup(mut attributes: &[u8]) -> Option<u64> {
    loop {
        let &[a, b, c, d] = attributes.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([a, b]));
        if u16::from_ne_bytes([c, d]) == INET_DIAG_CGROUP_ID {
            return attributes.get(4..len)?.first_chunk().map(|id| u64::from_ne_bytes(*id));
        }
        attributes = attributes.get(len.max(4).next_multiple_of(4)..)?;
    }
}

/// A way to the sockets of one network namespace.
pub(crate) struct Way(OwnedFd);

impl Way {
    /// To those of `network`, or of our own.
    ///
    /// # Errors
    /// ENOENT where the kernel has no tcp_diag and can't load it.
    pub(crate) fn to(network: Option<File>) -> io::Result<Self> {
        let way = Self(network::diagnosis(network)?);
        // A kernel whose module for this can't be loaded has the same answer as to a socket
        // that is gone. Sockets in no state are none.
        way.list(TCP, AF_INET, 0)?;
        Ok(way)
    }

    /// Ends a socket. ENOENT where it is gone.
    pub(crate) fn destroy(&self, socket: &Socket) -> rustix::io::Result<()> {
        let what = (SOCK_DESTROY, ONE, u32::MAX);
        send(&self.0, &message(socket, what), SendFlags::empty())?;
        let mut answer = [0; 256];
        let (_, len) = recv(&self.0, &mut answer, RecvFlags::DONTWAIT)?;
        match end(answer.get(..len).unwrap_or(&answer)) {
            Some(done) => done,
            None => Err(Errno::PROTO),
        }
    }

    /// All sockets of a protocol that may have something to send.
    pub(crate) fn sockets(&self, protocol: u8) -> rustix::io::Result<Vec<Socket>> {
        self.of_state(protocol, MAY_SEND)
    }

    /// The TCP sockets that listen.
    pub(crate) fn listeners(&self) -> rustix::io::Result<Vec<Socket>> {
        self.of_state(TCP, LISTENS)
    }

    fn of_state(&self, protocol: u8, states: u32) -> rustix::io::Result<Vec<Socket>> {
        let mut all = self.list(protocol, AF_INET, states)?;
        all.extend(self.list(protocol, AF_INET6, states)?);
        Ok(all)
    }

    fn list(&self, protocol: u8, family: u8, states: u32) -> rustix::io::Result<Vec<Socket>> {
        let any = Socket { family, protocol, id: [0; size_of::<Id>()], cgroup: None };
        let what = (SOCK_DIAG_BY_FAMILY, ALL, states);
        send(&self.0, &message(&any, what), SendFlags::empty())?;
        let (mut out, mut buffer) = (vec![], vec![0; 64 * 1024]);
        loop {
            let (_, len) = recv(&self.0, &mut buffer, RecvFlags::DONTWAIT)?;
            let mut answers = buffer.get(..len).unwrap_or(&buffer);
            while let Some(size) = answers.first_chunk::<4>().map(|four| u32::from_ne_bytes(*four))
            {
                let size = (size as usize).clamp(HEADER, answers.len().max(HEADER));
                let Some(answer) = answers.get(..size) else { return Err(Errno::PROTO) };
                if let Some(done) = end(answer) {
                    return done.map(|()| out);
                }
                out.extend(Socket::read(answer, protocol));
                answers = answers.get(size.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// What an answer says that is the last one.
fn end(answer: &[u8]) -> Option<rustix::io::Result<()>> {
    let kind = answer.get(4..6).and_then(<[u8]>::first_chunk).map(|two| u16::from_ne_bytes(*two));
    let code = answer.get(HEADER..ERROR).and_then(<[u8]>::first_chunk);
    match (kind?, code.map(|four| i32::from_ne_bytes(*four))) {
        (NLMSG_DONE, None | Some(0)) | (NLMSG_ERROR, Some(0)) => Some(Ok(())),
        (NLMSG_DONE | NLMSG_ERROR, Some(error)) => Some(Err(Errno::from_raw_os_error(-error))),
        _ => None,
    }
}

/// A question about a socket: nlmsghdr, and inet_diag_req_v2.
fn message(socket: &Socket, (what, flags, states): (u16, u16, u32)) -> Vec<u8> {
    const LENGTH: usize = HEADER + 8 + size_of::<Id>();
    let mut out = Vec::with_capacity(LENGTH);
    out.extend((LENGTH as u32).to_ne_bytes());
    out.extend(what.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    // Nobody else asks here, so nothing has to tell answers apart.
    out.extend([0; 8]);
    out.extend([socket.family, socket.protocol, 0, 0]);
    out.extend(states.to_ne_bytes());
    out.extend(socket.id);
    out
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd as _;

    use rustix::net::sockopt::socket_cookie;

    use super::*;

    #[test]
    fn sockets_are_listed_with_where_they_lead() {
        let way = Way::to(None).unwrap();
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(at) else { continue };
            let to = listener.local_addr().unwrap();
            let client = TcpStream::connect(to).unwrap();
            let cookie = socket_cookie(client.as_fd()).unwrap();
            let all = way.sockets(TCP).unwrap();
            let found = all.iter().find(|socket| socket.cookie() == cookie).unwrap();
            assert_eq!((found.peer(), found.protocol()), (to, TCP));
            assert_eq!(found.port(), client.local_addr().unwrap().port());
            assert!(all.iter().all(|socket| socket.peer().port() != 0), "one that listens");
            let listens = way.listeners().unwrap();
            assert!(listens.iter().any(|socket| socket.port() == to.port()));
        }
    }

    #[test]
    fn a_datagram_socket_is_listed_with_where_it_leads() {
        let (way, socket) = (Way::to(None).unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        socket.connect("127.0.0.1:9").unwrap();
        let cookie = socket_cookie(socket.as_fd()).unwrap();
        let all = way.sockets(UDP).unwrap();
        let found = all.iter().find(|socket| socket.cookie() == cookie).unwrap();
        assert_eq!(found.peer(), "127.0.0.1:9".parse().unwrap());
    }

    #[test]
    fn a_cgroup_is_found_among_attributes_and_no_attribute_is_read_past_its_end() {
        let attribute = |kind: u16, value: &[u8]| {
            let mut out = (value.len() as u16 + 4).to_ne_bytes().to_vec();
            out.extend(kind.to_ne_bytes());
            out.extend(value);
            out.resize(out.len().next_multiple_of(4), 0);
            out
        };
        let all =
            [attribute(8, &[3]), attribute(INET_DIAG_CGROUP_ID, &7u64.to_ne_bytes())].concat();
        assert_eq!(cgroup(&all), Some(7));
        for len in 0..all.len() {
            assert_eq!(cgroup(&all[..len]), None, "{len}");
        }
        assert_eq!(cgroup(&[0; 64]), None);
        assert_eq!(cgroup(&[0xff; 64]), None);
    }
}

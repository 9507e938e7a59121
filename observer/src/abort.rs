//! Ends connections that were stopped for a name that they ask for, of a server or of a resolver, and
//! those that a new policy denies. What the kernel side dropped waits in its socket, and would be sent
//! again: by the time that the run's hooks are gone, the socket must be. Its owner gets ECONNABORTED,
//! in place of a silence.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use observer_common::{DnsEvent, StreamDeniedEvent, dns_flag, verdict};
use rustix::io::Errno;
use rustix::net::sockopt::socket_cookie;

use crate::sockets::{Socket, TCP, UDP, UDPLITE, Way};

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

/// Whether connected UDP sockets can be looked for here, to be ended.
///
/// # Errors
/// Why not, and the way out.
pub fn try_datagrams() -> Result<(), String> {
    let looked = Way::to(None).and_then(|way| Ok(way.sockets(UDP)?));
    looked.map(drop).map_err(|error| why(&error))
}

/// Why a connection could not be ended, with the way out where one is known.
pub(crate) fn why(error: &io::Error) -> String {
    let way_out = match error.raw_os_error() {
        Some(libc::ENOENT) => {
            ": the kernel finds no tcp_diag or no udp_diag, `modprobe -a tcp_diag udp_diag` loads them"
        }
        Some(libc::EOPNOTSUPP) => ": this kernel was built without CONFIG_INET_DIAG_DESTROY",
        _ => "",
    };
    format!("{error}{way_out}")
}

fn denies(word: u32) -> bool {
    word & verdict::KIND >= verdict::DENY && word & verdict::WOULD == 0
}

/// A socket at hand that is connected.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Whose sockets it is among.
    way: usize,
    socket: Socket,
    /// Whether it was made in the run's own cgroup or below.
    pub own: bool,
    /// Whether a socket listens on its port, as where it was accepted.
    pub accepted: bool,
}

impl Standing {
    /// What the kernel knows it by.
    pub fn cookie(&self) -> u64 {
        self.socket.cookie()
    }

    /// Its IP protocol.
    pub fn protocol(&self) -> u8 {
        self.socket.protocol()
    }

    /// Where it leads.
    pub fn peer(&self) -> SocketAddr {
        self.socket.peer()
    }

    /// The cgroup that it was made in, or 0.
    pub fn cgroup(&self) -> u64 {
        self.socket.cgroup().unwrap_or(0)
    }
}

/// What ends connections.
#[derive(Default)]
pub(crate) struct Aborts {
    /// Ways to the sockets of network namespaces, by these' inodes.
    ways: Vec<(u64, Way)>,
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
            match way.destroy(&Socket::between(it.local, it.peer, it.cookie)) {
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
            let done = way.sockets(TCP).and_then(|all| {
                let ours = |socket: &&Socket| left.contains(&socket.cookie());
                let ended = all.iter().filter(ours).map(|socket| way.destroy(socket));
                // One that has ended meanwhile is gone.
                ended.filter(|done| *done != Err(Errno::NOENT)).fold(Ok(()), Result::and)
            });
            last = last.and(done.map_err(io::Error::from));
        }
        last
    }

    /// Sockets that are connected, of the networks that these processes are in and of those that were
    /// looked at before; and what could not be looked at. `own`: the run's cgroups.
    pub(crate) fn connected(
        &mut self,
        pids: &[u32],
        own: &HashSet<u64>,
    ) -> (Vec<Standing>, io::Result<()>) {
        let mut whole = Ok(());
        let whose = pids.iter().map(u32::to_string).chain(["self".to_owned()]);
        let mut seen = HashSet::new();
        for whose in whose {
            let network = match File::open(format!("/proc/{whose}/ns/net")) {
                // A process may be gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                network => network,
            };
            whole = whole.and(network.and_then(|network| {
                let is_new = seen.insert(network.metadata()?.ino());
                if is_new { self.way(network).map(drop) } else { Ok(()) }
            }));
        }
        let mut out = vec![];
        for (at, (_, way)) in self.ways.iter().enumerate() {
            whole = whole.and(way.connected(at, own, &mut out).map_err(io::Error::from));
        }
        (out, whole)
    }

    /// Ends one of them. Whether it was there.
    pub(crate) fn end(&self, it: &Standing) -> io::Result<bool> {
        let Some((_, way)) = self.ways.get(it.way) else { return Ok(false) };
        match way.destroy(&it.socket) {
            // Gone, or hidden by another one between the same ends.
            Err(Errno::NOENT) => {
                let left = way.sockets(it.socket.protocol())?;
                if left.iter().any(|socket| socket.cookie() == it.cookie()) {
                    return Err(io::Error::other("another socket has the same two ends"));
                }
                Ok(false)
            }
            done => Ok(done.map(|()| true)?),
        }
    }

    fn way(&mut self, network: File) -> io::Result<&Way> {
        let inode = network.metadata()?.ino();
        let at = match self.ways.iter().position(|(known, _)| *known == inode) {
            Some(at) => at,
            None if self.ways.len() >= NETWORKS => {
                return Err(io::Error::other("more network namespaces than are followed"));
            }
            None => {
                let own = fs::metadata("/proc/self/ns/net")?.ino() == inode;
                let way = Way::to((!own).then_some(network))?;
                self.ways.push((inode, way));
                self.ways.len() - 1
            }
        };
        Ok(&self.ways[at].1)
    }
}

impl Way {
    fn connected(
        &self,
        at: usize,
        own: &HashSet<u64>,
        out: &mut Vec<Standing>,
    ) -> rustix::io::Result<()> {
        let listened: HashSet<u16> = self.listeners()?.iter().map(Socket::port).collect();
        for protocol in [TCP, UDP, UDPLITE] {
            let all = match self.sockets(protocol) {
                // A kernel without a module for them, which says so of TCP's as a way is made.
                Err(Errno::NOENT) if protocol == UDPLITE => continue,
                all => all?,
            };
            let connected = all.into_iter().filter(|socket| socket.peer().port() != 0);
            out.extend(connected.map(|socket| Standing {
                way: at,
                own: socket.cgroup().is_some_and(|cgroup| own.contains(&cgroup)),
                accepted: protocol == TCP && listened.contains(&socket.port()),
                socket,
            }));
        }
        Ok(())
    }
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
        assert!(told(libc::ENOENT).contains("modprobe -a tcp_diag"));
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

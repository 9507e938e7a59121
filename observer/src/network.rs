//! Networks: the host's resolvers, whom a run may believe about names in the network that it began
//! in; and ways to the sockets of another one.

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::thread;

use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where the host's resolvers stand (resolv.conf(5)).
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Resolvers that are read of it: the C library asks three.
const RESOLVERS: usize = 16;

/// The host's resolvers, as they stand now.
pub(crate) fn resolvers() -> Vec<IpAddr> {
    fs::read(Path::new(RESOLV_CONF)).map(|text| parse(&text)).unwrap_or_default()
}

/// The addresses on `nameserver` lines; a scope behind one is left out.
fn parse(text: &[u8]) -> Vec<IpAddr> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    let addresses = lines.filter_map(|word| {
        let addr = word.split('%').next().unwrap_or(word);
        addr.parse::<IpAddr>().ok().map(|addr| addr.to_canonical())
    });
    addresses.take(RESOLVERS).collect()
}

/// The cookie of a process's network namespace, or of our own: never used again on this boot.
pub(crate) fn cookie(pid: Option<u32>) -> io::Result<u64> {
    let Some(pid) = pid else { return own_cookie() };
    let space = File::open(format!("/proc/{pid}/ns/net"))?;
    // A thread of its own: the others stay where they are.
    let there = thread::spawn(move || {
        move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?;
        own_cookie()
    });
    there.join().unwrap_or_else(|_| Err(io::Error::other("the thread that looked there failed")))
}

/// A socket that asks about sockets (sock_diag(7)) of a network namespace, or of our own.
pub(crate) fn diagnosis(space: Option<File>) -> io::Result<OwnedFd> {
    let open = || {
        let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
        Ok(socket_with(AddressFamily::NETLINK, kind, flags, Some(netlink::SOCK_DIAG))?)
    };
    let Some(space) = space else { return open() };
    let there = thread::spawn(move || {
        move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?;
        open()
    });
    there.join().unwrap_or_else(|_| Err(io::Error::other("the thread that looked there failed")))
}

/// SO_NETNS_COOKIE (Linux 5.14).
fn own_cookie() -> io::Result<u64> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut cookie = 0u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, which `cookie` has.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    if got == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_as_the_c_library_does() {
        let text = b"# nameserver 192.0.2.1\nsearch example\nnameserver 192.0.2.53\n\
                     nameserver\tfe80::1%eth0 \nnameserver nonsense\nnameserver ::ffff:192.0.2.54\n";
        let wanted: Vec<IpAddr> =
            ["192.0.2.53", "fe80::1", "192.0.2.54"].map(|addr| addr.parse().unwrap()).into();
        assert_eq!(parse(text), wanted);
    }

    #[test]
    fn a_process_of_our_network_has_our_cookie() {
        let own = cookie(None).unwrap();
        assert_ne!(own, 0);
        if let Ok(same) = cookie(Some(std::process::id())) {
            assert_eq!(same, own, "seen from a thread of its own");
        }
    }
}

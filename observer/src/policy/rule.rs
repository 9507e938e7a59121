//! Rules as they were read: checked, normalised, and matched here for what they mean.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::compile::ProgramKey;
use super::door::{SystemScope, UnixScope};
use super::host::Host;

/// A rule.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) why: Option<String>,
    pub(super) deny: bool,
    /// Whether a denial is held; else it is only recorded.
    pub(super) enforce: bool,
    pub(super) scope: Scope,
    /// Where it stands: line and column, from 1.
    pub(super) place: (u32, u32),
}

/// What becomes of a call that a rule matches, the stronger first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// It is denied.
    Deny,
    /// It is recorded as one that would be denied.
    Would,
    /// It is allowed.
    Allow,
}

impl Rule {
    pub(super) fn class(&self) -> Class {
        match (self.deny, self.enforce) {
            (true, true) => Class::Deny,
            (true, false) => Class::Would,
            (false, _) => Class::Allow,
        }
    }
}

/// What a rule is about.
#[derive(Clone, Debug)]
pub(super) enum Scope {
    Net(NetScope),
    Exec(ExecScope),
    Unix(UnixScope),
    System(SystemScope),
}

/// Destinations.
#[derive(Clone, Debug, Default)]
pub(super) struct NetScope {
    /// The prefixes; none for every destination.
    pub(super) to: Option<Vec<Net>>,
    /// The names; empty for a rule about addresses. Never beside prefixes.
    pub(super) hosts: Vec<Host>,
    /// The ports as ranges that neither overlap nor touch, ascending; empty for every port.
    pub(super) ports: Vec<(u16, u16)>,
    /// The protocols, ascending; empty for every protocol.
    pub(super) protocols: Vec<u8>,
}

impl NetScope {
    /// Whether a destination is meant by its address; a rule about names means none.
    pub(super) fn matches(&self, addr: IpAddr, protocol: u8, port: u16) -> bool {
        self.hosts.is_empty()
            && self.to.as_ref().is_none_or(|to| to.iter().any(|net| net.contains(addr)))
            && self.matches_protocol(protocol)
            && self.matches_port(port)
    }

    /// Whether a destination is meant whatever its address and name.
    pub(super) fn matches_wherever(&self, protocol: u8, port: u16) -> bool {
        self.to.is_none()
            && self.hosts.is_empty()
            && self.matches_protocol(protocol)
            && self.matches_port(port)
    }

    /// Whether a destination is meant by a name of its own.
    pub(super) fn matches_name(&self, name: &[u8], protocol: u8, port: u16) -> bool {
        self.hosts.iter().any(|host| host.contains(name))
            && self.matches_protocol(protocol)
            && self.matches_port(port)
    }

    fn matches_port(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.iter().any(|(low, high)| (*low..=*high).contains(&port))
    }

    /// Whether it is about sockets as such, whatever their destination.
    pub(super) fn is_anywhere(&self) -> bool {
        self.to.is_none() && self.hosts.is_empty() && self.ports.is_empty()
    }

    /// Whether a protocol is meant.
    pub(super) fn matches_protocol(&self, protocol: u8) -> bool {
        self.protocols.is_empty() || self.protocols.contains(&protocol)
    }

    /// Whether it holds for each protocol and port of its prefixes or names.
    pub(super) fn unconditional(&self) -> bool {
        self.ports.is_empty() && self.protocols.is_empty()
    }
}

/// Programs.
#[derive(Clone, Debug)]
pub(super) struct ExecScope {
    /// The programs, each once.
    pub(super) programs: Vec<ProgramKey>,
    /// The arguments that must all occur, each once; empty for any arguments.
    pub(super) args: Vec<Vec<u8>>,
}

impl ExecScope {
    /// Whether an execution is meant. `argv` begins with the program's own name, which no argument
    /// of a rule is held against.
    pub(super) fn matches(
        &self,
        paths: &[&[u8]],
        names: &[&[u8]],
        hashes: &[[u8; 32]],
        argv: &[&[u8]],
    ) -> bool {
        let named = self.programs.iter().any(|program| match program {
            ProgramKey::Sha256(wanted) => hashes.contains(wanted),
            ProgramKey::Path(wanted) => paths.contains(&wanted.as_slice()),
            ProgramKey::Name(wanted) => names.contains(&wanted.as_slice()),
            ProgramKey::ScriptName(_) => false,
        });
        let rest = argv.get(1..).unwrap_or_default();
        named && self.args.iter().all(|arg| rest.contains(&arg.as_slice()))
    }
}

/// A prefix of addresses of one family. IPv4 stands as `::ffff:a.b.c.d` with a length from 96.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Net {
    /// The address, host bits zero.
    pub(super) bits: u128,
    /// The leading bits that count, 0 to 128.
    pub(super) len: u8,
}

const V4: u128 = 0xffff_0000_0000;

impl Net {
    /// Every IPv6 address.
    pub(super) const ALL_V6: Self = Self { bits: 0, len: 0 };
    /// Every IPv4 address.
    pub(super) const ALL_V4: Self = Self { bits: V4, len: 96 };

    /// The prefix of that length around an address; `len` counts from the mapped form's start.
    pub(super) fn around(bits: u128, len: u8) -> Self {
        Self { bits: bits & mask(len), len }
    }

    /// An address as bits, IPv4 and v4-mapped addresses both as `::ffff:a.b.c.d`.
    pub(super) fn bits_of(addr: IpAddr) -> u128 {
        match addr {
            IpAddr::V4(addr) => addr.to_ipv6_mapped().to_bits(),
            IpAddr::V6(addr) => addr.to_bits(),
        }
    }

    /// Whether this is an IPv4 prefix.
    pub(super) fn is_v4(self) -> bool {
        self.len >= 96 && self.bits >> 32 == V4 >> 32
    }

    /// Whether an address lies within. An IPv6 prefix holds no v4-mapped address.
    pub(super) fn contains(self, addr: IpAddr) -> bool {
        let bits = Self::bits_of(addr);
        let v4 = bits >> 32 == V4 >> 32;
        v4 == self.is_v4() && bits & mask(self.len) == self.bits
    }

    /// Whether every address of another prefix lies within.
    pub(super) fn covers(self, other: Self) -> bool {
        self.is_v4() == other.is_v4()
            && self.len <= other.len
            && other.bits & mask(self.len) == self.bits
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addr = Ipv6Addr::from_bits(self.bits);
        if self.is_v4() {
            let low = Ipv4Addr::from_bits((self.bits & 0xffff_ffff) as u32);
            write!(f, "{low}/{}", self.len - 96)
        } else {
            write!(f, "{addr}/{}", self.len)
        }
    }
}

fn mask(len: u8) -> u128 {
    // A shift by 128 is no shift at all, so length 0 stands apart.
    if len == 0 { 0 } else { u128::MAX << (128 - u32::from(len.min(128))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_do_not_contain_each_other() {
        let v4: IpAddr = "10.0.0.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        let v6: IpAddr = "fd00::1".parse().unwrap();
        assert!(Net::ALL_V4.contains(v4) && Net::ALL_V4.contains(mapped));
        assert!(!Net::ALL_V6.contains(v4) && !Net::ALL_V6.contains(mapped));
        assert!(Net::ALL_V6.contains(v6) && !Net::ALL_V4.contains(v6));
        assert!(!Net::ALL_V6.covers(Net::ALL_V4));
    }

    #[test]
    fn prefixes_read_as_people_write_them() {
        assert_eq!(Net::ALL_V4.to_string(), "0.0.0.0/0");
        assert_eq!(Net::ALL_V6.to_string(), "::/0");
        let net = Net::around(Net::bits_of("10.1.2.3".parse().unwrap()), 96 + 8);
        assert_eq!(net.to_string(), "10.0.0.0/8");
    }
}

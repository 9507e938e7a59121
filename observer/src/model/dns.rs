//! Names that were asked for, and what was answered.

use std::net::{IpAddr, SocketAddr};

use super::{CallResult, Protocol, Raw};

/// A question to a resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// The name, as zone files write it (RFC 1035, 5.1): lower case, `\DDD` for what is no visible
    /// character. Empty where the question could not be read.
    pub name: Raw,
    /// The type of record asked for; empty likewise.
    pub kind: String,
    /// The resolver.
    pub server: SocketAddr,
    /// The transport.
    pub protocol: Protocol,
    /// The socket's cookie.
    pub cookie: u64,
    /// Bytes of a message that is no single question in one piece.
    pub unread: Option<u32>,
}

/// The answer to a question that was told before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsAnswer {
    /// The call and its outcome.
    pub result: CallResult,
    /// Whether it is a resolver's that the run may believe.
    pub trusted: bool,
    /// Whether the resolver says that it was cut to fit a datagram.
    pub truncated: bool,
    /// The records, in their order.
    pub records: Vec<DnsRecord>,
    /// Records that there are beyond these.
    pub more: u16,
}

/// A record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsRecord {
    /// Its type.
    pub kind: String,
    /// How long it holds, seconds.
    pub ttl: u32,
    /// What it says.
    pub data: DnsData,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsData {
    /// An address.
    Addr(IpAddr),
    /// Another name.
    Name(Raw),
    /// Something else, of so many bytes.
    Other(u16),
}

/// An address that an answer gave a name: what the kernel bound by it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Answered {
    /// The address.
    pub addr: IpAddr,
    /// The name that was asked for, as [`Dns::name`] has it.
    pub name: String,
    /// The aliases (CNAME) that led from there to the address, in their order.
    pub aliases: Vec<String>,
    /// The resolver.
    pub server: IpAddr,
    /// Whether the run may believe it.
    pub trusted: bool,
}

/// The name that a destination goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName {
    /// The name.
    pub name: Raw,
    /// How it is known.
    pub from: NameFrom,
}

/// How a destination's name is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFrom {
    /// An answer of a trusted resolver gave that name this address.
    Dns,
    /// An answer did, that may be the agent's own.
    UntrustedDns,
}

impl NameFrom {
    /// Its word in records.
    pub fn word(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::UntrustedDns => "dns-untrusted",
        }
    }
}

//! TLS: what of a connection's handshake is in the clear.

use std::net::SocketAddr;

use super::{CallResult, Raw};

/// A TLS handshake that the run began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// What the client said; none where it could not be read whole.
    pub hello: Option<TlsHello>,
    /// This end.
    pub local: SocketAddr,
    /// The far end.
    pub peer: SocketAddr,
    /// The socket's cookie, which ties it to its connect.
    pub cookie: u64,
}

/// A ClientHello. Of one that was stopped in the kernel the name alone is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsHello {
    /// The name that it asks for, as it stands there; none where it names none.
    pub sni: Option<Raw>,
    /// The protocols that it offers, in its order.
    pub alpn: Vec<Raw>,
    /// The newest version that it offers, by its name.
    pub version: String,
    /// Whether it has an encrypted hello within, or a placeholder for one: the name may not be the
    /// one that counts.
    pub ech: bool,
    /// Whether it goes on with an earlier session.
    pub resumes: bool,
    /// Whether data goes with it.
    pub early_data: bool,
    /// Its length, in bytes.
    pub bytes: u64,
}

/// The end of a connection that is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsEnd {
    /// The call and its outcome.
    pub result: CallResult,
    /// Whether nothing of its plaintext was read.
    pub opaque: bool,
    /// The version that the server chose, by its name, where its answer was seen.
    pub version: Option<String>,
    /// The protocol that it chose, where that was in the clear.
    pub alpn: Option<Raw>,
    /// Payload bytes in each direction, handshake included; none where the end was not seen.
    pub bytes: Option<(u64, u64)>,
}

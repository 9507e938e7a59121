//! Rules on doors: what unix sockets are named by, and which system calls.

use std::fmt;

use crate::model::Door;

/// The most different names of unix sockets that a policy may hold.
pub const MAX_UNIX: usize = 10_000;
/// The most of them that end with a star and no slash.
pub(super) const MAX_UNIX_PREFIXES: usize = 1_000;
/// The most bytes that a name may have which ends with a star, and an abstract one.
pub(super) const MAX_UNIX_NAME: usize = 100;

/// How a rule names unix sockets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnixKey {
    /// The path that the server bound, resolved.
    Path(Vec<u8>),
    /// Whatever stands below a directory.
    Below(Vec<u8>),
    /// The last part of the path.
    Name(Vec<u8>),
    /// How the last part begins.
    NameStart(Vec<u8>),
    /// An abstract name.
    Abstract(Vec<u8>),
    /// How an abstract name begins.
    AbstractStart(Vec<u8>),
}

/// What a unix socket is, for whoever asks what a policy says of it.
#[derive(Clone, Copy, Debug)]
pub enum UnixPeer<'a> {
    /// Its path.
    Path(&'a [u8]),
    /// Its abstract name.
    Abstract(&'a [u8]),
}

impl UnixKey {
    /// Whether a socket is meant.
    pub fn matches(&self, peer: UnixPeer<'_>) -> bool {
        match (self, peer) {
            (Self::Path(key), UnixPeer::Path(path)) => key == path,
            (Self::Below(key), UnixPeer::Path(path)) => {
                path.strip_prefix(key.as_slice()).is_some_and(|rest| rest.starts_with(b"/"))
            }
            (Self::Name(key), UnixPeer::Path(path)) => last(path) == key.as_slice(),
            (Self::NameStart(key), UnixPeer::Path(path)) => last(path).starts_with(key),
            (Self::Abstract(key), UnixPeer::Abstract(name)) => key == name,
            (Self::AbstractStart(key), UnixPeer::Abstract(name)) => name.starts_with(key),
            _ => false,
        }
    }

    /// Whether whatever this means, `wider` means too; where both are beginnings of a name.
    pub(super) fn begins_with(&self, wider: &Self) -> bool {
        match (self, wider) {
            (Self::NameStart(long), Self::NameStart(short))
            | (Self::AbstractStart(long), Self::AbstractStart(short)) => long.starts_with(short),
            _ => false,
        }
    }

    /// Whether it is the beginning of a name.
    pub(super) fn is_start(&self) -> bool {
        matches!(self, Self::NameStart(_) | Self::AbstractStart(_))
    }
}

/// The last part of a path.
pub(super) fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|&b| b == b'/').next().unwrap_or(path)
}

impl fmt::Display for UnixKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        match self {
            Self::Path(key) | Self::Name(key) => f.write_str(&text(key)),
            Self::Below(key) => write!(f, "{}/*", text(key)),
            Self::NameStart(key) => write!(f, "{}*", text(key)),
            Self::Abstract(key) => write!(f, "@{}", text(key)),
            Self::AbstractStart(key) => write!(f, "@{}*", text(key)),
        }
    }
}

/// Unix sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnixScope {
    /// The names, each once.
    pub(super) keys: Vec<UnixKey>,
}

impl UnixScope {
    /// Whether a socket is meant.
    pub(super) fn matches(&self, peer: UnixPeer<'_>) -> bool {
        self.keys.iter().any(|key| key.matches(peer))
    }
}

/// Doors of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SystemScope {
    /// The doors, each once.
    pub(super) doors: Vec<Door>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_not_its_neighbour() {
        let below = UnixKey::Below(b"/run/containerd".to_vec());
        assert!(below.matches(UnixPeer::Path(b"/run/containerd/s/x.sock")));
        assert!(!below.matches(UnixPeer::Path(b"/run/containerd")));
        assert!(!below.matches(UnixPeer::Path(b"/run/containerd2/x.sock")));
        assert!(!below.matches(UnixPeer::Abstract(b"/run/containerd/x")));
    }

    #[test]
    fn names_are_last_parts_and_their_beginnings() {
        let path = UnixPeer::Path(b"/tmp/ssh-1/agent.12");
        assert!(UnixKey::NameStart(b"agent.".to_vec()).matches(path));
        assert!(UnixKey::NameStart(vec![]).matches(path));
        assert!(!UnixKey::NameStart(b"ssh".to_vec()).matches(path));
        assert!(UnixKey::Name(b"agent.12".to_vec()).matches(path));
        assert!(!UnixKey::Name(b"agent.1".to_vec()).matches(path));
    }
}

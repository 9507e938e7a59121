//! Calls: each attempt of an agent to act on the world, and how it ended.

use std::fmt;
use std::net::SocketAddr;

use super::{
    Dns, HostName, Http, OtherSocket, Process, Raw, RunId, Stamp, System, Tls, Unix, UnixOp,
};

/// A call's name: its run and its count within the run, written `<run>/<n>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId {
    /// The run that it belongs to.
    pub run: RunId,
    /// Its count within the run, from 1.
    pub n: u64,
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.n)
    }
}

/// An attempt by an agent to act on the world, unmasked.
///
/// It has no `Serialize`: only `mask` can turn it into what `ledger` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub id: CallId,
    /// When it was attempted.
    pub at: Stamp,
    /// The call that caused it: for the children and connections of a program, its exec.
    pub parent: Option<CallId>,
    /// What the kernel decided.
    pub verdict: Verdict,
    /// Who attempted it.
    pub process: Process,
    /// What was attempted.
    pub action: Action,
    /// How it ended, where that is known at once (denied, failed); else a [`CallResult`] follows.
    pub outcome: Option<Outcome>,
    /// What could not be kept whole.
    pub cuts: Vec<Cut>,
}

/// How a call ended that was recorded before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallResult {
    /// The call.
    pub call: CallId,
    /// Its kind.
    pub kind: Kind,
    /// When it ended.
    pub at: Stamp,
    /// How.
    pub outcome: Outcome,
}

/// The kinds of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A program's execution.
    Exec,
    /// A connection, or datagrams to a new destination.
    Connect,
    /// A local address taken, or a socket made ready to accept.
    Listen,
    /// A socket opened, or taken, whose destinations rules can't hold.
    Socket,
    /// A name looked up.
    Dns,
    /// An HTTP request.
    Http,
    /// A TLS handshake begun.
    Tls,
    /// A system call that reaches past the run.
    System,
}

impl Kind {
    /// The kind's word in records, filters and rules.
    pub fn word(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Connect => "connect",
            Self::Listen => "listen",
            Self::Socket => "socket",
            Self::Dns => "dns",
            Self::Http => "http",
            Self::Tls => "tls",
            Self::System => "system",
        }
    }
}

/// What was attempted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run a program.
    Exec(Exec),
    /// Reach out, or wait to be reached.
    Net(Net),
    /// Use a unix socket.
    Unix(Unix),
    /// Open a socket of another family.
    Socket(OtherSocket),
    /// Reach past the run.
    System(System),
    /// Look a name up.
    Dns(Dns),
    /// Ask over HTTP.
    Http(Box<Http>),
    /// Begin to talk TLS.
    Tls(Tls),
}

impl Action {
    /// The kind of call that this makes.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Exec(_) => Kind::Exec,
            Self::Unix(unix) => match unix.op {
                UnixOp::Connect | UnixOp::Send => Kind::Connect,
                UnixOp::Receive => Kind::Socket,
            },
            Self::Socket(_) => Kind::Socket,
            Self::System(_) => Kind::System,
            Self::Dns(_) => Kind::Dns,
            Self::Http(_) => Kind::Http,
            Self::Tls(_) => Kind::Tls,
            Self::Net(net) => match net.op {
                NetOp::Connect | NetOp::Send | NetOp::Keep => Kind::Connect,
                NetOp::Bind | NetOp::Listen => Kind::Listen,
                NetOp::Open | NetOp::Receive => Kind::Socket,
            },
        }
    }
}

/// A program's execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The file that runs, resolved by the kernel; empty where the attempt failed before that.
    pub path: Raw,
    /// The file as the caller named it.
    pub filename: Raw,
    /// For a script, the interpreter that its first line names.
    pub interpreter: Option<Raw>,
    /// The arguments, from argv\[0\].
    pub argv: Vec<Raw>,
    /// The working directory; empty where it could not be read.
    pub cwd: Raw,
    /// Where the program's bytes came from.
    pub image: Image,
}

/// Where a program's bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// A file with a name.
    File,
    /// A file that was named by a descriptor (`fexecve`, `execveat` with AT_EMPTY_PATH).
    Fd,
    /// Anonymous memory (`memfd_create`).
    Memfd,
    /// A file whose last name was gone already.
    Deleted,
    /// Nothing ran, so nothing is known.
    Unknown,
}

/// A network call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    /// What was attempted.
    pub op: NetOp,
    /// The transport.
    pub protocol: Protocol,
    /// The far end for connect and send; a v4-mapped address stands as IPv4.
    pub peer: Option<SocketAddr>,
    /// The near end for bind and listen.
    pub local: Option<SocketAddr>,
    /// The name that the far end goes by, where one is known.
    pub name: Option<HostName>,
    /// The socket's cookie (kernel `sock_gen_cookie`), which ties calls on one socket together.
    pub cookie: u64,
}

/// The network calls there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetOp {
    /// connect(2), or its equal through io_uring.
    Connect,
    /// A datagram to a destination that this socket had not sent to.
    Send,
    /// bind(2).
    Bind,
    /// listen(2).
    Listen,
    /// socket(2), for raw sockets.
    Open,
    /// A socket that was made elsewhere came from another process.
    Receive,
    /// A connection that goes on while another policy takes over.
    Keep,
}

/// A transport protocol, by its IANA number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Protocol(pub u8);

impl Protocol {
    /// Transmission Control Protocol.
    pub const TCP: Self = Self(6);
    /// User Datagram Protocol.
    pub const UDP: Self = Self(17);
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("icmp"),
            6 => f.write_str("tcp"),
            17 => f.write_str("udp"),
            58 => f.write_str("icmpv6"),
            132 => f.write_str("sctp"),
            n => write!(f, "ip-{n}"),
        }
    }
}

/// What the kernel decided about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Allowed, by a rule or by the default.
    Allowed {
        /// The rule's id; none where the default decided.
        rule: Option<String>,
    },
    /// It went on, and a rule that is not enforced would have denied it; so would the default of
    /// a policy that isn't (then the rule reads `default`).
    WouldDeny {
        /// The rule's id.
        rule: String,
    },
    /// Denied, by a rule or by `default = "deny"` (then the rule reads `default`).
    Denied {
        /// The rule's id.
        rule: String,
    },
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it worked.
    pub status: Status,
    /// What says so.
    pub reason: Reason,
    /// From the attempt to the end, in nanoseconds, where both were seen.
    pub duration_ns: Option<u64>,
}

/// Whether a call worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It did.
    Ok,
    /// It did not.
    Failed,
    /// Its end was not seen.
    Unknown,
}

/// What says how a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing beside the status.
    None,
    /// An error number of Linux.
    Errno(i32),
    /// A process's exit status.
    Exit(i32),
    /// The signal that ended a process.
    Signal(i32),
    /// The response code of a resolver, by its name.
    Rcode(&'static str),
    /// Why the end is not known, in our words, never the agent's.
    Unseen(&'static str),
    /// A response to an HTTP request.
    Http {
        /// Its status.
        status: u16,
        /// What makes it a failure beside the status, in our words.
        note: Option<&'static str>,
    },
}

/// Something that was not kept whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// What was cut.
    pub field: CutField,
    /// How many bytes there were; none where even that is not known.
    pub seen: Option<u64>,
    /// How many bytes are here.
    pub kept: u64,
    /// What the rest hashed to: HMAC-SHA-256 under the run's mask key, in hex.
    pub rest: Option<String>,
}

/// The fields that can be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CutField {
    /// The arguments.
    Argv,
    /// The working directory.
    Cwd,
    /// The path of the file.
    Path,
    /// The file as it was named.
    Filename,
}

impl CutField {
    /// The field's word in records.
    pub fn word(self) -> &'static str {
        match self {
            Self::Argv => "argv",
            Self::Cwd => "cwd",
            Self::Path => "path",
            Self::Filename => "filename",
        }
    }
}

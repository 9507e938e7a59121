//! What an agent did, in plain types: calls, their verdicts and outcomes, processes, runs.
//!
//! Nothing here does IO, and nothing here can be serialized: what came from an agent is [`Raw`]
//! until `mask` has seen it.

mod call;
mod dns;
mod door;
mod http;
mod library;
mod process;
mod raw;
mod run;
mod terminal;
mod tls;

pub use call::{
    Action, Call, CallId, CallResult, Cut, CutField, Exec, Image, Kind, Net, NetOp, Outcome,
    Protocol, Reason, Status, Verdict,
};
pub use dns::{Answered, Dns, DnsAnswer, DnsData, DnsRecord, HostName, NameFrom};
pub use door::{Door, OtherSocket, System, Unix, UnixAddress, UnixOp};
pub use http::{
    Answer, EventStream, Grpc, Http, HttpAnswer, HttpBody, HttpContent, HttpFields, HttpPart,
    HttpRequest, HttpResponse, HttpTimes, HttpVersion, Inside, Message, Messages, Transport,
    Tunnel, WebSocket,
};
pub use library::{Guess, LibraryCoverage, Since, Told};
pub use process::{Process, ProcessId};
pub use raw::Raw;
pub use run::{Reload, RunId, RunIdError, Stamp};
pub use terminal::moves;
pub use tls::{Tls, TlsEnd, TlsHello};

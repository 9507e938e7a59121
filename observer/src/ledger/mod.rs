//! The ledger: signed, chained records, one a line. It takes what `mask` has seen and nothing
//! else that came from an agent. All of it is pure but [`Writer`], the one that does IO.

mod chain;
mod entry;
mod files;
mod keys;
mod merkle;
mod note;
mod record;
mod verify;
mod writer;

pub use entry::{Entry, RunStart};
pub use files::OpenError;
pub use keys::{HostKey, KeyError, PublicKey};
pub use merkle::{Hash, Prover, Tree, consistent, includes, leaf};
pub use note::{Checkpoint, Kind, NOTE, Note, VerifierKey, first_note};
pub use verify::{Break, Report, RunReport, RunState, Verifier};
pub use writer::{CommitError, Committed, Opened, Writer};

#[cfg(test)]
mod tests;

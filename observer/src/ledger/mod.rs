//! The ledger: signed, chained records, one a line. It takes what `mask` has seen and nothing
//! else that came from an agent. [`Writer`] is the one that does IO, with
//! `files`, `checkpoints` and `resume` for it; `handover` tells other ledgers of a key; `elsewhere` and `post` take checkpoints away; `check` has threads and reads what it is given; all
//! else is pure.

mod chain;
mod check;
mod checkpoints;
mod doors;
mod elsewhere;
mod entry;
mod files;
mod handover;
mod http;
mod json;
mod keys;
mod leaves;
mod merkle;
mod multiples;
mod note;
mod post;
mod proof;
mod record;
mod report;
mod resume;
mod segments;
mod time;
mod value;
mod verify;
mod witness;
mod writer;

pub use check::Check;
pub use checkpoints::{Notes, checkpoints_of};
pub use elsewhere::{Carriers, Elsewhere, Kept, KeptStatus};
pub use entry::{Entry, Events, LostRun, RunStart};
pub use files::OpenError;
pub use keys::{HostKey, KeyError, PublicKey};
pub use merkle::{Hash, Prover, Tree, consistent, includes, leaf};
pub use note::{Checkpoint, Kind, Note, VerifierKey, is_name};
pub use post::cosigned_of;
pub use proof::{PROOF, Proof, Proved};
pub use report::{Break, Lenience, Report, RunReport, RunState};
pub use segments::{Segment, decompressed, open, segment, segments_of};
pub use verify::{Job, Snapshot, Verifier};
pub use witness::{Cosigner, REQUEST, Refusal, Submission};
pub use writer::{CommitError, Committed, Epochs, Opened, Rotation, Writer};

#[cfg(test)]
mod tests;

//! observer, the flight recorder for AI agents on Linux.
//!
//! Data goes one way: `kernel` → `decode` → `assemble` → `mask` → `ledger`. `pipeline` is the only
//! place that knows the whole way, `daemon` the only one that starts and stops things. Read
//! ARCHITECTURE.md for the map and the invariants.

pub mod abort;
pub mod assemble;
pub mod cgroup;
pub mod clock;
pub mod daemon;
pub mod decode;
pub mod exec_hold;
pub mod hashes;
pub mod kernel;
pub mod ledger;
pub mod mask;
pub mod masking;
pub mod model;
mod network;
pub mod pipeline;
pub mod policy;
pub mod probes;
mod rescue;
mod signals;
mod sockets;
pub mod spawn;
pub mod tls;

//! Everything that touches aya: loading, attaching, pinning, rings, rule maps.
//!
//! No other room may import aya.

mod attach;
mod banks;
mod batch;
mod bound;
mod btf;
mod costs;
mod doors;
mod error;
mod load;
mod meters;
mod needed;
mod pin;
mod probe;
mod programs;
mod ring;
mod shapes;
mod tables;
mod uprobes;

pub use batch::{Batch, Pressing};
pub use costs::{RunCost, run_costs};
pub use doors::Doors;
pub use error::LoadError;
pub(crate) use error::chain;
pub use load::{Kernel, Options, ProgramCost, RING};
pub use meters::Meters;
pub use pin::{Guard, guards, remove_stale};
pub use probe::{Capabilities, ExecDenial, ExecExit, lsm_missing};
pub use ring::Rings;
pub use uprobes::Ties;

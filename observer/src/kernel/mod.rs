//! Everything that touches aya: loading, attaching, pinning, rings, rule maps.
//!
//! No other room may import aya.

mod btf;
mod load;
mod pin;
mod probe;
mod ring;
mod tables;

pub use load::{Kernel, LoadError, Meters, Options, ProgramCost};
pub use pin::{Guard, guards, remove_stale};
pub use probe::{Capabilities, ExecDenial, ExecExit};
pub use ring::{Batch, Rings};

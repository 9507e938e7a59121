//! The cases, by what they guard.

mod attach;
mod burst;
mod deny_exec;
mod deny_net;
mod exec;
mod ledger;
mod lifecycle;
mod net;
mod refused;

use anyhow::Result;

use crate::harness::Ctx;

/// One case.
pub type Case = fn(&Ctx) -> Result<()>;

/// All of them, each with its name, which says what it guards.
pub fn all() -> impl Iterator<Item = (&'static str, Case)> {
    [
        exec::CASES,
        net::CASES,
        deny_net::CASES,
        deny_exec::CASES,
        lifecycle::CASES,
        attach::CASES,
        ledger::CASES,
        refused::CASES,
        burst::CASES,
    ]
    .into_iter()
    .flatten()
    .copied()
}

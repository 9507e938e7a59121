//! The cases, by what they guard.

mod allow_exec;
mod attach;
mod burst;
mod commands;
mod coverage;
mod deny_exec;
mod deny_net;
mod doors;
mod environment;
pub mod evasions;
mod exec;
mod http;
mod https;
mod ledger;
mod ledger_trouble;
mod lifecycle;
mod names;
mod net;
mod refused;
mod reload;
mod signals;
mod suggest;
mod tail;
mod tls;
mod would;

use anyhow::Result;

use crate::harness::Ctx;

/// One case.
pub type Case = fn(&Ctx) -> Result<()>;

/// All of them, each with its name, which says what it guards.
pub fn all() -> impl Iterator<Item = (&'static str, Case)> {
    of_the_kernel().chain(of_user_space())
}

/// Those of what each kernel does in a way of its own.
pub fn of_the_kernel() -> impl Iterator<Item = (&'static str, Case)> {
    let cases = [
        exec::CASES,
        net::CASES,
        names::CASES,
        deny_net::CASES,
        deny_exec::CASES,
        allow_exec::CASES,
        doors::CASES,
        evasions::CASES,
        would::CASES,
        reload::CASES,
        coverage::CASES,
        tls::CASES,
        burst::CASES,
    ];
    cases.into_iter().flatten().copied()
}

/// Those of what is the same on all of them.
fn of_user_space() -> impl Iterator<Item = (&'static str, Case)> {
    let cases = [
        suggest::CASES,
        lifecycle::CASES,
        attach::CASES,
        ledger::CASES,
        ledger_trouble::CASES,
        signals::CASES,
        commands::CASES,
        tail::CASES,
        http::CASES,
        https::CASES,
        refused::CASES,
        environment::CASES,
    ];
    cases.into_iter().flatten().copied()
}

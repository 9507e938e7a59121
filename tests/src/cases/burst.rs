//! Great numbers: what is not recorded is counted as lost, and nothing else is missing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Case;
use crate::harness::{Ctx, Ledger, Run, Tcp, at, same};

pub(super) const CASES: &[(&str, Case)] = &[
    ("burst-of-execs-is-recorded-or-counted", execs),
    ("burst-of-connects-is-recorded-or-counted", connects),
];

const PATIENCE: Duration = Duration::from_secs(600);

fn execs(ctx: &Ctx) -> Result<()> {
    let count = if ctx.quick { 500 } else { 20_000 };
    let run = Run::new(ctx).patience(PATIENCE).agent(["exec-many", &count.to_string()]).go()?;
    run.exited(0)?;
    // And the one that made them.
    accounted(&run.ledger, run.ledger.calls("exec").len() as u64, count + 1)
}

fn connects(ctx: &Ctx) -> Result<()> {
    let count = if ctx.quick { 2_000 } else { 100_000 };
    let server = Tcp::new()?;
    let args = ["connect-many", &count.to_string(), &server.addr.to_string()];
    let run = Run::new(ctx).patience(PATIENCE).agent(args).go()?;
    run.exited(0)?;
    same("connections at the server", server.reached()?, count)?;
    accounted(&run.ledger, run.ledger.to(server.addr).len() as u64, count)
}

/// Recorded and lost make what was done. Lost events may also be the ends of calls, which are
/// then the calls without an outcome: what is missing of either is not more than what was lost,
/// and nothing is missing where nothing was lost.
fn accounted(ledger: &Ledger, recorded: u64, done: u64) -> Result<()> {
    let lost = ledger.lost();
    let end = ledger.of_type("run.end");
    let events = end.first().map(|end| at(end, "/end/events")).context("no run.end")?;
    let count = |what: &str| events[what].as_u64().unwrap_or(0);
    same("kept + lost", count("kept") + count("lost"), count("produced"))?;
    ensure!(count("produced") >= done, "{events} of {done} deeds");
    ensure!(recorded <= done, "{recorded} recorded of {done}: some of them twice");
    let missing = done - recorded;
    ensure!(missing <= lost, "{recorded} recorded of {done}, and only {lost} counted as lost");
    if lost > 0 {
        eprintln!("  {done} done, {recorded} recorded, {lost} events counted as lost");
    }
    Ok(())
}

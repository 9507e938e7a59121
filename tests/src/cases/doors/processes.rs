//! What is done to a process outside of the run: signals, limits, access.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{denied, door, hooks, rule, ruled, unheld};
use crate::harness::{Bystander, Ctx, Run, at, same, skip};

/// Against a process that is not the run's.
pub(super) fn aimed(ctx: &Ctx, word: &str, args: &[&str]) -> Result<()> {
    let mut bystander = Bystander::new(ctx)?;
    let pid = bystander.pid();
    let args: Vec<&str> =
        args.iter().map(|arg| if *arg == "PID" { pid.as_str() } else { arg }).collect();
    ruled(ctx, &format!("system = [{word:?}]"), &args, |run| {
        let call = door(run, word)?;
        denied(run, call, "no-way")?;
        let target = at(call, "/system/target/pid").as_u64().context("no target")?;
        same("target", target.to_string(), pid.clone())
    })?;
    ensure!(bystander.lives()?, "the bystander is gone");
    Ok(())
}

pub(super) fn limited(ctx: &Ctx, deed: &str, what: &str) -> Result<()> {
    let bystander = Bystander::new(ctx)?;
    let pid = bystander.pid();
    ruled(ctx, "system = [\"limits\"]", &[deed, &pid], |run| {
        let call = door(run, "limits")?;
        denied(run, call, "no-way")?;
        same("what", at(call, "/system/what"), &json!(what))?;
        let target = at(call, "/system/target/pid").as_u64().context("no target")?;
        same("target", target.to_string(), pid.clone())
    })
}

/// Nothing fails: the kernel tells nobody that it sent no signal.
pub(super) fn for_descriptor(ctx: &Ctx) -> Result<()> {
    let mut bystander = Bystander::new(ctx)?;
    let pid = bystander.pid();
    let policy = rule("system = [\"signal\"]");
    let run = Run::new(ctx).policy(&policy).agent(["descriptor-signal", &pid, "9"]);
    if !hooks(ctx)? {
        return unheld(run);
    }
    let run = run.go()?;
    run.exited(0)?;
    let call = door(&run, "signal")?;
    denied(&run, call, "no-way")?;
    let target = at(call, "/system/target/pid").as_u64().context("no target")?;
    same("target", target.to_string(), pid)?;
    ensure!(bystander.lives()?, "the bystander is gone");
    Ok(())
}

pub(super) fn own_signal(ctx: &Ctx) -> Result<()> {
    if !hooks(ctx)? {
        return skip("this kernel has no hook for signals");
    }
    let policy = rule("system = [\"signal\"]");
    let run = Run::new(ctx).policy(&policy).agent(["kill-self", "15"]).go()?;
    run.exited(128 + libc::SIGTERM)?;
    same("calls", run.ledger.calls("system").len(), 0)
}

//! Signals: what is sent to observer, and what is typed at its terminal.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;

use super::Case;
use crate::harness::{
    Cgroup, Ctx, Gate, Ledger, Live, PATIENCE, Pty, Recorded, Run, at, clear_leftovers, command,
    leftovers, same, until,
};

pub(super) const CASES: &[(&str, Case)] = &[
    ("sigint-reaches-the-agent-and-closes-the-run", |ctx| ends(ctx, Signal::INT)),
    ("sigterm-reaches-the-agent-and-closes-the-run", |ctx| ends(ctx, Signal::TERM)),
    ("sighup-reaches-the-agent-and-closes-the-run", |ctx| ends(ctx, Signal::HUP)),
    ("agent-that-takes-a-signal-ends-with-its-own-status", takes),
    ("second-signal-stops-observing-and-the-agent-lives-on", second),
    ("ctrl-c-reaches-the-agent-once", ctrl_c),
    ("signal-while-only-a-background-child-lives-stops-observing", background),
    ("kill-ends-what-the-command-leaves-running", kill),
    ("sigterm-detaches-an-attached-observer-and-closes-the-run", detach),
];

/// An agent that heeds signals as programs do.
fn ends(ctx: &Ctx, signal: Signal) -> Result<()> {
    let fifo = ctx.fifo("fifo")?;
    let mut live = Run::new(ctx).agent(["wait-file", &fifo]).start()?;
    // It is there, and stays until the signal.
    let _gate = Gate::of(&fifo)?;
    live.until_recorded("the agent's start", |r| r["type"] == "call")?;
    live.signal(signal)?;
    let run = live.finish()?;
    run.exited(128 + signal.as_raw())?;
    let why = format!("signal {}", signal.as_raw());
    ended(&run, &why)?;
    let outcome = run.ledger.outcome(run.ledger.first_exec()?)?;
    same("the agent's end", &outcome["signal"], &json!(signal.as_raw()))
}

/// That the run's one end says this.
fn ended(run: &Recorded, why: &str) -> Result<()> {
    let ends = run.ledger.of_type("run.end");
    ensure!(ends.len() == 1, "wanted one run.end, saw {ends:?}");
    same("why it ended", at(ends[0], "/end/why"), &json!(why))
}

/// The signals that the counting agent has had, once it has begun.
fn counted(report: &str) -> Result<Option<Vec<i32>>> {
    let text = fs::read_to_string(report).unwrap_or_default();
    let Some(numbers) = text.strip_prefix("ready\n") else { return Ok(None) };
    let numbers = numbers.lines().map(|line| line.parse().context("not a number"));
    numbers.collect::<Result<_>>().map(Some)
}

fn until_counted(report: &str, wanted: &[i32]) -> Result<()> {
    let what = format!("the agent counting {wanted:?}");
    until(&what, PATIENCE, || {
        let counted = counted(report)?;
        Ok(counted.is_some_and(|counted| counted == wanted).then_some(()))
    })
}

fn takes(ctx: &Ctx) -> Result<()> {
    let report = ctx.path("report")?;
    let live = Run::new(ctx).agent(["count-signals", &report]).start()?;
    until_counted(&report, &[])?;
    live.signal(Signal::TERM)?;
    let run = live.finish()?;
    run.exited(41)?;
    same("what it had", counted(&report)?, Some(vec![libc::SIGTERM]))?;
    ended(&run, "exit 41")
}

fn second(ctx: &Ctx) -> Result<()> {
    let report = ctx.path("report")?;
    let mut live = Run::new(ctx).agent(["count-signals", &report]).start()?;
    until_counted(&report, &[])?;
    live.until_recorded("the agent's start", |r| r["type"] == "call")?;
    let cgroup = live.cgroup()?;
    live.signal(Signal::INT)?;
    until_counted(&report, &[libc::SIGINT])?;
    ensure!(live.runs()?, "the first signal ended observer: {}", live.stderr());
    live.signal(Signal::INT)?;
    let run = live.finish()?;
    run.exited(130)?;
    ended(&run, "stopped by a signal; the agent lives on")?;
    let procs = fs::read_to_string(cgroup.join("cgroup.procs"))?;
    same("processes that live on", procs.lines().count(), 1)?;
    same("what the agent had", counted(&report)?, Some(vec![libc::SIGINT]))?;
    fs::write(cgroup.join("cgroup.kill"), "1")?;
    clear_leftovers();
    Ok(())
}

fn ctrl_c(ctx: &Ctx) -> Result<()> {
    const CTRL_C: &[u8] = &[3];
    let (report, pty) = (ctx.path("report")?, Pty::new()?);
    let live =
        Run::new(ctx).agent(["count-signals", &report]).start_as(|command| pty.give(command))?;
    until_counted(&report, &[])?;
    pty.type_in(CTRL_C)?;
    until_counted(&report, &[libc::SIGINT])?;
    // What observer might have passed on of the first comes before this one.
    live.signal(Signal::TERM)?;
    let run = live.finish()?;
    run.exited(42)?;
    same("what it had", counted(&report)?, Some(vec![libc::SIGINT, libc::SIGTERM]))?;
    ended(&run, "exit 42")
}

fn background(ctx: &Ctx) -> Result<()> {
    let fifo = ctx.fifo("fifo")?;
    let mut live = Run::new(ctx).agent(["background", &fifo]).start()?;
    let gate = Gate::of(&fifo)?;
    live.until_said("observing until they end")?;
    live.signal(Signal::TERM)?;
    let run = live.finish()?;
    run.exited(0)?;
    ended(&run, "stopped by signal 15; processes live on")?;
    gate.open();
    empty(leftovers()?.first().context("no cgroup is left for what lives on")?)?;
    clear_leftovers();
    Ok(())
}

fn empty(cgroup: &Path) -> Result<()> {
    until("an empty cgroup", PATIENCE, || {
        let procs = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
        Ok(procs.is_empty().then_some(()))
    })
}

fn kill(ctx: &Ctx) -> Result<()> {
    let (fifo, effect, agent) = (ctx.fifo("fifo")?, ctx.path("effect")?, ctx.agent()?);
    // The child has its own exec, so that its end is recorded as one.
    let args = ["background", &fifo, agent, "touch", &effect];
    let run = Run::new(ctx).options(["--kill"]).agent(args).go()?;
    run.exited(0)?;
    ended(&run, "exit 0")?;
    crate::harness::never_ran(&effect)?;
    ensure!(!run.stderr.contains("still run"), "it waited for them: {}", run.stderr);
    same("execs", run.ledger.calls("exec").len(), 1)
}

fn detach(ctx: &Ctx) -> Result<()> {
    let (cgroup, fifo, agent) = (Cgroup::new("detach")?, ctx.fifo("fifo")?, ctx.agent()?);
    let unseen = ["escape", cgroup.path()?, agent, "wait-file", &fifo, agent, "true", "unseen"];
    let mut acting = command(&ctx.agent).args(unseen).spawn()?;
    let result = (|| {
        let gate = Gate::of(&fifo)?;
        let mut live = Live::attach(ctx, acting.id())?;
        live.until_said("attached to")?;
        live.signal(Signal::TERM)?;
        let run = live.finish()?;
        run.exited(0)?;
        ended(&run, "stopped by signal 15")?;
        ensure!(run.stderr.contains("detached from"), "it does not say so: {}", run.stderr);
        let pid = Pid::from_child(&acting);
        test_kill_process(pid).context("the process did not live on")?;
        gate.open();
        Ok(run)
    })();
    if result.is_err() {
        let _ = kill_process(Pid::from_child(&acting), Signal::KILL);
    }
    let status = acting.wait()?;
    let run = result?;
    same("the exit status of what was let go", status.code(), Some(0))?;
    let after = Ledger::read(&run.log)?;
    ensure!(after.execs_with("unseen").is_empty(), "it was still observed: {after:?}");
    Ok(())
}

//! Runs: how they end, what stays observed, and what holds when observer is killed.

use anyhow::{Result, ensure};
use rustix::process::Signal;
use serde_json::json;

use super::Case;
use crate::harness::{
    Cgroup, Ctx, Gate, PATIENCE, Run, Tcp, at, clear_leftovers, leftovers, pins, same, skip, until,
};

pub(super) const CASES: &[(&str, Case)] = &[
    ("run-returns-the-agents-exit-status", exit_status),
    ("run-returns-128-and-the-agents-signal", signal),
    ("run-says-nothing-of-its-own-between-the-agents-lines", quiet),
    ("run-has-start-and-end-around-its-calls", bounds),
    ("background-child-keeps-run-observed", background),
    ("escape-is-recorded-and-the-process-stays-recorded", escape),
    ("birth-in-another-cgroup-is-an-escape-and-its-calls-are-recorded", born_elsewhere),
    ("deny-holds-for-a-process-that-escaped", held_after_escape),
    ("connect-before-rules-follow-an-escape-is-recorded", |ctx| unhooked(ctx, "192.0.2.1", 0)),
    ("deny-before-rules-follow-an-escape-ends-the-process", |ctx| {
        unhooked(ctx, "127.0.0.1", 128 + libc::SIGKILL)
    }),
    ("connect-after-one-that-failed-at-once-is-seen-outside-too", |ctx| {
        outside(ctx, &["fail-then-leave"], &[], "192.0.2.1", 0)
    }),
    // A socket keeps the hooks of the cgroup that it was made in.
    ("deny-holds-outside-after-a-connect-that-failed-at-once", |ctx| {
        outside(ctx, &["fail-then-leave"], &[], "127.0.0.1", libc::EPERM)
    }),
    ("two-runs-at-once-never-mix", two_runs),
    ("deny-holds-after-observer-is-killed", killed),
];

fn exit_status(ctx: &Ctx) -> Result<()> {
    let run = Run::new(ctx).agent(["exit", "37"]).go()?;
    run.exited(37)?;
    let ends = run.ledger.of_type("run.end");
    ensure!(ends.len() == 1, "wanted one run.end, saw {ends:?}");
    same("the exit status in run.end", at(ends[0], "/end/exit"), &json!(37))
}

fn signal(ctx: &Ctx) -> Result<()> {
    Run::new(ctx).agent(["kill-self", "15"]).go()?.exited(128 + libc::SIGTERM)?;
    Run::new(ctx).label("kill").agent(["kill-self", "9"]).go()?.exited(128 + libc::SIGKILL)
}

fn quiet(ctx: &Ctx) -> Result<()> {
    // The sample itself says what it does not know.
    let run = Run::new(ctx).agent(["nonsense"]).go()?;
    // At a host's first run the key's fingerprint is said, before the agent has begun.
    let mut lines = run.stderr.lines().skip_while(|line| line.starts_with("observer: made this"));
    same("the first line", lines.next(), Some("agent: no such deed: nonsense"))
}

fn bounds(ctx: &Ctx) -> Result<()> {
    let run = Run::new(ctx).agent(["true"]).go()?;
    run.exited(0)?;
    let runs = run.ledger.runs();
    ensure!(runs.len() == 1, "wanted one run, saw {runs:?}");
    let own: Vec<_> = run.ledger.records.iter().filter(|r| r.get("run").is_some()).collect();
    same("its first record", own.first().map(|r| &r["type"]), Some(&json!("run.start")))?;
    same("its last record", own.last().map(|r| &r["type"]), Some(&json!("run.end")))?;
    same("the agent's name", own.first().map(|r| &r["agent"]), Some(&json!(ctx.name)))?;
    for (i, record) in run.ledger.records.iter().enumerate() {
        same("idx", &record["idx"], &json!(i))?;
    }
    Ok(())
}

fn background(ctx: &Ctx) -> Result<()> {
    let (fifo, effect) = (ctx.fifo("fifo")?, ctx.path("effect")?);
    let args = ["background", &fifo, ctx.agent()?, "touch", &effect];
    let mut live = Run::new(ctx).agent(args).start()?;
    let gate = Gate::of(&fifo)?;
    // The command that observer started is over, its child is not.
    live.until_recorded("the end of the first command", |r| r["type"] == "result")?;
    ensure!(live.runs()?, "observer ended while the agent's child still ran");
    gate.open();
    let run = live.finish()?;
    run.exited(0)?;
    ensure!(std::path::Path::new(&effect).exists(), "the child did not go on");
    let call = run.ledger.exec(&effect)?;
    same("how the child ended", &run.ledger.outcome(call)?["exit"], &json!(0))
}

fn escape(ctx: &Ctx) -> Result<()> {
    let elsewhere = Cgroup::new("elsewhere")?;
    let agent = ctx.agent()?;
    let args = ["spawn", agent, "escape", elsewhere.path()?, agent, "spawn", agent, "exit", "3"];
    let run = Run::new(ctx).agent([args.as_slice(), &["escaped"]].concat()).go()?;
    run.exited(3)?;
    let escapes = run.ledger.of_type("escape");
    ensure!(escapes.len() == 1, "wanted one escape, saw {escapes:?}");
    let to = at(escapes[0], "/escape/to").as_str().unwrap_or_default();
    let name = elsewhere.path()?.rsplit('/').next().unwrap_or_default();
    ensure!(to.ends_with(name), "it went to {name}, and the record says {to:?}");
    // run, escape, and what it did after that: as itself and in a child.
    let execs = run.ledger.execs_with("escaped");
    same("execs recorded", execs.len(), 4)?;
    let last = run.ledger.exec("escaped")?;
    same("the last exec's argv[1]", at(last, "/exec/argv/1"), &json!("exit"))?;
    same("how it ended", &run.ledger.outcome(last)?["exit"], &json!(3))
}

fn born_elsewhere(ctx: &Ctx) -> Result<()> {
    let elsewhere = Cgroup::new("birthplace")?;
    let agent = ctx.agent()?;
    let args = ["born-elsewhere", elsewhere.path()?, agent, "spawn", agent, "exit", "3", "born"];
    let run = Run::new(ctx).agent(args).go()?;
    run.exited(3)?;
    let escapes = run.ledger.of_type("escape");
    ensure!(escapes.len() == 1, "wanted one escape, saw {escapes:?}");
    let to = at(escapes[0], "/escape/to").as_str().unwrap_or_default();
    ensure!(to.ends_with("birthplace"), "the record says {to:?}");
    let last = run.ledger.exec("born")?;
    same("how it ended", &run.ledger.outcome(last)?["exit"], &json!(3))
}

fn held_after_escape(ctx: &Ctx) -> Result<()> {
    let (elsewhere, server) = (Cgroup::new("refuge")?, Tcp::new()?);
    let (fifo, agent, to) = (ctx.fifo("fifo")?, ctx.agent()?, server.addr.to_string());
    let policy = "[[deny]]\nid = \"no-way\"\nnet = { to = [\"127.0.0.1\"] }\n";
    let args = ["escape", elsewhere.path()?, agent, "wait-file", &fifo, agent, "connect", &to];
    let mut live = Run::new(ctx).policy(policy).agent(args).start()?;
    let gate = Gate::of(&fifo)?;
    live.until_recorded("the escape", |r| r["type"] == "escape" && r["escape"]["held"] == true)?;
    gate.open();
    let run = live.finish()?;
    run.exited(libc::EPERM)?;
    same("connections at the server", server.reached()?, 0)?;
    same("verdict", &run.ledger.one_to(server.addr)?["verdict"], &json!("denied"))
}

fn unhooked(ctx: &Ctx, denied: &str, wanted: i32) -> Result<()> {
    outside(ctx, &["born-elsewhere"], &[ctx.agent()?, "connect"], denied, wanted)
}

/// While observer stands still nobody attaches the address hooks to the cgroup of an escape.
fn outside(ctx: &Ctx, way: &[&str], then: &[&str], denied: &str, wanted: i32) -> Result<()> {
    let (elsewhere, server) = (Cgroup::new("unhooked")?, Tcp::new()?);
    let (fifo, report) = (ctx.fifo("fifo")?, ctx.path("report")?);
    let (agent, to) = (ctx.agent()?, server.addr.to_string());
    let policy = format!("[[deny]]\nid = \"no-way\"\nnet = {{ to = [\"{denied}\"] }}\n");
    let args = ["wait-file", &fifo, agent, "report", &report, agent];
    let args = [&args, way, &[elsewhere.path()?], then, &[&to]].concat();
    let live = Run::new(ctx).policy(&policy).agent(args).start()?;
    let gate = Gate::of(&fifo)?;
    live.signal(Signal::STOP)?;
    gate.open();
    let status =
        until("the agent's report", PATIENCE, || Ok(std::fs::read_to_string(&report).ok()));
    live.signal(Signal::CONT)?;
    same("what the agent's connect gave", status?, wanted.to_string())?;
    let run = live.finish()?;
    let call = run.ledger.one_to(server.addr)?;
    let verdict = if wanted == 0 { "allowed" } else { "denied" };
    same("verdict", &call["verdict"], &json!(verdict))?;
    let outcome = run.ledger.outcome(call)?;
    let status = if wanted == 0 { "ok" } else { "failed" };
    same("status", &outcome["status"], &json!(status))
}

fn two_runs(ctx: &Ctx) -> Result<()> {
    let (fifo, other) = (ctx.fifo("fifo-a")?, ctx.fifo("fifo-b")?);
    let agent = ctx.agent()?;
    let begin = |label, fifo: &str, marker: &str| {
        let args = ["wait-file", fifo, agent, "spawn", agent, "true", marker];
        Run::new(ctx).label(label).agent(args).start()
    };
    let (a, b) = (begin("a", &fifo, "marker-a")?, begin("b", &other, "marker-b")?);
    // Both wait, so both run at once.
    let gates = (Gate::of(&fifo)?, Gate::of(&other)?);
    gates.0.open();
    gates.1.open();
    let (a, b) = (a.finish()?, b.finish()?);
    a.exited(0)?;
    b.exited(0)?;
    for (run, own, others) in [(&a, "marker-a", "marker-b"), (&b, "marker-b", "marker-a")] {
        run.ledger.exec(own)?;
        let foreign = run.ledger.execs_with(others);
        ensure!(foreign.is_empty(), "{others} is in the ledger of {own}: {foreign:?}");
        let runs = run.ledger.runs();
        ensure!(runs.len() == 1, "runs in the ledger of {own}: {runs:?}");
    }
    ensure!(a.ledger.runs() != b.ledger.runs(), "one id for two runs: {:?}", a.ledger.runs());
    Ok(())
}

fn killed(ctx: &Ctx) -> Result<()> {
    if !leftovers()?.is_empty() {
        return skip("observer left something behind before this case");
    }
    let server = Tcp::new()?;
    let (fifo, report) = (ctx.fifo("fifo")?, ctx.path("report")?);
    let (agent, to) = (ctx.agent()?, server.addr.to_string());
    let policy = "[[deny]]\nid = \"no-way\"\nnet = { to = [\"127.0.0.1\"] }\n";
    let args = ["wait-file", &fifo, agent, "report", &report, agent, "connect", &to];
    let mut live = Run::new(ctx).policy(policy).agent(args).start()?;
    let gate = Gate::of(&fifo)?;
    live.until_recorded("the agent's start", |r| r["type"] == "call")?;
    live.kill()?;
    ensure!(!pins().is_empty(), "nothing is pinned under /sys/fs/bpf/observer");
    gate.open();
    let status =
        until("the agent's report", PATIENCE, || Ok(std::fs::read_to_string(&report).ok()))?;
    same("what the agent's connect gave", status, libc::EPERM.to_string())?;
    same("connections at the server", server.reached()?, 0)?;
    cleared(ctx)
}

/// That the run after one that was killed clears away what that left.
pub(super) fn cleared(ctx: &Ctx) -> Result<()> {
    let left = leftovers()?;
    until("an empty cgroup", PATIENCE, || {
        let busy = left.iter().any(|dir| {
            std::fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|procs| !procs.is_empty())
        });
        Ok((!busy).then_some(()))
    })?;
    Run::new(ctx).label("after").agent(["true"]).go()?.exited(0)?;
    let pins = pins();
    ensure!(pins.is_empty(), "the next run left the pins of the killed one: {pins:?}");
    // The agent itself is over, and so is this case: an empty cgroup may stay.
    clear_leftovers();
    Ok(())
}

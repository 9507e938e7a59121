//! Attaching to what runs already.

use anyhow::{Result, ensure};
use serde_json::json;

use super::Case;
use crate::harness::{Cgroup, Ctx, Gate, Live, PATIENCE, Tcp, at, command, finished, same};

pub(super) const CASES: &[(&str, Case)] = &[("attach-records-from-then-on-and-says-so", attach)];

fn attach(ctx: &Ctx) -> Result<()> {
    let (cgroup, server) = (Cgroup::new("attach")?, Tcp::new()?);
    let (fifo, to) = (ctx.fifo("fifo")?, server.addr.to_string());
    let agent = ctx.agent()?;
    let mut acting = command(&ctx.agent);
    acting.args(["escape", cgroup.path()?, agent, "wait-file", &fifo, agent, "spawn", agent]);
    let mut acting = acting.args(["connect", &to]).spawn()?;
    let result = (|| {
        let gate = Gate::of(&fifo)?;
        let mut live = Live::attach(ctx, acting.id())?;
        live.until_recorded("run.start", |r| r["type"] == "run.start")?;
        gate.open();
        let status = finished(&mut acting, "the agent", PATIENCE)?;
        same("the agent's exit status", status.code(), Some(0))?;
        live.finish()
    })();
    if result.is_err() {
        drop(acting.kill());
        drop(acting.wait());
    }
    let run = result?;
    run.exited(0)?;
    let starts = run.ledger.of_type("run.start");
    ensure!(starts.len() == 1, "wanted one run.start, saw {starts:?}");
    same("attached", at(starts[0], "/start/attached"), &json!(true))?;
    let before = run.ledger.execs_with("wait-file");
    ensure!(before.is_empty(), "recorded what was before: {before:?}");
    run.ledger.one_to(server.addr)?;
    let call = run.ledger.exec("connect")?;
    same("how the child ended", &run.ledger.outcome(call)?["exit"], &json!(0))
}

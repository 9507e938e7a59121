//! Great numbers: what is not recorded is counted as lost, and nothing else is missing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Case;
use crate::harness::{Ctx, Gate, Ledger, Run, Tcp, Tmpfs, at, same};

pub(super) const CASES: &[(&str, Case)] = &[
    ("burst-of-execs-is-recorded-or-counted", execs),
    ("burst-of-connects-is-recorded-or-counted", connects),
    ("burst-past-what-may-wait-for-a-full-disk-is-counted-at-place-ledger", full_disk),
    ("rings-have-the-size-that-was-asked-for", rings),
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
    accounted(&run.ledger, run.ledger.to(server.addr).len() as u64, count)?;
    // Each is told as it begins and as it ends; beside them there are the agent's exec and exit, and
    // little else.
    let end = run.ledger.of_type("run.end");
    let produced = end.first().and_then(|end| at(end, "/end/events/produced").as_u64());
    let produced = produced.context("no count of events")?;
    ensure!(produced < 2 * count + 100, "{produced} events of {count} connects");
    Ok(())
}

/// More than may wait while nothing can be written: what there is no room for is said at once, and
/// told with its number as soon as there is a disk again.
fn full_disk(ctx: &Ctx) -> Result<()> {
    const DISK: u64 = 200 << 20;
    // More than may wait and the ring has room for together; the disk has room for all of it.
    const SENT: u64 = 180_000;
    let disk = Tmpfs::new(&ctx.dir.join("disk"), DISK)?;
    let (first, agent) = (ctx.fifo("first")?, ctx.agent()?);
    let (second, effect) = (ctx.path("second")?, ctx.path("effect")?);
    let sent = SENT.to_string();
    let args = [agent, "wait-file", &first, ",", agent, "udp-many", &sent, ",", agent, "wait-file"];
    let args = [&["all"][..], &args, &[&second, agent, "touch", &effect]].concat();
    let run = Run::new(ctx).log(disk.join("log.jsonl")).patience(PATIENCE).agent(args);
    let mut live = run.start()?;
    let gate = Gate::of(&first)?;
    live.until_recorded("the agent's first exec", |r| r["type"] == "call")?;
    let filler = disk.fill()?;
    gate.open();
    live.until_said("MORE ARE LOST")?;
    std::fs::remove_file(filler)?;
    live.until_said("the ledger can be written again")?;
    std::fs::write(&second, "go\n")?;
    let run = live.finish()?;
    run.exited(0)?;
    let ledger = &run.ledger;
    let told = |place: &str| -> u64 {
        let all = ledger.of_type("loss");
        let here = all.iter().filter(|r| at(r, "/loss/place") == &serde_json::json!(place));
        here.filter_map(|r| at(r, "/loss/count").as_u64()).sum()
    };
    let is_sent = |r: &&&serde_json::Value| at(r, "/net/op") == &serde_json::json!("send");
    let recorded = ledger.of_type("call").iter().filter(is_sent).count() as u64;
    let (lost, rings) = (told("ledger"), told("events"));
    ensure!(lost > 0 && recorded > 0, "{recorded} recorded, {lost} lost at place ledger");
    // Of the other records a few may be among what was lost.
    let all = recorded + lost + rings;
    ensure!((SENT..SENT + 20).contains(&all), "{recorded} + {lost} + {rings} of {SENT}");
    same("other places of loss", ledger.lost(), lost + rings)
}

/// What the kernel says of the recorder's rings (BPF_MAP_TYPE_RINGBUF, by /proc/PID/fdinfo).
fn rings(ctx: &Ctx) -> Result<()> {
    let (fifo, agent) = (ctx.fifo("fifo")?, ctx.agent()?);
    let args = ["wait-file", &fifo, agent, "true"];
    let mut live = Run::new(ctx).options(["--ring-size", "2"]).agent(args).start()?;
    let gate = Gate::of(&fifo)?;
    live.until_recorded("the agent's first exec", |r| r["type"] == "call")?;
    let mut sizes = vec![];
    for entry in std::fs::read_dir(format!("/proc/{}/fdinfo", live.pid()))? {
        // One may be closed meanwhile.
        let text = std::fs::read_to_string(entry?.path()).unwrap_or_default();
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        if value("map_type:") == Some("27") {
            sizes.push(value("max_entries:").context("a ring without a size")?.parse::<u64>()?);
        }
    }
    gate.open();
    live.finish()?.exited(0)?;
    sizes.sort_unstable();
    sizes.dedup();
    // The control ring has a quarter, and no less than 1 MiB.
    same("bytes of rings", sizes, vec![1 << 20, 2 << 20])
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

//! A ledger in trouble: a full disk, a file that somebody took away, and files that are no ledger.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::Case;
use crate::harness::{
    Ctx, Gate, Ledger, Live, PATIENCE, Run, Tmpfs, at, command, finished, leftovers, limited,
    names, never_ran, same, sparse, until, verify,
};

pub(super) const CASES: &[(&str, Case)] = &[
    ("full-disk-is-said-at-once-and-the-agent-goes-on", full_and_mended),
    ("full-disk-at-the-runs-end-is-said-and-what-was-written-holds", full_to_the_end),
    ("full-disk-freezes-the-agent-where-that-was-asked-for", full_and_frozen),
    ("what-is-frozen-goes-on-when-it-is-no-longer-observed", frozen_and_stopped),
    ("removed-ledger-is-begun-anew-and-its-chain-goes-on", removed),
    ("file-in-the-ledgers-place-is-left-alone", replaced),
    ("empty-file-becomes-a-ledger", empty),
    ("garbage-is-no-ledger-and-is-left-alone", garbage),
    ("torn-last-line-is-moved-aside-and-recorded", torn),
    ("first-line-of-gigabytes-is-answered-at-once", |ctx| enormous(ctx, b"")),
    ("first-line-of-gigabytes-with-an-end-is-answered-at-once", |ctx| enormous(ctx, b"\n")),
    ("records-of-another-hosts-key-are-refused", other_host),
];

/// Room for the first records, and little more.
const ROOM: u64 = 256 << 10;
/// What observer says of a ledger that it can't write, and of one that it can write again.
const CAN_NOT: &str = "THE LEDGER CANNOT BE WRITTEN";
const CAN_AGAIN: &str = "the ledger can be written again";

/// A run whose agent waits while its disk is filled. Then it execs twice, with more in its
/// arguments than the ledger's last block has left, and waits again.
struct Full {
    disk: Tmpfs,
    filler: PathBuf,
    /// Where the agent waits; a regular file, since one who is frozen comes to no pipe.
    second: String,
    effect: String,
}

impl Full {
    /// What a child makes that waits at the same place from the beginning, and nobody waits for.
    const LEFT: &str = "left";

    fn begin(ctx: &Ctx, options: &[&str]) -> Result<(Self, Live)> {
        let disk = Tmpfs::new(&ctx.dir.join("disk"), ROOM)?;
        let (fifo, second, effect) = (ctx.fifo("fifo")?, ctx.path("second")?, ctx.path("effect")?);
        let left = ctx.path(Self::LEFT)?;
        let (agent, big) = (ctx.agent()?, "x".repeat(6000));
        let left = ["all", agent, "background", &second, agent, "touch", &left, ","];
        let execs = [agent, "wait-file", &fifo, ",", agent, "true", "first", &big, ","];
        let after = [agent, "true", "second", &big, ",", agent, "wait-file", &second, agent];
        let args = [left.as_slice(), &execs, &after, &["touch", &effect]].concat();
        let run = Run::new(ctx).log(disk.join("log.jsonl")).options(options).agent(args);
        let mut live = run.start()?;
        let gate = Gate::of(&fifo)?;
        live.until_recorded("the agent's first exec", |r| r["type"] == "call")?;
        let filler = disk.fill()?;
        gate.open();
        live.until_said(CAN_NOT)?;
        Ok((Self { disk, filler, second, effect }, live))
    }

    fn make_room(&self) -> Result<()> {
        Ok(fs::remove_file(&self.filler)?)
    }

    /// Everything that the agent did stands there, and nothing is said to be lost.
    fn whole(ledger: &Ledger) -> Result<()> {
        for word in ["first", "second", "touch"] {
            let call = ledger.exec(word)?;
            same(word, &ledger.outcome(call)?["exit"], &json!(0))?;
        }
        same("events lost", ledger.lost(), 0)
    }
}

fn full_and_mended(ctx: &Ctx) -> Result<()> {
    let (full, mut live) = Full::begin(ctx, &[])?;
    fs::write(&full.second, "go\n")?;
    // It goes on while nothing can be written.
    until("the agent going on", PATIENCE, || Ok(Path::new(&full.effect).exists().then_some(())))?;
    full.make_room()?;
    // The agent may have ended; what waited is written all the same.
    live.until_said(CAN_AGAIN)?;
    let run = live.finish()?;
    run.exited(0)?;
    Full::whole(&run.ledger)
}

fn full_to_the_end(ctx: &Ctx) -> Result<()> {
    let (full, mut live) = Full::begin(ctx, &[])?;
    let log = live.log().to_owned();
    fs::write(&full.second, "go\n")?;
    let (code, said) = live.end()?;
    same("the agent's exit status", code, Some(0))?;
    ensure!(said.contains("THE LEDGER IS NOT WHOLE"), "it did not say so at the end: {said}");
    let key = live.state().join("host.pub");
    let (code, said) = verify(&ctx.observer, &log, &key, &["--open-ok"])?;
    ensure!(code == Some(0), "what was written does not hold: {said}");
    let (code, said) = verify(&ctx.observer, &log, &key, &[])?;
    ensure!(code == Some(1) && said.contains("OPEN"), "verify exited with {code:?}: {said}");
    drop(full.disk);
    Ok(())
}

fn full_and_frozen(ctx: &Ctx) -> Result<()> {
    let (full, live) = Full::begin(ctx, &["--on-ledger-error", "freeze"])?;
    until_frozen(&live.cgroup()?)?;
    // Nothing holds it back now but that it is stopped.
    fs::write(&full.second, "go\n")?;
    never_ran(&full.effect)?;
    full.make_room()?;
    let run = live.finish()?;
    run.exited(0)?;
    ensure!(Path::new(&full.effect).exists(), "the agent was not let go on");
    Full::whole(&run.ledger)
}

fn frozen_and_stopped(ctx: &Ctx) -> Result<()> {
    use rustix::process::Signal;
    let (full, mut live) = Full::begin(ctx, &["--on-ledger-error", "freeze"])?;
    let cgroup = live.cgroup()?;
    until_frozen(&cgroup)?;
    fs::write(&full.second, "go\n")?;
    // The first is for the agent; what it left in the background stays where it is.
    live.signal(Signal::TERM)?;
    live.until_said("the agent is frozen")?;
    live.until_said("still run in")?;
    let left = ctx.path(Full::LEFT)?;
    never_ran(&left)?;
    live.signal(Signal::TERM)?;
    let (code, said) = live.end()?;
    same("exit status", code, Some(128 + libc::SIGTERM))?;
    ensure!(said.contains("THE LEDGER IS NOT WHOLE"), "it did not say so at the end: {said}");
    until("the child going on", PATIENCE, || Ok(Path::new(&left).exists().then_some(())))?;
    until("an empty cgroup", PATIENCE, || {
        let procs = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
        Ok(procs.is_empty().then_some(()))
    })?;
    crate::harness::clear_leftovers();
    Ok(())
}

fn until_frozen(cgroup: &Path) -> Result<()> {
    until("a frozen cgroup", PATIENCE, || {
        let events = fs::read_to_string(cgroup.join("cgroup.events"))?;
        Ok(events.contains("frozen 1").then_some(()))
    })
}

/// A run whose agent execs `before`, waits, execs `after`, waits, and execs `last`.
fn in_two_parts(ctx: &Ctx) -> Result<(Live, Gate, String)> {
    let (fifo, second, agent) = (ctx.fifo("fifo")?, ctx.fifo("second")?, ctx.agent()?);
    let before = ["all", agent, "true", "before", ",", agent, "wait-file", &fifo, ","];
    let after = [agent, "true", "after", ",", agent, "wait-file", &second, ","];
    let args = [before.as_slice(), &after, &[agent, "true", "last"]].concat();
    let mut live = Run::new(ctx).agent(args).start()?;
    let gate = Gate::of(&fifo)?;
    live.until_recorded("the wait", |r| at(r, "/exec/argv/2") == &json!(fifo))?;
    Ok((live, gate, second))
}

fn removed(ctx: &Ctx) -> Result<()> {
    let (mut live, gate, second) = in_two_parts(ctx)?;
    let (log, old) = (live.log().to_owned(), ctx.dir.join("old.jsonl"));
    fs::hard_link(&log, &old)?;
    fs::remove_file(&log)?;
    gate.open();
    live.until_said("THE LEDGER WAS REMOVED OR REPLACED")?;
    live.until_recorded("the call after that", |r| at(r, "/exec/argv/2") == &json!("after"))?;
    Gate::of(&second)?.open();
    let (code, said) = live.end()?;
    ensure!(code == Some(0), "exit status {code:?}: {said}");
    let new = live.ledger()?;
    let first = new.records.first().context("nothing in the new file")?;
    same("the new file's first record", &first["type"], &json!("segment"))?;
    let recovered = new.of_type("recover");
    ensure!(recovered.len() == 1, "wanted one recover, saw {recovered:?}");
    new.exec("last")?;
    let key = live.state().join("host.pub");
    let (code, said) = verify(&ctx.observer, &log, &key, &[])?;
    ensure!(code == Some(1), "a ledger without its beginning holds ({code:?}): {said}");
    // Whoever kept the old one can still say that nothing is missing.
    let whole = ctx.dir.join("whole.jsonl");
    fs::write(&whole, [fs::read(&old)?, fs::read(&log)?].concat())?;
    let (code, said) = verify(&ctx.observer, &whole, &key, &[])?;
    ensure!(code == Some(0), "both together do not hold: {said}");
    for word in ["before", "after", "last"] {
        Ledger::read(&whole)?.exec(word)?;
    }
    Ok(())
}

fn replaced(ctx: &Ctx) -> Result<()> {
    const OTHER: &str = "something else\n";
    let (mut live, gate, second) = in_two_parts(ctx)?;
    let (log, old, other) = (live.log().to_owned(), ctx.dir.join("old"), ctx.dir.join("other"));
    fs::hard_link(&log, &old)?;
    fs::write(&other, OTHER)?;
    fs::rename(&other, &log)?;
    gate.open();
    live.until_said("somebody put another file in the ledger's place")?;
    same("the other file", fs::read_to_string(&log)?, OTHER)?;
    // Where it is taken away again, the chain goes on.
    fs::remove_file(&log)?;
    live.until_said(CAN_AGAIN)?;
    Gate::of(&second)?.open();
    let (code, said) = live.end()?;
    ensure!(code == Some(0), "exit status {code:?}: {said}");
    let whole = ctx.dir.join("whole.jsonl");
    fs::write(&whole, [fs::read(&old)?, fs::read(&log)?].concat())?;
    let (code, said) = verify(&ctx.observer, &whole, &live.state().join("host.pub"), &[])?;
    ensure!(code == Some(0), "both together do not hold: {said}");
    Ledger::read(&whole)?.exec("after").map(drop)
}

fn empty(ctx: &Ctx) -> Result<()> {
    let log = ctx.dir.join("empty.jsonl");
    fs::write(&log, "")?;
    let (code, said) = bare_verify(ctx, &log)?;
    ensure!(code == Some(1) && said.contains("empty"), "verify exited with {code:?}: {said}");
    Run::new(ctx).log(log).agent(["true"]).go()?.exited(0)
}

fn garbage(ctx: &Ctx) -> Result<()> {
    let noise: Vec<u8> =
        (0..9000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let endless: Vec<u8> = noise.iter().copied().filter(|&b| b != b'\n').collect();
    let almost = b"{\"rec\":{\"idx\":-1},\"sig\":\"\"}\n".to_vec();
    for (name, bytes) in [("lines", noise), ("endless", endless), ("almost", almost)] {
        let log = ctx.dir.join(name);
        fs::write(&log, &bytes)?;
        refuses_both(ctx, &log)?;
        ensure!(fs::read(&log)? == bytes, "{name} was changed");
    }
    Ok(())
}

/// Neither can it be continued, nor does it hold; both are said in a word, and nothing is left.
fn refuses_both(ctx: &Ctx, log: &Path) -> Result<()> {
    // Enough for all that observer loads, and far less than the file has.
    const MEMORY: u64 = 512 << 20;
    let name = log.to_str().context("not UTF-8")?;
    let (code, said) = bare_verify(ctx, log)?;
    ensure!(code == Some(1), "verify {name}: exit status {code:?}, wanted 1; it said: {said}");
    ensure!(said.contains("BROKEN"), "verify {name} said: {said}");
    let effect = ctx.path("effect")?;
    let run = Run::new(ctx).log(log.to_owned()).agent(["touch", &effect]);
    let mut live = run.start_as(|command| {
        limited(command, MEMORY);
        Ok(())
    })?;
    let (code, said) = live.end()?;
    ensure!(code == Some(2), "run --log {name}: exit status {code:?}, wanted 2; it said: {said}");
    for word in [name, "is not a ledger", "--log"] {
        ensure!(said.contains(word), "run --log {name} does not say {word:?}: {said}");
    }
    never_ran(&effect)?;
    same("what is left in the state directory", names(live.state())?, Vec::<String>::new())?;
    same("what is left behind", leftovers()?, Vec::<PathBuf>::new())
}

/// `observer verify` without a key, in little memory.
fn bare_verify(ctx: &Ctx, log: &Path) -> Result<(Option<i32>, String)> {
    const MEMORY: u64 = 128 << 20;
    let said = ctx.dir.join("verify");
    let mut command = command(&ctx.observer);
    command.arg("verify").arg(log);
    command.stdout(fs::File::create(&said)?).stderr(fs::File::options().append(true).open(&said)?);
    limited(&mut command, MEMORY);
    let status = finished(&mut command.spawn()?, "observer verify", PATIENCE)?;
    Ok((status.code(), fs::read_to_string(&said)?))
}

fn enormous(ctx: &Ctx, end: &[u8]) -> Result<()> {
    const LENGTH: u64 = 3 << 30;
    let log = ctx.dir.join("enormous.jsonl");
    sparse(&log, LENGTH, end)?;
    refuses_both(ctx, &log)?;
    let meta = fs::metadata(&log)?;
    same("its length afterwards", meta.len(), LENGTH)?;
    ensure!(meta.blocks() * 512 < 1 << 20, "it was written to");
    Ok(())
}

fn torn(ctx: &Ctx) -> Result<()> {
    let first = Run::new(ctx).agent(["true", "first"]).go()?;
    first.exited(0)?;
    let whole = fs::read(&first.log)?;
    let line = whole.iter().take(whole.len() - 1).rposition(|&b| b == b'\n').context("one line")?;
    let (start, cut) = (line + 1, (line + 1 + whole.len()) / 2);
    fs::File::options().write(true).open(&first.log)?.set_len(cut as u64)?;
    // A crash tears nothing that a checkpoint vouches for: this one came before the last.
    fs::remove_file(first.log.with_file_name("log.jsonl.checkpoints"))?;
    let (code, said) = first.verify_file(&first.log)?;
    ensure!(code == Some(1) && said.contains("cut"), "verify exited with {code:?}: {said}");

    let mut live = Run::new(ctx).agent(["true", "second"]).start()?;
    let (code, said) = live.end()?;
    ensure!(code == Some(0), "exit status {code:?}: {said}");
    let aside = first.log.with_file_name(format!("log.jsonl.torn-{start}"));
    ensure!(said.contains(&aside.display().to_string()), "it does not say where it is: {said}");
    let piece = whole.get(start..cut).unwrap_or_default();
    ensure!(fs::read(&aside)? == piece, "{} is not what was torn", aside.display());
    let ledger = live.ledger()?;
    let found = ledger.of_type("recover");
    ensure!(found.len() == 1, "wanted one recover, saw {found:?}");
    same("bytes", at(found[0], "/recover/bytes"), &json!(piece.len()))?;
    // The first run's end was in the piece: it stays open, and all that is there holds.
    let (code, said) = verify(&ctx.observer, &first.log, &first.key, &["--open-ok"])?;
    ensure!(code == Some(0), "verify exited with {code:?}: {said}");
    same("runs", ledger.runs().len(), 2)?;
    ledger.exec("second").map(drop)
}

fn other_host(ctx: &Ctx) -> Result<()> {
    let ours = Run::new(ctx).label("ours").agent(["true"]).go()?;
    let theirs = Run::new(ctx).label("theirs").agent(["true"]).go()?;
    let both = ctx.dir.join("both.jsonl");
    fs::write(&both, [fs::read(&ours.log)?, fs::read(&theirs.log)?].concat())?;
    let (code, said) = ours.verify_file(&both)?;
    let line = format!("line {}", ours.ledger.records.len() + 1);
    ensure!(code == Some(1) && said.contains(&line), "verify exited with {code:?}: {said}");

    // And where another host's observer has gone on with our ledger: every hash is right.
    let (code, said) = {
        let run = Run::new(ctx).label("theirs").log(ours.log.clone()).agent(["true", "foreign"]);
        run.start()?.end()?
    };
    let (verified, why) = ours.verify_file(&ours.log)?;
    match code {
        // It may refuse to; then ours is as it was.
        Some(2) => ensure!(verified == Some(0), "refused ({said}), and yet: {why}"),
        _ => ensure!(verified == Some(1) && why.contains(&line), "verify: {verified:?}: {why}"),
    }
    Ok(())
}

//! Hosts that lack something: exit status 2, one message that says what and the way out, and
//! nothing left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::Case;
use crate::cgroup_mount;
use crate::harness::{
    Cgroup, Change, Ctx, Gate, Live, PATIENCE, Run, apart, at, command, finished, leftovers, names,
    never_ran, same,
};

pub(super) const CASES: &[(&str, Case)] = &[
    ("host-without-cgroup-v2-is-told-how-to-mount-it", |ctx| {
        let mount = cgroup_mount()?;
        lacking(ctx, &[Change::Unmounted(&mount)], &["no cgroup v2 mount", "mount -t cgroup2"])
    }),
    ("cgroup-v2-under-another-mount-is-named", |ctx| {
        let mount = cgroup_mount()?;
        let path = mount.display().to_string();
        lacking(ctx, &[Change::Covered(&mount)], &[&path, "covered", "umount"])
    }),
    ("kernel-without-btf-is-told-what-it-was-built-without", |ctx| {
        let btf = Path::new("/sys/kernel/btf");
        let words = ["/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF"];
        lacking(ctx, &[Change::Covered(btf)], &words)
    }),
    ("attach-to-a-cgroup-that-is-not-there-is-refused", |ctx| {
        let path = cgroup_mount()?.join("observer-e2e-not-here");
        no_target(ctx, &path, &["observer-e2e-not-here", "No such file"])
    }),
    ("attach-to-the-root-cgroup-is-refused", |ctx| {
        let mount = cgroup_mount()?;
        no_target(ctx, &mount, &["is not a cgroup below", "name a directory there"])
    }),
    ("attach-to-a-directory-that-is-no-cgroup-is-refused", |ctx| {
        no_target(ctx, &ctx.dir, &["is not a cgroup below", "name a directory there"])
    }),
    ("attach-to-a-file-of-a-cgroup-is-refused", |ctx| {
        let cgroup = Cgroup::new("file")?;
        let file = Path::new(cgroup.path()?).join("cgroup.procs");
        no_target(ctx, &file, &["cgroup.procs is not a cgroup"])
    }),
    ("attach-to-a-process-that-has-ended-is-refused", |ctx| {
        let mut child = command(&ctx.agent).arg("true").spawn()?;
        let pid = child.id().to_string();
        child.wait()?;
        let live = Live::attach_to(ctx, &["--pid", &pid])?;
        refused(live, &["no process", &pid])
    }),
    ("attach-ends-when-its-cgroup-is-taken-away", vanishes),
];

/// `run`, `attach` and `doctor` in a process that sees less than there is.
fn lacking(ctx: &Ctx, changes: &[Change<'_>], words: &[&str]) -> Result<()> {
    let effect = ctx.path("effect")?;
    let run = Run::new(ctx).agent(["touch", &effect]);
    refused(run.start_as(|command| apart(command, changes))?, words)?;
    never_ran(&effect)?;
    doctor(ctx, changes, words)
}

/// `doctor` says no, and the same.
fn doctor(ctx: &Ctx, changes: &[Change<'_>], words: &[&str]) -> Result<()> {
    let mut doctor: Command = command(&ctx.observer);
    apart(&mut doctor, changes)?;
    let output = doctor.arg("doctor").output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(1), "doctor: {:?}: {said}", output.status.code());
    for word in words {
        ensure!(said.contains(word), "doctor does not say {word:?}: {said}");
    }
    Ok(())
}

fn no_target(ctx: &Ctx, path: &Path, words: &[&str]) -> Result<()> {
    let path = path.to_str().context("not UTF-8")?;
    let mut words = words.to_vec();
    words.push(path);
    refused(Live::attach_to(ctx, &["--cgroup", path])?, &words)
}

/// That it ended with 2 and these words, and made nothing.
fn refused(mut live: Live, words: &[&str]) -> Result<()> {
    let (code, said) = live.end()?;
    ensure!(code == Some(2), "exit status: wanted 2, saw {code:?}; stderr: {said:?}");
    for word in words {
        ensure!(said.contains(word), "the message does not say {word:?}: {said}");
    }
    ensure!(said.lines().count() <= 3, "that is no clear message: {said}");
    ensure!(!said.contains("panicked"), "a panic is no message: {said}");
    same("what is left in the state directory", names(live.state())?, Vec::<String>::new())?;
    ensure!(!live.log().exists(), "{} was made", live.log().display());
    same("what is left behind", leftovers()?, Vec::<PathBuf>::new())
}

/// The cgroup that is attached to is removed while a process that was in it lives on elsewhere.
fn vanishes(ctx: &Ctx) -> Result<()> {
    let (cgroup, elsewhere) = (Cgroup::new("vanishes")?, Cgroup::new("elsewhere")?);
    let (fifo, second, agent) = (ctx.fifo("fifo")?, ctx.fifo("second")?, ctx.agent()?);
    let begin = ["escape", cgroup.path()?, agent, "wait-file", &fifo, agent];
    let then = ["escape", elsewhere.path()?, agent, "wait-file", &second, agent, "true", "last"];
    let mut acting = command(&ctx.agent).args(begin).args(then).spawn()?;
    let result = (|| {
        let gate = Gate::of(&fifo)?;
        let mut live = Live::attach_to(ctx, &["--cgroup", cgroup.path()?])?;
        live.until_recorded("run.start", |r| r["type"] == "run.start")?;
        gate.open();
        let gate = Gate::of(&second)?;
        live.until_recorded("the escape", |r| r["type"] == "escape")?;
        fs::remove_dir(cgroup.path()?)?;
        // It waits for the process, and does not ask over and over.
        let before = busy(live.pid())?;
        let began = std::time::Instant::now();
        let meanwhile = command(&ctx.observer).arg("selfcheck").output()?;
        ensure!(meanwhile.status.success(), "selfcheck failed");
        let (used, took) = (busy(live.pid())? - before, began.elapsed().as_millis());
        ensure!(live.runs()?, "it ended before the process that it observes: {}", live.stderr());
        ensure!(u128::from(used) * 10 < took.max(300), "it was busy for {used} ms of {took} ms");
        gate.open();
        let status = finished(&mut acting, "the agent", PATIENCE)?;
        same("the agent's exit status", status.code(), Some(0))?;
        live.finish()
    })();
    if result.is_err() {
        drop(acting.kill());
        drop(acting.wait());
    }
    // It is gone already, and is not to be removed again.
    std::mem::forget(cgroup);
    let run = result?;
    run.exited(0)?;
    let ends = run.ledger.of_type("run.end");
    ensure!(ends.len() == 1, "wanted one run.end, saw {ends:?}");
    same("why", at(ends[0], "/end/why"), &json!("its cgroup is empty"))?;
    let call = run.ledger.exec("last")?;
    same("how it ended", &run.ledger.outcome(call)?["exit"], &json!(0))
}

/// How long a process's first thread, the one that waits for its run's end, has been on a CPU, in
/// milliseconds (proc(5): utime and stime, in ticks of 10 ms).
fn busy(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{pid}/stat"))?;
    let (_, after) = stat.rsplit_once(") ").context("no comm in stat")?;
    let fields = after.split(' ').skip(11).take(2).map(str::parse::<u64>);
    Ok(fields.collect::<Result<Vec<_>, _>>()?.iter().sum::<u64>() * 10)
}

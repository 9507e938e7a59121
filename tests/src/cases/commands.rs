//! The commands that look: what they say, as text and as JSON, and how they end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use crate::harness::{Ctx, Gate, Recorded, Run, Tcp, at, closed_port, command, leftovers, same};

pub(super) const CASES: &[(&str, Case)] = &[
    ("doctor-says-of-each-thing-how-it-is-and-why", doctor),
    ("doctor-says-what-each-program-costs", costs),
    ("each-program-stays-far-from-the-verifiers-limit", programs),
    ("selfcheck-passes-and-leaves-nothing", selfcheck),
    ("key-show-has-what-verify-needs", key),
    ("verify-says-as-json-what-it-says-as-text", verify_json),
    ("verify-reads-standard-input", verify_stdin),
    ("broken-pipe-is-no-error", broken_pipe),
];

/// Runs observer with these arguments.
fn observer<A: AsRef<std::ffi::OsStr>>(ctx: &Ctx, args: &[A]) -> Result<Output> {
    command(&ctx.observer).args(args).output().context("observer")
}

/// What it wrote, after it ended with this status and said nothing of trouble.
fn text(output: Output, code: i32) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8(output.stdout).context("the output is not UTF-8")?;
    let seen = output.status.code();
    ensure!(seen == Some(code), "exit status: wanted {code}, saw {seen:?}: {said}{text}");
    ensure!(said.is_empty(), "on standard error: {said}");
    Ok(text)
}

fn parsed(output: Output, code: i32) -> Result<Value> {
    let text = text(output, code)?;
    serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
}

fn doctor(ctx: &Ctx) -> Result<()> {
    let plain = text(observer(ctx, &["doctor"])?, 0)?;
    ensure!(plain.ends_with("observer can run here.\n"), "it said: {plain}");
    let found = parsed(observer(ctx, &["doctor", "--json"])?, 0)?;
    same("can_run", &found["can_run"], &json!(true))?;
    let findings = found["findings"].as_array().context("no findings")?;
    for finding in findings {
        let word = |key: &str| finding[key].as_str().filter(|word| !word.is_empty());
        let (what, state, why) = (word("what"), word("state"), word("why"));
        let state = state.with_context(|| format!("no state: {finding}"))?;
        ensure!(what.is_some() && why.is_some(), "without a name or a reason: {finding}");
        let states = ["ok", "fallback", "uncovered"];
        ensure!(states.contains(&state), "a state that is no word for what can run: {finding}");
        let shown = plain
            .lines()
            .any(|line| line.starts_with(state) && what.is_some_and(|what| line.contains(what)));
        ensure!(shown, "not in the text: {finding}");
    }
    for what in [
        "kernel",
        "root",
        "cgroup v2",
        "BTF",
        "exec denial",
        "exec failures",
        "stopped connections",
    ] {
        ensure!(findings.iter().any(|f| f["what"] == what), "nothing about {what}: {found}");
    }
    ensure!(found.get("programs").is_none(), "programs, and nobody asked: {found}");
    same("what is left behind", leftovers()?.len(), 0)
}

fn programs(ctx: &Ctx) -> Result<()> {
    // The verifier gives up at a million (BPF_COMPLEXITY_LIMIT_INSNS). A third of it leaves room
    // for kernels that see more ways through a program than those that were tried.
    const FAR: u64 = 333_333;
    let found = parsed(observer(ctx, &["doctor", "--programs", "--json"])?, 0)?;
    let programs = found["programs"].as_array().context("no programs")?;
    ensure!(programs.len() >= 10, "only {} programs: {found}", programs.len());
    let mut counted = 0;
    for program in programs {
        let verified = program["verified"].as_u64().context("no count")?;
        ensure!(verified < FAR, "the verifier looked at {verified} instructions: {program}");
        counted += u64::from(verified > 0);
    }
    ensure!(counted > 0, "the kernel counts nothing (it does since 5.16): {found}");
    // A hook that a kernel lacks is a gap; one that it has and a program of ours was refused for is
    // a fault, which the cases that ask for the hook would take for a gap.
    let text = found.to_string();
    ensure!(!text.contains("the verifier said"), "a program of ours is refused: {text}");
    Ok(())
}

fn costs(ctx: &Ctx) -> Result<()> {
    let (fifo, agent) = (ctx.fifo("fifo")?, ctx.agent()?);
    let mut live = Run::new(ctx).agent(["wait-file", &fifo]).start()?;
    let gate = Gate::of(&fifo)?;
    live.until_recorded("the wait", |r| at(r, "/exec/argv/2") == &json!(fifo))?;
    // Every process of the host runs into the hooks of processes' lives.
    let watched = AtomicBool::new(false);
    let (found, births) = thread::scope(|scope| {
        let births = scope.spawn(|| -> Result<u64> {
            let mut births = 0;
            while !watched.load(Ordering::Relaxed) {
                ensure!(command(Path::new(agent)).arg("true").status()?.success(), "no `true`");
                births += 1;
            }
            Ok(births)
        });
        let found = observer(ctx, &["doctor", "--costs", "1", "--json"]);
        watched.store(true, Ordering::Relaxed);
        (found, births.join())
    });
    let births = births.map_err(|_| anyhow::anyhow!("the other thread panicked"))??;
    let found = parsed(found?, 0)?;
    gate.open();
    live.finish()?.exited(0)?;
    same("watched for", &found["costs"]["seconds"], &json!(1))?;
    let programs = found["costs"]["programs"].as_array().context("no programs")?;
    for name in ["process_fork", "process_exec", "process_exit"] {
        let one = programs.iter().find(|program| program["name"] == name);
        let one = one.with_context(|| format!("nothing of {name}: {found}"))?;
        let count = |key: &str| one[key].as_u64().unwrap_or(0);
        ensure!(count("copies") > 0, "not loaded: {one}");
        ensure!(count("runs") > 0, "{births} processes, and it did not run: {one}");
        ensure!(count("ns") > 0, "it took no time: {one}");
    }
    Ok(())
}

fn selfcheck(ctx: &Ctx) -> Result<()> {
    let made = || -> Result<Vec<String>> {
        let mut names = crate::harness::names(&std::env::temp_dir())?;
        names.retain(|name| name.starts_with("observer-selfcheck"));
        Ok(names)
    };
    let before = made()?;
    text(observer(ctx, &["selfcheck"])?, 0)?;
    let found = parsed(observer(ctx, &["selfcheck", "--json"])?, 0)?;
    same("what it found", found, json!({ "passed": true, "failed": [] }))?;
    same("its directories", made()?, before)?;
    same("what is left behind", leftovers()?.len(), 0)
}

fn key(ctx: &Ctx) -> Result<()> {
    let run = Run::new(ctx).agent(["true"]).go()?;
    let state = run.key.parent().context("no directory")?.to_str().context("not UTF-8")?;
    let shown = text(observer(ctx, &["key", "show", "--state-dir", state])?, 0)?;
    let found = parsed(observer(ctx, &["key", "show", "--json", "--state-dir", state])?, 0)?;
    let public = found["public_key"].as_str().context("no public key")?;
    ensure!(std::fs::read_to_string(&run.key)?.trim() == public, "another key: {found}");
    let print = found["fingerprint"].as_str().context("no fingerprint")?;
    ensure!(shown.lines().any(|line| line == public), "the text has no key: {shown}");
    ensure!(shown.lines().any(|line| line == print), "the text has no fingerprint: {shown}");
    ensure!(run.stderr.contains(print), "the first run said another: {}", run.stderr);
    // What is shown is enough elsewhere.
    let copy = ctx.dir.join("copied.pub");
    std::fs::write(&copy, format!("{public}\n"))?;
    let (code, said) = crate::harness::verify(&ctx.observer, &run.log, &copy, &["--json"])?;
    ensure!(code == Some(0) && said.contains("\"pinned\":true"), "{code:?}: {said}");

    let missing = ctx.path("missing")?;
    let output = observer(ctx, &["key", "show", "--state-dir", &missing])?;
    let said = String::from_utf8_lossy(&output.stderr);
    same("without a key", output.status.code(), Some(2))?;
    ensure!(said.contains(&missing) && said.contains("observer run"), "it said: {said}");
    Ok(())
}

/// A run with a call of each sort: allowed, denied, failed.
pub(super) fn each_sort(ctx: &Ctx, label: &'static str) -> Result<Recorded> {
    let (server, agent, closed) = (Tcp::new()?, ctx.agent()?, closed_port()?.to_string());
    let (denied, missing) = (server.addr.to_string(), ctx.path("missing")?);
    let port = server.addr.port();
    let policy =
        format!("[[deny]]\nid = \"no-way\"\nnet = {{ to = [\"127.0.0.1\"], port = [{port}] }}\n");
    let first = ["all", agent, "true", label, ",", agent, "connect", &denied, ","];
    let then = [agent, "connect", &closed, ",", agent, "spawn", &missing, "two words"];
    Run::new(ctx).label(label).policy(&policy).agent([first.as_slice(), &then].concat()).go()
}

pub(super) fn shown(ctx: &Ctx, log: &Path, options: &[&str]) -> Result<String> {
    let log = log.to_str().context("not UTF-8")?;
    text(observer(ctx, &[&["tail", log], options].concat())?, 0)
}

fn verify_json(ctx: &Ctx) -> Result<()> {
    let run = each_sort(ctx, "sorts")?;
    let verify = |log: &Path| -> Result<Output> {
        let mut command = command(&ctx.observer);
        command.arg("verify").arg(log).arg("--key").arg(&run.key).arg("--json");
        command.output().context("observer")
    };
    let report = parsed(verify(&run.log)?, 0)?;
    same("holds", &report["holds"], &json!(true))?;
    same("records", &report["records"], &json!(run.ledger.records.len()))?;
    same("pinned", &report["pinned"], &json!(true))?;
    same("anchored", &report["anchored"], &json!(false))?;
    same("broken", &report["broken"], &Value::Null)?;
    same("run", at(&report, "/runs/0/run"), &json!(run.ledger.runs()[0]))?;
    same("state", at(&report, "/runs/0/state"), &json!("CLOSED"))?;

    let mut lines: Vec<String> =
        std::fs::read_to_string(&run.log)?.lines().map(str::to_owned).collect();
    lines.remove(2);
    let cut = ctx.dir.join("cut.jsonl");
    std::fs::write(&cut, lines.join("\n") + "\n")?;
    let report = parsed(verify(&cut)?, 1)?;
    same("holds", &report["holds"], &json!(false))?;
    same("line", at(&report, "/broken/line"), &json!(3))?;
    ensure!(at(&report, "/broken/why").as_str().is_some_and(|why| !why.is_empty()), "{report}");
    Ok(())
}

fn verify_stdin(ctx: &Ctx) -> Result<()> {
    let run = Run::new(ctx).agent(["true"]).go()?;
    let verify = |bytes: &[u8]| -> Result<Output> {
        let mut command = command(&ctx.observer);
        command.args(["verify", "-", "--key"]).arg(&run.key);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut input = child.stdin.take().context("no standard input")?;
        // It may have seen enough before all is written.
        let _ = input.write_all(bytes);
        drop(input);
        child.wait_with_output().context("observer")
    };
    let mut bytes = std::fs::read(&run.log)?;
    let said = text(verify(&bytes)?, 0)?;
    ensure!(said.contains("HOLDS  -"), "it said: {said}");
    let said = text(verify(b"")?, 1)?;
    ensure!(said.contains("BROKEN -"), "it said: {said}");
    bytes.truncate(bytes.len() - 1);
    let said = text(verify(&bytes)?, 1)?;
    ensure!(said.contains("it was cut"), "it said: {said}");
    Ok(())
}

fn broken_pipe(ctx: &Ctx) -> Result<()> {
    let run = Run::new(ctx).agent(["exec-many", "300"]).go()?;
    let tail = |options: &[&str]| {
        let mut command = command(&ctx.observer);
        command.arg("tail").arg(&run.log).args(options);
        command
    };
    let mut commands: Vec<Command> = vec![tail(&[]), tail(&["--json"])];
    for args in [&["doctor", "--programs"][..], &["doctor", "--json"], &["selfcheck"]] {
        let mut command = command(&ctx.observer);
        command.args(args);
        commands.push(command);
    }
    let mut verify = command(&ctx.observer);
    verify.arg("verify").arg(&run.log).arg("--key").arg(&run.key);
    commands.push(verify);
    for (i, command) in commands.iter_mut().enumerate() {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut out = BufReader::with_capacity(16, child.stdout.take().context("no output")?);
        if i < 2 {
            let mut line = String::new();
            out.read_line(&mut line)?;
            ensure!(!line.is_empty(), "{command:?} said nothing");
        }
        drop(out);
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(0), "{command:?}: {:?}: {said}", output.status);
        ensure!(said.is_empty(), "{command:?} said: {said}");
    }
    Ok(())
}

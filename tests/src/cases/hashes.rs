//! Programs by the hash of their file: whatever it is called, and only as long as it holds the same.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Result, ensure};
use ring::digest;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::Case;
use crate::harness::{
    Ctx, Gate, PATIENCE, Recorded, Run, at, leftovers, never_ran, same, skip, until,
};

pub(super) const CASES: &[(&str, Case)] = &[
    ("deny-by-hash-holds-for-a-copy-under-another-name", |ctx| {
        renamed(ctx, |tool, name| Ok(fs::copy(tool, name).map(drop)?))
    }),
    ("deny-by-hash-holds-for-a-hard-link", |ctx| {
        renamed(ctx, |tool, name| Ok(fs::hard_link(tool, name)?))
    }),
    ("deny-by-hash-holds-for-a-symbolic-link", |ctx| {
        renamed(ctx, |tool, name| Ok(symlink(tool, name)?))
    }),
    ("deny-by-hash-holds-for-proc-self-fd", by_descriptor),
    ("copy-with-a-byte-more-passes-rule-by-hash", byte_more),
    ("allow-by-hash-lets-only-that-file-run", allowed),
    ("would-deny-by-hash-lets-it-run-and-says-so", would),
    ("file-that-was-written-to-is-not-allowed-by-its-hash", written),
    ("script-is-denied-by-its-hash", script),
    ("loader-given-a-program-is-denied-where-hashes-are", loader),
    ("program-in-memfd-is-denied-where-hashes-are", memfd),
    ("program-on-a-filesystem-mounted-later-is-denied-where-hashes-are", mounted),
    ("reload-brings-rules-on-hashes", reload),
    ("rules-on-hashes-hold-after-observer-is-killed", killed),
];

fn sha256(path: &str) -> Result<String> {
    let hash = digest::digest(&digest::SHA256, &fs::read(path)?);
    Ok(hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A program that does what the sample does, and holds something else.
fn tool(ctx: &Ctx, name: &str) -> Result<String> {
    let path = ctx.copy_of_agent(name)?;
    let more = [fs::read(&path)?, name.into()].concat();
    fs::write(&path, more)?;
    Ok(path)
}

fn deny(path: &str, more: &str) -> Result<String> {
    Ok(format!("[[deny]]\nid = \"no-tool\"\n{more}exec = {{ sha256 = \"{}\" }}\n", sha256(path)?))
}

/// The execs that were denied, or would be: the file as it was named, and the rule.
fn ruled<'a>(run: &'a Recorded, verdict: &str) -> Vec<(&'a str, &'a str)> {
    let mut calls = run.ledger.calls("exec");
    calls.retain(|call| call["verdict"] == verdict);
    let text = |value: &'a Value| value.as_str().unwrap_or_default();
    calls.iter().map(|call| (text(at(call, "/exec/argv/0")), text(&call["rule"]))).collect()
}

/// The same file, or the same bytes, under the name `git`.
fn renamed(ctx: &Ctx, name: impl Fn(&str, &str) -> Result<()>) -> Result<()> {
    let (tool, effect, other) = (tool(ctx, "tool")?, ctx.path("effect")?, ctx.path("git")?);
    name(&tool, &other)?;
    let run = Run::new(ctx).policy(&deny(&tool, "")?);
    let run = run.agent(["spawn", &other, "touch", &effect]).go()?;
    never_ran(&effect)?;
    run.verify()?;
    same("what was denied", ruled(&run, "denied"), vec![(other.as_str(), "no-tool")])
}

fn by_descriptor(ctx: &Ctx) -> Result<()> {
    let (tool, effect, agent) = (tool(ctx, "tool")?, ctx.path("effect")?, ctx.agent()?);
    let args = ["spawn", agent, "exec-proc-fd", &tool, "touch", &effect];
    let run = Run::new(ctx).policy(&deny(&tool, "")?).agent(args).go()?;
    never_ran(&effect)?;
    same("what was denied", ruled(&run, "denied"), vec![(tool.as_str(), "no-tool")])
}

/// It is another file by what it holds, and told as such.
fn byte_more(ctx: &Ctx) -> Result<()> {
    let (tool, effect, other) = (tool(ctx, "tool")?, ctx.path("effect")?, ctx.path("git")?);
    fs::copy(&tool, &other)?;
    fs::write(&other, [fs::read(&tool)?, vec![0]].concat())?;
    let run = Run::new(ctx).policy(&deny(&tool, "")?);
    let run = run.agent(["spawn", &other, "touch", &effect]).go()?;
    run.exited(0)?;
    ensure!(Path::new(&effect).exists(), "it did not run: {}", run.stderr);
    same("what was denied", ruled(&run, "denied"), vec![])?;
    let call = run.ledger.exec(&effect)?;
    same("verdict", &call["verdict"], &json!("allowed"))
}

/// A policy under which the sample and these files alone may run.
fn only(ctx: &Ctx, path: &str) -> Result<String> {
    Ok(format!(
        "default = \"deny\"\n[[allow]]\nid = \"two\"\nexec = {{ sha256 = [\"{}\", \"{}\"] }}\n",
        sha256(ctx.agent()?)?,
        sha256(path)?.to_uppercase(),
    ))
}

fn allowed(ctx: &Ctx) -> Result<()> {
    let (tool, other, agent) = (tool(ctx, "tool")?, tool(ctx, "other")?, ctx.agent()?);
    let (effect, none) = (ctx.path("effect")?, ctx.path("none")?);
    let args = ["all", agent, "spawn", &tool, "touch", &effect, ",", &other, "touch", &none];
    let run = Run::new(ctx).policy(&only(ctx, &tool)?).agent(args).go()?;
    ensure!(Path::new(&effect).exists(), "what is allowed did not run: {}", run.stderr);
    never_ran(&none)?;
    same("what was denied", ruled(&run, "denied"), vec![(other.as_str(), "default")])?;
    let call = run.ledger.exec(&effect)?;
    same("the rule that allowed", &call["rule"], &json!("two"))
}

fn would(ctx: &Ctx) -> Result<()> {
    let (tool, effect, agent) = (tool(ctx, "tool")?, ctx.path("effect")?, ctx.agent()?);
    let policy = deny(&tool, "enforce = false\n")?;
    let args = ["all", &tool, "touch", &effect, ",", agent, "memfd", agent, "true"];
    let run = Run::new(ctx).policy(&policy).agent(args).go()?;
    run.exited(0)?;
    ensure!(Path::new(&effect).exists(), "it did not run: {}", run.stderr);
    let wanted = vec![(tool.as_str(), "no-tool"), (agent, "unhashed-program")];
    same("what would be denied", ruled(&run, "would_deny"), wanted)?;
    same("what was denied", ruled(&run, "denied"), vec![])
}

/// The sample itself writes to it, while observer holds its hash.
fn written(ctx: &Ctx) -> Result<()> {
    let (tool, agent) = (tool(ctx, "tool")?, ctx.agent()?);
    let (effect, none) = (ctx.path("effect")?, ctx.path("none")?);
    let policy = only(ctx, &tool)?;
    let args = [
        &["all", &tool, "touch", &effect, ",", agent, "append", &tool, ","][..],
        &[&tool, "touch", &none],
    ];
    let run = Run::new(ctx).policy(&policy).agent(args.concat()).go()?;
    ensure!(Path::new(&effect).exists(), "it did not run as it was: {}", run.stderr);
    never_ran(&none)?;
    same("what was denied", ruled(&run, "denied"), vec![(tool.as_str(), "default")])
}

/// Without an LSM hook nobody sees the script's file, so it has no hash.
fn script(ctx: &Ctx) -> Result<()> {
    let (effect, script) = (ctx.path("effect")?, ctx.path("script")?);
    fs::write(&script, format!("#!{} touch\n", ctx.agent()?))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let before = fs::read(&script)?;
    let run = Run::new(ctx).policy(&deny(&script, "")?).agent(["spawn", &script, &effect]).go()?;
    never_ran(&effect)?;
    same("the script, which its interpreter would touch", fs::read(&script)?, before)?;
    let rules: Vec<_> = ruled(&run, "denied").into_iter().map(|(_, rule)| rule).collect();
    let covered = run.ledger.of_type("coverage");
    let bare = covered.iter().any(|found| at(found, "/coverage/what") == "scripts by hash");
    let wanted = if bare { "unhashed-program" } else { "no-tool" };
    same("the rules that denied", rules, vec![wanted])
}

/// No exec tells of the program that a loader is given.
fn loader(ctx: &Ctx) -> Result<()> {
    let (tool, effect) = (tool(ctx, "tool")?, ctx.path("effect")?);
    let loader = ctx.copy_of_agent("ld-linux-x86-64.so.2")?;
    let args = ["spawn", &loader, "spawn", &tool, "touch", &effect];
    let run = Run::new(ctx).policy(&deny(&tool, "")?).agent(args).go()?;
    never_ran(&effect)?;
    same("denied", ruled(&run, "denied"), vec![(loader.as_str(), "unhashed-program")])
}

/// No path leads to its filesystem, so no exec there can be held.
fn memfd(ctx: &Ctx) -> Result<()> {
    let (tool, effect, agent) = (tool(ctx, "tool")?, ctx.path("effect")?, ctx.agent()?);
    let args = ["spawn", agent, "memfd", &tool, "touch", &effect];
    let run = Run::new(ctx).policy(&deny(&tool, "")?).agent(args).go()?;
    never_ran(&effect)?;
    same("denied", ruled(&run, "denied"), vec![(tool.as_str(), "unhashed-program")])
}

fn mounted(ctx: &Ctx) -> Result<()> {
    let (tool, effect, agent) = (tool(ctx, "tool")?, ctx.path("effect")?, ctx.agent()?);
    let place = ctx.path("later")?;
    fs::create_dir(&place)?;
    let args = ["spawn", agent, "exec-mounted", &place, &tool, "touch", &effect];
    let run = Run::new(ctx).policy(&deny(&tool, "")?).agent(args).go()?;
    never_ran(&effect)?;
    same("denied", ruled(&run, "denied"), vec![(tool.as_str(), "unhashed-program")])
}

/// Files that ran before there was a rule are hashed from then on.
fn reload(ctx: &Ctx) -> Result<()> {
    let (tool, agent, file) = (tool(ctx, "tool")?, ctx.agent()?, ctx.path("policy.toml")?);
    let (effect, none, gate) = (ctx.path("effect")?, ctx.path("none")?, ctx.fifo("gate")?);
    let write =
        |rules: &str| fs::write(&file, format!("version = 1\ndefault = \"allow\"\n{rules}"));
    write("[[deny]]\nid = \"one\"\nexec = { program = \"sudo\" }\n")?;
    let args = [
        &["all", &tool, "touch", &effect, ",", agent, "wait-file", &gate][..],
        &[agent, "spawn", &tool, "touch", &none],
    ];
    let mut live = Run::new(ctx).options(["--policy", &file]).agent(args.concat()).start()?;
    let gate = Gate::of(&gate)?;
    write(&deny(&tool, "")?)?;
    live.signal(Signal::HUP)?;
    live.until_recorded("the second policy", |record| {
        record["type"] == "policy" && at(record, "/reload/generation") == &json!(2)
    })?;
    gate.open();
    let run = live.finish()?;
    ensure!(Path::new(&effect).exists(), "it did not run before: {}", run.stderr);
    never_ran(&none)?;
    same("what was denied", ruled(&run, "denied"), vec![(tool.as_str(), "no-tool")])
}

/// What was hashed keeps its hash, and nothing else has one.
fn killed(ctx: &Ctx) -> Result<()> {
    if !leftovers()?.is_empty() {
        return skip("observer left something behind before this case");
    }
    let (tool, other, agent) = (tool(ctx, "tool")?, tool(ctx, "other")?, ctx.agent()?);
    let (effect, report, gate) = (ctx.path("effect")?, ctx.path("report")?, ctx.fifo("gate")?);
    let args = ["wait-file", &gate, agent, "report", &report, &other, "touch", &effect];
    let mut live = Run::new(ctx).policy(&deny(&tool, "")?).agent(args).start()?;
    let gate = Gate::of(&gate)?;
    live.until_recorded("the agent's start", |record| record["type"] == "call")?;
    live.kill()?;
    gate.open();
    let status = until("the agent's report", PATIENCE, || Ok(fs::read_to_string(&report).ok()))?;
    let stopped = [libc::EPERM, 128 + libc::SIGKILL].map(|status| status.to_string());
    ensure!(stopped.contains(&status), "what has no hash ended with {status}");
    never_ran(&effect)?;
    super::lifecycle::cleared(ctx)
}

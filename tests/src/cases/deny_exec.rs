//! Programs: what a policy denies never runs, whichever way it is named.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use anyhow::{Result, ensure};
use serde_json::json;

use super::Case;
use crate::harness::{Ctx, Recorded, Run, at, never_ran, same};

pub(super) const CASES: &[(&str, Case)] = &[
    ("deny-program-by-path", |ctx| program(ctx, By::Path, |ctx| ctx.path("tool"))),
    ("deny-program-by-name", |ctx| program(ctx, By::Name, |ctx| ctx.path("tool"))),
    ("deny-program-by-path-through-symlink", |ctx| program(ctx, By::Path, linked)),
    ("deny-program-by-name-through-symlink", |ctx| program(ctx, By::Name, linked)),
    ("deny-program-by-name-of-symlink", symlink_named_so),
    ("deny-program-through-relative-path", relative),
    ("program-in-memfd-passes-rule-by-name-and-is-recorded-as-one", memfd),
    ("deny-holds-and-is-recorded-for-32-bit-calls", by_int80),
    ("deny-interpreter-stops-script", interpreter),
    ("copy-under-another-name-passes-rule-by-name", copy),
    ("deny-by-args-stops-command-before-it-acts", args),
    ("deny-by-args-lets-other-args-through", other_args),
];

/// How the rule names the program `tool`.
#[derive(Clone, Copy)]
enum By {
    Path,
    Name,
}

fn rule(ctx: &Ctx, by: By) -> Result<String> {
    let tool = match by {
        By::Path => ctx.copy_of_agent("tool")?,
        By::Name => {
            ctx.copy_of_agent("tool")?;
            "tool".to_owned()
        }
    };
    Ok(format!("[[deny]]\nid = \"no-tool\"\nexec = {{ program = \"{tool}\" }}\n"))
}

fn program(ctx: &Ctx, by: By, path: impl FnOnce(&Ctx) -> Result<String>) -> Result<()> {
    let (policy, effect) = (rule(ctx, by)?, ctx.path("effect")?);
    let path = path(ctx)?;
    let run = Run::new(ctx).policy(&policy).agent(["spawn", &path, "touch", &effect]).go()?;
    stopped(&run, &effect, "no-tool")
}

/// A link to `tool` under another name.
fn linked(ctx: &Ctx) -> Result<String> {
    let link = ctx.path("link")?;
    symlink(ctx.path("tool")?, &link)?;
    Ok(link)
}

fn symlink_named_so(ctx: &Ctx) -> Result<()> {
    let policy = "[[deny]]\nid = \"no-tool\"\nexec = { program = \"tool\" }\n";
    let (link, effect) = (ctx.path("tool")?, ctx.path("effect")?);
    symlink(ctx.copy_of_agent("other")?, &link)?;
    let run = Run::new(ctx).policy(policy).agent(["spawn", &link, "touch", &effect]).go()?;
    stopped(&run, &effect, "no-tool")
}

fn relative(ctx: &Ctx) -> Result<()> {
    let (policy, effect) = (rule(ctx, By::Path)?, ctx.path("effect")?);
    let dir = ctx.path(".")?;
    let args = ["chdir", &dir, ctx.agent()?, "spawn", "./tool", "touch", &effect];
    let run = Run::new(ctx).policy(&policy).agent(args).go()?;
    stopped(&run, &effect, "no-tool")
}

/// A program that went into anonymous memory has neither its path nor its name any more: a rule
/// by name does not hold it, and the record says what it is.
fn memfd(ctx: &Ctx) -> Result<()> {
    let (policy, effect) = (rule(ctx, By::Name)?, ctx.path("effect")?);
    let agent = ctx.agent()?;
    let args = ["spawn", agent, "memfd", &ctx.path("tool")?, "touch", &effect];
    let run = Run::new(ctx).policy(&policy).agent(args).go()?;
    run.exited(0)?;
    let call = run.ledger.exec(&effect)?;
    same("verdict", &call["verdict"], &json!("allowed"))?;
    same("image", at(call, "/exec/image"), &json!("memfd"))
}

fn by_int80(ctx: &Ctx) -> Result<()> {
    let (policy, effect) = (rule(ctx, By::Path)?, ctx.path("effect")?);
    let args = ["int80-exec", &ctx.path("tool")?, "touch", &effect];
    let run = Run::new(ctx).policy(&policy).agent(args).go()?;
    super::net::supported(&run)?;
    never_ran(&effect)?;
    let mut calls = run.ledger.calls("exec");
    calls.retain(|c| c["verdict"] == "denied");
    ensure!(calls.len() == 1, "wanted one denied exec, saw {calls:?}");
    same("rule", &calls[0]["rule"], &json!("no-tool"))
}

fn interpreter(ctx: &Ctx) -> Result<()> {
    let (policy, effect) = (rule(ctx, By::Path)?, ctx.path("effect")?);
    let script = ctx.path("script")?;
    let text = format!("#!{} touch\n", ctx.path("tool")?);
    std::fs::write(&script, &text)?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let run = Run::new(ctx).policy(&policy).agent(["spawn", &script]).go()?;
    // What the interpreter would touch is the script.
    same("the script", std::fs::read_to_string(&script)?, text)?;
    stopped(&run, &effect, "no-tool")
}

fn copy(ctx: &Ctx) -> Result<()> {
    let (policy, effect) = (rule(ctx, By::Name)?, ctx.path("effect")?);
    let copy = ctx.copy_of_agent("another")?;
    let run = Run::new(ctx).policy(&policy).agent(["spawn", &copy, "touch", &effect]).go()?;
    run.exited(0)?;
    ensure!(std::path::Path::new(&effect).exists(), "the copy did not run: {}", run.stderr);
    same("verdict", &run.ledger.exec(&effect)?["verdict"], &json!("allowed"))
}

fn args_rule(ctx: &Ctx) -> Result<String> {
    ctx.copy_of_agent("tool")?;
    Ok("[[deny]]\nid = \"no-force\"\nexec = { program = \"tool\", args = [\"touch\", \"--force\"] }\n"
        .to_owned())
}

fn args(ctx: &Ctx) -> Result<()> {
    let (policy, tool) = (args_rule(ctx)?, ctx.path("tool")?);
    let effect = ctx.path("effect")?;
    let args = ["spawn", &tool, "touch", &effect, "--force"];
    let run = Run::new(ctx).policy(&policy).agent(args).go()?;
    stopped(&run, &effect, "no-force")
}

fn other_args(ctx: &Ctx) -> Result<()> {
    let (policy, tool) = (args_rule(ctx)?, ctx.path("tool")?);
    let effect = ctx.path("effect")?;
    let args = ["spawn", &tool, "touch", &effect, "--force-with-lease"];
    let run = Run::new(ctx).policy(&policy).agent(args).go()?;
    run.exited(0)?;
    ensure!(std::path::Path::new(&effect).exists(), "it did not run: {}", run.stderr);
    same("verdict", &run.ledger.exec("--force-with-lease")?["verdict"], &json!("allowed"))
}

/// That the one denied exec bears the rule, that nothing of it ran, and that whoever tried saw
/// EPERM or SIGKILL.
fn stopped(run: &Recorded, effect: &str, rule: &str) -> Result<()> {
    never_ran(effect)?;
    let killed = 128 + libc::SIGKILL;
    let seen = run.code;
    ensure!([Some(libc::EPERM), Some(killed)].contains(&seen), "exit status {seen:?}");
    let mut calls = run.ledger.calls("exec");
    calls.retain(|c| c["verdict"] == "denied");
    let [call] = calls.as_slice() else {
        anyhow::bail!("wanted one denied exec, saw {}: {calls:?}", calls.len());
    };
    same("rule", &call["rule"], &json!(rule))?;
    let outcome = run.ledger.outcome(call)?;
    same("status", &outcome["status"], &json!("failed"))?;
    let (errno, signal) = (&outcome["errno"], &outcome["signal"]);
    ensure!(*errno == libc::EPERM || *signal == libc::SIGKILL, "the outcome: {outcome}");
    let argv = at(call, "/exec/argv").as_array().map_or(0, Vec::len);
    ensure!(argv > 0, "a denied exec without the arguments tried: {call}");
    Ok(())
}

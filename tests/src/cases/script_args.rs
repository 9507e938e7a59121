//! Scripts under rules on arguments: by whatever path they are called, and whatever runs them.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::Result;

use super::Case;
use super::allow_exec::stopped;
use crate::harness::{Ctx, Recorded, Run};

pub(super) const CASES: &[(&str, Case)] = &[
    ("script-allowed-with-arguments-runs-with-them", |ctx| allowed(ctx, "--yes")?.exited(0)),
    ("script-allowed-with-arguments-runs-with-no-others", |ctx| {
        stopped(&allowed(ctx, "--no")?, "default")
    }),
    ("script-denied-by-arguments-is-denied-by-any-path", denied),
    ("interpreter-allowed-with-arguments-allows-no-script", interpreter),
];

/// A script that the sample, or a copy of it, runs; its directory and its path.
fn script(ctx: &Ctx, interpreter: &str) -> Result<(String, String)> {
    let path = ctx.path("script")?;
    std::fs::write(&path, format!("#!{interpreter} touch\n"))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok((ctx.path(".")?, path))
}

/// The sample may run as it likes, the script with one argument alone.
fn allowed(ctx: &Ctx, argument: &str) -> Result<Recorded> {
    let agent = ctx.agent()?;
    let (_, script) = script(ctx, agent)?;
    let policy = format!(
        "default = \"deny\"\n[[allow]]\nid = \"sample\"\nexec = {{ program = {agent:?} }}\n\
         [[allow]]\nid = \"script\"\nexec = {{ program = {script:?}, args = [\"--yes\"] }}\n"
    );
    Run::new(ctx).policy(&policy).agent(["spawn", &script, argument]).go()
}

/// By a path that is not the rule's.
fn denied(ctx: &Ctx) -> Result<()> {
    let agent = ctx.agent()?;
    let (directory, script) = script(ctx, agent)?;
    let policy = format!(
        "[[deny]]\nid = \"no-force\"\nexec = {{ program = {script:?}, args = [\"--force\"] }}\n"
    );
    let args = ["chdir", &directory, agent, "spawn", "./script", "--force"];
    stopped(&Run::new(ctx).policy(&policy).agent(args).go()?, "no-force")
}

/// The interpreter's own rule is for the interpreter.
fn interpreter(ctx: &Ctx) -> Result<()> {
    let (agent, tool) = (ctx.agent()?, ctx.copy_of_agent("tool")?);
    let (_, script) = script(ctx, &tool)?;
    let policy = format!(
        "default = \"deny\"\n[[allow]]\nid = \"sample\"\nexec = {{ program = {agent:?} }}\n\
         [[allow]]\nid = \"tool\"\nexec = {{ program = {tool:?}, args = [\"--yes\"] }}\n"
    );
    let run = Run::new(ctx).policy(&policy).agent(["spawn", &script, "--yes"]).go()?;
    stopped(&run, "default")
}

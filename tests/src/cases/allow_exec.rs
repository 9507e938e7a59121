//! Programs under `default = "deny"`: what only looks like one that is allowed is denied.

use anyhow::{Result, ensure};
use serde_json::json;

use super::Case;
use crate::harness::{Ctx, Recorded, Run, never_ran, same};

pub(super) const CASES: &[(&str, Case)] = &[
    ("file-mounted-over-an-allowed-path-is-denied", mounted_over),
    ("allowed-program-runs-in-the-hosts-mount-namespace", |ctx| {
        let run = allowed(ctx, |allowed, effect| strings(&["spawn", allowed, "touch", effect]))?;
        run.exited(0)
    }),
    ("script-at-an-allowed-path-runs", script),
    ("script-at-an-allowed-path-below-another-root-is-denied", chrooted),
    ("loader-given-a-denied-program-is-denied", loader_denied),
    ("loader-given-a-denied-program-behind-many-options-is-denied", loader_behind),
    ("loader-given-more-than-is-looked-at-is-denied", loader_unread),
    ("script-whose-interpreter-is-a-loader-given-a-denied-program-is-denied", loader_script),
    ("loader-given-another-program-runs-it", loader_runs),
    ("allowed-loader-runs-no-program-that-is-not-allowed", loader_allowed),
];

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A run that may execute the sample and a copy of it by their paths alone.
fn allowed(ctx: &Ctx, args: impl FnOnce(&str, &str) -> Vec<String>) -> Result<Recorded> {
    let (copy, effect) = (ctx.copy_of_agent("allowed")?, ctx.path("effect")?);
    let policy = format!(
        "default = \"deny\"\n[[allow]]\nid = \"two\"\nexec = {{ program = [{:?}, {copy:?}] }}\n",
        ctx.agent()?
    );
    Run::new(ctx).policy(&policy).agent(args(&copy, &effect)).go()
}

/// That one exec was denied by this rule, and nothing of it ran.
fn denied(ctx: &Ctx, run: &Recorded, rule: &str) -> Result<()> {
    never_ran(&ctx.path("effect")?)?;
    stopped(run, rule)
}

/// That one exec was stopped by this rule, whether with EPERM or by a kill.
pub(super) fn stopped(run: &Recorded, rule: &str) -> Result<()> {
    let killed = Some(128 + libc::SIGKILL);
    ensure!([Some(libc::EPERM), killed].contains(&run.code), "{:?}: {}", run.code, run.stderr);
    let mut calls = run.ledger.calls("exec");
    calls.retain(|call| call["verdict"] == "denied");
    ensure!(calls.len() == 1, "wanted one denied exec, saw {calls:?}");
    same("rule", &calls[0]["rule"], &json!(rule))
}

fn mounted_over(ctx: &Ctx) -> Result<()> {
    let tool = ctx.copy_of_agent("tool")?;
    let run = allowed(ctx, |allowed, effect| {
        strings(&["mount-over", &tool, allowed, allowed, "touch", effect])
    })?;
    denied(ctx, &run, "default")
}

/// By its path alone, from the root of the host's file system.
fn script(ctx: &Ctx) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let (agent, effect, script) = (ctx.agent()?, ctx.path("effect")?, ctx.path("script")?);
    std::fs::write(&script, format!("#!{agent} touch\n"))?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let policy = format!(
        "default = \"deny\"\n[[allow]]\nid = \"two\"\nexec = {{ program = [{agent:?}, {script:?}] }}\n"
    );
    let args = ["chdir", "/", agent, "spawn", &script, &effect];
    let run = Run::new(ctx).policy(&policy).agent(args).go()?;
    run.exited(0)?;
    let of_script = |call: &&serde_json::Value| call["exec"]["filename"] == script.as_str();
    let calls = run.ledger.calls("exec");
    let Some(call) = calls.iter().find(|call| of_script(call)) else {
        anyhow::bail!("the script is not among {calls:?}");
    };
    same("its rule", &call["rule"], &json!("two"))?;
    same("the root as a directory", &call["exec"]["cwd"], &json!("/"))
}

/// Where no LSM hook resolves a script's path, it is judged as it was written.
fn chrooted(ctx: &Ctx) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let (agent, root) = (ctx.agent()?, ctx.path("root")?);
    std::fs::create_dir_all(format!("{root}/bin"))?;
    std::fs::copy(agent, format!("{root}/bin/agent"))?;
    let script = format!("{root}/bin/script");
    std::fs::write(&script, "#!/bin/agent touch\n")?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let policy = format!(
        "default = \"deny\"\n[[allow]]\nid = \"two\"\nexec = {{ program = [{agent:?}, \"/bin/script\"] }}\n"
    );
    let run = Run::new(ctx).policy(&policy).agent(["chroot", &root, "/bin/script", "/x"]).go()?;
    never_ran(&format!("{root}/x"))?;
    denied(ctx, &run, "default")
}

const NO_TOOL: &str = "[[deny]]\nid = \"no-tool\"\nexec = { program = \"tool\" }\n";

fn loader_denied(ctx: &Ctx) -> Result<()> {
    let (loader, tool) = (ctx.copy_of_agent("ld-linux-x86-64.so.2")?, ctx.copy_of_agent("tool")?);
    let effect = ctx.path("effect")?;
    let args = ["spawn", &loader, "--inhibit-cache", &tool, "touch", &effect];
    let run = Run::new(ctx).policy(NO_TOOL).agent(args).go()?;
    denied(ctx, &run, "no-tool")
}

fn loader_script(ctx: &Ctx) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let (loader, tool) = (ctx.copy_of_agent("ld-linux-x86-64.so.2")?, ctx.copy_of_agent("tool")?);
    let script = ctx.path("script")?;
    std::fs::write(&script, format!("#!{loader} {tool}\n"))?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let effect = ctx.path("effect")?;
    let run = Run::new(ctx).policy(NO_TOOL).agent(["spawn", &script, &effect]).go()?;
    denied(ctx, &run, "no-tool")
}

fn loader_with(ctx: &Ctx, options: usize) -> Result<Recorded> {
    let (loader, tool) = (ctx.copy_of_agent("ld-linux-x86-64.so.2")?, ctx.copy_of_agent("tool")?);
    let effect = ctx.path("effect")?;
    let mut args = vec!["spawn", &loader];
    args.extend(std::iter::repeat_n("--inhibit-cache", options));
    args.extend([tool.as_str(), "touch", &effect]);
    Run::new(ctx).policy(NO_TOOL).agent(args).go()
}

fn loader_behind(ctx: &Ctx) -> Result<()> {
    denied(ctx, &loader_with(ctx, 100)?, "no-tool")
}

fn loader_unread(ctx: &Ctx) -> Result<()> {
    denied(ctx, &loader_with(ctx, 3000)?, "default")
}

fn loader_runs(ctx: &Ctx) -> Result<()> {
    let (loader, effect) = (ctx.copy_of_agent("ld-linux-x86-64.so.2")?, ctx.path("effect")?);
    let run = Run::new(ctx).policy(NO_TOOL).agent(["spawn", &loader, "touch", &effect]).go()?;
    run.exited(0)?;
    ensure!(std::path::Path::new(&effect).exists(), "it did not run: {}", run.stderr);
    Ok(())
}

/// What stands first among a loader's arguments is the program, here the sample's own word.
fn loader_allowed(ctx: &Ctx) -> Result<()> {
    let (loader, effect) = (ctx.copy_of_agent("ld-linux-x86-64.so.2")?, ctx.path("effect")?);
    let policy = |more: &str| -> Result<String> {
        let agent = ctx.agent()?;
        Ok(format!(
            "default = \"deny\"\n[[allow]]\nid = \"these\"\n\
             exec = {{ program = [{agent:?}, {loader:?}{more}] }}\n"
        ))
    };
    let args = ["spawn", &loader, "touch", &effect];
    let run = Run::new(ctx).label("alone").policy(&policy("")?).agent(args).go()?;
    denied(ctx, &run, "default")?;
    let run = Run::new(ctx).label("both").policy(&policy(", \"touch\"")?).agent(args).go()?;
    run.exited(0)
}

//! Rules that are not enforced: the call goes on, and its record says what would have become of it.

use anyhow::{Result, ensure};
use serde_json::json;

use super::Case;
use crate::harness::{Ctx, Run, Tcp, same};

pub(super) const CASES: &[(&str, Case)] = &[
    ("would-deny-destination-lets-it-through-and-says-so", destination),
    ("would-deny-program-lets-it-run-and-says-so", |ctx| program(ctx, RULE, "tool", &[])),
    ("would-deny-by-args-lets-it-run-and-says-so", |ctx| program(ctx, ARGS, "tool", &["--x"])),
    ("would-deny-script-by-its-path-lets-it-run-and-says-so", script),
    ("a-rule-that-is-not-enforced-lifts-no-default", default_holds),
    ("a-policy-that-is-not-enforced-denies-nothing", advisory),
];

const RULE: &str = "[[deny]]\nid = \"no-tool\"\nenforce = false\nexec = { program = \"tool\" }\n";
const ARGS: &str = "[[deny]]\nid = \"no-tool\"\nenforce = false\n\
                    exec = { program = \"tool\", args = [\"--x\"] }\n";

fn destination(ctx: &Ctx) -> Result<()> {
    let server = Tcp::new()?;
    let policy = "[[deny]]\nid = \"no-way\"\nenforce = false\nnet = { to = [\"127.0.0.1\"] }\n";
    let run = Run::new(ctx).policy(policy).agent(["connect", &server.addr.to_string()]).go()?;
    run.exited(0)?;
    same("connections at the server", server.reached()?, 1)?;
    let call = run.ledger.one_to(server.addr)?;
    same("verdict", &call["verdict"], &json!("would_deny"))?;
    same("rule", &call["rule"], &json!("no-way"))?;
    same("status", &run.ledger.outcome(call)?["status"], &json!("ok"))
}

fn program(ctx: &Ctx, policy: &str, name: &str, more: &[&str]) -> Result<()> {
    let (tool, effect) = (ctx.copy_of_agent(name)?, ctx.path("effect")?);
    let args = [&["spawn", &tool, "touch", &effect], more].concat();
    let run = Run::new(ctx).policy(policy).agent(args).go()?;
    run.exited(0)?;
    ensure!(std::path::Path::new(&effect).exists(), "it did not run: {}", run.stderr);
    let calls = run.ledger.calls("exec");
    let told: Vec<_> = calls.iter().filter(|call| call["verdict"] == "would_deny").collect();
    ensure!(told.len() == 1, "wanted one exec that would be denied, saw {told:?}");
    same("rule", &told[0]["rule"], &json!("no-tool"))?;
    same("status", &run.ledger.outcome(told[0])?["status"], &json!("ok"))
}

/// Where an LSM hook resolves a script's path, what it would deny is told by the exec itself.
fn script(ctx: &Ctx) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let (effect, script) = (ctx.path("effect")?, ctx.path("script")?);
    std::fs::write(&script, format!("#!{} touch\n", ctx.agent()?))?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let policy = format!(
        "[[deny]]\nid = \"no-script\"\nenforce = false\nexec = {{ program = {script:?} }}\n"
    );
    let run = Run::new(ctx).policy(&policy).agent(["spawn", &script, &effect]).go()?;
    run.exited(0)?;
    let calls = run.ledger.calls("exec");
    let told: Vec<_> = calls.iter().filter(|call| call["verdict"] == "would_deny").collect();
    ensure!(told.len() == 1, "wanted one exec that would be denied, saw {calls:?}");
    same("rule", &told[0]["rule"], &json!("no-script"))
}

fn default_holds(ctx: &Ctx) -> Result<()> {
    let server = Tcp::new()?;
    let policy = format!(
        "default = \"deny\"\n[[allow]]\nid = \"agent\"\nexec = {{ program = {:?} }}\n\
         [[deny]]\nid = \"no-way\"\nenforce = false\nnet = {{ to = [\"127.0.0.1\"] }}\n",
        ctx.agent()?
    );
    let run = Run::new(ctx).policy(&policy).agent(["connect", &server.addr.to_string()]).go()?;
    run.exited(libc::EPERM)?;
    same("connections at the server", server.reached()?, 0)?;
    let call = run.ledger.one_to(server.addr)?;
    same("verdict", &call["verdict"], &json!("denied"))?;
    same("rule", &call["rule"], &json!("default"))
}

fn advisory(ctx: &Ctx) -> Result<()> {
    let server = Tcp::new()?;
    let agent = ctx.agent()?;
    let tool = ctx.copy_of_agent("tool")?;
    let policy = format!(
        "default = \"deny\"\nenforce = false\n\
         [[allow]]\nid = \"agent\"\nexec = {{ program = {agent:?} }}\n\
         [[deny]]\nid = \"no-way\"\nnet = {{ to = [\"127.0.0.1\"] }}\n"
    );
    let to = server.addr.to_string();
    let args = ["all", &tool, "connect", &to, ",", &tool, "raw"];
    let run = Run::new(ctx).policy(&policy).agent(args).go()?;
    same("connections at the server", server.reached()?, 1)?;
    let calls = run.ledger.calls("exec");
    ensure!(calls.iter().all(|call| call["verdict"] != "denied"), "denied: {calls:?}");
    let of_tool: Vec<_> = calls.iter().filter(|c| c["exec"]["path"] == json!(tool)).collect();
    ensure!(of_tool.len() == 2, "execs of the copy: {calls:?}");
    for call in of_tool {
        same("verdict", &call["verdict"], &json!("would_deny"))?;
        same("rule", &call["rule"], &json!("default"))?;
    }
    same("rule", &run.ledger.one_to(server.addr)?["rule"], &json!("no-way"))?;
    let opened = run.ledger.calls("socket");
    ensure!(!opened.is_empty(), "no record of the raw socket");
    for call in opened {
        same("verdict of a raw socket", &call["verdict"], &json!("would_deny"))?;
    }
    Ok(())
}

//! An allow-list made of a record, tried on the record, and enforced.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use anyhow::{Result, ensure};

use super::Case;
use crate::harness::{Ctx, Run, Tcp, Udp, command, same};

pub(super) const CASES: &[(&str, Case)] = &[
    ("suggested-allow-list-denies-nothing-of-the-same-run", round),
    ("replay-and-explain-name-what-a-policy-would-deny", differs),
];

fn policy(ctx: &Ctx, args: &[&str]) -> Result<Output> {
    Ok(command(&ctx.observer).arg("policy").args(args).output()?)
}

/// Programs by path and link, a script by its relative name, connects and datagrams.
fn round(ctx: &Ctx) -> Result<()> {
    let (server, sink, agent) = (Tcp::new()?, Udp::new()?, ctx.agent()?);
    let (tool, script) = (ctx.copy_of_agent("tool")?, ctx.path("script")?);
    std::fs::write(&script, format!("#!{tool} true\n"))?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let (link, dir) = (ctx.path("link")?, ctx.path(".")?);
    std::os::unix::fs::symlink(&tool, &link)?;
    let (tcp, udp) = (server.addr.to_string(), sink.addr.to_string());
    let args = [
        &["all", &link, "connect", &tcp, ",", &tool, "udp", &udp, "2", ","][..],
        &[agent, "chdir", &dir, agent, "spawn", "./script", ",", &script],
    ];
    let args = args.concat();
    let first = Run::new(ctx).label("first").agent(args.clone()).go()?;
    first.exited(0)?;
    let log = first.log.display().to_string();
    let made = policy(ctx, &["suggest", &log])?;
    ensure!(made.status.success(), "suggest: {}", String::from_utf8_lossy(&made.stderr));
    let text = String::from_utf8(made.stdout)?;
    let file = ctx.path("suggested.toml")?;
    std::fs::write(&file, &text)?;
    let replayed = policy(ctx, &["replay", "--policy", &file, &log])?;
    let said = String::from_utf8_lossy(&replayed.stdout).into_owned();
    same("replay's exit code", replayed.status.code(), Some(0)).map_err(|e| e.context(said))?;
    let enforced = Run::new(ctx).label("enforced").policy_text(&text).agent(args).go()?;
    let denied: Vec<_> =
        enforced.ledger.records.iter().filter(|r| r["verdict"] == "denied").collect();
    ensure!(denied.is_empty(), "denied: {denied:?}\n{text}");
    enforced.exited(0)?;
    same("connections at the server", server.reached()?, 2)
}

fn differs(ctx: &Ctx) -> Result<()> {
    let (server, tool) = (Tcp::new()?, ctx.copy_of_agent("tool")?);
    let to = server.addr.to_string();
    let run = Run::new(ctx).agent(["spawn", &tool, "connect", &to]).go()?;
    run.exited(0)?;
    let file = ctx.path("next.toml")?;
    std::fs::write(
        &file,
        format!(
            "version = 1\ndefault = \"allow\"\n[[deny]]\nid = \"no-tool\"\n\
             exec = {{ program = \"tool\", args = [\"connect\"] }}\n[[deny]]\nid = \"no-port\"\n\
             enforce = false\nnet = {{ port = {} }}\n",
            server.addr.port()
        ),
    )?;
    let log = run.log.display().to_string();
    let out = policy(ctx, &["replay", "--json", "--policy", &file, &log])?;
    same("replay's exit code", out.status.code(), Some(1))?;
    let found: serde_json::Value = serde_json::from_slice(&out.stdout)?;
    same("calls that change", &found["changed"], &serde_json::json!(2))?;
    same("calls that would be denied", &found["denied"], &serde_json::json!(1))?;
    same("calls only told", &found["would_deny"], &serde_json::json!(1))?;
    for (call, code, word) in [
        (vec!["exec", &tool, "connect"], 1, "denied"),
        (vec!["exec", &tool, "x"], 0, "allowed"),
        (vec!["connect", &to], 0, "would_deny"),
    ] {
        let out = policy(ctx, &[&["explain", &file][..], &call].concat())?;
        let said = String::from_utf8_lossy(&out.stdout);
        same("explain's exit code", out.status.code(), Some(code))?;
        ensure!(said.starts_with(word), "{call:?}: {said}");
    }
    Ok(())
}

//! The ledger: no secret goes in, and no change goes unseen.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::Case;
use crate::harness::{Ctx, Recorded, Run, at, same};

pub(super) const CASES: &[(&str, Case)] = &[
    ("secrets-in-argv-never-reach-the-ledger", secrets),
    ("secrets-in-failing-exec-never-reach-the-ledger", secrets_in_failure),
    ("flipped-byte-is-refused", |ctx| {
        tampered(ctx, |mut lines| {
            // A digit of the time: the line stays JSON, and canonical.
            let line = lines.get_mut(1).context("too few lines")?;
            let at = line.find("\"time\":\"").context("no time")? + "\"time\":\"".len() + 3;
            let other = if line.as_bytes().get(at) == Some(&b'0') { "1" } else { "0" };
            line.replace_range(at..=at, other);
            Ok(lines)
        })
    }),
    ("removed-record-is-refused", |ctx| {
        tampered(ctx, |mut lines| {
            lines.remove(lines.len() / 2);
            Ok(lines)
        })
    }),
    ("moved-record-is-refused", |ctx| {
        tampered(ctx, |mut lines| {
            let half = lines.len() / 2;
            lines.swap(half - 1, half);
            Ok(lines)
        })
    }),
    ("doubled-record-is-refused", |ctx| {
        tampered(ctx, |mut lines| {
            let again = lines.last().context("no lines")?.clone();
            lines.push(again);
            Ok(lines)
        })
    }),
    ("ledger-under-another-hosts-key-is-refused", other_key),
];

/// The values that nobody may find again. Put together here, so that this file has none either.
fn values() -> [String; 3] {
    let token = format!("ghp_{}", "q7Zr2Xw9".repeat(5).get(..36).unwrap_or_default());
    [token, "correct-horse-31".to_owned(), "battery-staple-77".to_owned()]
}

fn arguments() -> Vec<String> {
    let [token, password, variable] = values();
    let mut args: Vec<String> = ["true", "visible", "--password"].map(str::to_owned).into();
    args.extend([password.clone(), format!("TOKEN={variable}"), token.clone()]);
    // And once more, where nothing around them says what they are.
    args.extend([format!("https://example.org/?q={password}"), format!("see {variable}")]);
    args
}

fn secrets(ctx: &Ctx) -> Result<()> {
    let mut args = vec!["spawn".to_owned(), ctx.agent()?.to_owned()];
    args.extend(arguments());
    let run = Run::new(ctx).agent(args).go()?;
    run.exited(0)?;
    masked(&run)?;
    let call = run.ledger.exec("visible")?;
    same("the option's name", at(call, "/exec/argv/3"), &json!("--password"))?;
    ensure!(at(call, "/mask/counts") != &json!({}), "nothing says that it was masked: {call}");
    Ok(())
}

fn secrets_in_failure(ctx: &Ctx) -> Result<()> {
    let mut args = vec!["spawn".to_owned(), ctx.path("missing")?];
    args.extend(arguments());
    let run = Run::new(ctx).agent(args).go()?;
    run.exited(libc::ENOENT)?;
    masked(&run)?;
    let call = run.ledger.exec("visible")?;
    same("error", at(call, "/outcome/error"), &json!("ENOENT"))
}

fn masked(run: &Recorded) -> Result<()> {
    let text = fs::read_to_string(&run.log)?;
    ensure!(text.contains("<mask:"), "the ledger has no masked value");
    for value in values().iter().map(String::as_str).chain(["ghp_"]) {
        if let Some(line) = text.lines().find(|line| line.contains(value)) {
            anyhow::bail!("{value:?} stands in the ledger: {line}");
        }
    }
    Ok(())
}

fn some_run(ctx: &Ctx) -> Result<Recorded> {
    let agent = ctx.agent()?;
    let run = Run::new(ctx).agent(["all", agent, "true", ",", agent, "true"]).go()?;
    run.exited(0)?;
    Ok(run)
}

fn tampered(ctx: &Ctx, change: fn(Vec<String>) -> Result<Vec<String>>) -> Result<()> {
    let run = some_run(ctx)?;
    let text = fs::read_to_string(&run.log)?;
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    ensure!(lines.len() >= 4, "too few records to tamper with: {text}");
    let lines = change(lines)?;
    let copy = ctx.dir.join("tampered.jsonl");
    fs::write(&copy, lines.join("\n") + "\n")?;
    let (code, said) = run.verify_file(&copy)?;
    ensure!(code == Some(1), "verify exited with {code:?}, wanted 1, and said: {said}");
    ensure!(!said.trim().is_empty(), "verify refused it and did not say why");
    Ok(())
}

fn other_key(ctx: &Ctx) -> Result<()> {
    let run = some_run(ctx)?;
    let other = Run::new(ctx).label("other").agent(["true"]).go()?;
    let (code, said) = run.verify_file(&other.log)?;
    ensure!(code == Some(1), "verify exited with {code:?}, wanted 1, and said: {said}");
    Ok(())
}

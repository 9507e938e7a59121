//! What a run can't see, it says.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use crate::harness::{Ctx, Ledger, Run, at, same};

pub(super) const CASES: &[(&str, Case)] = &[
    ("sockets-without-a-hook-are-said-in-each-run", |ctx| {
        let ledger = said(ctx, &[])?;
        let payload =
            ["tls plaintext of other libraries", "http, large messages", "encrypted dns", "mcp"];
        let fixed = ["inherited sockets", "netlink.route", "proc"];
        fixed.iter().chain(&payload).try_for_each(|what| uncovered(&ledger, what))?;
        let hooked = enforcement(&ledger)?.contains(&"doors:lsm");
        for what in ["unix sockets", "packet sockets", "vsock", "netlink", "system"] {
            match hooked {
                true => same("what is said", about(&ledger, what).len(), 0)?,
                false => uncovered(&ledger, what)?,
            }
        }
        Ok(())
    }),
    ("what-this-kernels-hooks-leave-out-is-said", |ctx| by_enforcement(&said(ctx, &[])?)),
    ("what-is-left-out-without-trampolines-is-said", |ctx| {
        let ledger = said(ctx, &["--no-trampolines"])?;
        let words = enforcement(&ledger)?;
        same(
            "enforcement",
            words,
            ["exec-denial:kill", "exec-failure:tracepoint", "doors:none"].to_vec(),
        )?;
        by_enforcement(&ledger)
    }),
];

fn said(ctx: &Ctx, options: &[&str]) -> Result<Ledger> {
    let run = Run::new(ctx).options(options).agent(["true"]).go()?;
    run.exited(0)?;
    // Before anything of the agent's: whoever reads on knows what may be missing.
    let is = |word: &'static str| move |r: &Value| r["type"] == word;
    let records = &run.ledger.records;
    let last = records.iter().rposition(is("coverage")).context("no coverage record")?;
    let first = records.iter().position(is("call")).context("no call")?;
    ensure!(last < first, "a call stands before what is said of coverage");
    Ok(run.ledger)
}

/// What the hooks that were attached leave out, and no more.
fn by_enforcement(ledger: &Ledger) -> Result<()> {
    let words = enforcement(ledger)?;
    let fallback = words.contains(&"exec-failure:tracepoint");
    uncovered(ledger, "exec.failure.32-bit")?;
    match (fallback, about(ledger, "connect.io_uring").is_empty()) {
        (true, _) => uncovered(ledger, "connect.io_uring")?,
        (false, true) => {}
        (false, false) => anyhow::bail!("io_uring is said to be uncovered with {words:?}"),
    }
    let kills = words.contains(&"exec-denial:kill");
    same("exec.denial is spoken of", !about(ledger, "exec.denial").is_empty(), kills)
}

fn enforcement(ledger: &Ledger) -> Result<Vec<&str>> {
    let start = *ledger.of_type("run.start").first().context("no run.start")?;
    let words = at(start, "/start/enforcement").as_array().context("no enforcement")?;
    words.iter().map(|word| word.as_str().context("not a word")).collect()
}

fn about<'a>(ledger: &'a Ledger, what: &str) -> Vec<&'a Value> {
    let mut records = ledger.of_type("coverage");
    records.retain(|r| *at(r, "/coverage/what") == *what);
    records
}

/// That one record says so, and why.
fn uncovered(ledger: &Ledger, what: &str) -> Result<()> {
    let found = about(ledger, what);
    ensure!(found.len() == 1, "wanted one record about {what}, saw {found:?}");
    same("covered", at(found[0], "/coverage/covered"), &json!(false))?;
    let why = at(found[0], "/coverage/why").as_str().unwrap_or_default();
    ensure!(!why.is_empty(), "it does not say why: {}", found[0]);
    Ok(())
}

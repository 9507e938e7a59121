//! Bun: its BoringSSL has no names, and what it says over TLS is seen all the same.

use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::json;

use super::Case;
use super::https::{asks, told_twice};
use crate::harness::{Ctx, Gate, Https, Run, at, in_path, same};

pub(super) const CASES: &[(&str, Case)] = &[
    ("https-of-bun-is-read", bun),
    ("https-of-a-program-that-bun-made-is-read", compiled),
    ("https-of-bun-without-an-answer-ends-with-its-connection", closed),
];

/// A program that asks twice, and the two requests.
fn script(ctx: &Ctx, server: &Https) -> Result<String> {
    let path = ctx.path("agent.mjs")?;
    let text = format!(
        "const ca = await Bun.file({:?}).text();\n\
         for (const method of ['GET', 'POST']) {{\n\
         const body = method == 'POST' ? 'a=b' : undefined;\n\
         await (await fetch({:?} + method, {{ method, body, tls: {{ ca }} }})).text(); }}\n",
        server.certificate,
        server.url("/bun-")
    );
    std::fs::write(&path, text)?;
    Ok(path)
}

const REQUESTS: [(&str, &str); 2] = [("GET", "/bun-GET"), ("POST", "/bun-POST")];

fn bun(ctx: &Ctx) -> Result<()> {
    let (server, bun) = (Https::new(ctx)?, in_path("bun")?);
    let run = asks(ctx, &server, &[&bun, "run", &script(ctx, &server)?], &REQUESTS)?;
    run.exited(0)?;
    told_twice(&run, &bun, "boringssl", "pattern")
}

fn compiled(ctx: &Ctx) -> Result<()> {
    let (server, bun) = (Https::new(ctx)?, in_path("bun")?);
    let (script, program) = (script(ctx, &server)?, ctx.path("agent")?);
    let args = ["build", "--compile", &script, "--outfile", &program];
    let built = Command::new(bun).args(args).current_dir(&ctx.dir).output()?;
    ensure!(built.status.success(), "bun build: {built:?}");
    let run = asks(ctx, &server, &[&program], &REQUESTS)?;
    run.exited(0)?;
    told_twice(&run, &program, "boringssl", "pattern")
}

/// The end of its library's connection is not seen; its socket's is, while the program lives.
fn closed(ctx: &Ctx) -> Result<()> {
    let (server, bun) = (Https::new(ctx)?, in_path("bun")?);
    let (path, fifo) = (ctx.path("agent.mjs")?, ctx.fifo("gate")?);
    let text = format!(
        "const ca = await Bun.file({:?}).text();\n\
         try {{ await fetch({:?}, {{ tls: {{ ca }} }}) }} catch {{}}\n\
         await Bun.spawn(['cat', {fifo:?}]).exited;\n",
        server.certificate,
        server.url("/close")
    );
    std::fs::write(&path, text)?;
    let mut live = Run::new(ctx).agent(["exec", &bun, "run", &path]).start()?;
    let gate = Gate::of(&fifo)?;
    live.until_recorded("the request's end", |record| {
        record["type"] == "result" && record.pointer("/http/times").is_some()
    })?;
    gate.open();
    let run = live.finish()?;
    run.exited(0)?;
    for call in run.ledger.calls("http") {
        same("status", at(run.ledger.outcome(call)?, "/status"), &json!("failed"))?;
    }
    Ok(())
}

//! rustls: where its program has symbols, what it says over TLS is seen.

use std::process::Command;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::Case;
use super::https::{asks, found_of, told_twice};
use crate::harness::{Ctx, Https, Run, at, same, tool};

pub(super) const CASES: &[(&str, Case)] = &[
    ("https-of-rustls-is-read", read),
    ("https-of-rustls-without-symbols-is-said-not-to-be-seen", stripped),
];

/// How often it asks and posts.
const COUNT: usize = 20;

/// The agent that speaks so, beside the acting sample.
fn agent(ctx: &Ctx) -> Result<String> {
    let path = ctx.agent.with_file_name("rustls-agent");
    ensure!(path.exists(), "no {}", path.display());
    Ok(path.display().to_string())
}

fn read(ctx: &Ctx) -> Result<()> {
    let (server, agent) = (Https::new(ctx)?, agent(ctx)?);
    let (port, count) = (server.addr.port().to_string(), COUNT.to_string());
    let paths: Vec<_> = (0..COUNT)
        .flat_map(|n| [("GET", format!("/one-{n}")), ("POST", format!("/two-{n}"))])
        .collect();
    let requests: Vec<_> = paths.iter().map(|(method, path)| (*method, path.as_str())).collect();
    let run = asks(ctx, &server, &[&agent, &port, &server.certificate, &count], &requests)?;
    run.exited(0)?;
    for (n, call) in run.ledger.calls("http").iter().enumerate().filter(|(n, _)| n % 2 == 1) {
        // It came with its call, or after that was written.
        let end = run.ledger.result(call)?;
        let body = call.pointer("/http/body").unwrap_or(at(end, "/http/request_body"));
        same("bytes of content", at(body, "/bytes"), &json!(40_000 + n / 2))?;
        same("missed", at(body, "/missed"), &Value::Null)?;
    }
    told_twice(&run, &agent, "rustls", "layout")
}

fn stripped(ctx: &Ctx) -> Result<()> {
    let (server, strip) = (Https::new(ctx)?, tool("/usr/bin/strip")?);
    let bare = ctx.path("rustls-agent")?;
    let made = Command::new(strip).args(["-o", &bare, &agent(ctx)?]).status()?;
    ensure!(made.success(), "strip: {made}");
    let port = server.addr.port().to_string();
    let run = Run::new(ctx).agent(["exec", &bare, &port, &server.certificate, "1"]).go()?;
    run.exited(0)?;
    same("requests", run.ledger.calls("http").len(), 0)?;
    let own = found_of(&run, &bare);
    let [own] = own[..] else { bail!("it is told of so often: {own:?}") };
    same("covered", at(own, "/coverage/covered"), &json!(false))?;
    let why = at(own, "/coverage/why").as_str().unwrap_or_default();
    ensure!(why.contains("no symbols"), "it says: {why}");
    let shakes = run.ledger.calls("tls");
    ensure!(shakes.len() == 1, "handshakes: {shakes:?}");
    let end = run.ledger.result(shakes[0])?;
    same("opaque", at(end, "/tls/opaque"), &json!(true))
}

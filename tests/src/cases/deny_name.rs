//! Names in TLS: a connection that asks for a name which the rules don't let it ask for is stopped
//! before the far end has the name, and recorded; so is each way around that was thought of.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::net::supported;
use crate::harness::{Ctx, Run, Talk, at, same};
use crate::hello::{ANSWER, Hello};

pub(super) const CASES: &[(&str, Case)] = &[
    ("deny-by-sni", |ctx| stopped(ctx, &["evil.example"], 0, 0, &[])),
    ("deny-by-sni-holds-for-names-below", |ctx| stopped(ctx, &["a.b.evil.example"], 0, 0, &[])),
    ("deny-by-sni-holds-in-upper-case", |ctx| stopped(ctx, &["EVIL.Example"], 0, 0, &[])),
    ("deny-by-sni-holds-with-a-trailing-dot", |ctx| stopped(ctx, &["evil.example."], 0, 0, &[])),
    ("deny-by-sni-holds-in-single-bytes", |ctx| {
        stopped(ctx, &["evil.example"], 0, 0, &["--bytes"])
    }),
    ("deny-by-sni-holds-behind-15-KiB", |ctx| stopped(ctx, &["evil.example"], 0, 15_000, &[])),
    ("deny-by-sni-holds-in-pieces-of-15-KiB", |ctx| {
        stopped(ctx, &["evil.example"], 0, 15_000, &["--pieces"])
    }),
    ("deny-by-sni-holds-for-sendfile", |ctx| {
        stopped(ctx, &["evil.example"], 0, 0, &["--sendfile"])
    }),
    ("deny-by-sni-holds-for-splice", |ctx| stopped(ctx, &["evil.example"], 0, 0, &["--splice"])),
    ("deny-by-sni-holds-for-fast-open", |ctx| {
        stopped(ctx, &["evil.example"], 0, 0, &["--fastopen"])
    }),
    ("deny-by-sni-holds-for-a-socket-that-has-listened", |ctx| {
        stopped(ctx, &["evil.example"], 0, 0, &["--listened"])
    }),
    ("deny-by-sni-holds-where-the-server-speaks-first", |ctx| {
        stopped(ctx, &["evil.example"], 0, 0, &["--greeted"])
    }),
    ("deny-by-sni-holds-over-many-records", |ctx| stopped(ctx, &["evil.example"], 50, 300, &[])),
    ("deny-by-sni-holds-over-records-of-a-byte", |ctx| {
        stopped(ctx, &["evil.example"], 1, 300, &[])
    }),
    ("deny-by-sni-holds-over-records-in-single-bytes", |ctx| {
        stopped(ctx, &["evil.example"], 7, 0, &["--bytes"])
    }),
    ("deny-by-sni-over-records-of-more-than-16-KiB", |ctx| {
        unread(ctx, &["good.example"], 1, 3_000, &[])
    }),
    ("deny-by-sni-of-two-names", |ctx| unread(ctx, &["good.example", "evil.example"], 0, 300, &[])),
    ("deny-by-sni-of-an-urgent-byte", |ctx| {
        unread(ctx, &["good.example"], 0, 300, &["--pieces", "--urgent"])
    }),
    ("deny-by-sni-lets-others-through", |ctx| others(ctx, 0)),
    ("deny-by-sni-lets-others-through-over-many-records", |ctx| others(ctx, 50)),
];

const RULE: &str =
    "[[deny]]\nid = \"no-evil\"\nnet = { host = [\"evil.example\", \"*.evil.example\"] }\n";

/// Says a hello, and gives what the far end had of it and the one handshake's record.
fn say(
    ctx: &Ctx,
    names: &[&'static str],
    record: usize,
    padding: usize,
    flags: &[&str],
    code: i32,
) -> Result<(usize, usize, Value)> {
    let greeting: &[u8] = if flags.contains(&"--greeted") { b"220 hello\r\n" } else { b"" };
    let server = Talk::greeting("127.0.0.1:0", greeting, ANSWER)?;
    let hello = Hello { names, record, padding, ech: false }.bytes();
    let path = ctx.path("hello")?;
    std::fs::write(&path, &hello)?;
    let to = server.addr.to_string();
    let args = [&["say", to.as_str(), path.as_str()], flags].concat();
    let label = names.first().copied().unwrap_or("none");
    let run = Run::new(ctx).label(label).policy(RULE).agent(args).go()?;
    supported(&run)?;
    // A hello in pieces is answered before it is whole: whoever speaks is let go then.
    if !flags.iter().any(|f| f.starts_with("--bytes") || f.starts_with("--pieces")) {
        run.exited(code)?;
    }
    let calls = run.ledger.calls("tls");
    ensure!(calls.len() == 1, "wanted one handshake, saw {calls:?}");
    if code != 0 {
        let outcome = run.ledger.outcome(calls[0])?;
        same("status", &outcome["status"], &json!("failed"))?;
        same("error", &outcome["error"], &json!("EPERM"))?;
    }
    let call = calls[0].clone();
    let heard = server.said().iter().map(Vec::len).sum();
    Ok((heard, hello.len(), call))
}

fn stopped(
    ctx: &Ctx,
    names: &[&'static str],
    record: usize,
    padding: usize,
    flags: &[&str],
) -> Result<()> {
    let call = denied(ctx, names, record, padding, flags, "no-evil")?;
    same("SNI", at(&call, "/tls/sni"), &json!(names[0]))
}

fn unread(
    ctx: &Ctx,
    names: &[&'static str],
    record: usize,
    padding: usize,
    flags: &[&str],
) -> Result<()> {
    let call = denied(ctx, names, record, padding, flags, "unread-name")?;
    same("unread", at(&call, "/tls/unread"), &json!(true))
}

fn denied(
    ctx: &Ctx,
    names: &[&'static str],
    record: usize,
    padding: usize,
    flags: &[&str],
    rule: &str,
) -> Result<Value> {
    let (heard, whole, call) = say(ctx, names, record, padding, flags, libc::ECONNABORTED)?;
    ensure!(heard < whole, "the far end has the whole hello");
    same("verdict", &call["verdict"], &json!("denied"))?;
    same("rule", &call["rule"], &json!(rule))?;
    Ok(call)
}

fn others(ctx: &Ctx, record: usize) -> Result<()> {
    for name in ["notevil.example", "evil.example.org", "good.example"] {
        let (heard, whole, call) = say(ctx, &[name], record, 0, &[], 0)?;
        same("heard", &heard, &whole)?;
        same("verdict", &call["verdict"], &json!("allowed"))?;
        same("SNI", at(&call, "/tls/sni"), &json!(name))?;
    }
    Ok(())
}

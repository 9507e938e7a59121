//! TLS: what of a connection is in the clear is recorded, however it reached the socket.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::net::supported;
use crate::harness::{Ctx, Ledger, Recorded, Run, Talk, at, same};
use crate::hello::{ANSWER, Hello};

pub(super) const CASES: &[(&str, Case)] = &[
    ("tls-is-recorded-with-its-name-and-what-passed", |ctx| named(ctx, &[], 0, 0)),
    ("tls-hello-in-single-bytes-is-read", |ctx| named(ctx, &["--bytes"], 0, 0)),
    ("tls-hello-in-many-records-is-read", |ctx| named(ctx, &[], 7, 0)),
    ("tls-hello-of-16-KiB-is-read", |ctx| named(ctx, &["--pieces"], 0, 16_000)),
    ("tls-by-sendfile-is-recorded", |ctx| named(ctx, &["--sendfile"], 0, 0)),
    ("tls-by-splice-is-recorded", |ctx| named(ctx, &["--splice"], 0, 0)),
    ("tls-by-fast-open-is-recorded", |ctx| named(ctx, &["--fastopen"], 0, 0)),
    ("tls-is-recorded-where-the-server-speaks-first", |ctx| named(ctx, &["--greeted"], 0, 0)),
    ("tls-without-a-name-says-so", nameless),
    ("tls-over-ipv6-is-recorded", v6),
    ("tls-after-a-megabyte-keeps-its-counts", counts),
];

/// Writes what is to be said into the case's directory.
fn file(ctx: &Ctx, name: &str, bytes: &[u8]) -> Result<String> {
    let path = ctx.path(name)?;
    std::fs::write(&path, bytes)?;
    Ok(path)
}

/// Runs the sample, which says this.
fn say(ctx: &Ctx, server: &Talk, files: &str, flags: &[&str]) -> Result<Recorded> {
    let to = server.addr.to_string();
    let args = [&["say", to.as_str(), files], flags].concat();
    let run = Run::new(ctx).agent(args).go()?;
    supported(&run)?;
    run.exited(0)?;
    Ok(run)
}

fn one(ledger: &Ledger) -> Result<(&Value, &Value)> {
    let calls = ledger.calls("tls");
    ensure!(calls.len() == 1, "wanted one handshake, saw {calls:?}");
    let end = ledger.result(calls[0])?;
    Ok((calls[0], end))
}

fn named(ctx: &Ctx, flags: &[&str], record: usize, padding: usize) -> Result<()> {
    let greeting: &[u8] = if flags.contains(&"--greeted") { b"220 hello\r\n" } else { b"" };
    let server = Talk::greeting("127.0.0.1:0", greeting, ANSWER)?;
    let names = &["Api.Example.com"][..];
    let hello = Hello { names, record, padding, ech: true }.bytes();
    let run = say(ctx, &server, &file(ctx, "hello", &hello)?, flags)?;
    let (call, end) = one(&run.ledger)?;
    same("SNI", at(call, "/tls/sni"), &json!("Api.Example.com"))?;
    same("ALPN", at(call, "/tls/alpn"), &json!(["h2", "http/1.1"]))?;
    same("version", at(call, "/tls/version"), &json!("1.3"))?;
    same("ECH", at(call, "/tls/ech"), &json!(true))?;
    same("port", at(call, "/tls/peer/port"), &json!(server.addr.port()))?;
    let connect = run.ledger.one_to(server.addr)?;
    same("the process", at(call, "/process/id"), at(connect, "/process/id"))?;
    same("the cause", &call["parent"], &connect["parent"])?;
    same("the socket", at(call, "/tls/cookie"), at(connect, "/net/cookie"))?;
    same("version chosen", at(end, "/tls/version"), &json!("1.2"))?;
    same("opaque", at(end, "/tls/opaque"), &json!(true))?;
    same("sent", at(end, "/tls/sent"), &json!(hello.len()))?;
    let received = at(end, "/tls/received").as_u64().unwrap_or(0);
    ensure!(received >= ANSWER.len() as u64, "received {received} bytes: {end}");
    same("said", &server.said(), &vec![hello])?;
    run.ledger.nothing_lost()
}

fn nameless(ctx: &Ctx) -> Result<()> {
    let server = Talk::new("127.0.0.1:0", ANSWER)?;
    let hello = Hello::default().bytes();
    let run = say(ctx, &server, &file(ctx, "hello", &hello)?, &[])?;
    let (call, end) = one(&run.ledger)?;
    same("SNI", at(call, "/tls/sni"), &Value::Null)?;
    same("unread", at(call, "/tls/unread"), &Value::Null)?;
    same("opaque", at(end, "/tls/opaque"), &json!(true))
}

fn v6(ctx: &Ctx) -> Result<()> {
    let server = Talk::new("[::1]:0", ANSWER)
        .map_err(|e| crate::harness::Skip(format!("no IPv6 on loopback: {e:#}")))?;
    let hello = Hello { names: &["example.com"], ..Hello::default() }.bytes();
    let run = say(ctx, &server, &file(ctx, "hello", &hello)?, &[])?;
    let (call, _) = one(&run.ledger)?;
    same("SNI", at(call, "/tls/sni"), &json!("example.com"))?;
    same("peer", at(call, "/tls/peer/addr"), &json!("::1"))
}

fn counts(ctx: &Ctx) -> Result<()> {
    let server = Talk::new("127.0.0.1:0", ANSWER)?;
    let hello = Hello { names: &["example.com"], ..Hello::default() }.bytes();
    let files = [file(ctx, "hello", &hello)?, file(ctx, "much", &vec![0x17; 1 << 20])?].join(",");
    let run = say(ctx, &server, &files, &[])?;
    let (_, end) = one(&run.ledger)?;
    same("sent", at(end, "/tls/sent"), &json!(hello.len() + (1 << 20)))
}

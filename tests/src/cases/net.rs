//! The network: each way to reach out or to be reached is recorded, once.

use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Case;
use crate::agent::UNSUPPORTED;
use crate::harness::{Ctx, Ledger, Mute, Recorded, Run, Tcp, Udp, at, closed_port, same, skip};

pub(super) const CASES: &[(&str, Case)] = &[
    ("connect-is-recorded-with-its-success", |ctx| reaches(ctx, &["connect"], &[])),
    ("connect-without-blocking-is-recorded", |ctx| reaches(ctx, &["connect"], &["--nonblocking"])),
    ("connect-v4-mapped-is-recorded-as-ipv4", |ctx| reaches(ctx, &["connect"], &["--v4mapped"])),
    ("connect-from-thread-is-recorded", |ctx| reaches(ctx, &["thread-connect"], &[])),
    ("connect-by-io-uring-is-recorded", |ctx| reaches(ctx, &["uring-connect"], &[])),
    ("connect-by-fast-open-is-recorded", |ctx| reaches(ctx, &["fastopen"], &[])),
    ("connect-v6-is-recorded", v6),
    ("connect-refused-is-recorded-as-failed", |ctx| refused(ctx, &[])),
    ("connect-refused-later-is-recorded-as-failed", |ctx| refused(ctx, &["--nonblocking"])),
    ("connect-without-answer-is-recorded-as-timed-out", timeout),
    ("udp-is-one-call-for-each-new-destination", udp),
    ("udp-connected-is-one-call", udp_connected),
    ("bind-is-recorded-with-its-address", bind),
    ("listen-is-recorded-with-its-address", listen),
    ("raw-socket-is-recorded", raw),
    ("connect-to-unix-socket-is-recorded-with-its-path", unix),
    ("connect-to-abstract-socket-is-recorded-with-its-name", unix_abstract),
    ("connect-to-missing-unix-socket-is-recorded-as-failed", unix_missing),
];

fn reaches(ctx: &Ctx, deed: &[&str], flags: &[&str]) -> Result<()> {
    let server = Tcp::new()?;
    let to = server.addr.to_string();
    let args = [deed, &[to.as_str()], flags].concat();
    let run = Run::new(ctx).agent(args).go()?;
    supported(&run)?;
    run.exited(0)?;
    same("connections at the server", server.reached()?, 1)?;
    connected(&run.ledger, server.addr)
}

fn v6(ctx: &Ctx) -> Result<()> {
    let server = Tcp::v6()?;
    let run = Run::new(ctx).agent(["connect".to_owned(), server.addr.to_string()]).go()?;
    run.exited(0)?;
    connected(&run.ledger, server.addr)
}

fn connected(ledger: &Ledger, addr: SocketAddr) -> Result<()> {
    let call = ledger.one_to(addr)?;
    is(call, "connect", "tcp")?;
    same("verdict", &call["verdict"], &json!("allowed"))?;
    same("status", &ledger.outcome(call)?["status"], &json!("ok"))
}

fn refused(ctx: &Ctx, flags: &[&str]) -> Result<()> {
    let addr = closed_port()?;
    let to = addr.to_string();
    let args = [&["connect", to.as_str()], flags].concat();
    let run = Run::new(ctx).agent(args).go()?;
    run.exited(libc::ECONNREFUSED)?;
    let call = run.ledger.one_to(addr)?;
    let outcome = run.ledger.outcome(call)?;
    same("status", &outcome["status"], &json!("failed"))?;
    same("errno", &outcome["errno"], &json!(libc::ECONNREFUSED))?;
    same("error", &outcome["error"], &json!("ECONNREFUSED"))
}

fn timeout(ctx: &Ctx) -> Result<()> {
    let server = Mute::new()?;
    let args = ["connect", &server.addr.to_string(), "--impatient"];
    let run = Run::new(ctx).agent(args).go()?;
    run.exited(libc::ETIMEDOUT)?;
    let outcome = run.ledger.outcome(run.ledger.one_to(server.addr)?)?;
    same("status", &outcome["status"], &json!("failed"))?;
    same("error", &outcome["error"], &json!("ETIMEDOUT"))?;
    let took = outcome["duration_ns"].as_u64().unwrap_or(0);
    ensure!(took > 500_000_000, "one more SYN comes after a second, and it took {took} ns");
    Ok(())
}

fn udp(ctx: &Ctx) -> Result<()> {
    let (one, other) = (Udp::new()?, Udp::new()?);
    let to = format!("{},{}", one.addr, other.addr);
    let run = Run::new(ctx).agent(["udp", &to, "10"]).go()?;
    run.exited(0)?;
    for sink in [one, other] {
        same("datagrams", sink.received(), 10)?;
        is(run.ledger.one_to(sink.addr)?, "send", "udp")?;
    }
    Ok(())
}

fn udp_connected(ctx: &Ctx) -> Result<()> {
    let sink = Udp::new()?;
    let run = Run::new(ctx).agent(["udp", &sink.addr.to_string(), "10", "--connected"]).go()?;
    run.exited(0)?;
    same("datagrams", sink.received(), 10)?;
    is(run.ledger.one_to(sink.addr)?, "connect", "udp")
}

fn bind(ctx: &Ctx) -> Result<()> {
    let addr = closed_port()?;
    let run = Run::new(ctx).agent(["bind", &addr.to_string()]).go()?;
    run.exited(0)?;
    is(run.ledger.one_at("bind", addr)?, "bind", "tcp")
}

fn listen(ctx: &Ctx) -> Result<()> {
    let addr = closed_port()?;
    let run = Run::new(ctx).agent(["listen", &addr.to_string()]).go()?;
    run.exited(0)?;
    is(run.ledger.one_at("listen", addr)?, "listen", "tcp")
}

fn raw(ctx: &Ctx) -> Result<()> {
    let run = Run::new(ctx).agent(["raw"]).go()?;
    run.exited(0)?;
    let calls = run.ledger.calls("socket");
    ensure!(calls.len() == 1, "wanted one raw socket, saw {calls:?}");
    is(calls[0], "open", "icmp")?;
    same("verdict", &calls[0]["verdict"], &json!("allowed"))
}

fn unix(ctx: &Ctx) -> Result<()> {
    let path = ctx.path("socket")?;
    let _server = UnixListener::bind(&path)?;
    let run = Run::new(ctx).agent(["unix-connect", &path]).go()?;
    run.exited(0)?;
    let call = one_unix(&run.ledger)?;
    same("path", at(call, "/net/path"), &json!(path))?;
    same("status", &run.ledger.outcome(call)?["status"], &json!("ok"))
}

fn unix_abstract(ctx: &Ctx) -> Result<()> {
    let name = format!("observer-e2e-{}", std::process::id());
    let _server = UnixListener::bind_addr(&UnixAddr::from_abstract_name(&name)?)?;
    let run = Run::new(ctx).agent(["unix-connect", &format!("@{name}")]).go()?;
    run.exited(0)?;
    same("name", at(one_unix(&run.ledger)?, "/net/abstract"), &json!(name))
}

fn unix_missing(ctx: &Ctx) -> Result<()> {
    let path = ctx.path("nobody")?;
    let run = Run::new(ctx).agent(["unix-connect", &path]).go()?;
    run.exited(libc::ENOENT)?;
    let call = one_unix(&run.ledger)?;
    same("path", at(call, "/net/path"), &json!(path))?;
    same("error", at(call, "/outcome/error"), &json!("ENOENT"))
}

fn one_unix(ledger: &Ledger) -> Result<&Value> {
    let mut calls = ledger.calls("connect");
    calls.retain(|call| call["net"]["protocol"] == "unix");
    ensure!(calls.len() == 1, "wanted one connect to a unix socket, saw {calls:?}");
    Ok(calls[0])
}

fn is(call: &Value, op: &str, protocol: &str) -> Result<()> {
    same("op", at(call, "/net/op"), &json!(op))?;
    same("protocol", at(call, "/net/protocol"), &json!(protocol))
}

/// Skips the case when the sample says that this kernel can't do the deed.
pub(super) fn supported(run: &Recorded) -> Result<()> {
    if run.code == Some(UNSUPPORTED.into()) {
        return skip("this kernel can't do it");
    }
    Ok(())
}

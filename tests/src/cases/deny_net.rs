//! Destinations: what a policy denies fails with EPERM, reaches nobody, and is recorded.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::net::supported;
use crate::harness::{Ctx, Ledger, Recorded, Run, Tcp, Udp, same};

pub(super) const CASES: &[(&str, Case)] = &[
    ("deny-by-address", |ctx| denied(ctx, "to = [\"127.0.0.1\"]", &["connect"], &[])),
    ("deny-by-prefix", |ctx| denied(ctx, "to = [\"127.0.0.0/8\"]", &["connect"], &[])),
    ("deny-by-port-and-no-other", port),
    ("deny-by-protocol-and-no-other", protocol),
    ("deny-v6", v6),
    ("deny-holds-for-non-blocking-connect", |ctx| evades(ctx, &["connect"], &["--nonblocking"])),
    ("deny-of-ipv4-holds-for-v4-mapped", |ctx| evades(ctx, &["connect"], &["--v4mapped"])),
    ("deny-of-127.0.0.1-holds-for-0.0.0.0", unspecified),
    ("deny-holds-for-io-uring", |ctx| evades(ctx, &["uring-connect"], &[])),
    ("deny-holds-for-fast-open", |ctx| evades(ctx, &["fastopen"], &[])),
    ("deny-holds-for-threads", |ctx| evades(ctx, &["thread-connect"], &[])),
    ("deny-holds-in-child-cgroup", |ctx| below(ctx, &["child-cgroup", "inner"])),
    ("deny-holds-after-double-fork", |ctx| below(ctx, &["double-fork"])),
    ("deny-holds-in-another-session", |ctx| below(ctx, &["setsid"])),
    ("deny-holds-for-udp", udp),
    ("deny-holds-for-connected-udp", udp_connected),
    ("net-policy-denies-raw-sockets", |ctx| unheld(ctx, &["raw"])),
    ("net-policy-denies-multipath-tcp", |ctx| unheld(ctx, &["mptcp", "127.0.0.1:9"])),
    ("default-deny-lets-only-allowed-through", default_deny),
];

/// A rule named `no-way`.
fn rule(net: &str) -> String {
    format!("[[deny]]\nid = \"no-way\"\nnet = {{ {net} }}\n")
}

fn denied(ctx: &Ctx, net: &str, deed: &[&str], flags: &[&str]) -> Result<()> {
    let server = Tcp::new()?;
    let to = server.addr.to_string();
    let args = [deed, &[to.as_str()], flags].concat();
    let run = Run::new(ctx).policy(&rule(net)).agent(args).go()?;
    supported(&run)?;
    run.exited(libc::EPERM)?;
    same("connections at the server", server.reached()?, 0)?;
    refused(&run.ledger, server.addr, "no-way")
}

/// A way around that is none: the rule is for the address.
fn evades(ctx: &Ctx, deed: &[&str], flags: &[&str]) -> Result<()> {
    denied(ctx, "to = [\"127.0.0.1\"]", deed, flags)
}

/// A way around that runs the sample once more.
fn below(ctx: &Ctx, way: &[&str]) -> Result<()> {
    let server = Tcp::new()?;
    let to = server.addr.to_string();
    let args = [way, &[ctx.agent()?, "connect", &to]].concat();
    let run = Run::new(ctx).policy(&rule("to = [\"127.0.0.1\"]")).agent(args).go()?;
    same("connections at the server", server.reached()?, 0)?;
    refused(&run.ledger, server.addr, "no-way")?;
    // Its own exit status is an outcome too, whoever was there to wait for it.
    let exec = run.ledger.exec("connect")?;
    same("the status of the one who tried", &run.ledger.outcome(exec)?["exit"], &json!(libc::EPERM))
}

fn port(ctx: &Ctx) -> Result<()> {
    let (closed, open) = (Tcp::new()?, Tcp::new()?);
    let policy = rule(&format!("port = [{}], protocol = \"tcp\"", closed.addr.port()));
    let (to, also) = (closed.addr.to_string(), open.addr.to_string());
    both(ctx, &policy, ["connect", &to], ["connect", &also], |run| {
        same("connections at the denied server", closed.reached()?, 0)?;
        same("connections at the other", open.reached()?, 1)?;
        refused(&run.ledger, closed.addr, "no-way")?;
        let call = run.ledger.one_to(open.addr)?;
        same("verdict at the other", &call["verdict"], &json!("allowed"))
    })
}

fn protocol(ctx: &Ctx) -> Result<()> {
    let (sink, open) = (Udp::new()?, Tcp::new()?);
    let (to, also) = (sink.addr.to_string(), open.addr.to_string());
    let policy = rule("protocol = \"udp\"");
    both(ctx, &policy, ["udp", &to, "1"].as_slice(), ["connect", &also].as_slice(), |run| {
        same("datagrams", sink.received(), 0)?;
        same("connections", open.reached()?, 1)?;
        refused(&run.ledger, sink.addr, "no-way")
    })
}

/// One that is denied, then one that is not.
fn both<'a, A: AsRef<[&'a str]>, B: AsRef<[&'a str]>>(
    ctx: &'a Ctx,
    policy: &str,
    no: A,
    yes: B,
    check: impl FnOnce(&Recorded) -> Result<()>,
) -> Result<()> {
    let agent = ctx.agent()?;
    let args = [&["all", agent], no.as_ref(), &[",", agent], yes.as_ref()].concat();
    let run = Run::new(ctx).policy(policy).agent(args).go()?;
    run.exited(libc::EPERM)?;
    check(&run)
}

fn v6(ctx: &Ctx) -> Result<()> {
    let server = Tcp::v6()?;
    let policy = rule("to = [\"::1\"]");
    let run = Run::new(ctx).policy(&policy).agent(["connect", &server.addr.to_string()]).go()?;
    run.exited(libc::EPERM)?;
    same("connections at the server", server.reached()?, 0)?;
    refused(&run.ledger, server.addr, "no-way")
}

fn unspecified(ctx: &Ctx) -> Result<()> {
    let server = Tcp::new()?;
    let to = SocketAddr::from((Ipv4Addr::UNSPECIFIED, server.addr.port()));
    let policy = rule("to = [\"127.0.0.1\"]");
    let run = Run::new(ctx).policy(&policy).agent(["connect", &to.to_string()]).go()?;
    run.exited(libc::EPERM)?;
    same("connections at the server", server.reached()?, 0)?;
    let calls = run.ledger.calls("connect");
    ensure!(calls.len() == 1, "wanted one connect, saw {calls:?}");
    stopped(&run.ledger, calls[0], "no-way")
}

fn udp(ctx: &Ctx) -> Result<()> {
    let sink = Udp::new()?;
    let policy = rule("to = [\"127.0.0.1\"]");
    let run = Run::new(ctx).policy(&policy).agent(["udp", &sink.addr.to_string(), "1"]).go()?;
    run.exited(libc::EPERM)?;
    same("datagrams", sink.received(), 0)?;
    refused(&run.ledger, sink.addr, "no-way")
}

fn udp_connected(ctx: &Ctx) -> Result<()> {
    let sink = Udp::new()?;
    let args = ["udp", &sink.addr.to_string(), "1", "--connected"];
    let run = Run::new(ctx).policy(&rule("to = [\"127.0.0.1\"]")).agent(args).go()?;
    run.exited(libc::EPERM)?;
    same("datagrams", sink.received(), 0)?;
    refused(&run.ledger, sink.addr, "no-way")
}

/// What no rule about destinations can hold is denied as soon as there is one.
fn unheld(ctx: &Ctx, args: &[&str]) -> Result<()> {
    let policy = rule("to = [\"192.0.2.1\"]");
    let run = Run::new(ctx).policy(&policy).agent(args.iter().copied()).go()?;
    supported(&run)?;
    run.exited(libc::EPERM)?;
    let calls = run.ledger.calls("socket");
    ensure!(calls.len() == 1, "wanted one socket, saw {calls:?}");
    stopped(&run.ledger, calls[0], "unheld-socket")
}

fn default_deny(ctx: &Ctx) -> Result<()> {
    let (open, closed) = (Tcp::new()?, Tcp::new()?);
    let (agent, copy) = (ctx.agent()?, ctx.copy_of_agent("stranger")?);
    let effect = ctx.path("effect")?;
    let policy = format!(
        "default = \"deny\"\n\
         [[allow]]\nid = \"sample\"\nexec = {{ program = \"{agent}\" }}\n\
         [[allow]]\nid = \"server\"\nnet = {{ to = [\"127.0.0.1\"], port = [{}] }}\n",
        open.addr.port()
    );
    let (to, no) = (open.addr.to_string(), closed.addr.to_string());
    let args =
        ["all", &copy, "touch", &effect, ",", agent, "connect", &to, ",", agent, "connect", &no];
    let run = Run::new(ctx).policy(&policy).agent(args).go()?;
    run.exited(libc::EPERM)?;
    crate::harness::never_ran(&effect)?;
    same("connections at the allowed server", open.reached()?, 1)?;
    same("connections at the other", closed.reached()?, 0)?;
    refused(&run.ledger, closed.addr, "default")?;
    let call = run.ledger.one_to(open.addr)?;
    same("verdict at the allowed server", &call["verdict"], &json!("allowed"))?;
    same("rule at the allowed server", &call["rule"], &json!("server"))?;
    same("rule of the first command", &run.ledger.first_exec()?["rule"], &json!("sample"))?;
    let stranger = run.ledger.calls("exec").into_iter().find(|c| c["verdict"] == "denied");
    same("rule of the stranger", stranger.map(|c| &c["rule"]), Some(&json!("default")))
}

/// That one call went there, and was denied by this rule.
fn refused(ledger: &Ledger, addr: SocketAddr, rule: &str) -> Result<()> {
    stopped(ledger, ledger.one_to(addr)?, rule)
}

fn stopped(ledger: &Ledger, call: &Value, rule: &str) -> Result<()> {
    same("verdict", &call["verdict"], &json!("denied"))?;
    same("rule", &call["rule"], &json!(rule))?;
    let outcome = ledger.outcome(call)?;
    same("status", &outcome["status"], &json!("failed"))?;
    same("errno", &outcome["errno"], &json!(libc::EPERM))
}

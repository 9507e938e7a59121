//! The evasion suite: each way round a recorder or a rule that was published or thought of, what
//! holds it, and what comes of it on each kind of kernel. A row names the case that tries it, so a
//! row that is not so fails there.

mod list;

use std::net::{Ipv6Addr, SocketAddr};

use anyhow::{Result, ensure};
use serde_json::json;

use super::Case;
use super::net::supported;
use crate::harness::{Ctx, Recorded, Run, Tcp, Udp, same};

pub use list::{EVASIONS, Evasion};

pub(super) const CASES: &[(&str, Case)] = &[
    ("evasion-polled-uring", |ctx| tcp(ctx, "polled-uring")),
    ("evasion-socket-by-uring", |ctx| tcp(ctx, "socket-by-uring")),
    ("evasion-datagram-by-uring", |ctx| udp(ctx, "datagram-by-uring")),
    ("evasion-fastopen-option", |ctx| tcp(ctx, "fastopen-option")),
    ("evasion-scoped", scoped),
    ("evasion-unspecified-v6", unspecified),
    ("evasion-written-hex", |ctx| tcp(ctx, "written-0x7f.1")),
    ("evasion-written-number", |ctx| tcp(ctx, "written-2130706433")),
    ("evasion-written-octal", |ctx| tcp(ctx, "written-0177.0.0.1")),
    ("evasion-sendmmsg", |ctx| udp(ctx, "sendmmsg")),
    ("evasion-sendmsg-unspec", |ctx| udp(ctx, "sendmsg-unspec")),
    ("evasion-v6-socket-v4-name", |ctx| udp(ctx, "v6-socket-v4-name")),
    ("evasion-udp-connected-elsewhere", |ctx| udp(ctx, "udp-connected-elsewhere")),
    ("evasion-udp-unspec-then-there", |ctx| udp(ctx, "udp-unspec-then-there")),
    ("evasion-tcp-unspec-then-there", |ctx| tcp(ctx, "tcp-unspec-then-there")),
    ("evasion-tcp-refused-then-there", |ctx| tcp(ctx, "tcp-refused-then-there")),
    ("evasion-bound-first", |ctx| tcp(ctx, "bound-first")),
    ("evasion-udplite", |ctx| udp(ctx, "udplite")),
    ("evasion-inherited-by-child", |ctx| tcp(ctx, "inherited-by-child")),
    ("evasion-duplicate", |ctx| tcp(ctx, "duplicate")),
    ("evasion-vfork", |ctx| tcp(ctx, "vfork")),
    ("evasion-int80", |ctx| tcp(ctx, "int80")),
    ("evasion-x32", |ctx| tcp(ctx, "x32")),
    ("evasion-in-user-namespace", |ctx| tcp(ctx, "in-user-namespace")),
    ("evasion-in-net-namespace", |ctx| tcp(ctx, "in-net-namespace")),
    ("evasion-in-new-cgroup-namespace", |ctx| tcp(ctx, "in-new-cgroup-namespace")),
    ("evasion-flood-hides-no-denial", flood),
    ("evasion-program-by-proc-self-root", |ctx| {
        let tool = format!("/proc/self/root{}", ctx.path("tool")?);
        run_tool(ctx, &["spawn", &tool])
    }),
    ("evasion-program-by-descriptor", |ctx| {
        run_tool(ctx, &["spawn", ctx.agent()?, "execveat-empty", &ctx.path("tool")?])
    }),
    ("evasion-program-by-proc-self-fd", |ctx| {
        run_tool(ctx, &["spawn", ctx.agent()?, "exec-proc-fd", &ctx.path("tool")?])
    }),
    ("evasion-program-from-thread", |ctx| {
        run_tool(ctx, &["spawn", ctx.agent()?, "thread-exec", &ctx.path("tool")?])
    }),
    ("evasion-program-with-2-mib-of-arguments", long),
];

const POLICY: &str = "[[deny]]\nid = \"no-way\"\nnet = { to = [\"127.0.0.1\", \"::1\"] }\n";

/// Goes there by a way that is denied.
fn dodge(ctx: &Ctx, way: &str, to: SocketAddr) -> Result<Recorded> {
    let run = Run::new(ctx).policy(POLICY).agent(["dodge", way, &to.to_string()]).go()?;
    supported(&run)?;
    run.exited(libc::EPERM)?;
    let calls = run.ledger.calls("connect");
    let denied = calls.iter().any(|call| {
        call["verdict"] == "denied"
            && call["rule"] == "no-way"
            && call["net"]["peer"]["port"] == to.port()
    });
    ensure!(denied, "no denial of port {} among {calls:?}", to.port());
    Ok(run)
}

fn tcp(ctx: &Ctx, way: &str) -> Result<()> {
    let server = Tcp::new()?;
    dodge(ctx, way, server.addr)?;
    same("connections at the server", server.reached()?, 0)
}

fn udp(ctx: &Ctx, way: &str) -> Result<()> {
    let sink = Udp::new()?;
    dodge(ctx, way, sink.addr)?;
    same("datagrams", sink.received(), 0)
}

fn scoped(ctx: &Ctx) -> Result<()> {
    let server = Tcp::v6()?;
    dodge(ctx, "scoped", server.addr)?;
    same("connections at the server", server.reached()?, 0)
}

fn unspecified(ctx: &Ctx) -> Result<()> {
    let server = Tcp::v6()?;
    dodge(ctx, "duplicate-v6", SocketAddr::from((Ipv6Addr::UNSPECIFIED, server.addr.port())))?;
    same("connections at the server", server.reached()?, 0)
}

/// More events than the ring has room for, while nobody reads it; then what is denied.
fn flood(ctx: &Ctx) -> Result<()> {
    use crate::harness::{Gate, PATIENCE, until};
    use rustix::process::Signal;

    let (server, fifo, report) = (Tcp::new()?, ctx.fifo("fifo")?, ctx.path("report")?);
    let (agent, to) = (ctx.agent()?, server.addr.to_string());
    // A datagram is 136 bytes of a ring of 16 MiB.
    let policy = "[[deny]]\nid = \"no-way\"\nnet = { to = [\"127.0.0.1\"], protocol = \"tcp\" }\n";
    let args = ["wait-file", &fifo, agent, "report", &report, agent, "all", agent];
    let rest = ["udp-many", "150000", ",", agent, "connect", &to];
    let live = Run::new(ctx)
        .policy(policy)
        .patience(4 * PATIENCE)
        .agent([args.as_slice(), &rest].concat())
        .start()?;
    let gate = Gate::of(&fifo)?;
    live.signal(Signal::STOP)?;
    gate.open();
    let done = || Ok(std::fs::read_to_string(&report).ok());
    let status = until("the agent's report", 4 * PATIENCE, done);
    live.signal(Signal::CONT)?;
    same("what the agent's connect gave", status?, libc::EPERM.to_string())?;
    let run = live.finish()?;
    same("connections at the server", server.reached()?, 0)?;
    let call = run.ledger.one_to(server.addr)?;
    same("verdict", &call["verdict"], &json!("denied"))?;
    ensure!(run.ledger.lost() > 0, "nothing was lost: the ring was not full");
    let end = *run.ledger.of_type("run.end").first().unwrap_or(&call);
    let count = |key: &str| end["end"]["events"][key].as_u64().unwrap_or(0);
    same("kept and lost", count("kept") + count("lost"), count("produced"))
}

/// That the program `tool` does not run, whichever way it is named.
fn run_tool(ctx: &Ctx, way: &[&str]) -> Result<()> {
    let (tool, effect) = (ctx.copy_of_agent("tool")?, ctx.path("effect")?);
    let policy = format!("[[deny]]\nid = \"no-tool\"\nexec = {{ program = {tool:?} }}\n");
    let args = [way, &["touch", &effect]].concat();
    let run = Run::new(ctx).policy(&policy).agent(args).go()?;
    supported(&run)?;
    crate::harness::never_ran(&effect)?;
    denied_exec(&run)
}

fn denied_exec(run: &Recorded) -> Result<()> {
    let mut calls = run.ledger.calls("exec");
    calls.retain(|call| call["verdict"] == "denied");
    ensure!(calls.len() == 1, "wanted one denied exec, saw {calls:?}");
    same("rule", &calls[0]["rule"], &json!("no-tool"))
}

/// An argument that a rule names, behind more than a recorder may want to read.
fn long(ctx: &Ctx) -> Result<()> {
    let (tool, effect) = (ctx.copy_of_agent("tool")?, ctx.path("effect")?);
    let policy =
        "[[deny]]\nid = \"no-tool\"\nexec = { program = \"tool\", args = [\"--forbidden\"] }\n";
    let args = ["spawn", ctx.agent()?, "long-argv", &tool, &effect, "--forbidden"];
    let run = Run::new(ctx).policy(policy).agent(args).go()?;
    crate::harness::never_ran(&effect)?;
    denied_exec(&run)
}

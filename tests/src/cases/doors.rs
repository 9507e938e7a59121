//! Doors beside programs and the internet: unix sockets, other families of sockets, system calls
//! that reach past the run. Where a kernel has no hook, a rule on one is refused, and so is the run.

mod processes;

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::net::supported;
use crate::harness::{Ctx, Passer, Recorded, Run, Tcp, Udp, at, same, skip};

pub(super) const CASES: &[(&str, Case)] = &[
    ("deny-unix-by-path", |ctx| unix(ctx, &|path| format!("path = [{path:?}]"), Named::Plain)),
    ("deny-unix-below-directory", |ctx| unix(ctx, &|path| below(path), Named::Plain)),
    ("deny-unix-by-last-part", |ctx| unix(ctx, &|_| "path = [\"door.sock\"]".into(), Named::Plain)),
    ("deny-unix-by-beginning", |ctx| unix(ctx, &|_| "path = [\"door.*\"]".into(), Named::Plain)),
    ("deny-unix-holds-through-a-symbolic-link", |ctx| {
        unix(ctx, &|path| format!("path = [{path:?}]"), Named::Symlink)
    }),
    ("deny-unix-holds-through-a-hard-link", |ctx| {
        unix(ctx, &|path| format!("path = [{path:?}]"), Named::Hardlink)
    }),
    ("deny-unix-holds-through-proc-self-root", |ctx| {
        unix(ctx, &|path| format!("path = [{path:?}]"), Named::ProcRoot)
    }),
    ("deny-unix-holds-for-relative-path", |ctx| {
        unix(ctx, &|path| format!("path = [{path:?}]"), Named::Relative)
    }),
    ("deny-unix-holds-for-datagrams", |ctx| unix_send(ctx, true)),
    ("unix-datagram-is-recorded", |ctx| unix_send(ctx, false)),
    ("deny-unix-of-a-datagram-sockets-connect-is-told-once", |ctx| unix_joins(ctx, true)),
    ("unix-datagram-sockets-connect-is-told-once", |ctx| unix_joins(ctx, false)),
    ("deny-unix-by-abstract-name-and-no-other", unix_abstract),
    ("unix-allow-list-names-its-rule", unix_allowed),
    ("deny-system-ptrace", |ctx| processes::aimed(ctx, "ptrace", &["ptrace", "PID"])),
    ("deny-system-ptrace-holds-for-process-vm-writev", |ctx| {
        processes::aimed(ctx, "ptrace", &["vm-write", "PID"])
    }),
    ("deny-system-ptrace-holds-for-proc-mem", |ctx| {
        processes::aimed(ctx, "ptrace", &["proc-mem", "PID"])
    }),
    ("deny-system-ptrace-holds-for-pidfd-getfd", |ctx| {
        processes::aimed(ctx, "ptrace", &["pidfd-getfd", "PID"])
    }),
    ("deny-system-signal", |ctx| processes::aimed(ctx, "signal", &["signal", "PID", "9"])),
    ("deny-system-signal-holds-for-pidfds", |ctx| {
        processes::aimed(ctx, "signal", &["pidfd-signal", "PID", "9"])
    }),
    ("deny-system-signal-holds-for-descriptors", processes::for_descriptor),
    ("signal-within-the-run-is-its-own-affair", processes::own_signal),
    ("deny-system-limits", |ctx| processes::limited(ctx, "prlimit", "RLIMIT_CPU")),
    ("deny-system-limits-holds-for-priorities", |ctx| {
        processes::limited(ctx, "setpriority", "priority")
    }),
    ("deny-system-limits-holds-for-disks", |ctx| processes::limited(ctx, "ioprio", "io priority")),
    ("deny-system-limits-holds-for-scheduling", |ctx| {
        processes::limited(ctx, "affinity", "scheduling")
    }),
    ("deny-system-bpf", |ctx| system(ctx, "bpf", &["bpf"])),
    ("deny-system-mount", |ctx| system(ctx, "mount", &["mount", ctx.path("")?.as_str()])),
    ("deny-system-mount-holds-for-fsmount", |ctx| system(ctx, "mount", &["fsmount"])),
    ("deny-system-kernel", |ctx| system(ctx, "kernel", &["module"])),
    ("deny-system-userns", |ctx| {
        system(ctx, "userns", &["unshare", &libc::CLONE_NEWUSER.to_string()])
    }),
    ("deny-system-netlink", |ctx| {
        let netfilter = libc::NETLINK_NETFILTER.to_string();
        let args = ["socket", "16", "3", netfilter.as_str()];
        ruled(ctx, "system = [\"netlink\"]", &args, |run| socket(run, "netlink", "no-way"))
    }),
    ("deny-system-cgroup", |ctx| escape(ctx, "escape")),
    ("deny-system-cgroup-holds-for-birth", |ctx| escape(ctx, "born-elsewhere")),
    ("net-policy-denies-packet-sockets", |ctx| family(ctx, libc::AF_PACKET, "packet")),
    ("net-policy-denies-vsock", |ctx| family(ctx, libc::AF_VSOCK, "vsock")),
    ("net-policy-keeps-back-a-datagram-socket-from-elsewhere", received_udp),
    ("net-policy-judges-a-connection-from-elsewhere", received_tcp),
    ("preset-contained-holds", preset),
];

/// A rule named `no-way`.
fn rule(scope: &str) -> String {
    format!("[[deny]]\nid = \"no-way\"\n{scope}\n")
}

/// Whether this kernel has the hooks; looked once.
pub(super) fn hooks(ctx: &Ctx) -> Result<bool> {
    static FOUND: OnceLock<bool> = OnceLock::new();
    match FOUND.get() {
        Some(found) => Ok(*found),
        None => look(ctx).map(|found| *FOUND.get_or_init(|| found)),
    }
}

fn look(ctx: &Ctx) -> Result<bool> {
    let run = Run::new(ctx).label("probe").agent(["true"]).go()?;
    run.exited(0)?;
    let start = *run.ledger.of_type("run.start").first().context("no run.start")?;
    let words = at(start, "/start/enforcement").as_array().context("no enforcement")?;
    Ok(words.contains(&json!("doors:lsm")))
}

/// A run under such a rule: where the kernel can hold it, `check` sees what came of it.
fn ruled(
    ctx: &Ctx,
    scope: &str,
    args: &[&str],
    check: impl FnOnce(&Recorded) -> Result<()>,
) -> Result<()> {
    let run = Run::new(ctx).policy(&rule(scope)).agent(args.iter().copied());
    if !hooks(ctx)? {
        return unheld(run);
    }
    let run = run.go()?;
    supported(&run)?;
    // A refusal by ptrace's hook is EACCES where it is /proc/PID/mem that asks (fs/proc/base.c,
    // proc_mem_open).
    let through_proc = args.first() == Some(&"proc-mem") && run.code == Some(libc::EACCES);
    run.exited(if through_proc { libc::EACCES } else { libc::EPERM })?;
    check(&run)
}

/// The kernel has no hook for the rule: there is no run, and that is said.
fn unheld(run: Run<'_>) -> Result<()> {
    let (code, said) = run.start()?.end()?;
    same("exit status", code, Some(2))?;
    ensure!(said.contains("rule no-way: this kernel can't hold"), "it said: {said}");
    Ok(())
}

fn below(path: &str) -> String {
    let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
    format!("path = [\"{dir}/*\"]")
}

#[derive(Clone, Copy)]
enum Named {
    Plain,
    Symlink,
    Hardlink,
    ProcRoot,
    Relative,
}

/// The one call to a unix socket that a run made.
fn to_unix(run: &Recorded) -> Result<&Value> {
    let mut calls = run.ledger.calls("connect");
    calls.retain(|call| call["net"]["protocol"] == "unix");
    ensure!(calls.len() == 1, "wanted one call to a unix socket, saw {calls:?}");
    Ok(calls[0])
}

fn denied(run: &Recorded, call: &Value, rule: &str) -> Result<()> {
    same("verdict", &call["verdict"], &json!("denied"))?;
    same("rule", &call["rule"], &json!(rule))?;
    same("errno", &run.ledger.outcome(call)?["errno"], &json!(libc::EPERM))
}

/// A listener in a directory of its own; the socket is named in each way that there is.
fn unix(ctx: &Ctx, scope: &dyn Fn(&str) -> String, named: Named) -> Result<()> {
    std::fs::create_dir_all(ctx.path("server")?)?;
    let path = ctx.path("server/door.sock")?;
    let server = UnixListener::bind(&path)?;
    server.set_nonblocking(true)?;
    let link = ctx.path("other")?;
    let (deed, name) = match named {
        Named::Plain => ("unix-connect", path.clone()),
        Named::Symlink => {
            std::os::unix::fs::symlink(&path, &link)?;
            ("unix-connect", link)
        }
        Named::Hardlink => {
            std::fs::hard_link(&path, &link)?;
            ("unix-connect", link)
        }
        Named::ProcRoot => ("unix-connect", format!("/proc/self/root{path}")),
        Named::Relative => ("unix-relative", path.clone()),
    };
    ensure!(name.len() < 108, "the path is too long for a socket: {name}");
    ruled(ctx, &format!("unix = {{ {} }}", scope(&path)), &[deed, &name], |run| {
        let call = to_unix(run)?;
        denied(run, call, "no-way")?;
        same("path", at(call, "/net/path"), &json!(path))
    })?;
    ensure!(server.accept().is_err(), "somebody came");
    Ok(())
}

fn unix_send(ctx: &Ctx, deny: bool) -> Result<()> {
    let path = ctx.path("d.sock")?;
    let server = UnixDatagram::bind(&path)?;
    server.set_nonblocking(true)?;
    let args = ["unix-send", path.as_str()];
    if deny {
        ruled(ctx, "unix = { path = [\"d.sock\"] }", &args, |run| {
            let call = to_unix(run)?;
            same("op", at(call, "/net/op"), &json!("send"))?;
            denied(run, call, "no-way")
        })?;
        ensure!(server.recv(&mut [0; 16]).is_err(), "a datagram came");
        return Ok(());
    }
    if !hooks(ctx)? {
        return skip("this kernel has no hook for unix datagrams");
    }
    let run = Run::new(ctx).agent(args).go()?;
    run.exited(0)?;
    let call = to_unix(&run)?;
    same("path", at(call, "/net/path"), &json!(path))?;
    same("verdict", &call["verdict"], &json!("allowed"))
}

/// A datagram socket's connect is asked of the hook that datagrams are, and is none.
fn unix_joins(ctx: &Ctx, deny: bool) -> Result<()> {
    let path = ctx.path("d.sock")?;
    let _server = UnixDatagram::bind(&path)?;
    let args = ["unix-datagram-connect", path.as_str()];
    if deny {
        return ruled(ctx, "unix = { path = [\"d.sock\"] }", &args, |run| {
            let call = to_unix(run)?;
            same("op", at(call, "/net/op"), &json!("connect"))?;
            denied(run, call, "no-way")
        });
    }
    let run = Run::new(ctx).agent(args).go()?;
    run.exited(0)?;
    let call = to_unix(&run)?;
    same("op", at(call, "/net/op"), &json!("connect"))?;
    same("status", &run.ledger.outcome(call)?["status"], &json!("ok"))
}

fn unix_abstract(ctx: &Ctx) -> Result<()> {
    let name = format!("observer-doors-{}", std::process::id());
    let bind = |name: &str| -> Result<UnixListener> {
        Ok(UnixListener::bind_addr(&UnixAddr::from_abstract_name(name)?)?)
    };
    let (_closed, open) = (bind(&name)?, bind(&format!("{name}-too"))?);
    open.set_nonblocking(true)?;
    let agent = ctx.agent()?;
    let (no, yes) = (format!("@{name}"), format!("@{name}-too"));
    let args = ["all", agent, "unix-connect", &yes, ",", agent, "unix-connect", &no];
    ruled(ctx, &format!("unix = {{ abstract = [{name:?}] }}"), &args, |run| {
        let calls = run.ledger.calls("connect");
        let stopped = calls.iter().find(|c| c["verdict"] == "denied").context("none denied")?;
        same("name", at(stopped, "/net/abstract"), &json!(name))?;
        denied(run, stopped, "no-way")?;
        ensure!(open.accept().is_ok(), "the other was not reached");
        Ok(())
    })
}

/// Under `default = "deny"` a socket of the run's own is the run's affair; another is not.
fn unix_allowed(ctx: &Ctx) -> Result<()> {
    if !hooks(ctx)? {
        return skip("this kernel has no hook for unix sockets");
    }
    let (yes, no) = (ctx.path("yes.sock")?, ctx.path("no.sock")?);
    let (_yes, _no) = (UnixListener::bind(&yes)?, UnixListener::bind(&no)?);
    let agent = ctx.agent()?;
    let policy = format!(
        "default = \"deny\"\n[[allow]]\nid = \"sample\"\nexec = {{ program = {agent:?} }}\n\
         [[allow]]\nid = \"yes\"\nunix = {{ path = [{yes:?}] }}\n"
    );
    let args = ["all", agent, "unix-connect", &yes, ",", agent, "unix-connect", &no];
    let run = Run::new(ctx).policy(&policy).agent(args).go()?;
    run.exited(libc::EPERM)?;
    let calls = run.ledger.calls("connect");
    same("calls", calls.len(), 2)?;
    let rule_of =
        |path: &str| calls.iter().find(|c| *at(c, "/net/path") == *path).map(|c| &c["rule"]);
    same("rule of the one", rule_of(&yes), Some(&json!("yes")))?;
    same("rule of the other", rule_of(&no), Some(&json!("default")))
}

/// The one call at a door.
fn door<'a>(run: &'a Recorded, word: &str) -> Result<&'a Value> {
    let mut calls = run.ledger.calls("system");
    calls.retain(|call| *at(call, "/system/op") == *word);
    ensure!(calls.len() == 1, "wanted one call of {word}, saw {calls:?}");
    Ok(calls[0])
}

fn system(ctx: &Ctx, word: &str, args: &[&str]) -> Result<()> {
    ruled(ctx, &format!("system = [{word:?}]"), args, |run| {
        denied(run, door(run, word)?, "no-way")
    })?;
    // Without the rule it is recorded.
    if !hooks(ctx)? {
        return Ok(());
    }
    let run = Run::new(ctx).label("allowed").agent(args.iter().copied()).go()?;
    let call = run.ledger.calls("system").first().copied().context("not recorded")?;
    same("verdict", &call["verdict"], &json!("allowed"))
}

fn escape(ctx: &Ctx, deed: &str) -> Result<()> {
    let elsewhere = crate::harness::Cgroup::new("door")?;
    let args = [deed, elsewhere.path()?, ctx.agent()?, "true"];
    ruled(ctx, "system = [\"cgroup\"]", &args, |run| {
        denied(run, door(run, "cgroup")?, "no-way")?;
        same("escapes", run.ledger.of_type("escape").len(), 0)
    })
}

fn socket(run: &Recorded, word: &str, rule: &str) -> Result<()> {
    let calls = run.ledger.calls("socket");
    let call = *calls.first().context("no socket")?;
    same("protocol", at(call, "/net/protocol"), &json!(word))?;
    denied(run, call, rule)
}

/// What no rule about destinations can hold is denied as soon as there is one.
fn family(ctx: &Ctx, family: i32, word: &str) -> Result<()> {
    if !hooks(ctx)? {
        return skip("this kernel has no hook for other families");
    }
    let policy = rule("net = { to = [\"192.0.2.1\"] }");
    let kind = if family == libc::AF_PACKET { libc::SOCK_RAW } else { libc::SOCK_STREAM };
    let args = ["socket".to_owned(), family.to_string(), kind.to_string(), "0".to_owned()];
    let run = Run::new(ctx).policy(&policy).agent(args).go()?;
    supported(&run)?;
    run.exited(libc::EPERM)?;
    socket(&run, word, "unheld-socket")
}

fn receives(ctx: &Ctx, fd: OwnedFd, to: &str, deny: SocketAddr) -> Result<Option<Recorded>> {
    if !hooks(ctx)? {
        return Ok(None);
    }
    let path = ctx.path("pass.sock")?;
    let passer = Passer::new(&path, fd)?;
    let policy = rule(&format!("net = {{ to = [\"{}\"] }}", deny.ip()));
    let run = Run::new(ctx).policy(&policy).agent(["receive-socket", &path, to]).go()?;
    passer.passed()?;
    Ok(Some(run))
}

fn received_udp(ctx: &Ctx) -> Result<()> {
    let sink = Udp::new()?;
    let fd = UdpSocket::bind("127.0.0.1:0")?.into();
    let Some(run) = receives(ctx, fd, &sink.addr.to_string(), sink.addr)? else {
        return skip("this kernel has no hook for descriptors that come");
    };
    run.exited(libc::EPERM)?;
    same("datagrams", sink.received(), 0)?;
    let call = *run.ledger.calls("socket").first().context("not recorded")?;
    same("op", at(call, "/net/op"), &json!("receive"))?;
    denied(&run, call, "unheld-socket")
}

fn received_tcp(ctx: &Ctx) -> Result<()> {
    let server = Tcp::new()?;
    for (deny, code, rule) in
        [(server.addr, libc::EPERM, json!("no-way")), ("192.0.2.1:1".parse()?, 0, Value::Null)]
    {
        let fd = TcpStream::connect(server.addr)?.into();
        let path = ctx.path("pass.sock")?;
        let _ = std::fs::remove_file(&path);
        let Some(run) = receives(ctx, fd, "-", deny)? else {
            return skip("this kernel has no hook for descriptors that come");
        };
        run.exited(code)?;
        // The second run goes on in the first one's ledger.
        let call = *run.ledger.calls("socket").last().context("not recorded")?;
        same("peer", at(call, "/net/peer/port"), &json!(server.addr.port()))?;
        same("rule", &call["rule"], &rule)?;
    }
    Ok(())
}

fn preset(ctx: &Ctx) -> Result<()> {
    let path = ctx.path("docker.sock")?;
    let _server = UnixListener::bind(&path)?;
    let agent = ctx.agent()?;
    let run = Run::new(ctx).policy("preset = \"contained\"\n").agent([
        "all",
        agent,
        "unix-connect",
        &path,
        ",",
        agent,
        "bpf",
        ",",
        agent,
        "raw",
    ]);
    if !hooks(ctx)? {
        let (code, said) = run.start()?.end()?;
        same("exit status", code, Some(2))?;
        ensure!(said.contains("rule contained."), "it said: {said}");
        return Ok(());
    }
    let run = run.go()?;
    run.exited(libc::EPERM)?;
    let calls = run.ledger.records.iter().filter(|r| r["verdict"] == "denied");
    let mut rules: Vec<&str> = calls.filter_map(|c| c["rule"].as_str()).collect();
    rules.sort_unstable();
    same("rules", rules, vec!["contained.raw", "contained.runtimes", "contained.system"])
}

//! Connections that are open when a policy comes to decide: what it denies is ended, and recorded.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Child;
use std::thread;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::Case;
use super::names::{AT, resolver};
use super::reload::{is_reload, write};
use crate::harness::{
    Cgroup, Ctx, Live, PATIENCE, Recorded, Run, at, command, finished, same, skip, until,
};
use crate::hello::Hello;

pub(super) const CASES: &[(&str, Case)] = &[
    ("reload-ends-a-connection-that-it-denies", |ctx| ends(ctx, &[])),
    ("reload-ends-a-connection-that-is-bound-to-a-device", |ctx| ends(ctx, &["--bound"])),
    ("reload-ends-a-connected-datagram-socket", datagrams),
    ("reload-ends-a-connection-by-the-name-that-it-asked-for", named),
    ("reload-ends-a-connection-by-its-sni", by_sni),
    ("reload-ends-a-connection-by-the-name-that-led-there", by_lookup),
    ("reload-ends-a-connection-of-before-the-recorder", reloaded_after_attach),
    ("attach-ends-a-connection-that-is-denied-and-none-that-was-accepted", attached),
    ("attach-leaves-a-connection-that-names-may-allow-and-says-so", unknown),
];

const OPEN: &str = "version = 1\ndefault = \"allow\"\n\
                    [[deny]]\nid = \"elsewhere\"\nnet = { to = \"192.0.2.1\" }\n";

/// A rule on one destination.
fn rule(to: SocketAddr) -> String {
    let (ip, port) = (to.ip(), to.port());
    format!("[[deny]]\nid = \"closed\"\nnet = {{ to = \"{ip}\", port = {port} }}\n")
}

fn closed(to: SocketAddr) -> String {
    format!("{OPEN}{}", rule(to))
}

/// A server that answers each byte with itself.
fn echo() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut byte = [0];
            while matches!(stream.read(&mut byte), Ok(1)) && stream.write_all(&byte).is_ok() {}
        }
    });
    Ok(addr)
}

/// The call that tells the end.
fn end_of(run: &Recorded) -> Result<&Value> {
    let kept: Vec<&Value> =
        run.ledger.calls("connect").into_iter().filter(|c| at(c, "/net/op") == "keep").collect();
    ensure!(kept.len() == 1, "wanted one connection's end, saw {kept:?}");
    Ok(kept[0])
}

/// Runs the agent, and reloads as soon as this is recorded.
fn reloaded(
    ctx: &Ctx,
    args: &[&str],
    policy: &str,
    (what, when): (&str, impl Fn(&Value) -> bool),
) -> Result<Recorded> {
    let file = ctx.path("policy.toml")?;
    write(&file, OPEN)?;
    let args = args.iter().copied();
    let mut live = Run::new(ctx).options(["--policy", &file]).agent(args).start()?;
    live.until_recorded(what, when)?;
    write(&file, policy)?;
    live.signal(Signal::HUP)?;
    let run = live.finish()?;
    run.exited(libc::ECONNABORTED)?;
    run.verify()?;
    ensure!(run.ledger.records.iter().any(|r| is_reload(r, 2)), "no reload was told");
    Ok(run)
}

/// Of two connections one is denied, and one would be.
fn ends(ctx: &Ctx, flags: &[&str]) -> Result<()> {
    let (first, other) = (echo()?, echo()?);
    let to = format!("{other},{first}");
    let would = closed(other).replace("id = \"closed\"", "id = \"would\"\nenforce = false");
    let policy = format!("{would}{}", rule(first));
    let args = [&["keep", &to], flags].concat();
    // The one that is waited for connects last.
    let open = move |r: &Value| at(r, "/net/peer/port") == &json!(first.port());
    let run = reloaded(ctx, &args, &policy, ("both connects", open))?;
    let began = run.ledger.to(first);
    let end = end_of(&run)?;
    ensure!(began.len() == 2 && began[0]["call"] != end["call"], "calls: {began:?}");
    same("whose end", &end["parent"], &began[0]["call"])?;
    same("where to", at(end, "/net/peer"), at(began[0], "/net/peer"))?;
    same("verdict", &end["verdict"], &json!("denied"))?;
    same("rule", &end["rule"], &json!("closed"))?;
    same("policy", &end["policy"], at(run.ledger.of_type("policy")[0], "/reload/sha256"))?;
    same("who", at(end, "/process/pid"), at(began[0], "/process/pid"))?;
    same("how", at(end, "/outcome/errno"), &json!(libc::ECONNABORTED))?;
    run.ledger.nothing_lost()?;
    run.ledger.one_to(other).map(|_| ())
}

fn datagrams(ctx: &Ctx) -> Result<()> {
    let said = command(&ctx.observer).arg("doctor").output()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let line = said.lines().find(|line| line.contains("open datagram sockets"));
    if line.is_none_or(|line| line.starts_with("uncovered")) {
        return skip(line.unwrap_or("doctor doesn't say"));
    }
    let server = UdpSocket::bind("127.0.0.1:0")?;
    let to = server.local_addr()?;
    let connected = move |r: &Value| at(r, "/net/peer/port") == &json!(to.port());
    let args = ["keep", &to.to_string(), "--udp"];
    let run = reloaded(ctx, &args, &closed(to), ("the connect", connected))?;
    same("protocol", at(end_of(&run)?, "/net/protocol"), &json!("udp"))
}

/// No lookup was seen, and the address is anybody's: the request has the name.
fn named(ctx: &Ctx) -> Result<()> {
    // Nobody answers.
    let (server, file) = (TcpListener::bind("127.0.0.1:0")?, ctx.path("request")?);
    let to = server.local_addr()?.to_string();
    fs::write(&file, "GET / HTTP/1.1\r\nHost: Evil.example\r\n\r\n")?;
    let policy = format!("{OPEN}[[deny]]\nid = \"evil\"\nnet = {{ host = \"evil.example\" }}\n");
    let asked = |r: &Value| r["type"] == "call" && r["kind"] == "http";
    let run =
        reloaded(ctx, &["keep", &to, &format!("--say={file}")], &policy, ("the request", asked))?;
    same("rule", &end_of(&run)?["rule"], &json!("evil"))
}

fn by_sni(ctx: &Ctx) -> Result<()> {
    let (server, file) = (TcpListener::bind("127.0.0.1:0")?, ctx.path("hello")?);
    let to = server.local_addr()?.to_string();
    fs::write(&file, Hello { names: &["evil.example"], ..Hello::default() }.bytes())?;
    let policy = format!("{OPEN}[[deny]]\nid = \"evil\"\nnet = {{ host = \"*.example\" }}\n");
    let asked = |r: &Value| r["type"] == "call" && r["kind"] == "tls";
    let say = format!("--say={file}");
    let run = reloaded(ctx, &["keep", &to, &say], &policy, ("the hello", asked))?;
    same("rule", &end_of(&run)?["rule"], &json!("evil"))
}

/// One connection asks for nothing, and leads where an answer to the run did.
fn by_lookup(ctx: &Ctx) -> Result<()> {
    let (_resolver, server) = (resolver()?, TcpListener::bind("127.0.0.1:0")?);
    let (to, resolver) = (server.local_addr()?, format!("{AT}:53"));
    let (agent, given) = (ctx.agent()?, to.to_string());
    let rule = "[[deny]]\nid = \"good\"\nnet = { host = \"good.test\" }\n";
    let policy = OPEN.replacen('\n', &format!("\nresolvers = [\"{AT}\"]\n"), 1) + rule;
    let open = move |r: &Value| at(r, "/net/peer/port") == &json!(to.port());
    let args = ["all", agent, "lookup", &resolver, "good.test", ",", agent, "keep", &given];
    let run = reloaded(ctx, &args, &policy, ("the connect", open))?;
    same("rule", &end_of(&run)?["rule"], &json!("good"))
}

/// An agent that is there already, with these connections open, and the recorder that comes to it.
struct Before {
    acting: Child,
    file: String,
    _cgroup: Cgroup,
}

impl Before {
    fn new(ctx: &Ctx, args: &[&str], policy: &str) -> Result<(Self, Live)> {
        let (cgroup, file) = (Cgroup::new("standing")?, ctx.path("policy.toml")?);
        let told = ctx.path("open")?;
        write(&file, policy)?;
        let mut acting = command(&ctx.agent);
        acting
            .args(["escape", cgroup.path()?, ctx.agent()?])
            .args(args)
            .arg(format!("--tell={told}"));
        let before = Self { acting: acting.spawn()?, file, _cgroup: cgroup };
        until("open connections", PATIENCE, || Ok(fs::exists(&told)?.then_some(())))?;
        let pid = before.acting.id().to_string();
        let live = Live::attach_to(ctx, &["--pid", &pid, "--policy", &before.file])?;
        Ok((before, live))
    }

    fn ended(&mut self, live: Live) -> Result<Recorded> {
        let status = finished(&mut self.acting, "the agent", PATIENCE)?;
        same("the agent's exit status", status.code(), Some(libc::ECONNABORTED))?;
        let run = live.finish()?;
        run.exited(0)?;
        run.verify()?;
        Ok(run)
    }
}

impl Drop for Before {
    fn drop(&mut self) {
        drop(self.acting.kill());
        drop(self.acting.wait());
    }
}

fn attached(ctx: &Ctx) -> Result<()> {
    let (to, addr) = (echo()?, ctx.path("addr")?);
    // Where the agent listens, and whoever comes there, is as denied as where it goes.
    let all = format!("{OPEN}[[deny]]\nid = \"closed\"\nnet = {{ to = \"127.0.0.0/8\" }}\n");
    let comes = {
        let addr = addr.clone();
        thread::spawn(move || -> Result<()> {
            let to = until("where it listens", PATIENCE, || Ok(fs::read_to_string(&addr).ok()))?;
            let mut stream = TcpStream::connect(to)?;
            stream.write_all(b"?")?;
            Ok(stream.read_exact(&mut [0])?)
        })
    };
    let (mut before, live) =
        Before::new(ctx, &["keep", &to.to_string(), &format!("--accept={addr}")], &all)?;
    let run = before.ended(live)?;
    ensure!(comes.join().is_ok_and(|came| came.is_ok()), "who came to the agent was not answered");
    let end = end_of(&run)?;
    same("where to", at(end, "/net/peer/port"), &json!(to.port()))?;
    same("whose end", &end["parent"], &Value::Null)?;
    same("rule", &end["rule"], &json!("closed"))
}

fn reloaded_after_attach(ctx: &Ctx) -> Result<()> {
    let to = echo()?;
    let (mut before, mut live) = Before::new(ctx, &["keep", &to.to_string()], OPEN)?;
    live.until_recorded("run.start", |r| r["type"] == "run.start")?;
    write(&before.file, &closed(to))?;
    live.signal(Signal::HUP)?;
    let run = before.ended(live)?;
    same("rule", &end_of(&run)?["rule"], &json!("closed"))
}

fn unknown(ctx: &Ctx) -> Result<()> {
    let (to, go) = (echo()?.to_string(), ctx.path("go")?);
    let list = "version = 1\ndefault = \"deny\"\n\
                [[allow]]\nid = \"good\"\nnet = { host = \"good.test\" }\n";
    let (mut before, mut live) = Before::new(ctx, &["keep", &to, &format!("--until={go}")], list)?;
    let said =
        |r: &Value| r["type"] == "coverage" && at(r, "/coverage/what") == "connections of before";
    live.until_recorded("what goes on", said)?;
    write(&go, "")?;
    let status = finished(&mut before.acting, "the agent", PATIENCE)?;
    same("the agent's exit status", status.code(), Some(0))?;
    let run = live.finish()?;
    run.verify()?;
    same("ends", run.ledger.calls("connect").len(), 0)
}

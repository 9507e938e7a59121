//! Names: questions are calls, and a rule on a name holds wherever answers say that it leads.

mod zone;

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::net::supported;
use crate::dns::{self, head};
use crate::harness::{Ctx, Ledger, Recorded, Resolver, Run, Tcp, at, command, same, skip};

pub(super) use zone::{AT, list, resolver};

pub(super) const CASES: &[(&str, Case)] = &[
    ("dns-question-is-recorded-with-its-answer", recorded),
    ("dns-over-tcp-is-recorded-with-its-answer", recorded_tcp),
    ("dns-without-answer-is-recorded-as-unknown", unanswered),
    ("dns-that-can-not-be-read-is-recorded", unread_recorded),
    ("host-allowed-by-name-is-reached", |ctx| allowed(ctx, "good.test", &[])),
    ("host-allowed-through-alias-is-reached", |ctx| allowed(ctx, "alias.good.test", &[])),
    ("host-allowed-over-connected-udp-is-reached", |ctx| {
        allowed(ctx, "good.test", &["--connected"])
    }),
    ("host-allowed-over-tcp-is-reached", |ctx| allowed(ctx, "good.test", &["--tcp"])),
    ("host-allowed-in-any-case-is-reached", |ctx| allowed(ctx, "GoOd.TEST", &[])),
    ("host-allowed-over-ipv6-is-reached", allowed_v6),
    ("host-allowed-is-reached-by-the-c-library", c_library),
    ("host-not-allowed-is-not-asked-for", |ctx| refused(ctx, "other.test", "other.test", &[])),
    ("host-not-allowed-in-any-case-is-not-asked-for", |ctx| {
        refused(ctx, "OTHER.test", "other.test", &[])
    }),
    ("host-suffix-is-no-name-of-its-own", |ctx| refused(ctx, "sub.test", "sub.test", &[])),
    ("host-that-ends-alike-is-not-asked-for", |ctx| refused(ctx, "xgood.test", "xgood.test", &[])),
    ("host-not-allowed-over-connected-udp-is-not-asked-for", |ctx| {
        refused(ctx, "other.test", "other.test", &["--connected"])
    }),
    ("host-not-allowed-over-tcp-is-not-asked-for", refused_tcp),
    ("host-asked-for-in-pieces-is-not-asked-for", |ctx| in_pieces(ctx, "--split")),
    ("host-asked-for-byte-by-byte-is-not-asked-for", |ctx| in_pieces(ctx, "--bytes")),
    ("host-rules-stop-what-can-not-be-read", unread_stopped),
    ("host-denied-is-not-asked-for", denied),
    ("host-denied-behind-alias-is-not-reached", denied_behind_alias),
    ("replay-knows-each-name-of-an-address", replayed),
    ("host-allowed-says-nothing-of-other-addresses", elsewhere),
    ("host-allowed-says-nothing-of-other-ports", other_port),
    ("address-denied-is-not-reached-by-any-name", address_denied),
    ("answer-with-another-id-binds-nothing", |ctx| unbound(ctx, "wrong-id.good.test")),
    ("answer-for-another-name-binds-nothing", |ctx| unbound(ctx, "wrong-owner.good.test")),
    ("answer-to-another-question-binds-nothing", |ctx| unbound(ctx, "wrong-question.good.test")),
    ("answer-from-another-address-binds-nothing", |ctx| unbound(ctx, "forged.good.test")),
    ("answer-with-a-loop-binds-nothing", |ctx| unbound(ctx, "loop.good.test")),
    ("answer-of-a-stranger-binds-nothing", stranger),
    ("answer-of-the-run-itself-binds-nothing", own_answer),
    ("answer-in-another-network-binds-nothing", other_network),
];

fn args(deed: &[&str], flags: &[&str]) -> Vec<String> {
    [deed, flags].concat().into_iter().map(str::to_owned).collect()
}

fn reach(name: &str, port: u16, flags: &[&str]) -> Vec<String> {
    args(&["reach", &format!("{AT}:53"), name, &port.to_string()], flags)
}

/// The one question for a name.
fn question<'a>(ledger: &'a Ledger, name: &str) -> Result<&'a Value> {
    let mut calls = ledger.calls("dns");
    calls.retain(|call| *at(call, "/dns/name") == *name);
    ensure!(calls.len() == 1, "wanted one question for {name}, saw {:?}", ledger.calls("dns"));
    Ok(calls[0])
}

/// What was answered to a question.
fn answered<'a>(ledger: &'a Ledger, call: &Value) -> Result<&'a Value> {
    let results = ledger.of_type("result");
    let found = results.into_iter().find(|r| r["call"] == call["call"]);
    match found.and_then(|r| r.get("dns")) {
        Some(answer) => Ok(answer),
        None => anyhow::bail!("no answer is recorded for {call}"),
    }
}

fn recorded(ctx: &Ctx) -> Result<()> {
    let (resolver, server) = (resolver()?, Tcp::new()?);
    let run = Run::new(ctx).agent(reach("alias.good.test", server.addr.port(), &[])).go()?;
    run.exited(0)?;
    told(&run, &resolver, "udp", false)?;
    let connect = run.ledger.one_to(server.addr)?;
    same("name", at(connect, "/net/name"), &json!("alias.good.test"))?;
    same("its source", at(connect, "/net/name_from"), &json!("dns-untrusted"))
}

fn recorded_tcp(ctx: &Ctx) -> Result<()> {
    let (resolver, server) = (resolver()?, Tcp::new()?);
    let flags = ["--tcp"];
    let run = Run::new(ctx).agent(reach("alias.good.test", server.addr.port(), &flags)).go()?;
    run.exited(0)?;
    told(&run, &resolver, "tcp", false)
}

fn told(run: &Recorded, resolver: &Resolver, protocol: &str, trusted: bool) -> Result<()> {
    let call = question(&run.ledger, "alias.good.test")?;
    same("type", at(call, "/dns/type"), &json!("A"))?;
    same("protocol", at(call, "/dns/protocol"), &json!(protocol))?;
    let server = json!({ "addr": resolver.addr.ip().to_string(), "port": 53 });
    same("resolver", at(call, "/dns/server"), &server)?;
    same("verdict", &call["verdict"], &json!("allowed"))?;
    let exec = run.ledger.exec("alias.good.test")?;
    same("its parent", &call["parent"], &exec["call"])?;
    same("status", &run.ledger.outcome(call)?["status"], &json!("ok"))?;
    let answer = answered(&run.ledger, call)?;
    let records = json!([
        { "type": "CNAME", "ttl": 60, "name": "cdn.elsewhere.test" },
        { "type": "A", "ttl": 60, "addr": "127.0.0.1" },
    ]);
    same("answers", &answer["answers"], &records)?;
    same("trust", &answer["trusted"], &json!(trusted))
}

fn unanswered(ctx: &Ctx) -> Result<()> {
    let resolver = resolver()?;
    let lookup = ["lookup", &resolver.addr.to_string(), "silent.test"];
    let run = Run::new(ctx).agent(lookup).go()?;
    let call = question(&run.ledger, "silent.test")?;
    same("status", &run.ledger.outcome(call)?["status"], &json!("unknown"))
}

/// Datagrams that are no single question.
fn odd() -> Vec<(&'static str, Vec<u8>, &'static [&'static str])> {
    let one = dns::question(7, "a.good.test", dns::A);
    let body = one[12..].to_vec();
    let with = |head: Vec<u8>, body: &[u8]| [head.as_slice(), body].concat();
    let long = "abcdefghi.".repeat(25) + "good.test";
    let (mut wide, mut dotted) = (one.clone(), one.clone());
    wide.truncate(20);
    dotted[12..25].copy_from_slice(b"\x06a.good\x04test\0");
    vec![
        ("two questions", with(head(7, 0x0100, 2, 0), &[body.clone(), body.clone()].concat()), &[]),
        ("no question", with(head(7, 0x0100, 0, 0), &[]), &[]),
        ("an answer", with(head(7, 0x8180, 1, 0), &body), &[]),
        ("an update", with(head(7, 0x2800, 1, 0), &body), &[]),
        ("a question with answers", with(head(7, 0x0100, 1, 1), &body), &[]),
        ("a pointer", with(head(7, 0x0100, 1, 0), &[0xc0, 4, 0, 1, 0, 1]), &[]),
        ("a name cut short", wide, &[]),
        ("a header cut short", vec![0; 11], &[]),
        ("one byte", vec![0], &[]),
        ("a name too long", dns::question(7, &long, dns::A), &[]),
        ("a dot in a label", dotted, &[]),
        ("two in one", [one.clone(), one].concat(), &["--gso"]),
    ]
}

fn send(message: &[u8], flags: &[&str]) -> Vec<String> {
    let hex: String = message.iter().map(|byte| format!("{byte:02x}")).collect();
    args(&["dns-send", &format!("{AT}:53"), &hex], flags)
}

fn unread_recorded(ctx: &Ctx) -> Result<()> {
    let _resolver = resolver()?;
    let two = &odd()[0].1;
    let run = Run::new(ctx).agent(send(two, &[])).go()?;
    run.exited(0)?;
    let calls = run.ledger.calls("dns");
    ensure!(calls.len() == 1, "wanted one, saw {calls:?}");
    same("bytes", at(calls[0], "/dns/unread"), &json!(two.len()))?;
    same("verdict", &calls[0]["verdict"], &json!("allowed"))
}

fn unread_stopped(ctx: &Ctx) -> Result<()> {
    let resolver = resolver()?;
    let policy = list(ctx, 1)?;
    let (mut words, agent) = (vec!["all".to_owned()], ctx.agent()?);
    for (_, message, flags) in odd() {
        words.extend([agent.to_owned()].into_iter().chain(send(&message, flags)));
        words.push(",".to_owned());
    }
    words.pop();
    let run = Run::new(ctx).policy(&policy).agent(words).go()?;
    same("questions that arrived", resolver.asked(), Vec::<String>::new())?;
    let calls = run.ledger.calls("dns");
    for (what, message, flags) in odd() {
        let sent = |call: &&&Value| *at(call, "/dns/unread") == json!(message.len());
        let Some(call) = calls.iter().find(sent) else {
            ensure!(flags == ["--gso"], "{what}: not recorded among {calls:?}");
            continue;
        };
        same(what, &call["rule"], &json!("unread-name"))?;
    }
    for call in calls {
        same("verdict", &call["verdict"], &json!("denied"))?;
    }
    Ok(())
}

fn allowed(ctx: &Ctx, name: &str, flags: &[&str]) -> Result<()> {
    let (resolver, server) = (resolver()?, Tcp::new()?);
    let port = server.addr.port();
    let run = Run::new(ctx).policy(&list(ctx, port)?).agent(reach(name, port, flags)).go()?;
    run.exited(0)?;
    same("connections at the server", server.reached()?, 1)?;
    reached(&run, server.addr, name)?;
    let asked = question(&run.ledger, &name.to_ascii_lowercase())?;
    same("the question's rule", &asked["rule"], &json!("good"))?;
    same("trust", &answered(&run.ledger, asked)?["trusted"], &json!(true))?;
    same("questions", resolver.asked().len(), 1)
}

fn reached(run: &Recorded, addr: SocketAddr, name: &str) -> Result<()> {
    let mut calls = run.ledger.to(addr);
    // The C library connects a datagram socket too, to see which address it would have.
    calls.retain(|call| *at(call, "/net/protocol") == "tcp");
    ensure!(calls.len() == 1, "wanted one connect to {addr}, saw {calls:?}");
    let call = calls[0];
    same("verdict", &call["verdict"], &json!("allowed"))?;
    same("rule", &call["rule"], &json!("good"))?;
    same("name", at(call, "/net/name"), &json!(name.to_ascii_lowercase()))?;
    same("its source", at(call, "/net/name_from"), &json!("dns"))
}

fn allowed_v6(ctx: &Ctx) -> Result<()> {
    let (_resolver, server) = (resolver()?, Tcp::v6()?);
    let port = server.addr.port();
    let run = Run::new(ctx).policy(&list(ctx, port)?);
    let run = run.agent(reach("good.test", port, &["--aaaa"])).go()?;
    run.exited(0)?;
    reached(&run, server.addr, "good.test")
}

/// glibc's own resolver, in whatever ways it asks.
fn c_library(ctx: &Ctx) -> Result<()> {
    let python = "/usr/bin/python3";
    if !std::path::Path::new(python).exists() {
        return skip("no python3");
    }
    let (_resolver, server) = (resolver()?, Tcp::new()?);
    let port = server.addr.port();
    let file = ctx.path("resolv.conf")?;
    std::fs::write(&file, format!("nameserver {AT}\n"))?;
    let program = std::fs::canonicalize(python)?;
    // By its name: in a mount namespace of the run's own no path allows anything.
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let policy = format!(
        "{}[[allow]]\nid = \"python\"\nexec = {{ program = \"{name}\" }}\n",
        list(ctx, port)?
    );
    let code = format!(
        "import socket; socket.create_connection(('good.test', {port})).recv(1); \
         socket.getaddrinfo('other.test', 1)"
    );
    let args = ["resolv-conf", &file, &program.display().to_string(), "-c", &code];
    let run = Run::new(ctx).policy(&policy).agent(args).go()?;
    supported(&run)?;
    run.exited(1)?;
    reached(&run, server.addr, "good.test")?;
    let calls = run.ledger.calls("dns");
    let denied = |call: &&&Value| call["verdict"] == "denied";
    ensure!(
        calls.iter().filter(denied).all(|call| *at(call, "/dns/name") == json!("other.test")),
        "{calls:?}"
    );
    ensure!(calls.iter().any(|call| denied(&call)), "other.test was asked for: {calls:?}");
    Ok(())
}

fn refused(ctx: &Ctx, name: &str, recorded: &str, flags: &[&str]) -> Result<()> {
    let (resolver, server) = (resolver()?, Tcp::new()?);
    let port = server.addr.port();
    let run = Run::new(ctx).policy(&list(ctx, port)?).agent(reach(name, port, flags)).go()?;
    run.exited(libc::EPERM)?;
    not_asked(&run, &resolver, recorded, "default")
}

fn not_asked(run: &Recorded, resolver: &Resolver, name: &str, rule: &str) -> Result<()> {
    same("questions that arrived", resolver.asked(), Vec::<String>::new())?;
    let call = question(&run.ledger, name)?;
    same("verdict", &call["verdict"], &json!("denied"))?;
    same("rule", &call["rule"], &json!(rule))?;
    same("error", &run.ledger.outcome(call)?["error"], &json!("EPERM"))
}

fn refused_tcp(ctx: &Ctx) -> Result<()> {
    let (resolver, policy) = (resolver()?, list(ctx, 1)?);
    let run = Run::new(ctx).policy(&policy).agent(reach("other.test", 1, &["--tcp"])).go()?;
    run.exited(libc::ECONNABORTED)?;
    not_asked(&run, &resolver, "other.test", "default")
}

/// A piece that can't be read does not leave; the kernel may then send it again with the rest.
fn in_pieces(ctx: &Ctx, how: &str) -> Result<()> {
    let (resolver, policy) = (resolver()?, list(ctx, 1)?);
    let run = Run::new(ctx).policy(&policy).agent(reach("other.test", 1, &[how])).go()?;
    run.exited(libc::EAGAIN)?;
    same("questions that arrived", resolver.asked(), Vec::<String>::new())?;
    let calls = run.ledger.calls("dns");
    ensure!(!calls.is_empty(), "nothing is recorded");
    for call in calls {
        same("verdict", &call["verdict"], &json!("denied"))?;
    }
    Ok(())
}

/// A rule that denies names, under a default that allows.
const DENY: &str = "[[deny]]\nid = \"no-way\"\nnet = { host = [\"bad.test\", \"*.bad.test\"] }\n";

fn denied(ctx: &Ctx) -> Result<()> {
    let resolver = resolver()?;
    let run = Run::new(ctx).policy(DENY).agent(reach("a.b.BAD.test", 1, &[])).go()?;
    run.exited(libc::EPERM)?;
    not_asked(&run, &resolver, "a.b.bad.test", "no-way")
}

fn denied_behind_alias(ctx: &Ctx) -> Result<()> {
    let (_resolver, server) = (resolver()?, Tcp::new()?);
    let run = Run::new(ctx).policy(DENY);
    let run = run.agent(reach("innocent.test", server.addr.port(), &[])).go()?;
    run.exited(libc::EPERM)?;
    same("connections at the server", server.reached()?, 0)?;
    let call = run.ledger.one_to(server.addr)?;
    same("verdict", &call["verdict"], &json!("denied"))?;
    same("rule", &call["rule"], &json!("no-way"))
}

/// What went on without a policy is judged by one as it would have been.
fn replayed(ctx: &Ctx) -> Result<()> {
    let (_resolver, server) = (resolver()?, Tcp::new()?);
    let run = Run::new(ctx).agent(reach("innocent.test", server.addr.port(), &[])).go()?;
    run.exited(0)?;
    let next = ctx.path("next.toml")?;
    std::fs::write(&next, format!("version = 1\ndefault = \"allow\"\n{DENY}"))?;
    let log = run.log.display().to_string();
    let replay = ["policy", "replay", "--json", "--policy", &next, &log];
    let out = command(&ctx.observer).args(replay).output()?;
    same("replay's exit code", out.status.code(), Some(1))?;
    let found: Value = serde_json::from_slice(&out.stdout)?;
    same("denied", at(&found, "/denied"), &json!(1))?;
    same("by", at(&found, "/differences/0/is/rule"), &json!("no-way"))
}

/// Asks for a name that is allowed and goes elsewhere.
fn elsewhere(ctx: &Ctx) -> Result<()> {
    let (resolver, server) = (resolver()?, Tcp::at("127.0.0.9:0")?);
    let (agent, port) = (ctx.agent()?, server.addr.port());
    let to = server.addr.to_string();
    let ask = ["all", agent, "lookup", &resolver.addr.to_string(), "good.test", ","];
    let args = [ask.as_slice(), &[agent, "connect", &to]].concat();
    let run = Run::new(ctx).policy(&list(ctx, port)?).agent(args).go()?;
    run.exited(libc::EPERM)?;
    same("connections at the server", server.reached()?, 0)?;
    stopped(&run, server.addr, "default")
}

fn other_port(ctx: &Ctx) -> Result<()> {
    let (_resolver, server) = (resolver()?, Tcp::new()?);
    let port = server.addr.port();
    let run = Run::new(ctx).policy(&list(ctx, port ^ 1)?).agent(reach("good.test", port, &[]));
    let run = run.go()?;
    run.exited(libc::EPERM)?;
    stopped(&run, server.addr, "default")
}

fn address_denied(ctx: &Ctx) -> Result<()> {
    let (_resolver, server) = (resolver()?, Tcp::new()?);
    let port = server.addr.port();
    let deny = "[[deny]]\nid = \"no-way\"\nnet = { to = \"127.0.0.1\" }\n";
    let policy = format!("{}{deny}", list(ctx, port)?);
    let run = Run::new(ctx).policy(&policy).agent(reach("good.test", port, &[])).go()?;
    run.exited(libc::EPERM)?;
    stopped(&run, server.addr, "no-way")
}

fn stopped(run: &Recorded, addr: SocketAddr, rule: &str) -> Result<()> {
    let call = run.ledger.one_to(addr)?;
    same("verdict", &call["verdict"], &json!("denied"))?;
    same("rule", &call["rule"], &json!(rule))
}

/// An answer that is none: the name is allowed, and nothing is bound to it.
fn unbound(ctx: &Ctx, name: &str) -> Result<()> {
    let (_resolver, server) = (resolver()?, Tcp::new()?);
    let port = server.addr.port();
    let run = Run::new(ctx).policy(&list(ctx, port)?).agent(reach(name, port, &[])).go()?;
    run.exited(libc::EPERM)?;
    same("connections at the server", server.reached()?, 0)?;
    stopped(&run, server.addr, "default")
}

/// A resolver that nobody named.
fn stranger(ctx: &Ctx) -> Result<()> {
    let (_resolver, server) = (resolver()?, Tcp::new()?);
    let port = server.addr.port();
    let policy = list(ctx, port)?.replace(&format!("resolvers = [\"{AT}\"]\n"), "");
    let run = Run::new(ctx).policy(&policy).agent(reach("good.test", port, &[])).go()?;
    run.exited(libc::EPERM)?;
    stopped(&run, server.addr, "default")?;
    let asked = question(&run.ledger, "good.test")?;
    same("trust", &answered(&run.ledger, asked)?["trusted"], &json!(false))
}

/// The run answers its own question, from an address that is trusted.
fn own_answer(ctx: &Ctx) -> Result<()> {
    fake(ctx, &[])
}

/// The same in a network of its own, where the address is its own to take.
fn other_network(ctx: &Ctx) -> Result<()> {
    let _resolver = resolver()?;
    fake(ctx, &["--elsewhere"])
}

fn fake(ctx: &Ctx, flags: &[&str]) -> Result<()> {
    let server = Tcp::new()?;
    let policy = list(ctx, server.addr.port())?
        .replace("[\"127.0.53.0/24\"], port = 53", "[\"127.0.53.0/24\"]");
    let (at, to) = (format!("{AT}:53"), server.addr.to_string());
    let run = Run::new(ctx).policy(&policy);
    let run = run.agent(args(&["fake-resolver", &at, "good.test", &to], flags)).go()?;
    run.exited(libc::EPERM)?;
    same("connections at the server", server.reached()?, 0)?;
    stopped(&run, server.addr, "default")
}

//! Names in HTTP: a request in the clear for a name which the rules don't let it ask for is stopped
//! before the far end has it, and recorded; so is each way around that was thought of.

use std::io::{ErrorKind, Read as _};
use std::net::TcpListener;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::names::{list, resolver};
use super::net::supported;
use crate::harness::{Ctx, PATIENCE, Recorded, Run, Talk, at, same};

pub(super) const CASES: &[(&str, Case)] = &[
    ("deny-by-host", |ctx| stopped(ctx, &[EVIL], &[])),
    ("deny-by-host-holds-in-upper-case", |ctx| {
        stopped(ctx, &["GET / HTTP/1.1\r\nhOSt:EVIL.Example \r\n\r\n"], &[])
    }),
    ("deny-by-host-holds-with-a-trailing-dot", |ctx| {
        stopped(ctx, &["GET / HTTP/1.1\r\nHost: a.evil.example.:8080\r\n\r\n"], &[])
    }),
    ("deny-by-host-holds-in-single-bytes", |ctx| stopped(ctx, &[EVIL], &["--bytes"])),
    ("deny-by-host-holds-behind-40-KiB", |ctx| {
        let fields = format!("X-Much: {}\r\n", "a".repeat(4000)).repeat(10);
        stopped(ctx, &[&EVIL.replace("Host", &format!("{fields}Host"))], &[])
    }),
    ("deny-by-host-holds-for-sendfile", |ctx| stopped(ctx, &[EVIL], &["--sendfile"])),
    ("deny-by-host-holds-for-fast-open", |ctx| stopped(ctx, &[EVIL], &["--fastopen"])),
    ("deny-by-host-holds-where-the-server-speaks-first", |ctx| {
        stopped(ctx, &[EVIL], &["--greeted"])
    }),
    ("deny-by-host-holds-without-carriage-returns", |ctx| {
        stopped(ctx, &[&EVIL.replace('\r', "")], &[])
    }),
    ("deny-by-host-holds-for-methods-of-ones-own", |ctx| {
        stopped(ctx, &[&EVIL.replace("GET", "\r\n $x")], &[])
    }),
    ("deny-by-host-holds-for-an-absolute-target", |ctx| {
        stopped(ctx, &["GET http://evil.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n"], &[])
    }),
    ("deny-by-host-holds-for-an-absolute-target-without-a-version", |ctx| {
        stopped(ctx, &["GET http://evil.example/\r\n"], &[])
    }),
    ("deny-by-host-holds-for-connect", |ctx| {
        stopped(ctx, &["CONNECT evil.example:443 HTTP/1.1\r\nHost: good.example\r\n\r\n"], &[])
    }),
    ("deny-by-host-holds-for-a-second-request", |ctx| stopped(ctx, &[GOOD, EVIL], &[])),
    ("deny-by-host-holds-for-a-second-request-in-one-piece", |ctx| {
        stopped(ctx, &[&format!("{GOOD}{EVIL}")], &[])
    }),
    ("deny-by-host-holds-for-a-socket-used-again", |ctx| {
        stopped(ctx, &[&post("Content-Length: 90000", &"a".repeat(500)), EVIL], &["--again"])
    }),
    ("deny-by-host-holds-behind-content", |ctx| {
        let first = post("Content-Length: 11", "hello\r\n\r\n!!");
        stopped(ctx, &[&format!("{first}{EVIL}")], &[])
    }),
    ("deny-by-host-holds-behind-chunks", |ctx| {
        let first = post("Transfer-Encoding: Chunked", "5\r\nhello\r\n0\r\nX: y\r\n\r\n");
        stopped(ctx, &[&format!("{first}{EVIL}")], &[])
    }),
    ("deny-by-host-is-not-sent-again-once-its-run-has-ended", |ctx| {
        let run = left(ctx, "127.0.0.1:0", EVIL.as_bytes())?;
        denied(&run).map(|_| ())
    }),
    ("deny-of-a-question-is-not-sent-again-once-its-run-has-ended", |ctx| {
        let run = left(ctx, "127.0.0.99:53", QUESTION)?;
        let asked = run.ledger.calls("dns");
        ensure!(asked.len() == 1, "wanted one question, saw {asked:?}");
        same("verdict", &asked[0]["verdict"], &json!("denied"))
    }),
    ("deny-of-half-a-question-is-not-sent-again-once-its-run-has-ended", |ctx| {
        left(ctx, "127.0.0.99:53", &QUESTION[..QUESTION.len() - 1]).map(|_| ())
    }),
    ("deny-by-host-of-two-hosts", |ctx| unread(ctx, "Host: good.example\r\nHost: evil.example")),
    ("deny-by-host-of-a-folded-line", |ctx| unread(ctx, "Host:\r\n evil.example")),
    ("deny-by-host-of-a-lone-carriage-return", |ctx| {
        unread(ctx, "Host: good.example\r\nX: y\rHost: evil.example")
    }),
    ("deny-by-host-of-a-space-before-the-colon", |ctx| unread(ctx, "Host : evil.example")),
    ("deny-by-host-of-a-user-before-the-name", |ctx| unread(ctx, "Host: a@evil.example")),
    ("deny-by-host-of-a-length-and-chunks", |ctx| {
        let both = "Host: good.example\r\nContent-Length: 3\r\nTransfer-Encoding: chunked";
        unread(ctx, both)
    }),
    ("deny-by-host-of-two-lengths", |ctx| {
        unread(ctx, "Host: good.example\r\nContent-Length: 0\r\nContent-Length: 90")
    }),
    ("deny-by-host-lets-others-through", others),
    ("host-allowed-is-asked-for-by-its-name", asked_for),
    ("host-allowed-lets-no-other-be-asked-for", |ctx| {
        listed(ctx, EVIL, "default", &json!("http://evil.example/"))
    }),
    ("host-allowed-lets-none-be-asked-for", |ctx| {
        listed(ctx, "GET /a HTTP/1.0\r\nX-Host: good.test\r\n\r\n", "default", &Value::Null)
    }),
    ("host-allowed-lets-no-address-be-asked-for", |ctx| {
        let head = "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n";
        listed(ctx, head, "default", &json!("http://[::1]:80/"))
    }),
    ("host-allowed-lets-no-http2-through-in-the-clear", |ctx| {
        listed(ctx, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "unread-name", &Value::Null)
    }),
];

const RULE: &str =
    "[[deny]]\nid = \"no-evil\"\nnet = { host = [\"evil.example\", \"*.evil.example\"] }\n";
const EVIL: &str = "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n";
const GOOD: &str = "GET /good HTTP/1.1\r\nHost: good.example\r\n\r\n";
/// A question for evil.example over TCP (RFC 1035, 4.2.2).
const QUESTION: &[u8] = b"\0\x1e\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04evil\x07example\0\0\x01\0\x01";
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

fn post(field: &str, content: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: good.example\r\n{field}\r\n\r\n{content}")
}

/// Writes each piece to a file, and gives their names as `say` takes them.
fn files(ctx: &Ctx, pieces: &[&str]) -> Result<String> {
    let mut names = vec![];
    for (n, piece) in pieces.iter().enumerate() {
        let path = ctx.path(&format!("piece-{n}"))?;
        std::fs::write(&path, piece)?;
        names.push(path);
    }
    Ok(names.join(","))
}

/// Says the pieces under the rule, and gives what the far end had of them.
fn say(ctx: &Ctx, label: usize, pieces: &[&str], flags: &[&str]) -> Result<(String, Recorded)> {
    let greeting: &[u8] = if flags.contains(&"--greeted") { b"220 hello\r\n" } else { b"" };
    let server = Talk::greeting("127.0.0.1:0", greeting, ANSWER)?;
    let (to, files) = (server.addr.to_string(), files(ctx, pieces)?);
    let args = [&["say", to.as_str(), files.as_str()], flags].concat();
    let label = ["one", "two", "three", "four", "five", "six", "seven"][label];
    let run = Run::new(ctx).label(label).policy(RULE).agent(args).go()?;
    supported(&run)?;
    Ok((String::from_utf8(server.said().concat())?, run))
}

/// The one denied request.
fn denied(run: &Recorded) -> Result<&Value> {
    let mut calls = run.ledger.calls("http");
    calls.retain(|call| call["verdict"] == "denied");
    ensure!(calls.len() == 1, "wanted one denied, saw {:?}", run.ledger.calls("http"));
    let outcome = run.ledger.outcome(calls[0])?;
    same("status", &outcome["status"], &json!("failed"))?;
    same("error", &outcome["error"], &json!("EPERM"))?;
    Ok(calls[0])
}

fn stopped(ctx: &Ctx, pieces: &[&str], flags: &[&str]) -> Result<()> {
    let (heard, run) = say(ctx, 0, pieces, flags)?;
    let whole = heard.to_lowercase();
    ensure!(!whole.contains("evil.example\r\n"), "the far end has it: {heard:?}");
    ensure!(heard.len() < pieces.concat().len(), "the far end has all of it");
    if pieces.len() == 2 {
        same("what the far end has", &heard.as_str(), &pieces[0])?;
    }
    let calls = run.ledger.calls("http");
    ensure!(!calls.is_empty(), "nothing is recorded");
    let last = calls[calls.len() - 1];
    same("verdict", &last["verdict"], &json!("denied"))?;
    same("rule", &last["rule"], &json!("no-evil"))?;
    let url = at(last, "/http/url").as_str().unwrap_or_default().to_lowercase();
    ensure!(url.contains("evil.example"), "{last}");
    same("error", &run.ledger.outcome(last)?["error"], &json!("EPERM"))
}

/// Who asks and leaves has what was dropped in a socket without an owner, which the kernel would
/// send again when nobody holds it any more.
fn left(ctx: &Ctx, local: &str, what: &[u8]) -> Result<Recorded> {
    let server = TcpListener::bind(local)?;
    let (to, file) = (server.local_addr()?.to_string(), ctx.path("what")?);
    std::fs::write(&file, what)?;
    let run = Run::new(ctx).policy(RULE).agent(["say", &to, &file, "--leave"]).go()?;
    supported(&run)?;
    run.exited(0)?;
    let said = run.ledger.of_type("coverage");
    let unended = said.iter().find(|it| it["coverage"]["what"] == "stopped connections");
    ensure!(unended.is_none(), "it could not be ended: {unended:?}");
    let (mut stream, _) = server.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let heard = stream.read(&mut [0; 4096]).map_err(|e| e.kind());
    same("what the far end has", heard, Err(ErrorKind::ConnectionReset))?;
    Ok(run)
}

fn unread(ctx: &Ctx, fields: &str) -> Result<()> {
    let head = format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n");
    let (heard, run) = say(ctx, 0, &[&head], &[])?;
    same("rule", &denied(&run)?["rule"], &json!("unread-name"))?;
    same("what the far end has", &heard.as_str(), &"")
}

fn others(ctx: &Ctx) -> Result<()> {
    let within = EVIL.repeat(2);
    let length = format!("Content-Length: {}", within.len());
    let chunked = format!("{:x}\r\n{within}\r\n0\r\n\r\n", within.len());
    let chunks = "Transfer-Encoding: chunked";
    let talks: [&[&str]; 7] = [
        &[GOOD, GOOD],
        &["GET /evil.example HTTP/1.1\r\nHost: notevil.example\r\nX: evil.example\r\n\r\n"],
        &[&post(&length, ""), &within, GOOD],
        &[&post(chunks, ""), &chunked, GOOD],
        &["EHLO evil.example\r\n", "DATA\r\n", EVIL],
        &["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
        &["*1\r\n$4\r\nPING\r\n", "\0\0\0\x08\x04"],
    ];
    for (n, talk) in talks.iter().enumerate() {
        let (heard, run) = say(ctx, n, talk, &[])?;
        run.exited(0)?;
        same("what the far end has", &heard, &talk.concat())?;
        for call in run.ledger.calls("http") {
            same("verdict", &call["verdict"], &json!("allowed"))?;
        }
    }
    Ok(())
}

/// Looks a name up that is allowed, and says something at its address.
fn ask(ctx: &Ctx, head: &str) -> Result<(String, Recorded)> {
    let (resolver, server) = (resolver()?, Talk::new("127.0.0.1:0", ANSWER)?);
    let (agent, files) = (ctx.agent()?, files(ctx, &[head])?);
    let (asked, to) = (resolver.addr.to_string(), server.addr.to_string());
    let policy = list(ctx, server.addr.port())?;
    let args = ["all", agent, "lookup", &asked, "good.test", ",", agent, "say", &to, &files];
    let run = Run::new(ctx).policy(&policy).agent(args).go()?;
    Ok((String::from_utf8(server.said().concat())?, run))
}

fn asked_for(ctx: &Ctx) -> Result<()> {
    let head = "GET / HTTP/1.1\r\nHost: a.GOOD.test:80\r\n\r\n";
    let (heard, run) = ask(ctx, head)?;
    run.exited(0)?;
    same("what the far end has", &heard.as_str(), &head)?;
    let calls = run.ledger.calls("http");
    ensure!(calls.len() == 1, "wanted one request, saw {calls:?}");
    same("verdict", &calls[0]["verdict"], &json!("allowed"))
}

fn listed(ctx: &Ctx, head: &str, rule: &str, url: &Value) -> Result<()> {
    let (heard, run) = ask(ctx, head)?;
    let call = denied(&run)?;
    same("rule", &call["rule"], &json!(rule))?;
    same("what the far end has", &heard.as_str(), &"")?;
    if url.is_null() { Ok(()) } else { same("URL", at(call, "/http/url"), url) }
}

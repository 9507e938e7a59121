//! HTTP/2 and what is spoken over HTTP beside requests: gRPC, WebSockets.

use std::collections::HashMap;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use crate::harness::{Ctx, Kind, Node, Recorded, Run, at, same, skip, tool};

pub(super) const CASES: &[(&str, Case)] = &[
    ("http2-of-node-is-recorded", node),
    ("http2-is-recorded-where-the-server-speaks-first", server_first),
    ("http2-of-curl-by-prior-knowledge-is-recorded", |ctx| {
        curl(ctx, Kind::Http2, "--http2-prior-knowledge")
    }),
    ("https-http2-of-curl-is-read", |ctx| curl(ctx, Kind::Https2, "--http2")),
    ("https-http2-of-node-is-read", |ctx| ask_of_node(ctx, Kind::Https2, CONNECT)),
    ("http2-requests-at-once-are-one-record-each", |ctx| many(ctx, Kind::Http2)),
    ("https-http2-requests-at-once-are-one-record-each", |ctx| many(ctx, Kind::Https2)),
    ("http2-grpc-is-one-call-with-its-status", grpc),
    ("http-websocket-is-one-call-with-its-messages", websocket),
];

/// A value that must not be in any ledger.
const SECRET: &str = "sk-live-9tRb27WmXq4ZdLc8";

/// How node's client connects: at once.
const CONNECT: &str = "const client = http2.connect(origin, { ca });";
/// What it asks for then, three streams of one connection.
const ASK: &str = "
    (async () => {
      for (const path of ['/0', '/1', '/missing']) {
        const stream = client.request({ ':path': path });
        await new Promise((over) => stream.resume().on('end', over));
      }
      client.close();
    })();";

/// One call and one result for each of these requests, in their order: method, path and status.
fn asked<'a>(
    run: &'a Recorded,
    server: &Node,
    requests: &[(&str, &str, u16)],
) -> Result<Vec<(&'a Value, &'a Value)>> {
    let calls = run.ledger.calls("http");
    let told: Vec<_> =
        calls.iter().map(|call| [at(call, "/http/method"), at(call, "/http/url")]).collect();
    let wanted: Vec<_> =
        requests.iter().map(|(method, path, _)| [json!(method), json!(server.url(path))]).collect();
    same("requests", json!(told), json!(wanted))?;
    let connect = run.ledger.one_to(server.addr)?;
    let mut ends = HashMap::new();
    for end in run.ledger.of_type("result") {
        let other = ends.insert(end["call"].as_str(), end);
        ensure!(other.is_none(), "a call with two results: {end}");
    }
    let mut all = vec![];
    for (call, (_, _, status)) in calls.into_iter().zip(requests) {
        same("the connect", at(call, "/http/connection"), &connect["call"])?;
        same("the process", at(call, "/process/id"), at(connect, "/process/id"))?;
        let end = *ends.get(&call["call"].as_str()).context("a request without a result")?;
        same("status", at(end, "/outcome/http_status"), &json!(status))?;
        all.push((call, end));
    }
    run.ledger.nothing_lost()?;
    Ok(all)
}

/// The same, of HTTP/2: each request is a stream of its own.
fn streams<'a>(
    run: &'a Recorded,
    server: &Node,
    requests: &[(&str, &str, u16)],
) -> Result<Vec<(&'a Value, &'a Value)>> {
    let all = asked(run, server, requests)?;
    let transport = if server.certificate.is_empty() { "plaintext" } else { "tls" };
    for (n, (call, end)) in all.iter().enumerate() {
        same("transport", at(call, "/http/transport"), &json!(transport))?;
        same("version", at(call, "/http/version"), &json!("2"))?;
        same("the answer's version", at(end, "/http/version"), &json!("2"))?;
        same("stream", at(call, "/http/stream"), &json!(2 * n + 1))?;
    }
    Ok(all)
}

/// Three requests of node's own client, which connects like this.
fn ask_of_node(ctx: &Ctx, kind: Kind, connect: &str) -> Result<()> {
    let asks = if connect == CONNECT { [connect, ASK].concat() } else { connect.to_owned() };
    let (run, server) = of_node(ctx, kind, &asks)?;
    let requests = [("GET", "/0", 200), ("GET", "/1", 200), ("GET", "/missing", 404)];
    let all = streams(&run, &server, &requests)?;
    for (n, (_, end)) in all.iter().enumerate() {
        let body = json!(format!("hello {}", requests[n].1));
        same("the answer's content", at(end, "/http/body/text"), &body)?;
    }
    same("how the last ended", at(all[2].1, "/outcome/status"), &json!("failed"))
}

/// A script of node's own client.
fn of_node(ctx: &Ctx, kind: Kind, asks: &str) -> Result<(Recorded, Node)> {
    let (server, node) = (Node::new(ctx, kind)?, tool("/usr/bin/node")?);
    let script = format!(
        "const [http2, net, fs] = ['http2', 'net', 'fs'].map(require);\n\
         const [origin, port] = [{:?}, {}];\n\
         const trusted = {:?}; const ca = trusted && fs.readFileSync(trusted);\n\
         {asks}",
        server.url(""),
        server.addr.port(),
        server.certificate
    );
    let run = Run::new(ctx).agent(["exec", node, "-e", &script]).go()?;
    run.exited(0)?;
    Ok((run, server))
}

fn node(ctx: &Ctx) -> Result<()> {
    ask_of_node(ctx, Kind::Http2, CONNECT)
}

/// Fifty streams of one connection at once, until all were asked for.
fn many(ctx: &Ctx, kind: Kind) -> Result<()> {
    let count = if ctx.quick { 500 } else { 10_000 };
    let ask = format!(
        "const client = http2.connect(origin, {{ ca }}); let [next, left] = [0, {count}];\n\
         const more = () => {{\n\
         if (next === {count}) return;\n\
         const stream = client.request({{ ':path': '/' + next++ }});\n\
         stream.resume().on('end', () => {{ --left ? more() : client.close(); }}); }};\n\
         for (let n = 0; n < 50; n++) more();"
    );
    let (run, server) = of_node(ctx, kind, &ask)?;
    let paths: Vec<_> = (0..count).map(|n| format!("/{n}")).collect();
    let requests: Vec<_> = paths.iter().map(|path| ("GET", path.as_str(), 200)).collect();
    streams(&run, &server, &requests).map(drop)
}

/// A server may send its SETTINGS before it has the client's preface (RFC 9113, 3.4).
fn server_first(ctx: &Ctx) -> Result<()> {
    let connect = format!(
        "const socket = net.connect(port, '127.0.0.1');\n\
         socket.once('readable', () => {{\n\
         const client = http2.connect(origin, {{ createConnection: () => socket }});\n{ASK} }});"
    );
    ask_of_node(ctx, Kind::Http2, &connect)
}

fn curl(ctx: &Ctx, kind: Kind, how: &str) -> Result<()> {
    let (server, curl) = (Node::new(ctx, kind)?, tool("/usr/bin/curl")?);
    let features = Command::new(curl).arg("--version").output()?.stdout;
    if !String::from_utf8_lossy(&features).contains("HTTP2") {
        return skip("this curl speaks no HTTP/2");
    }
    let header = format!("Authorization: Bearer {SECRET}");
    let body = format!("{{\"password\":\"{SECRET}\",\"n\":1}}");
    // Some versions can't ask again where they knew beforehand (curl 7.88).
    let asked = [("POST", "/missing", 404), ("POST", "/one", 200)];
    let asked = if kind == Kind::Http2 { &asked[..1] } else { &asked[..] };
    let urls: Vec<_> = asked.iter().map(|(_, path, _)| server.url(path)).collect();
    let urls: Vec<_> = urls.iter().map(String::as_str).collect();
    let trust = ["--cacert", &server.certificate];
    let trust = if server.certificate.is_empty() { &[][..] } else { &trust[..] };
    let args = [&["exec", curl, "-s", how, "-H", &header, "--json", &body][..], trust, &urls];
    let run = Run::new(ctx).agent(args.concat()).go()?;
    run.exited(0)?;
    let all = streams(&run, &server, asked)?;
    for (call, end) in &all {
        let bodies = [at(call, "/http/body/json"), at(end, "/http/request_body/json")];
        let sent = bodies.iter().find_map(|body| body.as_str()).unwrap_or_default();
        ensure!(
            sent.starts_with("{\"password\":\"<mask:") && sent.ends_with(",\"n\":1}"),
            "{call}"
        );
    }
    let text = format!("{:?}", run.ledger.records);
    ensure!(!text.contains(SECRET), "the secret is in the ledger");
    Ok(())
}

fn grpc(ctx: &Ctx) -> Result<()> {
    let (server, node) = (Node::new(ctx, Kind::Http2)?, tool("/usr/bin/node")?);
    // Two messages of two bytes and one.
    let script = format!(
        "const client = require('http2').connect({:?});\n\
         (async () => {{ for (const name of ['Said', 'Refused']) {{\n\
         const stream = client.request({{ ':method': 'POST', ':path': '/test.Service/' + name,\n\
         'content-type': 'application/grpc', te: 'trailers' }});\n\
         stream.end(Buffer.from([0, 0, 0, 0, 2, 8, 1, 0, 0, 0, 0, 1, 9]));\n\
         await new Promise((over) => stream.resume().on('end', over)); }} client.close(); }})();",
        server.url("")
    );
    let run = Run::new(ctx).agent(["exec", node, "-e", &script]).go()?;
    run.exited(0)?;
    let all = streams(
        &run,
        &server,
        &[("POST", "/test.Service/Said", 200), ("POST", "/test.Service/Refused", 200)],
    )?;
    let outcomes = [("ok", 0, Value::Null), ("failed", 7, json!("not for you"))];
    for ((_, end), (status, code, message)) in all.iter().zip(outcomes) {
        same("outcome", at(end, "/outcome/status"), &json!(status))?;
        let grpc = at(end, "/http/grpc");
        same("gRPC's status", &grpc["status"], &json!(code))?;
        same("gRPC's message", &grpc["message"], &message)?;
        same("sent", &grpc["sent"], &json!({ "count": 2, "bytes": 3, "largest": 2 }))?;
        same("received", &grpc["received"], &json!({ "count": 1, "bytes": 3, "largest": 3 }))?;
    }
    Ok(())
}

fn websocket(ctx: &Ctx) -> Result<()> {
    let (server, node) = (Node::new(ctx, Kind::WebSocket)?, tool("/usr/bin/node")?);
    let has = "process.exit(typeof WebSocket === 'function' ? 0 : 1)";
    if !Command::new(node).args(["--experimental-websocket", "-e", has]).output()?.status.success()
    {
        return skip("this node has no WebSocket");
    }
    let said = format!("{{\"password\":\"{SECRET}\"}}");
    let script = format!(
        "const socket = new WebSocket({:?}); let heard = 0;\n\
         socket.onopen = () => {{ socket.send({said:?}); socket.send('hello'); }};\n\
         socket.onmessage = () => {{ if (++heard === 2) socket.close(1000); }};",
        server.url("/talk")
    );
    let args = ["exec", node, "--experimental-websocket", "-e", &script];
    let run = Run::new(ctx).agent(args).go()?;
    run.exited(0)?;
    let calls = run.ledger.calls("http");
    ensure!(calls.len() == 1, "wanted one call, saw {calls:?}");
    let call = calls[0];
    let url = json!(format!("http://{}/talk", server.addr));
    same("URL", at(call, "/http/url"), &url)?;
    let connect = run.ledger.one_to(server.addr)?;
    same("the connect", at(call, "/http/connection"), &connect["call"])?;
    let end = run.ledger.result(call)?;
    same("status", at(end, "/outcome/http_status"), &json!(101))?;
    same("outcome", at(end, "/outcome/status"), &json!("ok"))?;
    let talk = at(end, "/http/websocket");
    let counts = json!({ "count": 2, "bytes": said.len() + 5, "largest": said.len() });
    same("sent", &talk["sent"], &counts)?;
    same("received", &talk["received"], &counts)?;
    same("the close", &talk["close"], &json!(1000))?;
    let close = json!({ "count": 1, "bytes": 2, "largest": 2 });
    same("control", &talk["control"], &json!({ "received": close, "sent": close }))?;
    let texts = talk["first"].as_array().cloned().unwrap_or_default();
    same("texts", texts.len(), 4)?;
    for text in &texts {
        let kept = text["text"].as_str().unwrap_or_default();
        ensure!(kept == "hello" || kept.starts_with("{\"password\":\"<mask:"), "{text}");
    }
    let text = format!("{:?}", run.ledger.records);
    ensure!(!text.contains(SECRET), "the secret is in the ledger");
    run.ledger.nothing_lost()
}

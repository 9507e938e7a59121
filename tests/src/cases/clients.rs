//! Clients as package registries have them, which agents are written with: each request is one call,
//! over TLS and in the clear.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::https::{asks, found};
use crate::harness::{Ctx, Https, Kind, Node, Recorded, Run, Web, at, modules, python, same, tool};

pub(super) const CASES: &[(&str, Case)] = &[
    ("https-of-pythons-requests-is-read", |ctx| both(ctx, Language::Python, REQUESTS)),
    ("https-of-pythons-httpx-is-read", |ctx| both(ctx, Language::Python, HTTPX)),
    ("https-of-pythons-httpx-without-threads-is-read", |ctx| {
        both(ctx, Language::Python, ASYNC_HTTPX)
    }),
    ("https-of-pythons-aiohttp-is-read", |ctx| both(ctx, Language::Python, AIOHTTP)),
    ("https-of-pythons-urllib-is-read", |ctx| both(ctx, Language::Python, URLLIB)),
    ("https-of-nodes-undici-is-read", |ctx| both(ctx, Language::Node, UNDICI)),
    ("https-of-nodes-axios-is-read", |ctx| both(ctx, Language::Node, AXIOS)),
    ("https-http2-of-httpx-is-read", |ctx| http2(ctx, Kind::Https2)),
    ("http2-of-httpx-by-prior-knowledge-is-recorded", |ctx| http2(ctx, Kind::Http2)),
    ("https-of-many-at-once-by-asyncio-names-each-socket", |ctx| at_once(ctx, "asyncio")),
    ("https-of-many-at-once-by-uvloop-names-each-socket", |ctx| at_once(ctx, "uvloop")),
    ("https-of-a-program-with-rustls-is-said-not-to-be-seen", rustls),
];

/// A value that must not be in any ledger.
const SECRET: &str = "sk-live-7vKp31XmQe8RtNd5";

#[derive(Clone, Copy)]
enum Language {
    Python,
    Node,
}

/// What each script has: the server's origin, whom to trust (nobody in the clear), what to send.
const PYTHON: &str = r#"
import ssl, sys, os
origin, trust = sys.argv[1:3]
secret = os.environ["SECRET_OF_THE_CASE"]
head = {"Authorization": "Bearer " + secret}
body = {"password": secret, "n": 1}
context = ssl.create_default_context(cafile=trust) if trust else True
"#;
const NODE: &str = r#"
const [origin, trust] = process.argv.slice(2);
const secret = process.env.SECRET_OF_THE_CASE;
const headers = { Authorization: 'Bearer ' + secret };
const body = { password: secret, n: 1 };
const ca = trust ? require('fs').readFileSync(trust) : undefined;
"#;

const REQUESTS: &str = r#"
import requests
with requests.Session() as session:
    session.trust_env, session.verify = False, trust or True
    assert session.get(origin + "/get", headers=head).status_code == 200
    assert session.post(origin + "/post", headers=head, json=body).status_code == 200
"#;
const HTTPX: &str = r#"
import httpx
with httpx.Client(verify=context) as client:
    assert client.get(origin + "/get", headers=head).status_code == 200
    assert client.post(origin + "/post", headers=head, json=body).status_code == 200
"#;
const ASYNC_HTTPX: &str = r#"
import asyncio, httpx
async def main():
    async with httpx.AsyncClient(verify=context) as client:
        assert (await client.get(origin + "/get", headers=head)).status_code == 200
        assert (await client.post(origin + "/post", headers=head, json=body)).status_code == 200
asyncio.run(main())
"#;
const AIOHTTP: &str = r#"
import asyncio, aiohttp
async def main():
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.get(origin + "/get", headers=head) as answer:
            assert answer.status == 200 and await answer.read()
        async with session.post(origin + "/post", headers=head, json=body) as answer:
            assert answer.status == 200 and await answer.read()
asyncio.run(main())
"#;
const URLLIB: &str = r#"
import json, urllib.request
context = context if trust else None
head["Content-Type"] = "application/json"
for path, data in [("/get", None), ("/post", json.dumps(body, separators=(",", ":")).encode())]:
    request = urllib.request.Request(origin + path, data=data, headers=head)
    with urllib.request.urlopen(request, context=context) as answer:
        assert answer.status == 200 and answer.read()
"#;
const UNDICI: &str = r#"
const { Agent, request } = require('undici');
const dispatcher = new Agent({ connect: { ca } });
(async () => {
  const get = await request(origin + '/get', { headers, dispatcher });
  await get.body.text();
  headers['Content-Type'] = 'application/json';
  const post = { method: 'POST', headers, body: JSON.stringify(body), dispatcher };
  await (await request(origin + '/post', post)).body.text();
  await dispatcher.close();
})();
"#;
const AXIOS: &str = r#"
const axios = require('axios');
const httpsAgent = new (require('https').Agent)({ ca, keepAlive: true });
(async () => {
  await axios.get(origin + '/get', { headers, httpsAgent });
  await axios.post(origin + '/post', body, { headers, httpsAgent });
  httpsAgent.destroy();
})();
"#;

/// The command line of a script against a server.
fn argv(
    ctx: &Ctx,
    language: Language,
    text: &str,
    origin: &str,
    trust: &str,
) -> Result<Vec<String>> {
    let (path, before, program) = match language {
        Language::Python => (ctx.path("client.py")?, PYTHON, python()?),
        Language::Node => (ctx.path("client.js")?, NODE, tool("/usr/bin/node")?.to_owned()),
    };
    std::fs::write(&path, [before, text].concat())?;
    let mut argv = vec!["/usr/bin/env".to_owned(), format!("SECRET_OF_THE_CASE={SECRET}")];
    if matches!(language, Language::Node) {
        argv.push(format!("NODE_PATH={}", modules()?));
    }
    argv.extend([program, path, origin.to_owned(), trust.to_owned()]);
    Ok(argv)
}

/// Over TLS, and in the clear.
fn both(ctx: &Ctx, language: Language, text: &str) -> Result<()> {
    let requests = [("GET", "/get"), ("POST", "/post")];
    let server = Https::new(ctx)?;
    let args = argv(ctx, language, text, &server.url(""), &server.certificate)?;
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let run = asks(ctx, &server, &args, &requests)?;
    run.exited(0)?;
    masked(&run, 2)?;

    let web = Web::new()?;
    let args = argv(ctx, language, text, &web.url(""), "")?;
    let run = Run::new(ctx).label("clear").agent([vec!["exec".to_owned()], args].concat()).go()?;
    run.exited(0)?;
    let urls = requests.map(|(method, path)| (method, web.url(path)));
    answered(&run, &urls)?;
    for call in run.ledger.calls("http") {
        same("transport", at(call, "/http/transport"), &json!("plaintext"))?;
    }
    masked(&run, 2)
}

/// Each of these requests is a call, in their order, and was answered with 200.
fn answered(run: &Recorded, urls: &[(&str, String)]) -> Result<()> {
    let calls = run.ledger.calls("http");
    let told: Vec<_> = calls
        .iter()
        .map(|call| (at(call, "/http/method").clone(), at(call, "/http/url").clone()))
        .collect();
    let wanted: Vec<_> = urls.iter().map(|(method, url)| (json!(method), json!(url))).collect();
    same("requests", told, wanted)?;
    for call in calls {
        same("status", at(run.ledger.outcome(call)?, "/http_status"), &json!(200))?;
    }
    run.ledger.nothing_lost()
}

/// The credential is told to have been there, with each of so many calls, and nowhere shown.
fn masked(run: &Recorded, calls: usize) -> Result<()> {
    let text = format!("{:?}", run.ledger.records);
    ensure!(!text.contains(SECRET), "the secret is in the ledger");
    let with = run.ledger.calls("http").into_iter().filter(|call| {
        let headers = at(call, "/http/headers").as_array().cloned().unwrap_or_default();
        headers.iter().any(|header| {
            let part = |n: usize| header[n].as_str().unwrap_or_default();
            part(0).eq_ignore_ascii_case("authorization") && part(1).contains("<mask:")
        })
    });
    same("calls with a masked credential", with.count(), calls)?;
    let posts = run.ledger.records.iter().filter(|record| {
        let bodies = ["/http/body/json", "/http/request_body/json"];
        bodies.iter().any(|body| at(record, body).as_str().is_some_and(is_masked))
    });
    ensure!(posts.count() >= 1, "no masked content");
    Ok(())
}

fn is_masked(content: &str) -> bool {
    content.contains("\"password\"") && content.contains("<mask:")
}

fn http2(ctx: &Ctx, kind: Kind) -> Result<()> {
    let server = Node::new(ctx, kind)?;
    let text = r#"
import httpx
with httpx.Client(verify=context, http1=bool(trust), http2=True) as client:
    for n in range(3):
        answer = client.post(f"{origin}/{n}", headers=head, json=body)
        assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
"#;
    let args = argv(ctx, Language::Python, text, &server.url(""), &server.certificate)?;
    let run = Run::new(ctx).agent([vec!["exec".to_owned()], args].concat()).go()?;
    run.exited(0)?;
    let urls: Vec<_> = (0..3).map(|n| ("POST", server.url(&format!("/{n}")))).collect();
    answered(&run, &urls)?;
    let connect = run.ledger.one_to(server.addr)?;
    for call in run.ledger.calls("http") {
        same("version", at(call, "/http/version"), &json!("2"))?;
        same("the connect", at(call, "/http/connection"), &connect["call"])?;
    }
    masked(&run, 3)
}

/// Many connections of one thread, whose ciphertext the event loop sends and receives: uvloop takes
/// plaintext in for all of them, and sends then. Each call names the connection that the server saw
/// it on.
fn at_once(ctx: &Ctx, looped: &str) -> Result<()> {
    const CONNECTIONS: usize = 24;
    const ROUNDS: usize = 3;
    let server = Https::new(ctx)?;
    let text = format!(
        r#"
import asyncio
async def main():
    name, port = origin.split("/")[2].split(":")
    one = lambda: asyncio.open_connection(name, int(port), ssl=context)
    pairs = await asyncio.gather(*(one() for _ in range({CONNECTIONS})))
    for round in range({ROUNDS}):
        for n, (_, writer) in enumerate(pairs):
            head = f"POST /whence/{{round}}/{{n}} HTTP/1.1\r\nHost: {{name}}:{{port}}\r\n"
            writer.write((head + "Content-Length: 2\r\n\r\nhi").encode())
        for reader, _ in pairs:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert b" 200 " in head
            await reader.readexactly(int(head.split(b"content-length:")[1].split()[0]))
    for _, writer in pairs:
        writer.close()
        await writer.wait_closed()
if {looped:?} == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"#
    );
    let args = argv(ctx, Language::Python, &text, &server.url(""), &server.certificate)?;
    let run = Run::new(ctx).agent([vec!["exec".to_owned()], args].concat()).go()?;
    run.exited(0)?;
    run.ledger.nothing_lost()?;
    let of = |kind, id: &'static str| -> BTreeMap<String, &Value> {
        run.ledger.calls(kind).into_iter().map(|call| (at(call, id).to_string(), call)).collect()
    };
    let (connects, shakes) = (of("connect", "/call"), of("tls", "/tls/cookie"));
    let mut asked = vec![];
    for call in run.ledger.calls("http") {
        let end = run.ledger.result(call)?;
        let connect = connects.get(&at(call, "/http/connection").to_string());
        let connect = connect.with_context(|| format!("no connection: {call}"))?;
        let shake = shakes.get(&at(connect, "/net/cookie").to_string());
        let shake = shake.with_context(|| format!("no handshake: {connect}"))?;
        let port = at(shake, "/tls/local/port").to_string();
        same("the port that it came from", at(end, "/http/body/text"), &json!(port))?;
        asked.push(at(call, "/http/url").clone());
    }
    asked.sort_by_key(Value::to_string);
    let paths = (0..ROUNDS).flat_map(|r| (0..CONNECTIONS).map(move |n| format!("/whence/{r}/{n}")));
    let mut wanted: Vec<_> = paths.map(|path| json!(server.url(&path))).collect();
    wanted.sort_by_key(Value::to_string);
    same("requests", asked, wanted)
}

/// uv, of which only the handshake is seen, and that there is more.
fn rustls(ctx: &Ctx) -> Result<()> {
    let (server, python) = (Https::new(ctx)?, python()?);
    let uv = python.replace("/bin/python3", "/bin/uv");
    let (index, host) = (server.url("/simple"), format!("localhost:{}", server.addr.port()));
    let cache = ctx.path("cache")?;
    let args = ["pip", "install", "--target", &cache, "--index-url", &index];
    let insecure = ["--allow-insecure-host", &host, "nothing"];
    let args = [&["exec", &uv, "--cache-dir", &cache][..], &args, &insecure].concat();
    let run = Run::new(ctx).agent(args).go()?;
    let all = found(&run);
    let own = all.iter().find(|r| at(r, "/coverage/library/path") == &json!(uv));
    let own = own.with_context(|| format!("nothing is told of {uv}: {all:?}"))?;
    same("library", at(own, "/coverage/library/name"), &json!("rustls"))?;
    same("covered", at(own, "/coverage/covered"), &json!(false))?;
    same("probes", at(own, "/coverage/library/probes"), &json!(0))?;
    let shakes = run.ledger.calls("tls");
    ensure!(!shakes.is_empty(), "no handshake: {:?}", run.ledger.records);
    for shake in shakes {
        let end = run.ledger.result(shake)?;
        same("opaque", at(end, "/tls/opaque"), &json!(true))?;
    }
    same("requests", run.ledger.calls("http").len(), 0)
}

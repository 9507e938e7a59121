//! TLS: what stands before encryption and after decryption is seen, whoever encrypts.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use crate::harness::{Ctx, Gate, Https, Recorded, Run, at, in_path, same, tool};

pub(super) const CASES: &[(&str, Case)] = &[
    ("tls-library-of-the-host-has-probes-before-it-is-loaded", libraries),
    ("tls-library-in-an-executable-has-probes-before-it-runs", executable),
    ("tls-library-in-another-place-is-found-as-its-process-connects", elsewhere),
    ("https-of-curl-is-read-and-masked", curl),
    ("https-of-openssl-is-read-and-masked", openssl),
    ("https-of-python-is-read", python),
    ("https-of-node-is-read", node),
    ("https-of-nodes-fetch-is-read", fetch),
    ("https-of-wget-is-read", wget),
    ("https-of-git-is-read", git),
    ("https-of-go-is-read", go),
    ("https-of-go-is-read-whatever-other-goroutines-wait-for", goroutines),
    ("https-kept-alive-is-one-call-for-each-request", keep_alive),
];

/// A value that must not be in any ledger.
const SECRET: &str = "sk-live-4bXk29QmZr7TqLw1";

/// The coverage records about TLS libraries.
pub(super) fn found(run: &Recorded) -> Vec<&Value> {
    let mut records = run.ledger.of_type("coverage");
    records.retain(|r| r.pointer("/coverage/library").is_some());
    records
}

/// Those of one file.
pub(super) fn found_of<'a>(run: &'a Recorded, path: &str) -> Vec<&'a Value> {
    let mut own = found(run);
    own.retain(|r| r.pointer("/coverage/library/path") == Some(&json!(path)));
    own
}

/// A guess is told of as its file is found, and once more when plaintext was read through it.
pub(super) fn told_twice(run: &Recorded, path: &str, library: &str, told: &str) -> Result<()> {
    let own = found_of(run, path);
    let covered: Vec<&Value> = own.iter().map(|r| at(r, "/coverage/covered")).collect();
    same("covered", covered, vec![&json!(false), &json!(true)])?;
    for (record, confirmed) in own.iter().zip([false, true]) {
        same("library", at(record, "/coverage/library/name"), &json!(library))?;
        same("since", at(record, "/coverage/library/since"), &json!("exec"))?;
        same("told", at(record, "/coverage/library/told"), &json!(told))?;
        same("confirmed", at(record, "/coverage/library/confirmed"), &json!(confirmed))?;
    }
    Ok(())
}

fn libraries(ctx: &Ctx) -> Result<()> {
    let run = Run::new(ctx).label("none").agent(["true"]).go()?;
    run.exited(0)?;
    same("libraries of a run that loads none", found(&run), Vec::<&Value>::new())?;
    let python = tool("/usr/bin/python3")?;
    let run = Run::new(ctx).label("one").agent(["exec", python, "-c", "import ssl"]).go()?;
    run.exited(0)?;
    let all = found(&run);
    ensure!(all.len() == 1, "wanted one library, saw {all:?}");
    held(all[0])
}

/// What is told of the host's OpenSSL: its probes stood before it was loaded.
fn held(one: &Value) -> Result<()> {
    same("library", at(one, "/coverage/library/name"), &json!("openssl"))?;
    same("covered", at(one, "/coverage/covered"), &json!(true))?;
    same("since", at(one, "/coverage/library/since"), &json!("open"))?;
    let sha256 = at(one, "/coverage/library/sha256").as_str().unwrap_or_default();
    same("the hash's length", sha256.len(), 64)?;
    let probes = at(one, "/coverage/library/probes").as_u64().unwrap_or(0);
    ensure!(probes >= 4, "too few probes: {one}");
    Ok(())
}

fn executable(ctx: &Ctx) -> Result<()> {
    let node = tool("/usr/bin/node")?;
    let run = Run::new(ctx).agent(["exec", node, "-e", "0"]).go()?;
    run.exited(0)?;
    let all = found(&run);
    let own = all.iter().find(|r| r.pointer("/coverage/library/path") == Some(&json!(node)));
    let own = own.with_context(|| format!("nothing is told of {node}: {all:?}"))?;
    same("library", at(own, "/coverage/library/name"), &json!("openssl"))?;
    same("since", at(own, "/coverage/library/since"), &json!("exec"))?;
    same("covered", at(own, "/coverage/covered"), &json!(true))
}

/// A library that is not where the host's are: a copy in a directory of the agent's choice.
fn elsewhere(ctx: &Ctx) -> Result<()> {
    let (server, curl) = (Https::new(ctx)?, tool("/usr/bin/curl")?);
    let library = tool("/usr/lib/x86_64-linux-gnu/libssl.so.3")?;
    let copy = ctx.path("libssl.so.3")?;
    std::fs::copy(library, &copy)?;
    let path = format!("LD_LIBRARY_PATH={}", ctx.dir.display());
    // It is looked at as it connects, and lives until it was.
    let (url, fifo) = (server.url("/elsewhere"), ctx.fifo("content")?);
    let posts = format!(
        "exec {curl} -s -T - -X POST -H Content-Length:5 --cacert {} {url} < {fifo}",
        server.certificate
    );
    let mut live =
        Run::new(ctx).agent(["exec", "/usr/bin/env", &path, "/bin/sh", "-c", &posts]).start()?;
    let gate = Gate::of(&fifo)?;
    live.until_recorded("the library", |record| {
        record.pointer("/coverage/library/path") == Some(&json!(copy))
    })?;
    gate.say(b"hello")?;
    let run = live.finish()?;
    run.exited(0)?;
    let all = found(&run);
    let own = all.iter().find(|r| r.pointer("/coverage/library/path") == Some(&json!(copy)));
    let own = own.with_context(|| format!("nothing is told of {copy}: {all:?}"))?;
    same("since", at(own, "/coverage/library/since"), &json!("connect"))?;
    let why = at(own, "/coverage/why").as_str().unwrap_or_default();
    ensure!(why.contains("not seen"), "{why}");
    Ok(())
}

/// Runs a client of the server; its requests must be these, answered with 200.
pub(super) fn asks(
    ctx: &Ctx,
    server: &Https,
    argv: &[&str],
    requests: &[(&str, &str)],
) -> Result<Recorded> {
    let run = Run::new(ctx).agent([&["exec"], argv].concat()).go()?;
    let calls = run.ledger.calls("http");
    let told: Vec<_> = calls
        .iter()
        .map(|call| (at(call, "/http/method").clone(), at(call, "/http/url").clone()))
        .collect();
    let wanted: Vec<_> =
        requests.iter().map(|(method, path)| (json!(method), json!(server.url(path)))).collect();
    same("requests", told, wanted)?;
    let (connects, shakes) = (run.ledger.calls("connect"), run.ledger.calls("tls"));
    for call in &calls {
        same("transport", at(call, "/http/transport"), &json!("tls"))?;
        same("status", at(run.ledger.outcome(call)?, "/http_status"), &json!(200))?;
        let peer = at(call, "/http/peer/port");
        same("peer's port", peer, &json!(server.addr.port()))?;
        // It names the connect that it went through.
        let through = at(call, "/http/connection");
        let connect = connects.iter().find(|connect| connect["call"] == *through);
        let connect = connect.with_context(|| format!("no connect {through}: {call}"))?;
        same("its port", at(connect, "/net/peer/port"), peer)?;
        // What went through it was read.
        let cookie = at(connect, "/net/cookie");
        let shake = shakes.iter().find(|shake| at(shake, "/tls/cookie") == cookie);
        let shake = shake.with_context(|| format!("no handshake {cookie}: {call}"))?;
        let end = run.ledger.result(shake)?;
        same("opaque", at(end, "/tls/opaque"), &json!(false))?;
    }
    Ok(run)
}

fn curl(ctx: &Ctx) -> Result<()> {
    let (server, curl) = (Https::new(ctx)?, tool("/usr/bin/curl")?);
    let (one, other) = (server.url("/one"), server.url("/other"));
    let header = format!("Authorization: Bearer {SECRET}");
    let body = format!("{{\"password\":\"{SECRET}\",\"n\":1}}");
    let args = [
        &[curl, "-s", "--cacert", &server.certificate, "-H", &header][..],
        &["-H", "Content-Type: application/json", "-d", &body, &one, &other],
    ];
    let requests = [("POST", "/one"), ("POST", "/other")];
    let run = asks(ctx, &server, &args.concat(), &requests)?;
    run.exited(0)?;
    not_told(&run)?;
    let calls = run.ledger.calls("http");
    let both = (at(calls[0], "/http/connection"), at(calls[1], "/http/connection"));
    same("one connection", both.0, both.1)
}

/// The request had the secret, and no record has.
fn not_told(run: &Recorded) -> Result<()> {
    let text = format!("{:?}", run.ledger.records);
    ensure!(!text.contains(SECRET), "the secret is in the ledger");
    ensure!(text.contains("<mask:"), "nothing was masked: {text}");
    Ok(())
}

fn openssl(ctx: &Ctx) -> Result<()> {
    let server = Https::of_openssl(ctx)?;
    let (request, port) = (ctx.path("request")?, server.addr.port());
    let fields = format!("Host: localhost:{port}\r\nAuthorization: Bearer {SECRET}\r\n");
    std::fs::write(&request, format!("GET /one HTTP/1.0\r\n{fields}\r\n"))?;
    let asks_it = format!(
        "exec /usr/bin/openssl s_client -quiet -connect 127.0.0.1:{port} \
         -CAfile {} < {request}",
        server.certificate
    );
    let run = asks(ctx, &server, &["/bin/sh", "-c", &asks_it], &[("GET", "/one")])?;
    run.exited(0)?;
    not_told(&run)?;
    let all = found(&run);
    ensure!(all.len() == 1, "wanted one library, saw {all:?}");
    held(all[0])
}

fn python(ctx: &Ctx) -> Result<()> {
    let (server, python) = (Https::new(ctx)?, tool("/usr/bin/python3")?);
    let script = format!(
        "import ssl, urllib.request\n\
         context = ssl.create_default_context(cafile={:?})\n\
         urllib.request.urlopen({:?}, context=context).read()\n\
         urllib.request.urlopen({:?}, data=b'x' * 100000, context=context).read()\n",
        server.certificate,
        server.url("/get"),
        server.url("/post")
    );
    let requests = [("GET", "/get"), ("POST", "/post")];
    asks(ctx, &server, &[python, "-c", &script], &requests)?.exited(0)
}

fn node(ctx: &Ctx) -> Result<()> {
    let (server, node) = (Https::new(ctx)?, tool("/usr/bin/node")?);
    let script = format!(
        "const ca = require('fs').readFileSync({:?}); const https = require('https');\n\
         https.get({:?}, {{ ca, agent: false }}, (one) => one.resume().on('end', () =>\n\
         https.get({:?}, {{ ca, agent: false }}, (other) => other.resume())));\n",
        server.certificate,
        server.url("/one"),
        server.url("/other")
    );
    let requests = [("GET", "/one"), ("GET", "/other")];
    asks(ctx, &server, &[node, "-e", &script], &requests)?.exited(0)
}

/// It writes its request from a callback of the read that ends the handshake.
fn fetch(ctx: &Ctx) -> Result<()> {
    let (server, node) = (Https::new(ctx)?, tool("/usr/bin/node")?);
    let script = format!(
        "(async () => {{ for (const method of ['GET', 'POST']) {{\n\
         const body = method == 'POST' ? 'a=b' : undefined;\n\
         await (await fetch({:?} + method, {{ method, body }})).text(); }} }})()\n",
        server.url("/fetch-")
    );
    let trust = format!("NODE_EXTRA_CA_CERTS={}", server.certificate);
    let requests = [("GET", "/fetch-GET"), ("POST", "/fetch-POST")];
    asks(ctx, &server, &["/usr/bin/env", &trust, node, "-e", &script], &requests)?.exited(0)
}

fn wget(ctx: &Ctx) -> Result<()> {
    let (server, wget) = (Https::new(ctx)?, tool("/usr/bin/wget")?);
    let trust = format!("--ca-certificate={}", server.certificate);
    let url = server.url("/wget");
    let argv = [wget, "-q", "-O", "/dev/null", &trust, &url];
    asks(ctx, &server, &argv, &[("GET", "/wget")])?.exited(0)
}

fn git(ctx: &Ctx) -> Result<()> {
    let (server, git) = (Https::new(ctx)?, tool("/usr/bin/git")?);
    let url = server.url("/repo.git");
    // Whom it trusts may be set in the environment, over its configuration.
    let argv = [git, "-c", "http.sslVerify=false", "ls-remote", &url];
    // What it gets is no repository, so it asks once more; that it asked is what counts.
    let asked = [("GET", "/repo.git/info/refs?service=git-upload-pack"), ("GET", "/repo.git/HEAD")];
    asks(ctx, &server, &argv, &asked).map(drop)
}

fn go(ctx: &Ctx) -> Result<()> {
    let server = Https::new(ctx)?;
    let program = go_program(ctx, &asking(&server, ""))?;
    let requests = [("GET", "/one"), ("GET", "/other")];
    let run = asks(ctx, &server, &[&program], &requests)?;
    run.exited(0)?;
    let all = found(&run);
    let own = all.iter().find(|r| r.pointer("/coverage/library/path") == Some(&json!(program)));
    let own = own.with_context(|| format!("nothing is told of {program}: {all:?}"))?;
    same("library", at(own, "/coverage/library/name"), &json!("go"))
}

/// Goroutines that wait in a call for ever, more than can be followed, before the requests.
fn goroutines(ctx: &Ctx) -> Result<()> {
    let server = Https::new(ctx)?;
    let many = if ctx.quick { 1_000 } else { 9_000 };
    let waiting = format!(
        "var begun sync.WaitGroup\n for n := 0; n < {many}; n++ {{\n begun.Add(1)\n\
         go tls.Server(mute{{nil, &begun}}, &tls.Config{{}}).Read(make([]byte, 1))\n }}\n\
         begun.Wait()\n"
    );
    let text = asking(&server, &waiting)
        + "type mute struct { net.Conn; begun *sync.WaitGroup }\n\
           func (m mute) Read([]byte) (int, error) { m.begun.Done(); select {} }\n\
           func (m mute) Close() error { return nil }\n";
    let program = go_program(ctx, &text)?;
    let requests = [("GET", "/one"), ("GET", "/other")];
    let run = asks(ctx, &server, &[&program], &requests)?;
    run.exited(0)?;
    run.ledger.nothing_lost()
}

/// A program that asks the server twice, after something else.
fn asking(server: &Https, before: &str) -> String {
    let imports = ["crypto/tls", "crypto/x509", "io", "net", "net/http", "os", "sync"];
    let imports = imports.map(|name| format!("{name:?}")).join("; ");
    format!(
        "package main\nimport ({imports})\nvar _ net.Conn\nvar _ sync.Mutex\n\
         func main() {{\n {before}pem, _ := os.ReadFile({:?})\n pool := x509.NewCertPool()\n\
         pool.AppendCertsFromPEM(pem)\n\
         client := &http.Client{{Transport: &http.Transport{{TLSClientConfig: \
         &tls.Config{{RootCAs: pool}}}}}}\n\
         for _, url := range []string{{{:?}, {:?}}} {{\n got, err := client.Get(url)\n\
         if err != nil {{ panic(err) }}\n io.Copy(io.Discard, got.Body)\n got.Body.Close()\n }}\n}}\n",
        server.certificate,
        server.url("/one"),
        server.url("/other")
    )
}

/// A Go program of this source, stripped: its path.
fn go_program(ctx: &Ctx, text: &str) -> Result<String> {
    let go = in_path("go")?;
    let (source, program) = (ctx.path("main.go")?, ctx.path("program")?);
    std::fs::write(&source, text)?;
    let cache = std::env::temp_dir().join("observer-e2e-go");
    let built = Command::new(go)
        .args(["build", "-ldflags", "-s -w", "-o", &program, &source])
        .env("CGO_ENABLED", "0")
        .env("GOCACHE", cache)
        .status()?;
    ensure!(built.success(), "go build: {built}");
    Ok(program)
}

fn keep_alive(ctx: &Ctx) -> Result<()> {
    let (server, python) = (Https::new(ctx)?, tool("/usr/bin/python3")?);
    let many = if ctx.quick { 500 } else { 5000 };
    let script = format!(
        "import http.client, ssl\n\
         context = ssl.create_default_context(cafile={:?})\n\
         server = http.client.HTTPSConnection('localhost', {}, context=context)\n\
         for n in range({many}):\n    \
             server.request('POST', f'/{{n}}', body=b'x' * 600)\n    \
             assert server.getresponse().read() == b'600 bytes'\n",
        server.certificate,
        server.addr.port()
    );
    let paths: Vec<String> = (0..many).map(|n| format!("/{n}")).collect();
    let requests: Vec<_> = paths.iter().map(|path| ("POST", path.as_str())).collect();
    asks(ctx, &server, &[python, "-c", &script], &requests)?.exited(0)
}

//! An HTTPS server of this machine's own tools, with a certificate made for the case.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::{Ctx, PATIENCE, skip, until};

/// Answers GET with `hello PATH`, or below `/close` by closing the connection, and POST with how many bytes came, or below `/whence` with the port
/// that they came from; keeps connections open.
const SERVER: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
    def do_GET(self):
        if self.path.startswith("/close"):
            self.close_connection = True
            return
        self.answer(b"hello " + self.path.encode())
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        whence = self.path.startswith("/whence")
        self.answer(b"%d" % self.client_address[1] if whence else b"%d bytes" % len(body))
    def log_message(self, *args):
        pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64
    def finish_request(self, request, address):
        with context.wrap_socket(request, server_side=True) as wrapped:
            super().finish_request(wrapped, address)
    def handle_error(self, request, address):
        pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// An HTTPS server on 127.0.0.1, for the name `localhost`.
#[derive(Debug)]
pub struct Https {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The certificate that it shows, which signed itself: a file.
    pub certificate: String,
    child: Child,
}

impl Https {
    /// Starts one; skips the case where the machine lacks what it takes.
    ///
    /// # Errors
    /// When it does not start.
    pub fn new(ctx: &Ctx) -> Result<Self> {
        let python = tool("/usr/bin/python3")?;
        let (certificate, key) = certificate(ctx)?;
        let script = ctx.path("server.py")?;
        fs::write(&script, SERVER)?;
        let (child, addr) = listening(python, &[&script, &certificate, &key])?;
        Ok(Self { addr, certificate, child })
    }

    /// One of openssl's own, which answers each connection's first request with 200 and ends.
    ///
    /// # Errors
    /// When it does not start.
    pub fn of_openssl(ctx: &Ctx) -> Result<Self> {
        let openssl = tool("/usr/bin/openssl")?;
        let (certificate, key) = certificate(ctx)?;
        // It says more later, so what it says goes where nobody has to read it.
        let said = ctx.path("server.out")?;
        let child = Command::new(openssl)
            .args(["s_server", "-www", "-accept", "127.0.0.1:0"])
            .args(["-cert", &certificate, "-key", &key])
            .stdin(Stdio::null())
            .stdout(fs::File::create(&said)?)
            .stderr(Stdio::null())
            .spawn()?;
        let addr = until("the server's address", PATIENCE, || {
            let said = fs::read_to_string(&said)?;
            let whole = said.lines().filter(|_| said.ends_with('\n'));
            Ok(whole.filter_map(|line| line.strip_prefix("ACCEPT ")?.parse().ok()).next())
        })?;
        Ok(Self { addr, certificate, child })
    }

    /// A URL on it.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.addr.port())
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate for `localhost` that signed itself, and its key: files.
pub(super) fn certificate(ctx: &Ctx) -> Result<(String, String)> {
    let openssl = tool("/usr/bin/openssl")?;
    let (certificate, key) = (ctx.path("cert.pem")?, ctx.path("key.pem")?);
    // The same on every machine, whatever it has configured, or hasn't.
    let made = Command::new(openssl)
        .args(["req", "-config", "/dev/null", "-x509", "-newkey", "ec"])
        .args(["-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "basicConstraints=critical,CA:TRUE"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-keyout", &key, "-out", &certificate])
        .stderr(Stdio::null())
        .status()?;
    ensure!(made.success(), "openssl req: {made}");
    Ok((certificate, key))
}

/// Starts a server that writes the port on which it listens at 127.0.0.1.
pub(super) fn listening(program: &str, args: &[&str]) -> Result<(Child, SocketAddr)> {
    let mut child =
        Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let out = child.stdout.take().context("its output")?;
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    let port: u16 = line.trim().parse().with_context(|| format!("a port: {line:?}"))?;
    Ok((child, ([127, 0, 0, 1], port).into()))
}

/// A program of this machine; skips the case where it has none.
///
/// # Errors
/// When it is not there.
pub fn tool(path: &'static str) -> Result<&'static str> {
    if fs::metadata(path).is_ok_and(|meta| meta.is_file()) {
        return Ok(path);
    }
    skip(&format!("{path} is not here"))
}

/// A Python that has the clients of the setup; skips the case where there is none.
///
/// # Errors
/// When it is not there.
pub fn python() -> Result<String> {
    set_up("OBSERVER_TEST_PYTHON")
}

/// A directory of node's modules with the clients of the setup; skips the case where there is none.
///
/// # Errors
/// When it is not there.
pub fn modules() -> Result<String> {
    set_up("OBSERVER_TEST_MODULES")
}

fn set_up(variable: &str) -> Result<String> {
    match std::env::var(variable) {
        Ok(path) if fs::metadata(&path).is_ok() => Ok(path),
        _ => skip(&format!("{variable} names nothing: `cargo xtask setup test` downloads it")),
    }
}

/// A program in PATH; skips the case where it has none.
///
/// # Errors
/// When it is not there.
pub fn in_path(name: &str) -> Result<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    match found {
        // As the kernel names it, links followed.
        Some(file) => Ok(file.canonicalize()?.display().to_string()),
        None => skip(&format!("{name} is not in PATH: `cargo xtask setup test` has it")),
    }
}

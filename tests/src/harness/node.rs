//! Servers of what this machine's node speaks: HTTP/2 in the clear and within TLS, WebSockets.

use std::fs;
use std::net::SocketAddr;
use std::process::Child;

use anyhow::Result;

use super::Ctx;
use super::https::{certificate, listening, tool};

/// HTTP/2: answers with `hello PATH`, or 404 below `/missing`; a gRPC request with one message of
/// three bytes and a status, which is 7 for a method `Refused`. WebSockets: says again what it is
/// told. What it reads of those are whole frames of less than 126 bytes.
const SERVER: &str = r#"
const [kind, cert, key] = process.argv.slice(2);
const { readFileSync } = require('fs');
const ask = (stream, headers) => {
  stream.resume().on('end', () => {
    const path = headers[':path'];
    if (headers['content-type'] !== 'application/grpc') {
      const status = path.startsWith('/missing') ? 404 : 200;
      stream.respond({ ':status': status, 'content-type': 'text/plain' });
      stream.end('hello ' + path);
      return;
    }
    const head = { ':status': 200, 'content-type': 'application/grpc' };
    stream.respond(head, { waitForTrailers: true });
    const refused = { 'grpc-status': '7', 'grpc-message': 'not%20for%20you' };
    stream.on('wantTrailers', () =>
      stream.sendTrailers(path.endsWith('/Refused') ? refused : { 'grpc-status': '0' }));
    stream.end(Buffer.from([0, 0, 0, 0, 3, 1, 2, 3]));
  });
};
const talk = (request, socket) => {
  const named = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = require('crypto').createHash('sha1').update(named).digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n' +
    `Connection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  let held = Buffer.alloc(0);
  socket.on('data', (bytes) => {
    held = Buffer.concat([held, bytes]);
    while (held.length >= 6 && held.length >= 6 + (held[1] & 127)) {
      const [first, length] = [held[0], held[1] & 127];
      const said = held.subarray(6, 6 + length).map((byte, i) => byte ^ held[2 + (i & 3)]);
      held = held.subarray(6 + length);
      socket.write(Buffer.concat([Buffer.from([first, length]), said]));
      if ((first & 15) === 8) socket.end();
    }
  });
};
const http2 = require('http2');
const server = {
  http2: () => http2.createServer().on('stream', ask),
  https2: () => http2.createSecureServer({ cert: readFileSync(cert), key: readFileSync(key) })
    .on('stream', ask),
  websocket: () => require('http').createServer().on('upgrade', talk),
}[kind]();
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"#;

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP/2 in the clear, by prior knowledge.
    Http2,
    /// HTTP/2 within TLS.
    Https2,
    /// WebSockets, upgraded from HTTP/1.1 in the clear.
    WebSocket,
}

/// A server on 127.0.0.1, within TLS for the name `localhost`.
#[derive(Debug)]
pub struct Node {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The certificate that it shows, if any: a file.
    pub certificate: String,
    kind: Kind,
    child: Child,
}

impl Node {
    /// Starts one; skips the case where the machine lacks what it takes.
    ///
    /// # Errors
    /// When it does not start.
    pub fn new(ctx: &Ctx, kind: Kind) -> Result<Self> {
        let node = tool("/usr/bin/node")?;
        let (word, (certificate, key)) = match kind {
            Kind::Http2 => ("http2", Default::default()),
            Kind::Https2 => ("https2", certificate(ctx)?),
            Kind::WebSocket => ("websocket", Default::default()),
        };
        let script = ctx.path("server.js")?;
        fs::write(&script, SERVER)?;
        let (child, addr) = listening(node, &[&script, word, &certificate, &key])?;
        Ok(Self { addr, certificate, kind, child })
    }

    /// A URL on it.
    pub fn url(&self, path: &str) -> String {
        match self.kind {
            Kind::Https2 => format!("https://localhost:{}{path}", self.addr.port()),
            Kind::Http2 => format!("http://{}{path}", self.addr),
            Kind::WebSocket => format!("ws://{}{path}", self.addr),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

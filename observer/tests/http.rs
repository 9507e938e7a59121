//! Conversations between real peers (hyper, and h2 within it): each request is told once, with the
//! method, the target and the status that its client saw.
#![expect(clippy::unwrap_used, reason = "a test's panic is its report")]

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use observer::assemble::http::{Capture, Conversation, End, Flow, Told, Way};
use observer::model::{HttpContent, Raw, Reason};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

const REQUESTS: usize = 10_000;

/// What goes over a connection, as a recorder beside it sees it.
struct Tap {
    conversation: Conversation,
    told: Vec<Told>,
    now: u64,
}

impl Tap {
    fn bytes(&mut self, way: Way, bytes: &[u8]) {
        self.now += 1;
        self.conversation.bytes(&Capture::default(), way, self.now, bytes, &mut self.told);
    }
}

/// The client's end of a connection, with a recorder beside it.
struct Tapped {
    inner: DuplexStream,
    tap: Arc<Mutex<Tap>>,
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.tap.lock().unwrap().bytes(Way::In, &buf.filled()[before..]);
        }
        polled
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = &polled {
            self.tap.lock().unwrap().bytes(Way::Out, &bytes[..*written]);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

fn tapped() -> (TokioIo<Tapped>, TokioIo<DuplexStream>, Arc<Mutex<Tap>>) {
    let conversation = Conversation::new(Flow::plaintext(None));
    let tap = Arc::new(Mutex::new(Tap { conversation, told: vec![], now: 0 }));
    let (client, server) = duplex(16 * 1024);
    let client = Tapped { inner: client, tap: Arc::clone(&tap) };
    (TokioIo::new(client), TokioIo::new(server), tap)
}

/// The request's number is its path; what comes back depends on it.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let n: usize = request.uri().path()[1..].parse().unwrap();
    let sent = request.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(sent.len(), content(n).len());
    let mut response = Response::new(Full::new(Bytes::from(format!("answer {n}"))));
    *response.status_mut() = status(n);
    response.headers_mut().insert("x-n", n.into());
    Ok(response)
}

fn status(n: usize) -> StatusCode {
    [StatusCode::OK, StatusCode::CREATED, StatusCode::NOT_FOUND, StatusCode::BAD_GATEWAY][n % 4]
}

fn method(n: usize) -> &'static str {
    ["GET", "POST", "PUT", "DELETE", "PATCH"][n % 5]
}

fn content(n: usize) -> String {
    if matches!(method(n), "GET" | "DELETE") { String::new() } else { format!("content {n}") }
}

fn request(n: usize) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method(n))
        .uri(format!("http://peer.example:8080/{n}?q={}", n * 7))
        .header("host", "peer.example:8080")
        .header("user-agent", "a test")
        .header("x-request", format!("value {n}"))
        .body(Full::new(Bytes::from(content(n))))
        .unwrap()
}

fn text(raw: &Raw) -> String {
    String::from_utf8_lossy(raw.bytes()).into_owned()
}

fn kept(content: &HttpContent) -> String {
    match content {
        HttpContent::Bytes(raw) => text(raw),
        other => panic!("{other:?}"),
    }
}

/// Each request, told once, and as it was.
fn check(tap: &Mutex<Tap>) {
    let mut tap = tap.lock().unwrap();
    let (mut told, now) = (std::mem::take(&mut tap.told), tap.now);
    for way in [Way::Out, Way::In] {
        tap.conversation.end(&Capture::default(), way, now, End::Closed, &mut told);
    }
    assert!(tap.conversation.memory() < 64 * 1024, "{}", tap.conversation.memory());
    let mut asked = vec![None; REQUESTS];
    let mut sent = vec![String::new(); REQUESTS + 1];
    let mut number = vec![usize::MAX; REQUESTS + 1];
    let mut answers = 0;
    for told in &told {
        match told {
            Told::Request { id, request, .. } => {
                let url = text(&request.url);
                let n = url.trim_start_matches("http://peer.example:8080/");
                let n: usize = n.split('?').next().unwrap().parse().unwrap();
                assert_eq!(url, format!("http://peer.example:8080/{n}?q={}", n * 7));
                assert_eq!(text(&request.method), method(n));
                let value = request.fields.first("X-Request").unwrap();
                assert_eq!(value, format!("value {n}").as_bytes());
                assert!(request.ambiguous.is_empty(), "{:?}", request.ambiguous);
                assert_eq!(asked[n].replace(*id), None, "{n} is told twice");
                number[*id as usize] = n;
            }
            Told::Sent { id, body } => sent[*id as usize] = kept(&body.content),
            Told::Answer { id, reason, answer, .. } => {
                let n = number[*id as usize];
                let code = status(n).as_u16();
                assert_eq!(*reason, Reason::Http { status: code, note: None }, "{n}");
                assert_eq!(sent[*id as usize], content(n));
                let body = answer.body.as_ref().unwrap();
                assert_eq!((kept(&body.content), body.whole), (format!("answer {n}"), true));
                let head = answer.head.as_ref().unwrap();
                assert_eq!(head.fields.first("x-n").unwrap(), n.to_string().as_bytes());
                assert!(answer.ambiguous.is_empty());
                answers += 1;
            }
            Told::Unparsed { why, .. } => panic!("{why}"),
        }
    }
    assert!(asked.iter().all(Option::is_some));
    assert_eq!(answers, REQUESTS);
}

#[tokio::test]
async fn each_of_10000_requests_over_http1_is_told_as_hyper_sent_it() {
    let (client, server, tap) = tapped();
    let server = tokio::spawn(async move {
        hyper::server::conn::http1::Builder::new()
            .serve_connection(server, service_fn(answer))
            .await
            .unwrap();
    });
    let (mut sender, connection) = hyper::client::conn::http1::handshake(client).await.unwrap();
    let connection = tokio::spawn(connection);
    for n in 0..REQUESTS {
        let response = sender.send_request(request(n)).await.unwrap();
        assert_eq!(response.status(), status(n));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, format!("answer {n}").as_bytes());
    }
    drop(sender);
    connection.await.unwrap().unwrap();
    server.await.unwrap();
    check(&tap);
}

#[tokio::test]
async fn each_of_10000_requests_over_http2_is_told_as_h2_sent_it() {
    const AT_ONCE: usize = 50;
    let (client, server, tap) = tapped();
    let server = tokio::spawn(async move {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(server, service_fn(answer))
            .await
            .unwrap();
    });
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), client);
    let (sender, connection) = handshake.await.unwrap();
    let connection = tokio::spawn(connection);
    let mut n = 0;
    while n < REQUESTS {
        let round: Vec<_> = (n..(n + AT_ONCE).min(REQUESTS))
            .map(|n| {
                let mut sender = sender.clone();
                tokio::spawn(async move {
                    let response = sender.send_request(request(n)).await.unwrap();
                    assert_eq!(response.status(), status(n));
                    response.into_body().collect().await.unwrap();
                })
            })
            .collect();
        n += round.len();
        for one in round {
            one.await.unwrap();
        }
    }
    drop(sender);
    connection.await.unwrap().unwrap();
    server.await.unwrap();
    check(&tap);
}

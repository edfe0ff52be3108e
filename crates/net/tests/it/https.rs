//! HTTP connections: how long they are kept open, and what closes them.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{Request, Response, StatusCode, header},
    routing::{any, get, post},
};
use hyper_util::rt::TokioIo;
use net::{CancellationToken, ConnectionLimiter, Limits, Refused, serve_https};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::client::TlsStream;

use crate::pki::{Pki, connect, listen};

const QUICK: Duration = Duration::from_millis(250);

/// Starts a server whose other limits are long.
fn start(pki: &Pki, limits: Limits) -> (SocketAddr, ConnectionLimiter) {
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/refused", get(|| async { (StatusCode::UNAUTHORIZED, "refused") }))
        .route("/length", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/upgrade", any(upgrade));
    let (listener, addr) = listen();
    let limiter = ConnectionLimiter::new(limits);
    tokio::spawn(serve_https(listener, pki.server(), router, limiter.clone(), CancellationToken::new()));
    (addr, limiter)
}

/// Switches to an echo protocol.
async fn upgrade(mut request: Request<Body>) -> Response<Body> {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let stream = TokioIo::new(upgrade.await.unwrap());
        let (mut read, mut write) = tokio::io::split(stream);
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "echo")
        .body(Body::empty())
        .unwrap()
}

/// Reads until `text` has arrived, or the end.
async fn read_until(stream: &mut TlsStream<TcpStream>, text: &str) -> String {
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    while !answer.contains(text) {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => answer.push_str(str::from_utf8(&buffer[..count]).unwrap()),
        }
    }
    answer
}

/// Returns how long the server keeps the connection open.
async fn closed_after(stream: &mut TlsStream<TcpStream>) -> Duration {
    let began = Instant::now();
    let end = timeout(Duration::from_secs(8), stream.read_to_end(&mut Vec::new())).await;
    assert!(end.is_ok(), "the server does not close the connection");
    began.elapsed()
}

/// Refusals beyond the limit of an address wait for their answers; its other requests do not, nor do its new connections.
#[tokio::test]
async fn refusals_beyond_the_limit_of_an_address_are_answered_slowly() {
    const LIMIT: usize = 3;
    let pki = Pki::new();
    let (addr, limiter) = start(&pki, Limits { max_unproven_per_address: Some(LIMIT), ..Limits::default() });
    let mut refused = Vec::new();
    for _ in 0..LIMIT {
        let mut stream = connect(addr, pki.client(None)).await.unwrap();
        stream.write_all(b"GET /refused HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert!(read_until(&mut stream, "refused").await.starts_with("HTTP/1.1 401"));
        refused.push(stream);
    }
    let stream = &mut refused[LIMIT - 1];
    stream.write_all(b"GET /refused HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(
        timeout(Duration::from_secs(1), read_until(stream, "refused")).await.is_err(),
        "answered at once"
    );
    let mut honest = connect(addr, pki.client(None)).await.expect("a refused connection gave way");
    honest.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let answer = timeout(Duration::from_secs(1), read_until(&mut honest, "hello")).await;
    assert!(answer.expect("at once").starts_with("HTTP/1.1 200"));
    assert_eq!((limiter.refused(Refused::Evicted), limiter.refused(Refused::AddressLimit)), (1, 0));
}

#[tokio::test]
async fn a_connection_is_kept_between_requests() {
    let pki = Pki::new();
    let (addr, _) =
        start(&pki, Limits { header_timeout: QUICK, request_timeout: QUICK, ..Limits::default() });
    let mut stream = connect(addr, pki.client(None)).await.unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let answer = read_until(&mut stream, "hello").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"), "{answer}");
        sleep(QUICK * 2).await; // idle for longer than a header or a request may take
    }
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost: y\r\n\r\n").await.unwrap();
    assert!(read_until(&mut stream, "hello").await.contains("hello"));
}

#[tokio::test]
async fn an_unread_body_does_not_close_the_connection() {
    let pki = Pki::new();
    let (addr, _) = start(&pki, Limits::default());
    let mut stream = connect(addr, pki.client(None)).await.unwrap();
    for _ in 0..3 {
        stream.write_all(b"PUT /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n").await.unwrap();
        sleep(QUICK).await; // the handler has refused by now
        stream.write_all(b"body").await.unwrap();
        let answer = read_until(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_at_the_idle_timeout() {
    let pki = Pki::new();
    let (addr, limiter) = start(&pki, Limits { http_idle_timeout: QUICK * 2, ..Limits::default() });
    let mut stream = connect(addr, pki.client(None)).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(&mut stream, "hello").await;
    let waited = closed_after(&mut stream).await;
    assert!(waited > QUICK && waited < QUICK * 8, "{waited:?}");
    drop(stream);
    sleep(QUICK).await;
    assert_eq!(limiter.connections(), 0, "its permit is free");
}

#[tokio::test]
async fn a_slow_header_is_cut_off() {
    let pki = Pki::new();
    let (addr, _) = start(&pki, Limits { header_timeout: QUICK * 2, ..Limits::default() });
    let mut fresh = connect(addr, pki.client(None)).await.unwrap();
    let mut idle = connect(addr, pki.client(None)).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(&mut idle, "hello").await;
    let mut silent = connect(addr, pki.client(None)).await.unwrap();
    let began = Instant::now();
    for byte in b"GET / HTTP/1.1\r\nhost: a-rather-long-name.example\r\n\r\n".iter() {
        let written = (fresh.write_all(&[*byte]).await, idle.write_all(&[*byte]).await);
        if written.0.is_err() && written.1.is_err() {
            break;
        }
        sleep(Duration::from_millis(40)).await;
    }
    for stream in [&mut fresh, &mut idle, &mut silent] {
        closed_after(stream).await;
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_missing_body_is_cut_off() {
    let pki = Pki::new();
    let (addr, _) = start(&pki, Limits { request_timeout: QUICK, ..Limits::default() });
    let mut stream = connect(addr, pki.client(None)).await.unwrap();
    stream.write_all(b"POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345").await.unwrap();
    let waited = closed_after(&mut stream).await;
    assert!(waited < QUICK * 8, "{waited:?}");
}

#[tokio::test]
async fn large_headers_get_431_and_large_bodies_pass() {
    let pki = Pki::new();
    let (addr, _) = start(&pki, Limits { max_header_bytes: 8192, ..Limits::default() });
    for (filler, status) in [(7000, "200"), (9000, "431")] {
        let mut stream = connect(addr, pki.client(None)).await.unwrap();
        let header = format!("GET / HTTP/1.1\r\nhost: x\r\nfiller: {}\r\n\r\n", "f".repeat(filler));
        stream.write_all(header.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{filler}: {answer}");
    }
    let mut stream = connect(addr, pki.client(None)).await.unwrap();
    let body =
        format!("POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n{}", "b".repeat(100_000));
    stream.write_all(body.as_bytes()).await.unwrap();
    assert!(read_until(&mut stream, "100000").await.ends_with("100000"));
}

#[tokio::test]
async fn a_request_has_one_host_and_no_repeated_single_headers() {
    let pki = Pki::new();
    let (addr, _) = start(&pki, Limits::default());
    let host = "host: localhost\r\n";
    let mut cases = vec![(String::new(), 400), (host.to_owned(), 200), (host.repeat(2), 400)];
    for name in ["Authorization", "Content-Type", "Sec-WebSocket-Key", "Sec-WebSocket-Version"] {
        cases.push((format!("{host}{name}: a\r\n"), 200));
        cases.push((format!("{host}{name}: a\r\n{name}: a\r\n"), 400));
    }
    // Lists may be split over several lines.
    cases.push((format!("{host}accept: a/a\r\naccept: b/b\r\n"), 200));
    for (headers, status) in cases {
        let mut stream = connect(addr, pki.client(None)).await.unwrap();
        stream.write_all(format!("GET / HTTP/1.1\r\n{headers}\r\n").as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{headers:?}: {answer}");
    }
    let mut old = connect(addr, pki.client(None)).await.unwrap();
    old.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    assert!(read_until(&mut old, "hello").await.starts_with("HTTP/1.0 200"), "HTTP/1.0 had no Host");
}

#[tokio::test]
async fn malformed_http_gets_400() {
    let pki = Pki::new();
    let (addr, _) = start(&pki, Limits::default());
    for request in
        ["\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0", "GET / HTTP/9.9\r\n\r\n", "G@T / HTTP/1.1\r\nho st: x\r\n\r\n"]
    {
        let mut stream = connect(addr, pki.client(None)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{request:?}: {answer}");
        closed_after(&mut stream).await;
    }
}

#[tokio::test]
async fn an_upgraded_connection_keeps_its_permit_and_no_deadline() {
    let pki = Pki::new();
    let limits = Limits {
        header_timeout: QUICK,
        request_timeout: QUICK,
        http_idle_timeout: QUICK,
        ..Limits::default()
    };
    let (addr, limiter) = start(&pki, limits);
    let mut stream = connect(addr, pki.client(None)).await.unwrap();
    stream
        .write_all(b"GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        .await
        .unwrap();
    assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 101"));
    sleep(QUICK * 3).await;
    stream.write_all(b"still here").await.unwrap();
    assert_eq!(read_until(&mut stream, "here").await, "still here");
    assert_eq!(limiter.connections(), 1);
    drop(stream);
    sleep(QUICK).await;
    assert_eq!(limiter.connections(), 0);
}

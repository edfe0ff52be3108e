//! Listeners behind proxies.

use std::{net::SocketAddr, time::Duration};

use axum::{Extension, Router, routing::get};
use net::{CancellationToken, ConnectionLimiter, Limits, Listener, Peer, Refused, serve_https};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::pki::{Pki, dial_from, handshake, listen};

/// Answers with the client's address; 127.0.0.1 is a proxy.
fn start(limits: Limits) -> (Pki, SocketAddr, ConnectionLimiter) {
    let (pki, (socket, addr), limiter) = (Pki::new(), listen(), ConnectionLimiter::new(limits));
    let router =
        Router::new().route("/", get(async |Extension(peer): Extension<Peer>| peer.addr.to_string()));
    let listener = Listener::from(socket).behind(&["127.0.0.1/32".parse().unwrap()]);
    tokio::spawn(serve_https(listener, pki.server(), router, limiter.clone(), CancellationToken::new()));
    (pki, addr, limiter)
}

/// Returns the answer after `header`, which is sent in two segments.
async fn ask(pki: &Pki, mut tcp: TcpStream, header: &[u8], cut: usize) -> std::io::Result<String> {
    tcp.set_nodelay(true)?;
    tcp.write_all(&header[..cut]).await?;
    sleep(Duration::from_millis(30)).await;
    tcp.write_all(&header[cut..]).await?;
    let mut stream = handshake(tcp, pki.client(None)).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned())
}

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

#[tokio::test]
async fn only_proxies_report_clients() {
    let (pki, addr, limiter) = start(Limits::default());
    for header in [LINE, BINARY] {
        for cut in [1, 13, header.len() - 1, header.len()] {
            let tcp = TcpStream::connect(addr).await.unwrap();
            assert_eq!(ask(&pki, tcp, header, cut).await.unwrap(), "192.0.2.7:56324", "{cut}");
        }
    }
    let itself = ask(&pki, TcpStream::connect(addr).await.unwrap(), LOCAL, 3).await.unwrap();
    assert!(itself.starts_with("127.0.0.1:"), "{itself}");
    let direct = ask(&pki, dial_from(2, addr).await.unwrap(), b"", 0).await.unwrap();
    assert!(direct.starts_with("127.0.0.2:"), "{direct}");
    assert_eq!(Refused::ALL.map(|reason| limiter.refused(reason)).iter().sum::<u64>(), 0);

    ask(&pki, TcpStream::connect(addr).await.unwrap(), b"", 0).await.expect_err("the header is required");
    ask(&pki, dial_from(2, addr).await.unwrap(), LINE, 9)
        .await
        .expect_err("the header is not taken from others");
    sleep(Duration::from_millis(100)).await;
    assert_eq!((limiter.refused(Refused::ProxyHeader), limiter.refused(Refused::NotTls)), (1, 1));
}

#[tokio::test]
async fn health_checks_are_not_counted_as_refusals() {
    let (_, addr, limiter) = start(Limits::default());
    for header in [&b""[..], LOCAL, b"PROXY UNKNOWN\r\n"] {
        let mut tcp = TcpStream::connect(addr).await.unwrap();
        tcp.write_all(header).await.unwrap();
        tcp.shutdown().await.unwrap();
        timeout(Duration::from_secs(2), tcp.read_to_end(&mut Vec::new()))
            .await
            .expect("it is closed")
            .unwrap();
    }
    assert_eq!(Refused::ALL.map(|reason| limiter.refused(reason)).iter().sum::<u64>(), 0);
    assert_eq!(limiter.connections(), 0);
}

#[tokio::test]
async fn limits_count_the_client_and_not_the_proxy() {
    let (pki, addr, limiter) = start(Limits { max_unproven_per_address: Some(3), ..Limits::default() });
    let mut open = Vec::new();
    for client in [1, 2, 3, 4, 5, 6, 6, 6, 6] {
        let mut tcp = TcpStream::connect(addr).await.unwrap();
        let line = format!("PROXY TCP4 192.0.2.{client} 198.51.100.1 5 443\r\n");
        tcp.write_all(line.as_bytes()).await.unwrap();
        open.extend(handshake(tcp, pki.client(None)).await);
    }
    assert_eq!(open.len(), 8, "each client has three");
    assert_eq!(limiter.refused(Refused::AddressLimit), 1);
}

#[tokio::test]
async fn a_missing_proxy_header_is_timed_out() {
    let (_, addr, limiter) =
        start(Limits { handshake_timeout: Duration::from_millis(300), ..Limits::default() });
    let mut tcp = TcpStream::connect(addr).await.unwrap();
    tcp.write_all(&LINE[..20]).await.unwrap();
    timeout(Duration::from_secs(3), tcp.read_to_end(&mut Vec::new())).await.expect("it is closed").unwrap();
    assert_eq!(limiter.refused(Refused::HandshakeTimeout), 1);
}

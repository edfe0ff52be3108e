//! The accept loop: permits, handshakes and shutdown, for any protocol.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use net::{CancellationToken, ConnectionLimiter, Limits, serve_https};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::pki::{Pki, connect, listen};

#[tokio::test]
async fn a_handshake_that_is_not_started_is_ended() {
    let pki = Pki::new();
    let limits = Limits { handshake_timeout: Duration::from_millis(200), ..Limits::default() };
    let limiter = ConnectionLimiter::new(limits);
    let (listener, addr) = listen();
    tokio::spawn(serve_https(
        listener,
        pki.server(),
        Router::new(),
        limiter.clone(),
        CancellationToken::new(),
    ));
    let mut silent = TcpStream::connect(addr).await.unwrap();
    let mut halting = TcpStream::connect(addr).await.unwrap();
    halting.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap(); // the start of a ClientHello
    let mut talking = TcpStream::connect(addr).await.unwrap();
    talking.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap(); // no TLS at all
    for stream in [&mut silent, &mut halting, &mut talking] {
        let end = timeout(Duration::from_secs(5), stream.read_to_end(&mut Vec::new())).await;
        assert!(end.is_ok(), "the server hangs up");
    }
    connect(addr, pki.client(None)).await.unwrap();
}

#[tokio::test]
async fn shutdown_finishes_requests_and_closes_idle_connections() {
    let pki = Pki::new();
    let shutdown = CancellationToken::new();
    let (listener, addr) = listen();
    let router = Router::new().route("/", get(|| async { "quick" })).route(
        "/slow",
        get(|| async {
            sleep(Duration::from_millis(400)).await;
            "slow"
        }),
    );
    let server = tokio::spawn(serve_https(
        listener,
        pki.server(),
        router,
        ConnectionLimiter::new(Limits::default()),
        shutdown.clone(),
    ));
    let mut idle = connect(addr, pki.client(None)).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(idle.read(&mut [0; 4096]).await.unwrap() > 100);
    let handshaking = TcpStream::connect(addr).await.unwrap();
    let mut busy = connect(addr, pki.client(None)).await.unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(100)).await;

    let began = Instant::now();
    shutdown.cancel();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("connection: close") && answer.ends_with("slow"), "{answer}");
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    timeout(Duration::from_secs(2), server).await.expect("the listener ends").unwrap();
    assert!(began.elapsed() > Duration::from_millis(200), "it waited for the slow request");
    assert!(TcpStream::connect(addr).await.is_err(), "the listener is closed");
    drop(handshaking);
}

#[tokio::test]
async fn shutdown_waits_at_most_for_the_grace_period() {
    let pki = Pki::new();
    let shutdown = CancellationToken::new();
    let limits = Limits { shutdown_grace: Duration::from_millis(200), ..Limits::default() };
    let (listener, addr) = listen();
    let router = Router::new().route("/", get(std::future::pending::<&'static str>));
    let server = tokio::spawn(serve_https(
        listener,
        pki.server(),
        router,
        ConnectionLimiter::new(limits),
        shutdown.clone(),
    ));
    let mut busy = connect(addr, pki.client(None)).await.unwrap();
    busy.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    shutdown.cancel();
    timeout(Duration::from_secs(3), server).await.expect("the listener ends").unwrap();
}

/// Marks the child process of the next test.
const FEW_DESCRIPTORS: &str = "NET_FEW_DESCRIPTORS";

/// Runs out of file descriptors in a child process that may have 60 of them.
#[tokio::test]
async fn the_server_recovers_when_descriptors_ran_out() {
    if std::env::var_os(FEW_DESCRIPTORS).is_none() {
        let test = std::env::current_exe().unwrap();
        let status = Command::new("sh")
            .args(["-c", "ulimit -n 60 && exec \"$@\"", "sh"])
            .arg(test)
            .args(["--exact", "accept::the_server_recovers_when_descriptors_ran_out"])
            .env(FEW_DESCRIPTORS, "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    let pki = Pki::new();
    let (listener, addr) = listen();
    let limiter = ConnectionLimiter::new(Limits::default());
    tokio::spawn(serve_https(
        listener,
        pki.server(),
        Router::new(),
        limiter.clone(),
        CancellationToken::new(),
    ));
    let mut clients = Vec::new();
    // Without a pause in which the server could accept: otherwise it might get the last descriptor.
    while let Ok(client) = std::net::TcpStream::connect(addr) {
        clients.push(client);
    }
    sleep(Duration::from_millis(200)).await; // several failed accepts
    assert!(limiter.connections() < clients.len(), "some connections could not be accepted");
    drop(clients);
    let logged_in = timeout(Duration::from_secs(5), connect(addr, pki.client(None))).await;
    logged_in.expect("in time").expect("the listener goes on");
}

/// Starts in a child process with a low soft limit, which a process may raise as far as its hard one.
#[test]
fn the_limit_of_descriptors_is_raised() {
    if std::env::var_os(FEW_DESCRIPTORS).is_none() {
        let status = Command::new("sh")
            .args(["-c", "ulimit -S -n 60 && ulimit -H -n 300 && exec \"$@\"", "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "accept::the_limit_of_descriptors_is_raised"])
            .env(FEW_DESCRIPTORS, "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    assert_eq!(net::raise_descriptor_limit(), 300);
    let files: Vec<_> = (0..200).map(|_| std::fs::File::open("/dev/null")).collect();
    assert!(files.iter().all(Result::is_ok));
}

//! The hub on real sockets: TLS, client certificates, shutdown.

use std::sync::Arc;

use codec::mqtt::ConnectReturnCode;
use embedded_hub::{Listeners, limits, serve};
use net::{CancellationToken, ConnectionLimiter, Limits, Listener, bind, tls};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    device::{Credentials, Device},
    world::{HOST, World},
};

/// Returns a self-signed certificate and its key in PEM.
fn certificate(name: &str) -> (rcgen::Certificate, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.self_signed(&key).unwrap(), key.serialize_pem())
}

struct Running {
    world: World,
    ca: String,
    https: u16,
    mqtts: u16,
    shutdown: CancellationToken,
    served: tokio::task::JoinHandle<()>,
}

async fn start() -> Running {
    let world = World::new();
    let (server, key) = certificate(HOST);
    let identity = tls::Identity::from_pem(server.pem().as_bytes(), key.as_bytes()).unwrap();
    let config = tls::server_config(vec![identity]).unwrap();
    let loopback = "127.0.0.1:0".parse().unwrap();
    let [https, amqps, mqtts] = [(); 3].map(|()| Listener::from(bind(loopback).unwrap()));
    let listeners = Listeners { https, amqps, mqtts };
    let https = listeners.https.local_addr().unwrap().port();
    let mqtts = listeners.mqtts.local_addr().unwrap().port();
    let shutdown = CancellationToken::new();
    let served = tokio::spawn(serve(
        world.hub.clone(),
        listeners,
        config,
        ConnectionLimiter::new(limits(&Limits::default())),
        shutdown.clone(),
    ));
    Running { world, ca: server.pem(), https, mqtts, shutdown, served }
}

impl Running {
    async fn dial(&self, port: u16, identity: Option<&tls::Identity>) -> TlsStream<TcpStream> {
        let config = tls::client_config(self.ca.as_bytes(), identity).unwrap();
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let name = ServerName::try_from(HOST).unwrap();
        TlsConnector::from(Arc::clone(&config)).connect(name, stream).await.unwrap()
    }
}

#[tokio::test]
async fn devices_connect_by_certificate_and_by_token_over_tls() {
    let running = start().await;
    let (leaf, key) = certificate("d");
    let identity = tls::Identity::from_pem(leaf.pem().as_bytes(), key.as_bytes()).unwrap();
    let thumbprint = certpath::Sha256Thumbprint::of(leaf.der());
    let body = format!(
        r#"{{"deviceId":"x509","authentication":{{"x509Thumbprint":{{"primaryThumbprint":"{thumbprint}"}},"type":"selfSigned"}}}}"#
    );
    assert_eq!(running.world.ask("PUT /devices/x509", &body).await.status, 200);
    running.world.device("key").await;
    let stream = running.dial(running.mqtts, Some(&identity)).await;
    let mut x509 = Device::introduce(stream, "x509", Credentials::certificate("x509", &[])).await.unwrap();
    let stream = running.dial(running.mqtts, None).await;
    let presented = Credentials::token(&running.world, "key", 7);
    let mut by_key = Device::introduce(stream, "key", presented).await.unwrap();
    assert!(x509.is_silent().await && by_key.is_silent().await);
    assert_eq!(x509.twin().await["desired"]["$version"], 1);
    let (other, key) = certificate("d");
    let other = tls::Identity::from_pem(other.pem().as_bytes(), key.as_bytes()).unwrap();
    for identity in [Some(&other), None] {
        let stream = running.dial(running.mqtts, identity).await;
        let refused = Device::introduce(stream, "x509", Credentials::certificate("x509", &[])).await;
        assert_eq!(refused.err(), Some(ConnectReturnCode::NotAuthorized));
    }
    running.shutdown.cancel();
    assert!(x509.is_closed().await && by_key.is_closed().await);
    running.served.await.unwrap();
    assert_eq!(running.world.hub.counts().unwrap().connected, 0);
}

#[tokio::test]
async fn services_call_over_https() {
    let running = start().await;
    running.world.device("d").await;
    let mut stream = running.dial(running.https, None).await;
    let token = running.world.token(HOST, 1, Some("iothubowner"));
    let request = format!(
        "GET /devices/d?api-version=2021-04-12 HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(r#""deviceId":"d""#), "{answer}");
    running.shutdown.cancel();
    running.served.await.unwrap();
}

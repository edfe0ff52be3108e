//! A webhook over TLS, and a client that trusts it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    routing::post,
};
use hub::webhook::{WebhookClient, WebhookSettings};
use model::{CustomAllocation, Enrollment, Instance, Presented, WebhookRequest};
use net::{CancellationToken, ConnectionLimiter, HttpServices, Limits, Peer, bind, tls};
use provisioning::ports::{AllocationWebhook, WebhookOutcome};
use serde_json::Value;
use testkit::{clock::SteppedClock, sample, server_certificate::ServerCertificate};
use tokio::net::TcpStream;

/// How the webhook answers.
#[derive(Clone)]
pub struct Script {
    pub status: u16,
    pub body: String,
    pub delay: Duration,
}

/// A request that the webhook received.
pub struct Heard {
    pub peer: SocketAddr,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Clone)]
struct Shared {
    script: Script,
    heard: Arc<Mutex<Vec<Heard>>>,
}

pub struct Server {
    pub port: u16,
    pub ca_pem: String,
    certificate: ServerCertificate,
    script: Script,
    heard: Arc<Mutex<Vec<Heard>>>,
    shutdown: CancellationToken,
}

impl Server {
    pub fn answering(status: u16, body: &str) -> Server {
        Server::start(Script { status, body: body.to_owned(), delay: Duration::ZERO })
    }

    pub fn start(script: Script) -> Server {
        Server::on(0, script, ServerCertificate::of("127.0.0.1"))
    }

    /// Restarts the server on the same port. Its connections are closed.
    pub async fn restarted(self) -> Server {
        self.shutdown.cancel();
        // Once the port is free the listener is closed; connections end within the grace period.
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Server::on(self.port, self.script.clone(), self.certificate.clone())
    }

    fn on(port: u16, script: Script, certificate: ServerCertificate) -> Server {
        let identity =
            tls::Identity::from_pem(certificate.certificate.as_bytes(), certificate.key.as_bytes());
        let listener = bind(([127, 0, 0, 1], port).into()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::default());
        let shared = Shared { script: script.clone(), heard: Arc::clone(&heard) };
        let router = Router::new().fallback(post(answer)).with_state(shared);
        let shutdown = CancellationToken::new();
        let tls = tls::server_config(vec![identity.unwrap()]).unwrap();
        let limiter = ConnectionLimiter::new(Limits::default());
        tokio::spawn(net::serve_https(listener, tls, HttpServices::from(router), limiter, shutdown.clone()));
        let ca_pem = certificate.ca.clone();
        Server { port, ca_pem, certificate, script, heard, shutdown }
    }

    /// Returns the addresses of its clients.
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.heard.lock().unwrap().iter().map(|heard| heard.peer).collect()
    }

    /// Returns the only request that it received.
    pub fn heard(&self) -> Heard {
        let mut heard = self.heard.lock().unwrap();
        assert_eq!(heard.len(), 1);
        heard.pop().unwrap()
    }

    /// Returns the settings of a client that trusts it.
    pub fn settings(&self) -> WebhookSettings {
        WebhookSettings::new(Some(tls::client_config(self.ca_pem.as_bytes(), None).unwrap()))
    }

    pub fn request(&self) -> WebhookRequest {
        request(&format!("https://127.0.0.1:{}/api/choose?code=a%2Fb", self.port))
    }

    pub async fn ask(&self, settings: WebhookSettings) -> WebhookOutcome {
        client(settings).ask(&instance("0neA"), &self.request()).await.outcome
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub fn instance(scope: &str) -> Instance {
    sample::instance(scope)
}

pub fn client(settings: WebhookSettings) -> WebhookClient {
    WebhookClient::new(settings, Arc::new(SteppedClock::default()))
}

pub fn request(url: &str) -> WebhookRequest {
    let webhook = CustomAllocation { webhook_url: url.to_owned(), api_version: "2021-10-01".to_owned() };
    let mut enrollment = sample::individual("Dev-1");
    enrollment.settings.custom_allocation = Some(webhook.clone());
    WebhookRequest {
        webhook,
        enrollment: Enrollment::Individual(Box::new(enrollment)),
        registration_id: sample::registration_id("Dev-1"),
        current: None,
        presented: Presented::SymmetricKey,
        payload: Some(model::RawJson::from(&Value::from("from the device"))),
        linked_hubs: vec![sample::hub_name("hub-1.example")],
    }
}

async fn answer(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    shared.heard.lock().unwrap().push(Heard { peer: peer.addr, uri, headers, body });
    tokio::time::sleep(shared.script.delay).await;
    (StatusCode::from_u16(shared.script.status).unwrap(), shared.script.body)
}

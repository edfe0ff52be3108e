//! A webhook in this process that chooses the first offered hub, and a client for it.

use std::sync::Arc;

use axum::{Json, Router, routing::post};
use hub::webhook::{WebhookClient, WebhookSettings};
use model::Timestamp;
use net::{CancellationToken, ConnectionLimiter, HttpServices, Limits, tls};
use provisioning::ports::Clock;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

/// A running webhook, which stops when dropped.
pub struct ChoosingWebhook {
    /// The URL of the webhook.
    pub url: String,
    /// A client that trusts the webhook.
    pub client: WebhookClient,
    shutdown: CancellationToken,
}

impl ChoosingWebhook {
    /// Starts the webhook on a free port.
    pub fn start() -> anyhow::Result<ChoosingWebhook> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?.self_signed(&key)?.pem();
        let identity = tls::Identity::from_pem(certificate.as_bytes(), key.serialize_pem().as_bytes())?;
        let listener = net::bind(([127, 0, 0, 1], 0).into())?;
        let url = format!("https://{}/", listener.local_addr()?);
        let shutdown = CancellationToken::new();
        let services = HttpServices::from(Router::new().route("/", post(choose)));
        let server = tls::server_config(vec![identity])?;
        tokio::spawn(net::serve_https(
            listener,
            server,
            services,
            ConnectionLimiter::new(Limits::default()),
            shutdown.clone(),
        ));
        let trusting = tls::client_config(certificate.as_bytes(), None)?;
        let client = WebhookClient::new(WebhookSettings::new(Some(trusting)), Arc::new(FixedClock));
        Ok(ChoosingWebhook { url, client, shutdown })
    }
}

impl Drop for ChoosingWebhook {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn choose(Json(request): Json<Value>) -> Json<Value> {
    Json(json!({"iotHubHostName": request["linkedHubs"][0]}))
}

/// A clock that does not advance, because no times are used here.
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(0)
    }
}

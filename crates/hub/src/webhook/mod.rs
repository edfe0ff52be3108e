//! The [`AllocationWebhook`] port over HTTPS. Each request is bounded in time and size, and the requests to one host are
//! bounded in number, so that a slow webhook delays only its own devices.

mod address;
mod permits;
mod signature;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use model::{Instance, SymmetricKey, Timestamp, WebhookReply, WebhookRequest};
use net::client::{Call, ClientError, Deadlines, HttpsConnection, within};
use provisioning::{
    Error,
    allocate::webhook_key,
    ports::{AllocationWebhook, Clock, WebhookCall, WebhookOutcome},
};
use rustls::ClientConfig;
use wire::service::{parse_webhook_answer, webhook_request_json};

use address::Address;
pub use permits::WebhookLimits;
use permits::{Permit, Permits};
pub use signature::{OLD_SIGNATURE_HEADER, SIGNATURE_HEADER, old_signature, signature};

/// The signatures of one request.
struct Signatures {
    new: String,
    old: Option<String>,
}

/// The settings of calls to webhooks.
#[derive(Clone)]
pub struct WebhookSettings {
    /// The TLS configuration with the trusted CAs; with `None` no webhook is called.
    pub tls: Option<Arc<ClientConfig>>,
    /// The key that also signs the requests of every instance in the old form, for receivers that were not changed yet.
    pub old_signing_key: Option<SymmetricKey>,
    /// The time limit of one request, connecting included. A request that exceeds it may be repeated.
    pub time_limit: Duration,
    /// How many requests may be in flight.
    pub limits: WebhookLimits,
}

impl WebhookSettings {
    /// Creates settings with the default limits and without the old form of signatures.
    pub fn new(tls: Option<Arc<ClientConfig>>) -> WebhookSettings {
        WebhookSettings {
            tls,
            old_signing_key: None,
            time_limit: WEBHOOK_TIME_LIMIT,
            limits: WebhookLimits::default(),
        }
    }
}

/// The default time limit of a request. The hosted service does not document its own; a serverless function takes a few
/// seconds to start.
pub const WEBHOOK_TIME_LIMIT: Duration = Duration::from_secs(10);

/// Calls the webhooks of all instances.
pub struct WebhookClient {
    settings: RwLock<WebhookSettings>,
    clock: Arc<dyn Clock>,
    permits: Permits,
}

impl WebhookClient {
    /// Creates the client. The clock dates the signatures.
    pub fn new(settings: WebhookSettings, clock: Arc<dyn Clock>) -> WebhookClient {
        let permits = Permits::new(settings.limits);
        WebhookClient { settings: RwLock::new(settings), clock, permits }
    }

    /// Replaces the settings, except for the limits, which stay as they were at the start.
    pub fn configure(&self, settings: WebhookSettings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    fn settings(&self) -> WebhookSettings {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn signatures(
        &self,
        settings: &WebhookSettings,
        (instance, url): (&Instance, &str),
        body: &[u8],
    ) -> Result<Signatures, Error> {
        let (key, now) = (webhook_key(instance)?, self.clock.now());
        let old_key = settings.old_signing_key.as_ref();
        Ok(Signatures {
            new: signature(&key, now, (&instance.id_scope, url), body),
            old: old_key.map(|key| old_signature(key, now, body)),
        })
    }

    /// Posts the signed body.
    async fn post(
        &self,
        (permit, limit): (&Permit, Duration),
        (address, tls): (&Address, &Arc<ClientConfig>),
        (body, signatures): (Bytes, Signatures),
    ) -> Result<Response<Bytes>, ClientError> {
        let mut headers = vec![("user-agent", "Muster"), ("accept", "application/json")];
        headers.push((SIGNATURE_HEADER, &signatures.new));
        headers.extend(signatures.old.as_deref().map(|signature| (OLD_SIGNATURE_HEADER, signature)));
        let call = Call {
            method: Method::POST,
            path_and_query: address.path_and_query.clone(),
            headers: &headers,
            body,
            ..Call::default()
        };
        let deadlines = Deadlines { connect: limit, exchange: limit };
        let open = HttpsConnection::open(&address.host, address.port, Arc::clone(tls), deadlines);
        within(limit, permit.connections().call(call, open)).await
    }
}

#[async_trait]
impl AllocationWebhook for WebhookClient {
    async fn ask(&self, instance: &Instance, request: &WebhookRequest) -> WebhookCall {
        let url = &request.webhook.webhook_url;
        let Some(address) = Address::parse(url) else {
            return WebhookOutcome::Failed("a webhookUrl that cannot be called".into()).into();
        };
        let settings = self.settings();
        let Some(tls) = &settings.tls else {
            let reason = "no CA certificates that a webhook could be trusted by".into();
            return WebhookOutcome::Failed(reason).into();
        };
        let Some(permit) = self.permits.acquire(&address).await else {
            let reason = "more requests under way than a webhook gets at once".into();
            return WebhookOutcome::Retry(reason).into();
        };
        let body = Bytes::from(webhook_request_json(request).to_string());
        let signatures = match self.signatures(&settings, (instance, url), &body) {
            Ok(signatures) => signatures,
            Err(error) => return WebhookOutcome::Failed(error.to_string()).into(),
        };
        match self.post((&permit, settings.time_limit), (&address, tls), (body, signatures)).await {
            Ok(response) => {
                WebhookCall { outcome: read(&response), reply: Some(reply(&response, self.clock.now())) }
            }
            Err(ClientError::BodyTooLong { limit }) => {
                WebhookOutcome::Failed(format!("an answer longer than {limit} bytes")).into()
            }
            Err(error) => WebhookOutcome::Retry(error.to_string()).into(),
        }
    }
}

fn reply(response: &Response<Bytes>, at: Timestamp) -> WebhookReply {
    WebhookReply::new(at, response.status().as_u16(), response.body())
}

/// Interprets an answer: 401 means that our key was rejected, 429 and above that the request may be repeated, and any other
/// status than 200 is a refusal. The hosted service reads them so (`docs/allocation.md`).
fn read(response: &Response<Bytes>) -> WebhookOutcome {
    match response.status() {
        StatusCode::OK => match parse_webhook_answer(response.body()) {
            Ok(answer) => WebhookOutcome::Answer(answer),
            Err(error) => WebhookOutcome::Failed(format!("an answer that cannot be read: {error}")),
        },
        StatusCode::UNAUTHORIZED => WebhookOutcome::Unauthorized,
        status if status >= StatusCode::TOO_MANY_REQUESTS => {
            WebhookOutcome::Retry(format!("status code: {}", status.as_u16()))
        }
        status => WebhookOutcome::Failed(format!("status code: {}", status.as_u16())),
    }
}

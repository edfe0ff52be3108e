//! Asks the webhooks of custom allocation: one HTTPS request a time, bounded in time, size and number, so that a webhook
//! that is slow or down costs its own devices their time and nobody else.

mod address;
mod places;
mod signature;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use model::{Instance, SymmetricKey, WebhookRequest};
use net::client::{Call, ClientError, Deadlines, HttpsConnection, within};
use provisioning::{
    Error,
    allocate::webhook_key,
    ports::{AllocationWebhook, Clock, WebhookOutcome},
};
use rustls::ClientConfig;
use wire::service::{parse_webhook_answer, webhook_request_json};

use address::Address;
pub use places::Room;
use places::{Place, Places};
pub use signature::{
    HEADER as SIGNATURE_HEADER, OLD_HEADER as OLD_SIGNATURE_HEADER, old_signature, signature,
};

/// How a request proves who sends it.
struct Signatures {
    new: String,
    old: Option<String>,
}

/// How webhooks are called.
#[derive(Clone)]
pub struct Settings {
    /// Which certificates they may show; `None` when there is no CA to trust, so that none is called.
    pub tls: Option<Arc<ClientConfig>>,
    /// What signs requests of all instances in the old form besides.
    pub old_signing_key: Option<SymmetricKey>,
    /// How long one try may take, connecting included. A try that takes longer may be repeated.
    pub time_limit: Duration,
    /// How many requests are under way at once.
    pub room: Room,
}

impl Settings {
    /// Signed in the new form alone, with the usual limits.
    pub fn new(tls: Option<Arc<ClientConfig>>) -> Settings {
        Settings { tls, old_signing_key: None, time_limit: TIME_LIMIT, room: Room::default() }
    }
}

/// The hosted service does not say what it allows; a function that was asleep needs a few seconds to wake.
pub const TIME_LIMIT: Duration = Duration::from_secs(10);

/// The client of all webhooks.
pub struct WebhookClient {
    settings: RwLock<Settings>,
    clock: Arc<dyn Clock>,
    places: Places,
}

impl WebhookClient {
    /// Called like this; the clock dates signatures.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> WebhookClient {
        let places = Places::new(settings.room);
        WebhookClient { settings: RwLock::new(settings), clock, places }
    }

    /// Calls webhooks like this from now on; how many requests may be under way stays.
    pub fn configure(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    fn settings(&self) -> Settings {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn signatures(
        &self,
        settings: &Settings,
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

    /// Posts the body with its signatures.
    async fn post(
        &self,
        (place, limit): (&Place, Duration),
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
        within(limit, place.connections().call(call, open)).await
    }
}

#[async_trait]
impl AllocationWebhook for WebhookClient {
    async fn ask(&self, instance: &Instance, request: &WebhookRequest) -> WebhookOutcome {
        let url = &request.webhook.webhook_url;
        let Some(address) = Address::parse(url) else {
            return WebhookOutcome::Failed("a webhookUrl that cannot be called".into());
        };
        let settings = self.settings();
        let Some(tls) = &settings.tls else {
            return WebhookOutcome::Failed("no CA certificates that a webhook could be trusted by".into());
        };
        let Some(place) = self.places.take(&address).await else {
            return WebhookOutcome::Retry("more requests under way than a webhook gets at once".into());
        };
        let body = Bytes::from(webhook_request_json(request).to_string());
        let signatures = match self.signatures(&settings, (instance, url), &body) {
            Ok(signatures) => signatures,
            Err(error) => return WebhookOutcome::Failed(error.to_string()),
        };
        match self.post((&place, settings.time_limit), (&address, tls), (body, signatures)).await {
            Ok(response) => read(&response),
            Err(ClientError::BodyTooLong { limit }) => {
                WebhookOutcome::Failed(format!("an answer longer than {limit} bytes"))
            }
            Err(error) => WebhookOutcome::Retry(error.to_string()),
        }
    }
}

/// What an answer means: 401 is no key that fits, 429 and above means later, and any other status is a refusal.
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

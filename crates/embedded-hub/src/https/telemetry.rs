//! Telemetry, one message or a batch of them.

use axum::{extract::State, response::Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    failure::HubFailure,
    hub::Hub,
    messages::MAX_TELEMETRY_BYTES,
    rest::{AuthenticatedDevice, RequestBody, answer, nothing},
};

/// The content type of a batch.
const BATCH: &str = "application/vnd.microsoft.iothub.json";

/// One message of a batch.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchMessage {
    body: String,
    /// Whether `body` is base64 rather than text; absent in batches of Node, whose bodies are base64.
    #[serde(default = "yes")]
    base64_encoded: bool,
    #[serde(default)]
    properties: Map<String, Value>,
}

/// `POST /devices/{id}/messages/events`: counts a message, or a batch of them.
pub async fn send(
    State(hub): State<Hub>,
    AuthenticatedDevice(id): AuthenticatedDevice,
    headers: HeaderMap,
    body: RequestBody,
) -> Response {
    let count = if is_batch(&headers) { batch(&body) } else { single(&body) };
    answer(
        &hub,
        count.map(|count| {
            hub.count_telemetry_of(&id, count);
            nothing()
        }),
    )
}

fn is_batch(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(BATCH))
}

fn single(body: &RequestBody) -> Result<u64, HubFailure> {
    within_limit(body.0.len()).map(|()| 1)
}

fn batch(body: &RequestBody) -> Result<u64, HubFailure> {
    let messages: Vec<BatchMessage> = body.objects()?;
    let sizes = messages.iter().map(BatchMessage::size).collect::<Result<Vec<_>, _>>()?;
    within_limit(sizes.iter().sum())?;
    if sizes.is_empty() {
        return Err(HubFailure::Invalid("a batch holds at least one message".to_owned()));
    }
    Ok(sizes.len() as u64)
}

/// Checks the limit, which is the same for a message and for a batch.
fn within_limit(bytes: usize) -> Result<(), HubFailure> {
    if bytes > MAX_TELEMETRY_BYTES { Err(HubFailure::TooLarge(MAX_TELEMETRY_BYTES)) } else { Ok(()) }
}

impl BatchMessage {
    fn size(&self) -> Result<usize, HubFailure> {
        let body = if self.base64_encoded {
            let invalid =
                |error| HubFailure::Invalid(format!("the body of a message is not base64: {error}"));
            STANDARD.decode(&self.body).map_err(invalid)?.len()
        } else {
            self.body.len()
        };
        let properties = self.properties.iter().map(|(name, value)| name.len() + value.to_string().len());
        Ok(body + properties.sum::<usize>())
    }
}

fn yes() -> bool {
    true
}

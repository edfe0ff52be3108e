//! Request bodies: read completely, of bounded size, in bounded time, whatever their content type.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::timeout;
use wire::without_bom;

use crate::{failure::HubFailure, hub::Hub, twins::twin::with_exact_integers};

use super::response::Refusal;

/// The largest body: a bulk request of a hundred devices that each bring credentials and a small twin,
/// a method's 128 KiB of payload, or a whole twin with its metadata.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// From the end of the header to the end of the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A whole request body.
pub struct RequestBody(pub Bytes);

impl FromRequest<Hub> for RequestBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, hub: &Hub) -> Result<RequestBody, Refusal> {
        let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
        let failure = match timeout(BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => return Ok(RequestBody(body.to_bytes())),
            Ok(Err(error)) if error.is::<LengthLimitError>() => HubFailure::TooLarge(MAX_BODY_BYTES),
            Ok(Err(error)) => HubFailure::Invalid(format!("the body cannot be read: {error}")),
            Err(_) => HubFailure::Invalid("the body did not arrive in time".to_owned()),
        };
        Err(Refusal::new(hub, &failure))
    }
}

impl RequestBody {
    /// Returns the body if its integers fit into 64 bits: others would become other numbers.
    pub fn with_exact_integers(&self) -> Result<&RequestBody, HubFailure> {
        with_exact_integers(&self.0)?;
        Ok(self)
    }

    /// Decodes the body as a JSON object. Serde alone would also accept an array with the members in order.
    pub fn object<T: DeserializeOwned>(&self) -> Result<T, HubFailure> {
        let body = without_bom(&self.0);
        match body.trim_ascii_start().first() {
            Some(b'{') => read(serde_json::from_slice(body)),
            _ => Err(HubFailure::Invalid("the body is invalid: not a JSON object".to_owned())),
        }
    }

    /// Decodes the body as a JSON array of objects.
    pub fn objects<T: DeserializeOwned>(&self) -> Result<Vec<T>, HubFailure> {
        let objects: Vec<Map<String, Value>> = read(serde_json::from_slice(without_bom(&self.0)))?;
        objects.into_iter().map(|object| read(serde_json::from_value(Value::Object(object)))).collect()
    }

    /// Decodes the body as a JSON array of objects, each on its own: the object, or why it is invalid.
    pub fn items<T: DeserializeOwned>(&self) -> Result<Vec<Result<T, InvalidItem>>, HubFailure> {
        let items: Vec<Value> = read(serde_json::from_slice(&self.0))?;
        let item = |item: Value| match item {
            Value::Object(_) => read(serde_json::from_value(item.clone())).map_err(|failure| (item, failure)),
            other => Err((other, HubFailure::Invalid("an item is not a JSON object".to_owned()))),
        };
        Ok(items.into_iter().map(item).collect())
    }
}

/// An invalid item of an array, and the reason.
pub type InvalidItem = (Value, HubFailure);

fn read<T>(outcome: serde_json::Result<T>) -> Result<T, HubFailure> {
    outcome.map_err(|error| HubFailure::Invalid(format!("the body is invalid: {error}")))
}

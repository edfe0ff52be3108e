//! The device that a path names.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use model::DeviceId;
use serde::Deserialize;

use crate::{failure::HubFailure, hub::Hub};

use super::answer::Refusal;

/// The device ID of a path, decoded once.
pub struct Named(pub DeviceId);

/// What routes call the device ID; other parts of their paths are other extractors' concern.
#[derive(Deserialize)]
struct Names {
    id: String,
}

impl FromRequestParts<Hub> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Named, Refusal> {
        let path = Path::<Names>::from_request_parts(parts, hub).await;
        let id = match path {
            Ok(Path(Names { id })) => device_id(&id),
            Err(rejection) => Err(HubFailure::Invalid(rejection.to_string())),
        };
        id.map(Named).map_err(|failure| Refusal::new(hub, &failure))
    }
}

/// A device ID, or why it is none.
pub fn device_id(text: &str) -> Result<DeviceId, HubFailure> {
    DeviceId::parse(text).map_err(|error| HubFailure::Invalid(error.to_string()))
}

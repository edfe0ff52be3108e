//! What a path names, above all a device.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use model::DeviceId;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{failure::HubFailure, hub::Hub};

use super::answer::Refusal;

/// The parts of a path, decoded once; text that is none is refused in the form that hubs use.
pub struct InPath<T>(pub T);

/// The device ID of a path.
pub struct Named(pub DeviceId);

/// What routes call the device ID; other parts of their paths are other extractors' concern.
#[derive(Deserialize)]
struct Names {
    id: String,
}

impl<T: DeserializeOwned + Send> FromRequestParts<Hub> for InPath<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Refusal> {
        let path = Path::<T>::from_request_parts(parts, hub).await;
        path.map(|Path(names)| InPath(names))
            .map_err(|rejection| Refusal::new(hub, &HubFailure::Invalid(rejection.to_string())))
    }
}

impl FromRequestParts<Hub> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Named, Refusal> {
        let InPath(Names { id }) = InPath::from_request_parts(parts, hub).await?;
        device_id(&id).map(Named).map_err(|failure| Refusal::new(hub, &failure))
    }
}

/// A device ID, or why it is none.
pub fn device_id(text: &str) -> Result<DeviceId, HubFailure> {
    DeviceId::parse(text).map_err(|error| HubFailure::Invalid(error.to_string()))
}

//! The parameters of paths, above all device IDs.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use model::DeviceId;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{failure::HubFailure, hub::Hub};

use super::response::Refusal;

/// The parameters of a path, percent-decoded; invalid ones are refused with an error of the hub.
pub struct PathParams<T>(pub T);

/// The device ID of a path.
pub struct PathDeviceId(pub DeviceId);

/// The device ID among the parameters of a path.
#[derive(Deserialize)]
struct DeviceIdParam {
    id: String,
}

impl<T: DeserializeOwned + Send> FromRequestParts<Hub> for PathParams<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Refusal> {
        let path = Path::<T>::from_request_parts(parts, hub).await;
        path.map(|Path(names)| PathParams(names))
            .map_err(|rejection| Refusal::new(hub, &HubFailure::Invalid(rejection.to_string())))
    }
}

impl FromRequestParts<Hub> for PathDeviceId {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<PathDeviceId, Refusal> {
        let PathParams(DeviceIdParam { id }) = PathParams::from_request_parts(parts, hub).await?;
        device_id(&id).map(PathDeviceId).map_err(|failure| Refusal::new(hub, &failure))
    }
}

/// Parses a device ID.
pub fn device_id(text: &str) -> Result<DeviceId, HubFailure> {
    DeviceId::parse(text).map_err(|error| HubFailure::Invalid(error.to_string()))
}

//! `/twins`.

use axum::{extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use model::DeviceId;

use crate::{failure::HubFailure, hub::Hub, twins::twin::Mode};

use super::{
    body::RequestBody,
    path::PathDeviceId,
    response::{answer, if_match, json, versioned},
};

/// `GET /twins/{id}`: returns a twin.
pub async fn read(State(hub): State<Hub>, PathDeviceId(id): PathDeviceId) -> Response {
    let twin = hub.twin(&id).and_then(|twin| twin.ok_or_else(|| HubFailure::Unknown(id.to_string())));
    answer(&hub, twin.map(|twin| versioned(&twin.etag, &twin)))
}

/// `PATCH /twins/{id}`: merges a patch into a twin.
pub async fn patch(
    State(hub): State<Hub>,
    PathDeviceId(id): PathDeviceId,
    headers: HeaderMap,
    body: RequestBody,
) -> Response {
    change(&hub, &id, &headers, &body, Mode::Patch).await
}

/// `PUT /twins/{id}`: replaces tags and desired properties of a twin.
pub async fn replace(
    State(hub): State<Hub>,
    PathDeviceId(id): PathDeviceId,
    headers: HeaderMap,
    body: RequestBody,
) -> Response {
    change(&hub, &id, &headers, &body, Mode::Replace).await
}

/// `POST /twins/{id}/methods`: calls a method of a device.
pub async fn call_method(
    State(hub): State<Hub>,
    PathDeviceId(id): PathDeviceId,
    body: RequestBody,
) -> Response {
    let outcome = async { hub.call_method(&id, body.object()?).await };
    answer(&hub, outcome.await.map(|reply| json(StatusCode::OK, &reply)))
}

async fn change(hub: &Hub, id: &DeviceId, headers: &HeaderMap, body: &RequestBody, mode: Mode) -> Response {
    let outcome =
        async { hub.change_twin(id, body.with_exact_integers()?.object()?, mode, if_match(headers)).await };
    answer(hub, outcome.await.map(|twin| versioned(&twin.etag, &twin)))
}

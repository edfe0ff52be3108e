//! `/devices` and `/statistics`.

use axum::{extract::State, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use serde_json::{Value, json};
use wire::hub::{
    BulkDevice, BulkDeviceError, BulkResult, Device, ErrorCode, RegenerateKeys, RegeneratedKeys,
};

use crate::{
    failure::HubFailure,
    hub::Hub,
    registry::{BulkRefusal, KeyRegeneration},
};

use super::{
    body::{InvalidItem, RequestBody},
    path::PathDeviceId,
    response::{answer, if_match, json, nothing, versioned},
};

/// Devices in one listing, by default and at most (IoT Hub documentation).
const MAX_LISTED: usize = 1000;

/// The header that the SDK for C# reads after a bulk request.
const BULK_ERROR: HeaderName = HeaderName::from_static("iothuberrorcode");

/// `GET /devices?top=`: lists devices; a number out of range is replaced by the maximum.
pub async fn list(State(hub): State<Hub>, uri: Uri) -> Response {
    let mut parameters = uri.query().unwrap_or_default().split('&');
    let top = parameters.find_map(|pair| pair.strip_prefix("top=")?.parse().ok());
    let top = top.filter(|top| (1..=MAX_LISTED).contains(top)).unwrap_or(MAX_LISTED);
    answer(&hub, hub.devices("", top).map(|devices| json(StatusCode::OK, &devices)))
}

/// `POST /devices`: applies a bulk request.
pub async fn bulk(State(hub): State<Hub>, body: RequestBody) -> Response {
    let outcome = async {
        let refusal = |(item, failure): InvalidItem| BulkRefusal {
            device_id: item.get("id").and_then(Value::as_str).unwrap_or_default().to_owned(),
            failure,
        };
        let items = body.with_exact_integers()?.items::<BulkDevice>()?.into_iter();
        hub.bulk(items.map(|item| item.map_err(refusal)).collect()).await
    };
    let refusals = outcome.await.map(|refusals| refusals.into_iter().map(bulk_error).collect());
    answer(&hub, refusals.map(bulk_answer))
}

/// `POST /devices/keys/regenerate`: makes new keys for devices.
pub async fn regenerate_keys(State(hub): State<Hub>, body: RequestBody) -> Response {
    let outcome = async {
        let RegenerateKeys { policy_key, devices } = body.object()?;
        if devices.iter().any(|device| device.module_id.as_ref().is_some_and(|id| !id.is_empty())) {
            return Err(HubFailure::Invalid("modules are not supported".to_owned()));
        }
        let devices = devices.into_iter().map(|device| device.id).collect();
        let KeyRegeneration { rotated, refusals } = hub.regenerate_keys(policy_key, devices).await?;
        let errors = refusals.into_iter().map(|refusal| bulk_error(refusal).into()).collect();
        Ok(RegeneratedKeys { policy_key, rotated_keys: rotated, errors })
    };
    answer(&hub, outcome.await.map(|regenerated| json(StatusCode::OK, &regenerated)))
}

fn bulk_error(refusal: BulkRefusal) -> BulkDeviceError {
    BulkDeviceError {
        error_code: refusal.failure.code().name(),
        error_status: refusal.failure.message_for_caller(),
        device_id: refusal.device_id,
    }
}

/// `GET /devices/{id}`: returns a device.
pub async fn read(State(hub): State<Hub>, PathDeviceId(id): PathDeviceId) -> Response {
    let device = hub.device(&id).and_then(|device| device.ok_or_else(|| HubFailure::Unknown(id.to_string())));
    answer(&hub, device.map(|device| device_response(&device)))
}

/// `PUT /devices/{id}`: creates or replaces a device.
pub async fn put(
    State(hub): State<Hub>,
    PathDeviceId(id): PathDeviceId,
    headers: HeaderMap,
    body: RequestBody,
) -> Response {
    let outcome = async {
        let device: Device = body.object()?;
        if device.device_id != id.as_str() {
            return Err(HubFailure::Invalid(
                "the deviceId in the body is not the one in the path".to_owned(),
            ));
        }
        hub.put_device(&id, device, if_match(&headers)).await
    };
    answer(&hub, outcome.await.map(|device| device_response(&device)))
}

/// `DELETE /devices/{id}`: deletes a device.
pub async fn delete(State(hub): State<Hub>, PathDeviceId(id): PathDeviceId, headers: HeaderMap) -> Response {
    let outcome = hub.delete_matching(&id, if_match(&headers)).await;
    answer(&hub, outcome.map(|()| nothing()))
}

/// `GET /statistics/devices`: returns the numbers of devices.
pub async fn registry_statistics(State(hub): State<Hub>) -> Response {
    let counts = hub.counts().map(|counts| {
        json!({
            "totalDeviceCount": counts.devices,
            "enabledDeviceCount": counts.devices.saturating_sub(counts.disabled),
            "disabledDeviceCount": counts.disabled,
        })
    });
    answer(&hub, counts.map(|counts| json(StatusCode::OK, &counts)))
}

/// `GET /statistics/service`: returns the numbers of connected devices and of telemetry messages; the latter is an
/// addition of this hub.
pub async fn service_statistics(State(hub): State<Hub>) -> Response {
    let counts = hub.counts().map(|counts| {
        json!({ "connectedDeviceCount": counts.connected, "telemetryMessageCount": counts.telemetry })
    });
    answer(&hub, counts.map(|counts| json(StatusCode::OK, &counts)))
}

fn device_response(device: &Device) -> Response {
    versioned(device.etag.as_deref().unwrap_or_default(), device)
}

fn bulk_answer(errors: Vec<BulkDeviceError>) -> Response {
    let done = errors.is_empty();
    let status = if done { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let mut response = json(status, &BulkResult { is_successful: done, errors, warnings: [] });
    if !done {
        let name = ErrorCode::BulkRegistryOperationFailure.name();
        response.headers_mut().insert(BULK_ERROR, HeaderValue::from_static(name));
    }
    response
}

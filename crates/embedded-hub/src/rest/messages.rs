//! Cloud-to-device messages. SDKs send them over AMQP; this route is an addition of this hub, with the headers of the hosted hub's
//! device endpoint over HTTPS.

use axum::{extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use model::{DeviceId, Timestamp};
use serde_json::json;
use wire::hub::{APPLICATION_HEADER, SYSTEM_HEADERS};

use crate::{failure::HubFailure, hub::Hub, messages::CloudMessage};

use super::{
    body::RequestBody,
    path::{PathDeviceId, device_id},
    response::{answer, json},
};

/// Properties of one message, which are part of one topic.
const MAX_PROPERTIES: usize = 64;
/// Bytes of all properties' values.
const MAX_PROPERTY_BYTES: usize = 8 * 1024;

/// `POST /messages/devicebound`: queues a message for the device in `iothub-to` (`/devices/{id}/messages/devicebound`).
pub async fn send(State(hub): State<Hub>, headers: HeaderMap, body: RequestBody) -> Response {
    let outcome = async {
        let to = addressee(&headers)?;
        hub.send_message(&to, message(&headers, &body)?).await
    };
    answer(&hub, outcome.await.map(|id| json(StatusCode::CREATED, &json!({ "messageId": id }))))
}

/// `DELETE /devices/{id}/commands`: deletes the queued messages of a device.
pub async fn purge(State(hub): State<Hub>, PathDeviceId(id): PathDeviceId) -> Response {
    let purged = hub.purge_messages(&id).await.map(|purged| {
        json(
            StatusCode::OK,
            &json!({ "deviceId": id.as_str(), "moduleId": null, "totalMessagesPurged": purged }),
        )
    });
    answer(&hub, purged)
}

fn addressee(headers: &HeaderMap) -> Result<DeviceId, HubFailure> {
    let wrong = || HubFailure::Invalid("iothub-to must be /devices/{id}/messages/devicebound".to_owned());
    let to = text(headers, "iothub-to")?.ok_or_else(wrong)?;
    let rest = to.strip_prefix("/devices/").ok_or_else(wrong)?;
    let (id, tail) = rest.split_once('/').ok_or_else(wrong)?;
    if !tail.eq_ignore_ascii_case("messages/devicebound") {
        return Err(wrong());
    }
    device_id(id)
}

fn message(headers: &HeaderMap, body: &RequestBody) -> Result<CloudMessage, HubFailure> {
    let mut message = CloudMessage {
        message_id: text(headers, "iothub-messageid")?,
        body: body.0.to_vec(),
        ..CloudMessage::default()
    };
    for (header, name) in SYSTEM_HEADERS.into_iter().filter(|(_, name)| !["mid", "to"].contains(name)) {
        message.system.extend(text(headers, header)?.map(|value| (name, value)));
    }
    if let Some(expiry) = text(headers, "iothub-expiry")? {
        let expiry = Timestamp::parse(&expiry).map_err(|error| HubFailure::Invalid(error.to_string()))?;
        message.expires_at = Some(expiry);
    }
    for name in headers.keys().filter_map(|name| name.as_str().strip_prefix(APPLICATION_HEADER)) {
        let value = text(headers, &format!("{APPLICATION_HEADER}{name}"))?;
        message.application.extend(value.map(|value| (name.to_owned(), value)));
    }
    let properties = || message.application.iter().map(|(name, value)| name.len() + value.len());
    if properties().count() > MAX_PROPERTIES || properties().sum::<usize>() > MAX_PROPERTY_BYTES {
        return Err(HubFailure::Invalid("the message has too many properties".to_owned()));
    }
    Ok(message)
}

fn text(headers: &HeaderMap, name: &str) -> Result<Option<String>, HubFailure> {
    let value = headers.get(name).map(|value| value.to_str().map(str::to_owned));
    value.transpose().map_err(|_| HubFailure::Invalid(format!("the header {name} is not ASCII")))
}

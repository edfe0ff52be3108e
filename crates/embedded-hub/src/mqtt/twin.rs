//! A device's requests about its own twin. They are answered in the order in which they came.

use bytes::Bytes;
use net::mqtt::Close;
use serde_json::{Map, Value, json};
use wire::{
    hub::{ErrorDetail, twin_reply_topic},
    mqtt::QoS,
};

use crate::{
    failure::HubFailure,
    hub::tracking_id,
    twin::{Twin, check_integers},
};

use super::session::DeviceSession;

/// Answers with the properties, desired and reported.
pub async fn read(session: &DeviceSession, request_id: &str) -> Result<(), Close> {
    let id = &session.live.id;
    // In turn with changes: a device must not read an old twin after it heard of a newer one.
    let _turn = session.hub.turn(id).await;
    let twin = session.hub.core.storage.read(|rows| rows.twin(id));
    match twin.and_then(|twin| twin.ok_or_else(|| HubFailure::Unknown(id.to_string()))) {
        Ok(twin) => answer(session, twin_reply_topic(200, request_id, None), properties(&twin)),
        Err(failure) => refuse(session, request_id, &failure),
    }
}

/// Applies a patch to the reported properties; answers when it is on disk.
pub async fn report(session: &DeviceSession, request_id: &str, payload: &[u8]) -> Result<(), Close> {
    // In turn with deletions and new beginnings: a device that was disconnected meanwhile is not to be heard.
    let _turn = session.hub.turn(&session.live.id).await;
    if session.live.outbox.is_closed() {
        return Err(Close::because("the connection was closed before the report"));
    }
    let reported = match patch(payload) {
        Ok(patch) => session.hub.report(&session.live.id, patch).await,
        Err(failure) => Err(failure),
    };
    match reported {
        Ok(version) => answer(session, twin_reply_topic(204, request_id, Some(version)), Vec::new()),
        Err(failure) => refuse(session, request_id, &failure),
    }
}

fn patch(payload: &[u8]) -> Result<Map<String, Value>, HubFailure> {
    check_integers(payload)?;
    let object = |error| HubFailure::Invalid(format!("reported properties must be a JSON object: {error}"));
    serde_json::from_slice(payload).map_err(object)
}

/// What a device sees of its twin: no tags, and `$version` inside each section, where SDKs read it.
fn properties(twin: &Twin) -> Vec<u8> {
    json!({"desired": twin.desired.for_device(), "reported": twin.reported.for_device()})
        .to_string()
        .into_bytes()
}

fn refuse(session: &DeviceSession, request_id: &str, failure: &HubFailure) -> Result<(), Close> {
    let code = failure.code();
    let tracking_id = tracking_id();
    if let HubFailure::Broken(reason) = failure {
        tracing::error!(reason, tracking.id = tracking_id, hub.name = %session.hub.name(), "a twin request failed");
    }
    tracing::debug!(device.id = %session.live.id, %failure, tracking.id = tracking_id, "twin request refused");
    let detail = ErrorDetail {
        error_code: code.number(),
        tracking_id: &tracking_id,
        message: &failure.told(),
        timestamp_utc: &session.hub.now().to_string(),
    };
    let body = json!(detail).to_string();
    answer(session, twin_reply_topic(code.status(), request_id, None), body)
}

/// A device that asks faster than it reads the answers is disconnected.
fn answer(session: &DeviceSession, topic: String, body: impl Into<Bytes>) -> Result<(), Close> {
    let queued = session.live.outbox.try_publish(topic, body, QoS::AtMostOnce, 0);
    queued.map_err(|_| Close::because("the device does not take the answers to its requests"))
}

//! Requests of a device about its own twin.

use codec::mqtt::QoS;
use net::mqtt::Close;
use wire::{ascii_json, topics::twin_reply_topic};

use crate::failure::HubFailure;

use super::session::DeviceSession;

/// Answers with the properties, desired and reported.
pub async fn read(session: &DeviceSession, request_id: &str) -> Result<(), Close> {
    match session.hub.own_twin(&session.live).await {
        Ok(twin) => answer(session, twin_reply_topic(200, request_id, None), twin),
        Err(failure) => refuse(session, request_id, &failure),
    }
}

/// Applies a patch to the reported properties; answers when it is on disk.
pub async fn report(session: &DeviceSession, request_id: &str, payload: &[u8]) -> Result<(), Close> {
    match session.hub.own_report(&session.live, payload).await {
        Ok(version) => answer(session, twin_reply_topic(204, request_id, Some(version)), Vec::new()),
        Err(failure) => refuse(session, request_id, &failure),
    }
}

fn refuse(session: &DeviceSession, request_id: &str, failure: &HubFailure) -> Result<(), Close> {
    let body = session.hub.twin_refusal(&session.live, failure);
    answer(session, twin_reply_topic(failure.code().status(), request_id, None), body)
}

/// Queues an answer. A device that sends requests faster than it reads the answers is disconnected.
fn answer(session: &DeviceSession, topic: String, body: Vec<u8>) -> Result<(), Close> {
    let queued = session.link.outbox.try_publish(topic, ascii_json(body), QoS::AtMostOnce, 0);
    queued.map_err(|_| Close::because("the device does not read the answers to its requests"))
}

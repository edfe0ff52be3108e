//! Cloud-to-device messages: one durable queue per device. A message stays in the queue until the device has settled it, over any
//! transport. Telemetry of devices is counted.

mod delivery;
mod locks;
mod telemetry;

use model::{DeviceId, Timestamp};

use crate::{
    failure::HubFailure,
    hub::{Hub, tracking_id},
    storage::{QueueTimes, StoredMessage},
};

pub(crate) use delivery::{LeasedMessage, Settlement};
pub(crate) use locks::Locks;
pub(crate) use telemetry::MAX_TELEMETRY_BYTES;

/// Bytes of a message (IoT Hub documentation).
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Messages in the queue of one device (IoT Hub documentation).
const MAX_WAITING: usize = 50;
/// The default lifetime of a message, in seconds, as at the hosted hub.
const DEFAULT_TTL_SECS: i64 = 3600;
/// The longest lifetime of a message, in seconds: two days.
const MAX_TTL_SECS: i64 = 48 * 3600;

/// A message to a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloudMessage {
    /// Its ID; generated if absent.
    pub message_id: Option<String>,
    /// System properties beside `mid` and `to`, by their short names (`cid`, `ct`, `ce`, …).
    pub system: Vec<(&'static str, String)>,
    /// Application properties.
    pub application: Vec<(String, String)>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// Its content.
    pub body: Vec<u8>,
}

impl Hub {
    /// Queues a message for a device, durably, and sends it if the device is subscribed. Returns its ID.
    pub async fn send_message(&self, id: &DeviceId, message: CloudMessage) -> Result<String, HubFailure> {
        if message.body.len() > MAX_MESSAGE_BYTES {
            return Err(HubFailure::TooLarge(MAX_MESSAGE_BYTES));
        }
        let now = self.now();
        let times = QueueTimes { enqueued_at: now, expires_at: expiry(message.expires_at, now)? };
        let (message_id, stored) = stored(id, message);
        let (hub, id) = (self.clone(), id.clone());
        let sending = async move {
            let queue = id.clone();
            let write = hub.core.storage.write(move |rows| {
                if rows.identity(&queue)?.is_none() {
                    return Err(HubFailure::Unknown(queue.to_string()));
                }
                rows.expire(&queue, now)?;
                let queued = rows.enqueue(&queue, &stored, times, MAX_WAITING)?;
                if queued { Ok(()) } else { Err(HubFailure::QueueFull(queue.to_string())) }
            });
            write.await?;
            hub.deliver_to_connected(&id).await;
            Ok(message_id)
        };
        self.run_to_completion(sending).await
    }

    /// Deletes the queued messages of a device; returns their number.
    pub async fn purge_messages(&self, id: &DeviceId) -> Result<u64, HubFailure> {
        let id = id.clone();
        let write = self.core.storage.write(move |rows| {
            if rows.identity(&id)?.is_none() {
                return Err(HubFailure::Unknown(id.to_string()));
            }
            rows.purge(&id)
        });
        write.await
    }
}

fn expiry(wanted: Option<Timestamp>, now: Timestamp) -> Result<Timestamp, HubFailure> {
    let after = |secs: i64| Timestamp::from_ticks(Timestamp::from_unix_seconds(secs).ticks() + now.ticks());
    let expires_at = wanted.unwrap_or_else(|| after(DEFAULT_TTL_SECS));
    if expires_at <= now || expires_at > after(MAX_TTL_SECS) {
        return Err(HubFailure::Invalid(
            "the expiry must lie in the future, at most two days ahead".to_owned(),
        ));
    }
    Ok(expires_at)
}

fn stored(id: &DeviceId, message: CloudMessage) -> (String, StoredMessage) {
    let message_id = message.message_id.unwrap_or_else(tracking_id);
    let mut system = vec![
        ("to".to_owned(), format!("/devices/{id}/messages/deviceBound")),
        ("mid".to_owned(), message_id.clone()),
    ];
    system.extend(message.system.into_iter().map(|(name, value)| (name.to_owned(), value)));
    let stored = StoredMessage { system, application: message.application, body: message.body };
    (message_id, stored)
}

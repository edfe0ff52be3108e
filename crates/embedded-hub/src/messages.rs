//! Cloud-to-device messages: kept until the device acknowledges them, sent again when it reconnects.

use std::sync::Arc;

use model::{DeviceId, Timestamp};
use net::mqtt::Close;
use wire::{
    hub::{DeviceFilter, PropertyBag, devicebound_topic},
    mqtt::QoS,
};

use crate::{
    connections::{Live, locked},
    failure::HubFailure,
    hub::{Hub, tracking_id},
    storage::{StoredMessage, Waiting},
};

/// Largest message, in bytes (IoT Hub documentation).
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Messages that may wait for one device (IoT Hub documentation).
const MAX_WAITING: u64 = 50;
/// Messages on their way to one device; fewer than its outbox holds, so that there is room beside them.
const MAX_IN_FLIGHT: usize = 8;
/// How long a message is kept that does not say: the real hub's default, in seconds.
const DEFAULT_TTL_SECS: i64 = 3600;
/// The longest that a message may be kept: two days.
const MAX_TTL_SECS: i64 = 48 * 3600;

/// A message to a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloudMessage {
    /// Its ID; made when absent.
    pub message_id: Option<String>,
    /// System properties beside `mid` and `to`, by their short names (`cid`, `ct`, `ce`, …).
    pub system: Vec<(&'static str, String)>,
    /// The application's own properties.
    pub application: Vec<(String, String)>,
    /// When it is of no more use.
    pub expires_at: Option<Timestamp>,
    /// Its content.
    pub body: Vec<u8>,
}

impl Hub {
    /// Queues a message for a device, durably, and sends it if the device listens. Returns its ID.
    pub async fn send_message(&self, id: &DeviceId, message: CloudMessage) -> Result<String, HubFailure> {
        if message.body.len() > MAX_MESSAGE_BYTES {
            return Err(HubFailure::TooLarge(MAX_MESSAGE_BYTES));
        }
        let now = self.now();
        let expires_at = expiry(message.expires_at, now)?;
        let (message_id, stored) = stored(id, message);
        let (hub, id) = (self.clone(), id.clone());
        let sending = async move {
            let queue = id.clone();
            let write = hub.core.storage.write(move |rows| {
                if rows.identity(&queue)?.is_none() {
                    return Err(HubFailure::Unknown(queue.to_string()));
                }
                rows.expire(&queue, now)?;
                let queued = rows.enqueue(&queue, &stored, expires_at, MAX_WAITING)?;
                if queued { Ok(()) } else { Err(HubFailure::QueueFull(queue.to_string())) }
            });
            write.await?;
            hub.core.connections.of(&id).iter().for_each(|live| hub.deliver(live));
            Ok(message_id)
        };
        self.carry_out(sending).await
    }

    /// Throws a device's waiting messages away; returns how many there were.
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

    /// Sends the device what waits for it, as much as may be on its way at once. One that cannot take it
    /// is disconnected: it gets all of it when it comes back.
    pub(crate) fn deliver(&self, live: &Arc<Live>) {
        if !live.listens_to(DeviceFilter::Devicebound) {
            return;
        }
        let mut flow = locked(&live.flow);
        let room = MAX_IN_FLIGHT.saturating_sub(flow.in_flight);
        let waiting =
            self.core.storage.read(|rows| rows.messages_after(&live.id, flow.sent, self.now(), room));
        let waiting = waiting.unwrap_or_else(|failure| {
            tracing::error!(%failure, device.id = %live.id, "waiting messages were not read");
            Vec::new()
        });
        for Waiting { sequence, message } in waiting {
            let mut bag = PropertyBag::default();
            message.properties.into_iter().for_each(|(key, value)| bag.push(key, value));
            let topic = devicebound_topic(live.id.as_str(), &bag);
            let token = sequence.unsigned_abs();
            if live.outbox.try_publish(topic, message.body, QoS::AtLeastOnce, token).is_err() {
                return live.outbox.close(Close::because("the device does not take its messages"));
            }
            flow.sent = sequence;
            flow.in_flight += 1;
        }
    }

    /// Removes a message that the device has acknowledged, and sends the next.
    pub(crate) async fn delivered(&self, live: &Arc<Live>, sequence: i64) {
        let id = live.id.clone();
        let removed = self.core.storage.write(move |rows| rows.remove_message(&id, sequence)).await;
        if let Err(failure) = removed {
            // It is sent once more after a reconnection: at least once is what QoS 1 promises.
            tracing::warn!(%failure, device.id = %live.id, "a delivered message was not removed");
        }
        let mut flow = locked(&live.flow);
        flow.in_flight = flow.in_flight.saturating_sub(1);
        drop(flow);
        self.deliver(live);
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
    let mut properties = vec![
        ("$.to".to_owned(), format!("/devices/{id}/messages/deviceBound")),
        ("$.mid".to_owned(), message_id.clone()),
    ];
    properties.extend(message.system.into_iter().map(|(name, value)| (format!("$.{name}"), value)));
    properties.extend(message.application);
    (message_id, StoredMessage { properties, body: message.body })
}

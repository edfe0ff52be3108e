//! Delivers messages and settles them, over any transport.
//!
//! One holder at a time has a message. It is removed when the device completes or rejects it; it is queued again when the device
//! abandons it, lets its lease expire, or disconnects. Holders change only under the device's lock, so that no message is delivered
//! while it is being settled.

use std::sync::Arc;

use model::{DeviceId, Timestamp};
use tokio::sync::MutexGuard;
use wire::topics::DeviceFilter;

use crate::{
    connections::{DisconnectReason, LiveConnection, Sent},
    failure::HubFailure,
    hub::{Hub, tracking_id},
    storage::{QueuedMessage, Rows},
};

use super::locks::Holder;

/// Unsettled messages of one device; fewer than its outbox holds, so that other messages fit.
const MAX_IN_FLIGHT: usize = 8;
/// How long a device may hold a message that it received over HTTPS, in seconds: the default of the hosted hub.
const LEASE_SECS: i64 = 60;
/// How often a message is delivered before it is dropped: the default of the hosted hub.
const MAX_RETURNS: u32 = 10;

/// A message that a device received over HTTPS.
pub struct LeasedMessage {
    /// The token that the device settles it with.
    pub token: String,
    /// The message.
    pub waiting: QueuedMessage,
}

/// How a device settles a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// The device has processed it.
    Completed,
    /// The device will never accept it.
    Rejected,
    /// It is to be delivered again.
    Abandoned,
}

impl Hub {
    /// Sends queued messages to a device, as many as may be unsettled at once. A device whose outbox is full is disconnected: it
    /// receives all of them when it reconnects.
    pub(crate) async fn deliver(&self, live: &Arc<LiveConnection>) {
        let device_lock = self.lock_device(&live.id).await;
        if !live.is_subscribed_to(DeviceFilter::Devicebound) {
            return;
        }
        // Messages without acknowledgement are settled when they are sent, and make room for the next.
        while let Some(settled) = self.send_waiting(&device_lock, live).await
            && !settled.is_empty()
        {
            if let Err(failure) = self.settle(&device_lock, &live.id, settled, Settlement::Completed).await {
                // They are sent again after a reconnection.
                tracing::warn!(%failure, device.id = %live.id, "messages were not settled");
                return;
            }
        }
    }

    /// Sends as many queued messages as may be unsettled at once, and returns those that are settled by that; `None` if the outbox is
    /// full.
    async fn send_waiting(
        &self,
        device_lock: &MutexGuard<'_, ()>,
        live: &Arc<LiveConnection>,
    ) -> Option<Vec<i64>> {
        let unsettled = self.core.locks.of_connection(&live.id, live.number).len();
        let room = MAX_IN_FLIGHT.saturating_sub(unsettled);
        let waiting = self.hold_messages(device_lock, &live.id, room, &Holder::Connection(live.number));
        let waiting = waiting.unwrap_or_else(|failure| {
            tracing::error!(%failure, device.id = %live.id, "queued messages were not read");
            Vec::new()
        });
        let mut settled = Vec::new();
        for message in waiting {
            let sequence = message.sequence;
            match live.link.message(message) {
                Ok(Sent::Settled) => settled.push(sequence),
                Ok(Sent::Unsettled) => {}
                Err(_) => {
                    live.link.disconnect(DisconnectReason::NotReading);
                    return None;
                }
            }
        }
        Some(settled)
    }

    /// Leases the oldest queued message to a device.
    pub(crate) async fn lease_message(&self, id: &DeviceId) -> Result<Option<LeasedMessage>, HubFailure> {
        let device_lock = self.lock_device(id).await;
        let (token, until) = (tracking_id(), later(self.now(), LEASE_SECS));
        let mut leased =
            self.hold_messages(&device_lock, id, 1, &Holder::Lease { token: token.clone(), until })?;
        Ok(leased.pop().map(|waiting| LeasedMessage { token, waiting }))
    }

    /// Settles a leased message.
    pub(crate) async fn settle_leased(
        &self,
        id: &DeviceId,
        token: &str,
        settlement: Settlement,
    ) -> Result<(), HubFailure> {
        let device_lock = self.lock_device(id).await;
        let sequence = self.core.locks.leased(id, token, self.now()).ok_or(HubFailure::LockLost)?;
        self.settle(&device_lock, id, vec![sequence], settlement).await?;
        drop(device_lock);
        self.deliver_to_connected(id).await;
        Ok(())
    }

    /// Settles a message that a connection holds, and sends the next. One that it does not hold is ignored.
    pub(crate) async fn settle_delivered(
        &self,
        live: &Arc<LiveConnection>,
        sequence: i64,
        settlement: Settlement,
    ) {
        let device_lock = self.lock_device(&live.id).await;
        if self.core.locks.of_connection(&live.id, live.number).contains(&sequence)
            && let Err(failure) = self.settle(&device_lock, &live.id, vec![sequence], settlement).await
        {
            // It is sent again after a reconnection: delivery is at least once.
            tracing::warn!(%failure, device.id = %live.id, "a message was not settled");
        }
        drop(device_lock);
        self.deliver(live).await;
    }

    /// Requeues the messages of a connection that has ended or unsubscribed.
    pub(crate) async fn return_messages(&self, live: &LiveConnection) {
        self.return_held(&live.id, |hub| hub.core.locks.of_connection(&live.id, live.number)).await;
    }

    /// Requeues the messages whose lease has expired.
    pub(crate) async fn return_expired_leases(&self) {
        let now = self.now();
        for id in self.core.locks.overdue(now) {
            self.return_held(&id, |hub| hub.core.locks.expired_leases(&id, now)).await;
        }
    }

    async fn return_held(&self, id: &DeviceId, held: impl Fn(&Hub) -> Vec<i64>) {
        let device_lock = self.lock_device(id).await;
        let sequences = held(self);
        if sequences.is_empty() {
            return;
        }
        if let Err(failure) = self.settle(&device_lock, id, sequences.clone(), Settlement::Abandoned).await {
            // They are queued again; only their count of deliveries is not updated.
            tracing::warn!(%failure, device.id = %id, "returned messages were not counted");
            sequences.iter().for_each(|sequence| self.core.locks.release(id, *sequence));
        }
        drop(device_lock);
        self.deliver_to_connected(id).await;
    }

    pub(super) async fn deliver_to_connected(&self, id: &DeviceId) {
        if let Some(live) = self.core.connections.of(id) {
            self.deliver(&live).await;
        }
    }

    fn hold_messages(
        &self,
        _device_lock: &MutexGuard<'_, ()>,
        id: &DeviceId,
        limit: usize,
        holder: &Holder,
    ) -> Result<Vec<QueuedMessage>, HubFailure> {
        let held = self.core.locks.held(id);
        let read = |rows: &Rows| rows.messages(id, self.now(), limit, |one| held.contains(&one));
        let waiting = self.core.storage.read(read)?;
        waiting.iter().for_each(|one| self.core.locks.hold(id, one.sequence, holder.clone()));
        Ok(waiting)
    }

    async fn settle(
        &self,
        _device_lock: &MutexGuard<'_, ()>,
        id: &DeviceId,
        sequences: Vec<i64>,
        settlement: Settlement,
    ) -> Result<(), HubFailure> {
        let (owned, settled) = (id.clone(), sequences.clone());
        let write = self.core.storage.write(move |rows| {
            let mut dropped = 0;
            for sequence in settled {
                match settlement {
                    Settlement::Completed | Settlement::Rejected => rows.remove_message(&owned, sequence)?,
                    Settlement::Abandoned => {
                        dropped += usize::from(rows.return_message(&owned, sequence, MAX_RETURNS)?);
                    }
                }
            }
            Ok(dropped)
        });
        let dropped = write.await?;
        if dropped > 0 || settlement == Settlement::Rejected {
            tracing::info!(device.id = %id, dropped, "messages were dropped: their device did not accept them");
        }
        sequences.iter().for_each(|sequence| self.core.locks.release(id, *sequence));
        Ok(())
    }
}

fn later(now: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_ticks(now.ticks() + Timestamp::from_unix_seconds(seconds).ticks())
}

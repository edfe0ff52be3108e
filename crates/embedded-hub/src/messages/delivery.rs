//! Giving messages out and taking back what becomes of them, whatever the transport.
//!
//! A message is out with one holder at a time. It is gone when the device takes or rejects it; it waits
//! again when the device returns it, lets its lease run out, or leaves. What is out changes only in the
//! device's turn, so that no message is given out while it is being settled.

use std::sync::Arc;

use model::{DeviceId, Timestamp};
use tokio::sync::MutexGuard;
use wire::topics::DeviceFilter;

use crate::{
    connections::Live,
    device_link::{Parting, Sent},
    failure::HubFailure,
    hub::{Hub, tracking_id},
    storage::{Rows, Waiting},
};

use super::locks::Holder;

/// Messages on their way to one device; fewer than its outbox holds, so that there is room beside them.
const MAX_IN_FLIGHT: usize = 8;
/// How long a message that was asked for over HTTPS is kept for whoever asked: the real hub's default, in seconds.
const LEASE_SECS: i64 = 60;
/// How often a device may have a message and not take it, before the hub gives up on it: the real hub's default.
const MAX_RETURNS: u32 = 10;

/// A message that was asked for.
pub struct Leased {
    /// What the device names it by when it settles it.
    pub token: String,
    /// The message.
    pub waiting: Waiting,
}

/// What a device makes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// It has taken it.
    Completed,
    /// It will never take it.
    Rejected,
    /// It wants it again, later.
    Abandoned,
}

impl Hub {
    /// Sends the device what waits for it, as much as may be on its way at once. One that cannot take it
    /// is disconnected: it gets all of it when it comes back.
    pub(crate) async fn deliver(&self, live: &Arc<Live>) {
        let turn = self.turn(&live.id).await;
        if !live.listens_to(DeviceFilter::Devicebound) {
            return;
        }
        // What needs no acknowledgement is settled as it is sent, and makes room for the next.
        while let Some(settled) = self.send_waiting(&turn, live).await
            && !settled.is_empty()
        {
            if let Err(failure) = self.settle(&turn, &live.id, settled, Settlement::Completed).await {
                // It is sent once more after a reconnection.
                tracing::warn!(%failure, device.id = %live.id, "messages were not settled");
                return;
            }
        }
    }

    /// Sends as many waiting messages as may be on their way at once, and returns those that are settled by that; `None`
    /// when the device cannot take them.
    async fn send_waiting(&self, turn: &MutexGuard<'_, ()>, live: &Arc<Live>) -> Option<Vec<i64>> {
        let under_way = self.core.locks.of_connection(&live.id, live.number).len();
        let room = MAX_IN_FLIGHT.saturating_sub(under_way);
        let waiting = self.give_out(turn, &live.id, room, &Holder::Connection(live.number));
        let waiting = waiting.unwrap_or_else(|failure| {
            tracing::error!(%failure, device.id = %live.id, "waiting messages were not read");
            Vec::new()
        });
        let mut settled = Vec::new();
        for message in waiting {
            let sequence = message.sequence;
            match live.line.message(message) {
                Ok(Sent::Settled) => settled.push(sequence),
                Ok(Sent::Unsettled) => {}
                Err(_) => {
                    live.line.part(Parting::Stuck);
                    return None;
                }
            }
        }
        Some(settled)
    }

    /// Gives out the message that waits longest to whoever asks, for a while.
    pub(crate) async fn lease_message(&self, id: &DeviceId) -> Result<Option<Leased>, HubFailure> {
        let turn = self.turn(id).await;
        let (token, until) = (tracking_id(), later(self.now(), LEASE_SECS));
        let mut given = self.give_out(&turn, id, 1, &Holder::Lease { token: token.clone(), until })?;
        Ok(given.pop().map(|waiting| Leased { token, waiting }))
    }

    /// Settles a message that was leased.
    pub(crate) async fn settle_leased(
        &self,
        id: &DeviceId,
        token: &str,
        settlement: Settlement,
    ) -> Result<(), HubFailure> {
        let turn = self.turn(id).await;
        let sequence = self.core.locks.leased(id, token, self.now()).ok_or(HubFailure::LockLost)?;
        self.settle(&turn, id, vec![sequence], settlement).await?;
        drop(turn);
        self.deliver_to_connected(id).await;
        Ok(())
    }

    /// Settles a message that a connection has, and sends the next. One that it has no more is passed over.
    pub(crate) async fn settle_delivered(&self, live: &Arc<Live>, sequence: i64, settlement: Settlement) {
        let turn = self.turn(&live.id).await;
        if self.core.locks.of_connection(&live.id, live.number).contains(&sequence)
            && let Err(failure) = self.settle(&turn, &live.id, vec![sequence], settlement).await
        {
            // It is sent once more after a reconnection: at least once is what is promised.
            tracing::warn!(%failure, device.id = %live.id, "a message was not settled");
        }
        drop(turn);
        self.deliver(live).await;
    }

    /// Lets go of what a connection has that is over or does not listen any more.
    pub(crate) async fn return_messages(&self, live: &Live) {
        self.take_back(&live.id, |hub| hub.core.locks.of_connection(&live.id, live.number)).await;
    }

    /// Lets go of what was leased for too long.
    pub(crate) async fn return_lapsed(&self) {
        let now = self.now();
        for id in self.core.locks.overdue(now) {
            self.take_back(&id, |hub| hub.core.locks.lapsed(&id, now)).await;
        }
    }

    async fn take_back(&self, id: &DeviceId, held: impl Fn(&Hub) -> Vec<i64>) {
        let turn = self.turn(id).await;
        let sequences = held(self);
        if sequences.is_empty() {
            return;
        }
        if let Err(failure) = self.settle(&turn, id, sequences.clone(), Settlement::Abandoned).await {
            // They wait again all the same; that they came back is not counted.
            tracing::warn!(%failure, device.id = %id, "returned messages were not counted");
            sequences.iter().for_each(|sequence| self.core.locks.release(id, *sequence));
        }
        drop(turn);
        self.deliver_to_connected(id).await;
    }

    pub(super) async fn deliver_to_connected(&self, id: &DeviceId) {
        if let Some(live) = self.core.connections.of(id) {
            self.deliver(&live).await;
        }
    }

    fn give_out(
        &self,
        _turn: &MutexGuard<'_, ()>,
        id: &DeviceId,
        most: usize,
        holder: &Holder,
    ) -> Result<Vec<Waiting>, HubFailure> {
        let out = self.core.locks.out(id);
        let read = |rows: &Rows| rows.messages(id, self.now(), most, |one| out.contains(&one));
        let waiting = self.core.storage.read(read)?;
        waiting.iter().for_each(|one| self.core.locks.give(id, one.sequence, holder.clone()));
        Ok(waiting)
    }

    async fn settle(
        &self,
        _turn: &MutexGuard<'_, ()>,
        id: &DeviceId,
        sequences: Vec<i64>,
        settlement: Settlement,
    ) -> Result<(), HubFailure> {
        let (owned, settled) = (id.clone(), sequences.clone());
        let write = self.core.storage.write(move |rows| {
            let mut given_up = 0;
            for sequence in settled {
                match settlement {
                    Settlement::Completed | Settlement::Rejected => rows.remove_message(&owned, sequence)?,
                    Settlement::Abandoned => {
                        given_up += usize::from(rows.return_message(&owned, sequence, MAX_RETURNS)?);
                    }
                }
            }
            Ok(given_up)
        });
        let given_up = write.await?;
        if given_up > 0 || settlement == Settlement::Rejected {
            tracing::info!(device.id = %id, given_up, "messages were thrown away: their device does not take them");
        }
        sequences.iter().for_each(|sequence| self.core.locks.release(id, *sequence));
        Ok(())
    }
}

fn later(now: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_ticks(now.ticks() + Timestamp::from_unix_seconds(seconds).ticks())
}

//! Messages from the client: transfers put together, verdicts, credit.

use std::time::Duration;

use bytes::BytesMut;
use codec::amqp::{AmqpError, DeliveryState, Disposition, Message, Performative, Role, Transfer, condition};
use tokio::time::Instant;

use super::driver::Client;
use super::endpoint::{Delivery, LinkId, Verdict};
use super::frames::{End, Output};
use super::link::{Link, LinkState, Partial, Receiving};
use super::outbox::DeliveryRef;
use super::sessions::unattached;
use crate::refused::Refused;

/// What a transfer makes of the message that it belongs to.
enum Step {
    /// It was the last.
    Complete(Partial),
    /// The client thought better of it.
    Aborted,
    /// More is to come, or the link is gone.
    Wait,
    /// The link cannot go on.
    Refused(AmqpError),
}

impl Client {
    pub(super) async fn transfer(
        &mut self,
        channel: u16,
        transfer: Transfer,
        out: &mut Output<'_>,
    ) -> Result<(), End> {
        let room = self.room(transfer.payload.len()).await;
        let session = self.session(channel)?;
        if !session.count_incoming() {
            return Err(End::violation(condition::WINDOW_VIOLATION, "more transfers than the window takes"));
        }
        session.refresh_window(out)?;
        let link = session.link(transfer.handle).ok_or_else(unattached)?;
        let (id, handle) = (link.id, link.handle);
        let step = match &mut link.flow {
            LinkState::Detached => Step::Wait,
            LinkState::Receiving(receiving) => receiving.take(transfer, room)?,
            LinkState::Sending(_) => {
                return Err(End::violation(condition::NOT_ALLOWED, "a transfer over a link to the client"));
            }
        };
        match step {
            Step::Complete(partial) => self.deliver(channel, id, partial, out).await,
            Step::Aborted => self.grant(channel, handle, out),
            Step::Wait => Ok(()),
            Step::Refused(error) => {
                self.peer.refuse(Refused::TooLarge, &error.condition).await;
                self.detach_link(id, error, out).await
            }
        }
    }

    /// Bytes that may still come of messages that are not complete. A client that is unproven and sends more than such a one
    /// may is asked for its proof.
    async fn room(&mut self, wanted: usize) -> usize {
        let taken = self.bytes_in_parts();
        let small = self.max_unproven_bytes.min(self.limits.max_message).saturating_sub(taken);
        if wanted > small && !self.peer.standing.may_send_large() && self.connection.prove().await {
            self.peer.standing.permit_large();
        }
        if self.peer.standing.may_send_large() {
            return self.limits.max_message.saturating_sub(taken);
        }
        small
    }

    /// Detaches the links whose messages take too long to come.
    pub(super) async fn detach_overdue(
        &mut self,
        packet_timeout: Duration,
        out: &mut Output<'_>,
    ) -> Result<(), End> {
        let links = self.sessions.iter().flat_map(|session| &session.links);
        let overdue = links.filter(|link| match &link.flow {
            LinkState::Receiving(Receiving { partial: Some(partial), .. }) => {
                partial.since.elapsed() >= packet_timeout
            }
            _ => false,
        });
        for link in overdue.map(|link| link.id).collect::<Vec<LinkId>>() {
            let text = "the message takes too long to come";
            let error = AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text);
            self.peer.refuse(Refused::PacketTimeout, text).await;
            self.detach_link(link, error, out).await?;
        }
        Ok(())
    }

    /// When the oldest of the messages began that are not complete.
    pub(super) fn oldest_partial(&self) -> Option<Instant> {
        let links = self.sessions.iter().flat_map(|session| &session.links);
        let partials = links.filter_map(|link| match &link.flow {
            LinkState::Receiving(Receiving { partial: Some(partial), .. }) => Some(partial.since),
            _ => None,
        });
        partials.min()
    }

    /// Bytes of messages that are not complete, over all links.
    fn bytes_in_parts(&self) -> usize {
        let links = self.sessions.iter().flat_map(|session| &session.links);
        links
            .map(|link| match &link.flow {
                LinkState::Receiving(Receiving { partial: Some(partial), .. }) => partial.payload.len(),
                _ => 0,
            })
            .sum()
    }

    async fn deliver(
        &mut self,
        channel: u16,
        link: LinkId,
        partial: Partial,
        out: &mut Output<'_>,
    ) -> Result<(), End> {
        let Partial { delivery_id, format, settled, payload, .. } = partial;
        let id = DeliveryRef { link, number: delivery_id, settled };
        let verdict = match Message::decode(&payload) {
            Ok(message) => {
                drop(payload);
                let delivery = Delivery { id, link, format, settled, message };
                self.connection.message(delivery).await.map_err(End::Closed)?
            }
            Err(error) => {
                let error = AmqpError::new(condition::DECODE_ERROR, error.to_string());
                Verdict::Settled(DeliveryState::Rejected(Some(error)))
            }
        };
        let Some((session, position)) = self.position(link) else { return Ok(()) };
        let link = &mut self.sessions[session].links[position];
        let handle = link.handle;
        match verdict {
            Verdict::Settled(state) if !settled => put_settled(channel, delivery_id, state, out)?,
            Verdict::Settled(_) => {}
            Verdict::Later => link.count_unsettled(),
        }
        self.grant(channel, handle, out)
    }

    /// The verdict on a delivery comes late.
    pub(super) fn settle(
        &mut self,
        delivery: DeliveryRef,
        state: DeliveryState,
        out: &mut Output<'_>,
    ) -> Result<(), End> {
        let Some((session, position)) = self.position(delivery.link) else { return Ok(()) };
        let session = &mut self.sessions[session];
        let (channel, link) = (session.channel, &mut session.links[position]);
        let handle = link.handle;
        if let LinkState::Receiving(receiving) = &mut link.flow {
            receiving.unsettled = receiving.unsettled.saturating_sub(1);
        }
        if !delivery.settled {
            put_settled(channel, delivery.number, state, out)?;
        }
        self.grant(channel, handle, out)
    }

    /// Gives the client credit, when it has used up half of it.
    pub(super) fn grant(&mut self, channel: u16, handle: u32, out: &mut Output<'_>) -> Result<(), End> {
        let full = self.limits.credit;
        let session = self.session(channel)?;
        let Some(Link { flow: LinkState::Receiving(receiving), .. }) = session.link(handle) else {
            return Ok(());
        };
        if receiving.credit + receiving.unsettled > full / 2 {
            return Ok(());
        }
        receiving.credit = full - receiving.unsettled;
        session.put_flow(session.link_flow(handle), out)
    }
}

fn put_settled(channel: u16, number: u32, state: DeliveryState, out: &mut Output<'_>) -> Result<(), End> {
    let disposition =
        Disposition { role: Role::Receiver, first: number, last: None, settled: true, state: Some(state) };
    out.put(channel, Performative::Disposition(disposition))
}

impl Link {
    fn count_unsettled(&mut self) {
        if let LinkState::Receiving(receiving) = &mut self.flow {
            receiving.unsettled += 1;
        }
    }
}

impl Receiving {
    /// Takes a transfer. `room` is for bytes of all messages that are not complete.
    fn take(&mut self, transfer: Transfer, room: usize) -> Result<Step, End> {
        let mut partial = match self.partial.take() {
            Some(partial) if transfer.delivery_id.is_none_or(|id| id == partial.delivery_id) => partial,
            Some(_) => {
                return Err(End::violation(condition::NOT_ALLOWED, "a delivery in the middle of another"));
            }
            None => self.first(&transfer)?,
        };
        if transfer.aborted {
            return Ok(Step::Aborted);
        }
        if transfer.payload.len() > room {
            let text = "the message is longer than the link takes";
            return Ok(Step::Refused(AmqpError::new(condition::MESSAGE_SIZE_EXCEEDED, text)));
        }
        partial.settled |= transfer.settled.unwrap_or(false);
        partial.payload.extend_from_slice(&transfer.payload);
        if transfer.more {
            self.partial = Some(partial);
            return Ok(Step::Wait);
        }
        Ok(Step::Complete(partial))
    }

    /// A delivery begins.
    fn first(&mut self, transfer: &Transfer) -> Result<Partial, End> {
        if transfer.resume {
            return Err(End::violation(condition::NOT_IMPLEMENTED, "deliveries are not resumed here"));
        }
        let Some(credit) = self.credit.checked_sub(1) else {
            return Err(End::violation(condition::TRANSFER_LIMIT_EXCEEDED, "a delivery without credit"));
        };
        let Some(delivery_id) = transfer.delivery_id else {
            return Err(End::violation(
                condition::INVALID_FIELD,
                "a delivery begins without its delivery-id",
            ));
        };
        self.credit = credit;
        self.delivery_count = self.delivery_count.wrapping_add(1);
        Ok(Partial {
            delivery_id,
            format: transfer.message_format.unwrap_or(0),
            settled: false,
            payload: BytesMut::new(),
            since: Instant::now(),
        })
    }
}

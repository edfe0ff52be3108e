//! Messages from the client: transfers put together, verdicts, credit.

use std::time::Instant;

use bytes::BytesMut;

use super::{
    Delivery, DeliveryRef, FrameWriter, LinkId, ServerError, SessionEvent, Sessions, Verdict,
    link::{Link, LinkState, Partial, Receiving},
    sessions::unattached,
};
use crate::amqp::{
    AmqpError, DeliveryState, Disposition, EncodeError, Message, Performative, Role, Transfer, condition,
};

/// What a transfer makes of the message that it belongs to.
enum Step {
    /// It was the last transfer.
    Complete(Partial),
    /// The client aborted the message.
    Aborted,
    /// More transfers follow, or the link is detached.
    Incomplete,
    /// The message is longer than allowed.
    TooLarge,
}

impl Sessions {
    pub(super) fn transfer(
        &mut self,
        channel: u16,
        transfer: Transfer,
        (now, max_partial_bytes): (Instant, usize),
        out: &mut FrameWriter<'_>,
    ) -> Result<Option<SessionEvent>, ServerError> {
        let room = max_partial_bytes.saturating_sub(self.partial_bytes());
        let session = self.session(channel)?;
        if !session.count_incoming() {
            let text = "more transfers than the window takes";
            return Err(ServerError::violation(condition::WINDOW_VIOLATION, text));
        }
        session.refresh_window(out)?;
        let link = session.link(transfer.handle).ok_or_else(unattached)?;
        let (id, handle) = (link.id, link.handle);
        let step = match &mut link.state {
            LinkState::Detached => Step::Incomplete,
            LinkState::Receiving(receiving) => receiving.take(transfer, room, now)?,
            LinkState::Sending(_) => {
                let text = "a transfer over a link to the client";
                return Err(ServerError::violation(condition::NOT_ALLOWED, text));
            }
        };
        match step {
            Step::Complete(partial) => self.complete(channel, (id, handle), partial, out),
            Step::Aborted => self.grant_credit(channel, handle, out).map(|()| None),
            Step::Incomplete => Ok(None),
            Step::TooLarge => {
                let text = "the message is longer than the link takes";
                self.detach(id, AmqpError::new(condition::MESSAGE_SIZE_EXCEEDED, text), out)?;
                Ok(Some(SessionEvent::TooLarge(id)))
            }
        }
    }

    /// Detaches the links whose message began at `latest` or before, and returns them.
    pub fn detach_overdue(
        &mut self,
        latest: Instant,
        error: &AmqpError,
        out: &mut FrameWriter<'_>,
    ) -> Result<Vec<LinkId>, ServerError> {
        let is_overdue = |link: &&Link| link.partial().is_some_and(|partial| partial.started <= latest);
        let overdue: Vec<LinkId> = self.links().filter(is_overdue).map(|link| link.id).collect();
        for link in &overdue {
            self.detach(*link, error.clone(), out)?;
        }
        Ok(overdue)
    }

    /// Returns when the oldest of the messages began that are not complete.
    pub fn oldest_partial(&self) -> Option<Instant> {
        self.links().filter_map(Link::partial).map(|partial| partial.started).min()
    }

    /// Returns how many bytes of messages have arrived that are not complete, over all links.
    pub fn partial_bytes(&self) -> usize {
        self.links().filter_map(Link::partial).map(|partial| partial.payload.len()).sum()
    }

    /// Answers [`SessionEvent::Message`].
    pub fn answer(
        &mut self,
        delivery: DeliveryRef,
        verdict: Verdict,
        out: &mut FrameWriter<'_>,
    ) -> Result<(), ServerError> {
        match verdict {
            Verdict::Settled(state) => self.finish(delivery, state, |_| {}, out),
            Verdict::Later => {
                let Some((session, link)) = self.position(delivery.link) else { return Ok(()) };
                let session = &mut self.sessions[session];
                let (channel, handle) = (session.channel, session.links[link].handle);
                session.links[link].change_unsettled(|unsettled| *unsettled += 1);
                self.grant_credit(channel, handle, out)
            }
        }
    }

    /// Settles a delivery whose verdict was [`Verdict::Later`].
    pub fn settle(
        &mut self,
        delivery: DeliveryRef,
        state: DeliveryState,
        out: &mut FrameWriter<'_>,
    ) -> Result<(), ServerError> {
        self.finish(delivery, state, |unsettled| *unsettled = unsettled.saturating_sub(1), out)
    }

    fn finish(
        &mut self,
        delivery: DeliveryRef,
        state: DeliveryState,
        change: impl FnOnce(&mut u32),
        out: &mut FrameWriter<'_>,
    ) -> Result<(), ServerError> {
        let Some((session, link)) = self.position(delivery.link) else { return Ok(()) };
        let session = &mut self.sessions[session];
        let (channel, handle) = (session.channel, session.links[link].handle);
        session.links[link].change_unsettled(change);
        if !delivery.settled {
            put_settled(channel, delivery.number, state, out)?;
        }
        self.grant_credit(channel, handle, out)
    }

    /// Grants the client credit, once it has used up half of it.
    pub(super) fn grant_credit(
        &mut self,
        channel: u16,
        handle: u32,
        out: &mut FrameWriter<'_>,
    ) -> Result<(), ServerError> {
        let full = self.limits.credit;
        let session = self.session(channel)?;
        let Some(Link { state: LinkState::Receiving(receiving), .. }) = session.link(handle) else {
            return Ok(());
        };
        if receiving.credit + receiving.unsettled > full / 2 {
            return Ok(());
        }
        receiving.credit = full - receiving.unsettled;
        Ok(session.put_flow(session.link_flow(handle), out)?)
    }

    fn complete(
        &mut self,
        channel: u16,
        (link, handle): (LinkId, u32),
        partial: Partial,
        out: &mut FrameWriter<'_>,
    ) -> Result<Option<SessionEvent>, ServerError> {
        let Partial { delivery_id, format, settled, payload, .. } = partial;
        let id = DeliveryRef { link, number: delivery_id, settled };
        match Message::decode(&payload) {
            Ok(message) => Ok(Some(SessionEvent::Message(Delivery { id, link, format, settled, message }))),
            Err(error) => {
                if !settled {
                    let error = AmqpError::new(condition::DECODE_ERROR, error.to_string());
                    put_settled(channel, delivery_id, DeliveryState::Rejected(Some(error)), out)?;
                }
                self.grant_credit(channel, handle, out).map(|()| None)
            }
        }
    }

    fn links(&self) -> impl Iterator<Item = &Link> {
        self.sessions.iter().flat_map(|session| &session.links)
    }
}

fn put_settled(
    channel: u16,
    number: u32,
    state: DeliveryState,
    out: &mut FrameWriter<'_>,
) -> Result<(), EncodeError> {
    let disposition =
        Disposition { role: Role::Receiver, first: number, last: None, settled: true, state: Some(state) };
    out.put(channel, Performative::Disposition(disposition))
}

impl Link {
    fn change_unsettled(&mut self, change: impl FnOnce(&mut u32)) {
        if let LinkState::Receiving(receiving) = &mut self.state {
            change(&mut receiving.unsettled);
        }
    }
}

impl Receiving {
    /// Takes a transfer. `room` is what all messages that are not complete may grow by, in bytes.
    fn take(&mut self, transfer: Transfer, room: usize, now: Instant) -> Result<Step, ServerError> {
        let mut partial = match self.partial.take() {
            Some(partial) if transfer.delivery_id.is_none_or(|id| id == partial.delivery_id) => partial,
            Some(_) => {
                let text = "a delivery in the middle of another";
                return Err(ServerError::violation(condition::NOT_ALLOWED, text));
            }
            None => self.begin(&transfer, now)?,
        };
        if transfer.aborted {
            return Ok(Step::Aborted);
        }
        if transfer.payload.len() > room {
            return Ok(Step::TooLarge);
        }
        partial.settled |= transfer.settled.unwrap_or(false);
        partial.payload.extend_from_slice(&transfer.payload);
        if transfer.more {
            self.partial = Some(partial);
            return Ok(Step::Incomplete);
        }
        Ok(Step::Complete(partial))
    }

    /// Begins a delivery with its first transfer.
    fn begin(&mut self, transfer: &Transfer, now: Instant) -> Result<Partial, ServerError> {
        let violation = ServerError::violation;
        if transfer.resume {
            return Err(violation(condition::NOT_IMPLEMENTED, "deliveries are not resumed here"));
        }
        let Some(credit) = self.credit.checked_sub(1) else {
            return Err(violation(condition::TRANSFER_LIMIT_EXCEEDED, "a delivery without credit"));
        };
        let Some(delivery_id) = transfer.delivery_id else {
            return Err(violation(condition::INVALID_FIELD, "a delivery begins without its delivery-id"));
        };
        self.credit = credit;
        self.delivery_count = self.delivery_count.wrapping_add(1);
        Ok(Partial {
            delivery_id,
            format: transfer.message_format.unwrap_or(0),
            settled: false,
            payload: BytesMut::new(),
            started: now,
        })
    }
}

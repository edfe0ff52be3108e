//! Messages to the client, as far as its credit and windows go.

use bytes::{Buf, Bytes};
use codec::amqp::{AmqpError, Message, Performative, Transfer, condition, transfer_overhead};

use super::driver::Client;
use super::endpoint::LinkId;
use super::frames::{End, Output};
use super::link::{LinkState, Rest, Sending};
use super::outbox::Outgoing;
use super::session::{Session, Unsettled};

impl Client {
    /// Sends what the outbox holds and the client may get now.
    pub(super) async fn send_queued(&mut self, out: &mut Output<'_>) -> Result<(), End> {
        loop {
            self.sessions.iter_mut().try_for_each(|session| session.send_rests(out))?;
            let Some(next) = self.queued.pop_first(|outgoing| self.may_go(outgoing)) else { return Ok(()) };
            match next {
                Outgoing::Detach(link, error) => self.detach_link(link, error, out).await?,
                Outgoing::Message(link, token, message) => self.send(link, token, &message, out).await?,
                Outgoing::Settle(delivery, state) => self.settle(delivery, state, out)?,
            }
        }
    }

    /// Whether something for the client need not wait. What is for a link that is gone goes nowhere.
    fn may_go(&self, outgoing: &Outgoing) -> bool {
        let Outgoing::Message(link, ..) = outgoing else { return true };
        let Some((session, link)) = self.position(*link) else { return true };
        let session = &self.sessions[session];
        match &session.links[link].flow {
            LinkState::Sending(sending) => {
                let room = sending.settled || session.unsettled.len() < self.limits.unsettled;
                room && sending.rest.is_none() && sending.credit > 0
            }
            LinkState::Detached | LinkState::Receiving(_) => true,
        }
    }

    async fn send(
        &mut self,
        id: LinkId,
        token: u64,
        message: &Message,
        out: &mut Output<'_>,
    ) -> Result<(), End> {
        let Some((session, position)) = self.position(id) else { return Ok(()) };
        let session = &mut self.sessions[session];
        let delivery_id = session.next_delivery_id();
        let LinkState::Sending(sending) = &mut session.links[position].flow else {
            tracing::error!("a message for a link that the client sends over");
            return Ok(());
        };
        let payload = message.encode()?;
        if sending.max_message.is_some_and(|limit| payload.len() as u64 > limit) {
            let text = "a message is longer than the client takes";
            let error = AmqpError::new(condition::MESSAGE_SIZE_EXCEEDED, text);
            return self.detach_link(id, error, out).await;
        }
        sending.credit -= 1;
        sending.delivery_count = sending.delivery_count.wrapping_add(1);
        sending.rest = Some(Rest { delivery_id, payload, begun: false });
        if !sending.settled {
            session.unsettled.push_back(Unsettled { delivery_id, link: id, token });
        }
        Ok(())
    }
}

impl Session {
    /// Sends what is left of messages, as far as the client's window goes.
    fn send_rests(&mut self, out: &mut Output<'_>) -> Result<(), End> {
        for index in 0..self.links.len() {
            while self.outgoing_window > 0 {
                let link = &mut self.links[index];
                let LinkState::Sending(sending) = &mut link.flow else { break };
                let Some(transfer) = sending.next_transfer(link.handle, out.max_frame) else { break };
                out.put(self.channel, Performative::Transfer(transfer))?;
                self.count_outgoing();
            }
        }
        Ok(())
    }
}

impl Sending {
    /// The next transfer of the message that is going out.
    fn next_transfer(&mut self, handle: u32, max_frame: usize) -> Option<Transfer> {
        let rest = self.rest.as_mut()?;
        let first = !std::mem::replace(&mut rest.begun, true);
        let size = rest.payload.remaining().min(max_frame.saturating_sub(transfer_overhead()));
        let payload = rest.payload.split_to(size);
        let more = rest.payload.has_remaining();
        let tag = Bytes::copy_from_slice(&rest.delivery_id.to_be_bytes());
        let transfer = Transfer {
            handle,
            delivery_id: first.then_some(rest.delivery_id),
            delivery_tag: first.then_some(tag),
            message_format: first.then_some(0),
            settled: Some(self.settled),
            more,
            state: None,
            resume: false,
            aborted: false,
            payload,
        };
        if !more {
            self.rest = None;
        }
        Some(transfer)
    }
}

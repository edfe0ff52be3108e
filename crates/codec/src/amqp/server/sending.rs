//! Messages to the client, as far as its credit and windows go.

use bytes::{Buf, Bytes};

use super::{
    FrameWriter, LinkId, ServerError, Sessions,
    link::{LinkState, Sending, Unsent},
    session::{Session, Unsettled},
};
use crate::amqp::{AmqpError, EncodeError, Message, Performative, Transfer, condition, transfer_overhead};

/// What became of a message to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Its transfers go out as the client's window allows.
    Started,
    /// No attached link to the client has the ID.
    Unattached,
    /// The client takes no message of this length; its link was detached.
    TooLarge,
}

impl Sessions {
    /// Returns whether a message for the link need not wait. One for a detached link is dropped at once.
    pub fn can_send(&self, link: LinkId) -> bool {
        let Some((session, link)) = self.position(link) else { return true };
        let session = &self.sessions[session];
        match &session.links[link].state {
            LinkState::Sending(sending) => {
                let has_room = sending.settled || session.unsettled.len() < self.limits.unsettled;
                has_room && sending.unsent.is_none() && sending.credit > 0
            }
            LinkState::Detached | LinkState::Receiving(_) => true,
        }
    }

    /// Starts to send a message for which [`Sessions::can_send`] is true; [`Sessions::continue_sending`] puts its transfers.
    /// `token` is returned when the client settles it.
    pub fn send(
        &mut self,
        id: LinkId,
        token: u64,
        message: &Message,
        out: &mut FrameWriter<'_>,
    ) -> Result<Sent, ServerError> {
        let Some((session, link)) = self.position(id) else { return Ok(Sent::Unattached) };
        let session = &mut self.sessions[session];
        let delivery_id = session.next_delivery_id();
        let LinkState::Sending(sending) = &mut session.links[link].state else { return Ok(Sent::Unattached) };
        let payload = message.encode()?;
        if sending.max_message.is_some_and(|limit| payload.len() as u64 > limit) {
            let text = "a message is longer than the client takes";
            self.detach(id, AmqpError::new(condition::MESSAGE_SIZE_EXCEEDED, text), out)?;
            return Ok(Sent::TooLarge);
        }
        sending.credit = sending.credit.saturating_sub(1);
        sending.delivery_count = sending.delivery_count.wrapping_add(1);
        sending.unsent = Some(Unsent { delivery_id, payload, is_started: false });
        if !sending.settled {
            session.unsettled.push_back(Unsettled { delivery_id, link: id, token });
        }
        Ok(Sent::Started)
    }

    /// Puts the transfers of started messages, as far as the client's windows go.
    pub fn continue_sending(&mut self, out: &mut FrameWriter<'_>) -> Result<(), EncodeError> {
        self.sessions.iter_mut().try_for_each(|session| session.continue_sending(out))
    }
}

impl Session {
    fn continue_sending(&mut self, out: &mut FrameWriter<'_>) -> Result<(), EncodeError> {
        for index in 0..self.links.len() {
            while self.outgoing_window > 0 {
                let link = &mut self.links[index];
                let LinkState::Sending(sending) = &mut link.state else { break };
                let Some(transfer) = sending.next_transfer(link.handle, out.max_frame()) else { break };
                out.put(self.channel, Performative::Transfer(transfer))?;
                self.count_outgoing();
            }
        }
        Ok(())
    }
}

impl Sending {
    /// Takes the next transfer of the message that is being sent.
    fn next_transfer(&mut self, handle: u32, max_frame: usize) -> Option<Transfer> {
        let unsent = self.unsent.as_mut()?;
        let is_first = !std::mem::replace(&mut unsent.is_started, true);
        let size = unsent.payload.remaining().min(max_frame.saturating_sub(transfer_overhead()));
        let payload = unsent.payload.split_to(size);
        let more = unsent.payload.has_remaining();
        let tag = Bytes::copy_from_slice(&unsent.delivery_id.to_be_bytes());
        let transfer = Transfer {
            handle,
            delivery_id: is_first.then_some(unsent.delivery_id),
            delivery_tag: is_first.then_some(tag),
            message_format: is_first.then_some(0),
            settled: Some(self.settled),
            more,
            state: None,
            resume: false,
            aborted: false,
            payload,
        };
        if !more {
            self.unsent = None;
        }
        Some(transfer)
    }
}

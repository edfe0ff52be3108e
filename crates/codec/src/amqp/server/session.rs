//! One session: its windows and its links (§2.5).

use std::collections::VecDeque;

use super::{
    FrameWriter, LinkId,
    link::{Link, LinkState},
};
use crate::amqp::{Begin, EncodeError, Flow, LinkFlow, Performative};

/// Transfers that a client may send before it receives another flow.
const INCOMING_WINDOW: u32 = 2048;

const FIRST_OUTGOING_ID: u32 = 0;

/// A session. The client chose its channel and the handles of its links; the server uses the same numbers.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) channel: u16,
    /// The ID of the next transfer from the client.
    next_incoming_id: u32,
    /// Transfers that the client may still send.
    incoming_window: u32,
    /// The ID of the next transfer to the client.
    next_outgoing_id: u32,
    /// Transfers that the client still takes.
    pub(super) outgoing_window: u32,
    next_delivery_id: u32,
    pub(super) links: Vec<Link>,
    /// Deliveries to the client that it has not settled.
    pub(super) unsettled: VecDeque<Unsettled>,
}

/// A delivery to the client that it has not settled.
#[derive(Debug)]
pub(super) struct Unsettled {
    pub(super) delivery_id: u32,
    pub(super) link: LinkId,
    pub(super) token: u64,
}

impl Session {
    /// Begins a session; returns it and the server's begin.
    pub(super) fn begin(channel: u16, begin: &Begin, handle_max: u32) -> (Session, Begin) {
        let session = Session {
            channel,
            next_incoming_id: begin.next_outgoing_id,
            incoming_window: INCOMING_WINDOW,
            next_outgoing_id: FIRST_OUTGOING_ID,
            outgoing_window: begin.incoming_window,
            next_delivery_id: 0,
            links: Vec::new(),
            unsettled: VecDeque::new(),
        };
        let answer = Begin {
            remote_channel: Some(channel),
            next_outgoing_id: FIRST_OUTGOING_ID,
            incoming_window: INCOMING_WINDOW,
            outgoing_window: u32::MAX,
            handle_max,
        };
        (session, answer)
    }

    pub(super) fn link(&mut self, handle: u32) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.handle == handle)
    }

    /// Counts a transfer from the client; returns whether the window allowed it.
    pub(super) fn count_incoming(&mut self) -> bool {
        self.next_incoming_id = self.next_incoming_id.wrapping_add(1);
        let Some(left) = self.incoming_window.checked_sub(1) else { return false };
        self.incoming_window = left;
        true
    }

    /// Opens the window again before the client uses it up. Transfers are not buffered, so the window is a formality: what bounds
    /// the client is the links' credit and the limit on messages.
    pub(super) fn refresh_window(&mut self, out: &mut FrameWriter<'_>) -> Result<(), EncodeError> {
        if self.incoming_window > INCOMING_WINDOW / 2 {
            return Ok(());
        }
        self.incoming_window = INCOMING_WINDOW;
        self.put_flow(None, out)
    }

    /// Counts a transfer to the client.
    pub(super) fn count_outgoing(&mut self) {
        self.next_outgoing_id = self.next_outgoing_id.wrapping_add(1);
        self.outgoing_window = self.outgoing_window.saturating_sub(1);
    }

    pub(super) fn next_delivery_id(&mut self) -> u32 {
        let id = self.next_delivery_id;
        self.next_delivery_id = id.wrapping_add(1);
        id
    }

    /// Applies the client's window, which counts from the last transfer that the client has received (§2.5.6).
    pub(super) fn update_window(&mut self, flow: &Flow) {
        let from = flow.next_incoming_id.unwrap_or(FIRST_OUTGOING_ID);
        self.outgoing_window = remaining(from, flow.incoming_window, self.next_outgoing_id);
    }

    /// Puts the flow state of the session, and of one of its links.
    pub(super) fn put_flow(
        &self,
        link: Option<LinkFlow>,
        out: &mut FrameWriter<'_>,
    ) -> Result<(), EncodeError> {
        let flow = Flow {
            next_incoming_id: Some(self.next_incoming_id),
            incoming_window: self.incoming_window,
            next_outgoing_id: self.next_outgoing_id,
            outgoing_window: u32::MAX,
            link,
            echo: false,
        };
        out.put(self.channel, Performative::Flow(flow))
    }

    /// Returns the flow state of a link.
    pub(super) fn link_flow(&self, handle: u32) -> Option<LinkFlow> {
        let link = self.links.iter().find(|link| link.handle == handle)?;
        let (delivery_count, credit) = match &link.state {
            LinkState::Detached => return None,
            LinkState::Receiving(receiving) => (receiving.delivery_count, receiving.credit),
            LinkState::Sending(sending) => (sending.delivery_count, sending.credit),
        };
        Some(LinkFlow {
            handle,
            delivery_count: Some(delivery_count),
            link_credit: Some(credit),
            ..LinkFlow::default()
        })
    }
}

/// Returns what is left of `granted`, counted from number `from`, when `next` is the next number. Numbers wrap (RFC 1982).
pub(super) fn remaining(from: u32, granted: u32, next: u32) -> u32 {
    let used = next.wrapping_sub(from);
    granted.saturating_sub(used)
}

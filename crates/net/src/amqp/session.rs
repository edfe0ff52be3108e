//! One session: its windows and its links.

use std::collections::VecDeque;

use codec::amqp::{Begin, Flow, LinkFlow, Performative};

use super::endpoint::LinkId;
use super::frames::{End, Output};
use super::link::{Link, LinkState};

/// A session. The client chose its channel and the handles of its links; we use the same numbers.
pub(super) struct Session {
    pub(super) channel: u16,
    /// The number of the next transfer from the client.
    next_incoming_id: u32,
    /// Transfers that the client may still send.
    incoming_window: u32,
    /// The number of our next transfer.
    next_outgoing_id: u32,
    /// Transfers that the client still takes.
    pub(super) outgoing_window: u32,
    next_delivery_id: u32,
    pub(super) links: Vec<Link>,
    /// Deliveries to the client that it has not settled.
    pub(super) unsettled: VecDeque<Unsettled>,
}

/// A delivery to the client that it has not settled.
pub(super) struct Unsettled {
    pub(super) delivery_id: u32,
    pub(super) link: LinkId,
    pub(super) token: u64,
}

impl Session {
    /// The session that the client begins, and our answer.
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

    /// The client sent a transfer. `false` when it had no right to.
    pub(super) fn count_incoming(&mut self) -> bool {
        self.next_incoming_id = self.next_incoming_id.wrapping_add(1);
        let Some(left) = self.incoming_window.checked_sub(1) else { return false };
        self.incoming_window = left;
        true
    }

    /// Opens the window again before the client runs into its end. Transfers are not kept, so that the window is a
    /// formality: links' credit and the bound on messages are what counts.
    pub(super) fn refresh_window(&mut self, out: &mut Output<'_>) -> Result<(), End> {
        if self.incoming_window > INCOMING_WINDOW / 2 {
            return Ok(());
        }
        self.incoming_window = INCOMING_WINDOW;
        self.put_flow(None, out)
    }

    /// We send a transfer.
    pub(super) fn count_outgoing(&mut self) {
        self.next_outgoing_id = self.next_outgoing_id.wrapping_add(1);
        self.outgoing_window = self.outgoing_window.saturating_sub(1);
    }

    pub(super) fn next_delivery_id(&mut self) -> u32 {
        let id = self.next_delivery_id;
        self.next_delivery_id = id.wrapping_add(1);
        id
    }

    /// The client says how many transfers it takes, counted from the last one that it knows of (§2.5.6).
    pub(super) fn flow(&mut self, flow: &Flow) {
        let from = flow.next_incoming_id.unwrap_or(FIRST_OUTGOING_ID);
        self.outgoing_window = remaining(from, flow.incoming_window, self.next_outgoing_id);
    }

    /// Tells how the session stands, and one of its links.
    pub(super) fn put_flow(&self, link: Option<LinkFlow>, out: &mut Output<'_>) -> Result<(), End> {
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

    /// How a link stands.
    pub(super) fn link_flow(&self, handle: u32) -> Option<LinkFlow> {
        let link = self.links.iter().find(|link| link.handle == handle)?;
        let (delivery_count, credit) = match &link.flow {
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

/// What is left of `granted` from number `from` on, when `next` comes next. Numbers wrap (RFC 1982).
pub(super) fn remaining(from: u32, granted: u32, next: u32) -> u32 {
    let used = next.wrapping_sub(from);
    granted.saturating_sub(used)
}

/// Transfers that a client may send before it hears of us again.
const INCOMING_WINDOW: u32 = 2048;

const FIRST_OUTGOING_ID: u32 = 0;

//! All sessions and links of one connection: what clients do with them, but for sending messages.

use std::{collections::VecDeque, time::Instant};

use super::{
    Delivery, FrameWriter, LinkId, LinkRequest, ServerError, Settled,
    link::{Link, LinkState, answer},
    session::{Session, remaining},
};
use crate::amqp::{
    AmqpError, Attach, Begin, DeliveryState, Detach, Disposition, EncodeError, End, Flow, Frame, LinkFlow,
    Performative, Role, condition,
};

/// Bounds of the sessions and links of one connection.
#[derive(Debug, Clone)]
pub struct SessionLimits {
    /// Sessions at once.
    pub sessions: u16,
    /// Links at once, over all sessions.
    pub links: u32,
    /// Messages that the client may send over a link before one of them is settled.
    pub credit: u32,
    /// Messages to the client that it has not settled, in one session.
    pub unsettled: usize,
    /// Bytes of a message from the client, as attaches announce it.
    pub max_message: usize,
}

/// The sessions and links of one connection.
#[derive(Debug)]
pub struct Sessions {
    pub(super) limits: SessionLimits,
    pub(super) sessions: Vec<Session>,
    last_link: u32,
}

/// What a frame from the client amounts to.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "messages are the common case, and boxing them costs an allocation each"
)]
pub enum SessionEvent {
    /// The client attaches a link; answered with [`Sessions::answer_attach`].
    Attach(Box<PendingAttach>),
    /// The client closes the connection.
    Close(Option<AmqpError>),
    /// The client detached these links, or ended their session.
    Detached(Vec<LinkId>),
    /// A whole message arrived; answered with [`Sessions::answer`].
    Message(Delivery),
    /// The client settled these messages.
    Settled(Vec<Settled>),
    /// The link was detached, because its message is longer than is allowed now.
    TooLarge(LinkId),
}

/// A link that the client wants to attach.
#[derive(Debug)]
pub struct PendingAttach {
    request: LinkRequest,
    channel: u16,
    attach: Attach,
}

impl PendingAttach {
    /// Returns what the client asks for.
    pub fn request(&self) -> &LinkRequest {
        &self.request
    }
}

impl Sessions {
    /// Begins without any session.
    pub fn new(limits: SessionLimits) -> Sessions {
        Sessions { limits, sessions: Vec::new(), last_link: 0 }
    }

    /// Handles a frame that came at `now`. Messages that are not complete may have `max_partial_bytes` together.
    pub fn handle(
        &mut self,
        frame: Frame,
        (now, max_partial_bytes): (Instant, usize),
        out: &mut FrameWriter<'_>,
    ) -> Result<Option<SessionEvent>, ServerError> {
        let Frame { channel, performative } = frame;
        let Some(performative) = performative else { return Ok(None) }; // keeps the connection alive
        match performative {
            Performative::Attach(attach) => Ok(Some(self.attach(channel, attach)?)),
            Performative::Begin(begin) => self.begin(channel, &begin, out).map(|()| None),
            Performative::Close(close) => Ok(Some(SessionEvent::Close(close.error))),
            Performative::Detach(detach) => self.client_detach(channel, &detach, out),
            Performative::Disposition(disposition) => self.disposition(channel, &disposition, out),
            Performative::End(_) => Ok(Some(self.end(channel, out)?)),
            Performative::Flow(flow) => self.flow(channel, &flow, out).map(|()| None),
            Performative::Open(_) => Err(ServerError::violation(condition::NOT_ALLOWED, "a second open")),
            Performative::Transfer(transfer) => {
                self.transfer(channel, transfer, (now, max_partial_bytes), out)
            }
        }
    }

    /// Answers a request to attach a link; with an error the link is refused, and the connection continues.
    pub fn answer_attach(
        &mut self,
        pending: PendingAttach,
        refusal: Option<AmqpError>,
        out: &mut FrameWriter<'_>,
    ) -> Result<(), ServerError> {
        let PendingAttach { request, channel, attach } = pending;
        let state = if refusal.is_some() { LinkState::Detached } else { LinkState::of(&attach) };
        let handle = attach.handle;
        let answer = answer(attach, self.limits.max_message, refusal.as_ref());
        out.put(channel, Performative::Attach(answer))?;
        self.session(channel)?.links.push(Link { id: request.id, handle, state });
        match refusal {
            Some(error) => {
                let detach = Detach { handle, closed: true, error: Some(error) };
                Ok(out.put(channel, Performative::Detach(detach))?)
            }
            None => self.grant_credit(channel, handle, out),
        }
    }

    /// Detaches a link with an error; the client's answer is awaited. Returns whether the link was attached.
    pub fn detach(
        &mut self,
        id: LinkId,
        error: AmqpError,
        out: &mut FrameWriter<'_>,
    ) -> Result<bool, ServerError> {
        let Some((session, link)) = self.position(id) else { return Ok(false) };
        let session = &mut self.sessions[session];
        let link = &mut session.links[link];
        link.state = LinkState::Detached;
        session.unsettled.retain(|delivery| delivery.link != id);
        let detach = Detach { handle: link.handle, closed: true, error: Some(error) };
        out.put(session.channel, Performative::Detach(detach))?;
        Ok(true)
    }

    /// Ends every session with an error, before the connection is closed.
    pub fn end_all(&self, error: &AmqpError, out: &mut FrameWriter<'_>) -> Result<(), EncodeError> {
        self.sessions.iter().try_for_each(|session| {
            out.put(session.channel, Performative::End(End { error: Some(error.clone()) }))
        })
    }

    pub(super) fn session(&mut self, channel: u16) -> Result<&mut Session, ServerError> {
        let session = self.sessions.iter_mut().find(|session| session.channel == channel);
        session.ok_or(ServerError::violation(condition::NOT_ALLOWED, "no session has this channel"))
    }

    /// Returns the indexes of a link that is not detached, and of its session.
    pub(super) fn position(&self, id: LinkId) -> Option<(usize, usize)> {
        let is_it = |link: &Link| link.id == id && !link.is_detached();
        self.sessions
            .iter()
            .enumerate()
            .find_map(|(index, session)| session.links.iter().position(is_it).map(|link| (index, link)))
    }

    fn begin(&mut self, channel: u16, begin: &Begin, out: &mut FrameWriter<'_>) -> Result<(), ServerError> {
        if self.session(channel).is_ok() || begin.remote_channel.is_some() {
            return Err(ServerError::violation(
                condition::NOT_ALLOWED,
                "a begin on a channel that is in use",
            ));
        }
        if channel >= self.limits.sessions {
            return Err(ServerError::violation(condition::NOT_ALLOWED, "a channel beyond channel-max"));
        }
        let (session, answer) = Session::begin(channel, begin, self.limits.links.saturating_sub(1));
        self.sessions.push(session);
        Ok(out.put(channel, Performative::Begin(answer))?)
    }

    fn end(&mut self, channel: u16, out: &mut FrameWriter<'_>) -> Result<SessionEvent, ServerError> {
        self.session(channel)?;
        out.put(channel, Performative::End(End { error: None }))?;
        let index = self.sessions.iter().position(|session| session.channel == channel);
        let links = index.map(|index| self.sessions.swap_remove(index).links).unwrap_or_default();
        let attached = links.iter().filter(|link| !link.is_detached());
        Ok(SessionEvent::Detached(attached.map(|link| link.id).collect()))
    }

    fn attach(&mut self, channel: u16, attach: Attach) -> Result<SessionEvent, ServerError> {
        let links: usize = self.sessions.iter().map(|session| session.links.len()).sum();
        let limit = self.limits.links;
        if self.session(channel)?.link(attach.handle).is_some() {
            return Err(ServerError::violation(condition::HANDLE_IN_USE, "the handle has a link"));
        }
        if attach.handle >= limit || links >= limit as usize {
            return Err(ServerError::violation(condition::RESOURCE_LIMIT_EXCEEDED, "too many links"));
        }
        self.last_link = self.last_link.wrapping_add(1);
        let request = LinkRequest::of(LinkId(self.last_link), &attach);
        Ok(SessionEvent::Attach(Box::new(PendingAttach { request, channel, attach })))
    }

    fn client_detach(
        &mut self,
        channel: u16,
        detach: &Detach,
        out: &mut FrameWriter<'_>,
    ) -> Result<Option<SessionEvent>, ServerError> {
        let session = self.session(channel)?;
        let Some(index) = session.links.iter().position(|link| link.handle == detach.handle) else {
            return Err(unattached());
        };
        let link = session.links.swap_remove(index);
        if link.is_detached() {
            return Ok(None); // the answer to the server's own
        }
        session.unsettled.retain(|delivery| delivery.link != link.id);
        let answer = Detach { handle: detach.handle, closed: detach.closed, error: None };
        out.put(channel, Performative::Detach(answer))?;
        Ok(Some(SessionEvent::Detached(vec![link.id])))
    }

    fn flow(&mut self, channel: u16, flow: &Flow, out: &mut FrameWriter<'_>) -> Result<(), ServerError> {
        let session = self.session(channel)?;
        session.update_window(flow);
        let Some(link_flow) = flow.link else {
            return if flow.echo { Ok(session.put_flow(None, out)?) } else { Ok(()) };
        };
        let link = session.link(link_flow.handle).ok_or_else(unattached)?;
        let is_drained = match &mut link.state {
            LinkState::Sending(sending) => {
                if let Some(granted) = link_flow.link_credit {
                    let from = link_flow.delivery_count.unwrap_or(0);
                    sending.credit = remaining(from, granted, sending.delivery_count);
                }
                sending.drain |= link_flow.drain;
                link_flow.drain
            }
            LinkState::Detached | LinkState::Receiving(_) => false,
        };
        if flow.echo && !is_drained {
            session.put_flow(session.link_flow(link_flow.handle), out)?;
        }
        Ok(())
    }

    /// Gives back what credit remains to the clients that asked for it, once everything is sent that may be.
    pub fn return_credit(&mut self, out: &mut FrameWriter<'_>) -> Result<(), ServerError> {
        for session in &mut self.sessions {
            while let Some(handle) = session.links.iter_mut().find_map(Link::take_drained) {
                let flow = session.link_flow(handle).map(|flow| LinkFlow { drain: true, ..flow });
                session.put_flow(flow, out)?;
            }
        }
        Ok(())
    }

    fn disposition(
        &mut self,
        channel: u16,
        disposition: &Disposition,
        out: &mut FrameWriter<'_>,
    ) -> Result<Option<SessionEvent>, ServerError> {
        let session = self.session(channel)?;
        let is_final = disposition.state.as_ref().is_some_and(DeliveryState::is_final);
        if disposition.role == Role::Sender || !(is_final || disposition.settled) {
            return Ok(None); // the server settles what the client sends
        }
        let first = disposition.first;
        let count = disposition.last.unwrap_or(first).wrapping_sub(first);
        let is_covered = |id: u32| id.wrapping_sub(first) <= count;
        let (covered, open): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut session.unsettled)
            .into_iter()
            .partition(|delivery| is_covered(delivery.delivery_id));
        session.unsettled = open;
        let mut settled = Vec::with_capacity(covered.len());
        for delivery in covered {
            let state = disposition.state.clone().unwrap_or(DeliveryState::Accepted);
            if !disposition.settled {
                let answer = Disposition {
                    role: Role::Sender,
                    first: delivery.delivery_id,
                    last: None,
                    settled: true,
                    state: Some(state.clone()),
                };
                out.put(channel, Performative::Disposition(answer))?;
            }
            settled.push(Settled { link: delivery.link, token: delivery.token, state });
        }
        Ok(Some(SessionEvent::Settled(settled)))
    }
}

impl Link {
    /// Takes the credit that remains, if the client wants it back; returns the handle.
    fn take_drained(&mut self) -> Option<u32> {
        let LinkState::Sending(sending) = &mut self.state else { return None };
        if !std::mem::take(&mut sending.drain) {
            return None;
        }
        sending.delivery_count = sending.delivery_count.wrapping_add(sending.credit);
        sending.credit = 0;
        Some(self.handle)
    }
}

pub(super) fn unattached() -> ServerError {
    ServerError::violation(condition::UNATTACHED_HANDLE, "no link has this handle")
}

//! What clients do with sessions and links, but for sending messages.

use std::collections::VecDeque;

use codec::amqp::{
    AmqpError, Attach, Begin, DeliveryState, Detach, Disposition, End as EndFrame, Flow, LinkFlow,
    Performative, Role, SettleMode, Terminus, condition,
};

use super::driver::Client;
use super::endpoint::{Direction, LinkId, LinkRequest};
use super::frames::{End, Output};
use super::link::{Link, LinkState, Receiving, Sending};
use super::session::{Session, remaining};

impl Client {
    pub(super) fn session(&mut self, channel: u16) -> Result<&mut Session, End> {
        let session = self.sessions.iter_mut().find(|session| session.channel == channel);
        session.ok_or(End::violation(condition::NOT_ALLOWED, "no session has this channel"))
    }

    /// The session and the place in it of a link that is not detached.
    pub(super) fn position(&self, id: LinkId) -> Option<(usize, usize)> {
        let is_it = |link: &Link| link.id == id && !matches!(link.flow, LinkState::Detached);
        self.sessions
            .iter()
            .enumerate()
            .find_map(|(index, session)| session.links.iter().position(is_it).map(|link| (index, link)))
    }

    pub(super) fn begin(&mut self, channel: u16, begin: &Begin, out: &mut Output<'_>) -> Result<(), End> {
        if self.session(channel).is_ok() || begin.remote_channel.is_some() {
            return Err(End::violation(condition::NOT_ALLOWED, "a begin on a channel that is in use"));
        }
        if channel >= self.limits.sessions {
            return Err(End::violation(condition::NOT_ALLOWED, "a channel beyond channel-max"));
        }
        let (session, answer) = Session::begin(channel, begin, self.limits.links.saturating_sub(1));
        self.sessions.push(session);
        out.put(channel, Performative::Begin(answer))
    }

    pub(super) async fn end(&mut self, channel: u16, out: &mut Output<'_>) -> Result<(), End> {
        self.session(channel)?;
        if let Some(index) = self.sessions.iter().position(|session| session.channel == channel) {
            for link in self.sessions.swap_remove(index).links {
                if !matches!(link.flow, LinkState::Detached) {
                    self.connection.detached(link.id).await;
                }
            }
        }
        out.put(channel, Performative::End(EndFrame { error: None }))
    }

    pub(super) async fn attach(
        &mut self,
        channel: u16,
        attach: Attach,
        out: &mut Output<'_>,
    ) -> Result<(), End> {
        let links: usize = self.sessions.iter().map(|session| session.links.len()).sum();
        let limit = self.limits.links;
        if self.session(channel)?.link(attach.handle).is_some() {
            return Err(End::violation(condition::HANDLE_IN_USE, "the handle has a link"));
        }
        if attach.handle >= limit || links >= limit as usize {
            return Err(End::violation(condition::RESOURCE_LIMIT_EXCEEDED, "too many links"));
        }
        self.links_so_far = self.links_so_far.wrapping_add(1);
        let request = request(LinkId(self.links_so_far), &attach);
        let refusal = self.connection.attach(&request).await.err();
        let flow = if refusal.is_some() { LinkState::Detached } else { flow(&attach) };
        let handle = attach.handle;
        out.put(channel, Performative::Attach(answer(attach, self.limits.max_message, refusal.as_ref())))?;
        self.session(channel)?.links.push(Link { id: request.id, handle, flow });
        match refusal {
            Some(error) => {
                out.put(channel, Performative::Detach(Detach { handle, closed: true, error: Some(error) }))
            }
            None => self.grant(channel, handle, out),
        }
    }

    pub(super) async fn detach(
        &mut self,
        channel: u16,
        detach: &Detach,
        out: &mut Output<'_>,
    ) -> Result<(), End> {
        let session = self.session(channel)?;
        let Some(index) = session.links.iter().position(|link| link.handle == detach.handle) else {
            return Err(unattached());
        };
        let link = session.links.swap_remove(index);
        if matches!(link.flow, LinkState::Detached) {
            return Ok(()); // the answer to our own
        }
        session.unsettled.retain(|delivery| delivery.link != link.id);
        self.connection.detached(link.id).await;
        let answer = Detach { handle: detach.handle, closed: detach.closed, error: None };
        out.put(channel, Performative::Detach(answer))
    }

    /// Ends a link and tells the connection; the client's answer is awaited.
    pub(super) async fn detach_link(
        &mut self,
        id: LinkId,
        error: AmqpError,
        out: &mut Output<'_>,
    ) -> Result<(), End> {
        let Some((session, link)) = self.position(id) else { return Ok(()) };
        let session = &mut self.sessions[session];
        let link = &mut session.links[link];
        link.flow = LinkState::Detached;
        session.unsettled.retain(|delivery| delivery.link != id);
        let detach = Detach { handle: link.handle, closed: true, error: Some(error) };
        out.put(session.channel, Performative::Detach(detach))?;
        self.connection.detached(id).await;
        Ok(())
    }

    pub(super) async fn flow(&mut self, channel: u16, flow: &Flow, out: &mut Output<'_>) -> Result<(), End> {
        let session = self.session(channel)?;
        session.flow(flow);
        let Some(link_flow) = flow.link else {
            return if flow.echo { session.put_flow(None, out) } else { Ok(()) };
        };
        let link = session.link(link_flow.handle).ok_or_else(unattached)?;
        let drained = match &mut link.flow {
            LinkState::Sending(sending) => {
                if let Some(granted) = link_flow.link_credit {
                    let from = link_flow.delivery_count.unwrap_or(0);
                    sending.credit = remaining(from, granted, sending.delivery_count);
                }
                link_flow.drain
            }
            LinkState::Detached | LinkState::Receiving(_) => false,
        };
        if drained {
            self.drain(channel, link_flow.handle, out).await
        } else if flow.echo {
            let session = self.session(channel)?;
            session.put_flow(session.link_flow(link_flow.handle), out)
        } else {
            Ok(())
        }
    }

    /// Sends what there is, and gives back the credit that is left.
    async fn drain(&mut self, channel: u16, handle: u32, out: &mut Output<'_>) -> Result<(), End> {
        self.send_queued(out).await?;
        let session = self.session(channel)?;
        if let Some(Link { flow: LinkState::Sending(sending), .. }) = session.link(handle) {
            sending.delivery_count = sending.delivery_count.wrapping_add(sending.credit);
            sending.credit = 0;
        }
        let flow = session.link_flow(handle).map(|flow| LinkFlow { drain: true, ..flow });
        session.put_flow(flow, out)
    }

    pub(super) async fn disposition(
        &mut self,
        channel: u16,
        disposition: &Disposition,
        out: &mut Output<'_>,
    ) -> Result<(), End> {
        let session = self.session(channel)?;
        let is_final = disposition.state.as_ref().is_some_and(DeliveryState::is_final);
        if disposition.role == Role::Sender || !(is_final || disposition.settled) {
            return Ok(()); // we settle what the client sends ourselves
        }
        let first = disposition.first;
        let count = disposition.last.unwrap_or(first).wrapping_sub(first);
        let concerned = |id: u32| id.wrapping_sub(first) <= count;
        let (done, open): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut session.unsettled)
            .into_iter()
            .partition(|delivery| concerned(delivery.delivery_id));
        session.unsettled = open;
        for delivery in done {
            let state = disposition.state.clone().unwrap_or(DeliveryState::Accepted);
            self.connection.settled(delivery.link, delivery.token, state.clone()).await;
            if !disposition.settled {
                let answer = Disposition {
                    role: Role::Sender,
                    first: delivery.delivery_id,
                    last: None,
                    settled: true,
                    state: Some(state),
                };
                out.put(channel, Performative::Disposition(answer))?;
            }
        }
        Ok(())
    }
}

pub(super) fn unattached() -> End {
    End::violation(condition::UNATTACHED_HANDLE, "no link has this handle")
}

fn request(id: LinkId, attach: &Attach) -> LinkRequest {
    let (direction, terminus) = match attach.role {
        Role::Sender => (Direction::FromClient, &attach.target),
        Role::Receiver => (Direction::ToClient, &attach.source),
    };
    LinkRequest {
        id,
        name: attach.name.clone(),
        direction,
        address: terminus.as_ref().and_then(|terminus: &Terminus| terminus.address.clone()),
        settle_mode: attach.settle_mode,
        properties: attach.properties.clone(),
    }
}

/// How a link begins.
fn flow(attach: &Attach) -> LinkState {
    match attach.role {
        Role::Sender => LinkState::Receiving(Receiving {
            delivery_count: attach.initial_delivery_count.unwrap_or(0),
            credit: 0,
            unsettled: 0,
            partial: None,
        }),
        Role::Receiver => LinkState::Sending(Sending {
            delivery_count: 0,
            credit: 0,
            settled: attach.settle_mode == SettleMode::Settled,
            max_message: attach.max_message_size.filter(|bytes| *bytes > 0),
            rest: None,
        }),
    }
}

/// Our attach. One without a far end says that the link is refused (§2.6.3).
fn answer(attach: Attach, max_message: usize, refusal: Option<&AmqpError>) -> Attach {
    let far = |terminus| if refusal.is_some() { None } else { terminus };
    let (role, source, target, initial_delivery_count) = match attach.role {
        Role::Sender => (Role::Receiver, attach.source, far(attach.target), None),
        Role::Receiver => (Role::Sender, far(attach.source), attach.target, Some(0)),
    };
    Attach {
        name: attach.name,
        handle: attach.handle,
        role,
        settle_mode: attach.settle_mode,
        source,
        target,
        initial_delivery_count,
        max_message_size: u64::try_from(max_message).ok(),
        properties: codec::amqp::Entries::new(),
    }
}

//! One AMQP connection after its open: what happens between its sessions and its service.

use std::time::Duration;

use bytes::BytesMut;
use codec::amqp::{
    AmqpError, Close, Frame, Performative, condition, decode_frame,
    server::{Delivery, FrameWriter, PendingAttach, Sent, SessionEvent, SessionLimits, Sessions},
};
use tokio::time::Instant;

use super::{
    endpoint::{AmqpConnection, AmqpEndpoint, Farewell},
    login,
    outbox::{Outgoing, OutgoingQueue},
    reason::Reason,
};
use crate::{
    connection::{Buffered, ByteStream, End, IdleTimeouts, Protocol},
    limits::{AmqpLimits, Limits},
    listener_context::ListenerContext,
    peer::Peer,
    refused::Refused,
    transport::Transport,
};

/// A client that has opened its connection.
pub(crate) struct ServerConnection {
    connection: Box<dyn AmqpConnection>,
    queue: OutgoingQueue,
    sessions: Sessions,
    peer: Peer,
    idle_timeouts: IdleTimeouts,
    /// From the first byte of a message to its last.
    message_timeout: Duration,
    /// Bytes of a frame from the client.
    max_frame: usize,
    /// Bytes of a frame to the client.
    client_max_frame: usize,
    /// Bytes of incomplete messages.
    max_message: usize,
    /// The same as long as the client is unproven.
    max_unproven_message: usize,
}

impl ServerConnection {
    pub(super) fn new(
        (connection, queue): (Box<dyn AmqpConnection>, OutgoingQueue),
        peer: &Peer,
        limits: &Limits,
        (client_max_frame, heartbeat): (usize, Option<Duration>),
    ) -> ServerConnection {
        let max_message = limits.amqp.max_message;
        ServerConnection {
            connection,
            queue,
            sessions: Sessions::new(session_limits(&limits.amqp)),
            peer: peer.clone(),
            idle_timeouts: IdleTimeouts { client: limits.amqp.idle_timeout, heartbeat },
            message_timeout: limits.packet_timeout,
            max_frame: limits.amqp.max_frame,
            client_max_frame,
            max_message,
            max_unproven_message: limits.unproven.max_bytes.min(max_message),
        }
    }
}

fn session_limits(limits: &AmqpLimits) -> SessionLimits {
    let AmqpLimits { sessions, links, credit, unsettled, max_message, .. } = *limits;
    SessionLimits { sessions, links, credit, unsettled, max_message }
}

impl Protocol for ServerConnection {
    type Endpoint = dyn AmqpEndpoint;
    type Frame = Frame;
    type Reason = Reason;

    const NAME: &'static str = "AMQP";
    const FRAME: &'static str = "a frame";
    const OVER_TLS: Transport = Transport::Amqp;
    const OVER_WEBSOCKETS: Transport = Transport::AmqpWs;

    fn write_timeout(limits: &Limits) -> Duration {
        limits.amqp.write_timeout
    }

    async fn log_in<S: ByteStream>(
        stream: &mut Buffered<S>,
        peer: &Peer,
        context: &ListenerContext<dyn AmqpEndpoint>,
    ) -> Result<ServerConnection, End<Reason>> {
        Box::pin(login::log_in(stream, peer, context)).await
    }

    fn idle_timeouts(&self) -> IdleTimeouts {
        self.idle_timeouts
    }

    async fn next_frame(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, End<Reason>> {
        Ok(decode_frame(input, self.max_frame)?)
    }

    async fn handle(&mut self, frame: Frame, output: &mut BytesMut) -> Result<(), End<Reason>> {
        let max_partial_bytes = self.max_partial_bytes(&frame).await;
        let received = (Instant::now().into_std(), max_partial_bytes);
        let mut out = FrameWriter::new(output, self.client_max_frame);
        match self.sessions.handle(frame, received, &mut out)? {
            None => {}
            Some(SessionEvent::Attach(pending)) => self.attach(*pending, &mut out).await?,
            Some(SessionEvent::Close(error)) => return Err(Reason::ClosedByClient(error).into()),
            Some(SessionEvent::Detached(links)) => {
                for link in links {
                    self.connection.detached(link).await;
                }
            }
            Some(SessionEvent::Message(delivery)) => self.deliver(delivery, &mut out).await?,
            Some(SessionEvent::Settled(messages)) => {
                for message in messages {
                    self.connection.settled(message.link, message.token, message.state).await;
                }
            }
            Some(SessionEvent::TooLarge(link)) => {
                self.peer.refuse(Refused::TooLarge, condition::MESSAGE_SIZE_EXCEEDED).await;
                self.connection.detached(link).await;
            }
        }
        Ok(())
    }

    async fn send_queued(&mut self, output: &mut BytesMut) -> Result<(), End<Reason>> {
        let mut out = FrameWriter::new(output, self.client_max_frame);
        loop {
            self.sessions.continue_sending(&mut out)?;
            let can_send = |outgoing: &Outgoing| match outgoing {
                Outgoing::Message(link, ..) => self.sessions.can_send(*link),
                Outgoing::Detach(..) | Outgoing::Settle(..) => true,
            };
            let Some(next) = self.queue.pop_first(can_send) else { break };
            match next {
                Outgoing::Detach(link, error) => {
                    if self.sessions.detach(link, error, &mut out)? {
                        self.connection.detached(link).await;
                    }
                }
                Outgoing::Message(link, token, message) => {
                    if self.sessions.send(link, token, &message, &mut out)? == Sent::TooLarge {
                        self.connection.detached(link).await;
                    }
                }
                Outgoing::Settle(delivery, state) => self.sessions.settle(delivery, state, &mut out)?,
            }
        }
        Ok(self.sessions.return_credit(&mut out)?)
    }

    fn outbox_changed(&self) -> impl Future<Output = ()> + Send {
        self.queue.changed()
    }

    fn requested_close(&self) -> Option<Reason> {
        self.queue.close_reason().map(Reason::Closed)
    }

    fn is_busy(&self) -> bool {
        self.connection.busy()
    }

    async fn prove(&mut self) -> bool {
        self.connection.prove().await
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.sessions.oldest_partial().map(|started| Instant::from_std(started) + self.message_timeout)
    }

    /// Detaches the links whose messages take too long to arrive.
    async fn enforce_deadlines(&mut self, output: &mut BytesMut) -> Result<(), End<Reason>> {
        let Some(latest) = Instant::now().into_std().checked_sub(self.message_timeout) else { return Ok(()) };
        let text = "the message takes too long to come";
        let error = AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text);
        let mut out = FrameWriter::new(output, self.client_max_frame);
        for link in self.sessions.detach_overdue(latest, &error, &mut out)? {
            self.peer.refuse(Refused::PacketTimeout, text).await;
            self.connection.detached(link).await;
        }
        Ok(())
    }

    fn put_heartbeat(&self, output: &mut BytesMut) -> Result<(), End<Reason>> {
        Ok(FrameWriter::new(output, self.client_max_frame).put_heartbeat()?)
    }

    async fn close(&mut self, end: &End<Reason>, output: &mut BytesMut) {
        self.queue.end();
        let farewell = self.connection.farewell();
        self.connection.closed().await;
        if let Err(error) =
            self.put_close(end, farewell, &mut FrameWriter::new(output, self.client_max_frame))
        {
            tracing::debug!(%error, "the client does not learn why its connection is closed");
        }
    }
}

impl ServerConnection {
    async fn attach(&mut self, pending: PendingAttach, out: &mut FrameWriter<'_>) -> Result<(), End<Reason>> {
        let refusal = self.connection.attach(pending.request()).await.err();
        Ok(self.sessions.answer_attach(pending, refusal, out)?)
    }

    async fn deliver(&mut self, delivery: Delivery, out: &mut FrameWriter<'_>) -> Result<(), End<Reason>> {
        let id = delivery.id;
        let verdict = self.connection.message(delivery).await.map_err(Reason::Closed)?;
        Ok(self.sessions.answer(id, verdict, out)?)
    }

    /// Returns how many bytes incomplete messages may have together. An unproven client that needs more than it may have is
    /// asked for its proof.
    async fn max_partial_bytes(&mut self, frame: &Frame) -> usize {
        let Some(Performative::Transfer(transfer)) = &frame.performative else { return 0 };
        let standing = self.peer.standing.clone();
        let needed = self.sessions.partial_bytes() + transfer.payload.len();
        if needed > self.max_unproven_message && !standing.may_send_large() && self.connection.prove().await {
            standing.permit_large();
        }
        if standing.may_send_large() { self.max_message } else { self.max_unproven_message }
    }

    /// Puts the last frames, unless the connection is broken.
    fn put_close(
        &self,
        end: &End<Reason>,
        farewell: Farewell,
        out: &mut FrameWriter<'_>,
    ) -> Result<(), codec::amqp::EncodeError> {
        let error = match (end, farewell) {
            (End::Broken(_), _) => return Ok(()),
            (End::Shutdown, Farewell::EndSessions) => {
                let error = AmqpError::new(condition::DETACH_FORCED, "the server is shutting down");
                self.sessions.end_all(&error, out)?;
                None
            }
            _ => Reason::error_for_client(end),
        };
        out.put(0, Performative::Close(Close { error }))
    }
}

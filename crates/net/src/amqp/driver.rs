//! One AMQP connection, from the first byte to close.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use codec::amqp::{AmqpError, Close, Frame, Performative, condition};
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

use super::endpoint::{AmqpConnection, AmqpEndpoint, Farewell};
use super::frames::{End, Frames, Output};
use super::login::{Admitted, welcome};
use super::outbox::Queued;
use super::session::Session;
use crate::limits::{AmqpLimits, Limits};
use crate::listener_context::ListenerContext;
use crate::peer::Peer;

/// Runs one connection to its end, over any byte stream.
pub async fn drive<S>(stream: S, peer: Peer, context: ListenerContext<dyn AmqpEndpoint>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut frames = Frames::new(stream, &context.limits);
    let end = match Box::pin(welcome(&mut frames, &peer, &context)).await {
        Ok(admitted) => run(admitted, &mut frames, &peer, &context).await,
        Err(end) => end,
    };
    if matches!(end, End::Refused { .. }) {
        peer.standing.count_refusal();
    }
    match end.refused() {
        Some(reason) => peer.refuse(reason, &end).await,
        None => tracing::debug!(peer.addr = %peer.addr, reason = %end, "AMQP connection ended"),
    }
    frames.finish().await;
}

/// A client that is let in.
pub(super) struct Client {
    pub(super) connection: Box<dyn AmqpConnection>,
    pub(super) queued: Queued,
    pub(super) sessions: Vec<Session>,
    pub(super) links_so_far: u32,
    pub(super) limits: AmqpLimits,
    pub(super) peer: Peer,
    /// Bytes of unfinished messages as long as the client is unproven.
    pub(super) max_unproven_bytes: usize,
}

/// Serves the client, then tells the connection, even when one of its methods panics.
async fn run<S>(
    admitted: Admitted,
    frames: &mut Frames<S>,
    peer: &Peer,
    context: &ListenerContext<dyn AmqpEndpoint>,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Admitted { connection, queued, heartbeat } = admitted;
    let mut client = Client {
        connection,
        queued,
        sessions: Vec::new(),
        links_so_far: 0,
        limits: context.limits.amqp.clone(),
        peer: peer.clone(),
        max_unproven_bytes: context.limits.unproven.max_bytes,
    };
    let served = AssertUnwindSafe(client.serve(frames, context, heartbeat)).catch_unwind().await;
    client.queued.end();
    let farewell = client.connection.farewell();
    client.connection.closed().await;
    let end = match served {
        Ok(Ok(())) => End::Shutdown,
        Ok(Err(end)) => end,
        Err(_) => {
            tracing::error!("an AMQP connection's code panicked");
            End::Panicked
        }
    };
    if let Err(error) = client.take_leave(&end, farewell, &mut frames.output()) {
        tracing::debug!(%error, "the client is not told why");
    }
    end
}

impl Client {
    /// Until something ends the connection; `Ok` means that it was served out after a shutdown signal.
    async fn serve<S>(
        &mut self,
        frames: &mut Frames<S>,
        context: &ListenerContext<dyn AmqpEndpoint>,
        heartbeat: Option<Duration>,
    ) -> Result<(), End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let packet_timeout = context.limits.packet_timeout;
        let mut quiet = IdleTimer::new(&context.limits, heartbeat);
        let mut timer = pin!(sleep_until(quiet.next()));
        let mut shutdown = pin!(context.shutdown.cancelled());
        loop {
            // Who is to be closed is not heard any more, whatever has arrived.
            while self.queued.closing().is_none()
                && let Some(frame) = frames.decoded()?
            {
                quiet.heard = Instant::now();
                self.take(frame, &mut frames.output()).await?;
                self.send_queued(&mut frames.output()).await?;
                frames.flush_if_large().await?;
            }
            self.send_queued(&mut frames.output()).await?;
            if frames.has_output() {
                quiet.said = Instant::now();
                frames.flush().await?;
            }
            if let Some(error) = self.queued.closing() {
                return Err(End::Closed(error));
            }
            if quiet.ending.is_some() && !self.connection.busy() {
                return Ok(());
            }
            quiet.message = self.oldest_partial().map(|since| since + packet_timeout);
            if quiet.message.is_some_and(|due| due < timer.deadline()) {
                timer.as_mut().reset(quiet.next());
            }
            tokio::select! {
                biased;
                // First, so that a client that never stops sending cannot put it off.
                () = shutdown.as_mut(), if quiet.ending.is_none() => {
                    quiet.ending = Some(Instant::now() + context.limits.shutdown_grace);
                    timer.as_mut().reset(quiet.next());
                }
                filled = frames.fill() => filled?,
                () = self.queued.news() => {}
                () = timer.as_mut() => {
                    // Set anew only here, not with each frame: moving a timer costs more than a late look at the clock.
                    if quiet.is_over() {
                        return Err(End::TimedOut("a frame"));
                    }
                    if quiet.wants_heartbeat() {
                        frames.put_heartbeat()?;
                    }
                    self.detach_overdue(packet_timeout, &mut frames.output()).await?;
                    quiet.message = None;
                    timer.as_mut().reset(quiet.next());
                }
                () = self.peer.standing.proof_wanted() => {
                    if !self.connection.prove().await {
                        return Err(End::TooLarge);
                    }
                    self.peer.standing.permit_large();
                }
            }
        }
    }

    /// Tells the client that its connection is over, unless it is broken.
    fn take_leave(&self, end: &End, farewell: Farewell, out: &mut Output<'_>) -> Result<(), End> {
        let error = match (end, farewell) {
            (End::Broken(_), _) => return Ok(()),
            (End::Shutdown, Farewell::EndSessions) => {
                for session in &self.sessions {
                    let error = AmqpError::new(condition::DETACH_FORCED, "the server is shutting down");
                    out.put(session.channel, Performative::End(codec::amqp::End { error: Some(error) }))?;
                }
                None
            }
            _ => end.told(),
        };
        out.put(0, Performative::Close(Close { error }))
    }

    /// One frame from the client.
    async fn take(&mut self, frame: Frame, out: &mut Output<'_>) -> Result<(), End> {
        let Frame { channel, performative } = frame;
        match performative {
            None => Ok(()), // it is alive
            Some(Performative::Attach(attach)) => self.attach(channel, attach, out).await,
            Some(Performative::Begin(begin)) => self.begin(channel, &begin, out),
            Some(Performative::Close(close)) => Err(End::ClosedByClient(close.error)),
            Some(Performative::Detach(detach)) => self.detach(channel, &detach, out).await,
            Some(Performative::Disposition(disposition)) => {
                self.disposition(channel, &disposition, out).await
            }
            Some(Performative::End(_)) => self.end(channel, out).await,
            Some(Performative::Flow(flow)) => self.flow(channel, &flow, out).await,
            Some(Performative::Open(_)) => Err(End::violation(condition::NOT_ALLOWED, "a second open")),
            Some(Performative::Transfer(transfer)) => self.transfer(channel, transfer, out).await,
        }
    }
}

/// How long nothing has been heard and said.
struct IdleTimer {
    heard: Instant,
    said: Instant,
    silence: Duration,
    heartbeat: Option<Duration>,
    /// When the last transfer of a message is due at the latest.
    message: Option<Instant>,
    /// When a shutdown has no more patience.
    ending: Option<Instant>,
}

impl IdleTimer {
    fn new(limits: &Limits, heartbeat: Option<Duration>) -> IdleTimer {
        let now = Instant::now();
        IdleTimer {
            heard: now,
            said: now,
            silence: limits.amqp.idle_timeout,
            heartbeat,
            message: None,
            ending: None,
        }
    }

    /// When there is something to do if nothing happens.
    fn next(&self) -> Instant {
        let end = self.end();
        let heartbeat = self.heartbeat.map(|heartbeat| self.said + heartbeat);
        heartbeat.into_iter().chain(self.message).fold(end, Instant::min)
    }

    fn end(&self) -> Instant {
        self.ending.unwrap_or(self.heard + self.silence)
    }

    fn is_over(&self) -> bool {
        self.end() <= Instant::now()
    }

    fn wants_heartbeat(&self) -> bool {
        self.heartbeat.is_some_and(|heartbeat| self.said + heartbeat <= Instant::now())
    }
}

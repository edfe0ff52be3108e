//! What every MQTT and AMQP connection has in common: reading into a bounded buffer, deadlines, shutdown, refusals.
//!
//! [`drive`] runs a connection of any [`Protocol`]; the protocol decodes and handles its frames.

mod buffered;
mod end;
mod idle;
mod queue;

use std::{panic::AssertUnwindSafe, pin::pin, time::Duration};

use bytes::BytesMut;
use futures_util::FutureExt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until, timeout},
};

use crate::{limits::Limits, listener_context::ListenerContext, peer::Peer, transport::Transport};

use idle::IdleTimer;

pub(crate) use buffered::Buffered;
pub(crate) use end::{CloseReason, End};
pub(crate) use idle::IdleTimeouts;
pub(crate) use queue::{Queue, QueueReader, queue};

pub use queue::OutboxError;

/// The server's side of one logged-in connection, as far as it differs between protocols. Its methods neither read from nor
/// write to the stream; while one runs, nothing else happens on the connection.
pub(crate) trait Protocol: Sized + Send {
    /// Decides which clients may connect.
    type Endpoint: ?Sized + Send + Sync + 'static;
    /// The unit that is decoded at once.
    type Frame: Send;
    /// Why the protocol or its service ends a connection.
    type Reason: CloseReason;

    /// Its name in the log.
    const NAME: &'static str;
    /// How the log, and an error to the client, name the frame that did not come in time.
    const FRAME: &'static str;
    /// The transport over TLS.
    const OVER_TLS: Transport;
    /// The transport over WebSockets.
    const OVER_WEBSOCKETS: Transport;

    /// Returns how long a write to the client may take.
    fn write_timeout(limits: &Limits) -> Duration;

    /// Reads until the client is logged in. The time is bounded by [`within`].
    fn log_in<S: ByteStream>(
        stream: &mut Buffered<S>,
        peer: &Peer,
        context: &ListenerContext<Self::Endpoint>,
    ) -> impl Future<Output = Result<Self, End<Self::Reason>>> + Send;

    /// Returns how long either side may be silent.
    fn idle_timeouts(&self) -> IdleTimeouts;

    /// Takes the next complete frame out of the input.
    fn next_frame(
        &mut self,
        input: &mut BytesMut,
    ) -> impl Future<Output = Result<Option<Self::Frame>, End<Self::Reason>>> + Send;

    /// Handles a frame, and adds the answers to the output.
    fn handle(
        &mut self,
        frame: Self::Frame,
        output: &mut BytesMut,
    ) -> impl Future<Output = Result<(), End<Self::Reason>>> + Send;

    /// Adds to the output what the outbox holds and the client may receive now.
    fn send_queued(
        &mut self,
        output: &mut BytesMut,
    ) -> impl Future<Output = Result<(), End<Self::Reason>>> + Send;

    /// Waits until something is in the outbox, or its connection is to be closed.
    fn outbox_changed(&self) -> impl Future<Output = ()> + Send;

    /// Returns why the service wants the connection closed, if it does.
    fn requested_close(&self) -> Option<Self::Reason>;

    /// Returns whether the service still owes the client a reply; a graceful shutdown waits for it.
    fn is_busy(&self) -> bool;

    /// Asks the service whether the client can prove who it is now.
    fn prove(&mut self) -> impl Future<Output = bool> + Send;

    /// Returns when [`Protocol::enforce_deadlines`] has something to do.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Ends what has passed its deadline.
    fn enforce_deadlines(
        &mut self,
        _output: &mut BytesMut,
    ) -> impl Future<Output = Result<(), End<Self::Reason>>> + Send {
        async { Ok(()) }
    }

    /// Adds a frame without content to the output; called if [`IdleTimeouts::heartbeat`] is set.
    fn put_heartbeat(&self, _output: &mut BytesMut) -> Result<(), End<Self::Reason>> {
        Ok(())
    }

    /// Closes the outbox, notifies the service, and adds the final frames to the output.
    fn close(&mut self, end: &End<Self::Reason>, output: &mut BytesMut) -> impl Future<Output = ()> + Send;
}

/// The byte stream below a connection: TLS, a WebSocket, or a test's pipe.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// Runs one connection to its end.
pub(crate) async fn drive<P: Protocol, S: ByteStream>(
    stream: S,
    peer: Peer,
    context: ListenerContext<P::Endpoint>,
) {
    let limits = &context.limits;
    let mut stream = Buffered::new(stream, limits.packet_timeout, P::write_timeout(limits));
    let end = match P::log_in(&mut stream, &peer, &context).await {
        Ok(protocol) => run(protocol, &mut stream, &peer, &context).await,
        Err(end) => end,
    };
    if end.is_login_refusal() {
        peer.standing.count_refusal();
    }
    match end.refused() {
        Some(reason) => peer.refuse(reason, &end).await,
        None => {
            tracing::debug!(peer.addr = %peer.addr, protocol = P::NAME, reason = %end, "connection ended")
        }
    }
    stream.finish().await;
}

/// Waits for `login`, or for part of one, until `limit` has passed or the server shuts down. `awaited` is what the client did
/// not send in time.
pub(crate) async fn within<T, R, E: ?Sized>(
    context: &ListenerContext<E>,
    limit: Duration,
    awaited: &'static str,
    login: impl Future<Output = Result<T, End<R>>>,
) -> Result<T, End<R>> {
    tokio::select! {
        login = timeout(limit, login) => login.map_err(|_| End::LoginTimeout(awaited))?,
        () = context.shutdown.cancelled() => Err(End::Shutdown),
    }
}

/// Serves a client that is logged in, then closes its session, even when one of its methods panics.
async fn run<P: Protocol, S: ByteStream>(
    protocol: P,
    stream: &mut Buffered<S>,
    peer: &Peer,
    context: &ListenerContext<P::Endpoint>,
) -> End<P::Reason> {
    let idle = IdleTimer::new(protocol.idle_timeouts());
    let mut connection = Connection { protocol, stream, peer, idle };
    let end = match AssertUnwindSafe(connection.serve(context)).catch_unwind().await {
        Ok(Ok(())) => End::Shutdown,
        Ok(Err(end)) => end,
        Err(_) => {
            tracing::error!(protocol = P::NAME, "a session panicked");
            End::Panicked
        }
    };
    let Connection { mut protocol, stream, .. } = connection;
    protocol.close(&end, &mut stream.output).await;
    end
}

/// A connection whose client is logged in.
struct Connection<'a, P, S> {
    protocol: P,
    stream: &'a mut Buffered<S>,
    peer: &'a Peer,
    idle: IdleTimer,
}

impl<P: Protocol, S: ByteStream> Connection<'_, P, S> {
    /// Serves until something ends the connection; `Ok` means that a shutdown ended it, and nothing is owed to the client.
    async fn serve(&mut self, context: &ListenerContext<P::Endpoint>) -> Result<(), End<P::Reason>> {
        let mut timer = pin!(sleep_until(self.next_deadline()));
        let mut shutdown = pin!(context.shutdown.cancelled());
        loop {
            self.handle_input().await?;
            self.write().await?;
            if let Some(reason) = self.protocol.requested_close() {
                return Err(End::Protocol(reason));
            }
            if self.idle.is_shutting_down() && !self.protocol.is_busy() {
                return Ok(());
            }
            if self.protocol.next_deadline().is_some_and(|due| due < timer.deadline()) {
                timer.as_mut().reset(self.next_deadline());
            }
            tokio::select! {
                biased;
                // First, so that a client that never stops sending cannot delay it.
                () = shutdown.as_mut(), if !self.idle.is_shutting_down() => {
                    self.idle.shut_down(context.limits.shutdown_grace);
                    timer.as_mut().reset(self.next_deadline());
                }
                filled = self.stream.fill() => filled?,
                () = self.protocol.outbox_changed() => {}
                () = self.peer.standing.proof_wanted() => self.prove().await?,
                () = timer.as_mut() => {
                    self.enforce_deadlines().await?;
                    // Only here, not with each frame: moving a timer costs more than a late look at the clock.
                    timer.as_mut().reset(self.next_deadline());
                }
            }
        }
    }

    /// Handles the frames that have arrived completely. Once the service wants the connection closed, further input is ignored.
    async fn handle_input(&mut self) -> Result<(), End<P::Reason>> {
        while self.protocol.requested_close().is_none()
            && let Some(frame) = self.protocol.next_frame(&mut self.stream.input).await?
        {
            self.stream.mark_frame_complete();
            self.idle.mark_received();
            self.protocol.handle(frame, &mut self.stream.output).await?;
            self.protocol.send_queued(&mut self.stream.output).await?;
            self.stream.flush_if_large().await?;
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), End<P::Reason>> {
        self.protocol.send_queued(&mut self.stream.output).await?;
        if !self.stream.output.is_empty() {
            self.idle.mark_sent();
            self.stream.flush().await?;
        }
        Ok(())
    }

    /// Lets the client send messages of full size if it can prove who it is.
    async fn prove(&mut self) -> Result<(), End<P::Reason>> {
        if !self.protocol.prove().await {
            return Err(End::TooLarge);
        }
        self.peer.standing.permit_large();
        Ok(())
    }

    fn next_deadline(&self) -> Instant {
        self.protocol.next_deadline().into_iter().fold(self.idle.next_deadline(), Instant::min)
    }

    /// Ends an idle connection, sends a heartbeat when one is due, and has the protocol end what has passed its deadline.
    async fn enforce_deadlines(&mut self) -> Result<(), End<P::Reason>> {
        if self.idle.is_expired() {
            return Err(End::IdleTimeout(P::FRAME));
        }
        if self.idle.is_heartbeat_due() {
            self.protocol.put_heartbeat(&mut self.stream.output)?;
        }
        self.protocol.enforce_deadlines(&mut self.stream.output).await
    }
}

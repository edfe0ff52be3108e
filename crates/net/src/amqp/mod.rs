//! The server side of AMQP 1.0 connections.
//!
//! An [`AmqpEndpoint`] admits clients: through SASL, in as many steps as the mechanism takes, or without it, by their TLS
//! certificate alone. It returns an [`AmqpConnection`], which handles what the client does: it attaches links, and sends
//! messages over them. Messages to the client go through its [`Outbox`], from any task. [`drive`] runs one connection over
//! any byte stream; [`serve_amqp`] runs a TLS listener with it.
//!
//! The protocol itself is a state machine without IO, [`codec::amqp::server`]: it enforces the bounds on sessions, links,
//! messages and unsettled deliveries, grants credit, and puts messages together. Here are the parts that wait: for bytes, for
//! the endpoint's decisions, for deadlines. A client that is silent too long, does not read, or breaks the protocol loses its
//! connection, with an error that says why.

mod connection;
mod endpoint;
mod login;
mod outbox;
mod reason;

use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::{
    connection_limiter::ConnectionLimiter,
    listener::Listener,
    listener_context::{ListenerContext, TlsListener},
    peer::Peer,
};

pub(crate) use self::connection::ServerConnection;
pub use crate::connection::OutboxError;
pub use codec::amqp::server::{Delivery, DeliveryRef, Direction, LinkId, LinkRequest, Verdict};
pub use endpoint::{AmqpConnection, AmqpEndpoint, Farewell, SaslExchange, SaslStep};
pub use outbox::Outbox;

/// Runs one connection to its end, over any byte stream.
pub async fn drive<S>(stream: S, peer: Peer, context: ListenerContext<dyn AmqpEndpoint>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    crate::connection::drive::<ServerConnection, S>(stream, peer, context).await;
}

/// Serves AMQP over TLS until `shutdown`, then waits, at most for the grace period, for connections that still owe a reply.
pub async fn serve_amqp(
    listener: impl Into<Listener>,
    tls: Arc<ServerConfig>,
    endpoint: Arc<dyn AmqpEndpoint>,
    limiter: ConnectionLimiter,
    shutdown: CancellationToken,
) {
    TlsListener { listener: listener.into(), tls, endpoint, limiter, shutdown }
        .run::<ServerConnection>()
        .await;
}

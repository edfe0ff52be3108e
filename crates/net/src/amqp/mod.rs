//! The server side of AMQP 1.0 connections.
//!
//! An [`AmqpEndpoint`] lets clients in: through SASL, in as many steps as the mechanism takes, or bare, by their TLS
//! certificate alone. It returns an [`AmqpConnection`], which is told what the client does: it attaches links, and sends
//! messages over them. Messages to the client go through its [`Outbox`], from anywhere. [`drive`] runs one connection
//! over any byte stream; [`serve_amqp`] runs a TLS listener with it.
//!
//! What the driver decides itself: who is let in says so in time; frames, links, sessions, messages and unsettled
//! deliveries are bounded by [`crate::AmqpLimits`]; credit and windows are given and kept; a message in several transfers
//! is put together; a client that is silent too long, does not read, or breaks the protocol loses its connection and is
//! told why. Addresses are the connection's concern.
//!
//! What peers may not ask for: sessions that the server begins, links that are resumed, transactions.

mod driver;
mod endpoint;
mod frames;
mod link;
mod login;
mod outbox;
mod receiving;
mod sending;
mod session;
mod sessions;

use std::sync::Arc;

use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use crate::connection_limiter::ConnectionLimiter;
use crate::listener::Listener;
use crate::listener_context::TlsListener;
use crate::transport::Transport;

pub use crate::queue::OutboxError;
pub use driver::drive;
pub use endpoint::{
    AmqpConnection, AmqpEndpoint, Delivery, Direction, Farewell, LinkId, LinkRequest, SaslExchange, SaslStep,
    Verdict,
};
pub use outbox::{DeliveryRef, Outbox};

/// Serves AMQP over TLS until `shutdown`, then waits, at most for the grace period, for connections that still owe a
/// reply.
pub async fn serve_amqp(
    listener: impl Into<Listener>,
    tls: Arc<ServerConfig>,
    endpoint: Arc<dyn AmqpEndpoint>,
    limiter: ConnectionLimiter,
    shutdown: CancellationToken,
) {
    let transport = Transport::Amqp;
    let listener = listener.into();
    TlsListener { transport, listener, tls, endpoint, limiter, shutdown }.run(drive).await;
}

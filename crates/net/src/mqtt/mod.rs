//! The server side of MQTT 3.1.1 connections.
//!
//! An [`MqttEndpoint`] decides on CONNECT and returns an [`MqttSession`], which handles what the client sends. Messages to
//! the client go through its [`Outbox`], from any task. [`drive`] runs one connection over any byte stream; [`serve_mqtt`]
//! runs a TLS listener with it.
//!
//! The driver itself enforces this much: CONNECT comes first, in time and once; QoS 2 and packets that only servers send end
//! the connection; a client that is silent for one and a half keep-alives, or does not read, is disconnected. Topics, wills
//! and retained messages are left to the session.

mod connection;
mod login;
mod outbox;
mod reason;
mod session;

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

pub(crate) use self::connection::MqttConnection;
pub use crate::connection::OutboxError;
pub use outbox::{Message, Outbox};
pub use session::{Close, ConnectRefusal, MqttEndpoint, MqttSession};

/// Runs one connection to its end, over any byte stream.
pub async fn drive<S>(stream: S, peer: Peer, context: ListenerContext<dyn MqttEndpoint>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    crate::connection::drive::<MqttConnection, S>(stream, peer, context).await;
}

/// Serves MQTT over TLS until `shutdown`, then waits, at most for the grace period, for sessions that still owe a reply.
pub async fn serve_mqtt(
    listener: impl Into<Listener>,
    tls: Arc<ServerConfig>,
    endpoint: Arc<dyn MqttEndpoint>,
    limiter: ConnectionLimiter,
    shutdown: CancellationToken,
) {
    TlsListener { listener: listener.into(), tls, endpoint, limiter, shutdown }.run::<MqttConnection>().await;
}

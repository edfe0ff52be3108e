//! The server side of MQTT 3.1.1 connections.
//!
//! An [`MqttEndpoint`] decides on CONNECT and returns an [`MqttSession`], which is told what the client does.
//! Messages to the client go through its [`Outbox`], from anywhere. [`drive`] runs one connection over any
//! byte stream; [`serve_mqtt`] runs a TLS listener with it.
//!
//! What the driver decides itself: CONNECT comes first, in time and once; QoS 2
//! and packets that only servers send end the connection; a client that is silent for one and a half
//! keep-alives, or does not read, is closed. Topics, wills and retained messages are the session's concern.

mod driver;
mod frames;
mod outbox;
mod session;

use std::sync::Arc;

use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use crate::connection_limiter::ConnectionLimiter;
use crate::listener::Listener;
use crate::listener_context::TlsListener;
use crate::transport::Transport;

pub use crate::queue::OutboxError;
pub use driver::drive;
pub use outbox::{Message, Outbox};
pub use session::{Close, ConnectRefusal, MqttEndpoint, MqttSession};

/// Serves MQTT over TLS until `shutdown`, then waits, at most for the grace period, for sessions that still
/// owe a reply.
pub async fn serve_mqtt(
    listener: impl Into<Listener>,
    tls: Arc<ServerConfig>,
    endpoint: Arc<dyn MqttEndpoint>,
    limiter: ConnectionLimiter,
    shutdown: CancellationToken,
) {
    let transport = Transport::Mqtt;
    let listener = listener.into();
    TlsListener { transport, listener, tls, endpoint, limiter, shutdown }.run(drive).await;
}

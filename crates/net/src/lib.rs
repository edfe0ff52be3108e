//! Sockets: TLS, accept loops, HTTP serving, the server side of MQTT and AMQP connections, and an HTTPS client.
//!
//! Everything here is transport. The services decide who a peer is and what it may do, from the [`Peer`] that comes with every
//! connection. The resources that a peer can use are bounded here, by [`Limits`].
//!
//! * [`bind`] makes a listener; [`serve_https`], [`serve_mqtt`] and [`serve_amqp`] run it until the shutdown token
//!   is canceled; so does [`serve_http`], without TLS.
//! * A [`ConnectionLimiter`] has the limits, and gives each connection a permit; listeners that share one share its permits. A
//!   connection is unproven until a service accepts a request of it, and marks it through the peer's [`Standing`].
//! * A [`Listener`] may have proxies in front of it, which report their clients by the PROXY protocol.
//! * [`client`] dials servers and speaks HTTP to them; a [`RedirectListener`] receives the redirect of a browser at the end of a login.
//! * [`tls`] has the server and client configurations.
//! * [`mqtt`] and [`amqp`] have the traits that a server of these protocols implements, and the drivers, which run over
//!   any byte stream.
//! * [`websocket`] makes such a byte stream of a WebSocket; a [`HttpServices`] serves both over it beside its router.

mod accept;
pub mod amqp;
pub mod client;
mod connection;
mod connection_limiter;
mod connection_table;
mod deadlines;
mod descriptors;
mod https;
mod limits;
mod listener;
mod listener_context;
mod metered;
pub mod mqtt;
mod network;
mod peer;
mod proxy;
mod redirect;
mod refusal;
mod refused;
pub mod tls;
mod transport;
mod unread_body;
pub mod websocket;

pub use amqp::serve_amqp;
pub use connection_limiter::{ConnectionLimiter, Standing};
pub use connection_table::Purpose;
pub use descriptors::raise_descriptor_limit;
pub use https::{HttpServices, serve_http, serve_https};
pub use limits::{AmqpLimits, Limits, MqttLimits, Reserved, UnprovenLimits};
pub use listener::{Listener, bind};
pub use listener_context::ListenerContext;
pub use mqtt::serve_mqtt;
pub use network::network;
pub use peer::Peer;
pub use redirect::{Page, RedirectListener};
pub use refusal::{Refusal, RefusalObserver};
pub use refused::Refused;
/// The token whose cancellation begins a graceful shutdown.
pub use tokio_util::sync::CancellationToken;
pub use transport::Transport;

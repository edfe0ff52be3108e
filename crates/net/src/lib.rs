//! Sockets: TLS, accept loops, HTTP serving, the server side of MQTT and AMQP connections, and an HTTPS client.
//!
//! Everything here is transport. Who a peer is and what it may do is decided above, from the [`Peer`] that
//! comes with every connection. What a peer can cost is bounded here, by [`Limits`].
//!
//! * [`bind`] makes a listener; [`serve_https`], [`serve_mqtt`] and [`serve_amqp`] run it until the shutdown token
//!   is cancelled; so does [`serve_http`], in clear.
//! * A [`Gate`] holds the limits and the places for connections; listeners that share one share its places.
//! * [`client`] dials servers and speaks HTTP to them.
//! * [`tls`] has the server and client configurations.
//! * [`mqtt`] and [`amqp`] have the traits that a server of these protocols implements, and the drivers, which run over
//!   any byte stream.
//! * [`websocket`] makes such a byte stream of a WebSocket; a [`Site`] serves both over it beside its router.

mod accept;
pub mod amqp;
mod buffered;
pub mod client;
mod descriptors;
mod entrance;
mod https;
mod leftover;
mod limits;
pub mod mqtt;
mod peer;
mod pulse;
mod queue;
mod share;
pub mod tls;
mod transport;
pub mod websocket;

pub use accept::{Gate, bind};
pub use amqp::serve_amqp;
pub use descriptors::raise_descriptor_limit;
pub use entrance::Entrance;
pub use https::{Site, serve_http, serve_https};
pub use limits::{AmqpLimits, Limits, MqttLimits};
pub use mqtt::serve_mqtt;
pub use peer::Peer;
pub use share::{Share, Shares, network};
/// The token whose cancellation begins a graceful shutdown.
pub use tokio_util::sync::CancellationToken;
pub use transport::Transport;

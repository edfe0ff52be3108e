//! MQTT and AMQP over WebSockets (RFC 6455), for devices behind firewalls that let nothing but port 443 through.
//!
//! [`crate::HttpServices`] says on which ports it is served. The path does not matter: SDKs ask for `/$iothub/websocket`, `/mqtt`
//! or `/`, and what they want to speak stands in the subprotocol.

mod handshake;
mod stream;

pub(crate) use handshake::{accept, is_asked};
pub use stream::BinaryStream;
pub(crate) use stream::config;

//! MQTT and AMQP over WebSockets (RFC 6455), for devices behind firewalls that allow only port 443.
//!
//! Served where [`crate::HttpServices`] names an endpoint. The path does not matter: SDKs request `/$iothub/websocket`, `/mqtt` or
//! `/`, and name the protocol in the subprotocol.

mod handshake;
mod stream;

pub(crate) use handshake::{accept, is_upgrade_request};
pub use stream::BinaryStream;
pub(crate) use stream::config;

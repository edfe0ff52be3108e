//! Azure's protocols: addresses, topics, SAS tokens, and the JSON of the device API, the service API and hubs. Encodes
//! and decodes only: no sockets, no decisions. MQTT packets and AMQP frames are in `codec`.

pub mod api_version;
mod ascii;
pub mod device;
pub mod hub;
pub mod oidc;
pub mod sas;
pub mod service;
pub mod topics;

pub use ascii::{ascii_json, without_bom};

/// The maximum length of a request body at the device endpoint and the service endpoint: the message size that Azure
/// documents for its provisioning service, 96 KB.
pub const MAX_BODY_BYTES: usize = 96 * 1024;

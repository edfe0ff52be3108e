//! The forms of Azure's protocols: addresses, topics, SAS tokens, and the JSON of the device API, the service API and
//! hubs. Encodes and decodes only: no sockets, no decisions. MQTT packets and AMQP frames are in `codec`.

pub mod api_version;
mod ascii;
pub mod device;
/// Certificates, revocation lists and keys in files: the one reader, which stands in `model` because certificates are read
/// there, for crates that do not see `model`.
pub use model::encoding;
pub mod hub;
pub mod sas;
pub mod service;

pub use ascii::ascii_json;

//! What is on the wire: bytes and JSON. Encode and decode only; no sockets, no decisions.

pub mod amqp;
pub mod api_version;
mod ascii;
pub mod device;
/// Certificates, revocation lists and keys in files: the one reader, which stands in `model` because certificates are read
/// there, for crates that do not see `model`.
pub use model::encoding;
pub mod hub;
pub mod mqtt;
#[cfg(test)]
mod notation;
pub mod sas;
pub mod service;

pub use ascii::ascii_json;

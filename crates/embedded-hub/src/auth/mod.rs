//! Authentication and authorization: of services by shared access tokens, of devices by tokens or certificates.

mod admission;
mod authorizer;

pub use admission::{AdmissionError, Proof};
pub use authorizer::{AccessDenied, HubAuthorizer, admit_certificate, hex};

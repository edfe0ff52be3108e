//! The device's side of Muster: a client for the device endpoint and for hubs, and a simulator that drives many of
//! them at once.
//!
//! Everything goes through real TLS sockets, as the SDKs go: nothing here knows how the server works. So it runs
//! against any endpoint that speaks the protocol.
//!
//! * A [`Device`] has a registration ID and credentials; [`CertificateAuthority`] issues those that are certificates, a
//!   [`Tpm`] keeps those that never leave it.
//! * [`register()`] registers a device at an [`Endpoint`], each time on a new connection; [`HttpsSession`],
//!   [`MqttSession`] and [`AmqpSession`] keep theirs.
//! * [`HubClient`] connects a device to the hub it was assigned to.
//! * [`Run`] does all that for a fleet, and [`Report`] sums up what came of it.
//! * [`ServiceClient`] and [`HubRegistry`] are the operator's side, for setting the scene and checking the outcome.

mod audit;
mod authority;
mod carrier;
mod certificates;
mod clock;
mod device;
mod endpoint;
mod enrollments;
mod failure;
mod hub;
mod latency;
mod links;
mod listing;
mod mqtt;
mod operator;
mod patience;
mod percentiles;
mod progress;
mod register;
mod registrations;
mod report;
mod run;
mod tpm;
mod trust;

pub use audit::audit;
pub use authority::{AuthorityError, CertificateAuthority, self_signed};
pub use carrier::Carrier;
pub use certificates::Upload;
pub use device::{Credentials, Device};
pub use endpoint::Endpoint;
pub use enrollments::EnrollmentKind;
pub use failure::{Refusal, RegisterError, TransportError};
pub use hub::{HubClient, HubError, HubSite};
pub use links::LinkCheck;
pub use listing::Listing;
pub use net::Transport;
pub use net::tls::{Identity, IdentityError, TlsError};
pub use operator::{BulkMode, HubRegistry, OperatorError, ServiceClient};
pub use percentiles::Percentiles;
pub use progress::Progress;
pub use register::{AmqpSession, HttpsSession, MqttSession, Registered, register};
pub use report::{FailureGroup, HubShare, Report, Row};
pub use run::{ExpectedTwin, Failure, HubVisit, Landed, Member, Outcome, Run, Stage};
pub use tpm::{Tpm, TpmAddress, TpmError, TpmKeyKind};
pub use trust::Trust;

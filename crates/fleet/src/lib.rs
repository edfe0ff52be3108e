//! Clients of provisioning services and hubs: a device, an operator, and a simulator of a fleet of devices.
//!
//! Everything uses real TLS sockets, as the SDKs do, and depends on nothing of the server but the protocol. Therefore
//! it works with any endpoint that implements the protocol.
//!
//! * A [`Device`] has a registration ID and credentials: a symmetric key, a certificate of a [`CertificateAuthority`],
//!   or a [`Tpm`].
//! * [`register()`] registers a device at an [`Endpoint`], over a new connection for each call; [`HttpsSession`],
//!   [`MqttSession`] and [`AmqpSession`] reuse their connection.
//! * [`HubClient`] connects a device to its assigned hub.
//! * [`Run`] does all of this for a fleet, and [`Report`] summarizes the outcomes.
//! * A [`Provider`] is where operators log in, and a [`LoginFile`] has their tokens.
//! * [`ServiceClient`] and [`HubRegistry`] are the operator's clients, which prepare enrollments and check the
//!   outcomes.

mod audit;
mod authority;
mod carrier;
mod certificates;
mod change_log;
mod clock;
mod device;
mod endpoint;
mod enrollments;
mod failure;
mod hub;
mod import;
mod latency;
mod links;
mod listing;
mod login;
mod mqtt;
mod operator;
mod percentiles;
mod progress;
mod register;
mod registrations;
mod report;
mod resources;
mod run;
mod timeouts;
mod tpm;
mod trust;

pub use audit::audit;
pub use authority::{AuthorityError, CertificateAuthority, self_signed};
pub use carrier::Carrier;
pub use certificates::Upload;
pub use change_log::{LogFilter, LogPage};
pub use device::{Credentials, Device};
pub use endpoint::Endpoint;
pub use enrollments::EnrollmentKind;
pub use failure::{Refusal, RegisterError, TransportError};
pub use hub::{HubClient, HubEndpoint, HubError};
pub use import::{ImportError, ImportOptions, ImportReply};
pub use links::LinkCheck;
pub use listing::{Continuation, Listing, Page};
pub use login::{BrowserLogin, Login, LoginError, LoginFile, LoginSettings, Provider};
pub use net::Transport;
pub use net::tls::{Identity, IdentityError, TlsError};
pub use operator::{BulkMode, HubRegistry, OperatorError, ServiceClient};
pub use percentiles::Percentiles;
pub use progress::Progress;
pub use register::{AmqpSession, HttpsSession, MqttSession, Registered, register};
pub use registrations::AttemptSearch;
pub use report::{FailureGroup, HubShare, Report, Row};
pub use resources::ResourcePath;
pub use run::{Assignment, ExpectedTwin, Failure, HubVisit, Member, Outcome, Run, Stage};
pub use tpm::{Tpm, TpmAddress, TpmError, TpmKeyKind};
pub use trust::Trust;

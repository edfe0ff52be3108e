//! Errors of the device API: the one place that maps errors to Azure's codes.

use std::{net::IpAddr, sync::Arc, time::Duration};

use model::{AddressRefusal, IdScope, RefusalReason, RegistrationId};
use net::Peer;
use provisioning::{Error, RecordKind};
use rustls_pki_types::CertificateDer;
use tracing::field::display;
use wire::device::{DeviceAddress, ErrorBody, RequestError};

use crate::{Outcome, Ports};

/// The reason why a call fails.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CallError {
    /// `provisioning` refused it.
    #[error(transparent)]
    Refused(#[from] Error),
    /// No instance has the ID scope. The device gets 401, as with a wrong key, so that it cannot probe for ID scopes.
    #[error("there is no instance with ID scope {0}")]
    UnknownScope(String),
    /// The instance does not admit the address. The device gets no hint, as in Azure.
    #[error(transparent)]
    Address(#[from] AddressRefusal),
    /// The device polls too often.
    #[error("polls faster than the instance permits; the next one is due after {} ms", .0.as_millis())]
    Throttled(Duration),
    /// The address of the link names another registration than the login.
    #[error("the login was not for {0:?}")]
    OtherDevice(String),
    /// The `Authorization` header or MQTT password holds no token.
    #[error("token: {0}")]
    BadToken(#[from] wire::sas::SasError),
    /// The api-version is missing or malformed.
    #[error("api-version {0:?} is not a date like 2019-03-31")]
    ApiVersion(String),
    /// An ID in the address is malformed.
    #[error("{0}")]
    BadId(String),
    /// The body is malformed.
    #[error(transparent)]
    Body(#[from] RequestError),
    /// The body is too long.
    #[error("the body is longer than {} bytes", wire::MAX_BODY_BYTES)]
    TooLarge,
    /// The connection ended within the body.
    #[error("the body did not arrive: {0}")]
    Cut(String),
    /// The API has no such path.
    #[error("there is nothing at this path")]
    NoRoute,
    /// The path has another method.
    #[error("the method is not allowed here; {0} is")]
    Method(&'static str),
}

impl CallError {
    /// Whether the call was refused before `provisioning` judged it, which therefore recorded no refused attempt.
    pub(crate) fn is_before_verbs(&self) -> bool {
        match self {
            CallError::Refused(error) => matches!(error, Error::Invalid(_) | Error::QuotaExceeded { .. }),
            CallError::UnknownScope(_) | CallError::Throttled(_) => false,
            CallError::Address(_)
            | CallError::OtherDevice(_)
            | CallError::BadToken(_)
            | CallError::ApiVersion(_)
            | CallError::BadId(_)
            | CallError::Body(_)
            | CallError::TooLarge
            | CallError::Cut(_)
            | CallError::NoRoute
            | CallError::Method(_) => true,
        }
    }

    /// Returns the reason of a refused attempt.
    pub(crate) fn refusal_reason(&self) -> RefusalReason {
        match self {
            CallError::Address(_) => RefusalReason::IpFilter,
            CallError::Refused(Error::QuotaExceeded { .. }) => RefusalReason::Quota,
            CallError::BadToken(_) => RefusalReason::MalformedToken,
            CallError::OtherDevice(_) => RefusalReason::Login,
            _ => RefusalReason::BadRequest,
        }
    }

    /// Returns the outcome that it counts as.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            CallError::Address(_) => Outcome::AddressRefused,
            _ => Outcome::of_refusal(code_and_message(self).0 / 1000),
        }
    }

    /// Returns Retry-After in seconds, at least this number.
    pub(crate) fn retry_after_secs(&self, shortest: u32) -> u32 {
        match self {
            CallError::Throttled(wait) => {
                u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(shortest)
            }
            _ => shortest,
        }
    }

    /// Whether its status is 401.
    pub(crate) fn is_unauthorized(&self) -> bool {
        code_and_message(self).0 / 1000 == 401
    }
}

/// The client and registration that an error is about, for the log and for operators.
#[derive(Debug, Default)]
pub(crate) struct ErrorContext {
    /// The address of the client.
    pub(crate) from: Option<IpAddr>,
    pub(crate) scope: Option<IdScope>,
    pub(crate) registration_id: Option<RegistrationId>,
    /// The client certificates of the TLS handshake.
    pub(crate) certificates: Arc<[CertificateDer<'static>]>,
}

impl ErrorContext {
    /// Collects the client, and the registration if it has named one so far.
    pub(crate) fn new(peer: &Peer, address: Option<&DeviceAddress>) -> Self {
        ErrorContext {
            from: Some(peer.addr.ip()),
            scope: address.map(|address| address.id_scope.clone()),
            registration_id: address.map(|address| address.registration_id.clone()),
            certificates: Arc::clone(&peer.certificates),
        }
    }
}

/// Returns the error body for the device, and logs the reason under the same tracking ID.
pub(crate) fn body(error: &CallError, context: &ErrorContext, ports: &Ports) -> ErrorBody {
    let (code, message) = code_and_message(error);
    let tracking_id = tracking_id(ports);
    // Lines with the same address are summarized if there are many.
    let from = context.from.map(display);
    let scope = context.scope.as_ref().map(display);
    let id = context.registration_id.as_ref().map(display);
    if code >= 500_000 {
        tracing::error!(tracking_id, code, peer.addr = from, instance.id_scope = scope, registration.id = id, reason = %error, "request failed");
    } else {
        tracing::info!(tracking_id, code, peer.addr = from, instance.id_scope = scope, registration.id = id, reason = %error, "request refused");
    }
    ErrorBody::new(code, message, tracking_id, ports.clock.now())
}

fn code_and_message(error: &CallError) -> (u32, String) {
    match error {
        CallError::Refused(error) => match error {
            Error::Unauthorized { message, .. } => (401_002, (*message).to_owned()),
            Error::Invalid(message) => (400_002, message.clone()),
            Error::NotFound(RecordKind::Operation) => (404_203, "Operation not found.".into()),
            Error::NotFound(RecordKind::Registration) => (404_201, "Registration not found.".into()),
            Error::NotFound(kind) => (404_000, format!("{kind} not found")),
            Error::Exists(_)
            | Error::Conflict(_)
            | Error::PreconditionFailed(_)
            | Error::NothingToReplace(_) => (409_203, "Precondition failed.".into()),
            Error::QuotaExceeded { .. } => {
                (429_001, "The service has as many devices as it may have; ask its operator.".into())
            }
            Error::Busy | Error::Fenced => (429_001, "The service is busy; try again later.".into()),
            Error::Unwritable(_) => {
                (503_000, "The service cannot store anything now; try again later.".into())
            }
            // Not 500: the device asks again, and is let in once the record is repaired.
            Error::Damaged(_) => {
                (503_001, "What the service knows of this device is damaged; ask its operator.".into())
            }
            Error::Broken(_) => (500_000, "Internal server error.".into()),
        },
        CallError::UnknownScope(_)
        | CallError::Address(_)
        | CallError::OtherDevice(_)
        | CallError::BadToken(_) => (401_002, "Unauthorized".into()),
        CallError::Throttled(_) => {
            (429_000, "The device polls too often; wait for the time of Retry-After.".into())
        }
        CallError::ApiVersion(_) => (400_001, error.to_string()),
        CallError::BadId(_) => (400_002, error.to_string()),
        CallError::Body(_) | CallError::Cut(_) => (400_003, error.to_string()),
        CallError::TooLarge => (413_000, error.to_string()),
        CallError::NoRoute => (404_000, error.to_string()),
        CallError::Method(_) => (405_000, error.to_string()),
    }
}

fn tracking_id(ports: &Ports) -> String {
    let mut bytes = [0; 16];
    ports.entropy.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

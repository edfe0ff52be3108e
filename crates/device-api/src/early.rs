//! Refusals before `provisioning` is called, which operators find beside its own refused attempts.
//!
//! They come from `net` (handshakes, deadlines, packets), the transports (logins) and the calls (malformed requests). Each becomes
//! a refused attempt if the registration ID and the instance are known.

use std::sync::Arc;

use async_trait::async_trait;
use model::{IdScope, RefusalReason, RegistrationId};
use net::{Refusal, RefusalObserver, Refused};
use provisioning::{Error, attest::x509, register::EarlyRefusal};
use wire::device::DeviceAddress;

use crate::{
    DeviceApi,
    error::{CallError, ErrorContext},
};

#[async_trait]
impl RefusalObserver for DeviceApi {
    async fn refused(&self, refusal: Refusal<'_>) {
        let Some((scope, registration_id)) = self.identify(&refusal).await.unwrap_or_else(log) else {
            return;
        };
        let reason = format!("{}: {}", refusal.reason.name(), refusal.detail);
        let (address, certificates) = (Some(refusal.peer.addr.ip()), Arc::clone(&refusal.peer.certificates));
        let early =
            EarlyRefusal { registration_id, address, certificates, code: code(refusal.reason), reason };
        self.provisioning.buffer_early_refusal(&scope, early).await.unwrap_or_else(log);
    }
}

impl DeviceApi {
    /// Identifies the refused device by its login, or else by its certificate. A login may name an instance that does not exist.
    async fn identify(&self, refusal: &Refusal<'_>) -> Result<Option<(IdScope, RegistrationId)>, Error> {
        if let Some(address) = refusal.login.as_deref().and_then(DeviceAddress::at_start_of) {
            return Ok(Some((address.id_scope, address.registration_id)));
        }
        let id = refusal.peer.certificates.first().and_then(|leaf| x509::registration_id_of(leaf));
        let Some(id) = id else { return Ok(None) };
        let instance = self.provisioning.instance_meant(refusal.peer.server_name.as_deref()).await?;
        Ok(instance.map(|instance| (instance.id_scope.clone(), id)))
    }

    /// Records a refused call for operators, unless `provisioning` did, or the device is not known.
    pub(crate) async fn note_refused_call(&self, error: &CallError, context: &ErrorContext) {
        let (Some(scope), Some(id)) = (&context.scope, &context.registration_id) else { return };
        if !error.is_before_verbs() {
            return;
        }
        let (registration_id, certificates) = (id.clone(), Arc::clone(&context.certificates));
        let (address, code, reason) = (context.from, error.refusal_reason(), error.to_string());
        let early = EarlyRefusal { registration_id, address, certificates, code, reason };
        self.provisioning.buffer_early_refusal(scope, early).await.unwrap_or_else(log);
    }
}

/// Returns the reason that operators see.
fn code(refused: Refused) -> RefusalReason {
    match refused {
        Refused::AddressLimit
        | Refused::NoPermit
        | Refused::Evicted
        | Refused::Unproven
        | Refused::ProxyHeader => RefusalReason::ConnectionLimit,
        Refused::HandshakeTimeout
        | Refused::Left
        | Refused::ClientAlert
        | Refused::NotTls
        | Refused::NoCommonVersion
        | Refused::NoCommonSuite
        | Refused::NoCommonSignature
        | Refused::BadSignature => RefusalReason::Handshake,
        Refused::ChainTooLong => RefusalReason::ChainTooLong,
        Refused::WeakKey | Refused::BadCertificate => RefusalReason::BadCertificate,
        Refused::Login | Refused::LoginTimeout => RefusalReason::Login,
        Refused::Protocol | Refused::PacketTimeout | Refused::TooLarge => RefusalReason::Protocol,
        Refused::BadRequest => RefusalReason::BadRequest,
    }
}

/// Logs a refusal that cannot be recorded; it is a refusal all the same.
fn log<T: Default>(error: Error) -> T {
    tracing::debug!(%error, "a refusal cannot be recorded");
    T::default()
}

//! Refusals before the verbs, put down for operators beside those of the verbs.
//!
//! They are made in `net` (handshakes, deadlines, packets), by the transports (logins) and by the calls (requests that cannot be
//! read). Whichever it is, it becomes an attempt where a registration ID and an instance are known.

use std::sync::Arc;

use async_trait::async_trait;
use model::{Instance, RegistrationId};
use net::{Refusal, RefusalObserver};
use provisioning::{Error, attest::x509, register::EarlyRefusal};
use wire::device::DeviceAddress;

use crate::{
    DeviceApi,
    error::{CallError, Concerning},
};

#[async_trait]
impl RefusalObserver for DeviceApi {
    async fn refused(&self, refusal: Refusal<'_>) {
        let Some((instance, registration_id)) = self.meant(&refusal).await.unwrap_or_else(log) else {
            return;
        };
        let reason = format!("{}: {}", refusal.reason.name(), refusal.detail);
        let (address, certificates) = (Some(refusal.peer.addr.ip()), Arc::clone(&refusal.peer.certificates));
        let early = EarlyRefusal { registration_id, address, certificates, reason };
        self.provisioning.buffer_early_refusal(&instance, early).await.unwrap_or_else(log);
    }
}

impl DeviceApi {
    /// Which device was refused: the one that the login named, or else the one of its certificate.
    async fn meant(&self, refusal: &Refusal<'_>) -> Result<Option<(Arc<Instance>, RegistrationId)>, Error> {
        if let Some(address) = refusal.login.as_deref().and_then(DeviceAddress::at_start_of) {
            let instance = self.provisioning.instance(&address.id_scope).await?;
            return Ok(instance.map(|instance| (instance, address.registration_id)));
        }
        let id = refusal.peer.certificates.first().and_then(|leaf| x509::registration_id_of(leaf));
        let Some(id) = id else { return Ok(None) };
        let instance = self.provisioning.instance_meant(refusal.peer.server_name.as_deref()).await?;
        Ok(instance.map(|instance| (instance, id)))
    }

    /// Puts a refused call down for operators, unless the verbs have, or it says nothing of the device.
    pub(crate) async fn note_refused_call(&self, error: &CallError, concerning: &Concerning) {
        let (Some(scope), Some(id)) = (&concerning.scope, &concerning.registration_id) else { return };
        if !error.is_before_verbs() {
            return;
        }
        let noted = async {
            let Some(instance) = self.provisioning.instance(scope).await? else { return Ok(()) };
            let (registration_id, certificates) = (id.clone(), Arc::clone(&concerning.certificates));
            let (address, reason) = (concerning.from, error.to_string());
            let early = EarlyRefusal { registration_id, address, certificates, reason };
            self.provisioning.buffer_early_refusal(&instance, early).await
        };
        noted.await.unwrap_or_else(log);
    }
}

/// An attempt that cannot be noted refuses the device all the same.
fn log<T: Default>(error: Error) -> T {
    tracing::debug!(%error, "a refusal is not kept");
    T::default()
}

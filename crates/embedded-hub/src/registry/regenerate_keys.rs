//! New keys for many devices at once.

use model::{DeviceId, SymmetricKeyPair};
use wire::hub::{PolicyKey, RotatedKeys};

use crate::{
    connections::DisconnectReason,
    failure::HubFailure,
    hub::{Hub, new_key},
    registry::{
        BulkRefusal, MAX_BULK_DEVICES,
        identity::{Credentials, Identity},
    },
    storage::Rows,
};

/// The outcome of a request for new keys.
#[derive(Debug, Default)]
pub struct KeyRegeneration {
    /// The devices that have new keys, with both keys.
    pub rotated: Vec<RotatedKeys>,
    /// The devices without new keys, and the reasons.
    pub refusals: Vec<BulkRefusal>,
}

impl Hub {
    /// Makes new keys for devices, one by one. A device with new keys is disconnected.
    pub async fn regenerate_keys(
        &self,
        which: PolicyKey,
        devices: Vec<String>,
    ) -> Result<KeyRegeneration, HubFailure> {
        if devices.len() > MAX_BULK_DEVICES {
            return Err(HubFailure::Invalid(format!("more than {MAX_BULK_DEVICES} devices in one request")));
        }
        let mut outcome = KeyRegeneration::default();
        for device_id in devices {
            let (hub, id) = (self.clone(), device_id.clone());
            match self.run_to_completion(async move { hub.regenerate_keys_of(which, &id).await }).await {
                Ok(rotated) => outcome.rotated.push(rotated),
                Err(failure @ (HubFailure::Broken(_) | HubFailure::Busy)) => return Err(failure),
                Err(failure) => outcome.refusals.push(BulkRefusal { device_id, failure }),
            }
        }
        Ok(outcome)
    }

    async fn regenerate_keys_of(&self, which: PolicyKey, device_id: &str) -> Result<RotatedKeys, HubFailure> {
        let id = DeviceId::parse(device_id).map_err(|error| HubFailure::Invalid(error.to_string()))?;
        let _device_lock = self.lock_device(&id).await;
        let owned = id.clone();
        let keys = self.core.storage.write(move |rows| regenerate(rows, &owned, which)).await?;
        self.core.connections.close(&id, DisconnectReason::CredentialsChanged);
        Ok(RotatedKeys {
            id: id.into(),
            primary_key: keys.primary.to_base64(),
            secondary_key: keys.secondary.to_base64(),
        })
    }
}

fn regenerate(rows: &Rows, id: &DeviceId, which: PolicyKey) -> Result<SymmetricKeyPair, HubFailure> {
    let identity = rows.identity(id)?.ok_or_else(|| HubFailure::Unknown(id.to_string()))?;
    let Credentials::SymmetricKeys(old) = &identity.credentials else {
        return Err(HubFailure::Invalid(format!("the device '{id}' has no symmetric keys")));
    };
    let mut keys = old.clone();
    if which != PolicyKey::Secondary {
        keys.primary = new_key();
    }
    if which != PolicyKey::Primary {
        keys.secondary = new_key();
    }
    let changed = Identity {
        credentials: Credentials::SymmetricKeys(keys.clone()),
        etag: identity.etag + 1,
        ..identity.clone()
    };
    rows.put_identity(id, &changed)?;
    Ok(keys)
}

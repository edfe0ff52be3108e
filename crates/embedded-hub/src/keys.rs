//! New keys for many devices at once.

use model::{DeviceId, SymmetricKeyPair};
use wire::hub::{PolicyKey, RotatedKeys};

use crate::{
    bulk::{BulkRefusal, MAX_BULK_DEVICES},
    device_link::Parting,
    failure::HubFailure,
    hub::{Hub, new_key},
    identity::{Credentials, Identity},
    storage::Rows,
};

/// What became of a request for new keys.
#[derive(Debug, Default)]
pub struct Regenerated {
    /// The devices that have new keys, with both of theirs.
    pub rotated: Vec<RotatedKeys>,
    /// The others.
    pub refusals: Vec<BulkRefusal>,
}

impl Hub {
    /// Makes new keys for devices, one by one. A device that has new ones connects anew with them.
    pub async fn regenerate_keys(
        &self,
        which: PolicyKey,
        devices: Vec<String>,
    ) -> Result<Regenerated, HubFailure> {
        if devices.len() > MAX_BULK_DEVICES {
            return Err(HubFailure::Invalid(format!("more than {MAX_BULK_DEVICES} devices in one request")));
        }
        let mut regenerated = Regenerated::default();
        for device_id in devices {
            let (hub, id) = (self.clone(), device_id.clone());
            match self.carry_out(async move { hub.regenerate_keys_of(which, &id).await }).await {
                Ok(rotated) => regenerated.rotated.push(rotated),
                Err(failure @ (HubFailure::Broken(_) | HubFailure::Busy)) => return Err(failure),
                Err(failure) => regenerated.refusals.push(BulkRefusal { device_id, failure }),
            }
        }
        Ok(regenerated)
    }

    async fn regenerate_keys_of(&self, which: PolicyKey, device_id: &str) -> Result<RotatedKeys, HubFailure> {
        let id = DeviceId::parse(device_id).map_err(|error| HubFailure::Invalid(error.to_string()))?;
        let _turn = self.turn(&id).await;
        let owned = id.clone();
        let keys = self.core.storage.write(move |rows| regenerate(rows, &owned, which)).await?;
        self.core.connections.close(&id, Parting::OtherCredentials);
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
    let renewed = Identity {
        credentials: Credentials::SymmetricKeys(keys.clone()),
        etag: identity.etag + 1,
        ..identity.clone()
    };
    rows.put_identity(id, &renewed)?;
    Ok(keys)
}

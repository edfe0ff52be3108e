//! The way to an embedded hub in the same process. It is the only thing the two share.

use async_trait::async_trait;
use embedded_hub::{DeviceSettings, Hub, HubFailure, Right};
use model::{Carried, DeviceId, DeviceSpec, HubAccess, SymmetricKey};
use provisioning::ports::{
    Before, Ensured, HubConnector, HubDevice, HubError, HubRight, HubVersion, Removed,
};
use wire::hub::IfMatch;

use crate::found;

/// Calls an embedded hub directly.
pub struct EmbeddedConnector {
    hub: Hub,
    /// Policy and key that must allow each call; absent where the configuration has linked its own hub.
    key: Option<(String, SymmetricKey)>,
}

impl EmbeddedConnector {
    /// To this hub, as its configuration may.
    pub fn new(hub: Hub) -> Self {
        EmbeddedConnector { hub, key: None }
    }

    /// To this hub, as the holder of a key may.
    pub fn by_key(hub: Hub, access: &HubAccess) -> Self {
        EmbeddedConnector { hub, key: Some((access.policy.clone(), access.key.clone())) }
    }

    fn rights_lacking(&self) -> Vec<HubRight> {
        let Some((policy, key)) = &self.key else { return Vec::new() };
        let needed = [
            (HubRight::RegistryRead, Right::RegistryRead),
            (HubRight::RegistryWrite, Right::RegistryWrite),
            (HubRight::ServiceConnect, Right::ServiceConnect),
        ];
        let lacking = needed.into_iter().filter(|(_, right)| !self.hub.allows(policy, key, *right));
        lacking.map(|(right, _)| right).collect()
    }

    /// What the order finds at its place. A device that is made by hand between this look and the order is adopted.
    fn look_before(&self, spec: &DeviceSpec) -> Result<Before, HubError> {
        match self.hub.device(&spec.device_id).map_err(hub_error)? {
            None => Ok(Before::Own),
            Some(there) => {
                Before::judge(spec, there.authentication.as_ref().and_then(found::credentials).as_ref())
            }
        }
    }

    fn admit(&self) -> Result<(), HubError> {
        match (&self.key, self.rights_lacking().as_slice()) {
            (_, []) | (None, _) => Ok(()),
            (Some((policy, _)), _) => Err(HubError::Unavailable(
                format!("{}: the key of policy {policy:?} is not accepted for this", self.hub.name()).into(),
            )),
        }
    }
}

#[async_trait]
impl HubConnector for EmbeddedConnector {
    async fn ensure_device(&self, spec: &DeviceSpec) -> Result<Ensured, HubError> {
        self.admit()?;
        let before = self.look_before(spec)?;
        let ensured = self.hub.ensure_device(&settings(spec), &spec.twin).await.map_err(hub_error)?;
        Ok(before.then(Some(ensured.generation)))
    }

    async fn device_count(&self) -> Result<Option<u64>, HubError> {
        self.admit()?;
        Ok(Some(self.hub.counts().map_err(hub_error)?.devices))
    }

    async fn receive_device(&self, spec: &DeviceSpec, carried: &Carried) -> Result<Ensured, HubError> {
        self.admit()?;
        let before = self.look_before(spec)?;
        let received = self.hub.receive_device(&settings(spec), carried).await.map_err(hub_error)?;
        Ok(before.then(Some(received.generation)))
    }

    async fn find_device(&self, device: &DeviceId) -> Result<Option<HubDevice>, HubError> {
        self.admit()?;
        let (found, twin) =
            (self.hub.device(device).map_err(hub_error)?, self.hub.twin(device).map_err(hub_error)?);
        Ok(found.zip(twin).map(|(found, twin)| HubDevice {
            version: HubVersion(found.etag.clone().unwrap_or_default()),
            generation: found::generation(&found),
            credentials: found.authentication.as_ref().and_then(found::credentials),
            carried: Carried {
                tags: twin.tags,
                desired: found::properties(&twin.properties.desired),
                reported: found::properties(&twin.properties.reported),
                disabled: found::disabled(&found),
            },
        }))
    }

    async fn remove_device(&self, device: &DeviceId, version: &HubVersion) -> Result<Removed, HubError> {
        self.admit()?;
        match self.hub.delete_matching(device, IfMatch::Etag(version.0.clone())).await {
            Ok(()) | Err(HubFailure::Unknown(_)) => Ok(Removed::Gone),
            Err(HubFailure::Stale(_)) => Ok(Removed::Changed),
            Err(failure) => Err(hub_error(failure)),
        }
    }

    async fn lacking(&self) -> Result<Vec<HubRight>, HubError> {
        Ok(self.rights_lacking())
    }
}

fn settings(spec: &DeviceSpec) -> DeviceSettings {
    DeviceSettings {
        id: spec.device_id.clone(),
        credentials: spec.credentials.clone(),
        iot_edge: spec.iot_edge,
    }
}

/// What the request itself caused will be refused again; all else may pass.
fn hub_error(failure: HubFailure) -> HubError {
    match failure {
        HubFailure::Invalid(_) | HubFailure::TooLarge(_) => HubError::Refused(failure.to_string()),
        _ => HubError::Unavailable(failure.to_string().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_order_caused_is_final() {
        for (failure, is_final) in [
            (HubFailure::Invalid("the key 'a.b'".to_owned()), true),
            (HubFailure::TooLarge(1), true),
            (HubFailure::Busy, false),
            (HubFailure::Broken("disk".to_owned()), false),
        ] {
            let text = failure.to_string();
            let expected =
                if is_final { HubError::Refused(text) } else { HubError::Unavailable(text.into()) };
            assert_eq!(hub_error(failure), expected);
        }
    }
}

//! The connector of an embedded hub in this process, the only thing that the hub and provisioning share.

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
    /// The policy and key that must grant each call; `None` for a hub that the configuration linked itself.
    key: Option<(String, SymmetricKey)>,
}

impl EmbeddedConnector {
    /// Creates a connector that needs no key.
    pub fn new(hub: Hub) -> Self {
        EmbeddedConnector { hub, key: None }
    }

    /// Creates a connector whose calls need the rights of this key.
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

    /// Returns whose device the hub has under the device ID of a spec. A device that another client creates between this check and
    /// the call is adopted.
    fn before(&self, spec: &DeviceSpec) -> Result<Before, HubError> {
        match self.hub.device(&spec.device_id).map_err(hub_error)? {
            None => Ok(Before::Own),
            Some(there) => {
                Before::judge(spec, there.authentication.as_ref().and_then(found::credentials).as_ref())
            }
        }
    }

    /// Returns the hub, if the key may be used for everything that provisioning does.
    fn authorized(&self) -> Result<&Hub, HubError> {
        match (&self.key, self.rights_lacking().as_slice()) {
            (_, []) | (None, _) => Ok(&self.hub),
            (Some((policy, _)), _) => Err(HubError::Unavailable(
                format!("{}: the key of policy {policy:?} is not accepted for this", self.hub.name()).into(),
            )),
        }
    }
}

#[async_trait]
impl HubConnector for EmbeddedConnector {
    async fn ensure_device(&self, spec: &DeviceSpec) -> Result<Ensured, HubError> {
        let hub = self.authorized()?;
        let before = self.before(spec)?;
        let ensured = hub.ensure_device(&settings(spec), &spec.twin).await.map_err(hub_error)?;
        Ok(before.then(Some(ensured.generation)))
    }

    async fn device_count(&self) -> Result<Option<u64>, HubError> {
        Ok(Some(self.authorized()?.counts().map_err(hub_error)?.devices))
    }

    async fn receive_device(&self, spec: &DeviceSpec, carried: &Carried) -> Result<Ensured, HubError> {
        let hub = self.authorized()?;
        let before = self.before(spec)?;
        let received = hub.receive_device(&settings(spec), carried).await.map_err(hub_error)?;
        Ok(before.then(Some(received.generation)))
    }

    async fn find_device(&self, device: &DeviceId) -> Result<Option<HubDevice>, HubError> {
        let hub = self.authorized()?;
        let (found, twin) = (hub.device(device).map_err(hub_error)?, hub.twin(device).map_err(hub_error)?);
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
        match self.authorized()?.delete_matching(device, IfMatch::Etag(version.0.clone())).await {
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

/// Converts a failure of the hub. One that the request itself caused is final; any other may be transient.
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
    fn only_failures_that_the_spec_caused_are_final() {
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

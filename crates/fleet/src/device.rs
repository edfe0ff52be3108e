//! A device: a registration ID and the means to prove it.

use std::time::Duration;

use model::{DeviceId, IdScope, RegistrationId, SymmetricKey};
use net::tls::Identity;
use wire::sas;

use crate::clock::expiry_after;

/// A simulated device.
#[derive(Clone, Debug)]
pub struct Device {
    /// The name it registers under.
    pub registration_id: RegistrationId,
    /// How it proves who it is, to the provisioning endpoint and to its hub.
    pub credentials: Credentials,
}

/// How a device proves who it is.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A certificate chain and its key, shown in the TLS handshake.
    Certificate(Identity),
    /// A device key, which signs tokens.
    Key(SymmetricKey),
}

impl Device {
    /// A device with a key of its own.
    pub fn with_key(registration_id: RegistrationId, key: SymmetricKey) -> Device {
        Device { registration_id, credentials: Credentials::Key(key) }
    }

    /// A device whose key is derived from its group's key.
    pub fn in_group(registration_id: RegistrationId, group_key: &SymmetricKey) -> Device {
        let key = group_key.derive(registration_id.as_str());
        Device::with_key(registration_id, key)
    }

    /// A device with a certificate.
    pub fn with_certificate(registration_id: RegistrationId, identity: Identity) -> Device {
        Device { registration_id, credentials: Credentials::Certificate(identity) }
    }

    /// The token for the provisioning endpoint; none when there is a certificate.
    pub(crate) fn registration_token(&self, id_scope: &IdScope) -> Option<String> {
        let resource = format!("{id_scope}/registrations/{}", self.registration_id);
        self.token(&resource, Some("registration"))
    }

    /// The token for a hub; none when there is a certificate.
    pub(crate) fn hub_token(&self, hub: &str, device_id: &DeviceId) -> Option<String> {
        self.token(&format!("{hub}/devices/{device_id}"), None)
    }

    fn token(&self, resource: &str, key_name: Option<&str>) -> Option<String> {
        match &self.credentials {
            Credentials::Key(key) => {
                Some(sas::sign(resource, key.as_bytes(), expiry_after(TOKEN_LIFETIME), key_name))
            }
            Credentials::Certificate(_) => None,
        }
    }
}

/// What most SDKs give their tokens.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

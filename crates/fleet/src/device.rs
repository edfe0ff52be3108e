//! Simulated devices: a registration ID and credentials.

use std::{sync::Arc, time::Duration};

use model::{DeviceId, IdScope, RegistrationId, SymmetricKey};
use net::tls::Identity;
use wire::{
    device::DeviceAddress,
    sas::{self, UnsignedToken},
};

use crate::{
    clock::expiry_after,
    tpm::{Tpm, TpmError},
};

/// The name of the key in tokens for the provisioning endpoint.
const REGISTRATION: &str = "registration";

/// The lifetime of tokens, like that of most SDKs.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// A simulated device.
#[derive(Clone, Debug)]
pub struct Device {
    /// The registration ID.
    pub registration_id: RegistrationId,
    /// The credentials, for the provisioning endpoint and for the hub.
    pub credentials: Credentials,
}

/// The credentials of a device.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A certificate chain and its key, for the TLS handshake.
    Certificate(Identity),
    /// A symmetric key, which signs tokens.
    Key(SymmetricKey),
    /// A TPM, which signs tokens after it has imported a key of the service.
    Tpm(Arc<Tpm>),
}

impl Device {
    /// Creates a device with a symmetric key.
    pub fn with_key(registration_id: RegistrationId, key: SymmetricKey) -> Device {
        Device { registration_id, credentials: Credentials::Key(key) }
    }

    /// Creates a device whose symmetric key is derived from the key of its enrollment group.
    pub fn in_group(registration_id: RegistrationId, group_key: &SymmetricKey) -> Device {
        let key = group_key.derive(registration_id.as_str());
        Device::with_key(registration_id, key)
    }

    /// Creates a device with a certificate.
    pub fn with_certificate(registration_id: RegistrationId, identity: Identity) -> Device {
        Device { registration_id, credentials: Credentials::Certificate(identity) }
    }

    /// Creates a device with a TPM.
    pub fn with_tpm(registration_id: RegistrationId, tpm: Arc<Tpm>) -> Device {
        Device { registration_id, credentials: Credentials::Tpm(tpm) }
    }

    /// Returns the device's TPM, if it has one.
    pub(crate) fn tpm(&self) -> Option<&Tpm> {
        match &self.credentials {
            Credentials::Tpm(tpm) => Some(tpm),
            Credentials::Certificate(_) | Credentials::Key(_) => None,
        }
    }

    /// Returns the token for the first request to the provisioning endpoint; `None` for a device without a symmetric
    /// key.
    pub(crate) fn first_token(&self, id_scope: &IdScope) -> Option<String> {
        match &self.credentials {
            Credentials::Key(key) => {
                let resource = self.address(id_scope).to_string();
                let expiry = expiry_after(TOKEN_LIFETIME);
                Some(sas::sign(&resource, key.as_bytes(), expiry, Some(REGISTRATION)))
            }
            Credentials::Certificate(_) | Credentials::Tpm(_) => None,
        }
    }

    /// Returns the token for the provisioning endpoint that the TPM signs with the key of the challenge, imported
    /// before.
    pub(crate) async fn proof(&self, id_scope: &IdScope, tpm: &Tpm) -> Result<String, TpmError> {
        by_tpm(tpm, &self.address(id_scope).to_string(), Some(REGISTRATION)).await
    }

    /// Returns the token for a hub; `None` for a device with a certificate.
    pub(crate) async fn hub_token(
        &self,
        hub: &str,
        device_id: &DeviceId,
    ) -> Result<Option<String>, TpmError> {
        let resource = format!("{hub}/devices/{device_id}");
        Ok(match &self.credentials {
            Credentials::Key(key) => {
                Some(sas::sign(&resource, key.as_bytes(), expiry_after(TOKEN_LIFETIME), None))
            }
            Credentials::Certificate(_) => None,
            Credentials::Tpm(tpm) => Some(by_tpm(tpm, &resource, None).await?),
        })
    }

    /// Returns the address of the device in an instance.
    pub(crate) fn address(&self, id_scope: &IdScope) -> DeviceAddress {
        DeviceAddress { id_scope: id_scope.clone(), registration_id: self.registration_id.clone() }
    }
}

async fn by_tpm(tpm: &Tpm, resource: &str, key_name: Option<&str>) -> Result<String, TpmError> {
    let token = UnsignedToken::new(resource, expiry_after(TOKEN_LIFETIME), key_name);
    let mac = tpm.sign(token.text().as_bytes()).await?;
    Ok(token.signed(&mac))
}

//! Device identities as pure values: a device in the registry without its twin.

mod credentials;

use model::{DeviceId, SymmetricKey, Timestamp};
use serde::{Deserialize, Serialize};
use wire::hub::{Capabilities, Device, Status};

pub use credentials::{CredentialRefusal, Credentials, Thumbprint};

/// A device in the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Ticks of the creation: distinguishes a device from an earlier one of the same name.
    #[serde(rename = "g")]
    pub generation: i64,
    /// Grows with every write; the etag. Starts at the generation, so that the etag of an
    /// earlier device of the same name never matches.
    #[serde(rename = "e")]
    pub etag: i64,
    /// Whether it may connect.
    #[serde(rename = "s")]
    pub status: Status,
    /// The reason of the status.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// When the status last changed, if it did.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub status_changed: Option<Timestamp>,
    /// Its credentials.
    #[serde(rename = "c")]
    pub credentials: Credentials,
    /// Whether it is an IoT Edge device.
    #[serde(rename = "x", default)]
    pub iot_edge: bool,
    /// Its own scope if it is an edge device, its parent's otherwise.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub device_scope: Option<String>,
    /// The scopes of its parents.
    #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
    pub parent_scopes: Vec<String>,
}

/// Why an identity is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityRefusal {
    /// Its credentials are invalid.
    #[error(transparent)]
    Credentials(#[from] CredentialRefusal),
    /// The reason is too long.
    #[error("statusReason is longer than {REASON_CHARS} characters")]
    LongReason,
    /// A scope is longer than those that the hub makes, or there are too many.
    #[error("a scope is longer than {SCOPE_BYTES} bytes, or there are more than {MAX_PARENTS}")]
    Scope,
    /// An edge device's scope was changed.
    #[error("Device scope is immutable")]
    ScopeChanged,
}

impl Identity {
    /// Creates an enabled device with these credentials.
    pub fn new(credentials: Credentials, iot_edge: bool, id: &DeviceId, now: Timestamp) -> Identity {
        let generation = now.ticks();
        Identity {
            generation,
            etag: generation,
            status: Status::Enabled,
            status_reason: None,
            status_changed: None,
            credentials,
            iot_edge,
            device_scope: iot_edge.then(|| edge_scope(id, generation)),
            parent_scopes: Vec::new(),
        }
    }

    /// Creates a device as a service describes it.
    pub fn created(
        id: &DeviceId,
        device: &Device,
        make_key: fn() -> SymmetricKey,
        now: Timestamp,
    ) -> Result<Identity, IdentityRefusal> {
        let credentials = Credentials::from_wire(device.authentication.as_ref(), make_key)?;
        if credentials == Credentials::Authority {
            // It could not connect. Existing devices of this kind are kept.
            return Err(CredentialRefusal::Authority.into());
        }
        let mut identity = Identity::new(credentials, is_edge(device), id, now);
        identity.status = device.status.unwrap_or_default();
        identity.status_reason = reason(device)?;
        identity.take_scopes(device)?;
        Ok(identity)
    }

    /// Returns this device with everything writable replaced, as a service describes it. Missing keys are generated.
    pub fn replaced(
        &self,
        id: &DeviceId,
        device: &Device,
        make_key: fn() -> SymmetricKey,
        now: Timestamp,
    ) -> Result<Identity, IdentityRefusal> {
        let credentials = Credentials::from_wire(device.authentication.as_ref(), make_key)?;
        if credentials == Credentials::Authority && self.credentials != credentials {
            return Err(CredentialRefusal::Authority.into());
        }
        let mut identity = self.refreshed(credentials, is_edge(device), id);
        identity.status = device.status.unwrap_or_default();
        identity.status_reason = reason(device)?;
        if identity.status != self.status {
            identity.status_changed = Some(now);
        }
        identity.take_scopes(device)?;
        Ok(identity)
    }

    /// Returns this device with another status, in the same version.
    pub fn with_access(self, status: Status, reason: Option<&str>, now: Timestamp) -> Identity {
        let status_changed = if status == self.status { self.status_changed } else { Some(now) };
        Identity { status, status_reason: reason.map(str::to_owned), status_changed, ..self }
    }

    /// Returns this device with other credentials and capabilities, and everything else unchanged.
    pub fn refreshed(&self, credentials: Credentials, iot_edge: bool, id: &DeviceId) -> Identity {
        let device_scope = match (iot_edge, self.iot_edge) {
            (true, false) => Some(edge_scope(id, self.generation)),
            (false, true) => None,
            (true, true) | (false, false) => self.device_scope.clone(),
        };
        Identity { credentials, iot_edge, device_scope, etag: self.etag + 1, ..self.clone() }
    }

    fn take_scopes(&mut self, device: &Device) -> Result<(), IdentityRefusal> {
        let parents = device.parent_scopes.clone().unwrap_or_default();
        let given = device.device_scope.as_ref().filter(|scope| !scope.is_empty());
        let fits = |scope: &String| scope.len() <= SCOPE_BYTES;
        if parents.len() > MAX_PARENTS || !parents.iter().chain(given).all(fits) {
            return Err(IdentityRefusal::Scope);
        }
        if self.iot_edge {
            if given.is_some() && given != self.device_scope.as_ref() {
                return Err(IdentityRefusal::ScopeChanged);
            }
            self.parent_scopes = parents;
        } else {
            self.parent_scopes = given.cloned().into_iter().collect();
            self.device_scope = given.cloned();
        }
        Ok(())
    }

    /// Returns the scopes of the edge devices that are its parents.
    pub fn parents(&self) -> impl Iterator<Item = &str> {
        self.parent_scopes.iter().map(String::as_str)
    }

    /// Returns its capabilities as the REST API represents them.
    pub fn capabilities(&self) -> Capabilities {
        Capabilities { iot_edge: self.iot_edge }
    }
}

fn is_edge(device: &Device) -> bool {
    device.capabilities.is_some_and(|capabilities| capabilities.iot_edge)
}

fn reason(device: &Device) -> Result<Option<String>, IdentityRefusal> {
    match &device.status_reason {
        Some(reason) if reason.chars().count() > REASON_CHARS => Err(IdentityRefusal::LongReason),
        reason => Ok(reason.clone()),
    }
}

fn edge_scope(id: &DeviceId, generation: i64) -> String {
    format!("{EDGE_SCOPE}{id}-{generation}")
}

/// Returns the edge device whose scope this is, if it is one that a hub makes.
pub fn edge_device_of(scope: &str) -> Option<DeviceId> {
    let (id, generation) = scope.strip_prefix(EDGE_SCOPE)?.rsplit_once('-')?;
    generation.parse::<i64>().ok()?;
    DeviceId::parse(id).ok()
}

/// The prefix of the scope of an edge device.
const EDGE_SCOPE: &str = "ms-azure-iot-edge://";

/// Characters of a statusReason (IoT Hub identity registry documentation).
const REASON_CHARS: usize = 128;
/// `ms-azure-iot-edge://` with the longest device ID and a number.
const SCOPE_BYTES: usize = 256;
/// The deepest gateway hierarchy has five levels.
const MAX_PARENTS: usize = 5;

#[cfg(test)]
mod tests {
    use wire::hub::Authentication;

    use super::*;

    fn id() -> DeviceId {
        DeviceId::parse("d1").unwrap()
    }

    fn device(body: &str) -> Device {
        serde_json::from_str(body).unwrap()
    }

    fn make_key() -> SymmetricKey {
        SymmetricKey::from_bytes(&[7; 32]).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    #[test]
    fn a_minimal_body_creates_an_enabled_device_with_keys() {
        let identity = Identity::created(&id(), &device(r#"{"deviceId":"d1"}"#), make_key, at(1)).unwrap();
        assert_eq!((identity.status, identity.status_changed), (Status::Enabled, None));
        assert!(matches!(identity.credentials, Credentials::SymmetricKeys(_)));
    }

    #[test]
    fn a_replacement_counts_the_version_and_dates_the_status() {
        let identity = Identity::created(&id(), &Device::default(), make_key, at(1)).unwrap();
        let disabled = device(r#"{"status":"disabled","statusReason":"lost"}"#);
        let replaced = identity.replaced(&id(), &disabled, make_key, at(2)).unwrap();
        assert_eq!((replaced.etag, replaced.generation), (identity.etag + 1, identity.generation));
        assert_eq!((replaced.status, replaced.status_changed), (Status::Disabled, Some(at(2))));
        let refreshed = replaced.refreshed(identity.credentials, false, &id());
        assert_eq!((refreshed.status, refreshed.status_reason.as_deref()), (Status::Disabled, Some("lost")));
    }

    #[test]
    fn a_reason_has_at_most_128_characters() {
        for (length, refused) in [(128, false), (129, true)] {
            let device = Device { status_reason: Some("é".repeat(length)), ..Device::default() };
            let outcome = Identity::created(&id(), &device, make_key, at(1));
            assert_eq!(outcome.err(), refused.then_some(IdentityRefusal::LongReason), "{length}");
        }
    }

    #[test]
    fn edge_devices_and_their_children_have_scopes() {
        let edge = device(r#"{"capabilities":{"iotEdge":true}}"#);
        let identity = Identity::created(&id(), &edge, make_key, at(1)).unwrap();
        assert_eq!(identity.device_scope.as_deref(), Some("ms-azure-iot-edge://d1-10000000"));
        let echoed = Device { device_scope: identity.device_scope.clone(), ..edge.clone() };
        assert_eq!(
            identity.replaced(&id(), &echoed, make_key, at(2)).unwrap().device_scope,
            identity.device_scope
        );
        let other = Device { device_scope: Some("other".into()), ..edge };
        assert_eq!(identity.replaced(&id(), &other, make_key, at(2)), Err(IdentityRefusal::ScopeChanged));
        let child = device(r#"{"deviceScope":"parent"}"#);
        let child = Identity::created(&id(), &child, make_key, at(1)).unwrap();
        assert_eq!(child.parent_scopes, ["parent"]);
    }

    #[test]
    fn a_stored_identity_is_read_back_and_debug_hides_keys() {
        let device = Device { authentication: Some(Authentication::default()), ..Device::default() };
        let identity = Identity::created(&id(), &device, make_key, at(1)).unwrap();
        let stored = serde_json::to_vec(&identity).unwrap();
        assert_eq!(serde_json::from_slice::<Identity>(&stored).unwrap(), identity);
        assert!(!format!("{identity:?}").contains("BwcH"));
    }
}

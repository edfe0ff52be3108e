//! Converts the devices that hubs return to the types of the port.

use certpath::Sha256Thumbprint;
use model::{Generation, HubCredentials, Properties, SymmetricKey, SymmetricKeyPair};
use serde_json::{Map, Value};
use wire::hub::{Authentication, AuthenticationType, Device, Status};

/// Returns the credentials of a device; `None` if they are of a kind that the service never writes.
pub(crate) fn credentials(returned: &Authentication) -> Option<HubCredentials> {
    match returned.kind? {
        AuthenticationType::Sas => {
            let keys = returned.symmetric_key.as_ref()?;
            let key = |text: &Option<String>| SymmetricKey::parse(text.as_deref()?).ok();
            let (primary, secondary) = (key(&keys.primary_key)?, key(&keys.secondary_key)?);
            Some(HubCredentials::SymmetricKeys(SymmetricKeyPair { primary, secondary }))
        }
        AuthenticationType::SelfSigned => {
            let primary = returned.x509_thumbprint.as_ref()?.primary_thumbprint.as_deref()?;
            Sha256Thumbprint::parse(primary).ok().map(HubCredentials::Certificate)
        }
        AuthenticationType::CertificateAuthority | AuthenticationType::None => None,
    }
}

/// Returns the generation of a device. One that cannot be parsed counts as none.
pub(crate) fn generation(device: &Device) -> Option<Generation> {
    Generation::parse(device.generation_id.as_deref()?).ok()
}

/// Returns a section of a twin without the hub's annotations.
pub(crate) fn properties(section: &Map<String, Value>) -> Properties {
    let version = section.get("$version").and_then(Value::as_u64).unwrap_or(1);
    Properties { value: without_annotations(section), version }
}

/// Returns the reason if an operator disabled the device, which may be empty.
pub(crate) fn disabled(device: &Device) -> Option<String> {
    (device.status == Some(Status::Disabled)).then(|| device.status_reason.clone().unwrap_or_default())
}

/// Returns a section of a twin, or its tags, without the hub's annotations.
pub(crate) fn without_annotations(section: &Map<String, Value>) -> Map<String, Value> {
    section.iter().filter(|(name, _)| !name.starts_with('$')).map(|(n, v)| (n.clone(), v.clone())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(authentication: Value) -> Option<HubCredentials> {
        credentials(&serde_json::from_value(authentication).unwrap())
    }

    #[test]
    fn credentials_that_the_service_writes_are_recognized() {
        let (one, two) = (testkit::sample::key(1), testkit::sample::key(2));
        let keys = json!({"primaryKey": one.to_base64(), "secondaryKey": two.to_base64()});
        let pair = SymmetricKeyPair { primary: one.clone(), secondary: two };
        assert_eq!(
            read(json!({"type": "sas", "symmetricKey": keys})),
            Some(HubCredentials::SymmetricKeys(pair))
        );
        let leaf = Sha256Thumbprint::of(b"leaf");
        let thumbprint = json!({"primaryThumbprint": leaf.as_str().to_ascii_lowercase()});
        assert_eq!(
            read(json!({"type": "selfSigned", "x509Thumbprint": thumbprint})),
            Some(HubCredentials::Certificate(leaf))
        );
        for foreign in [
            json!({"type": "certificateAuthority"}),
            json!({"type": "sas", "symmetricKey": {"primaryKey": one.to_base64()}}),
            json!({"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": "abcd"}}),
            json!({}),
        ] {
            assert_eq!(read(foreign.clone()), None, "{foreign}");
        }
    }
}

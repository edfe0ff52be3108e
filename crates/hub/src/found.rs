//! What a hub shows of a device, in the words of the port.

use certpath::Sha256Thumbprint;
use model::{Generation, HubCredentials, Properties, SymmetricKey, SymmetricKeyPair};
use serde_json::{Map, Value};
use wire::hub::{Authentication, AuthenticationType, Device, Status};

/// What a device connects with; `None` when that is nothing that the service writes.
pub(crate) fn credentials(shown: &Authentication) -> Option<HubCredentials> {
    match shown.kind? {
        AuthenticationType::Sas => {
            let keys = shown.symmetric_key.as_ref()?;
            let key = |text: &Option<String>| SymmetricKey::parse(text.as_deref()?).ok();
            let (primary, secondary) = (key(&keys.primary_key)?, key(&keys.secondary_key)?);
            Some(HubCredentials::SymmetricKeys(SymmetricKeyPair { primary, secondary }))
        }
        AuthenticationType::SelfSigned => {
            let primary = shown.x509_thumbprint.as_ref()?.primary_thumbprint.as_deref()?;
            Sha256Thumbprint::parse(primary).ok().map(HubCredentials::Certificate)
        }
        AuthenticationType::CertificateAuthority | AuthenticationType::None => None,
    }
}

/// Which creation of a device of its name it is. One that this service cannot read counts as none.
pub(crate) fn generation(shown: &Device) -> Option<Generation> {
    Generation::parse(shown.generation_id.as_deref()?).ok()
}

/// A section of a twin without the hub's annotations.
pub(crate) fn properties(shown: &Map<String, Value>) -> Properties {
    let version = shown.get("$version").and_then(Value::as_u64).unwrap_or(1);
    Properties { value: without_annotations(shown), version }
}

/// Set when an operator disabled the device, with the reason if one was given.
pub(crate) fn disabled(shown: &Device) -> Option<String> {
    (shown.status == Some(Status::Disabled)).then(|| shown.status_reason.clone().unwrap_or_default())
}

/// What is in a section or in tags, without what the hub wrote into it.
pub(crate) fn without_annotations(section: &Map<String, Value>) -> Map<String, Value> {
    section.iter().filter(|(name, _)| !name.starts_with('$')).map(|(n, v)| (n.clone(), v.clone())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(authentication: Value) -> Option<HubCredentials> {
        credentials(&serde_json::from_value(authentication).unwrap())
    }

    #[test]
    fn credentials_that_the_service_writes_are_known_again() {
        let (one, two) = (testkit::sample::key(1), testkit::sample::key(2));
        let keys = json!({"primaryKey": one.to_base64(), "secondaryKey": two.to_base64()});
        let pair = SymmetricKeyPair { primary: one.clone(), secondary: two };
        assert_eq!(
            shown(json!({"type": "sas", "symmetricKey": keys})),
            Some(HubCredentials::SymmetricKeys(pair))
        );
        let leaf = Sha256Thumbprint::of(b"leaf");
        let thumbprint = json!({"primaryThumbprint": leaf.as_str().to_ascii_lowercase()});
        assert_eq!(
            shown(json!({"type": "selfSigned", "x509Thumbprint": thumbprint})),
            Some(HubCredentials::Certificate(leaf))
        );
        for foreign in [
            json!({"type": "certificateAuthority"}),
            json!({"type": "sas", "symmetricKey": {"primaryKey": one.to_base64()}}),
            json!({"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": "abcd"}}),
            json!({}),
        ] {
            assert_eq!(shown(foreign.clone()), None, "{foreign}");
        }
    }
}

//! What is written to a hub for an order, and whether what a hub has is that already.

use model::{DeviceSpec, Generation, HubCredentials, InitialTwin, SymmetricKey, TwinCollection};
use provisioning::ports::{Before, HubError};
use serde_json::{Map, Value, json};
use wire::hub::{AuthenticationType, Device, SymmetricKeyPair};

use crate::found::{self, without_annotations};

/// A device as the registry has it: the fields that are known, and all of them as they came.
pub(super) struct Found {
    device: Device,
    fields: Map<String, Value>,
}

impl Found {
    /// Reads a device; `None` when it makes no sense.
    pub(super) fn read(body: &[u8]) -> Option<Found> {
        let fields: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let device = serde_json::from_value(Value::Object(fields.clone())).ok()?;
        Some(Found { device, fields })
    }

    /// The fields that are known.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// Its version; `None` when the hub left it out.
    pub(super) fn etag(&self) -> Option<&str> {
        self.device.etag.as_deref()
    }

    /// Which creation of a device of its name it is; `None` when the hub left it out.
    pub(super) fn generation(&self) -> Option<Generation> {
        found::generation(&self.device)
    }

    /// Whether it has the credentials and capabilities of the order.
    pub(super) fn is_as_ordered(&self, spec: &DeviceSpec) -> bool {
        let Some(authentication) = &self.device.authentication else { return false };
        let same_credentials = match &spec.credentials {
            HubCredentials::SymmetricKeys(wanted) => {
                authentication.kind == Some(AuthenticationType::Sas)
                    && authentication.symmetric_key.as_ref().is_some_and(
                        |SymmetricKeyPair { primary_key, secondary_key }| {
                            is_key(primary_key, &wanted.primary) & is_key(secondary_key, &wanted.secondary)
                        },
                    )
            }
            HubCredentials::Certificate(wanted) => {
                authentication.kind == Some(AuthenticationType::SelfSigned)
                    && authentication.x509_thumbprint.as_ref().is_some_and(|pair| {
                        let secondary = pair.secondary_thumbprint.as_deref().unwrap_or_default();
                        secondary.is_empty()
                            && pair
                                .primary_thumbprint
                                .as_deref()
                                .is_some_and(|it| it.eq_ignore_ascii_case(wanted.as_str()))
                    })
            }
        };
        same_credentials && self.is_edge() == spec.iot_edge
    }

    /// It with the credentials and capabilities of the order, and every other field as it came: a PUT replaces all of
    /// them. The scopes of an edge device are the hub's to make, and go with the capability.
    pub(super) fn refreshed(mut self, spec: &DeviceSpec) -> Map<String, Value> {
        if self.is_edge() != spec.iot_edge {
            self.fields.shift_remove("deviceScope");
            self.fields.shift_remove("parentScopes");
        }
        self.fields.insert("authentication".to_owned(), authentication(&spec.credentials));
        self.fields.insert("capabilities".to_owned(), capabilities(spec));
        self.fields
    }

    /// What it is to an order at its place.
    pub(super) fn before(&self, spec: &DeviceSpec) -> Result<Before, HubError> {
        let credentials = self.device.authentication.as_ref().and_then(crate::found::credentials);
        Before::judge(spec, credentials.as_ref())
    }

    fn is_edge(&self) -> bool {
        self.device.capabilities.is_some_and(|capabilities| capabilities.iot_edge)
    }
}

/// A device that the hub does not have yet.
pub(super) fn new_device(spec: &DeviceSpec) -> Value {
    json!({
        "deviceId": spec.device_id.as_str(),
        "status": "enabled",
        "authentication": authentication(&spec.credentials),
        "capabilities": capabilities(spec),
    })
}

/// The same with its twin, as the one entry of a bulk request.
pub(super) fn new_device_with_twin(spec: &DeviceSpec, twin: &InitialTwin) -> Value {
    let mut entry = json!({
        "id": spec.device_id.as_str(),
        "importMode": "create",
        "status": "enabled",
        "authentication": authentication(&spec.credentials),
        "capabilities": capabilities(spec),
    });
    // A part that is given counts as a change of the twin, even an empty one.
    let (tags, desired) = (content(&twin.tags), content(&twin.desired));
    if !tags.is_empty() {
        entry["tags"] = Value::Object(tags);
    }
    if !desired.is_empty() {
        entry["properties"] = json!({ "desired": desired });
    }
    Value::Array(vec![entry])
}

/// All that a twin shall hold of tags and desired properties.
pub(super) fn whole_twin(twin: &InitialTwin) -> Value {
    json!({ "tags": content(&twin.tags), "properties": { "desired": content(&twin.desired) } })
}

/// Whether there is nothing that a new twin would not hold by itself.
pub(super) fn is_blank(twin: &InitialTwin) -> bool {
    content(&twin.tags).is_empty() && content(&twin.desired).is_empty()
}

/// Whether a twin, as the service API shows it, holds just this; `None` when it makes no sense. What the device reported
/// does not count: no operator can change it.
pub(super) fn holds(body: &[u8], twin: &InitialTwin) -> Option<bool> {
    let shown: Value = serde_json::from_slice(body).ok()?;
    let desired = shown.get("properties")?.get("desired")?.as_object()?;
    let tags = shown.get("tags").and_then(Value::as_object).cloned().unwrap_or_default();
    Some(
        without_annotations(&tags) == content(&twin.tags)
            && without_annotations(desired) == content(&twin.desired),
    )
}

pub(super) fn authentication(credentials: &HubCredentials) -> Value {
    match credentials {
        HubCredentials::SymmetricKeys(keys) => json!({
            "symmetricKey": {"primaryKey": keys.primary.to_base64(), "secondaryKey": keys.secondary.to_base64()},
            "type": "sas",
        }),
        HubCredentials::Certificate(thumbprint) => json!({
            "x509Thumbprint": {"primaryThumbprint": thumbprint.as_str(), "secondaryThumbprint": null},
            "type": "selfSigned",
        }),
    }
}

pub(super) fn capabilities(spec: &DeviceSpec) -> Value {
    json!({ "iotEdge": spec.iot_edge })
}

fn is_key(text: &Option<String>, wanted: &SymmetricKey) -> bool {
    text.as_deref().and_then(|text| SymmetricKey::parse(text).ok()).is_some_and(|key| key == *wanted)
}

/// What a collection leaves in an empty twin: nulls delete, and annotations are the hub's.
fn content(collection: &Option<TwinCollection>) -> Map<String, Value> {
    collection.as_ref().map(|it| without_nulls(&without_annotations(it.as_map()))).unwrap_or_default()
}

fn without_nulls(object: &Map<String, Value>) -> Map<String, Value> {
    let kept = object.iter().filter(|(_, value)| !value.is_null());
    kept.map(|(name, value)| {
        let value = match value {
            Value::Object(inner) => Value::Object(without_nulls(inner)),
            other => other.clone(),
        };
        (name.clone(), value)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use testkit::sample;

    use super::*;

    fn collection(value: Value) -> Option<TwinCollection> {
        value.as_object().cloned().map(TwinCollection::from)
    }

    #[test]
    fn a_device_is_compared_by_credentials_and_capabilities() {
        let spec = sample::device_spec("d");
        let base = new_device(&spec);
        let check = |change: &dyn Fn(&mut Value), expected: bool| {
            let mut device = base.clone();
            change(&mut device);
            let found = Found::read(device.to_string().as_bytes()).unwrap();
            assert_eq!(found.is_as_ordered(&spec), expected, "{device}");
        };
        check(&|_| {}, true);
        check(&|device| device["status"] = json!("disabled"), true);
        check(&|device| device["authentication"]["type"] = json!("selfSigned"), false);
        check(&|device| device["authentication"]["symmetricKey"]["secondaryKey"] = json!("AAAA"), false);
        check(&|device| device["authentication"] = Value::Null, false);
        check(&|device| device["capabilities"] = json!({"iotEdge": false}), false);
        let certificate = HubCredentials::Certificate(certpath::Sha256Thumbprint::of(b"leaf"));
        let spec = DeviceSpec { credentials: certificate, ..spec };
        let mut device = new_device(&spec);
        let lower = certpath::Sha256Thumbprint::of(b"leaf").as_str().to_ascii_lowercase();
        device["authentication"]["x509Thumbprint"] = json!({"PrimaryThumbprint": lower});
        assert!(Found::read(device.to_string().as_bytes()).unwrap().is_as_ordered(&spec));
    }

    #[test]
    fn refreshing_echoes_what_it_does_not_change() {
        let spec = DeviceSpec { iot_edge: false, ..sample::device_spec("d") };
        let body = json!({"deviceId": "d", "etag": "MQ==", "status": "disabled", "statusReason": "lost",
            "deviceScope": "parent", "new": {"field": 1}, "authentication": {"type": "certificateAuthority"}});
        let found = |body: &Value| Found::read(body.to_string().as_bytes()).unwrap();
        let refreshed = found(&body).refreshed(&spec);
        for name in ["status", "statusReason", "deviceScope", "new", "etag"] {
            assert_eq!(refreshed[name], body[name], "{name}");
        }
        assert_eq!(refreshed["authentication"]["type"], "sas");
        let edge = DeviceSpec { iot_edge: true, ..spec };
        assert_eq!(found(&body).refreshed(&edge).get("deviceScope"), None);
    }

    #[test]
    fn twins_are_compared_without_the_hubs_annotations() {
        let twin = InitialTwin {
            tags: None,
            desired: collection(json!({"a": {"b": 1, "gone": null}, "list": [null], "$version": 7})),
        };
        let check = |shown: Value, expected: Option<bool>| {
            assert_eq!(holds(shown.to_string().as_bytes(), &twin), expected, "{shown}");
        };
        let desired = json!({"list": [null], "a": {"b": 1}, "$version": 2, "$metadata": {"a": {}}});
        check(json!({"tags": {}, "properties": {"desired": desired}}), Some(true));
        check(json!({"properties": {"desired": desired, "reported": {"on": true}}}), Some(true));
        check(json!({"tags": {"x": 1}, "properties": {"desired": desired}}), Some(false));
        check(json!({"properties": {"desired": {"a": {"b": 2}}}}), Some(false));
        check(json!({"properties": {}}), None);
        assert!(
            !is_blank(&twin)
                && is_blank(&InitialTwin { tags: collection(json!({"x": null})), desired: None })
        );
    }
}

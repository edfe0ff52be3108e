//! Writes device specs in the JSON of hubs, and compares them with the devices that hubs return.

use model::{DeviceSpec, Generation, HubCredentials, InitialTwin, SymmetricKey, TwinCollection};
use provisioning::ports::{Before, HubError};
use serde_json::{Map, Value, json};
use wire::hub::{AuthenticationType, Device, SymmetricKeyPair};

use crate::found::{self, without_annotations};

/// A device as the registry returned it: the fields that are known, and all fields unchanged.
pub(super) struct Found {
    device: Device,
    fields: Map<String, Value>,
}

impl Found {
    /// Parses a device; `None` if it is not valid.
    pub(super) fn read(body: &[u8]) -> Option<Found> {
        let fields: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let device = serde_json::from_value(Value::Object(fields.clone())).ok()?;
        Some(Found { device, fields })
    }

    /// Returns the fields that are known.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// Returns its version; `None` if the hub left it out.
    pub(super) fn etag(&self) -> Option<&str> {
        self.device.etag.as_deref()
    }

    /// Returns its generation; `None` if the hub left it out.
    pub(super) fn generation(&self) -> Option<Generation> {
        found::generation(&self.device)
    }

    /// Returns whether it has the credentials and capabilities of a spec.
    pub(super) fn matches(&self, spec: &DeviceSpec) -> bool {
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

    /// Returns the device with the credentials and capabilities of a spec, and every other field unchanged, because a PUT replaces
    /// all fields. The scopes of an IoT Edge device are made by the hub, and are left out when that capability changes.
    pub(super) fn updated(mut self, spec: &DeviceSpec) -> Map<String, Value> {
        if self.is_edge() != spec.iot_edge {
            self.fields.shift_remove("deviceScope");
            self.fields.shift_remove("parentScopes");
        }
        self.fields.insert("authentication".to_owned(), authentication(&spec.credentials));
        self.fields.insert("capabilities".to_owned(), capabilities(spec));
        self.fields
    }

    /// Returns whose device it is, for a spec of the same device ID.
    pub(super) fn before(&self, spec: &DeviceSpec) -> Result<Before, HubError> {
        let credentials = self.device.authentication.as_ref().and_then(crate::found::credentials);
        Before::judge(spec, credentials.as_ref())
    }

    fn is_edge(&self) -> bool {
        self.device.capabilities.is_some_and(|capabilities| capabilities.iot_edge)
    }
}

/// Returns the body that creates a device.
pub(super) fn new_device(spec: &DeviceSpec) -> Value {
    json!({
        "deviceId": spec.device_id.as_str(),
        "status": "enabled",
        "authentication": authentication(&spec.credentials),
        "capabilities": capabilities(spec),
    })
}

/// Returns the body of a bulk request that creates a device with its twin.
pub(super) fn new_device_with_twin(spec: &DeviceSpec, twin: &InitialTwin) -> Value {
    let mut entry = json!({
        "id": spec.device_id.as_str(),
        "importMode": "create",
        "status": "enabled",
        "authentication": authentication(&spec.credentials),
        "capabilities": capabilities(spec),
    });
    // A hub counts a part that is present as a change of the twin, even an empty one.
    let (tags, desired) = (content(&twin.tags), content(&twin.desired));
    if !tags.is_empty() {
        entry["tags"] = Value::Object(tags);
    }
    if !desired.is_empty() {
        entry["properties"] = json!({ "desired": desired });
    }
    Value::Array(vec![entry])
}

/// Returns the body that replaces tags and desired properties of a twin.
pub(super) fn whole_twin(twin: &InitialTwin) -> Value {
    json!({ "tags": content(&twin.tags), "properties": { "desired": content(&twin.desired) } })
}

/// Returns whether an initial twin is that of any new device.
pub(super) fn is_blank(twin: &InitialTwin) -> bool {
    content(&twin.tags).is_empty() && content(&twin.desired).is_empty()
}

/// Returns whether a twin, as the service API returns it, has just these tags and desired properties; `None` if it is not valid. Reported
/// properties do not count, for only the device may write them.
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

/// Returns what a collection leaves in an empty twin: a null deletes, and annotations are the hub's.
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
            assert_eq!(found.matches(&spec), expected, "{device}");
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
        assert!(Found::read(device.to_string().as_bytes()).unwrap().matches(&spec));
    }

    #[test]
    fn an_update_keeps_the_fields_that_it_does_not_change() {
        let spec = DeviceSpec { iot_edge: false, ..sample::device_spec("d") };
        let body = json!({"deviceId": "d", "etag": "MQ==", "status": "disabled", "statusReason": "lost",
            "deviceScope": "parent", "new": {"field": 1}, "authentication": {"type": "certificateAuthority"}});
        let found = |body: &Value| Found::read(body.to_string().as_bytes()).unwrap();
        let updated = found(&body).updated(&spec);
        for name in ["status", "statusReason", "deviceScope", "new", "etag"] {
            assert_eq!(updated[name], body[name], "{name}");
        }
        assert_eq!(updated["authentication"]["type"], "sas");
        let edge = DeviceSpec { iot_edge: true, ..spec };
        assert_eq!(found(&body).updated(&edge).get("deviceScope"), None);
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

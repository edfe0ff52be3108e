//! Reads a device that moves to another hub, and imports one that moves here.

use http::Method;
use model::{Carried, DeviceId, DeviceSpec, InitialTwin, Properties};
use provisioning::ports::{Ensured, HubDevice, HubError, HubVersion};
use serde_json::{Map, Value, json};

use super::{
    MAX_RACES, Outcome, RestConnector,
    answer::Answer,
    body::{self, Found},
    client::Request,
    device_path, request, twin_path,
};
use crate::found;

impl RestConnector {
    /// Reads identity and twin of a device.
    pub(super) async fn find(&self, device: &DeviceId) -> Result<Option<HubDevice>, HubError> {
        let path = device_path(device);
        let Answer::Done(body) = self.client.send(Request::new(Method::GET, &path), Answer::of).await? else {
            return Ok(None);
        };
        let identity = Found::read(&body).ok_or_else(|| self.invalid("device"))?;
        let version = identity.etag().ok_or_else(|| self.invalid("device"))?.to_owned();
        let path = twin_path(device);
        let Answer::Done(body) = self.client.send(Request::new(Method::GET, &path), Answer::of).await? else {
            return Ok(None);
        };
        let carried = carried(&body, &identity).ok_or_else(|| self.invalid("twin"))?;
        let credentials = identity.device().authentication.as_ref().and_then(found::credentials);
        let generation = identity.generation();
        Ok(Some(HubDevice { version: HubVersion(version), generation, credentials, carried }))
    }

    /// Creates or replaces a device as it was at another hub. The bulk request has the form of an exported device, with reported
    /// properties; if the hub refuses that, the device is sent without them. Identity and twin are in one request each time, so
    /// that a hub which refuses the twin does not keep the device without it.
    pub(super) async fn receive(&self, spec: &DeviceSpec, carried: &Carried) -> Result<Ensured, HubError> {
        match self.import(spec, carried, exported).await {
            Err(HubError::Refused(reason)) => {
                tracing::warn!(hub.name = %self.hub(), reason, "the hub refuses reported properties: the device is moved without them");
                let ensured = self.import(spec, carried, unreported).await?;
                self.replace_twin(spec, carried).await?;
                Ok(ensured)
            }
            outcome => outcome,
        }
    }

    async fn import(
        &self,
        spec: &DeviceSpec,
        carried: &Carried,
        describe: fn(&DeviceSpec, &Carried) -> Value,
    ) -> Result<Ensured, HubError> {
        for _ in 0..MAX_RACES {
            let (entry, known) = self.entry(spec, carried, describe).await?;
            let entries = Value::Array(vec![entry]);
            match self.client.send(request(Method::POST, "/devices", &entries), Answer::of_bulk).await? {
                (Answer::Done(_), is_without_twin) => {
                    if is_without_twin {
                        self.replace_twin(spec, carried).await?;
                    }
                    return self.imported(spec, known).await;
                }
                (Answer::Absent | Answer::Exists | Answer::Stale, _) => {}
            }
        }
        Err(self.conflict(spec))
    }

    /// Returns what the hub has after an import, given what it had before if that is `known`.
    async fn imported(&self, spec: &DeviceSpec, known: Option<Ensured>) -> Result<Ensured, HubError> {
        let took_over = match known {
            Some(known) if known.generation.is_some() => return Ok(known),
            known => known.is_some_and(|known| known.took_over),
        };
        match self.created(&spec.device_id).await? {
            Outcome::Done(created) => Ok(Ensured { took_over, ..created }),
            Outcome::Absent | Outcome::Conflict => Err(self.conflict(spec)),
        }
    }

    /// Returns the entry of a device in the bulk request, on condition of the version that the hub has now, and what the hub has
    /// once that is imported. A device that an operator disabled here stays disabled: an entry always says whether a device may
    /// connect.
    async fn entry(
        &self,
        spec: &DeviceSpec,
        carried: &Carried,
        describe: fn(&DeviceSpec, &Carried) -> Value,
    ) -> Result<(Value, Option<Ensured>), HubError> {
        let path = device_path(&spec.device_id);
        let Answer::Done(body) = self.client.send(Request::new(Method::GET, &path), Answer::of).await? else {
            let mut entry = describe(spec, carried);
            entry["importMode"] = "create".into();
            return Ok((entry, None));
        };
        let existing = Found::read(&body).ok_or_else(|| self.invalid("device"))?;
        let disabled = carried.disabled.clone().or_else(|| found::disabled(existing.device()));
        let mut entry = describe(spec, &Carried { disabled, ..carried.clone() });
        entry["importMode"] = "createOrUpdateIfMatchETag".into();
        entry["eTag"] = existing.etag().ok_or_else(|| self.invalid("device"))?.into();
        Ok((entry, Some(existing.before(spec)?.then(existing.generation()))))
    }

    /// Replaces tags and desired properties.
    async fn replace_twin(&self, spec: &DeviceSpec, carried: &Carried) -> Result<(), HubError> {
        let twin = InitialTwin {
            tags: Some(carried.tags.clone().into()),
            desired: Some(carried.desired.value.clone().into()),
        };
        match self.put_twin(&spec.device_id, &twin).await? {
            Answer::Done(_) => Ok(()),
            Answer::Absent | Answer::Exists | Answer::Stale => Err(self.conflict(spec)),
        }
    }
}

/// Returns the data of a device that moves.
fn carried(twin: &[u8], identity: &Found) -> Option<Carried> {
    let twin: Value = serde_json::from_slice(twin).ok()?;
    let properties = twin.get("properties")?;
    let section = |name: &str| properties.get(name).and_then(Value::as_object).map(found::properties);
    let tags = twin.get("tags").and_then(Value::as_object).map(found::without_annotations);
    Some(Carried {
        tags: tags.unwrap_or_default(),
        desired: section("desired")?,
        reported: section("reported").unwrap_or_default(),
        disabled: found::disabled(identity.device()),
    })
}

/// Returns an entry in the form of an export, with twin versions.
fn exported(spec: &DeviceSpec, carried: &Carried) -> Value {
    let mut entry = identity(spec, carried);
    entry["tags"] = Value::Object(carried.tags.clone());
    entry["properties"] =
        json!({"desired": versioned(&carried.desired), "reported": versioned(&carried.reported)});
    entry
}

/// Returns an entry without reported properties, and without versions, which are for exports only.
fn unreported(spec: &DeviceSpec, carried: &Carried) -> Value {
    let mut entry = identity(spec, carried);
    entry["tags"] = Value::Object(carried.tags.clone());
    entry["properties"] = json!({"desired": carried.desired.value});
    entry
}

fn identity(spec: &DeviceSpec, carried: &Carried) -> Value {
    let mut entry = json!({
        "id": spec.device_id.as_str(),
        "importMode": "createOrUpdate",
        "status": if carried.disabled.is_some() { "disabled" } else { "enabled" },
        "authentication": body::authentication(&spec.credentials),
        "capabilities": body::capabilities(spec),
    });
    if let Some(reason) = carried.disabled.as_deref().filter(|reason| !reason.is_empty()) {
        entry["statusReason"] = reason.into();
    }
    entry
}

fn versioned(section: &Properties) -> Map<String, Value> {
    let mut exported = section.value.clone();
    exported.insert("$version".to_owned(), section.version.into());
    exported
}

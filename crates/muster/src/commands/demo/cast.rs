//! The enrollments of the demo, of every kind and created over the service API, and their devices.

use std::sync::Arc;

use anyhow::{Context, bail};
use fleet::{
    BulkMode, CertificateAuthority, Device, ExpectedTwin, Member, ServiceClient, Transport, self_signed,
};
use model::{RegistrationId, SymmetricKey};
use serde_json::{Map, Value, json};

/// Individual enrollments of each kind; more would slow the demo, because they are created by single calls.
const MAX_INDIVIDUAL: usize = 100;

/// The number of devices for each kind of enrollment.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    certificate_group: usize,
    key_group: usize,
    /// Individual enrollments with a key, and the same number with a certificate.
    individual: usize,
}

/// Creates the enrollments and returns their devices, with all kinds mixed.
pub(super) async fn enroll(devices: usize, service: &mut ServiceClient) -> anyhow::Result<Vec<Member>> {
    let parts = Parts::of(devices);
    Ok(mixed(vec![
        certificate_group(parts.certificate_group, service).await.context("X.509 group")?,
        key_group(parts.key_group, service).await.context("symmetric-key group")?,
        individual_keys(parts.individual, service).await.context("individual enrollments with keys")?,
        individual_certificates(parts.individual, service)
            .await
            .context("individual enrollments with certificates")?,
    ]))
}

impl Parts {
    /// Enrolls a tenth of the devices individually, up to a maximum, and all others in groups.
    fn of(devices: usize) -> Parts {
        let individual = if devices < 4 { 0 } else { (devices / 20).clamp(1, MAX_INDIVIDUAL) };
        let grouped = devices - 2 * individual;
        Parts { certificate_group: grouped.div_ceil(2), key_group: grouped / 2, individual }
    }
}

/// Enrolls a root CA. Devices have certificates of an intermediate CA, and send it along.
async fn certificate_group(devices: usize, service: &mut ServiceClient) -> anyhow::Result<Vec<Member>> {
    let root = CertificateAuthority::root("Demo root CA")?;
    let factory = root.intermediate("Demo factory CA")?;
    let twin = twin(json!({"line": "cameras"}), json!({"framesPerSecond": 25, "upload": {"everySecs": 60}}));
    let signing = json!({"signingCertificates": {"primary": {"certificate": root.pem()}}});
    let group = json!({
        "enrollmentGroupId": "demo-cameras",
        "attestation": {"type": "x509", "x509": signing},
        "initialTwin": initial_twin(&twin),
    });
    service.create_group(&group).await?;
    members("X.509 group", devices, |number| {
        let id = RegistrationId::parse(format!("camera-{number}"))?;
        let identity = factory.issue(&id)?;
        Ok((Device::with_certificate(id, identity), Arc::clone(&twin)))
    })
}

/// Creates a group whose keys the service generates.
async fn key_group(devices: usize, service: &mut ServiceClient) -> anyhow::Result<Vec<Member>> {
    let twin =
        twin(json!({"line": "sensors"}), json!({"reportEverySecs": 300, "units": ["kelvin", "pascal"]}));
    let group = json!({
        "enrollmentGroupId": "demo-sensors",
        "attestation": {"type": "symmetricKey"},
        "initialTwin": initial_twin(&twin),
    });
    let key = primary_key(&service.create_group(&group).await?)?;
    members("symmetric-key group", devices, |number| {
        let id = RegistrationId::parse(format!("sensor-{number}"))?;
        Ok((Device::in_group(id, &key), Arc::clone(&twin)))
    })
}

/// Creates enrollments whose keys the service generates, each with its own device ID.
async fn individual_keys(devices: usize, service: &mut ServiceClient) -> anyhow::Result<Vec<Member>> {
    let mut made = Vec::with_capacity(devices);
    for number in 1..=devices {
        let twin = own_twin("gateways", number);
        let enrollment = json!({
            "registrationId": format!("gateway-{number}"),
            "deviceId": format!("building-{number}#gateway"),
            "attestation": {"type": "symmetricKey"},
            "initialTwin": initial_twin(&twin),
        });
        let key = primary_key(&service.create_enrollment(&enrollment).await?)?;
        let id = RegistrationId::parse(format!("gateway-{number}"))?;
        made.push((Device::with_key(id, key), twin));
    }
    let mut made = made.into_iter();
    members("individual, symmetric key", devices, |_| made.next().context("one device each"))
}

/// Enrolls self-signed certificates in bulk.
async fn individual_certificates(devices: usize, service: &mut ServiceClient) -> anyhow::Result<Vec<Member>> {
    let mut enrollments = Vec::with_capacity(devices);
    let members = members("individual, X.509", devices, |number| {
        let id = RegistrationId::parse(format!("lock-{number}"))?;
        let ((identity, pem), twin) = (self_signed(&id)?, own_twin("locks", number));
        let client = json!({"clientCertificates": {"primary": {"certificate": pem}}});
        enrollments.push(json!({
            "registrationId": id,
            "attestation": {"type": "x509", "x509": client},
            "initialTwin": initial_twin(&twin),
        }));
        Ok((Device::with_certificate(id, identity), twin))
    })?;
    for enrollments in enrollments.chunks(ServiceClient::BULK_LIMIT) {
        service.bulk(BulkMode::Create, enrollments).await?;
    }
    Ok(members)
}

/// Makes the members of one kind, which alternate between HTTPS and MQTT.
fn members(
    enrollment: &str,
    devices: usize,
    mut make: impl FnMut(usize) -> anyhow::Result<(Device, Arc<ExpectedTwin>)>,
) -> anyhow::Result<Vec<Member>> {
    let enrollment: Arc<str> = enrollment.into();
    let member = |number: usize| {
        let (device, twin) = make(number)?;
        let transport = if number.is_multiple_of(2) { Transport::Mqtt } else { Transport::Https };
        Ok(Member { device, enrollment: Arc::clone(&enrollment), transport, twin: Some(twin) })
    };
    (1..=devices).map(member).collect()
}

/// Interleaves the kinds, each spread evenly over the result.
fn mixed(kinds: Vec<Vec<Member>>) -> Vec<Member> {
    let mut ordered: Vec<(f64, Member)> = Vec::new();
    for kind in kinds {
        let count = kind.len() as f64;
        let position = |(index, member): (usize, Member)| ((index as f64 + 0.5) / count, member);
        ordered.extend(kind.into_iter().enumerate().map(position));
    }
    ordered.sort_by(|one, other| one.0.total_cmp(&other.0));
    ordered.into_iter().map(|(_, member)| member).collect()
}

fn own_twin(line: &str, number: usize) -> Arc<ExpectedTwin> {
    twin(json!({"line": line, "place": {"building": number}}), json!({"slot": number, "enabled": true}))
}

fn twin(tags: Value, desired: Value) -> Arc<ExpectedTwin> {
    let members = |value: Value| match value {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    Arc::new(ExpectedTwin { tags: members(tags), desired: members(desired) })
}

fn initial_twin(twin: &ExpectedTwin) -> Value {
    json!({"tags": twin.tags, "properties": {"desired": twin.desired}})
}

/// Returns the generated key from the reply of the service.
fn primary_key(enrollment: &Value) -> anyhow::Result<SymmetricKey> {
    let key = enrollment.pointer("/attestation/symmetricKey/primaryKey").and_then(Value::as_str);
    let Some(key) = key else { bail!("the reply to the PUT of an enrollment has no primary key") };
    Ok(SymmetricKey::parse(key)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_distributed_over_the_kinds() {
        for (devices, certificate_group, key_group, individual) in [
            (1, 1, 0, 0),
            (3, 2, 1, 0),
            (4, 1, 1, 1),
            (40, 18, 18, 2),
            (1000, 450, 450, 50),
            (99_999, 49_900, 49_899, 100),
        ] {
            assert_eq!(Parts::of(devices), Parts { certificate_group, key_group, individual }, "{devices}");
        }
    }

    #[test]
    fn kinds_are_spread_evenly_and_use_both_transports() {
        let key = SymmetricKey::from_bytes(&[7; 32]).unwrap();
        let kind = |name: &str, devices| {
            members(name, devices, |number| {
                let id = RegistrationId::parse(format!("{name}-{number}"))?;
                Ok((Device::with_key(id, key.clone()), own_twin(name, number)))
            })
            .unwrap()
        };
        let ids: Vec<String> = mixed(vec![kind("a", 4), kind("b", 2)])
            .iter()
            .map(|member| format!("{} {}", member.device.registration_id, member.transport))
            .collect();
        assert_eq!(ids, ["a-1 https", "b-1 https", "a-2 mqtt", "a-3 https", "b-2 mqtt", "a-4 mqtt"]);
    }
}

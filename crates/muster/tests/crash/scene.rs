//! The enrollments of the devices, and their initial twins.

use std::sync::Arc;

use fleet::{BulkMode, CertificateAuthority, Device, ServiceClient};
use model::{RegistrationId, SymmetricKey};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::deployment::Deployment;

/// The number of individual enrollments of each worker.
pub const INDIVIDUALS: usize = 20;

/// The credentials of the enrollments.
#[derive(Clone)]
pub struct Scene {
    group_key: SymmetricKey,
    authority: Arc<CertificateAuthority>,
}

/// The kind of enrollment of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An X.509 group.
    CertificateGroup,
    /// An individual enrollment with a key.
    Individual,
    /// A symmetric-key group.
    KeyGroup,
}

impl Scene {
    /// Creates the enrollments.
    pub async fn set(deployment: &Deployment) -> Scene {
        let mut service = deployment.service();
        let root = CertificateAuthority::root("Crash root").unwrap();
        let authority = root.intermediate("Crash factory").unwrap();
        let signing = json!({"signingCertificates": {"primary": {"certificate": root.pem()}}});
        let group_key = SymmetricKey::from_bytes(&[7; 32]).unwrap();
        let keys = json!({"primaryKey": group_key.to_base64(), "secondaryKey": group_key.to_base64()});
        let group = |id: &str, attestation: Value, kind: Kind| json!({"enrollmentGroupId": id, "attestation": attestation, "initialTwin": initial_twin(kind, "")});
        let x509 = json!({"type": "x509", "x509": signing});
        service.create_group(&group("certificates", x509, Kind::CertificateGroup)).await.unwrap();
        let symmetric = json!({"type": "symmetricKey", "symmetricKey": keys});
        service.create_group(&group("keys", symmetric, Kind::KeyGroup)).await.unwrap();

        let scene = Scene { group_key, authority: Arc::new(authority) };
        let individuals: Vec<Value> = (0..crate::WORKERS)
            .flat_map(|worker| (0..INDIVIDUALS).map(move |number| name(Kind::Individual, worker, number)))
            .map(|id| individual(&id))
            .collect();
        let mut creating = JoinSet::new();
        for some in individuals.chunks(ServiceClient::BULK_LIMIT) {
            let (mut service, some) = (deployment.service(), some.to_vec());
            creating.spawn(async move { service.bulk(BulkMode::Create, &some).await.unwrap() });
        }
        creating.join_all().await;
        scene
    }

    /// Makes a device with credentials for its kind of enrollment.
    pub fn device(&self, kind: Kind, id: &str) -> Device {
        let registration_id = RegistrationId::parse(id).unwrap();
        match kind {
            Kind::CertificateGroup => {
                let identity = self.authority.issue(&registration_id).unwrap();
                Device::with_certificate(registration_id, identity)
            }
            Kind::Individual => Device::with_key(registration_id, individual_key(id)),
            Kind::KeyGroup => Device::in_group(registration_id, &self.group_key),
        }
    }
}

/// Returns the registration ID of a worker's device.
pub fn name(kind: Kind, worker: usize, number: usize) -> String {
    let prefix = match kind {
        Kind::CertificateGroup => "x509",
        Kind::Individual => "single",
        Kind::KeyGroup => "key",
    };
    format!("{prefix}-{worker}-{number}")
}

/// Returns the tags of a new device.
pub fn tags(kind: Kind, id: &str) -> Value {
    match kind {
        Kind::CertificateGroup => json!({"line": "certificates"}),
        Kind::Individual => json!({"line": "individuals", "own": id}),
        Kind::KeyGroup => json!({"line": "keys"}),
    }
}

/// Returns the desired properties of a new device.
pub fn desired(kind: Kind, id: &str) -> Value {
    match kind {
        Kind::CertificateGroup => json!({"every": {"seconds": 25.1}}),
        Kind::Individual => json!({"own": id, "list": [1, 2.5, "ü"]}),
        Kind::KeyGroup => json!({"on": true}),
    }
}

fn initial_twin(kind: Kind, id: &str) -> Value {
    json!({"tags": tags(kind, id), "properties": {"desired": desired(kind, id)}})
}

/// Makes an individual enrollment.
pub fn individual(id: &str) -> Value {
    let key = individual_key(id).to_base64();
    json!({
        "registrationId": id,
        "deviceId": device_id(Kind::Individual, id),
        "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": key, "secondaryKey": key}},
        "initialTwin": initial_twin(Kind::Individual, id),
    })
}

/// Returns the device ID at the hub.
pub fn device_id(kind: Kind, id: &str) -> String {
    if kind == Kind::Individual { format!("{id}#device") } else { id.to_owned() }
}

/// Returns the key of an individual enrollment.
pub fn individual_key(id: &str) -> SymmetricKey {
    SymmetricKey::from_bytes(&[9; 32]).unwrap().derive(id)
}

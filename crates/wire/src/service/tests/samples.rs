//! Sample enrollments and a sample registration.

use model::*;
use serde_json::{Value, json};

pub const PEM: &str = include_str!("../golden/certificate.pem");

pub fn certificate() -> Certificate {
    Certificate::parse(PEM).unwrap()
}

pub fn keys() -> SymmetricKeyPair {
    let key = |byte| SymmetricKey::from_bytes(&[byte; 32]).unwrap();
    SymmetricKeyPair { primary: key(b'a'), secondary: key(b'b') }
}

pub fn tpm() -> TpmAttestation {
    TpmAttestation {
        endorsement_key: EndorsementKey::from_bytes(tpm_public(0xC1)).unwrap(),
        storage_root_key: StorageRootKey::from_bytes(tpm_public(0xC3)).ok(),
    }
}

/// Returns the `TPM2B_PUBLIC` of an RSA-2048 storage key.
fn tpm_public(byte: u8) -> Vec<u8> {
    let head =
        [1, 26, 0, 1, 0, 0x0B, 0, 3, 4, 0x72, 0, 0, 0, 6, 0, 128, 0, 0x43, 0, 0x10, 8, 0, 0, 0, 0, 0, 1, 0];
    [&head[..], &[byte; 256]].concat()
}

pub fn tpm_base64() -> String {
    tpm().endorsement_key.to_base64()
}

pub fn references() -> Pair<CaReference> {
    Pair::new(CaReference::parse("root-ca").ok(), CaReference::parse("next-ca").ok()).unwrap()
}

pub fn record() -> Record {
    Record {
        etag: Etag::parse("0123456789abcdef").unwrap(),
        created: Timestamp::parse("2026-11-22T08:15:30.1234567Z").unwrap(),
        last_updated: Timestamp::parse("2026-11-23T00:00:00Z").unwrap(),
    }
}

fn collection(value: Value) -> Option<TwinCollection> {
    value.as_object().cloned().map(TwinCollection::from)
}

/// Returns settings with every member set.
pub fn settings() -> EnrollmentSettings {
    EnrollmentSettings {
        provisioning_status: ProvisioningStatus::Disabled,
        iot_edge: Some(true),
        initial_twin: Some(InitialTwin {
            tags: collection(json!({"site": "A", "floors": [1, {"b": 0}]})),
            desired: collection(json!({"values": [{"z": 1.5}, {"a": "ü"}]})),
        }),
        reprovision_policy: Some(ReprovisionPolicy::Reset),
        allocation_policy: Some(AllocationPolicy::GeoLatency),
        hubs: vec![HubName::parse("hub-1.test").unwrap(), HubName::parse("hub-2.test").unwrap()],
        hub: HubName::parse("hub-1.test").ok(),
        custom_allocation: Some(CustomAllocation {
            webhook_url: "https://web.hook/allocate?code=1".into(),
            api_version: "2019-03-31".into(),
        }),
        certificate_policy: CertificatePolicy {
            credential_policy: Some("credentials".into()),
            namespace: Some("name-space".into()),
            authority: Some("Authority-1".into()),
            policy: Some("Policy-1".into()),
        },
        managed_by: None,
    }
}

pub fn individual(attestation: IndividualAttestation) -> IndividualEnrollment {
    IndividualEnrollment {
        registration_id: RegistrationId::parse("Dev-1").unwrap(),
        device_id: None,
        attestation,
        device_information: None,
        settings: EnrollmentSettings::default(),
        record: record(),
    }
}

/// Returns an individual enrollment with every member set.
pub fn full_individual() -> IndividualEnrollment {
    IndividualEnrollment {
        device_id: DeviceId::parse("device-1").ok(),
        device_information: collection(json!({"made": {"by": "us"}})),
        settings: settings(),
        ..individual(IndividualAttestation::SymmetricKey(keys()))
    }
}

pub fn group(attestation: GroupAttestation) -> EnrollmentGroup {
    EnrollmentGroup {
        group_id: EnrollmentGroupId::parse("Group-1").unwrap(),
        attestation,
        registration_ids: None,
        settings: EnrollmentSettings::default(),
        record: record(),
    }
}

pub fn registration() -> Registration {
    let spec = DeviceSpec {
        hub: HubName::parse("hub-1.test").unwrap(),
        device_id: DeviceId::parse("device-1").unwrap(),
        substatus: Substatus::InitialAssignment,
        credentials: HubCredentials::SymmetricKeys(keys()),
        iot_edge: false,
        twin: TwinSpec::Keep { initial: InitialTwin::default() },
        sent: Vec::new(),
        existing: Default::default(),
    };
    Registration {
        registration_id: RegistrationId::parse("Dev-1").unwrap(),
        enrollment: EnrollmentRef::Individual,
        attestation: LastAttestation::SymmetricKey(None),
        status: Status::Assigned(spec.assignment()),
        operation_id: OperationId::parse("5.1").unwrap(),
        payload: None,
        decisions: model::Decisions::default(),
        record: record(),
    }
}

//! The stored form of registrations, in which the members about the attestation can be combined in ways that mean nothing. All
//! of them are read.

use serde::{Deserialize, Serialize, Serializer};

use super::{AttestedBy, EnrollmentRef, LastAttestation, Registration, Status, TpmHandover};
use crate::{Decisions, KeyUse, OperationId, RawJson, Record, RegistrationId};

/// A registration as it is read.
#[derive(Deserialize)]
pub(super) struct StoredRegistration {
    registration_id: RegistrationId,
    enrollment: EnrollmentRef,
    attested_by: AttestedBy,
    key: Option<KeyUse>,
    status: Status,
    operation_id: OperationId,
    payload: Option<RawJson>,
    tpm: Option<TpmHandover>,
    #[serde(default)]
    decisions: Decisions,
    record: Record,
}

/// A registration as it is written, without a copy of it.
#[derive(Serialize)]
struct WrittenRegistration<'a> {
    registration_id: &'a RegistrationId,
    enrollment: &'a EnrollmentRef,
    attested_by: AttestedBy,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a KeyUse>,
    status: &'a Status,
    operation_id: &'a OperationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tpm: Option<&'a TpmHandover>,
    #[serde(skip_serializing_if = "Decisions::is_empty")]
    decisions: &'a Decisions,
    record: &'a Record,
}

impl From<StoredRegistration> for Registration {
    fn from(stored: StoredRegistration) -> Registration {
        Registration {
            registration_id: stored.registration_id,
            enrollment: stored.enrollment,
            attestation: attestation(stored.attested_by, stored.key, stored.tpm),
            status: stored.status,
            operation_id: stored.operation_id,
            payload: stored.payload,
            decisions: stored.decisions,
            record: stored.record,
        }
    }
}

/// Hub keys are those of a TPM, whatever else the record says: only that TPM can use them. A TPM without hub keys is read as a
/// key that is not known: when the device returns, it gets new ones.
fn attestation(by: AttestedBy, key: Option<KeyUse>, tpm: Option<TpmHandover>) -> LastAttestation {
    match (by, tpm) {
        (_, Some(handover)) => LastAttestation::Tpm(Box::new(handover)),
        (AttestedBy::SymmetricKey | AttestedBy::Tpm, None) => LastAttestation::SymmetricKey(key),
        (AttestedBy::X509, None) => LastAttestation::X509,
    }
}

impl Serialize for Registration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Registration {
            registration_id,
            enrollment,
            attestation,
            status,
            operation_id,
            payload,
            decisions,
            record,
        } = self;
        let written = WrittenRegistration {
            registration_id,
            enrollment,
            attested_by: attestation.mechanism(),
            key: attestation.key(),
            status,
            operation_id,
            payload: payload.as_ref(),
            tpm: attestation.handover(),
            decisions,
            record,
        };
        written.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use crate::{KeySlot, SymmetricKey, SymmetricKeyPair};

    use super::*;

    /// No version wrote these. The store's golden files have hub keys beside another mechanism.
    #[test]
    fn combinations_that_cannot_be_are_read() {
        let key = SymmetricKey::from_bytes(&[1; 32]).unwrap();
        let keys = SymmetricKeyPair { primary: key.clone(), secondary: key };
        let key = Some(KeyUse::of(&keys, KeySlot::Primary));
        assert_eq!(attestation(AttestedBy::X509, key.clone(), None), LastAttestation::X509);
        for key in [None, key] {
            let found = attestation(AttestedBy::Tpm, key.clone(), None);
            assert_eq!(found, LastAttestation::SymmetricKey(key));
        }
    }
}

//! A digest of what an enrollment accepts as proof, by which a later change is noticed.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    CaReference, Certificate, Enrollment, GroupAttestation, GroupCertificates, IndividualAttestation,
    IndividualCertificates, Pair, SymmetricKeyPair,
};

/// A digest of what an enrollment accepts as proof, without its secrets. Equal for two versions of an enrollment that admit the same
/// devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttestationDigest(String);

impl AttestationDigest {
    /// Computes the digest of an enrollment. The storage root key of a TPM does not count, because the service learns it when it
    /// admits the device.
    pub fn of(enrollment: &Enrollment) -> AttestationDigest {
        let mut parts = Parts(digest::Context::new(&digest::SHA256));
        match enrollment {
            Enrollment::Individual(enrollment) => match &enrollment.attestation {
                IndividualAttestation::SymmetricKey(keys) => parts.keys(keys),
                IndividualAttestation::Tpm(tpm) => parts.part(b"tpm", tpm.endorsement_key.as_bytes()),
                IndividualAttestation::X509(IndividualCertificates::Client(leaves)) => {
                    parts.certificates(b"client", leaves);
                }
                IndividualAttestation::X509(IndividualCertificates::CaReferences(names)) => {
                    parts.names(names)
                }
            },
            Enrollment::Group(group) => match &group.attestation {
                GroupAttestation::SymmetricKey(keys) => parts.keys(keys),
                GroupAttestation::X509(GroupCertificates::Signing(pair)) => {
                    parts.certificates(b"signing", pair);
                }
                GroupAttestation::X509(GroupCertificates::CaReferences(names)) => parts.names(names),
            },
        }
        AttestationDigest(STANDARD_NO_PAD.encode(parts.0.finish().as_ref().get(..16).unwrap_or_default()))
    }
}

struct Parts(digest::Context);

impl Parts {
    /// Adds a part with its kind and length, so that no two lists of parts have the same bytes.
    fn part(&mut self, kind: &[u8], bytes: &[u8]) {
        for piece in [kind, bytes] {
            self.0.update(&piece.len().to_le_bytes());
            self.0.update(piece);
        }
    }

    fn keys(&mut self, keys: &SymmetricKeyPair) {
        keys.iter().for_each(|key| self.part(b"key", key.as_bytes()));
    }

    fn certificates(&mut self, kind: &[u8], pair: &Pair<Certificate>) {
        pair.iter().for_each(|certificate| self.part(kind, certificate.thumbprint().as_str().as_bytes()));
    }

    fn names(&mut self, names: &Pair<CaReference>) {
        names.iter().for_each(|name| self.part(b"ca", name.key().as_bytes()));
    }
}

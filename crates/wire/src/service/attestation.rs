//! Attestation mechanisms: `AttestationMechanism`.

use model::{
    CaReference, Certificate, EndorsementKey, GroupAttestation, GroupAttestationDraft, GroupCertificates,
    IndividualAttestation, IndividualAttestationDraft, IndividualCertificates, KeysDraft, Pair,
    StorageRootKey, SymmetricKey, SymmetricKeyPair, TpmAttestation,
};
use serde_json::Value;

use super::{
    certificate,
    members::{BodyError, Members, Object},
};

/// Whether symmetric keys are included in a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// In exports, which also have the certificates themselves.
    Exported,
    /// In replies to writes and to requests for the attestation mechanism.
    Shown,
    /// In all other replies.
    Hidden,
}

/// The value of `type`.
#[derive(Clone, Copy)]
enum Mechanism {
    None,
    SymmetricKey,
    Tpm,
    X509,
}

const MECHANISMS: [(&str, Mechanism); 4] = [
    ("symmetricKey", Mechanism::SymmetricKey),
    ("tpm", Mechanism::Tpm),
    ("x509", Mechanism::X509),
    ("none", Mechanism::None),
];

/// Parses the attestation of an individual enrollment. Only the member that `type` names is parsed.
pub(super) fn read_individual(enrollment: &Members<'_>) -> Result<IndividualAttestationDraft, BodyError> {
    let attestation = enrollment.required("attestation", enrollment.object("attestation")?)?;
    match mechanism(&attestation)? {
        Mechanism::SymmetricKey => Ok(IndividualAttestationDraft::SymmetricKey(keys(&attestation)?)),
        Mechanism::Tpm => Ok(IndividualAttestationDraft::Tpm(tpm(&attestation)?)),
        Mechanism::None => Err(attestation.refuse("type", "must not be none")),
        Mechanism::X509 => match x509(&attestation)? {
            X509Draft { client: Some(pair), signing: None, references: None } => {
                Ok(IndividualAttestationDraft::ClientCertificates(pair))
            }
            X509Draft { client: None, signing: None, references: Some(names) } => {
                Ok(IndividualAttestationDraft::CaReferences(names))
            }
            _ => Err(attestation.refuse("x509", "must have either clientCertificates or caReferences")),
        },
    }
}

/// Parses the attestation of an enrollment group.
pub(super) fn read_group(enrollment: &Members<'_>) -> Result<GroupAttestationDraft, BodyError> {
    let attestation = enrollment.required("attestation", enrollment.object("attestation")?)?;
    match mechanism(&attestation)? {
        Mechanism::SymmetricKey => Ok(GroupAttestationDraft::SymmetricKey(keys(&attestation)?)),
        Mechanism::Tpm | Mechanism::None => {
            Err(attestation.refuse("type", "must be symmetricKey or x509 for an enrollment group"))
        }
        Mechanism::X509 => match x509(&attestation)? {
            X509Draft { client: None, signing: Some(pair), references: None } => {
                Ok(GroupAttestationDraft::SigningCertificates(pair))
            }
            X509Draft { client: None, signing: None, references: Some(names) } => {
                Ok(GroupAttestationDraft::CaReferences(names))
            }
            _ => Err(attestation.refuse("x509", "must have either signingCertificates or caReferences")),
        },
    }
}

fn mechanism(attestation: &Members<'_>) -> Result<Mechanism, BodyError> {
    attestation.required("type", attestation.word("type", &MECHANISMS)?)
}

/// Parses symmetric keys. Keys that are absent, null or empty are generated or kept later; the whole object may be
/// absent.
fn keys(attestation: &Members<'_>) -> Result<KeysDraft, BodyError> {
    let Some(keys) = attestation.object("symmetricKey")? else { return Ok(KeysDraft::default()) };
    Ok(KeysDraft {
        primary: keys.parsed("primaryKey", SymmetricKey::parse)?,
        secondary: keys.parsed("secondaryKey", SymmetricKey::parse)?,
    })
}

fn tpm(attestation: &Members<'_>) -> Result<TpmAttestation, BodyError> {
    let tpm = attestation.required("tpm", attestation.object("tpm")?)?;
    let endorsement_key = tpm.parsed("endorsementKey", EndorsementKey::parse)?;
    Ok(TpmAttestation {
        endorsement_key: tpm.required("endorsementKey", endorsement_key)?,
        storage_root_key: tpm.parsed("storageRootKey", StorageRootKey::parse)?,
    })
}

/// The members of `x509`; a member with two empty slots counts as absent.
struct X509Draft {
    client: Option<Pair<model::CertificateDraft>>,
    signing: Option<Pair<model::CertificateDraft>>,
    references: Option<Pair<CaReference>>,
}

fn x509(attestation: &Members<'_>) -> Result<X509Draft, BodyError> {
    let x509 = attestation.required("x509", attestation.object("x509")?)?;
    Ok(X509Draft {
        client: certificate::read_pair(&x509, "clientCertificates")?,
        signing: certificate::read_pair(&x509, "signingCertificates")?,
        references: references(&x509)?,
    })
}

fn references(x509: &Members<'_>) -> Result<Option<Pair<CaReference>>, BodyError> {
    let Some(pair) = x509.object("caReferences")? else { return Ok(None) };
    Ok(Pair::new(pair.parsed("primary", CaReference::parse)?, pair.parsed("secondary", CaReference::parse)?))
}

/// Writes the attestation of an individual enrollment.
pub fn individual_mechanism_json(attestation: &IndividualAttestation, secrets: Secrets) -> Value {
    match attestation {
        IndividualAttestation::SymmetricKey(pair) => keys_json(pair, secrets),
        IndividualAttestation::Tpm(tpm) => mechanism_json("tpm", Some(tpm_json(tpm))),
        IndividualAttestation::X509(IndividualCertificates::Client(pair)) => {
            x509_json("clientCertificates", certificates_json(pair, secrets))
        }
        IndividualAttestation::X509(IndividualCertificates::CaReferences(names)) => {
            x509_json("caReferences", references_json(names))
        }
    }
}

/// Writes the attestation of an enrollment group.
pub fn group_mechanism_json(attestation: &GroupAttestation, secrets: Secrets) -> Value {
    match attestation {
        GroupAttestation::SymmetricKey(pair) => keys_json(pair, secrets),
        GroupAttestation::X509(GroupCertificates::Signing(pair)) => {
            x509_json("signingCertificates", certificates_json(pair, secrets))
        }
        GroupAttestation::X509(GroupCertificates::CaReferences(names)) => {
            x509_json("caReferences", references_json(names))
        }
    }
}

fn mechanism_json(kind: &str, member: Option<Value>) -> Value {
    let mut json = Object::default();
    json.put("type", kind).put_some(kind, member);
    json.into_value()
}

fn x509_json(name: &str, member: Value) -> Value {
    let mut x509 = Object::default();
    x509.put(name, member);
    mechanism_json("x509", Some(x509.into_value()))
}

fn certificates_json(pair: &Pair<Certificate>, secrets: Secrets) -> Value {
    match secrets {
        Secrets::Exported => certificate::whole_pair_json(pair),
        Secrets::Shown | Secrets::Hidden => certificate::pair_json(pair),
    }
}

fn keys_json(pair: &SymmetricKeyPair, secrets: Secrets) -> Value {
    let shown = (secrets != Secrets::Hidden).then(|| {
        let mut keys = Object::default();
        keys.put("primaryKey", pair.primary.to_base64()).put("secondaryKey", pair.secondary.to_base64());
        keys.into_value()
    });
    mechanism_json("symmetricKey", shown)
}

pub(super) fn tpm_json(tpm: &TpmAttestation) -> Value {
    let mut json = Object::default();
    json.put("endorsementKey", tpm.endorsement_key.to_base64())
        .put_some("storageRootKey", tpm.storage_root_key.as_ref().map(StorageRootKey::to_base64));
    json.into_value()
}

fn references_json(names: &Pair<CaReference>) -> Value {
    let mut json = Object::default();
    json.put_some("primary", names.primary().map(CaReference::as_str))
        .put_some("secondary", names.secondary().map(CaReference::as_str));
    json.into_value()
}

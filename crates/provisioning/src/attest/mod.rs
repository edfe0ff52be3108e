//! Attestation: verifying a device's identity.
//!
//! What a device presents is [`Evidence`]; what an enrollment accepts is its attestation mechanism. The functions here
//! compare the two and create an [`Attested`] only if they match. Nothing else can create one, and no registration
//! continues without one. A [`Refusal`] names the rule that failed, for the operator; the device learns only that it was
//! refused.

mod explain;
mod ownership;
mod reason;
mod symmetric_key;
pub mod tpm;
mod trace;
pub mod x509;

pub(crate) use explain::{early_explanation, explanation};
pub use ownership::OtherIds;
pub use trace::{AttestationTrace, Considered};

use std::sync::Arc;

use certpath::PresentedChain;
use model::{
    AttestedBy, DeviceId, Enrollment, EnrollmentGroup, EnrollmentGroupId, EnrollmentRef, EnrollmentSettings,
    GroupAttestation, HubCredentials, IdScope, IndividualAttestation, IndividualCertificates,
    IndividualEnrollment, InitialTwin, KeyUse, LastAttestation, OperationId, RegistrationId, SignedClaim,
    Timestamp, TpmIdentity,
};
use rustls_pki_types::CertificateDer;

use crate::Error;
use symmetric_key::{GroupClaim, Signer};
use tpm::{ChallengeContext, OpenedChallenge, PresentedTpm};
use x509::CaRules;

/// The number of groups whose keys a token is compared with at once: enough to keep the processor busy, few enough that a device
/// of an early group costs little.
const GROUPS_AT_ONCE: usize = 16;

/// What a device presented (RFC 9334). It is unverified, but for one thing: the TLS handshake has shown that the device holds the
/// private key of its leaf certificate.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// A signed claim (SAS token), if one was sent.
    pub claim: Option<SignedClaim>,
    /// The client certificates as sent in the TLS handshake, in DER, the leaf first; empty if there were none.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// The public keys of its TPM, if it sent them.
    pub tpm: Option<PresentedTpm>,
}

impl Evidence {
    /// Returns the TPM of a device that sent no token yet: it can only be challenged.
    pub(crate) fn unproven_tpm(&self) -> Option<TpmIdentity> {
        let tpm = self.tpm.as_ref().filter(|_| self.claim.is_none());
        tpm.and_then(PresentedTpm::identity)
    }
}

/// A device that registers, with its evidence and the circumstances by which that is verified.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// The ID scope that the device addressed.
    pub scope: &'a IdScope,
    /// The registration ID.
    pub registration_id: &'a RegistrationId,
    /// The evidence.
    pub evidence: &'a Evidence,
    /// The challenges that a TPM may have opened; `None` where no proof by TPM is expected.
    pub tpm: Option<&'a ChallengeContext<'a>>,
    /// The trust of the instance, and its rules for CAs.
    pub ca: CaRules<'a>,
    /// The current time.
    pub now: Timestamp,
}

/// The result of comparing evidence with an enrollment.
#[derive(Debug, Clone)]
pub enum Proof {
    /// The device's identity is verified.
    Attested(Box<Attested>),
    /// It is to be verified by a challenge to this TPM.
    Challenge(TpmIdentity),
}

impl From<Attested> for Proof {
    fn from(attested: Attested) -> Self {
        Proof::Attested(Box::new(attested))
    }
}

/// Evidence that was verified against an enrollment. Created only in this module.
#[derive(Debug, Clone)]
pub struct Attested {
    enrollment: Enrollment,
    credentials: HubCredentials,
    by: Means,
    moved_from: Option<EnrollmentGroupId>,
}

/// What a device attested by.
#[derive(Debug, Clone)]
enum Means {
    /// This symmetric key of its enrollment, directly or derived.
    SymmetricKey(KeyUse),
    /// A client certificate.
    X509,
    /// A challenge that its TPM opened.
    Tpm(OpenedChallenge),
}

impl Attested {
    fn by_group(group: &Arc<EnrollmentGroup>, credentials: HubCredentials, by: Means) -> Self {
        let enrollment = Enrollment::Group(Arc::clone(group));
        Attested { enrollment, credentials, by, moved_from: None }
    }

    /// Returns which enrollment admits the device.
    pub fn enrollment(&self) -> EnrollmentRef {
        self.enrollment.reference()
    }

    /// Returns the enrollment itself.
    pub fn admitted_by(&self) -> &Enrollment {
        &self.enrollment
    }

    /// Returns the enrollment's settings for provisioning.
    pub fn settings(&self) -> &EnrollmentSettings {
        self.enrollment.settings()
    }

    /// Returns the device ID that the enrollment sets: the desired one, else the registration ID as it was enrolled. `None` for
    /// a group, which sets none.
    pub fn device_id(&self) -> Option<DeviceId> {
        match &self.enrollment {
            Enrollment::Individual(enrollment) => {
                let enrolled = || DeviceId::from(&enrollment.registration_id);
                Some(enrollment.device_id.clone().unwrap_or_else(enrolled))
            }
            Enrollment::Group(_) => None,
        }
    }

    /// Returns the initial twin.
    pub fn initial_twin(&self) -> InitialTwin {
        self.settings().initial_twin.clone().unwrap_or_default()
    }

    /// Returns the credentials with which the device connects to its hub.
    pub fn credentials(&self) -> &HubCredentials {
        &self.credentials
    }

    /// Returns the attestation mechanism.
    pub fn by(&self) -> AttestedBy {
        match self.by {
            Means::SymmetricKey(_) => AttestedBy::SymmetricKey,
            Means::X509 => AttestedBy::X509,
            Means::Tpm(_) => AttestedBy::Tpm,
        }
    }

    /// Returns which symmetric key of the enrollment it used, if any.
    pub fn key(&self) -> Option<&KeyUse> {
        match &self.by {
            Means::SymmetricKey(key) => Some(key),
            Means::X509 | Means::Tpm(_) => None,
        }
    }

    /// Returns what the registration keeps of the attestation.
    pub fn to_record(&self) -> LastAttestation {
        match &self.by {
            Means::SymmetricKey(key) => LastAttestation::SymmetricKey(Some(key.clone())),
            Means::X509 => LastAttestation::X509,
            Means::Tpm(opened) => LastAttestation::Tpm(Box::new(opened.handover())),
        }
    }
}

/// Why a device was refused. The texts name the rule, for operators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No enrollment matches.
    #[error("no enrollment of this ID scope fits the device")]
    NoEnrollment,
    /// The device addresses another instance.
    #[error("the device addresses the ID scope {0}, which is not this instance's")]
    OtherScope(IdScope),
    /// The mechanism needs a SAS token, and none was sent.
    #[error("the enrollment wants a SAS token and the device sent none")]
    NoToken,
    /// The mechanism needs a client certificate, and none was sent.
    #[error("the enrollment wants a client certificate and the device sent none")]
    NoCertificate,
    /// The device sent no evidence.
    #[error("the device sent neither a SAS token, a client certificate nor the keys of a TPM")]
    NoEvidence,
    /// The token has expired.
    #[error("the SAS token expired, clock skew included, at {0}")]
    Expired(Timestamp),
    /// The token is for another resource.
    #[error("the SAS token is for {0:?}, not for this registration")]
    OtherResource(String),
    /// The token was signed with another key.
    #[error("the SAS token's signature fits neither key")]
    Signature,
    /// The leaf is not the enrolled one.
    #[error("the client certificate {0} is not one of the enrollment's")]
    OtherCertificate(String),
    /// The certificates are refused.
    #[error(transparent)]
    Certificate(#[from] x509::CertificateRefusal),
    /// The certificates do not lead to those of the group.
    #[error("the device's certificates do not lead to the group's")]
    NoPathToGroup,
    /// The group is for other devices.
    #[error(transparent)]
    OtherIds(#[from] OtherIds),
    /// The device belongs to another enrollment group.
    #[error(
        "the device is registered through the enrollment group {0}, which exists and does not admit what it presents"
    )]
    RegisteredElsewhere(EnrollmentGroupId),
    /// The group that the device belongs to admits it as well.
    #[error("the enrollment group that the device is registered through admits it, too, and keeps it")]
    KeptByOwnGroup,
    /// Another group's certificate is nearer to the leaf.
    #[error("another group's certificate is nearer the device's leaf, or blocks it")]
    NotNearest,
    /// The mechanism needs the keys of a TPM, and none were sent.
    #[error("the enrollment wants a TPM and the device named none")]
    NoTpm,
    /// The endorsement key is not the enrolled one.
    #[error("the TPM's endorsement key is not the enrolled one")]
    OtherTpm,
    /// The storage root key is not the enrolled one.
    #[error("the TPM's storage root key is not the one it had before: its owner has cleared it")]
    OtherStorageRootKey,
    /// The storage root key is neither known nor sent.
    #[error("the device did not send its TPM's storage root key, which is not known yet")]
    NoStorageRootKey,
    /// The token was not signed with the key of an open challenge.
    #[error("the SAS token was not signed with the key of a TPM challenge that is open for the registration")]
    NoOpenChallenge,
    /// The proof was used before.
    #[error("the proof was used already, for operation {0}")]
    UsedChallenge(OperationId),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let message = match refusal {
            // Its token was verified, so this discloses nothing, and it says what to do next.
            Refusal::UsedChallenge(_) => {
                "The TPM challenge is not open; ask for a new one by registering without a token."
            }
            _ => "Unauthorized",
        };
        Error::Unauthorized { message, reason: refusal.to_string() }
    }
}

impl Refusal {
    /// Converts the refusal to the error for a device with this evidence. The message depends on the evidence, never on the rule or
    /// the enrollment, so that a stranger does not learn from it which devices are enrolled or how.
    pub(crate) fn into_error(self, evidence: &Evidence) -> Error {
        match Error::from(self) {
            Error::Unauthorized { message: "Unauthorized", reason }
                if evidence.claim.is_none() && !evidence.certificates.is_empty() =>
            {
                Error::Unauthorized { message: "Invalid certificate.", reason }
            }
            error => error,
        }
    }
}

/// Compares the evidence with an individual enrollment of the same registration ID.
pub fn individual(enrollment: IndividualEnrollment, claimant: &Claimant<'_>) -> Result<Proof, Refusal> {
    let (credentials, by) = match &enrollment.attestation {
        IndividualAttestation::SymmetricKey(keys) => {
            let key = KeyUse::of(keys, symmetric_key::verify(claimant, keys)?);
            (HubCredentials::SymmetricKeys(keys.clone()), Means::SymmetricKey(key))
        }
        IndividualAttestation::X509(IndividualCertificates::Client(leaves)) => {
            let thumbprint = x509::verify_enrolled_leaf(&presented(claimant)?, leaves, claimant)?;
            (HubCredentials::Certificate(thumbprint), Means::X509)
        }
        IndividualAttestation::X509(IndividualCertificates::CaReferences(names)) => {
            let thumbprint = x509::known::verify_path_to(&presented(claimant)?, names, claimant)?;
            (HubCredentials::Certificate(thumbprint), Means::X509)
        }
        IndividualAttestation::Tpm(enrolled) if claimant.evidence.claim.is_none() => {
            return tpm::to_challenge(claimant, enrolled).map(Proof::Challenge);
        }
        IndividualAttestation::Tpm(enrolled) => {
            let expected = claimant.tpm.ok_or(Refusal::NoOpenChallenge)?;
            let opened = tpm::verify(claimant, enrolled, expected)?;
            (HubCredentials::SymmetricKeys(opened.hub_keys().clone()), Means::Tpm(opened))
        }
    };
    let enrollment = Enrollment::Individual(Box::new(enrollment));
    Ok(Attested { enrollment, credentials, by, moved_from: None }.into())
}

/// Finds the symmetric-key group whose derived key signed the token, trying `likely` first. A token does not name the group, so
/// each one is tried.
pub fn symmetric_key_group(
    groups: &[Arc<EnrollmentGroup>],
    likely: Option<&EnrollmentRef>,
    claimant: &Claimant<'_>,
) -> AttestationTrace {
    let claim = match symmetric_key::claim_for(claimant) {
        Ok(claim) => claim,
        Err(refusal) => return AttestationTrace::without_candidates(refusal),
    };
    let is_likely = |group: &&Arc<EnrollmentGroup>| matches!(likely, Some(EnrollmentRef::Group(id)) if *id == group.group_id);
    let (first, others): (Vec<_>, Vec<_>) = groups.iter().partition(is_likely);
    let id = claimant.registration_id;
    let lower = id.key();
    let claim = GroupClaim::new(&claim, id.as_str(), &lower);
    let mut trace = AttestationTrace::without_candidates(Refusal::NoEnrollment);
    for groups in std::iter::once(first.as_slice()).chain(others.chunks(GROUPS_AT_ONCE)) {
        if let Some(attested) = signed_for_one_of(groups, &claim, id, &mut trace) {
            return AttestationTrace { outcome: Ok(attested.into()), ..trace };
        }
    }
    trace
}

/// Returns the attested device if one of these groups' keys signed its claim. No MAC is computed for groups for other devices.
fn signed_for_one_of(
    groups: &[&Arc<EnrollmentGroup>],
    claim: &GroupClaim<'_>,
    id: &RegistrationId,
    trace: &mut AttestationTrace,
) -> Option<Attested> {
    let candidates = groups.iter().filter_map(|group| match &group.attestation {
        GroupAttestation::SymmetricKey(keys) => Some((*group, keys, ownership::other_ids(group, id))),
        GroupAttestation::X509(_) => None,
    });
    let candidates: Vec<_> = candidates.collect();
    let keys: Vec<_> =
        candidates.iter().filter(|(_, _, other)| other.is_none()).map(|(_, keys, _)| *keys).collect();
    let mut signer = claim.signer_among(&keys);
    let mut tried = 0..;
    for (group, keys, other_ids) in candidates {
        if let Some(other) = other_ids {
            trace.pass_over(group, other.into());
            continue;
        }
        let at = tried.next();
        if let Some(Signer { slot, device_keys, .. }) = signer.take_if(|signer| Some(signer.group) == at) {
            trace.considered.push(Considered::group(group, Ok(Vec::new())));
            let credentials = HubCredentials::SymmetricKeys(device_keys);
            let by = Means::SymmetricKey(KeyUse::of(keys, slot));
            return Some(Attested::by_group(group, credentials, by));
        }
        trace.pass_over(group, Refusal::Signature);
        trace.outcome = Err(Refusal::Signature);
    }
    None
}

/// Finds the X.509 group that admits the leaf of `chain`, the certificates that the device sent, completed by stored ones: the
/// group that it is registered through, else the nearest. `groups` are those whose signing certificates may have issued one of
/// the certificates, and those that name CAs.
pub fn x509_group(
    groups: &[Arc<EnrollmentGroup>],
    chain: &PresentedChain<'_>,
    likely: Option<&EnrollmentRef>,
    claimant: &Claimant<'_>,
) -> AttestationTrace {
    x509::groups::evaluate(groups, chain, likely, claimant)
}

fn presented<'a>(claimant: &Claimant<'a>) -> Result<PresentedChain<'a>, Refusal> {
    if claimant.evidence.certificates.is_empty() {
        return Err(Refusal::NoCertificate);
    }
    Ok(x509::parse_chain(&claimant.evidence.certificates)?.completed(claimant.ca.known.as_ref()))
}

//! Proving who a device is.
//!
//! What a device presents is [`Evidence`]; what an enrollment accepts is its attestation mechanism. The functions here
//! compare the two and, only if they fit, make an [`Attested`]. Nothing else can make one, and no registration
//! continues without one. Refusals name the rule that failed, for the operator; the device is told no more than that
//! it was refused.

mod explain;
mod ownership;
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
    IndividualEnrollment, InitialTwin, KeyUse, OperationId, RegistrationId, SignedClaim, Timestamp,
    TpmIdentity,
};
use rustls_pki_types::CertificateDer;

use crate::Error;
use symmetric_key::{GroupClaim, Signer};
use tpm::{Expected, Opened, PresentedTpm};
use x509::CaRules;

/// What a device presented, unverified but for this: whoever presented the certificates holds the leaf's private key.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// A signed claim (SAS token), if one was sent.
    pub claim: Option<SignedClaim>,
    /// The client certificates as sent in the TLS handshake, DER, leaf first; empty if none were.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// The public keys of its TPM, if it named them.
    pub tpm: Option<PresentedTpm>,
}

impl Evidence {
    /// The TPM of a device that signed nothing yet: all that it may prove is that it opens a challenge.
    pub(crate) fn unproven_tpm(&self) -> Option<TpmIdentity> {
        let tpm = self.tpm.as_ref().filter(|_| self.claim.is_none());
        tpm.and_then(PresentedTpm::identity)
    }
}

/// Who wants to be let in, when.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// The instance the device addressed.
    pub scope: &'a IdScope,
    /// The name it registers under.
    pub registration_id: &'a RegistrationId,
    /// What it presented.
    pub evidence: &'a Evidence,
    /// What a proof by TPM is compared with; `None` where none is expected.
    pub tpm: Option<&'a Expected<'a>>,
    /// What the instance knows of CAs, and asks of them.
    pub ca: CaRules<'a>,
    /// Now.
    pub now: Timestamp,
}

/// What comes of comparing evidence with an enrollment that it may fit.
#[derive(Debug, Clone)]
pub enum Proof {
    /// The device is who it says.
    Attested(Box<Attested>),
    /// It is, if it can open a challenge to this TPM.
    Challenge(TpmIdentity),
}

impl From<Attested> for Proof {
    fn from(attested: Attested) -> Self {
        Proof::Attested(Box::new(attested))
    }
}

/// Proof that a device is who it says, and by which enrollment. Made only in this module.
#[derive(Debug, Clone)]
pub struct Attested {
    enrollment: Enrollment,
    credentials: HubCredentials,
    by: AttestedBy,
    key: Option<KeyUse>,
    opened: Option<Opened>,
    moved_from: Option<EnrollmentGroupId>,
}

impl Attested {
    fn by_group(group: &Arc<EnrollmentGroup>, credentials: HubCredentials, by: AttestedBy) -> Self {
        let enrollment = Enrollment::Group(Arc::clone(group));
        Attested { enrollment, credentials, by, key: None, opened: None, moved_from: None }
    }

    /// Which enrollment let the device in.
    pub fn enrollment(&self) -> EnrollmentRef {
        self.enrollment.reference()
    }

    /// The enrollment itself.
    pub fn admitted_by(&self) -> &Enrollment {
        &self.enrollment
    }

    /// What the enrollment says about the device's provisioning.
    pub fn settings(&self) -> &EnrollmentSettings {
        self.enrollment.settings()
    }

    /// The device ID by the enrollment: the desired one, else the registration ID as it was enrolled. `None` for a
    /// group, which knows no names.
    pub fn device_id(&self) -> Option<DeviceId> {
        match &self.enrollment {
            Enrollment::Individual(enrollment) => {
                let enrolled = || DeviceId::from(&enrollment.registration_id);
                Some(enrollment.device_id.clone().unwrap_or_else(enrolled))
            }
            Enrollment::Group(_) => None,
        }
    }

    /// What the device's twin starts with.
    pub fn initial_twin(&self) -> InitialTwin {
        self.settings().initial_twin.clone().unwrap_or_default()
    }

    /// What the device will connect to its hub with.
    pub fn credentials(&self) -> &HubCredentials {
        &self.credentials
    }

    /// How it proved itself.
    pub fn by(&self) -> AttestedBy {
        self.by
    }

    /// The symmetric key of the enrollment that it used, where it proved itself by one.
    pub fn key(&self) -> Option<&KeyUse> {
        self.key.as_ref()
    }
}

/// Why a device was refused: the rule, for operators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No enrollment fits.
    #[error("no enrollment of this ID scope fits the device")]
    NoEnrollment,
    /// The device addresses another instance.
    #[error("the device addresses the ID scope {0}, which is not this instance's")]
    OtherScope(IdScope),
    /// The mechanism needs a SAS token and none came.
    #[error("the enrollment wants a SAS token and the device sent none")]
    NoToken,
    /// The mechanism needs a client certificate and none came.
    #[error("the enrollment wants a client certificate and the device sent none")]
    NoCertificate,
    /// The device sent nothing to prove itself by.
    #[error("the device sent neither a SAS token, a client certificate nor the keys of a TPM")]
    NoEvidence,
    /// The token has run out.
    #[error("the SAS token expired, clock skew included, at {0}")]
    Expired(Timestamp),
    /// The token is for something else.
    #[error("the SAS token is for {0:?}, not for this registration")]
    OtherResource(String),
    /// The token's signature fits no key.
    #[error("the SAS token's signature fits neither key")]
    Signature,
    /// The leaf is not the enrolled one.
    #[error("the client certificate {0} is not one of the enrollment's")]
    OtherCertificate(String),
    /// The certificates do not lead to the enrollment.
    #[error(transparent)]
    Certificate(#[from] x509::CertificateRefusal),
    /// The chain ends elsewhere.
    #[error("the device's certificates do not lead to the group's")]
    NotReached,
    /// The group is for other devices.
    #[error(transparent)]
    OtherIds(#[from] OtherIds),
    /// The device belongs to another enrollment group.
    #[error(
        "the device is registered through the enrollment group {0}, which exists and does not admit what it presents"
    )]
    RegisteredElsewhere(EnrollmentGroupId),
    /// The group that the device belongs to admits it, too.
    #[error("the enrollment group that the device is registered through admits it, too, and keeps it")]
    Stays,
    /// Another group's certificate comes first on the way up from the leaf.
    #[error("another group's certificate is nearer the device's leaf, or blocks it")]
    Farther,
    /// The mechanism needs the keys of a TPM and none came.
    #[error("the enrollment wants a TPM and the device named none")]
    NoTpm,
    /// The endorsement key is not the enrolled one.
    #[error("the TPM's endorsement key is not the enrolled one")]
    OtherTpm,
    /// The storage root key is not the one that is known.
    #[error("the TPM's storage root key is not the one it had before: its owner has cleared it")]
    OtherStorageRootKey,
    /// The storage root key is neither known nor sent.
    #[error("the device did not send its TPM's storage root key, which is not known yet")]
    NoStorageRootKey,
    /// The token was signed with another key than that of a challenge.
    #[error("the SAS token was not signed with the key of a TPM challenge that is open for the registration")]
    NotOfChallenge,
    /// The proof was used before.
    #[error("the proof was used already, for operation {0}")]
    UsedChallenge(OperationId),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let message = match refusal {
            // Nothing new to a device whose token has just been verified, and what it has to do next.
            Refusal::UsedChallenge(_) => {
                "The TPM challenge is not open; ask for a new one by registering without a token."
            }
            _ => "Unauthorized",
        };
        Error::Unauthorized { message, reason: refusal.to_string() }
    }
}

impl Refusal {
    /// What a device is told that presented this. The message depends on what it presented, never on the rule or the
    /// enrollment that refused it, so that strangers learn from it neither what is enrolled nor how.
    pub(crate) fn told_to(self, evidence: &Evidence) -> Error {
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
    let (mut opened, mut key) = (None, None);
    let (credentials, by) = match &enrollment.attestation {
        IndividualAttestation::SymmetricKey(keys) => {
            key = Some(KeyUse::of(keys, symmetric_key::proves(claimant, keys)?));
            (HubCredentials::SymmetricKeys(keys.clone()), AttestedBy::SymmetricKey)
        }
        IndividualAttestation::X509(IndividualCertificates::Client(leaves)) => {
            let thumbprint = x509::verify_enrolled_leaf(&presented(claimant)?, leaves, claimant)?;
            (HubCredentials::Certificate(thumbprint), AttestedBy::X509)
        }
        IndividualAttestation::X509(IndividualCertificates::CaReferences(names)) => {
            let thumbprint = x509::known::verify_path_to(&presented(claimant)?, names, claimant)?;
            (HubCredentials::Certificate(thumbprint), AttestedBy::X509)
        }
        IndividualAttestation::Tpm(enrolled) if claimant.evidence.claim.is_none() => {
            return tpm::to_challenge(claimant, enrolled).map(Proof::Challenge);
        }
        IndividualAttestation::Tpm(enrolled) => {
            let expected = claimant.tpm.ok_or(Refusal::NotOfChallenge)?;
            let opened = opened.insert(tpm::proves(claimant, enrolled, expected)?);
            (HubCredentials::SymmetricKeys(opened.hub_keys().clone()), AttestedBy::Tpm)
        }
    };
    let enrollment = Enrollment::Individual(Box::new(enrollment));
    Ok(Attested { enrollment, credentials, by, key, opened, moved_from: None }.into())
}

/// Finds the symmetric-key group whose derived key signed the token, trying `likely` first. The device does not name
/// its group, so each one is tried.
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

/// The device, if one of these groups' keys signed its claim. Groups that are for other devices cost no MAC.
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
            let attested = Attested::by_group(group, credentials, AttestedBy::SymmetricKey);
            return Some(Attested { key: Some(KeyUse::of(keys, slot)), ..attested });
        }
        trace.pass_over(group, Refusal::Signature);
        trace.outcome = Err(Refusal::Signature);
    }
    None
}

/// How many groups' keys a token is compared with at once: enough to keep the processor busy, few enough that a device of a
/// later group costs no more than it must.
const GROUPS_AT_ONCE: usize = 16;

/// Finds the X.509 group that admits the leaf of `chain`, the certificates that the device sent, completed by those that are
/// stored: the one that it is registered through, else the nearest. `groups` are those whose signing certificates may have issued one of them, and those that name CAs.
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

//! TPMs: the device opens a challenge that only the enrolled TPM can open, and signs a claim with the key inside.
//!
//! The key of a challenge is the secret; a device that signs with it holds both keys that the challenge was encrypted
//! to. The device need not repeat those with its proof, so the service remembers what it issued, for a while.

mod challenges;
mod credential;
mod kdf;
mod seed;

use aws_lc_rs::error::{KeyRejected, Unspecified};
use model::{
    EndorsementKey, Enrollment, IndividualAttestation, IndividualEnrollment, ProvisioningStatus,
    StorageRootKey, SymmetricKey, TpmAttestation, TpmHandover, TpmIdentity,
};

pub use challenges::Issued;
pub(crate) use challenges::{Challenges, Place};

use super::{Attested, Claimant, Refusal, symmetric_key::claim_for};
use crate::{Error, ports::Entropy};

/// What a device says of its TPM. Anyone may say it: these keys are public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentedTpm {
    /// The endorsement key.
    pub endorsement_key: EndorsementKey,
    /// The storage root key, if it was sent.
    pub storage_root_key: Option<StorageRootKey>,
}

/// The blob by which this TPM, and nothing else, is given a key for signing. `resource` names what the key is for; devices
/// decrypt and ignore it.
pub fn credential(
    identity: &TpmIdentity,
    key: &SymmetricKey,
    resource: &str,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, Error> {
    Ok(credential::make(identity, key, resource, entropy)?)
}

/// Refuses unless the claim was signed with the key of a challenge that is open, made for the enrolled TPM.
pub(super) fn proves<'a>(claimant: &Claimant<'a>, enrolled: &TpmAttestation) -> Result<&'a Issued, Refusal> {
    let claim = claim_for(claimant)?;
    if let Some(presented) = &claimant.evidence.tpm {
        fits(enrolled, presented)?;
    }
    let mut open = claimant.challenges.iter().filter(|issued| issued.is_open(claimant.now)).peekable();
    if open.peek().is_none() {
        return Err(Refusal::NoChallenge);
    }
    let issued = open.find(|issued| claim.is_signed_by(&issued.key)).ok_or(Refusal::Signature)?;
    // The enrollment may have changed since.
    fits(enrolled, &PresentedTpm::from(&issued.identity))?;
    Ok(issued)
}

/// The TPM to challenge: the enrolled one, whose storage root key the device says or the enrollment knows.
pub(super) fn to_challenge(
    claimant: &Claimant<'_>,
    enrolled: &TpmAttestation,
) -> Result<TpmIdentity, Refusal> {
    let presented = claimant.evidence.tpm.as_ref().ok_or(Refusal::NoTpm)?;
    fits(enrolled, presented)?;
    let storage_root_key = presented.storage_root_key.as_ref().or(enrolled.storage_root_key.as_ref());
    Ok(TpmIdentity {
        endorsement_key: presented.endorsement_key.clone(),
        storage_root_key: storage_root_key.ok_or(Refusal::NoStorageRootKey)?.clone(),
    })
}

fn fits(enrolled: &TpmAttestation, presented: &PresentedTpm) -> Result<(), Refusal> {
    if enrolled.endorsement_key != presented.endorsement_key {
        return Err(Refusal::OtherTpm);
    }
    match (&enrolled.storage_root_key, &presented.storage_root_key) {
        (Some(known), Some(presented)) if known != presented => Err(Refusal::OtherStorageRootKey),
        _ => Ok(()),
    }
}

impl From<&TpmIdentity> for PresentedTpm {
    fn from(identity: &TpmIdentity) -> Self {
        PresentedTpm {
            endorsement_key: identity.endorsement_key.clone(),
            storage_root_key: Some(identity.storage_root_key.clone()),
        }
    }
}

impl Attested {
    /// The challenge that a TPM opened.
    pub fn challenge(&self) -> Option<&Issued> {
        self.challenge.as_ref()
    }

    /// What a device with a TPM is handed to connect to its hub with.
    pub fn handover(&self) -> Option<TpmHandover> {
        self.challenge.as_ref().map(|Issued { identity, hub_keys, .. }| TpmHandover {
            identity: identity.clone(),
            hub_keys: hub_keys.clone(),
        })
    }

    /// The enrollment with the storage root key that the device proved to have, when none was known yet and the device is
    /// let in. It is kept there, not in the registration, because there an operator sees it, and it outlives the
    /// registration; who writes the enrollment without it has the next one learned.
    pub fn learned(&self) -> Option<IndividualEnrollment> {
        let Enrollment::Individual(enrollment) = &self.enrollment else { return None };
        let proved = &self.challenge.as_ref()?.identity.storage_root_key;
        let mut learned = IndividualEnrollment::clone(enrollment);
        let IndividualAttestation::Tpm(TpmAttestation { storage_root_key: known @ None, .. }) =
            &mut learned.attestation
        else {
            return None;
        };
        *known = Some(proved.clone());
        (learned.settings.provisioning_status == ProvisioningStatus::Enabled).then_some(learned)
    }
}

/// The crypto library failed, which it does for no key that could be parsed.
#[derive(Debug, Clone, Copy)]
struct Broken;

impl From<Unspecified> for Broken {
    fn from(_: Unspecified) -> Self {
        Broken
    }
}

impl From<KeyRejected> for Broken {
    fn from(_: KeyRejected) -> Self {
        Broken
    }
}

impl From<Broken> for Error {
    fn from(_: Broken) -> Self {
        Error::Broken("nothing can be encrypted to the TPM's key".into())
    }
}

//! TPM attestation: the device opens a challenge that only the enrolled TPM can open, and signs a claim with the key inside.
//!
//! The key of a challenge is the secret; a device that signs with it holds both keys that the challenge was encrypted
//! to. The key is derived, so no state is needed for the proof.

mod challenges;
mod credential;
mod kdf;
mod named_keys;
mod seed;

use aws_lc_rs::error::{KeyRejected, Unspecified};
use model::{
    Challenge, EndorsementKey, Enrollment, IndividualAttestation, IndividualEnrollment, ProvisioningStatus,
    StorageRootKey, SymmetricKey, SymmetricKeyPair, TpmAttestation, TpmHandover, TpmIdentity,
};

pub use challenges::Challenges;
pub(crate) use challenges::RegistrationRef;
pub(crate) use named_keys::NamedKeys;

use super::{Attested, Claimant, Means, Refusal, symmetric_key::claim_for};
use crate::{Error, ports::Entropy, record};

/// The public keys of a TPM, as a device sent them. They prove nothing: anyone may know them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentedTpm {
    /// The endorsement key.
    pub endorsement_key: EndorsementKey,
    /// The storage root key, if it was sent.
    pub storage_root_key: Option<StorageRootKey>,
}

/// Creates the credential from which only this TPM can recover a key for signing. `resource` names the purpose of the key; devices
/// decrypt and ignore it.
pub fn credential(
    identity: &TpmIdentity,
    key: &SymmetricKey,
    resource: &str,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, Error> {
    Ok(credential::make(identity, key, resource, entropy)?)
}

/// The state with which a proof by TPM is compared.
#[derive(Debug, Clone)]
pub struct ChallengeContext<'a> {
    /// The challenges of the registration.
    pub challenges: Challenges<'a>,
    /// The storage root keys that were recently sent for it, for the case that none is known otherwise.
    pub named: Vec<StorageRootKey>,
    /// The symmetric keys of the device at its hub, unless it has some already.
    pub fresh_keys: SymmetricKeyPair,
}

/// A challenge that the device's TPM opened.
#[derive(Debug, Clone)]
pub struct OpenedChallenge {
    identity: TpmIdentity,
    hub_keys: SymmetricKeyPair,
    challenge: Challenge,
    /// Whether the registration states that it was used already.
    pub(crate) is_used: bool,
}

impl OpenedChallenge {
    /// Returns the symmetric keys of the device at its hub.
    pub fn hub_keys(&self) -> &SymmetricKeyPair {
        &self.hub_keys
    }

    /// Returns what the registration stores of a device with a TPM.
    pub(super) fn handover(&self) -> TpmHandover {
        let (identity, hub_keys) = (self.identity.clone(), self.hub_keys.clone());
        TpmHandover { identity, hub_keys, challenge: Some(self.challenge) }
    }
}

/// Returns the challenge of the enrolled TPM with whose key the claim was signed: one that is open, or the one with which the
/// device registered, which also authenticates polls.
pub(super) fn verify(
    claimant: &Claimant<'_>,
    enrolled: &TpmAttestation,
    expected: &ChallengeContext<'_>,
) -> Result<OpenedChallenge, Refusal> {
    let claim = claim_for(claimant)?;
    let keys = AgreedKeys::presented(enrolled, claimant.evidence.tpm.as_ref())?;
    let is_signed = |identity: &TpmIdentity, challenge| {
        let key = expected.challenges.key(identity, challenge);
        key.is_ok_and(|key| claim.is_signed_by(&key))
    };
    let used = expected.challenges.used();
    if let Some((last, challenge)) = used.filter(|(last, challenge)| is_signed(&last.identity, *challenge)) {
        // The enrollment may have changed since.
        let TpmIdentity { endorsement_key, storage_root_key } = &last.identity;
        let identity =
            AgreedKeys::check(enrolled, endorsement_key, Some(storage_root_key))?.with(storage_root_key);
        let hub_keys = last.hub_keys.clone();
        return Ok(OpenedChallenge { identity, hub_keys, challenge, is_used: true });
    }
    for storage_root_key in expected.storage_root_keys(keys) {
        let identity = keys.with(storage_root_key);
        let opened =
            expected.challenges.open().into_iter().find(|challenge| is_signed(&identity, *challenge));
        if let Some(challenge) = opened {
            let hub_keys = expected.hub_keys(&identity);
            return Ok(OpenedChallenge { identity, hub_keys, challenge, is_used: false });
        }
    }
    Err(Refusal::NoOpenChallenge)
}

impl ChallengeContext<'_> {
    /// Returns the storage root keys that the device may have: the one that is enrolled or sent, else those that were sent before.
    fn storage_root_keys<'s>(&'s self, keys: AgreedKeys<'s>) -> Vec<&'s StorageRootKey> {
        match keys.storage_root_key {
            Some(known) => vec![known],
            None => {
                let last = self.challenges.used().map(|(last, _)| &last.identity.storage_root_key);
                last.into_iter().chain(&self.named).collect()
            }
        }
    }

    /// Returns the keys that the device has at its hub if it is the same TPM of the same owner, else new ones.
    fn hub_keys(&self, identity: &TpmIdentity) -> SymmetricKeyPair {
        let handed = self.challenges.handed().filter(|handed| handed.identity == *identity);
        handed.map_or_else(|| self.fresh_keys.clone(), |handed| handed.hub_keys.clone())
    }
}

/// Generates keys for a hub. They are as long as the output of SHA-256; a TPM accepts at most 64 bytes.
pub(crate) fn fresh_keys(entropy: &dyn Entropy) -> Result<SymmetricKeyPair, Error> {
    let key = || record::fresh_key_of::<32>(entropy);
    Ok(SymmetricKeyPair { primary: key()?, secondary: key()? })
}

/// Returns the TPM to challenge: the enrolled one, with the storage root key that the device sent or the enrollment has.
pub(super) fn to_challenge(
    claimant: &Claimant<'_>,
    enrolled: &TpmAttestation,
) -> Result<TpmIdentity, Refusal> {
    let presented = claimant.evidence.tpm.as_ref().ok_or(Refusal::NoTpm)?;
    let keys = AgreedKeys::presented(enrolled, Some(presented))?;
    Ok(keys.with(keys.storage_root_key.ok_or(Refusal::NoStorageRootKey)?))
}

/// The keys of a TPM on which its enrollment and the device agree.
#[derive(Debug, Clone, Copy)]
struct AgreedKeys<'a> {
    endorsement_key: &'a EndorsementKey,
    /// The one that is enrolled, or else presented; `None` if it is neither.
    storage_root_key: Option<&'a StorageRootKey>,
}

impl<'a> AgreedKeys<'a> {
    fn check(
        enrolled: &'a TpmAttestation,
        endorsement_key: &EndorsementKey,
        storage_root_key: Option<&'a StorageRootKey>,
    ) -> Result<Self, Refusal> {
        if enrolled.endorsement_key != *endorsement_key {
            return Err(Refusal::OtherTpm);
        }
        let known = enrolled.storage_root_key.as_ref();
        match (known, storage_root_key) {
            (Some(known), Some(presented)) if known != presented => Err(Refusal::OtherStorageRootKey),
            _ => Ok(AgreedKeys {
                endorsement_key: &enrolled.endorsement_key,
                storage_root_key: known.or(storage_root_key),
            }),
        }
    }

    /// Checks the keys that a device presented, if it presented any.
    fn presented(enrolled: &'a TpmAttestation, presented: Option<&'a PresentedTpm>) -> Result<Self, Refusal> {
        match presented {
            Some(tpm) => Self::check(enrolled, &tpm.endorsement_key, tpm.storage_root_key.as_ref()),
            None => Self::check(enrolled, &enrolled.endorsement_key, None),
        }
    }

    fn with(self, storage_root_key: &StorageRootKey) -> TpmIdentity {
        let storage_root_key = storage_root_key.clone();
        TpmIdentity { endorsement_key: self.endorsement_key.clone(), storage_root_key }
    }
}

impl PresentedTpm {
    /// Returns both keys, if both were sent.
    pub fn identity(&self) -> Option<TpmIdentity> {
        let storage_root_key = self.storage_root_key.clone()?;
        Some(TpmIdentity { endorsement_key: self.endorsement_key.clone(), storage_root_key })
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
    /// Returns the challenge that the TPM opened.
    pub fn opened(&self) -> Option<&OpenedChallenge> {
        match &self.by {
            Means::Tpm(opened) => Some(opened),
            Means::SymmetricKey(_) | Means::X509 => None,
        }
    }

    /// Returns the enrollment with the storage root key that the device proved to have, if none was known yet and the device is
    /// admitted. It is stored in the enrollment, because operators see it there, and it outlives the registration. After an
    /// operator writes the enrollment without it, the next one is learned.
    pub fn learned(&self) -> Option<IndividualEnrollment> {
        let Enrollment::Individual(enrollment) = &self.enrollment else { return None };
        let proved = &self.opened()?.identity.storage_root_key;
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

/// The crypto library failed, which does not happen for keys that could be parsed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CryptoFailure;

impl From<Unspecified> for CryptoFailure {
    fn from(_: Unspecified) -> Self {
        CryptoFailure
    }
}

impl From<KeyRejected> for CryptoFailure {
    fn from(_: KeyRejected) -> Self {
        CryptoFailure
    }
}

impl From<CryptoFailure> for Error {
    fn from(_: CryptoFailure) -> Self {
        Error::Broken("nothing can be encrypted to the TPM's key".into())
    }
}

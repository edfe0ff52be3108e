//! Attestation mechanisms: what an enrollment accepts as proof of a device's identity.

use serde::{Deserialize, Serialize};

use crate::{AttestedBy, CaReference, Certificate, EndorsementKey, KeySlot, StorageRootKey, SymmetricKey};

/// A primary and a secondary slot of equal rank, of which at least one is filled, so that one can be replaced while the other is in
/// use. Operators see which slot is filled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Slots<T>", into = "Slots<T>", bound(serialize = "T: Clone + Serialize"))]
pub struct Pair<T> {
    slots: Slots<T>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Slots<T> {
    primary: Option<T>,
    secondary: Option<T>,
}

impl<T> Pair<T> {
    /// Makes a pair, unless both slots are empty.
    pub fn new(primary: Option<T>, secondary: Option<T>) -> Option<Self> {
        let filled = primary.is_some() || secondary.is_some();
        filled.then_some(Pair { slots: Slots { primary, secondary } })
    }

    /// Returns the primary, if that slot is filled.
    pub fn primary(&self) -> Option<&T> {
        self.slots.primary.as_ref()
    }

    /// Returns the secondary, if that slot is filled.
    pub fn secondary(&self) -> Option<&T> {
        self.slots.secondary.as_ref()
    }

    /// Returns the filled slots, primary first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.primary.iter().chain(&self.slots.secondary)
    }
}

impl<T> TryFrom<Slots<T>> for Pair<T> {
    type Error = &'static str;
    fn try_from(slots: Slots<T>) -> Result<Self, Self::Error> {
        Pair::new(slots.primary, slots.secondary).ok_or("a pair needs a primary or a secondary")
    }
}

impl<T> From<Pair<T>> for Slots<T> {
    fn from(pair: Pair<T>) -> Slots<T> {
        pair.slots
    }
}

/// Two symmetric keys of equal rank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SymmetricKeyPair {
    /// The first key.
    pub primary: SymmetricKey,
    /// The other key.
    pub secondary: SymmetricKey,
}

impl SymmetricKeyPair {
    /// Returns both keys, primary first.
    pub fn iter(&self) -> impl Iterator<Item = &SymmetricKey> {
        [&self.primary, &self.secondary].into_iter()
    }

    /// Returns the key in this slot.
    pub fn key(&self, slot: KeySlot) -> &SymmetricKey {
        match slot {
            KeySlot::Primary => &self.primary,
            KeySlot::Secondary => &self.secondary,
        }
    }

    /// Returns the pair with another key in this slot.
    pub fn with_key(self, slot: KeySlot, key: SymmetricKey) -> SymmetricKeyPair {
        match slot {
            KeySlot::Primary => SymmetricKeyPair { primary: key, ..self },
            KeySlot::Secondary => SymmetricKeyPair { secondary: key, ..self },
        }
    }

    /// Derives the device keys of this pair of group keys for a registration ID.
    pub fn derive(&self, registration_id: &str) -> SymmetricKeyPair {
        SymmetricKeyPair {
            primary: self.primary.derive(registration_id),
            secondary: self.secondary.derive(registration_id),
        }
    }
}

/// A TPM, by its keys. A device with another storage root key than a known one is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmAttestation {
    /// The endorsement key.
    pub endorsement_key: EndorsementKey,
    /// The storage root key, given by the operator or learned at the first registration.
    pub storage_root_key: Option<StorageRootKey>,
}

/// The certificates of an individual enrollment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IndividualCertificates {
    /// The leaf certificates of the device.
    Client(Pair<Certificate>),
    /// Names of CA certificates that issue the leaf.
    CaReferences(Pair<CaReference>),
}

/// The certificates of an enrollment group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GroupCertificates {
    /// Root or intermediate CA certificates that sign the devices' leaves.
    Signing(Pair<Certificate>),
    /// Names of CA certificates that sign them.
    CaReferences(Pair<CaReference>),
}

/// The attestation mechanism of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IndividualAttestation {
    /// By a key of its own.
    SymmetricKey(SymmetricKeyPair),
    /// By a TPM.
    Tpm(TpmAttestation),
    /// By a client certificate.
    X509(IndividualCertificates),
}

/// The attestation mechanism of a group's devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GroupAttestation {
    /// By keys derived from the group's.
    SymmetricKey(SymmetricKeyPair),
    /// By client certificates that chain to the group's.
    X509(GroupCertificates),
}

impl IndividualAttestation {
    /// Returns the mechanism.
    pub fn mechanism(&self) -> AttestedBy {
        match self {
            IndividualAttestation::SymmetricKey(_) => AttestedBy::SymmetricKey,
            IndividualAttestation::Tpm(_) => AttestedBy::Tpm,
            IndividualAttestation::X509(_) => AttestedBy::X509,
        }
    }

    /// Returns the symmetric keys, if that is the mechanism.
    pub fn symmetric_keys(&self) -> Option<&SymmetricKeyPair> {
        match self {
            IndividualAttestation::SymmetricKey(keys) => Some(keys),
            IndividualAttestation::Tpm(_) | IndividualAttestation::X509(_) => None,
        }
    }
}

impl GroupAttestation {
    /// Returns the mechanism.
    pub fn mechanism(&self) -> AttestedBy {
        match self {
            GroupAttestation::SymmetricKey(_) => AttestedBy::SymmetricKey,
            GroupAttestation::X509(_) => AttestedBy::X509,
        }
    }

    /// Returns the symmetric keys, if that is the mechanism.
    pub fn symmetric_keys(&self) -> Option<&SymmetricKeyPair> {
        match self {
            GroupAttestation::SymmetricKey(keys) => Some(keys),
            GroupAttestation::X509(_) => None,
        }
    }
}

//! What an enrollment accepts as proof of a device's identity.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{CaReference, Certificate, SymmetricKey};

/// A primary and an optional secondary of equal standing, so that one can be rolled while the other serves.
/// At least one is there; which slot holds it is kept, because operators see it.
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
    /// A pair, unless both slots are empty.
    pub fn new(primary: Option<T>, secondary: Option<T>) -> Option<Self> {
        let filled = primary.is_some() || secondary.is_some();
        filled.then_some(Pair { slots: Slots { primary, secondary } })
    }

    /// The primary, if that slot is filled.
    pub fn primary(&self) -> Option<&T> {
        self.slots.primary.as_ref()
    }

    /// The secondary, if that slot is filled.
    pub fn secondary(&self) -> Option<&T> {
        self.slots.secondary.as_ref()
    }

    /// The filled slots, primary first.
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

/// Two symmetric keys of equal standing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SymmetricKeyPair {
    /// The first key.
    pub primary: SymmetricKey,
    /// The other key.
    pub secondary: SymmetricKey,
}

impl SymmetricKeyPair {
    /// Both keys, primary first.
    pub fn iter(&self) -> impl Iterator<Item = &SymmetricKey> {
        [&self.primary, &self.secondary].into_iter()
    }

    /// The pair of device keys that this pair of group keys yields for a registration ID.
    pub fn derive(&self, registration_id: &str) -> SymmetricKeyPair {
        SymmetricKeyPair {
            primary: self.primary.derive(registration_id),
            secondary: self.secondary.derive(registration_id),
        }
    }
}

/// A TPM's public endorsement key as it travels: a TPM2B_PUBLIC with its size.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EndorsementKey(Vec<u8>);

impl EndorsementKey {
    /// The longest public area taken, in bytes; an RSA-2048 one has 316.
    pub const MAX_BYTES: usize = 1024;

    /// From the bytes of a TPM2B_PUBLIC; `None` unless its size field fits its length.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let (size, area) = bytes.split_first_chunk::<2>()?;
        let fits = usize::from(u16::from_be_bytes(*size)) == area.len();
        (fits && !area.is_empty() && bytes.len() <= Self::MAX_BYTES).then_some(EndorsementKey(bytes))
    }

    /// The bytes of the TPM2B_PUBLIC.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for EndorsementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndorsementKey({} bytes)", self.0.len())
    }
}

/// A TPM by its endorsement key; the storage root key is learned when the device registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmAttestation {
    /// The endorsement key.
    pub endorsement_key: EndorsementKey,
    /// The storage root key, a TPM2B_PUBLIC like the endorsement key.
    pub storage_root_key: Option<EndorsementKey>,
}

/// The certificates of an individual enrollment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IndividualCertificates {
    /// The device's own leaf.
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

/// How one device proves itself.
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

/// How the devices of a group prove themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GroupAttestation {
    /// By keys derived from the group's.
    SymmetricKey(SymmetricKeyPair),
    /// By client certificates that chain to the group's.
    X509(GroupCertificates),
}

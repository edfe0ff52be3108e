//! Drafts: what an operator asks an enrollment to be, parsed but not yet complete. Secrets that are left out are
//! generated or taken from the stored enrollment, and so are certificates, which the service never gives back.

use certpath::Sha256Thumbprint;

use crate::{
    CaReference, Certificate, DeviceId, EnrollmentGroupId, EnrollmentSettings, Etag, Pair, RegistrationId,
    RegistrationIds, SymmetricKey, TpmAttestation, TwinCollection,
};

/// An individual enrollment as an operator sends it.
#[derive(Clone, Debug, PartialEq)]
pub struct IndividualDraft {
    /// The name the device registers under.
    pub registration_id: RegistrationId,
    /// The desired device ID at the hub.
    pub device_id: Option<DeviceId>,
    /// How the device is to prove itself.
    pub attestation: IndividualAttestationDraft,
    /// Notes of the operator.
    pub device_information: Option<TwinCollection>,
    /// What the device gets.
    pub settings: EnrollmentSettings,
}

/// An enrollment group as an operator sends it.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupDraft {
    /// The group's name.
    pub group_id: EnrollmentGroupId,
    /// How the devices are to prove themselves.
    pub attestation: GroupAttestationDraft,
    /// The registration IDs that it is for.
    pub registration_ids: RegistrationIdsDraft,
    /// What each device gets.
    pub settings: EnrollmentSettings,
}

/// How one device is to prove itself.
#[derive(Clone, Debug, PartialEq)]
pub enum IndividualAttestationDraft {
    /// By a key of its own.
    SymmetricKey(KeysDraft),
    /// By a TPM.
    Tpm(TpmAttestation),
    /// By one of these leaf certificates.
    ClientCertificates(Pair<CertificateDraft>),
    /// By a leaf that one of these CA certificates issued.
    CaReferences(Pair<CaReference>),
}

/// How the devices of a group are to prove themselves.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupAttestationDraft {
    /// By keys derived from the group's.
    SymmetricKey(KeysDraft),
    /// By leaves that chain to one of these certificates.
    SigningCertificates(Pair<CertificateDraft>),
    /// By leaves that chain to one of these CA certificates.
    CaReferences(Pair<CaReference>),
}

/// What an operator says of the registration IDs that a group is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RegistrationIdsDraft {
    /// Nothing: those that are stored stay. Azure's clients know no such member, and would drop it with each update.
    #[default]
    Kept,
    /// These, or all.
    Given(Option<RegistrationIds>),
}

/// Symmetric keys as they were given. One that is missing stays what it is, or is generated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeysDraft {
    /// The first key.
    pub primary: Option<SymmetricKey>,
    /// The other key.
    pub secondary: Option<SymmetricKey>,
}

/// What an operator says of one certificate slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateDraft {
    /// The certificate itself.
    Given(Certificate),
    /// Only what the service shows of a certificate it holds: keep that one. Without a thumbprint, the one in the
    /// same slot.
    Kept(Option<Sha256Thumbprint>),
}

/// A CA certificate as an operator sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaCertificateDraft {
    /// The certificate.
    pub certificate: Certificate,
    /// Whether the operator vouches for it. Without a word, the same certificate stays as verified as it is.
    pub is_verified: Option<bool>,
}

/// Which version of a record a change is meant for, when the caller says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// Any version, but there must be one.
    Any,
    /// This version.
    Version(Etag),
}

/// One item of a bulk change: a draft `D` to write, or the name `I` of a record to delete.
#[derive(Clone, Debug, PartialEq)]
pub enum BulkItem<D, I> {
    /// Write a record that is not there yet.
    Create(D),
    /// Replace a record. Without a condition a record that is there is a conflict.
    Replace(D, Option<IfMatch>),
    /// Delete a record.
    Delete(I),
}

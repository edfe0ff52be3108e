//! Drafts: enrollments as operators send them, parsed but incomplete. Secrets that are left out are generated or taken from the
//! stored enrollment; so are certificates, which the service never returns.

use certpath::Sha256Thumbprint;

use crate::{
    CaReference, Certificate, DeviceId, EnrollmentGroupId, EnrollmentSettings, Etag, Pair, RegistrationId,
    RegistrationIds, SymmetricKey, TpmAttestation, TwinCollection,
};

/// An individual enrollment as an operator sends it.
#[derive(Clone, Debug, PartialEq)]
pub struct IndividualDraft {
    /// The registration ID of the device.
    pub registration_id: RegistrationId,
    /// The desired device ID at the hub.
    pub device_id: Option<DeviceId>,
    /// The attestation mechanism of the device.
    pub attestation: IndividualAttestationDraft,
    /// The operator's notes.
    pub device_information: Option<TwinCollection>,
    /// What the device gets.
    pub settings: EnrollmentSettings,
}

/// An enrollment group as an operator sends it.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupDraft {
    /// The ID of the group.
    pub group_id: EnrollmentGroupId,
    /// The attestation mechanism of the devices.
    pub attestation: GroupAttestationDraft,
    /// The registration IDs that it accepts.
    pub registration_ids: RegistrationIdsDraft,
    /// What each device gets.
    pub settings: EnrollmentSettings,
}

/// The attestation mechanism of one device.
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

/// The attestation mechanism of a group's devices.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupAttestationDraft {
    /// By keys derived from the group's.
    SymmetricKey(KeysDraft),
    /// By leaves that chain to one of these certificates.
    SigningCertificates(Pair<CertificateDraft>),
    /// By leaves that chain to one of these CA certificates.
    CaReferences(Pair<CaReference>),
}

/// The registration IDs that a group accepts, as an operator sends them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RegistrationIdsDraft {
    /// The member is absent: the stored IDs stay. Azure's clients do not know the member, and would drop it with each update.
    #[default]
    Kept,
    /// These IDs, or all.
    Given(Option<RegistrationIds>),
}

/// Symmetric keys as an operator sends them. An absent key stays unchanged, or is generated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeysDraft {
    /// The first key.
    pub primary: Option<SymmetricKey>,
    /// The other key.
    pub secondary: Option<SymmetricKey>,
}

/// One certificate slot as an operator sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateDraft {
    /// The certificate itself.
    Given(Certificate),
    /// Only what the service returns of a stored certificate: the one with this thumbprint stays, or if absent, the one in the same
    /// slot.
    Kept(Option<Sha256Thumbprint>),
}

/// A CA certificate as an operator sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaCertificateDraft {
    /// The certificate.
    pub certificate: Certificate,
    /// Whether the operator declares it verified; `None` leaves a stored certificate as it is.
    pub is_verified: Option<bool>,
}

/// The version of a record that a change expects (If-Match).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// Any version, but the record must exist.
    Any,
    /// This version.
    Version(Etag),
}

/// One item of a bulk change: a draft `D` to write, or the ID `I` of a record to delete.
#[derive(Clone, Debug, PartialEq)]
pub enum BulkItem<D, I> {
    /// Create a record.
    Create(D),
    /// Replace a record. Without If-Match, an existing record is a conflict.
    Replace(D, Option<IfMatch>),
    /// Delete a record.
    Delete(I),
}

/// What an operator asks of an import of enrollments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportRule {
    /// Replaces enrollments that exist with other settings, instead of refusing those items.
    pub replaces: bool,
    /// Generates the symmetric keys of new enrollments that have none, instead of refusing those items.
    pub generates_keys: bool,
    /// Changes nothing.
    pub is_dry_run: bool,
}

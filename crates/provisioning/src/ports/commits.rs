//! The one way to change records.

use async_trait::async_trait;
use certpath::Sha256Thumbprint;
use model::{
    Attribution, Block, CaCertificate, CaReference, Cleanup, Day, EnrollmentGroup, EnrollmentGroupId, Etag,
    HubDeviceRef, HubName, IdScope, IndividualEnrollment, Instance, LeaseToken, ListId, OperationKind,
    Registration, RegistrationId, RevocationList,
};

use super::StoreError;

/// Changes records.
#[async_trait]
pub trait Commits: Send + Sync {
    /// Makes each change whose expectation holds and leaves out the others. Counts the operation when there is no change, or
    /// when at least one was made. Does nothing at all unless every guard holds. All in one transaction, on disk when this
    /// returns. Returns the outcomes of the guards and then those of the changes, in their order. Fails with
    /// [`StoreError::Fenced`] when the token of the commit is not current.
    async fn commit(&self, scope: &IdScope, commit: Commit) -> Result<Vec<Outcome>, StoreError>;
}

/// A transaction. Every record that it changes gets an entry in the change log.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The lease that the commit is made under. Absent where any process may make it.
    pub fence: Option<LeaseToken>,
    /// The records that the commit depends on and does not change.
    pub guards: Vec<Guard>,
    /// The changes, each with what it expects to find.
    pub changes: Vec<(Expect, Change)>,
    /// The operation to count, and its UTC day.
    pub operation: Option<(OperationKind, Day)>,
    /// Who makes the changes, and by which instruction.
    pub by: Attribution,
}

impl Commit {
    /// Creates a commit that does nothing yet. There is no default: no change is anonymous.
    pub fn by(by: Attribution) -> Commit {
        Commit { fence: None, guards: Vec::new(), changes: Vec::new(), operation: None, by }
    }
}

/// What a commit depends on: unless it holds in the transaction, nothing of the commit is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// A record has this version; or it does not exist, if there is none.
    Record {
        /// The record.
        record: Guarded,
        /// Its version.
        version: Option<Etag>,
    },
    /// No instance was written since this version of the snapshot.
    Instances {
        /// The version.
        since: u64,
    },
    /// No revocation list of the instance was written or deleted since this version of the snapshot.
    RevocationLists {
        /// The version.
        since: u64,
    },
}

/// The records that a commit can depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guarded {
    /// An individual enrollment.
    Individual(RegistrationId),
    /// An enrollment group.
    Group(EnrollmentGroupId),
    /// A registration.
    Registration(RegistrationId),
    /// A CA certificate.
    Certificate(CaReference),
}

/// The change of one record. No change has effects on other records: what goes with a record is a change of its own.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Writes the instance that the commit is for. It has no version to expect, and is guarded by [`Guard::Instances`].
    PutInstance {
        /// The instance.
        instance: Box<Instance>,
        /// The linked hub that differs, which the change log names.
        linked_hub: Option<HubName>,
    },
    /// Writes an individual enrollment.
    PutIndividual(Box<IndividualEnrollment>),
    /// Deletes an individual enrollment.
    DeleteIndividual(RegistrationId),
    /// Writes an enrollment group.
    PutGroup(Box<EnrollmentGroup>),
    /// Deletes an enrollment group.
    DeleteGroup(EnrollmentGroupId),
    /// Writes a CA certificate.
    PutCertificate(Box<CaCertificate>),
    /// Deletes a CA certificate.
    DeleteCertificate(CaReference),
    /// Writes a revocation list of a CA.
    PutRevocationList(Box<RevocationList>),
    /// Deletes one revocation list of a CA.
    DeleteRevocationList(CaReference, ListId),
    /// Writes the block of a certificate.
    PutBlock(Box<Block>),
    /// Deletes the block of a certificate.
    DeleteBlock(Sha256Thumbprint),
    /// Writes a registration.
    PutRegistration(Box<Registration>),
    /// Deletes a registration.
    DeleteRegistration(RegistrationId),
    /// Writes the cleanup of a device at a hub.
    PutCleanup(Box<Cleanup>),
    /// Deletes the cleanup of a device at a hub.
    DeleteCleanup(HubDeviceRef),
}

/// What a change expects to find under its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Absent,
    /// A record of any version.
    Present,
    /// A record of this version.
    Version(Etag),
    /// A record of any version, or nothing.
    Anything,
    /// A record of any version, or nothing; and that the change before it in the commit was made.
    Following,
}

/// The outcome of a change or of a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The change was made; the guard holds.
    Applied,
    /// Not made: the record exists.
    Exists,
    /// Not made: the record does not exist.
    Missing,
    /// Not made: the record has another version.
    OtherVersion,
    /// Not made: a device at a hub that this registration would have belongs to another registration, of any instance.
    Taken,
    /// Not made: the change before it was not made, or a guard of the commit does not hold.
    LeftOut,
}

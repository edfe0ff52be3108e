//! Everything that provisioning needs from outside, on one page.
//!
//! A store keeps instances, enrollments, registrations, CA certificates and usage; it has no rules about their content. Its reads see
//! every write that was acknowledged before. Its one way to change devices' records is [`Store::commit`]: a list of
//! changes and the operation they count as, atomically on disk when it returns. Every engine passes the conformance
//! suite in `testkit`. What is needed of hubs is in `ports/hubs.rs`.

mod hubs;
mod leases;
mod log;

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
use model::{
    Attempt, Attribution, Block, CaCertificate, CaReference, Cleanup, Day, EnrollmentGroup,
    EnrollmentGroupId, Etag, HostName, HubDeviceRef, HubName, IdScope, IndividualEnrollment, Instance,
    LatencyReport, LeaseToken, LinkedHub, ListId, OperationKind, Registration, RegistrationId,
    RevocationList, Sha256Thumbprint, StatusKind, Timestamp, Trust, UsageRow, WebhookAnswer, WebhookRequest,
};

pub use hubs::{
    Before, Delay, Ensured, HubConnector, HubDevice, HubError, HubRight, HubVersion, Hubs, Removed,
};
pub use leases::{Lease, LeaseName, Leases, RunnerId};
pub use log::{LogError, LogFilter, LogPage, LogQuery, LogRetention};

use crate::allocate::{Latencies, Unavailability};
pub use crate::damage::{DamagedRecord, KnownDamage};
pub use crate::hub_health::{Circuit, HubHealth};

/// Durable memory. Everything but the instances themselves belongs to one instance, named by its ID scope.
#[async_trait]
pub trait Store: Leases {
    /// The instance with this ID scope. Asked for by every request: cheap.
    async fn instance(&self, scope: &IdScope) -> Result<Option<Arc<Instance>>, StoreError>;

    /// The instance whose service operations endpoint has this host name.
    async fn instance_by_host(&self, host: &HostName) -> Result<Option<Arc<Instance>>, StoreError>;

    /// All instances, by ID scope.
    async fn instances(&self) -> Result<Vec<Arc<Instance>>, StoreError>;

    /// Creates or replaces an instance.
    async fn put_instance(&self, instance: Instance, by: Attribution) -> Result<(), StoreError>;

    /// Replaces an instance that is stored just as `expected`, and counts the operation; in one transaction, on disk when
    /// this returns. False when another is stored under its ID scope, or none; then nothing was done.
    async fn replace_instance(
        &self,
        expected: &Instance,
        next: Instance,
        operation: (OperationKind, Day),
        by: Attribution,
    ) -> Result<bool, StoreError>;

    /// One individual enrollment.
    async fn individual(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<IndividualEnrollment>, StoreError>;

    /// Individual enrollments in the order of their lower-case IDs.
    async fn individuals(
        &self,
        scope: &IdScope,
        page: PageRequest,
    ) -> Result<Page<IndividualEnrollment>, StoreError>;

    /// Individual enrollments with a client certificate that is not valid after this instant; those that expire first
    /// come first, and there are at most `limit`.
    async fn individuals_expiring(
        &self,
        scope: &IdScope,
        until: Timestamp,
        limit: usize,
    ) -> Result<Page<IndividualEnrollment>, StoreError>;

    /// One enrollment group.
    async fn group(
        &self,
        scope: &IdScope,
        id: &EnrollmentGroupId,
    ) -> Result<Option<Arc<EnrollmentGroup>>, StoreError>;

    /// Enrollment groups in the order of their lower-case IDs.
    async fn groups(&self, scope: &IdScope, page: PageRequest) -> Result<Page<EnrollmentGroup>, StoreError>;

    /// The groups whose devices prove themselves by keys derived from the group's, by ID. Asked for by devices: cheap.
    async fn symmetric_key_groups(&self, scope: &IdScope) -> Result<Arc<[Arc<EnrollmentGroup>]>, StoreError>;

    /// The groups with a signing certificate of one of these subjects, by ID. A subject is the DER of a distinguished
    /// name: the issuer of a certificate that a device presented. Asked for by devices: cheap.
    async fn groups_signing_as(
        &self,
        scope: &IdScope,
        subjects: &[&[u8]],
    ) -> Result<Vec<Arc<EnrollmentGroup>>, StoreError>;

    /// The groups that name one of these CA certificates of the instance, by ID. Asked for by devices: cheap.
    async fn groups_naming(
        &self,
        scope: &IdScope,
        cas: &[CaReference],
    ) -> Result<Vec<Arc<EnrollmentGroup>>, StoreError>;

    /// The CA certificates that groups name, whether or not the instance has them. Cheap.
    async fn named_cas(&self, scope: &IdScope) -> Result<Arc<[CaReference]>, StoreError>;

    /// The groups, CA certificates, revocation lists and blocks of the instance that cannot be read. They are in none of
    /// the answers above and below that devices ask for, and may have decided otherwise. Asked for by devices: cheap.
    async fn unreadable(&self, scope: &IdScope) -> Result<Arc<[DamagedRecord]>, StoreError>;

    /// Every damaged record that was met since the store was opened and is still there, with the ID scope of its instance.
    async fn known_damage(&self) -> Result<KnownDamage, StoreError>;

    /// What the instance knows of CAs. Asked for by devices: cheap.
    async fn trust(&self, scope: &IdScope) -> Result<Arc<Trust>, StoreError>;

    /// One registration.
    async fn registration(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<Registration>, StoreError>;

    /// Registrations that came through a group, in the order of their lower-case IDs.
    async fn registrations_of(
        &self,
        scope: &IdScope,
        group: &EnrollmentGroupId,
        page: PageRequest,
    ) -> Result<Page<Registration>, StoreError>;

    /// All registrations of an instance, in the order of their IDs.
    async fn registrations(
        &self,
        scope: &IdScope,
        page: PageRequest,
    ) -> Result<Page<Registration>, StoreError>;

    /// Registrations of this status, however they came, in the order of their lower-case IDs.
    async fn registrations_in(
        &self,
        scope: &IdScope,
        status: StatusKind,
        page: PageRequest,
    ) -> Result<Page<Registration>, StoreError>;

    /// A registration of whichever instance that has this place, if there is one beside the one that is named.
    async fn other_owner(
        &self,
        place: &HubDeviceRef,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<Owner>, StoreError>;

    /// What is to be cleaned up at a place, if anything.
    async fn cleanup(&self, scope: &IdScope, place: &HubDeviceRef) -> Result<Option<Cleanup>, StoreError>;

    /// Everything that is to be cleaned up, in the order of the keys of the places.
    async fn cleanups(&self, scope: &IdScope, page: PageRequest) -> Result<Page<Cleanup>, StoreError>;

    /// What is to be cleaned up at a hub and may be tried at this time, the longest due first; at most so many, of which
    /// damaged ones take no place.
    async fn cleanups_due(
        &self,
        scope: &IdScope,
        hub: &HubName,
        now: Timestamp,
        at_most: usize,
    ) -> Result<Page<Cleanup>, StoreError>;

    /// How much is to be cleaned up.
    async fn cleanups_owed(&self, scope: &IdScope) -> Result<u64, StoreError>;

    /// Applies each change whose expectation holds and leaves out the others; counts the operation, if one is given,
    /// when there was no change to make or at least one was applied. Does nothing at all unless every guard holds. All of
    /// it in one transaction, on disk when this returns. The outcomes are those of the guards and then those of the
    /// changes, in their order. Returns [`StoreError::Fenced`], and does nothing at all, when the token of the commit is not
    /// current.
    async fn commit(&self, scope: &IdScope, commit: Commit) -> Result<Vec<Outcome>, StoreError>;

    /// Keeps attempts, the newest [`ATTEMPTS_OF_ONE`] of each name, and of known and of unknown names the newest
    /// [`ATTEMPTS_OF_A_KIND`]; forgets older ones.
    async fn keep_attempts(&self, scope: &IdScope, attempts: Vec<Attempt>) -> Result<(), StoreError>;

    /// The attempts kept of a name, newest first.
    async fn attempts(&self, scope: &IdScope, id: &RegistrationId) -> Result<Page<Attempt>, StoreError>;

    /// The log of changes of an instance, in the order of their commits. A change is in it as soon as it is acknowledged, and
    /// nothing between two entries of one writer is missing.
    async fn read_log(&self, scope: &IdScope, query: LogQuery) -> Result<LogPage, LogError>;

    /// Drops the oldest entries of the log, of all instances, that need not be kept; some thousands at a time. True when
    /// there are more.
    async fn trim_log(&self, keep: LogRetention) -> Result<bool, StoreError>;

    /// Operations by day and kind, from the first to the last day, both included.
    async fn usage(&self, scope: &IdScope, from: Day, to: Day) -> Result<Vec<UsageRow>, StoreError>;
}

/// How many refused attempts are kept of one registration ID: enough to see whether they have one reason.
pub const ATTEMPTS_OF_ONE: usize = 5;

/// How many are kept of all known registration IDs of an instance, and again of all that are not known: at most 3 KiB
/// each.
pub const ATTEMPTS_OF_A_KIND: usize = 5_000;

/// What [`Store::commit`] is to do. Every record that it changes gets an entry in the change log, in the same transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The lease that the commit is made under. Absent where any process may make it.
    pub fence: Option<LeaseToken>,
    /// The records that the commit relies on beside those that it changes.
    pub guards: Vec<Guard>,
    /// The changes, each with what it expects to find.
    pub changes: Vec<(Expect, Change)>,
    /// The operation to count, and its UTC day.
    pub operation: Option<(OperationKind, Day)>,
    /// Who makes the changes, and by which instruction.
    pub by: Attribution,
}

impl Commit {
    /// A commit that does nothing yet. There is no default: no change is anonymous.
    pub fn by(by: Attribution) -> Commit {
        Commit { fence: None, guards: Vec::new(), changes: Vec::new(), operation: None, by }
    }
}

/// A record that a commit relies on and leaves as it is: unless it has this version when the commit is made, nothing of
/// the commit is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The record.
    pub record: Guarded,
    /// Its version.
    pub version: Etag,
}

/// The records that a commit may rely on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guarded {
    /// An individual enrollment.
    Individual(RegistrationId),
    /// An enrollment group.
    Group(EnrollmentGroupId),
    /// A registration.
    Registration(RegistrationId),
}

/// One change of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Writes an individual enrollment.
    PutIndividual(Box<IndividualEnrollment>),
    /// Removes an individual enrollment.
    DeleteIndividual(RegistrationId),
    /// Writes an enrollment group.
    PutGroup(Box<EnrollmentGroup>),
    /// Removes an enrollment group; the registrations that came through it stay.
    DeleteGroup(EnrollmentGroupId),
    /// Writes a CA certificate.
    PutCertificate(Box<CaCertificate>),
    /// Removes a CA certificate and its revocation lists; enrollments that name it stay.
    DeleteCertificate(CaReference),
    /// Writes a revocation list of a CA.
    PutRevocationList(Box<RevocationList>),
    /// Removes one revocation list of a CA.
    DeleteRevocationList(CaReference, ListId),
    /// Writes the block of a certificate.
    PutBlock(Box<Block>),
    /// Removes the block of a certificate.
    DeleteBlock(Sha256Thumbprint),
    /// Writes a registration.
    PutRegistration(Box<Registration>),
    /// Removes a registration.
    DeleteRegistration(RegistrationId),
    /// Writes down what is to be cleaned up at a place.
    PutCleanup(Box<Cleanup>),
    /// Forgets what was to be cleaned up at a place.
    DeleteCleanup(HubDeviceRef),
}

/// What a change expects to find under its ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Absent,
    /// A record of any version.
    Present,
    /// A record of this version.
    Version(Etag),
    /// Whatever is there, or nothing.
    Anything,
    /// Whatever is there, or nothing; but the change before it in the same commit was made.
    Following,
}

/// The registration that has a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its instance.
    pub id_scope: IdScope,
    /// Its ID, in lower case.
    pub registration_id: RegistrationId,
}

/// What became of a change, or of a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was made; of a guard: it holds.
    Applied,
    /// Not made: the record is already there.
    Exists,
    /// Not made: the record is not there.
    Missing,
    /// Not made: the record has another version.
    OtherVersion,
    /// Not made: another registration, of whichever instance, has a place that this one would have from now on.
    Taken,
    /// Not made: the change that it follows was not made, or a guard of the commit does not hold.
    LeftOut,
}

/// Which part of a listing is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Continue after this lower-case ID; from the start when absent.
    pub after: Option<String>,
    /// At most this many, and at least one.
    pub limit: usize,
}

/// Part of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The records.
    pub items: Vec<T>,
    /// Where the next page continues; absent on the last page.
    pub next: Option<String>,
    /// What belongs here and cannot be read: a listing names it and goes on.
    pub damaged: Vec<DamagedRecord>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Page { items: Vec::new(), next: None, damaged: Vec::new() }
    }
}

/// The store could not do what it was asked; nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Too much to do; trying again later helps.
    #[error("the store is overloaded")]
    Busy,
    /// It takes no writes, as when its disk is full; trying again helps once somebody has put that right. For the log.
    #[error("the store takes no writes: {0}")]
    Unwritable(String),
    /// A record is there and cannot be read. It can be deleted.
    #[error("{0}")]
    Damaged(DamagedRecord),
    /// The lease that the commit was made under has another holder now, or none.
    #[error("the lease that this was done under has ended")]
    Fenced,
    /// It is broken or gone. For the log, not for callers.
    #[error("the store failed: {0}")]
    Broken(String),
}

/// The webhooks of custom allocation.
#[async_trait]
pub trait AllocationWebhook: Send + Sync {
    /// Asks the webhook that the request names, in the name of the instance, once and for a bounded time. Asking twice is
    /// harmless.
    async fn ask(&self, instance: &Instance, request: &WebhookRequest) -> WebhookOutcome;
}

/// What came of asking a webhook. The texts complete the sentence "custom allocation failed with".
#[derive(Debug, Clone, PartialEq)]
pub enum WebhookOutcome {
    /// It answered.
    Answer(WebhookAnswer),
    /// It knows us not: status 401.
    Unauthorized,
    /// It said no, or what cannot be understood, and will again.
    Failed(String),
    /// It is down, slow or too busy, or so are we: asking later helps.
    Retry(String),
}

/// What is known of the hubs' whereabouts and health. Asked for by every allocation that needs it: cheap.
pub trait HubTopology: Send + Sync {
    /// How far the instance's hubs are from a device that comes from this address, or from this node when that says
    /// nothing.
    fn latencies(&self, instance: &Instance, device: Option<IpAddr>) -> Latencies;

    /// Why new devices should be kept away from a linked hub, if they should.
    fn unavailability(&self, hub: &LinkedHub) -> Option<Unavailability>;

    /// The table, and the probes of the instance's hubs, for operators.
    fn report(&self, instance: &Instance) -> LatencyReport;
}

/// Surroundings of which nothing is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unknown;

impl HubTopology for Unknown {
    fn latencies(&self, _instance: &Instance, _device: Option<IpAddr>) -> Latencies {
        Latencies::default()
    }

    fn unavailability(&self, _hub: &LinkedHub) -> Option<Unavailability> {
        None
    }

    fn report(&self, _instance: &Instance) -> LatencyReport {
        LatencyReport::default()
    }
}

/// What time it is.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Where random bytes come from.
pub trait Entropy: Send + Sync {
    /// Fills the whole buffer with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]);
}

/// Runs computations that take longer than an async thread should be held: a signature of P-521 takes half a millisecond.
#[async_trait]
pub trait Compute: Send + Sync {
    /// Runs a computation to its end.
    async fn run(&self, work: Box<dyn FnOnce() + Send>);
}

/// Runs computations where they are asked for, as suits a single device.
#[derive(Debug, Clone, Copy, Default)]
pub struct ComputeInPlace;

#[async_trait]
impl Compute for ComputeInPlace {
    async fn run(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

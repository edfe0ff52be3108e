//! What an engine writes in one transaction: rows with sealed documents, each with what it expects to find.

use std::borrow::Cow;

use model::{
    Attribution, CaReference, Cleanup, Day, EnrollmentRef, Etag, HubDeviceRef, IdScope,
    IndividualAttestation, IndividualCertificates, IndividualEnrollment, LeaseToken, ListId, OperationKind,
    Registration,
};
use provisioning::ports::{Change, Commit, Expect, Guard, Guarded, Outcome, StoreError};
use serde::Serialize;

use crate::{
    document::{Documents, RowRef},
    table::Table,
};

/// The bytes of a batch without its documents.
const BASE_BYTES: usize = 1024;

/// A commit whose documents are sealed already, so that a writer thread has nothing to do but write.
#[derive(Debug)]
pub struct Batch {
    /// The lower-case ID scope of the instance.
    pub scope: String,
    /// The number of the instance, if it has one.
    pub instance: Option<i64>,
    /// The lease that the batch is written under.
    pub fence: Option<LeaseToken>,
    /// What must hold, or nothing is written.
    pub guards: Vec<RowGuard>,
    /// The changes, in order.
    pub changes: Vec<RowChange>,
    /// The operation to count when there is no change, or at least one was made.
    pub operation: Option<(OperationKind, Day)>,
    /// Who makes the changes.
    pub by: Attribution,
}

/// What must hold for a batch to be written.
#[derive(Debug)]
pub enum RowGuard {
    /// A row has this version; or does not exist, if there is none.
    Row(RowKey, Option<Etag>),
    /// No row of this table of configuration was written or deleted since this version of the snapshot: of the instance, or
    /// of all instances for [`Table::Instances`].
    Unchanged(Table, u64),
}

/// The change of one row.
#[derive(Debug)]
pub struct RowChange {
    /// The row.
    pub key: RowKey,
    /// What must be found, or the change is not made.
    pub expect: Expect,
    /// What is written; absent when the row is deleted.
    pub row: Option<Row>,
    /// What the change log names; absent when it is the ID of the row.
    pub subject: Option<String>,
}

/// Where a row is, within its instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// Its table.
    pub table: Table,
    /// Its lower-case ID; empty for the instance itself.
    pub id: String,
}

/// What is stored under a key.
#[derive(Debug, Clone)]
pub struct Row {
    /// The version; empty for an instance, which has none.
    pub etag: String,
    /// The sealed document.
    pub document: Vec<u8>,
    /// What the row is listed by.
    pub columns: Columns,
}

/// What rows are listed by, beside their IDs.
#[derive(Debug, Clone)]
pub enum Columns {
    /// Nothing.
    None,
    /// An individual enrollment.
    Individual {
        /// When its first client certificate expires, in seconds since 1970.
        expires: Option<i64>,
    },
    /// A registration.
    Registration {
        /// The name of the kind of its status.
        status: &'static str,
        /// The lower-case ID of its enrollment group; absent if its enrollment is individual.
        group: Option<String>,
        /// The devices at hubs that belong to it: where the device is, and where it is moved to.
        hub_devices: (Option<HubDeviceRef>, Option<HubDeviceRef>),
    },
    /// A cleanup.
    Cleanup {
        /// The hub.
        hub: String,
        /// When it may be tried next, in ticks.
        due: i64,
    },
    /// A revocation list.
    RevocationList {
        /// The lower-case name of its CA.
        ca: String,
    },
}

impl Batch {
    /// Returns about how many bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        let document = |change: &RowChange| change.row.as_ref().map_or(0, |row| row.document.len());
        BASE_BYTES + self.changes.iter().map(document).sum::<usize>()
    }

    /// Seals the documents of a commit.
    pub(crate) fn seal(
        documents: &Documents,
        scope: &IdScope,
        instance: Option<i64>,
        commit: Commit,
    ) -> Result<Batch, StoreError> {
        let Commit { fence, guards, changes, operation, by } = commit;
        let seal = |(expect, change)| RowChange::seal(documents, scope, expect, change);
        Ok(Batch {
            scope: scope.key().into_owned(),
            instance,
            fence,
            guards: guards.into_iter().map(RowGuard::from).collect(),
            changes: changes.into_iter().map(seal).collect::<Result<_, _>>()?,
            operation,
            by,
        })
    }

    /// Returns the operation to count after these outcomes of the changes.
    pub fn counted(&self, outcomes: &[Outcome]) -> Option<(OperationKind, Day)> {
        let counts = outcomes.is_empty() || outcomes.contains(&Outcome::Applied);
        self.operation.filter(|_| counts)
    }
}

impl From<Guard> for RowGuard {
    fn from(guard: Guard) -> RowGuard {
        let (record, version) = match guard {
            Guard::Record { record, version } => (record, version),
            Guard::Instances { since } => return RowGuard::Unchanged(Table::Instances, since),
            Guard::RevocationLists { since } => return RowGuard::Unchanged(Table::RevocationLists, since),
        };
        let key = match &record {
            Guarded::Individual(id) => RowKey::new(Table::Individuals, id.key()),
            Guarded::Group(id) => RowKey::new(Table::Groups, id.key()),
            Guarded::Registration(id) => RowKey::new(Table::Registrations, id.key()),
            Guarded::Certificate(name) => RowKey::new(Table::Certificates, name.key()),
        };
        RowGuard::Row(key, version)
    }
}

impl RowKey {
    fn new(table: Table, id: Cow<'_, str>) -> RowKey {
        RowKey { table, id: id.into_owned() }
    }

    fn of(change: &Change) -> RowKey {
        match change {
            Change::PutInstance { .. } => RowKey::new(Table::Instances, "".into()),
            Change::PutIndividual(record) => RowKey::new(Table::Individuals, record.registration_id.key()),
            Change::DeleteIndividual(id) => RowKey::new(Table::Individuals, id.key()),
            Change::PutGroup(record) => RowKey::new(Table::Groups, record.group_id.key()),
            Change::DeleteGroup(id) => RowKey::new(Table::Groups, id.key()),
            Change::PutCertificate(record) => RowKey::new(Table::Certificates, record.name.key()),
            Change::DeleteCertificate(name) => RowKey::new(Table::Certificates, name.key()),
            Change::PutRevocationList(record) => RowKey::of_list(&record.authority, &record.id),
            Change::DeleteRevocationList(name, id) => RowKey::of_list(name, id),
            Change::PutBlock(record) => RowKey::new(Table::Blocks, record.thumbprint.as_str().into()),
            Change::DeleteBlock(thumbprint) => RowKey::new(Table::Blocks, thumbprint.as_str().into()),
            Change::PutRegistration(record) => {
                RowKey::new(Table::Registrations, record.registration_id.key())
            }
            Change::DeleteRegistration(id) => RowKey::new(Table::Registrations, id.key()),
            Change::PutCleanup(record) => RowKey::new(Table::Cleanups, record.residue.hub_device.key()),
            Change::DeleteCleanup(device) => RowKey::new(Table::Cleanups, device.key()),
        }
    }

    /// The first list of a CA has the CA's name, as when there was one for each; the names of CAs hold no line feed.
    fn of_list(ca: &CaReference, id: &ListId) -> RowKey {
        let id = if id.is_first() { ca.key() } else { format!("{}\n{id}", ca.key()).into() };
        RowKey::new(Table::RevocationLists, id)
    }
}

impl RowGuard {
    /// Returns the outcome of a guard of a version, or of absence, where this version was found.
    pub fn outcome(version: Option<&Etag>, found: Option<&str>) -> Outcome {
        match (version.map(Etag::as_str), found) {
            (Some(version), Some(found)) if version == found => Outcome::Applied,
            (Some(_), Some(_)) => Outcome::OtherVersion,
            (Some(_), None) => Outcome::Missing,
            (None, Some(_)) => Outcome::Exists,
            (None, None) => Outcome::Applied,
        }
    }
}

impl RowChange {
    /// Returns the key of the entry in the change log.
    pub fn log_key(&self) -> &str {
        self.subject.as_deref().unwrap_or(&self.key.id)
    }

    /// Whether the change follows one that was not made.
    pub fn is_left_out(&self, before: Option<&Outcome>) -> bool {
        self.expect == Expect::Following && before.is_some_and(|before| *before != Outcome::Applied)
    }

    /// Returns why the change is not made where this version was found, or nothing.
    pub fn refusal(&self, found: Option<&str>) -> Option<Outcome> {
        match (&self.expect, found) {
            (Expect::Absent, Some(_)) => Some(Outcome::Exists),
            (Expect::Present | Expect::Version(_), None) => Some(Outcome::Missing),
            (Expect::Version(version), Some(found)) => {
                (version.as_str() != found).then_some(Outcome::OtherVersion)
            }
            (Expect::Absent, None) | (Expect::Present | Expect::Anything | Expect::Following, _) => None,
        }
    }

    /// Seals the document of a change.
    pub(crate) fn seal(
        documents: &Documents,
        scope: &IdScope,
        expect: Expect,
        change: Change,
    ) -> Result<RowChange, StoreError> {
        let key = RowKey::of(&change);
        let sealing = Sealing { documents, place: RowRef { table: key.table, scope, id: &key.id } };
        let row = match &change {
            Change::PutInstance { instance, .. } => Some(sealing.row("", instance, Columns::None)?),
            Change::PutIndividual(it) => Some(sealing.row(it.record.etag.as_str(), it, individual(it))?),
            Change::PutGroup(it) => Some(sealing.row(it.record.etag.as_str(), it, Columns::None)?),
            Change::PutCertificate(it) => Some(sealing.row(it.record.etag.as_str(), it, Columns::None)?),
            Change::PutRevocationList(it) => {
                let columns = Columns::RevocationList { ca: it.authority.key().into_owned() };
                Some(sealing.row(it.record.etag.as_str(), it, columns)?)
            }
            Change::PutBlock(it) => Some(sealing.row(it.record.etag.as_str(), it, Columns::None)?),
            Change::PutRegistration(it) => {
                Some(sealing.row(it.record.etag.as_str(), it, registration(it))?)
            }
            Change::PutCleanup(it) => Some(sealing.row(it.record.etag.as_str(), it, cleanup(it))?),
            Change::DeleteIndividual(_)
            | Change::DeleteGroup(_)
            | Change::DeleteCertificate(_)
            | Change::DeleteRevocationList(..)
            | Change::DeleteBlock(_)
            | Change::DeleteRegistration(_)
            | Change::DeleteCleanup(_) => None,
        };
        let subject = match change {
            Change::PutInstance { linked_hub, .. } => linked_hub.map(|hub| hub.to_string()),
            _ => None,
        };
        Ok(RowChange { key, expect, row, subject })
    }
}

/// Seals documents for one row.
struct Sealing<'a> {
    documents: &'a Documents,
    place: RowRef<'a>,
}

impl Sealing<'_> {
    fn row(&self, etag: &str, document: &impl Serialize, columns: Columns) -> Result<Row, StoreError> {
        Ok(Row { etag: etag.to_owned(), document: self.documents.seal(self.place, document)?, columns })
    }
}

fn individual(enrollment: &IndividualEnrollment) -> Columns {
    let expires = match &enrollment.attestation {
        IndividualAttestation::X509(IndividualCertificates::Client(leaves)) => {
            leaves.iter().map(|leaf| leaf.info().not_after.unix_seconds()).min()
        }
        _ => None,
    };
    Columns::Individual { expires }
}

fn registration(registration: &Registration) -> Columns {
    let group = match &registration.enrollment {
        EnrollmentRef::Group(id) => Some(id.key().into_owned()),
        EnrollmentRef::Individual => None,
    };
    Columns::Registration {
        status: registration.status.kind().name(),
        group,
        hub_devices: registration.hub_devices(),
    }
}

fn cleanup(cleanup: &Cleanup) -> Columns {
    let due = cleanup.tries.last().map_or(cleanup.record.created, |last| last.next).ticks();
    Columns::Cleanup { hub: cleanup.residue.hub_device.hub.to_string(), due }
}

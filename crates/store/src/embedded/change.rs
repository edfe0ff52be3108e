//! Changes of records: made ready on the caller's thread, applied on the writer's.

use std::borrow::Cow;

use durable::rusqlite::{self, Connection, ToSql};
use model::{
    CaReference, Cleanup, EnrollmentRef, Etag, IdScope, IndividualAttestation, IndividualCertificates,
    IndividualEnrollment, ListId, Registration,
};
use provisioning::ports::{Change, Expect, Guard, Guarded, Outcome, StoreError};
use serde::Serialize;

use crate::embedded::document::{Documents, RowRef};
use crate::embedded::hub_devices::{self, HubDeviceIndex};
use crate::embedded::log::LogWriter;
use crate::embedded::statements::{
    BLOCKS, CERTIFICATES, CLEANUPS, GROUPS, INDIVIDUALS, REGISTRATIONS, REVOCATION_LISTS, Statements,
};

/// A change whose document is sealed already, so that the one writer thread has nothing to do but SQL.
#[derive(Debug)]
pub(crate) struct Prepared {
    statements: &'static Statements,
    id: String,
    expect: Expect,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Put(Row),
    Delete,
}

#[derive(Debug)]
struct Row {
    etag: String,
    document: Vec<u8>,
    listed: Listed,
}

/// The columns that records are listed by.
#[derive(Debug)]
enum Listed {
    /// By their ID alone.
    ById,
    Individual {
        expires: Option<i64>,
    },
    Registration {
        status: &'static str,
        group: Option<String>,
        places: HubDeviceIndex,
    },
    Cleanup {
        hub: String,
        due: i64,
    },
    RevocationList {
        ca: String,
    },
}

impl Prepared {
    pub(crate) fn new(
        documents: &Documents,
        scope: &IdScope,
        expect: Expect,
        change: &Change,
    ) -> Result<Prepared, StoreError> {
        let (statements, id) = target(change);
        let place = RowRef { table: statements.table, scope, id: &id };
        let step = match change {
            Change::PutIndividual(record) => {
                let row = Row::new(documents, place, &record.record.etag, record)?;
                Step::Put(Row { listed: Listed::Individual { expires: expires(record) }, ..row })
            }
            Change::PutGroup(record) => Step::Put(Row::new(documents, place, &record.record.etag, record)?),
            Change::PutCertificate(record) => {
                Step::Put(Row::new(documents, place, &record.record.etag, record)?)
            }
            Change::PutRevocationList(record) => {
                let row = Row::new(documents, place, &record.record.etag, record)?;
                let ca = record.authority.key().into_owned();
                Step::Put(Row { listed: Listed::RevocationList { ca }, ..row })
            }
            Change::PutBlock(record) => Step::Put(Row::new(documents, place, &record.record.etag, record)?),
            Change::PutRegistration(record) => {
                let row = Row::new(documents, place, &record.record.etag, record)?;
                Step::Put(Row { listed: Listed::registration(record), ..row })
            }
            Change::PutCleanup(record) => {
                let row = Row::new(documents, place, &record.record.etag, record)?;
                Step::Put(Row { listed: Listed::cleanup(record), ..row })
            }
            Change::DeleteIndividual(_)
            | Change::DeleteGroup(_)
            | Change::DeleteCertificate(_)
            | Change::DeleteRevocationList(..)
            | Change::DeleteBlock(_)
            | Change::DeleteRegistration(_)
            | Change::DeleteCleanup(_) => Step::Delete,
        };
        Ok(Prepared { statements, id: id.into_owned(), expect, step })
    }

    /// The table and ID of the record that it is about.
    pub(crate) fn target(&self) -> (&'static str, String) {
        (self.statements.table, self.id.clone())
    }

    /// Makes the change if its expectation holds, and logs it. `before` is what became of the change before it.
    pub(crate) fn apply(&self, log: &LogWriter<'_>, before: Option<&Outcome>) -> rusqlite::Result<Outcome> {
        if self.expect == Expect::Following && before.is_some_and(|before| *before != Outcome::Applied) {
            return Ok(Outcome::LeftOut);
        }
        let (connection, instance) = (log.connection, log.instance);
        let target = Target { connection, statements: self.statements, instance, id: &self.id };
        match &self.step {
            Step::Put(row) => {
                let outcome = match &row.listed {
                    Listed::Registration { places, .. } => target.put_placed(row, places, &self.expect)?,
                    _ => target.put(row, &self.expect)?,
                };
                if outcome == Outcome::Applied {
                    log.note(self.statements.kind, &self.id, Some(&row.etag))?;
                }
                Ok(outcome)
            }
            Step::Delete => target.delete(&self.expect, log),
        }
    }
}

/// A guard, with the statements of its table.
#[derive(Debug)]
pub(crate) struct PreparedGuard {
    statements: &'static Statements,
    id: String,
    version: Etag,
}

impl PreparedGuard {
    pub(crate) fn new(Guard { record, version }: Guard) -> PreparedGuard {
        let (statements, id) = match &record {
            Guarded::Individual(id) => (&INDIVIDUALS, id.key()),
            Guarded::Group(id) => (&GROUPS, id.key()),
            Guarded::Registration(id) => (&REGISTRATIONS, id.key()),
        };
        PreparedGuard { statements, id: id.into_owned(), version }
    }

    /// [`Outcome::Applied`] when it holds.
    pub(crate) fn check(&self, connection: &Connection, instance: i64) -> rusqlite::Result<Outcome> {
        let target = Target { connection, statements: self.statements, instance, id: &self.id };
        if target.is_version(&self.version)? {
            return Ok(Outcome::Applied);
        }
        Ok(if target.exists()? { Outcome::OtherVersion } else { Outcome::Missing })
    }
}

impl Row {
    fn new(
        documents: &Documents,
        place: RowRef<'_>,
        etag: &Etag,
        document: &impl Serialize,
    ) -> Result<Row, StoreError> {
        Ok(Row { etag: etag.to_string(), document: documents.seal(place, document)?, listed: Listed::ById })
    }
}

impl Listed {
    fn registration(registration: &Registration) -> Listed {
        let group = match &registration.enrollment {
            EnrollmentRef::Group(id) => Some(id.key().into_owned()),
            EnrollmentRef::Individual => None,
        };
        let places = HubDeviceIndex::of(registration);
        Listed::Registration { status: registration.status.kind().name(), group, places }
    }

    fn cleanup(cleanup: &Cleanup) -> Listed {
        let due = cleanup.tries.next.unwrap_or(cleanup.record.created).ticks();
        Listed::Cleanup { hub: cleanup.residue.hub_device.hub.to_string(), due }
    }
}

/// When the first of an enrollment's client certificates expires.
fn expires(enrollment: &IndividualEnrollment) -> Option<i64> {
    let IndividualAttestation::X509(IndividualCertificates::Client(leaves)) = &enrollment.attestation else {
        return None;
    };
    leaves.iter().map(|leaf| leaf.info().not_after.unix_seconds()).min()
}

fn target(change: &Change) -> (&'static Statements, Cow<'_, str>) {
    match change {
        Change::PutIndividual(record) => (&INDIVIDUALS, record.registration_id.key()),
        Change::DeleteIndividual(id) => (&INDIVIDUALS, id.key()),
        Change::PutGroup(record) => (&GROUPS, record.group_id.key()),
        Change::DeleteGroup(id) => (&GROUPS, id.key()),
        Change::PutCertificate(record) => (&CERTIFICATES, record.name.key()),
        Change::DeleteCertificate(name) => (&CERTIFICATES, name.key()),
        Change::PutRevocationList(record) => (&REVOCATION_LISTS, list_row(&record.authority, &record.id)),
        Change::DeleteRevocationList(name, id) => (&REVOCATION_LISTS, list_row(name, id)),
        Change::PutBlock(record) => (&BLOCKS, record.thumbprint.as_str().into()),
        Change::DeleteBlock(thumbprint) => (&BLOCKS, thumbprint.as_str().into()),
        Change::PutRegistration(record) => (&REGISTRATIONS, record.registration_id.key()),
        Change::DeleteRegistration(id) => (&REGISTRATIONS, id.key()),
        Change::PutCleanup(record) => (&CLEANUPS, record.residue.hub_device.key()),
        Change::DeleteCleanup(place) => (&CLEANUPS, place.key()),
    }
}

/// The ID of the row of a list. The first list of a CA has the CA's name, as when there was one for each; the names of CAs
/// hold no line feed.
fn list_row<'a>(authority: &'a CaReference, id: &ListId) -> Cow<'a, str> {
    if id.is_first() { authority.key() } else { format!("{}\n{id}", authority.key()).into() }
}

/// The row that a change is about, there or not.
struct Target<'a> {
    connection: &'a Connection,
    statements: &'static Statements,
    instance: i64,
    id: &'a str,
}

impl Target<'_> {
    /// Writes a registration unless it would have a place of another one.
    fn put_placed(&self, row: &Row, places: &HubDeviceIndex, expect: &Expect) -> rusqlite::Result<Outcome> {
        let Some(columns) = places.claim(self.connection, self.instance, self.id)? else {
            return Ok(Outcome::Taken);
        };
        let outcome = self.put(row, expect)?;
        if outcome == Outcome::Applied {
            hub_devices::note(self.connection, self.instance, self.id, &columns)?;
        }
        Ok(outcome)
    }

    fn put(&self, row: &Row, expect: &Expect) -> rusqlite::Result<Outcome> {
        if *expect == Expect::Absent {
            return Ok(if self.insert(row)? { Outcome::Applied } else { Outcome::Exists });
        }
        if self.update(row, expect)? {
            return Ok(Outcome::Applied);
        }
        // Not there, of another version, or a registration that came through another group than before.
        if self.remove(expect)? || takes_nothing(expect) {
            self.insert(row)?;
            return Ok(Outcome::Applied);
        }
        self.unmet(expect)
    }

    fn delete(&self, expect: &Expect, log: &LogWriter<'_>) -> rusqlite::Result<Outcome> {
        if *expect == Expect::Absent {
            return Ok(if self.exists()? { Outcome::Exists } else { Outcome::Applied });
        }
        if self.remove(expect)? {
            log.note(self.statements.kind, self.id, None)?;
            if let Some((kind, sql)) = self.statements.delete_dependent {
                let mut statement = self.connection.prepare_cached(sql)?;
                let gone: rusqlite::Result<Vec<String>> =
                    statement.query_map((self.instance, self.id), |row| row.get(0))?.collect();
                gone?.iter().try_for_each(|id| log.note(kind, id, None))?;
            }
            return Ok(Outcome::Applied);
        }
        if takes_nothing(expect) { Ok(Outcome::Applied) } else { self.unmet(expect) }
    }

    fn insert(&self, row: &Row) -> rusqlite::Result<bool> {
        self.execute(self.statements.insert, Some(row), None)
    }

    fn update(&self, row: &Row, expect: &Expect) -> rusqlite::Result<bool> {
        match expect {
            Expect::Version(etag) => self.execute(self.statements.update_version, Some(row), Some(etag)),
            Expect::Absent | Expect::Anything | Expect::Following | Expect::Present => {
                self.execute(self.statements.update, Some(row), None)
            }
        }
    }

    fn remove(&self, expect: &Expect) -> rusqlite::Result<bool> {
        match expect {
            Expect::Version(etag) => self.execute(self.statements.delete_version, None, Some(etag)),
            Expect::Absent | Expect::Anything | Expect::Following | Expect::Present => {
                self.execute(self.statements.delete, None, None)
            }
        }
    }

    /// Why nothing was found that meets the expectation.
    fn unmet(&self, expect: &Expect) -> rusqlite::Result<Outcome> {
        let other_version = matches!(expect, Expect::Version(_)) && self.exists()?;
        Ok(if other_version { Outcome::OtherVersion } else { Outcome::Missing })
    }

    fn exists(&self) -> rusqlite::Result<bool> {
        self.connection.prepare_cached(self.statements.exists)?.exists((self.instance, self.id))
    }

    fn is_version(&self, version: &Etag) -> rusqlite::Result<bool> {
        let key = (self.instance, self.id, version.as_str());
        self.connection.prepare_cached(self.statements.is_version)?.exists(key)
    }

    /// Whether the statement found a row.
    fn execute(&self, sql: &str, row: Option<&Row>, version: Option<&Etag>) -> rusqlite::Result<bool> {
        let version = version.map(Etag::as_str);
        let mut values: Vec<&dyn ToSql> = Vec::with_capacity(MOST_PARAMETERS);
        values.extend([&self.instance as &dyn ToSql, &self.id]);
        if let Some(row) = row {
            values.extend([&row.etag as &dyn ToSql, &row.document]);
            match &row.listed {
                Listed::ById => {}
                Listed::Individual { expires } => values.push(expires),
                Listed::Registration { status, group, places: _ } => {
                    values.extend([status as &dyn ToSql, group])
                }
                Listed::Cleanup { hub, due } => values.extend([hub as &dyn ToSql, due]),
                Listed::RevocationList { ca } => values.push(ca),
            }
        }
        values.extend(version.iter().map(|version| version as &dyn ToSql));
        let found = self.connection.prepare_cached(sql)?.execute(values.as_slice())?;
        Ok(found > 0)
    }
}

/// Whether a change may find nothing under its ID.
fn takes_nothing(expect: &Expect) -> bool {
    matches!(expect, Expect::Anything | Expect::Following)
}

/// Of the update of a registration of an expected version.
const MOST_PARAMETERS: usize = 7;

//! Maintenance: checks for damage, and drops or restores single records.

use std::{fmt, str::FromStr, time::Duration};

use durable::{
    Depth, FileCheck,
    rusqlite::{self, Connection, OptionalExtension},
};
use model::{
    Attempt, Attribution, Block, CaCertificate, Cleanup, EnrollmentGroup, IdScope, IndividualEnrollment,
    Instance, Job, LogOperation, Registration, RevocationList, Timestamp,
};
use provisioning::{
    RecordKind,
    ports::{Change, Commit, Commits, DamagedRecord, Expect, InstanceWriter, KnownDamage, StoreError},
};
use serde::de::DeserializeOwned;

use crate::{
    broken,
    document::{Documents, RowRef},
    log_row::Signature,
    sqlite::{EmbeddedStore, OpenError, broken_rows::damage_in, configuration, log::LogWriter, not_written},
    table::Table,
};

/// The name of one stored record: `TABLE/ID-SCOPE/ID`, and `instances/ID-SCOPE` for an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordName {
    table: Table,
    scope: IdScope,
    /// As it is stored; empty for an instance.
    id: String,
}

/// The result of an inspection of a whole store.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The check of the structure of the file.
    pub file: FileCheck,
    /// The number of records of each table.
    pub counts: Vec<(&'static str, u64)>,
    /// The names of the records that cannot be read, and why.
    pub damaged: Vec<(String, String)>,
}

/// Why a record was neither dropped nor restored.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The name is not that of a record.
    #[error("{0:?} is not the name of a record: TABLE/ID-SCOPE/ID, with one of the tables instances, {tables}", tables = tables())]
    Name(String),
    /// There is no such record.
    #[error("there is no {0}")]
    Missing(RecordName),
    /// It can be read, and the service is the way to delete it.
    #[error("{0} can be read: delete it through the service")]
    Readable(RecordName),
    /// An old record of this table is useless or harmful.
    #[error(
        "{0} is not restored: what is to be removed from hubs, and refused attempts, belong to their time; drop it"
    )]
    OutOfTime(RecordName),
    /// The backup cannot be read.
    #[error("the backup: {0}")]
    Backup(OpenError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EmbeddedStore {
    /// Whether the last process that had the store open ended without closing it.
    pub fn was_cut_off(&self) -> bool {
        self.engine.database.was_cut_off()
    }

    /// Returns the size of the file in bytes.
    pub fn file_size(&self) -> u64 {
        self.engine.database.file_size()
    }

    /// Checks the structure of the file for at most this time, on the calling thread.
    pub fn check_file(&self, depth: Depth, at_most: Duration) -> Result<FileCheck, StoreError> {
        self.engine.database.check_file(depth, at_most).map_err(broken)
    }

    /// Rebuilds all indexes from their tables: rows that were only missing in an index are found again.
    pub async fn rebuild_indexes(&self) -> Result<(), StoreError> {
        self.engine.database.rebuild_indexes().await.map_err(not_written)
    }

    /// Reads every record, on the calling thread.
    pub fn inspect(&self, at_most: Duration) -> Result<Inspection, StoreError> {
        let file = self.check_file(Depth::Indexes, at_most)?;
        let instances = self.engine.database.read(configuration::instances).map_err(broken)?;
        let mut counts = vec![("instances", instances.len() as u64)];
        for table in Table::OF_INSTANCE {
            let mut count = 0;
            for (number, scope) in &instances {
                if let Ok(scope) = IdScope::parse(scope.clone()) {
                    count += self.inspect_table(table, *number, &scope)?;
                }
            }
            counts.push((table.name(), count));
        }
        let KnownDamage { records, more } = self.documents.damage().known();
        let mut damaged: Vec<_> = records.into_iter().map(|(scope, record)| named(&scope, &record)).collect();
        if more > 0 {
            damaged.push((format!("{more} more"), "only so many are remembered".to_owned()));
        }
        Ok(Inspection { file, counts, damaged })
    }

    /// Reads the records of one table of an instance.
    fn inspect_table(&self, table: Table, number: i64, scope: &IdScope) -> Result<u64, StoreError> {
        let (mut last, mut count) = (i64::MIN, 0);
        loop {
            let rows = self.rows_after(table, number, last).map_err(broken)?;
            let Some((row, _, _)) = rows.last() else { return Ok(count) };
            last = *row;
            for (_, id, document) in rows {
                let place = RowRef { table, scope, id: &id };
                match document {
                    Ok(sealed) => self.documents.try_open(place, &sealed),
                    Err(reason) => drop(self.documents.note(place, reason)),
                }
                count += 1;
            }
        }
    }

    /// Returns the next rows of a table, each read on its own.
    fn rows_after(&self, table: Table, number: i64, last: i64) -> rusqlite::Result<Vec<Row>> {
        let table = table.name();
        let rows = format!("SELECT rowid FROM {table} WHERE rowid > ?1 ORDER BY rowid LIMIT 1000");
        let one = format!("SELECT id, document FROM {table} WHERE rowid = ?1 AND instance = ?2");
        self.engine.database.read(|connection| {
            let mut statement = connection.prepare_cached(&rows)?;
            let found = statement.query_map([last], |row| row.get(0))?;
            let mut rows = Vec::new();
            for row in found {
                let row: i64 = row?;
                let read = connection
                    .prepare_cached(&one)?
                    .query_row((row, number), |it| Ok((it.get(0)?, it.get(1)?)))
                    .optional();
                match read {
                    Ok(Some((id, document))) => rows.push((row, id, Ok(document))),
                    Ok(None) => {}
                    Err(error) => {
                        let reason = damage_in(&error).ok_or(error)?;
                        rows.push((row, format!("row {row}"), Err(reason)));
                    }
                }
            }
            Ok(rows)
        })
    }

    /// Deletes a record that cannot be read. An instance keeps its records, and is configured anew at the next start.
    pub async fn drop_record(&self, name: &RecordName, at: Timestamp) -> Result<(), RepairError> {
        self.reject_readable(name)?;
        let RecordName { table, scope, id } = name.clone();
        let sql = match table {
            Table::Instances => "UPDATE instances SET given_up = 1 WHERE number = ?1 AND ?2 = ''".to_owned(),
            _ => format!("DELETE FROM {} WHERE instance = ?1 AND id = ?2", table.name()),
        };
        let signature = Signature::new(&by_maintenance(LogOperation::RecordDrop, at));
        let key = scope.key().into_owned();
        let drop = move |connection: &Connection| {
            let number = "SELECT number FROM instances WHERE scope = ?1";
            let instance: Option<i64> = connection.query_row(number, [key], |row| row.get(0)).optional()?;
            let Some(instance) = instance else { return Ok(0) };
            let dropped = connection.execute(&sql, (instance, &id))?;
            if dropped > 0 {
                let log = LogWriter { connection, instance, signature: &signature };
                log.note(table.log_kind(), &id, None)?;
            }
            rusqlite::Result::Ok(dropped)
        };
        let dropped = self.engine.database.write(drop).await.map_err(not_written)?;
        if dropped == 0 {
            return Err(RepairError::Missing(name.clone()));
        }
        self.documents.forget(name.place());
        Ok(())
    }

    /// Restores a record that is missing or cannot be read from a backup that was sealed with the same key.
    pub async fn restore_record(
        &self,
        name: &RecordName,
        backup: &EmbeddedStore,
        at: Timestamp,
    ) -> Result<(), RepairError> {
        match self.reject_readable(name) {
            Ok(()) | Err(RepairError::Missing(_)) => {}
            Err(error) => return Err(error),
        }
        let change = match name.table {
            Table::Instances => return self.restore_instance(name, backup, at).await,
            Table::Individuals => {
                Change::PutIndividual(Box::new(backup.record::<IndividualEnrollment>(name)?))
            }
            Table::Groups => Change::PutGroup(Box::new(backup.record::<EnrollmentGroup>(name)?)),
            Table::Certificates => Change::PutCertificate(Box::new(backup.record::<CaCertificate>(name)?)),
            Table::RevocationLists => {
                Change::PutRevocationList(Box::new(backup.record::<RevocationList>(name)?))
            }
            Table::Blocks => Change::PutBlock(Box::new(backup.record::<Block>(name)?)),
            Table::Registrations => Change::PutRegistration(Box::new(backup.record::<Registration>(name)?)),
            _ => return Err(RepairError::OutOfTime(name.clone())),
        };
        let by = by_maintenance(LogOperation::RecordRestore, at);
        let commit = Commit { changes: vec![(Expect::Anything, change)], ..Commit::by(by) };
        self.commit(&name.scope, commit).await?;
        Ok(())
    }

    async fn restore_instance(
        &self,
        name: &RecordName,
        backup: &EmbeddedStore,
        at: Timestamp,
    ) -> Result<(), RepairError> {
        let instance: Instance = backup.record(name)?;
        match self.drop_record(name, at).await {
            Ok(()) | Err(RepairError::Missing(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(self.put_instance(instance, by_maintenance(LogOperation::RecordRestore, at)).await?)
    }

    /// Returns the sealed document of a record, if there is one.
    fn sealed(&self, name: &RecordName) -> Result<Option<Vec<u8>>, StoreError> {
        let table = name.table;
        let sql = match table {
            Table::Instances => "SELECT document FROM instances WHERE scope = ?1 AND ?2 = ''".to_owned(),
            _ => format!(
                "SELECT document FROM {}
                 WHERE id = ?2 AND instance = (SELECT number FROM instances WHERE scope = ?1)",
                table.name()
            ),
        };
        let key = (name.scope.key(), &name.id);
        let read = |connection: &Connection| connection.query_row(&sql, key, |row| row.get(0)).optional();
        match self.engine.database.read(read) {
            // A row that SQLite cannot read has no document that opens.
            Err(error) if damage_in(&error).is_some() => Ok(Some(Vec::new())),
            read => read.map_err(broken),
        }
    }

    fn record<T: DeserializeOwned>(&self, name: &RecordName) -> Result<T, RepairError> {
        let sealed = self.sealed(name)?.ok_or_else(|| RepairError::Missing(name.clone()))?;
        Ok(self.documents.open(name.place(), &sealed).map_err(StoreError::Damaged)?)
    }

    fn reject_readable(&self, name: &RecordName) -> Result<(), RepairError> {
        let sealed = self.sealed(name)?.ok_or_else(|| RepairError::Missing(name.clone()))?;
        self.documents.try_open(name.place(), &sealed);
        let known = self.documents.damage().known().records;
        let is_damaged = known.iter().any(|(scope, record)| named(scope, record).0 == name.to_string());
        if is_damaged { Ok(()) } else { Err(RepairError::Readable(name.clone())) }
    }
}

fn by_maintenance(operation: LogOperation, at: Timestamp) -> Attribution {
    Attribution::by_job(Job::Maintenance, operation, at)
}

/// Row number, ID, and sealed document or why it cannot be read.
type Row = (i64, String, Result<Vec<u8>, String>);

impl Documents {
    /// Opens a document as the type of its table; remembers one that does not open.
    fn try_open(&self, place: RowRef<'_>, sealed: &[u8]) {
        match place.table {
            Table::Instances => drop(self.open::<Instance>(place, sealed)),
            Table::Individuals => drop(self.open::<IndividualEnrollment>(place, sealed)),
            Table::Groups => drop(self.open::<EnrollmentGroup>(place, sealed)),
            Table::Certificates => drop(self.open::<CaCertificate>(place, sealed)),
            Table::RevocationLists => drop(self.open::<RevocationList>(place, sealed)),
            Table::Blocks => drop(self.open::<Block>(place, sealed)),
            Table::Registrations => drop(self.open::<Registration>(place, sealed)),
            Table::Cleanups => drop(self.open::<Cleanup>(place, sealed)),
            _ => drop(self.open::<Attempt>(place, sealed)),
        }
    }
}

impl RecordName {
    fn place(&self) -> RowRef<'_> {
        RowRef { table: self.table, scope: &self.scope, id: &self.id }
    }
}

impl FromStr for RecordName {
    type Err = RepairError;

    fn from_str(text: &str) -> Result<Self, RepairError> {
        let parsed = || {
            let (table, rest) = text.split_once('/')?;
            let table = Table::from_name(table)?;
            let (scope, id) = match table {
                Table::Instances => (rest, ""),
                _ => rest.split_once('/').filter(|(_, id)| !id.is_empty())?,
            };
            Some(RecordName { table, scope: IdScope::parse(scope).ok()?, id: id.replace("\\n", "\n") })
        };
        parsed().ok_or_else(|| RepairError::Name(text.to_owned()))
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, scope) = (self.table.name(), self.scope.key());
        match self.table {
            Table::Instances => write!(f, "{table}/{scope}"),
            _ => write!(f, "{table}/{scope}/{}", self.id.replace('\n', "\\n")),
        }
    }
}

/// Returns the name of a damaged record, and what is wrong with it.
fn named(scope: &str, record: &DamagedRecord) -> (String, String) {
    let tables = Table::OF_INSTANCE.map(|table| (table.record_kind(), table.name()));
    let usage = [(RecordKind::Usage, "usage")];
    let table = tables.iter().chain(&usage).find(|(kind, _)| *kind == record.kind);
    let Some((_, table)) = table else { return (format!("instances/{scope}"), record.reason.clone()) };
    (format!("{table}/{scope}/{}", record.id.replace('\n', "\\n")), record.reason.clone())
}

/// Returns the names of the tables but the instances, for people.
fn tables() -> String {
    Table::OF_INSTANCE.map(Table::name).join(", ")
}

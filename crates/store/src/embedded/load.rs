//! Opening: the first snapshot, from the small tables. What cannot be read is left out of it and remembered: a damaged
//! record is no reason to turn everybody away.

use std::sync::Arc;

use durable::rusqlite::{self, Connection, OptionalExtension};
use durable::{Database, KeyCheckError};
use model::IdScope;
use provisioning::RecordKind;
use provisioning::configuration::{Configuration, ConfigurationChange};
use provisioning::ports::DamagedRecord;
use serde::de::DeserializeOwned;

use crate::document::{Documents, RowRef};
use crate::embedded::OpenError;
use crate::embedded::broken_rows::damage_in;
use crate::embedded::log;
use crate::embedded::snapshot::{InstanceContent, InstanceRow, InstanceTable};
use crate::table::Table;

/// Reads all instances with their configurations, of one moment, into a table that has none.
pub(crate) fn instance_table(
    connection: &Connection,
    documents: &Documents,
    mut table: InstanceTable,
) -> rusqlite::Result<InstanceTable> {
    let transaction = match connection.is_autocommit() {
        true => Some(connection.unchecked_transaction()?),
        false => None,
    };
    // A file that is only looked at may be of a version without a log; one that is damaged is read all the same.
    let version = log::configured(connection).unwrap_or_default();
    for (number, text) in instances(connection)? {
        let Ok(scope) = IdScope::parse(text.clone()) else {
            let (kind, reason) = (RecordKind::Instance, "its ID scope is none".to_owned());
            documents.damage().note(&text, &DamagedRecord { kind, id: text.clone(), reason });
            continue;
        };
        let row = Small { connection, documents, number, scope: &scope }.row();
        table.put(scope, row);
    }
    drop(transaction);
    Ok(table.at(version))
}

/// Whether it is the key check that is damaged and not the key that is wrong: then documents open. The key check is
/// written anew.
pub(crate) fn confirm_key(
    database: &Database,
    documents: &Documents,
    error: KeyCheckError,
) -> Result<(), OpenError> {
    let sql = "SELECT scope, document FROM instances";
    let rows: rusqlite::Result<Vec<(String, Vec<u8>)>> = database.read(|connection| {
        connection.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    });
    let opens = |(scope, sealed): &(String, Vec<u8>)| {
        let scope = IdScope::parse(scope.clone());
        scope.is_ok_and(|scope| {
            documents.is_sealed_here(RowRef { table: Table::Instances, scope: &scope, id: "" }, sealed)
        })
    };
    if !rows.is_ok_and(|rows| rows.iter().any(opens)) {
        return Err(error.into());
    }
    tracing::error!("the check of the sealing key was damaged; the key is right");
    Ok(database.put_key_check(documents.sealer())?)
}

/// The small tables of one instance.
pub(crate) struct Small<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) documents: &'a Documents,
    pub(crate) number: i64,
    pub(crate) scope: &'a IdScope,
}

impl Small<'_> {
    /// Reads all of it.
    pub(crate) fn row(&self) -> InstanceRow {
        let (configuration, read) = self.configuration();
        let content = read.map_or_else(InstanceContent::Damaged, |()| self.instance());
        InstanceRow { number: self.number, content, configuration }
    }

    /// Reads the instance itself.
    pub(crate) fn instance(&self) -> InstanceContent {
        let place = RowRef { table: Table::Instances, scope: self.scope, id: "" };
        // A file that is only looked at may be of version 1, where no document was given up.
        let is_of_first = self.connection.prepare("SELECT given_up FROM instances").is_err();
        let sql = if is_of_first {
            "SELECT document, 0 FROM instances WHERE number = ?1"
        } else {
            "SELECT document, given_up FROM instances WHERE number = ?1"
        };
        let row: rusqlite::Result<(Vec<u8>, bool)> =
            self.connection.query_row(sql, [self.number], |row| Ok((row.get(0)?, row.get(1)?)));
        let sealed = match row {
            Ok((_, true)) => return InstanceContent::GivenUp,
            Ok((sealed, false)) => Ok(sealed),
            Err(error) => Err(self.documents.note(place, error.to_string())),
        };
        match sealed.and_then(|sealed| self.documents.open(place, &sealed)) {
            Ok(instance) => InstanceContent::Readable(Arc::new(instance)),
            Err(damaged) => InstanceContent::Damaged(damaged),
        }
    }

    /// Reads the configuration. An error means that it cannot even be said which records there are.
    fn configuration(&self) -> (Configuration, Result<(), DamagedRecord>) {
        let (mut found, mut unreadable) = (Vec::new(), Vec::new());
        let read = self
            .all(Table::Groups, ConfigurationChange::PutGroup, &mut found, &mut unreadable)
            .and_then(|()| {
                self.all(
                    Table::Certificates,
                    ConfigurationChange::PutCertificate,
                    &mut found,
                    &mut unreadable,
                )
            })
            .and_then(|()| {
                self.all(
                    Table::RevocationLists,
                    ConfigurationChange::PutRevocationList,
                    &mut found,
                    &mut unreadable,
                )
            })
            .and_then(|()| {
                self.all(Table::Blocks, ConfigurationChange::PutBlock, &mut found, &mut unreadable)
            });
        let mut configuration = Configuration::default();
        configuration.apply(&found);
        configuration.add_unreadable(unreadable);
        (configuration, read)
    }

    /// One record; `None` when it is not there. The inner error says why it cannot be read.
    pub(crate) fn one<T: DeserializeOwned>(
        &self,
        table: Table,
        id: &str,
    ) -> rusqlite::Result<Result<Option<Arc<T>>, DamagedRecord>> {
        let place = RowRef { table, scope: self.scope, id };
        let sql = format!("SELECT document FROM {} WHERE instance = ?1 AND id = ?2", table.name());
        let mut statement = self.connection.prepare_cached(&sql)?;
        let sealed: Option<Vec<u8>> =
            match statement.query_row((self.number, id), |row| row.get(0)).optional() {
                Ok(sealed) => sealed,
                Err(error) => {
                    let reason = damage_in(&error).ok_or(error)?;
                    return Ok(Err(self.documents.note(place, reason)));
                }
            };
        Ok(sealed.map(|sealed| self.documents.open(place, &sealed).map(Arc::new)).transpose())
    }

    /// Every record of a table: those that can be read, and the others.
    fn all<T: DeserializeOwned>(
        &self,
        table: Table,
        put: impl Fn(Arc<T>) -> ConfigurationChange,
        found: &mut Vec<ConfigurationChange>,
        unreadable: &mut Vec<DamagedRecord>,
    ) -> Result<(), DamagedRecord> {
        let rows = self.rows(table).map_err(|error| {
            let place = RowRef { table: Table::Instances, scope: self.scope, id: "" };
            self.documents.note(place, format!("its {} cannot be read: {error}", table.name()))
        })?;
        for (id, document) in rows {
            let place = RowRef { table, scope: self.scope, id: &id };
            let document = document.map_err(|reason| self.documents.note(place, reason));
            match document.and_then(|sealed| self.documents.open(place, &sealed)) {
                Ok(record) => found.push(put(Arc::new(record))),
                Err(damaged) => unreadable.push(damaged),
            }
        }
        Ok(())
    }

    /// The IDs of a table, of which an index says which there are, and the sealed documents as far as they can be read.
    fn rows(&self, table: Table) -> rusqlite::Result<Vec<StoredRow>> {
        let table = table.name();
        let ids = format!("SELECT rowid, id FROM {table} WHERE instance = ?1 ORDER BY id");
        let one = format!("SELECT document FROM {table} WHERE rowid = ?1");
        let mut statement = self.connection.prepare(&ids)?;
        let keys = statement.query_map([self.number], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut rows = Vec::new();
        for key in keys {
            let (number, id): (i64, String) = key?;
            let read = self.connection.prepare_cached(&one)?.query_row([number], |row| row.get(0)).optional();
            let document = match read {
                Ok(document) => document.ok_or_else(|| "the index has it, the table does not".to_owned()),
                Err(error) => Err(damage_in(&error).ok_or(error)?),
            };
            rows.push((id, document));
        }
        Ok(rows)
    }
}

/// An ID, and its sealed document or why that cannot be read.
type StoredRow = (String, Result<Vec<u8>, String>);

/// Number and ID scope of each instance, of which an index says which there are.
pub(crate) fn instances(connection: &Connection) -> rusqlite::Result<Vec<(i64, String)>> {
    let mut statement = connection.prepare("SELECT number, scope FROM instances ORDER BY scope")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// The ID scope of the instance with this number.
pub(crate) fn scope(connection: &Connection, number: i64) -> rusqlite::Result<Option<IdScope>> {
    let sql = "SELECT scope FROM instances WHERE number = ?1";
    let scope: Option<String> = connection.query_row(sql, [number], |row| row.get(0)).optional()?;
    Ok(scope.and_then(|scope| IdScope::parse(scope).ok()))
}

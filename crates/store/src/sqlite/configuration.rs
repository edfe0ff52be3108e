//! Reads the small tables: instances, and what their devices are judged by.

use std::collections::HashMap;

use durable::rusqlite::{self, Connection, OptionalExtension};

use crate::{
    batch::RowKey,
    engine::{ConfigurationRow, ConfigurationRows, RowContent},
    sqlite::{broken_rows::damage_in, log},
    table::Table,
};

/// Reads the rows that were changed after this version, or all of them.
pub(super) fn read(connection: &Connection, since: Option<u64>) -> rusqlite::Result<ConfigurationRows> {
    let Some(since) = since else { return all(connection) };
    // What cannot follow reads everything: a damaged log is no reason to turn every device away.
    changed(connection, since).or_else(|_| all(connection))
}

fn changed(connection: &Connection, since: u64) -> rusqlite::Result<ConfigurationRows> {
    if log::configured(connection)? == since {
        return Ok(ConfigurationRows { version: since, is_complete: false, rows: Vec::new() });
    }
    let transaction = connection.unchecked_transaction()?;
    let version = log::configured(&transaction)?;
    let changed = match version < since {
        true => None,
        false => log::changed_since(&transaction, since)?,
    };
    let Some(changed) = changed else { return all(&transaction) };
    let mut scopes = HashMap::new();
    let (mut instances, mut others) = (Vec::new(), Vec::new());
    for log::Changed { instance, kind, key } in changed {
        let scope = match scopes.get(&instance) {
            Some(scope) => Option::clone(scope),
            None => scopes.entry(instance).or_insert(scope_of(&transaction, instance)?).clone(),
        };
        let Some(scope) = scope else { continue };
        let reader = Reader { connection: &transaction, instance, scope: &scope };
        match Table::of(kind) {
            Table::Instances => instances.push(reader.instance()),
            table => others.push(reader.one(RowKey { table, id: key })?),
        }
    }
    instances.append(&mut others);
    Ok(ConfigurationRows { version, is_complete: false, rows: instances })
}

/// Reads everything, as it is at one moment.
fn all(connection: &Connection) -> rusqlite::Result<ConfigurationRows> {
    let transaction = match connection.is_autocommit() {
        true => Some(connection.unchecked_transaction()?),
        false => None,
    };
    // A file that is only looked at may be of a version without a log; one that is damaged is read all the same.
    let version = log::configured(connection).unwrap_or_default();
    let mut rows = Vec::new();
    for (instance, scope) in instances(connection)? {
        let reader = Reader { connection, instance, scope: &scope };
        let at = rows.len();
        rows.push(reader.instance());
        for table in Table::OF_CONFIGURATION {
            if let Err(error) = reader.table(table, &mut rows) {
                // It cannot even be said which records there are.
                let reason = format!("its {} cannot be read: {error}", table.name());
                rows[at].content = RowContent::Document(Err(reason));
            }
        }
    }
    drop(transaction);
    Ok(ConfigurationRows { version, is_complete: true, rows })
}

/// Reads the rows of one instance.
struct Reader<'a> {
    connection: &'a Connection,
    instance: i64,
    scope: &'a str,
}

impl Reader<'_> {
    fn row(&self, key: RowKey, content: RowContent) -> ConfigurationRow {
        ConfigurationRow { instance: self.instance, scope: self.scope.to_owned(), key, content }
    }

    /// Reads the instance itself.
    fn instance(&self) -> ConfigurationRow {
        // A file that is only looked at may be of version 1, where no document was given up.
        let is_of_first = self.connection.prepare("SELECT given_up FROM instances").is_err();
        let sql = if is_of_first {
            "SELECT document, 0 FROM instances WHERE number = ?1"
        } else {
            "SELECT document, given_up FROM instances WHERE number = ?1"
        };
        let row: rusqlite::Result<(Vec<u8>, bool)> =
            self.connection.query_row(sql, [self.instance], |row| Ok((row.get(0)?, row.get(1)?)));
        let content = match row {
            Ok((_, true)) => RowContent::GivenUp,
            Ok((sealed, false)) => RowContent::Document(Ok(sealed)),
            Err(error) => RowContent::Document(Err(error.to_string())),
        };
        self.row(RowKey { table: Table::Instances, id: String::new() }, content)
    }

    /// Reads one record.
    fn one(&self, key: RowKey) -> rusqlite::Result<ConfigurationRow> {
        let sql = format!("SELECT document FROM {} WHERE instance = ?1 AND id = ?2", key.table.name());
        let mut statement = self.connection.prepare_cached(&sql)?;
        let read = statement.query_row((self.instance, &key.id), |row| row.get(0)).optional();
        let content = match read {
            Ok(Some(sealed)) => RowContent::Document(Ok(sealed)),
            Ok(None) => RowContent::Deleted,
            Err(error) => RowContent::Document(Err(damage_in(&error).ok_or(error)?)),
        };
        Ok(self.row(key, content))
    }

    /// Reads every record of a table. An index says which there are; each is read for itself.
    fn table(&self, table: Table, rows: &mut Vec<ConfigurationRow>) -> rusqlite::Result<()> {
        let ids = format!("SELECT rowid, id FROM {} WHERE instance = ?1 ORDER BY id", table.name());
        let one = format!("SELECT document FROM {} WHERE rowid = ?1", table.name());
        let mut statement = self.connection.prepare(&ids)?;
        let keys = statement.query_map([self.instance], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for key in keys {
            let (number, id): (i64, String) = key?;
            let read = self.connection.prepare_cached(&one)?.query_row([number], |row| row.get(0)).optional();
            let document = match read {
                Ok(document) => document.ok_or_else(|| "the index has it, the table does not".to_owned()),
                Err(error) => Err(damage_in(&error).ok_or(error)?),
            };
            rows.push(self.row(RowKey { table, id }, RowContent::Document(document)));
        }
        Ok(())
    }
}

/// Returns number and ID scope of each instance; an index says which there are.
pub(super) fn instances(connection: &Connection) -> rusqlite::Result<Vec<(i64, String)>> {
    let mut statement = connection.prepare("SELECT number, scope FROM instances ORDER BY scope")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn scope_of(connection: &Connection, number: i64) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT scope FROM instances WHERE number = ?1";
    connection.query_row(sql, [number], |row| row.get(0)).optional()
}

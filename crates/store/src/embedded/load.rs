//! Opening: the first snapshot, from the small tables.

use std::sync::Arc;

use durable::Database;
use durable::rusqlite;
use model::{IdScope, Instance};
use provisioning::ports::StoreError;
use serde::de::DeserializeOwned;

use crate::embedded::broken;
use crate::embedded::document::{Documents, Place};
use crate::embedded::snapshot::{Kept, Snapshot};

/// All instances with their groups and what they know of CAs.
pub(crate) fn snapshot(database: &Database, documents: &Documents) -> Result<Snapshot, StoreError> {
    let mut snapshot = Snapshot::default();
    for (number, scope, sealed) in instances(database).map_err(broken)? {
        let scope = IdScope::parse(scope).map_err(broken)?;
        let instance: Instance =
            documents.open(Place { table: "instances", scope: &scope, id: "" }, &sealed)?;
        snapshot.put_instance(number, instance);
        let small = Small { database, documents, number, scope: &scope };
        let mut found: Vec<Kept> = small.all("groups", Kept::PutGroup)?;
        found.extend(small.all("certificates", Kept::PutCertificate)?);
        found.extend(small.all("revocation_lists", Kept::PutRevocationList)?);
        found.extend(small.all("blocks", Kept::PutBlock)?);
        snapshot.change(&scope, &found);
    }
    Ok(snapshot)
}

/// The small tables of one instance.
struct Small<'a> {
    database: &'a Database,
    documents: &'a Documents,
    number: i64,
    scope: &'a IdScope,
}

impl Small<'_> {
    /// Every record of a table.
    fn all<T: DeserializeOwned>(
        &self,
        table: &'static str,
        put: impl Fn(Arc<T>) -> Kept,
    ) -> Result<Vec<Kept>, StoreError> {
        let sql = format!("SELECT id, document FROM {table} WHERE instance = ?1");
        let rows: Vec<(String, Vec<u8>)> = self
            .database
            .read(|connection| {
                let mut statement = connection.prepare(&sql)?;
                statement.query_map([self.number], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
            })
            .map_err(|error: rusqlite::Error| broken(error))?;
        let open = |(id, sealed): &(String, Vec<u8>)| {
            let record: T = self.documents.open(Place { table, scope: self.scope, id }, sealed)?;
            Ok(put(Arc::new(record)))
        };
        rows.iter().map(open).collect()
    }
}

/// Number, ID scope and sealed document of each instance.
fn instances(database: &Database) -> rusqlite::Result<Vec<(i64, String, Vec<u8>)>> {
    database.read(|connection| {
        let mut statement = connection.prepare("SELECT number, scope, document FROM instances")?;
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
    })
}

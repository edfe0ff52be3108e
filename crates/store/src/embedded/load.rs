//! Opening: the first snapshot, from the two small tables.

use durable::Database;
use durable::rusqlite;
use model::{EnrollmentGroup, IdScope, Instance};
use provisioning::ports::StoreError;

use crate::embedded::broken;
use crate::embedded::document::{Documents, Place};
use crate::embedded::snapshot::{GroupChange, Snapshot};

/// All instances with their groups.
pub(crate) fn snapshot(database: &Database, documents: &Documents) -> Result<Snapshot, StoreError> {
    let mut snapshot = Snapshot::default();
    for (number, scope, sealed) in instances(database).map_err(broken)? {
        let scope = IdScope::parse(scope).map_err(broken)?;
        let instance: Instance =
            documents.open(Place { table: "instances", scope: &scope, id: "" }, &sealed)?;
        let mut found = Vec::new();
        for (id, sealed) in groups(database, number).map_err(broken)? {
            let group: EnrollmentGroup =
                documents.open(Place { table: "groups", scope: &scope, id: &id }, &sealed)?;
            found.push(GroupChange::Put(group.into()));
        }
        snapshot.put_instance(number, instance);
        snapshot.change_groups(&scope, &found);
    }
    Ok(snapshot)
}

/// Number, ID scope and sealed document of each instance.
fn instances(database: &Database) -> rusqlite::Result<Vec<(i64, String, Vec<u8>)>> {
    database.read(|connection| {
        let mut statement = connection.prepare("SELECT number, scope, document FROM instances")?;
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
    })
}

/// ID and sealed document of each group of an instance.
fn groups(database: &Database, instance: i64) -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
    database.read(|connection| {
        let mut statement = connection.prepare("SELECT id, document FROM groups WHERE instance = ?1")?;
        statement.query_map([instance], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    })
}

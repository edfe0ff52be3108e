//! The statements of tables: gathered ones, with an array for each column.

use tokio_postgres::types::ToSql;

use super::super::session::Step;
use crate::{
    batch::{Columns, Row, RowKey},
    table::Table,
};

/// How the rows of a SELECT are locked until the end of the transaction.
#[derive(Debug, Clone, Copy)]
pub(super) enum Strength {
    /// Others neither change nor lock them.
    Update,
    /// Others do not change them.
    Share,
}

/// Returns a statement that locks rows, sorted by key, and returns their keys and versions.
pub(super) fn lock(table: Table, strength: Strength, keys: &[(i32, &RowKey)]) -> Step<'static> {
    let lock = match strength {
        Strength::Update => "UPDATE",
        Strength::Share => "SHARE",
    };
    let sql = format!(
        "SELECT t.instance, t.id, t.etag FROM unnest($1::int4[], $2::text[]) AS k(instance, id)
         JOIN {} t ON t.instance = k.instance AND t.id = k.id FOR {lock} OF t",
        table.name()
    );
    let (instances, ids) = split(keys);
    Step::new(sql, vec![Box::new(instances), Box::new(ids)])
}

/// Returns a statement that deletes rows.
pub(super) fn delete(table: Table, keys: &[(i32, &RowKey)]) -> Step<'static> {
    let sql = format!(
        "DELETE FROM {} t USING unnest($1::int4[], $2::text[]) AS k(instance, id)
         WHERE t.instance = k.instance AND t.id = k.id",
        table.name()
    );
    let (instances, ids) = split(keys);
    Step::new(sql, vec![Box::new(instances), Box::new(ids)])
}

/// Returns a statement that writes rows that exist.
pub(super) fn update<'a>(table: Table, rows: &[(i32, &'a RowKey, &'a Row)]) -> Step<'a> {
    let set: String = columns(table).iter().map(|(name, _)| format!(", {name} = c.{name}")).collect();
    let sql = format!(
        "UPDATE {} t SET etag = c.etag, document = c.document{set} FROM {}
         WHERE t.instance = c.instance AND t.id = c.id",
        table.name(),
        source(table)
    );
    Step::new(sql, values(table, rows))
}

/// Returns a statement that creates rows; it fails if one exists.
pub(super) fn insert<'a>(table: Table, rows: &[(i32, &'a RowKey, &'a Row)]) -> Step<'a> {
    let names: String = columns(table).iter().map(|(name, _)| format!(", {name}")).collect();
    let list = format!("instance, id, etag, document{names}");
    let sql = format!("INSERT INTO {} ({list}) SELECT {list} FROM {}", table.name(), source(table));
    Step::new(sql, values(table, rows))
}

/// Returns name and type of the columns beside key, version and document.
fn columns(table: Table) -> &'static [(&'static str, &'static str)] {
    match table {
        Table::Individuals => &[("expires", "bigint")],
        Table::Registrations => &[("status", "text"), ("group_id", "text")],
        Table::Cleanups => &[("hub", "text"), ("due", "bigint")],
        Table::RevocationLists => &[("ca", "text")],
        _ => &[],
    }
}

/// Returns the arrays as a table `c`.
fn source(table: Table) -> String {
    let columns = columns(table);
    let arrays: String =
        columns.iter().zip(5..).map(|((_, kind), at)| format!(", ${at}::{kind}[]")).collect();
    let names: String = columns.iter().map(|(name, _)| format!(", {name}")).collect();
    format!(
        "unnest($1::int4[], $2::text[], $3::text[], $4::bytea[]{arrays}) AS c(instance, id, etag, document{names})"
    )
}

type Values<'a> = Vec<Box<dyn ToSql + Sync + Send + 'a>>;

fn values<'a>(table: Table, rows: &[(i32, &'a RowKey, &'a Row)]) -> Values<'a> {
    let instances: Vec<i32> = rows.iter().map(|(instance, ..)| *instance).collect();
    let ids: Vec<&'a str> = rows.iter().map(|(_, key, _)| key.id.as_str()).collect();
    let etags: Vec<&'a str> = rows.iter().map(|(.., row)| row.etag.as_str()).collect();
    let documents: Vec<&'a [u8]> = rows.iter().map(|(.., row)| row.document.as_slice()).collect();
    let mut values: Values<'a> =
        vec![Box::new(instances), Box::new(ids), Box::new(etags), Box::new(documents)];
    let texts = |of: fn(&'a Columns) -> Option<&'a str>| -> Box<dyn ToSql + Sync + Send + 'a> {
        Box::new(rows.iter().map(|(.., row)| of(&row.columns)).collect::<Vec<Option<&'a str>>>())
    };
    let numbers = |of: fn(&Columns) -> Option<i64>| -> Box<dyn ToSql + Sync + Send + 'a> {
        Box::new(rows.iter().map(|(.., row)| of(&row.columns)).collect::<Vec<Option<i64>>>())
    };
    match table {
        Table::Individuals => values.push(numbers(expires)),
        Table::Registrations => values.extend([texts(status), texts(group)]),
        Table::Cleanups => values.extend([texts(hub), numbers(due)]),
        Table::RevocationLists => values.push(texts(ca)),
        _ => {}
    }
    values
}

fn split(keys: &[(i32, &RowKey)]) -> (Vec<i32>, Vec<String>) {
    keys.iter().map(|(instance, key)| (*instance, key.id.clone())).unzip()
}

fn expires(columns: &Columns) -> Option<i64> {
    if let Columns::Individual { expires } = columns { *expires } else { None }
}

fn status(columns: &Columns) -> Option<&str> {
    if let Columns::Registration { status, .. } = columns { Some(status) } else { None }
}

fn group(columns: &Columns) -> Option<&str> {
    if let Columns::Registration { group, .. } = columns { group.as_deref() } else { None }
}

fn hub(columns: &Columns) -> Option<&str> {
    if let Columns::Cleanup { hub, .. } = columns { Some(hub) } else { None }
}

fn due(columns: &Columns) -> Option<i64> {
    if let Columns::Cleanup { due, .. } = columns { Some(*due) } else { None }
}

fn ca(columns: &Columns) -> Option<&str> {
    if let Columns::RevocationList { ca } = columns { Some(ca) } else { None }
}

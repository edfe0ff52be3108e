//! Reads the small tables: instances, and what their devices are judged by. One statement, so as they are at one moment.

use model::LogKind;
use provisioning::ports::StoreError;
use tokio_postgres::{Error, Row};

use super::queries::Queries;
use crate::{
    batch::RowKey,
    broken,
    engine::{ConfigurationRow, ConfigurationRows, RowContent},
    table::Table,
};

/// Reads the rows that were changed after this version; or all of them, if the notes do not reach back to it, or the database has
/// lost it.
pub(super) async fn read(queries: &Queries, since: Option<u64>) -> Result<ConfigurationRows, StoreError> {
    if let Some(since) = since {
        let rows = queries.query(CHANGED, &[&since.cast_signed()]).await?;
        let changed = configuration(&rows, false).map_err(broken)?;
        let is_noted = rows.first().map_or(Ok(false), |row| row.try_get(6)).map_err(broken)?;
        if changed.version == since || is_noted {
            return Ok(changed);
        }
    }
    configuration(&queries.query(ALL, &[]).await?, true).map_err(broken)
}

/// Each row has the version; only the version where there is nothing else.
fn configuration(rows: &[Row], is_complete: bool) -> Result<ConfigurationRows, Error> {
    let version = rows.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0))?;
    let found: Result<Vec<Option<ConfigurationRow>>, Error> = rows.iter().map(row).collect();
    Ok(ConfigurationRows {
        version: version.cast_unsigned(),
        is_complete,
        rows: found?.into_iter().flatten().collect(),
    })
}

fn row(row: &Row) -> Result<Option<ConfigurationRow>, Error> {
    let (kind, instance): (Option<i32>, Option<i32>) = (row.try_get(1)?, row.try_get(2)?);
    let kind = kind.and_then(|kind| LogKind::from_code(u8::try_from(kind).ok()?));
    let scope: Option<String> = row.try_get(3)?;
    let (Some(kind), Some(instance), Some(scope)) = (kind, instance, scope) else { return Ok(None) };
    let key = RowKey { table: Table::of(kind), id: row.try_get(4)? };
    let document: Option<Vec<u8>> = row.try_get(5)?;
    let content = document.map_or(RowContent::Deleted, |document| RowContent::Document(Ok(document)));
    Ok(Some(ConfigurationRow { instance: instance.into(), scope, key, content }))
}

/// The rows of all tables. The kinds are numbers of `LogKind`; that of instances is the lowest, so that each comes before its
/// configuration.
const ALL: &str = "
    SELECT v.version, t.kind, t.instance, i.scope, t.id, t.document FROM configuration v
    LEFT JOIN (
        SELECT 0 AS kind, number AS instance, '' AS id, document FROM instances
        UNION ALL SELECT 1, instance, id, document FROM groups
        UNION ALL SELECT 2, instance, id, document FROM certificates
        UNION ALL SELECT 3, instance, id, document FROM revocation_lists
        UNION ALL SELECT 4, instance, id, document FROM blocks
    ) AS t ON true
    LEFT JOIN instances i ON i.number = t.instance
    ORDER BY t.kind, t.instance, t.id";

/// The rows that were changed after version `$1`, and whether that is noted, and so all that follow it.
const CHANGED: &str = "
    SELECT v.version, c.kind, c.instance, i.scope, c.id,
           CASE c.kind WHEN 0 THEN i.document
               WHEN 1 THEN (SELECT document FROM groups WHERE instance = c.instance AND id = c.id)
               WHEN 2 THEN (SELECT document FROM certificates WHERE instance = c.instance AND id = c.id)
               WHEN 3 THEN (SELECT document FROM revocation_lists WHERE instance = c.instance AND id = c.id)
               WHEN 4 THEN (SELECT document FROM blocks WHERE instance = c.instance AND id = c.id) END,
           EXISTS (SELECT 1 FROM changes WHERE version = $1)
    FROM configuration v
    LEFT JOIN (SELECT DISTINCT kind::int4 AS kind, instance, id FROM changes WHERE version > $1) AS c ON true
    LEFT JOIN instances i ON i.number = c.instance
    ORDER BY c.kind, c.instance, c.id";

//! What a copy of another store brings along, beside its records.

use model::{IdScope, LeaseToken, UsageRow};
use provisioning::ports::StoreError;

use super::PostgresStore;
use crate::broken;

/// The lane of operations that another store counted. Lanes that write begin at 0.
const IMPORTED: i32 = -1;

impl PostgresStore {
    /// Sets the operations that another store counted for an instance. May be repeated.
    pub async fn import_usage(&self, scope: &IdScope, rows: &[UsageRow]) -> Result<(), StoreError> {
        let sql = "INSERT INTO usage SELECT number, $2::int, $3::text, $4::int, $5::bigint FROM instances WHERE scope = $1
                   ON CONFLICT (instance, day, kind, lane) DO UPDATE SET count = excluded.count";
        for row in rows {
            let count = i64::try_from(row.count).map_err(broken)?;
            let (scope, day, kind) = (scope.key(), row.day.number(), row.kind.name());
            self.engine.queries.query(sql, &[&scope.as_ref(), &day, &kind, &IMPORTED, &count]).await?;
        }
        Ok(())
    }

    /// Lets new lease tokens begin after this one, which a run of another store has: no holder here gets it.
    pub async fn begin_leases_after(&self, token: LeaseToken) -> Result<(), StoreError> {
        let last = i64::try_from(token.number()).map_err(broken)?;
        let sql = "UPDATE lease_tokens SET last = GREATEST(last, $1::bigint)";
        self.engine.queries.query(sql, &[&last]).await.map(drop)
    }
}

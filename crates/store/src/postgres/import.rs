//! What a copy of another store brings along, beside its records.

use model::{Actor, IdScope, IndividualEnrollment, Job, LeaseToken, UsageRow};
use provisioning::ports::{Change, Expect, StoreError};
use tokio_postgres::types::{ToSql, Type};

use super::{
    PostgresStore, number,
    queries::ANSWER_TIMEOUT,
    session::{Failure, answered},
};
use crate::{
    batch::{Columns, Row, RowChange},
    broken,
};

/// The lane of operations that another store counted. Lanes that write begin at 0.
const IMPORTED: i32 = -1;

const COPY: &str = "COPY individuals (instance, id, etag, expires, document) FROM STDIN (FORMAT binary)";

/// The types of these columns.
const COPIED: [Type; 5] = [Type::INT4, Type::TEXT, Type::TEXT, Type::INT8, Type::BYTEA];

impl PostgresStore {
    /// Writes enrollments that another store has, without entries in the change log, at a tenth of what commits cost. Returns
    /// false, and writes none, if one of them is there already.
    pub async fn import_individuals(
        &self,
        scope: &IdScope,
        enrollments: Vec<IndividualEnrollment>,
    ) -> Result<bool, StoreError> {
        let instance = number(self.written_number(scope, &Actor::System(Job::Maintenance)).await?);
        let puts = enrollments.into_iter().map(|enrollment| {
            let put = Change::PutIndividual(Box::new(enrollment));
            RowChange::seal(&self.documents, scope, Expect::Absent, put)
        });
        let puts: Vec<RowChange> = puts.collect::<Result<_, _>>()?;
        let rows = puts.iter().filter_map(|put| Some((put.key.id.as_str(), put.row.as_ref()?)));
        let rows: Vec<CopiedRow<'_>> = rows.map(|(id, row)| copied(&instance, id, row)).collect();
        match self.copy(&rows).await {
            Ok(()) => Ok(true),
            Err(Failure::Conflict(_)) => Ok(false),
            Err(Failure::Lost(reason)) => Err(StoreError::Unwritable(reason)),
            Err(Failure::Refused(error)) => Err(error),
        }
    }

    async fn copy(&self, rows: &[CopiedRow<'_>]) -> Result<(), Failure> {
        let session = self.engine.queries.session().await?;
        answered(ANSWER_TIMEOUT, session.copy(COPY, &COPIED, rows)).await
    }

    /// Sets the operations that another store counted for an instance. May be repeated.
    pub async fn import_usage(&self, scope: &IdScope, rows: &[UsageRow]) -> Result<(), StoreError> {
        let sql = "INSERT INTO usage SELECT number, $2::int4, $3::text, $4::int4, $5::bigint FROM instances WHERE scope = $1
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

/// The columns of a row.
type CopiedRow<'a> = Vec<Box<dyn ToSql + Sync + Send + 'a>>;

fn copied<'a>(instance: &'a i32, id: &'a str, row: &'a Row) -> CopiedRow<'a> {
    let expires = match row.columns {
        Columns::Individual { expires } => expires,
        _ => None,
    };
    vec![Box::new(instance), Box::new(id), Box::new(&row.etag), Box::new(expires), Box::new(&row.document)]
}

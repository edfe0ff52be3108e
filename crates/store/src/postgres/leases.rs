//! Leases in the database, by its clock. A change of holder is a new row, whose number is the token.
//!
//! Each statement stands for itself and can be repeated: a claim that took effect before the connection was lost is found as
//! the holder's own.

use std::time::Duration;

use async_trait::async_trait;
use model::LeaseToken;
use provisioning::ports::{Lease, LeaseName, Leases, RunnerId, StoreError};
use tokio_postgres::{Error, Row};

use super::{Postgres, queries::Queries};
use crate::broken;

#[async_trait]
impl Leases for Postgres {
    async fn claim(
        &self,
        name: &LeaseName,
        holder: &RunnerId,
        time: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        let token = claim(&self.lease_queries, &name.to_string(), &holder.to_string(), time).await?;
        let lease = |token| Lease { name: name.clone(), holder: holder.clone(), token, left: time };
        Ok(token.map(lease))
    }

    async fn release(&self, token: LeaseToken) -> Result<(), StoreError> {
        release(&self.lease_queries, token).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        let rows = self.lease_queries.query(LIST, &[]).await?;
        let leases: Result<Vec<Option<Lease>>, Error> = rows.iter().map(listed).collect();
        // A name of a newer program is nothing that this one could hold or take over.
        Ok(leases.map_err(broken)?.into_iter().flatten().collect())
    }
}

/// Claims the lease of this name for a holder, and returns its token; `None` while another holder has it.
pub(super) async fn claim(
    queries: &Queries,
    name: &str,
    holder: &str,
    time: Duration,
) -> Result<Option<LeaseToken>, StoreError> {
    let millis = millis(time);
    if let Some(own) = queries.query_opt(CLAIM_OWN, &[&name, &holder, &millis]).await? {
        return token(&own).map(Some);
    }
    // Tokens are not used up by those that ask for a lease which another holder has.
    if queries.query_opt(IS_HELD, &[&name]).await?.is_some() {
        return Ok(None);
    }
    let next: Option<Row> = queries.query_opt(NEXT_TOKEN, &[]).await?;
    let next: i64 = next.map_or(Ok(0), |row| row.try_get(0)).map_err(broken)?;
    queries.query(REMOVE_ENDED, &[&name]).await?;
    let new = match queries.query_opt(CLAIM, &[&next, &name, &holder, &millis]).await? {
        Some(new) => Some(new),
        None => queries.query_opt(CLAIM_OWN, &[&name, &holder, &millis]).await?,
    };
    new.map(|row| token(&row)).transpose()
}

/// Ends a lease, if its token is current.
pub(super) async fn release(queries: &Queries, token: LeaseToken) -> Result<(), StoreError> {
    queries.query("DELETE FROM leases WHERE token = $1", &[&number(token)]).await.map(drop)
}

fn token(row: &Row) -> Result<LeaseToken, StoreError> {
    Ok(LeaseToken::new(row.try_get::<_, i64>(0).map_err(broken)?.cast_unsigned()))
}

fn listed(row: &Row) -> Result<Option<Lease>, Error> {
    let (name, holder): (String, String) = (row.try_get(1)?, row.try_get(2)?);
    let left = Duration::from_millis(u64::try_from(row.try_get::<_, i64>(3)?).unwrap_or(0));
    let token = LeaseToken::new(row.try_get::<_, i64>(0)?.cast_unsigned());
    let names = LeaseName::parse(&name).zip(RunnerId::parse(&holder));
    Ok(names.map(|(name, holder)| Lease { name, holder, token, left }))
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn number(token: LeaseToken) -> i64 {
    token.number().cast_signed()
}

const CLAIM_OWN: &str = "
    UPDATE leases SET until = now() + $3::bigint * interval '1 millisecond' WHERE name = $1 AND holder = $2 RETURNING token";

const IS_HELD: &str = "SELECT 1 FROM leases WHERE name = $1 AND until > now()";

/// By the clock, so that a database that has lost a lease, by a failover or because it was restored, does not give its token again.
const NEXT_TOKEN: &str = "
    UPDATE lease_tokens SET last = GREATEST(last + 1, (extract(epoch FROM now()) * 1000000)::bigint) RETURNING last";

const REMOVE_ENDED: &str = "DELETE FROM leases WHERE name = $1 AND until <= now()";

const CLAIM: &str = "
    INSERT INTO leases (token, name, holder, until)
    VALUES ($1, $2, $3, now() + $4::bigint * interval '1 millisecond') ON CONFLICT DO NOTHING RETURNING token";

const LIST: &str = "
    SELECT token, name, holder, (extract(epoch FROM until - now()) * 1000)::bigint FROM leases ORDER BY token";

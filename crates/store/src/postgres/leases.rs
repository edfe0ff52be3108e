//! Leases in the database, by its clock. A change of holder is a new row, whose number is the token.
//!
//! Each statement stands for itself and can be repeated: a claim that took effect before the connection was lost is found as
//! the holder's own.

use std::time::Duration;

use async_trait::async_trait;
use model::LeaseToken;
use provisioning::ports::{Lease, LeaseName, Leases, RunnerId, StoreError};
use tokio_postgres::{Error, Row};

use super::Postgres;
use crate::broken;

#[async_trait]
impl Leases for Postgres {
    async fn claim(
        &self,
        name: &LeaseName,
        holder: &RunnerId,
        time: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        let (key, owner, millis) = (name.to_string(), holder.to_string(), millis(time));
        let lease = |row: Row| {
            let token = LeaseToken::new(row.try_get::<_, i64>(0).map_err(broken)?.cast_unsigned());
            Ok(Some(Lease { name: name.clone(), holder: holder.clone(), token, left: time }))
        };
        if let Some(own) = self.lease_queries.query_opt(CLAIM_OWN, &[&key, &owner, &millis]).await? {
            return lease(own);
        }
        // Tokens are not used up by those that ask for a lease which another holder has.
        if self.lease_queries.query_opt(IS_HELD, &[&key]).await?.is_some() {
            return Ok(None);
        }
        let token: Option<Row> = self.lease_queries.query_opt(NEXT_TOKEN, &[]).await?;
        let token: i64 = token.map_or(Ok(0), |row| row.try_get(0)).map_err(broken)?;
        self.lease_queries.query(REMOVE_ENDED, &[&key]).await?;
        match self.lease_queries.query_opt(CLAIM, &[&token, &key, &owner, &millis]).await? {
            Some(new) => lease(new),
            None => match self.lease_queries.query_opt(CLAIM_OWN, &[&key, &owner, &millis]).await? {
                Some(own) => lease(own),
                None => Ok(None),
            },
        }
    }

    async fn release(&self, token: LeaseToken) -> Result<(), StoreError> {
        self.lease_queries.query("DELETE FROM leases WHERE token = $1", &[&number(token)]).await.map(drop)
    }

    async fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        let rows = self.lease_queries.query(LIST, &[]).await?;
        let leases: Result<Vec<Option<Lease>>, Error> = rows.iter().map(listed).collect();
        // A name of a newer program is nothing that this one could hold or take over.
        Ok(leases.map_err(broken)?.into_iter().flatten().collect())
    }
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

const NEXT_TOKEN: &str = "UPDATE lease_tokens SET last = last + 1 RETURNING last";

const REMOVE_ENDED: &str = "DELETE FROM leases WHERE name = $1 AND until <= now()";

const CLAIM: &str = "
    INSERT INTO leases (token, name, holder, until)
    VALUES ($1, $2, $3, now() + $4::bigint * interval '1 millisecond') ON CONFLICT DO NOTHING RETURNING token";

const LIST: &str = "
    SELECT token, name, holder, (extract(epoch FROM until - now()) * 1000)::bigint FROM leases ORDER BY token";

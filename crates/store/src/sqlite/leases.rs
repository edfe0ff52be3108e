//! Leases in the file. A change of holder is a new row, whose number is the token: SQLite never gives one twice.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use durable::rusqlite::{self, Connection, OptionalExtension, Row};
use model::LeaseToken;
use provisioning::ports::{Clock, Lease, LeaseName, Leases, RunnerId, StoreError};

use crate::{
    SystemClock, broken,
    sqlite::{EmbeddedStore, Sqlite},
};

/// The clock that leases are measured by.
#[derive(Clone)]
pub(super) struct LeaseClock(Arc<dyn Clock>);

impl Default for LeaseClock {
    fn default() -> Self {
        LeaseClock(Arc::new(SystemClock))
    }
}

impl fmt::Debug for LeaseClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseClock")
    }
}

impl LeaseClock {
    /// Milliseconds since 1970.
    fn millis(&self) -> i64 {
        self.0.now().ticks().div_euclid(TICKS_PER_MILLI)
    }
}

impl EmbeddedStore {
    /// Measures leases by this clock instead of the machine's.
    #[must_use]
    pub fn with_lease_clock(self, clock: Arc<dyn Clock>) -> EmbeddedStore {
        let engine = Sqlite { lease_clock: LeaseClock(clock), ..self.engine };
        EmbeddedStore { engine, ..self }
    }
}

impl Sqlite {
    /// Ends all leases. The process that opens the file is alone with it, so every earlier holder is gone. When the disk is
    /// full, they end by their time.
    pub(super) fn end_leases(&self) {
        let end = |connection: &Connection| connection.execute(END_ALL, []);
        if let Err(error) = self.database.write_blocking(end) {
            tracing::warn!(%error, "leases of the last process could not be ended: they are waited for");
        }
    }
}

#[async_trait]
impl Leases for Sqlite {
    async fn claim(
        &self,
        name: &LeaseName,
        holder: &RunnerId,
        time: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        let (clock, name, holder) = (self.lease_clock.clone(), name.clone(), holder.clone());
        let claim = move |connection: &Connection| {
            let (now, key) = (clock.millis(), name.to_string());
            let token = claim(connection, &key, &holder.to_string(), (now, after(now, time)))?;
            rusqlite::Result::Ok(token.map(|token| Lease { name, holder, token, left: time }))
        };
        self.write(claim).await
    }

    async fn renew(&self, token: LeaseToken, time: Duration) -> Result<bool, StoreError> {
        let clock = self.lease_clock.clone();
        let renew = move |connection: &Connection| {
            let values = (row_number(token), after(clock.millis(), time));
            rusqlite::Result::Ok(connection.prepare_cached(RENEW)?.execute(values)? > 0)
        };
        self.write(renew).await
    }

    async fn release(&self, token: LeaseToken) -> Result<(), StoreError> {
        let release = move |connection: &Connection| {
            connection.prepare_cached(RELEASE)?.execute([row_number(token)]).map(drop)
        };
        self.write(release).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        let now = self.lease_clock.millis();
        let rows: rusqlite::Result<Vec<Option<Lease>>> = self.database.read(|connection| {
            connection.prepare_cached(LIST)?.query_map([], |row| lease(row, now))?.collect()
        });
        // A name of a newer program is nothing that this one could hold or take over.
        Ok(rows.map_err(broken)?.into_iter().flatten().collect())
    }
}

/// Whether the token is current.
pub(super) fn is_current(connection: &Connection, token: LeaseToken) -> rusqlite::Result<bool> {
    connection.prepare_cached(IS_CURRENT)?.exists([row_number(token)])
}

fn claim(
    connection: &Connection,
    name: &str,
    holder: &str,
    (now, until): (i64, i64),
) -> rusqlite::Result<Option<LeaseToken>> {
    let token = |row: &Row<'_>| row.get(0).map(|number: i64| LeaseToken::new(number.cast_unsigned()));
    let own = connection.prepare_cached(CLAIM_OWN)?.query_row((name, holder, until), token).optional()?;
    if own.is_some() {
        return Ok(own);
    }
    connection.prepare_cached(REMOVE_ENDED)?.execute((name, now))?;
    connection.prepare_cached(CLAIM)?.query_row((name, holder, until), token).optional()
}

fn lease(row: &Row<'_>, now: i64) -> rusqlite::Result<Option<Lease>> {
    let (name, holder): (String, String) = (row.get(1)?, row.get(2)?);
    let left = row.get::<_, i64>(3)?.saturating_sub(now);
    let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
    let token = LeaseToken::new(row.get::<_, i64>(0)?.cast_unsigned());
    let names = LeaseName::parse(&name).zip(RunnerId::parse(&holder));
    Ok(names.map(|(name, holder)| Lease { name, holder, token, left }))
}

fn after(now: i64, time: Duration) -> i64 {
    now.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

fn row_number(token: LeaseToken) -> i64 {
    token.number().cast_signed()
}

const TICKS_PER_MILLI: i64 = 10_000;

const CLAIM_OWN: &str = "UPDATE leases SET until = ?3 WHERE name = ?1 AND holder = ?2 RETURNING token";

const REMOVE_ENDED: &str = "DELETE FROM leases WHERE name = ?1 AND until <= ?2";

const CLAIM: &str =
    "INSERT INTO leases (name, holder, until) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING RETURNING token";

const RENEW: &str = "UPDATE leases SET until = ?2 WHERE token = ?1";

const RELEASE: &str = "DELETE FROM leases WHERE token = ?1";

/// The condition has SQLite delete row by row: without one it writes the empty table anew, also when it was empty.
const END_ALL: &str = "DELETE FROM leases WHERE true";

const LIST: &str = "SELECT token, name, holder, until FROM leases ORDER BY token";

const IS_CURRENT: &str = "SELECT 1 FROM leases WHERE token = ?1";

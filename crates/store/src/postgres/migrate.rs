//! Brings the tables of a database to the version of a program while nodes serve from it.
//!
//! One process does so at a time, under a lease; the others wait. One that ends in the middle is followed by another, which
//! repeats the statements of the version that it did not complete.

use std::time::Duration;

use provisioning::ports::StoreError;
use tokio::time::sleep;

use super::{
    leases,
    open::{ConnectError, Database},
    schema,
    session::Session,
};
use crate::broken;

/// The name of the lease: none of `LeaseName`, so that nodes leave it alone.
const LEASE: &str = "schema/migration";

const LEASE_TIME: Duration = Duration::from_secs(30);

const RENEWAL: Duration = Duration::from_secs(5);

/// How often a process looks whether another one has finished.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A statement that waits for a lock holds up all that come after it, so it gives up soon, and is repeated.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '1s'";

/// How often a statement is tried: for more than a minute.
const STATEMENT_TRIES: usize = 60;

impl Database {
    /// Brings the tables to the last version of the schema. Does nothing if they are there already.
    pub(super) async fn migrate(&self) -> Result<(), ConnectError> {
        let holder = self.holder().await?;
        loop {
            if self.found().await? >= self.schema.version() {
                return Ok(());
            }
            if let Some(token) = leases::claim(&self.queries, LEASE, &holder, LEASE_TIME).await? {
                let migrated = tokio::select! {
                    migrated = self.run_statements() => migrated,
                    lost = self.keep_lease(&holder) => Err(lost.into()),
                };
                leases::release(&self.queries, token).await?;
                return migrated;
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn run_statements(&self) -> Result<(), ConnectError> {
        let session = Session::connect(&self.settings, &[LOCK_TIMEOUT]).await;
        let session = session.map_err(|failure| self.error(failure))?;
        loop {
            let found = self.found().await?;
            if found >= self.schema.version() {
                return Ok(());
            }
            for statement in self.schema.after(found) {
                let ran = schema::run(&session, statement, STATEMENT_TRIES).await;
                ran.map_err(|failure| self.error(failure))?;
            }
            let sql = "UPDATE schema SET version = $1 + 1 WHERE version = $1";
            self.queries.query(sql, &[&found]).await?;
        }
    }

    /// Renews the lease until it is lost.
    async fn keep_lease(&self, holder: &str) -> StoreError {
        loop {
            sleep(RENEWAL).await;
            match leases::claim(&self.queries, LEASE, holder, LEASE_TIME).await {
                Ok(Some(_)) => {}
                Ok(None) => return broken("another process migrates the tables"),
                Err(error) => return error,
            }
        }
    }

    /// Returns the version of the tables.
    async fn found(&self) -> Result<i32, ConnectError> {
        let session = self.session().await?;
        let found = schema::version(&session).await.map_err(|failure| self.error(failure))?;
        Ok(found.unwrap_or(0))
    }

    /// Returns a name that no other process has.
    async fn holder(&self) -> Result<String, StoreError> {
        let row = self.queries.query_opt("SELECT md5(random()::text || pg_backend_pid()::text)", &[]).await?;
        row.map_or(Ok(String::new()), |row| row.try_get(0)).map_err(broken)
    }
}

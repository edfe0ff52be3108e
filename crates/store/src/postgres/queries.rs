//! Statements that stand for themselves, on one connection for all callers. They can be repeated, and are after the connection
//! was lost.

use std::{sync::Arc, time::Duration};

use provisioning::ports::StoreError;
use tokio::{sync::Mutex, time::Instant};
use tokio_postgres::Row;

use super::{
    session::{Failure, MAX_OUTAGE, Parameters, Retry, Session, answered},
    settings::Settings,
};

/// Sent on each new connection.
const SETUP: &str = "SET statement_timeout = '30s'; SET jit = off";

/// How long a statement may take before its connection is given up: longer than the server lets it.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(32);

/// The same for leases, which must be renewed in time.
pub(super) const LEASE_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection that is opened when it is needed.
#[derive(Debug)]
pub(super) struct Queries {
    settings: Arc<Settings>,
    answer_timeout: Duration,
    session: Mutex<Option<Arc<Session>>>,
}

impl Queries {
    pub(super) fn new(settings: Arc<Settings>, answer_timeout: Duration) -> Queries {
        Queries { settings, answer_timeout, session: Mutex::default() }
    }

    /// Runs a statement that can be repeated, and returns its rows. Waits while the database is away, within bounds.
    pub(super) async fn query(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, StoreError> {
        let mut retry = Retry::until(Instant::now() + MAX_OUTAGE);
        loop {
            match self.query_once(sql, parameters).await {
                Ok(rows) => return Ok(rows),
                Err(failure) => retry.wait(failure).await?,
            }
        }
    }

    /// The same for a statement that returns at most one row.
    pub(super) async fn query_opt(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.query(sql, parameters).await?.pop())
    }

    async fn query_once(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, Failure> {
        let session = self.session().await?;
        let rows = answered(self.answer_timeout, session.query(sql, parameters)).await;
        if let Err(Failure::Lost(_)) = rows {
            self.forget(&session).await;
        }
        rows
    }

    /// Returns the connection, a new one if there is none.
    pub(super) async fn session(&self) -> Result<Arc<Session>, Failure> {
        let mut current = self.session.lock().await;
        if let Some(session) = current.as_ref().filter(|session| !session.is_closed()) {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(Session::connect(&self.settings, &[SETUP]).await?);
        *current = Some(Arc::clone(&session));
        Ok(session)
    }

    async fn forget(&self, lost: &Arc<Session>) {
        let mut current = self.session.lock().await;
        if current.as_ref().is_some_and(|session| Arc::ptr_eq(session, lost)) {
            *current = None;
        }
    }
}

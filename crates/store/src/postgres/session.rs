//! One connection to the database, and what its errors mean.

use std::{
    borrow::Cow,
    collections::HashMap,
    future::poll_fn,
    pin::pin,
    sync::{Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use futures_util::future::maybe_done;
use provisioning::ports::StoreError;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_postgres::{
    AsyncMessage, Client, Connection, Error, NoTls, Row, Socket, Statement,
    binary_copy::BinaryCopyInWriter,
    error::{DbError, SqlState},
    types::{ToSql, Type},
};

use super::settings::{Settings, reason};
use crate::broken;

/// How long a request waits for a database that cannot be reached: longer than a failover takes.
pub(super) const MAX_OUTAGE: Duration = Duration::from_secs(20);

/// The first pause before the database is tried again; each further one is twice as long, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);

const MAX_PAUSE: Duration = Duration::from_millis(500);

/// Where PostgreSQL warns of a COMMIT that was canceled while it waited for a standby, and is acknowledged all the same. The
/// text of the warning is translated, the name of the function is not.
const CANCELED_WAIT: &str = "SyncRepWaitForLSN";

/// Sent on each new connection. What is acknowledged is on disk, whatever the role or the database sets.
const DURABILITY: &str = "
    SET default_transaction_isolation = 'read committed';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// For connections of gathered statements. Their plans are made once, for arrays of any length, while tables may be empty: only
/// index look-ups are right for all of them. The planner takes what is switched off for so costly that it would compile the rest
/// (`jit`).
pub(super) const INDEX_PLANS: &str = "
    SET jit = off; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off; SET enable_material = off";

/// How long a connection may take until it can be used: the limit of TCP does not cover TLS and login, in which a server that
/// hangs does not answer.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The parameters of a statement.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A statement with its parameters.
pub(super) struct Step<'a> {
    sql: Cow<'static, str>,
    parameters: Vec<Box<dyn ToSql + Sync + Send + 'a>>,
}

impl<'a> Step<'a> {
    pub(super) fn new(
        sql: impl Into<Cow<'static, str>>,
        parameters: Vec<Box<dyn ToSql + Sync + Send + 'a>>,
    ) -> Step<'a> {
        Step { sql: sql.into(), parameters }
    }

    /// Makes a statement without parameters.
    pub(super) fn plain(sql: &'static str) -> Step<'a> {
        Step::new(sql, Vec::new())
    }
}

/// One connection, with the statements that were prepared on it. It is closed at once when it is dropped: nothing is waited
/// for on a server that does not answer.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    driver: JoinHandle<()>,
    statements: Mutex<HashMap<String, Statement>>,
}

impl Session {
    /// Connects, and runs the statements of `setup`.
    pub(super) async fn connect(settings: &Settings, setup: &[&str]) -> Result<Session, Failure> {
        answered(LOGIN_TIMEOUT, Session::log_in(settings, setup)).await
    }

    async fn log_in(settings: &Settings, setup: &[&str]) -> Result<Session, Failure> {
        let lost = |error: Error| Failure::Lost(reason(&error));
        let (client, driver) = match &settings.tls {
            Some(tls) => {
                let (client, connection) = settings.config.connect(tls.clone()).await.map_err(lost)?;
                (client, tokio::spawn(drive(connection)))
            }
            None => {
                let (client, connection) = settings.config.connect(NoTls).await.map_err(lost)?;
                (client, tokio::spawn(drive(connection)))
            }
        };
        let session = Session { client, driver, statements: Mutex::default() };
        session.client.batch_execute(&format!("{DURABILITY}; {}", setup.join("; "))).await?;
        Ok(session)
    }

    /// Whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs a statement and returns its rows.
    pub(super) async fn query(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, Error> {
        let statement = self.statement(sql).await?;
        self.client.query(&statement, parameters).await
    }

    /// Runs a statement that returns at most one row.
    pub(super) async fn query_opt(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Option<Row>, Error> {
        Ok(self.query(sql, parameters).await?.pop())
    }

    /// Runs a statement and returns the number of rows that it found.
    pub(super) async fn execute(&self, sql: &str, parameters: Parameters<'_>) -> Result<u64, Error> {
        let statement = self.statement(sql).await?;
        self.client.execute(&statement, parameters).await
    }

    /// Sends all statements at once, and returns their rows. Fails with the first error: what follows it fails for that reason,
    /// and a COMMIT after it is a ROLLBACK that reports no error.
    pub(super) async fn pipeline(&self, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>, Error> {
        let mut queries = Vec::with_capacity(steps.len());
        for step in steps {
            let statement = self.statement(&step.sql).await?;
            let parameters: Vec<&(dyn ToSql + Sync)> =
                step.parameters.iter().map(|parameter| &**parameter as &(dyn ToSql + Sync)).collect();
            queries
                .push(Box::pin(maybe_done(async move { self.client.query(&statement, &parameters).await })));
        }
        // A query is sent when it is polled for the first time: in this order.
        poll_fn(|cx| {
            let pending =
                queries.iter_mut().filter_map(|query| query.as_mut().poll(cx).is_pending().then_some(()));
            if pending.count() == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        queries.iter_mut().filter_map(|query| query.as_mut().take_output()).collect()
    }

    /// Writes rows with a `COPY` statement: all of them, or none.
    pub(super) async fn copy(
        &self,
        sql: &str,
        types: &[Type],
        rows: &[Vec<Box<dyn ToSql + Sync + Send + '_>>],
    ) -> Result<(), Error> {
        let mut writer = pin!(BinaryCopyInWriter::new(self.client.copy_in(sql).await?, types));
        for row in rows {
            let values: Vec<&(dyn ToSql + Sync)> =
                row.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
            writer.as_mut().write(&values).await?;
        }
        writer.finish().await.map(drop)
    }

    /// Runs statements without parameters or results.
    pub(super) async fn run(&self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await
    }

    async fn statement(&self, sql: &str) -> Result<Statement, Error> {
        let known = self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(statements.entry(sql.to_owned()).or_insert(statement).clone())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Sends and receives for a client, until the connection ends.
async fn drive<T: AsyncRead + AsyncWrite + Unpin>(mut connection: Connection<Socket, T>) {
    while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
        match message {
            // A commit that its standby may not have is as uncertain as one whose connection is lost.
            Ok(AsyncMessage::Notice(notice)) if notice.routine() == Some(CANCELED_WAIT) => return,
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// The database was dropped, the session was idle for too long, or its transaction took too long.
const ENDED_SESSION: [&str; 3] = ["57P04", "57P05", "25P04"];

/// Why a statement or transaction failed, by what is to be done.
#[derive(Debug)]
pub(super) enum Failure {
    /// It met another transaction, and was undone: it can be repeated on the same connection.
    Conflict(String),
    /// The connection is lost, or of no use any more: whether a COMMIT took effect is not known.
    Lost(String),
    /// The database refused it, and would again.
    Refused(StoreError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let text = described(&error);
        let Some(code) = error.code() else {
            let is_of_connection = error.is_closed()
                || std::error::Error::source(&error).is_none_or(|source| source.is::<std::io::Error>());
            return if is_of_connection { Failure::Lost(text) } else { Failure::Refused(broken(text)) };
        };
        let is_of_lane = error.as_db_error().and_then(DbError::column) == Some("seq");
        match *code {
            SqlState::T_R_SERIALIZATION_FAILURE
            | SqlState::T_R_DEADLOCK_DETECTED
            // A row that did not exist when its key was locked.
            | SqlState::UNIQUE_VIOLATION
            | SqlState::LOCK_NOT_AVAILABLE => Failure::Conflict(text),
            SqlState::ADMIN_SHUTDOWN
            | SqlState::CRASH_SHUTDOWN
            | SqlState::CANNOT_CONNECT_NOW
            | SqlState::READ_ONLY_SQL_TRANSACTION
            | SqlState::TOO_MANY_CONNECTIONS
            | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
            | SqlState::QUERY_CANCELED
            | SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
            => Failure::Lost(text),
            // How a lane that another process has is refused: see `lane.rs`.
            SqlState::NOT_NULL_VIOLATION if is_of_lane => Failure::Lost(text),
            SqlState::DISK_FULL => Failure::Refused(StoreError::Unwritable(text)),
            _ if code.code().starts_with("08") || ENDED_SESSION.contains(&code.code()) => Failure::Lost(text),
            _ => Failure::Refused(broken(text)),
        }
    }
}

/// Describes an error for the log. PostgreSQL quotes rows in the details of its errors, which are left out.
fn described(error: &Error) -> String {
    let Some(refusal) = error.as_db_error() else { return reason(error) };
    let constraint = refusal.constraint().map(|name| format!(", constraint {name}")).unwrap_or_default();
    format!("{}: {} ({}{constraint})", refusal.severity(), refusal.message(), refusal.code().code())
}

/// Waits for the database. A connection that does not answer in this time is lost.
pub(super) async fn answered<T, E: Into<Failure>>(
    within: Duration,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    match timeout(within, call).await {
        Ok(result) => result.map_err(E::into),
        Err(_) => Err(Failure::Lost("the database does not answer".to_owned())),
    }
}

/// The pauses between tries while the database is away or busy.
#[derive(Debug)]
pub(super) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Pauses(FIRST_PAUSE)
    }
}

impl Pauses {
    /// Waits for the next pause.
    pub(super) async fn next(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = MAX_PAUSE.min(self.0 * 2);
    }
}

/// How long something is tried again while the database is away or busy.
#[derive(Debug)]
pub(super) struct Retry {
    until: Instant,
    pauses: Pauses,
}

impl Retry {
    pub(super) fn until(until: Instant) -> Retry {
        Retry { until, pauses: Pauses::default() }
    }

    /// Waits before the next try, or returns what to answer once there is none.
    pub(super) async fn wait(&mut self, failure: Failure) -> Result<(), StoreError> {
        let text = match failure {
            Failure::Refused(error) => return Err(error),
            Failure::Conflict(text) | Failure::Lost(text) => text,
        };
        if Instant::now() >= self.until {
            return Err(StoreError::Unwritable(text));
        }
        self.pauses.next().await;
        Ok(())
    }
}

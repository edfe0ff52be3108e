//! Open, idle connections to one server.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use tokio::time::Instant;

use super::{Call, ClientError, HttpsConnection};

/// A connection that was idle for longer is not used again: address translators drop theirs after minutes.
const MAX_IDLE: Duration = Duration::from_secs(50);

/// A pool of connections to one server. It has at most as many as were in use at once.
#[derive(Default)]
pub struct ConnectionPool {
    idle: Mutex<Vec<IdleConnection>>,
}

struct IdleConnection {
    connection: HttpsConnection,
    since: Instant,
}

impl ConnectionPool {
    /// Makes a call that may be repeated: over an idle connection, or else over the one that `open` opens. The server may close an
    /// idle one at any moment, so a call that fails on it is repeated.
    pub async fn call(
        &self,
        call: Call<'_>,
        open: impl Future<Output = Result<HttpsConnection, ClientError>>,
    ) -> Result<Response<Bytes>, ClientError> {
        if let Some(connection) = self.take() {
            match self.call_over(connection, call.clone()).await {
                Err(ClientError::Http(_) | ClientError::Io(_) | ClientError::Closed) => {}
                outcome => return outcome,
            }
        }
        self.call_over(open.await?, call).await
    }

    /// Returns the connection to the pool if the call succeeds.
    async fn call_over(
        &self,
        mut connection: HttpsConnection,
        call: Call<'_>,
    ) -> Result<Response<Bytes>, ClientError> {
        let response = connection.call(call).await?;
        self.lock().push(IdleConnection { connection, since: Instant::now() });
        Ok(response)
    }

    /// Takes the connection that was used last, so that the others expire.
    fn take(&self) -> Option<HttpsConnection> {
        let mut idle = self.lock();
        idle.retain(|it| !it.connection.is_closed() && it.since.elapsed() < MAX_IDLE);
        idle.pop().map(|it| it.connection)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<IdleConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Connections to one server that are open and not in use.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use tokio::time::Instant;

use super::{Call, ClientError, HttpsConnection};

/// A connection that was silent for longer is not used again: address translators forget theirs after minutes.
const MAX_SILENCE: Duration = Duration::from_secs(50);

/// Open connections to one server. There are never more than were in use at once.
#[derive(Default)]
pub struct KeptConnections {
    kept: Mutex<Vec<Kept>>,
}

struct Kept {
    connection: HttpsConnection,
    since: Instant,
}

impl KeptConnections {
    /// Makes a call that may be repeated: over a kept connection, or else over the one that `open` opens. The server may
    /// close a kept one at any moment, so that a call that is lost on it is made again.
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

    /// The connection is kept when the call succeeds.
    async fn call_over(
        &self,
        mut connection: HttpsConnection,
        call: Call<'_>,
    ) -> Result<Response<Bytes>, ClientError> {
        let response = connection.call(call).await?;
        self.lock().push(Kept { connection, since: Instant::now() });
        Ok(response)
    }

    /// The connection that was used last, so that the others may fall silent and go.
    fn take(&self) -> Option<HttpsConnection> {
        let mut kept = self.lock();
        kept.retain(|kept| !kept.connection.is_closed() && kept.since.elapsed() < MAX_SILENCE);
        kept.pop().map(|kept| kept.connection)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Connections to one server that are open and not in use.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::HttpsConnection;

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
    /// The connection that was used last, so that the others may fall silent and go. The server may close it at any
    /// moment, so that a call that fails on it has to be made again on a new one.
    pub fn take(&self) -> Option<HttpsConnection> {
        let mut kept = self.lock();
        kept.retain(|kept| !kept.connection.is_closed() && kept.since.elapsed() < MAX_SILENCE);
        kept.pop().map(|kept| kept.connection)
    }

    /// Keeps a connection after a call that succeeded.
    pub fn keep(&self, connection: HttpsConnection) {
        self.lock().push(Kept { connection, since: Instant::now() });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

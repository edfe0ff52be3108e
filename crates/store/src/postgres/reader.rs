//! Reads of devices: whatever is asked for while one read is under way is the next one, in a single statement.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use provisioning::ports::StoreError;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    session::{Failure, INDEX_PLANS, MAX_OUTAGE, Parameters, Pauses, Session, answered},
    settings::Settings,
};
use crate::broken;

/// Reads that wait for one reader, some 100 bytes each; further ones are refused.
const QUEUE: usize = 1024;

/// How long one statement may take before its connection is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(6);

/// The most reads of one statement.
const MAX_GATHERED: usize = 64;

/// Sent on each new connection.
const SETUP: &str = "SET statement_timeout = '5s'";

/// What is read of one ID: an ID that is absent is not looked up.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    pub(super) instance: i32,
    pub(super) registration: Option<String>,
    pub(super) individual: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// The version of the configuration.
    pub(super) version: u64,
    pub(super) registration: Option<Vec<u8>>,
    pub(super) individual: Option<Vec<u8>>,
}

struct Waiting {
    lookup: Lookup,
    until: Instant,
    answer: oneshot::Sender<Result<Found, StoreError>>,
}

/// The connections that read. Clones share them; they are closed with the last.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    queues: Arc<[mpsc::Sender<Waiting>]>,
    next: Arc<AtomicUsize>,
}

impl Readers {
    /// Starts this many readers. They connect when they are needed.
    pub(super) fn start(settings: &Arc<Settings>, count: usize) -> Readers {
        let queues = (0..count).map(|_| {
            let (sender, queue) = mpsc::channel(QUEUE);
            tokio::spawn(Reader { settings: Arc::clone(settings), session: None }.run(queue));
            sender
        });
        Readers { queues: queues.collect(), next: Arc::default() }
    }

    /// Reads. Waits while the database is away, within bounds.
    pub(super) async fn read(&self, lookup: Lookup) -> Result<Found, StoreError> {
        let (answer, found) = oneshot::channel();
        let waiting = Waiting { lookup, until: Instant::now() + MAX_OUTAGE, answer };
        let queue = &self.queues[self.next.fetch_add(1, Ordering::Relaxed) % self.queues.len()];
        queue.try_send(waiting).map_err(|_| StoreError::Busy)?;
        found.await.map_err(|_| broken("the reader of the database has ended"))?
    }
}

/// One connection, and the statement that is under way on it.
struct Reader {
    settings: Arc<Settings>,
    session: Option<Session>,
}

impl Reader {
    async fn run(mut self, mut queue: mpsc::Receiver<Waiting>) {
        let mut batch = Vec::with_capacity(MAX_GATHERED);
        let mut pauses = Pauses::default();
        loop {
            if batch.is_empty() && queue.recv_many(&mut batch, MAX_GATHERED).await == 0 {
                return;
            }
            batch.retain(|waiting| !waiting.answer.is_closed());
            match self.read(&batch).await {
                Ok(found) => {
                    pauses = Pauses::default();
                    let answers = batch.drain(..).map(|waiting| waiting.answer);
                    answers.zip(found).for_each(|(answer, found)| drop(answer.send(Ok(found))));
                }
                Err(Failure::Refused(error)) => {
                    batch.drain(..).for_each(|waiting| drop(waiting.answer.send(Err(error.clone()))));
                }
                Err(Failure::Conflict(reason) | Failure::Lost(reason)) => {
                    pauses.next().await;
                    give_up(&mut batch, &reason);
                }
            }
        }
    }

    /// Reads for all of a batch. The connection is closed if that fails.
    async fn read(&mut self, batch: &[Waiting]) -> Result<Vec<Found>, Failure> {
        let session = match self.session.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => Session::connect(&self.settings, &[SETUP, INDEX_PLANS]).await?,
        };
        let lookups = || batch.iter().map(|waiting| &waiting.lookup);
        let instances: Vec<i32> = lookups().map(|it| it.instance).collect();
        let registrations: Vec<Option<&str>> = lookups().map(|it| it.registration.as_deref()).collect();
        let individuals: Vec<Option<&str>> = lookups().map(|it| it.individual.as_deref()).collect();
        let parameters: Parameters<'_> = &[&instances, &registrations, &individuals];
        let rows = answered(READ_TIMEOUT, session.query(READ, parameters)).await?;
        let mut found: Vec<Found> = vec![Found::default(); batch.len()];
        for row in rows {
            let place: i64 = row.try_get(0)?;
            let version: i64 = row.try_get(1)?;
            if let Some(found) = usize::try_from(place - 1).ok().and_then(|place| found.get_mut(place)) {
                let version = version.cast_unsigned();
                *found = Found { version, registration: row.try_get(2)?, individual: row.try_get(3)? };
            }
        }
        self.session = Some(session);
        Ok(found)
    }
}

/// Answers those that have waited long enough.
fn give_up(batch: &mut Vec<Waiting>, reason: &str) {
    let now = Instant::now();
    for waiting in batch.extract_if(.., |waiting| waiting.until <= now) {
        let _ = waiting.answer.send(Err(StoreError::Unwritable(reason.to_owned())));
    }
}

/// `$1` instances, `$2` IDs of registrations, `$3` IDs of individual enrollments.
const READ: &str = "
    SELECT k.ord, (SELECT version FROM configuration), r.document, i.document
    FROM unnest($1::int[], $2::text[], $3::text[]) WITH ORDINALITY AS k(instance, registration, individual, ord)
    LEFT JOIN registrations r ON r.instance = k.instance AND r.id = k.registration
    LEFT JOIN individuals i ON i.instance = k.instance AND i.id = k.individual";

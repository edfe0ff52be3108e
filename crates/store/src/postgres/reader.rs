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
use tokio_postgres::{Error, Row, types::ToSql};

use super::{
    number,
    session::{Failure, INDEX_PLANS, MAX_OUTAGE, Pauses, Session, answered},
    settings::Settings,
};
use crate::{
    broken,
    engine::{Lookup, Reading},
};

/// Reads that wait for one reader, some 100 bytes each; further ones are refused.
const QUEUE: usize = 1024;

/// How long one statement may take before its connection is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(6);

/// The most reads of one statement.
const MAX_GATHERED: usize = 64;

/// Sent on each new connection.
const SETUP: &str = "SET statement_timeout = '5s'";

struct Waiting {
    lookup: Lookup,
    until: Instant,
    answer: oneshot::Sender<Result<Reading, StoreError>>,
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
    pub(super) async fn read(&self, lookup: Lookup) -> Result<Reading, StoreError> {
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
    async fn read(&mut self, batch: &[Waiting]) -> Result<Vec<Reading>, Failure> {
        let session = match self.session.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => Session::connect(&self.settings, &[SETUP, INDEX_PLANS]).await?,
        };
        let columns = Columns::of(batch.iter().map(|waiting| &waiting.lookup));
        let rows = answered(READ_TIMEOUT, session.query(READ, &columns.parameters())).await?;
        let mut found: Vec<Reading> = vec![Reading::default(); batch.len()];
        for row in rows {
            let place: i64 = row.try_get(0)?;
            if let Some(found) = usize::try_from(place - 1).ok().and_then(|place| found.get_mut(place)) {
                *found = reading(&row)?;
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

/// The parameters of the statement: an array for each column of its lookups.
#[derive(Default)]
struct Columns<'a> {
    instances: Vec<i32>,
    registrations: Vec<Option<&'a str>>,
    individuals: Vec<Option<&'a str>>,
    cleanups: Vec<Option<&'a str>>,
    hubs: Vec<Option<&'a str>>,
    devices: Vec<Option<&'a str>>,
    /// The registrations that do not count as other owners of the devices.
    owners: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(lookups: impl Iterator<Item = &'a Lookup>) -> Columns<'a> {
        let mut columns = Columns::default();
        for lookup in lookups {
            let (device, owner) =
                lookup.other_owner.as_ref().map(|(device, id)| (device, id.as_str())).unzip();
            columns.instances.push(number(lookup.instance));
            columns.registrations.push(lookup.registration.as_deref());
            columns.individuals.push(lookup.individual.as_deref());
            columns.cleanups.push(lookup.cleanup.as_deref());
            columns.hubs.push(device.map(|device| device.hub.as_str()));
            columns.devices.push(device.map(|device| device.device_id.as_str()));
            columns.owners.push(owner);
        }
        columns
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 7] {
        [
            &self.instances,
            &self.registrations,
            &self.individuals,
            &self.cleanups,
            &self.hubs,
            &self.devices,
            &self.owners,
        ]
    }
}

fn reading(row: &Row) -> Result<Reading, Error> {
    let version: i64 = row.try_get(1)?;
    let document = |column: usize| row.try_get(column).map(|document: Option<Vec<u8>>| document.map(Ok));
    let owner: (Option<String>, Option<String>) = (row.try_get(5)?, row.try_get(6)?);
    Ok(Reading {
        activity: version.cast_unsigned(),
        registration: document(2)?,
        individual: document(3)?,
        cleanup: document(4)?,
        other_owner: owner.0.zip(owner.1),
    })
}

/// `$1` instances; IDs of `$2` registrations, `$3` individual enrollments, `$4` cleanups; `$5` hubs and `$6` devices there, and
/// `$7` IDs of registrations that do not count as their owners.
const READ: &str = "
    SELECT k.ord, (SELECT version FROM configuration), r.document, i.document, c.document, s.scope, h.id
    FROM unnest($1::int4[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
        WITH ORDINALITY AS k(instance, registration, individual, cleanup, hub, device, owner, ord)
    LEFT JOIN registrations r ON r.instance = k.instance AND r.id = k.registration
    LEFT JOIN individuals i ON i.instance = k.instance AND i.id = k.individual
    LEFT JOIN cleanups c ON c.instance = k.instance AND c.id = k.cleanup
    LEFT JOIN hub_devices h ON h.hub = k.hub AND h.device = k.device AND NOT (h.instance = k.instance AND h.id = k.owner)
    LEFT JOIN instances s ON s.number = h.instance";

//! A lane: one connection that writes, one transaction at a time. Batches that come in while one is under way are the next
//! one, so that each costs the database less, the more there are.
//!
//! ```text
//!   commit ──► queue ──► transaction of all batches that wait, `UPDATE lanes SET seq = seq + 1` ──► COMMIT ──► outcomes
//! ```
//!
//! Each lane has a row, and each transaction begins by raising its `seq` by one. That answers, after a connection was lost under
//! a COMMIT, whether the transaction took effect: the row is written on a new connection, and its `seq` tells. It must be a
//! write. It waits for the end of the transaction, if that is still under way, and it takes effect only where that one's
//! effects would be, which a read after a failover does not prove.
//!
//! `seq` is raised only from the number that the transaction expects, and under the `epoch` in which the process took the lane;
//! otherwise it is set to NULL, which fails. So a process that was paused until its lane was given to another writes nothing.
//!
//! A caller never holds the connection. One that goes away loses its answer, not the transaction.

use std::{sync::Arc, time::Duration};

use provisioning::ports::{Outcome, StoreError};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, timeout},
};

use super::{
    session::{Failure, INDEX_PLANS, MAX_OUTAGE, Retry, Session, answered},
    settings::Settings,
    transaction::{self, LaneRow},
};
use crate::{batch::Batch, broken};

/// Commits that wait for one lane, or are under way; further ones are refused.
const QUEUE: usize = 1024;

/// The bytes of these commits, with as much for one that is larger.
const QUEUE_BYTES: u32 = 64 << 20;

/// The most batches of one transaction.
const MAX_GROUP: usize = 128;

/// How long one transaction may take before its connection is closed. The server alone does not end a wait for a standby.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the row of a lane that has nothing to do is written. It counts as used for a minute.
const RENEWAL: Duration = Duration::from_secs(15);

/// Sent on each new connection.
const SETUP: &str = "
    SET lock_timeout = '2s'; SET statement_timeout = 0; SET client_min_messages = warning;
    SET idle_in_transaction_session_timeout = '5s'";

/// Outcomes of guards and changes; `None` when the batch is fenced.
type Outcomes = Option<Vec<Outcome>>;

struct Job {
    batch: Batch,
    /// Given back when the commit has ended.
    _bytes: OwnedSemaphorePermit,
    until: Instant,
    answer: oneshot::Sender<Result<Outcomes, StoreError>>,
}

/// The way into a lane. The lane ends with the last of its clones.
#[derive(Debug, Clone)]
pub(super) struct LaneQueue {
    jobs: mpsc::Sender<Job>,
    bytes: Arc<Semaphore>,
}

impl LaneQueue {
    /// Starts a lane.
    pub(super) fn start(settings: Arc<Settings>) -> LaneQueue {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let lane = Lane { settings, session: None, row: None };
        tokio::spawn(lane.run(queue));
        LaneQueue { jobs, bytes: Arc::new(Semaphore::new(QUEUE_BYTES as usize)) }
    }

    /// Writes a batch. Waits while the database is away, within bounds.
    pub(super) async fn commit(&self, batch: Batch) -> Result<Outcomes, StoreError> {
        let bytes = u32::try_from(batch.bytes()).map_or(QUEUE_BYTES, |bytes| bytes.min(QUEUE_BYTES));
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(bytes).map_err(|_| StoreError::Busy)?;
        let (answer, outcomes) = oneshot::channel();
        let job = Job { batch, _bytes: bytes, until: Instant::now() + MAX_OUTAGE, answer };
        self.jobs.try_send(job).map_err(|_| StoreError::Busy)?;
        outcomes.await.map_err(|_| broken("the lane of the database has ended"))?
    }
}

struct Lane {
    settings: Arc<Settings>,
    session: Option<Session>,
    row: Option<LaneRow>,
}

impl Lane {
    async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(MAX_GROUP);
        loop {
            match timeout(RENEWAL, queue.recv_many(&mut jobs, MAX_GROUP)).await {
                Ok(0) => break,
                Ok(_) => self.commit_group(&mut jobs).await,
                Err(_) => self.renew().await,
            }
        }
        self.leave().await;
    }

    /// Writes the batches of all jobs, and answers them.
    async fn commit_group(&mut self, jobs: &mut Vec<Job>) {
        jobs.retain(|job| !job.answer.is_closed());
        let batches: Vec<&Batch> = jobs.iter().map(|job| &job.batch).collect();
        let Some(until) = jobs.iter().map(|job| job.until).max() else { return };
        match self.commit(&batches, until).await {
            Ok(outcomes) => {
                let answers = jobs.drain(..).map(|job| job.answer);
                answers.zip(outcomes).for_each(|(answer, outcomes)| drop(answer.send(Ok(outcomes))));
            }
            // One of them is at fault: each is written alone.
            Err(StoreError::Broken(_)) if jobs.len() > 1 => {
                for job in jobs.drain(..) {
                    if job.until <= Instant::now() {
                        let late = StoreError::Unwritable("the database did not answer in time".to_owned());
                        let _ = job.answer.send(Err(late));
                        continue;
                    }
                    let outcomes = self.commit(&[&job.batch], job.until).await;
                    let _ = job.answer.send(outcomes.map(|mut outcomes| outcomes.pop().flatten()));
                }
            }
            Err(error) => jobs.drain(..).for_each(|job| drop(job.answer.send(Err(error.clone())))),
        }
    }

    /// Writes batches in one transaction, again and again until it is known whether it took effect.
    async fn commit(&mut self, batches: &[&Batch], until: Instant) -> Result<Vec<Outcomes>, StoreError> {
        let mut retry = Retry::until(until);
        let mut decided = None;
        loop {
            let failure = match answered(TRANSACTION_TIMEOUT, self.attempt(batches, &mut decided)).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(failure) => failure,
            };
            self.recover(&failure).await;
            retry.wait(failure).await?;
        }
    }

    /// Makes the connection ready for another transaction, or gives it up.
    async fn recover(&mut self, failure: &Failure) {
        let Some(session) = self.session.take().filter(|_| !matches!(failure, Failure::Lost(_))) else {
            return;
        };
        if answered(TRANSACTION_TIMEOUT, session.run("ROLLBACK")).await.is_ok() {
            self.session = Some(session);
        }
    }

    /// Tries a transaction once. `decided` keeps its outcomes from the moment at which COMMIT may have been sent.
    async fn attempt(
        &mut self,
        batches: &[&Batch],
        decided: &mut Option<Vec<Outcomes>>,
    ) -> Result<Vec<Outcomes>, Failure> {
        let settlement = match self.connect().await {
            // What became of the transaction is still not known, so that nothing of it may be written again.
            Err(Failure::Refused(error)) if decided.is_some() => {
                return Err(Failure::Lost(error.to_string()));
            }
            settlement => settlement?,
        };
        match (settlement, decided.take()) {
            (Settlement::Moved, Some(outcomes)) => return Ok(outcomes),
            (Settlement::Gone, Some(_)) => {
                let text = "the lane was given to another process, or the database lost transactions, before the end of a \
                     transaction was known";
                return Err(Failure::Refused(StoreError::Unwritable(text.to_owned())));
            }
            (Settlement::Unmoved, _) | (_, None) => {}
        }
        let (Some(session), Some(row)) = (&self.session, &mut self.row) else {
            return Err(Failure::Lost("the lane is not connected".to_owned()));
        };
        let next = LaneRow { seq: row.seq + 1, ..*row };
        let locked = transaction::lock(session, next, batches).await?;
        let mut decision = transaction::decide(&locked, batches);
        if decision.is_empty() {
            session.run("ROLLBACK").await?;
            return Ok(decision.outcomes);
        }
        let outcomes = decided.insert(std::mem::take(&mut decision.outcomes));
        transaction::write(session, &decision, next).await?;
        *row = next;
        Ok(std::mem::take(outcomes))
    }

    /// Connects if there is no connection, and settles what became of the last transaction.
    async fn connect(&mut self) -> Result<Settlement, Failure> {
        if self.session.as_ref().is_some_and(|session| !session.is_closed()) {
            return Ok(Settlement::Unmoved);
        }
        let session = Session::connect(&self.settings, &[SETUP, INDEX_PLANS]).await?;
        let (row, settlement) = match self.row {
            None => (adopt(&session).await?, Settlement::Unmoved),
            Some(row) => match session.query_opt(SETTLE, &[&row.number, &row.epoch]).await? {
                None => (adopt(&session).await?, Settlement::Gone),
                Some(found) => {
                    let seq = found.try_get(0)?;
                    (LaneRow { seq, ..row }, Settlement::of(row.seq, seq))
                }
            },
        };
        (self.session, self.row) = (Some(session), Some(row));
        Ok(settlement)
    }

    /// Keeps the lane while it has nothing to do. A failure is noticed by the next commit.
    async fn renew(&mut self) {
        if let (Some(session), Some(row)) = (&self.session, self.row)
            && !matches!(
                answered(TRANSACTION_TIMEOUT, session.execute(RENEW, &[&row.number, &row.epoch])).await,
                Ok(1)
            )
        {
            self.session = None;
        }
    }

    /// Leaves the lane to another process.
    async fn leave(self) {
        if let (Some(session), Some(row)) = (&self.session, self.row) {
            let _ = answered(TRANSACTION_TIMEOUT, session.execute(LEAVE, &[&row.number, &row.epoch])).await;
        }
    }
}

/// What became of the last transaction.
#[derive(Debug, Clone, Copy)]
enum Settlement {
    /// It did not take effect, or none was under way.
    Unmoved,
    /// It took effect.
    Moved,
    /// The lane has another holder, or is behind where it was, since the database lost transactions: what became of it is not
    /// known, and it takes effect no more if it did not before.
    Gone,
}

impl Settlement {
    /// Returns what a sequence number says that was found, after the one before the last transaction.
    fn of(before: i64, found: i64) -> Settlement {
        match found - before {
            0 => Settlement::Unmoved,
            1 => Settlement::Moved,
            _ => Settlement::Gone,
        }
    }
}

/// Takes a lane that no process uses any more, or a new one.
async fn adopt(session: &Session) -> Result<LaneRow, Failure> {
    for _ in 0..ADOPTION_TRIES {
        let row = match session.query_opt(ADOPT, &[]).await? {
            Some(row) => Some(row),
            None => session.query_opt(CREATE, &[]).await?,
        };
        if let Some(row) = row {
            return Ok(LaneRow { number: row.try_get(0)?, epoch: row.try_get(1)?, seq: row.try_get(2)? });
        }
    }
    Err(Failure::Conflict("other processes take the same lanes".to_owned()))
}

/// How often a lane is looked for while other processes take the same ones.
const ADOPTION_TRIES: usize = 20;

const SETTLE: &str = "
    UPDATE lanes SET until = now() + interval '60 seconds' WHERE lane = $1 AND epoch = $2 RETURNING seq";

const RENEW: &str = "UPDATE lanes SET until = now() + interval '60 seconds' WHERE lane = $1 AND epoch = $2";

const LEAVE: &str = "UPDATE lanes SET until = now() - interval '1 second' WHERE lane = $1 AND epoch = $2";

/// A row that another transaction has locked, perhaps one of a server process that hangs, is passed over. Epochs are random: after
/// a failover that lost the adoption of a lane, its next holder never has the epoch of the one before.
const ADOPT: &str = "
    UPDATE lanes SET epoch = floor(random() * 9007199254740992)::bigint, until = now() + interval '60 seconds'
    WHERE lane = (SELECT lane FROM lanes WHERE until < now() ORDER BY lane LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING lane, epoch, seq";

const CREATE: &str = "
    INSERT INTO lanes (lane, epoch, seq, until)
    SELECT coalesce(max(lane), 0) + 1, floor(random() * 9007199254740992)::bigint, 0, now() + interval '60 seconds'
    FROM lanes
    ON CONFLICT DO NOTHING RETURNING lane, epoch, seq";

#[cfg(test)]
mod tests {
    use provisioning::ports::Expect;

    use super::*;
    use crate::{
        batch::{Columns, Row, RowChange, RowKey},
        table::Table,
    };

    #[test]
    fn a_lane_that_is_behind_does_not_tell_what_became_of_a_transaction() {
        assert!(matches!(Settlement::of(7, 7), Settlement::Unmoved));
        assert!(matches!(Settlement::of(7, 8), Settlement::Moved));
        for lost in [6, 3, 0, 9] {
            assert!(matches!(Settlement::of(7, lost), Settlement::Gone), "{lost}");
        }
    }

    fn batch(bytes: usize) -> Batch {
        let row = Row { etag: "1".to_owned(), document: vec![0; bytes], columns: Columns::None };
        let key = RowKey { table: Table::Groups, id: "line".to_owned() };
        let change = RowChange { key, expect: Expect::Anything, row: Some(row), subject: None };
        let (guards, changes, by) = (Vec::new(), vec![change], testkit::sample::by());
        let scope = "one".to_owned();
        Batch { scope, instance: Some(1), fence: None, guards, changes, operation: None, by }
    }

    /// While the database is away, commits wait within bounds, in number and in bytes.
    #[tokio::test]
    async fn commits_that_wait_are_bounded_in_bytes() {
        for (bytes, most) in [(1 << 20, 64), (100 << 20, 1), (10, MAX_GROUP + QUEUE)] {
            let settings = Settings::parse("postgres://muster@127.0.0.1:1/muster?sslmode=disable").unwrap();
            let queue = LaneQueue::start(Arc::new(settings));
            let mut waiting = Vec::new();
            let mut refused = 0;
            for _ in 0..most + 10 {
                let mut commit = Box::pin(queue.commit(batch(bytes)));
                match timeout(Duration::ZERO, &mut commit).await {
                    Err(_) => waiting.push(commit),
                    Ok(outcome) => {
                        assert!(matches!(outcome, Err(StoreError::Busy)), "{outcome:?}");
                        refused += 1;
                    }
                }
            }
            assert!(refused >= 10 && waiting.len() + MAX_GROUP >= most, "{} of {bytes} bytes", waiting.len());
        }
    }
}

//! The writer thread: the only place that changes the file.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::{
    job::{Effect, Job},
    lock::SingleProcess,
    log_size::LogSize,
};

/// The most writes in one commit: bounds how long the first of them waits for the others.
const BATCH: usize = 512;

/// After a batch of at least this many writes, the next batch waits for as many, at most [`GATHER`] and again
/// [`GATHER_MORE`]; a single writer waits once after a burst, and then no more. An fsync costs more CPU than the writes of a
/// small batch, and these milliseconds are little beside a TLS handshake over a network. PostgreSQL has the same idea in
/// `commit_siblings` and `commit_delay`.
const COMPANY: usize = 4;
const GATHER: Duration = Duration::from_millis(2);
const GATHER_MORE: Duration = Duration::from_millis(3);

/// What the writers of a file have done.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The number of batches that were committed.
    pub(crate) commits: AtomicU64,
    /// Whether the last batch was lost.
    pub(crate) is_failing: AtomicBool,
}

/// An element of the queue.
pub(crate) enum Message {
    Write(Box<dyn Job>),
    /// Finishes what is queued, then ends; replies once the file is closed.
    Close(oneshot::Sender<()>),
}

pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) queue: mpsc::Receiver<Message>,
    pub(crate) progress: Arc<Progress>,
    /// How large the write-ahead log may grow.
    pub(crate) log: LogSize,
    /// Dropped only after the connection is closed; the last writer of the process unlocks the file.
    pub(crate) lock: Arc<SingleProcess>,
}

impl Writer {
    /// Runs until every sender is dropped or [`Message::Close`] arrives, then checkpoints and closes the file.
    pub(crate) fn run(mut self) {
        let mut messages = Vec::with_capacity(BATCH);
        let mut jobs = Vec::with_capacity(BATCH);
        let mut closing = Vec::new();
        let mut last_batch = 0;
        while self.queue.blocking_recv_many(&mut messages, BATCH) > 0 {
            if last_batch >= COMPANY {
                self.gather(&mut messages, last_batch);
            }
            for message in messages.drain(..) {
                match message {
                    Message::Write(job) => jobs.push(job),
                    Message::Close(done) => {
                        self.queue.close(); // later writes are refused, queued ones still come
                        closing.push(done);
                    }
                }
            }
            last_batch = jobs.len();
            self.commit(&mut jobs);
        }
        self.checkpoint();
        if let Err((_, error)) = self.connection.close() {
            tracing::error!(%error, "the database did not close cleanly");
        }
        drop(self.lock);
        for done in closing {
            let _ = done.send(()); // the closer may have stopped waiting
        }
    }

    /// Waits for as many messages as the last batch had, then takes those that arrived meanwhile.
    fn gather(&mut self, messages: &mut Vec<Message>, expected: usize) {
        for pause in [GATHER, GATHER_MORE] {
            if messages.len() + self.queue.len() < expected.min(BATCH) {
                std::thread::sleep(pause);
            }
        }
        while messages.len() < BATCH
            && let Ok(message) = self.queue.try_recv()
        {
            messages.push(message);
        }
    }

    /// Commits one batch and finishes its jobs. Leaves `jobs` empty.
    fn commit(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        if jobs.is_empty() {
            return;
        }
        let outcome = self.try_commit(jobs);
        if let Err(reason) = &outcome {
            // Logged once, for a disk that is full stays so for a while.
            if !self.progress.is_failing.swap(true, Ordering::Relaxed) {
                tracing::error!(writes = jobs.len(), reason, "a batch of writes was lost");
            }
            self.roll_back();
        }
        if let Err(error) = self.log.count_commit(&self.connection) {
            tracing::warn!(%error, "the write-ahead log keeps its bound");
        }
        for job in jobs.drain(..) {
            job.finish(outcome.as_ref().map(|_| ()).map_err(String::as_str));
        }
    }

    fn try_commit(&self, jobs: &mut [Box<dyn Job>]) -> Result<(), String> {
        self.execute("BEGIN IMMEDIATE")?;
        let mut has_written = false;
        let end = match jobs {
            [only] => match self.run_one(only.as_mut(), &mut has_written) {
                Effect::Keep => "COMMIT",
                Effect::Undo => "ROLLBACK",
            },
            several => {
                for job in several {
                    self.run_in_savepoint(job.as_mut(), &mut has_written)?;
                }
                "COMMIT"
            }
        };
        self.reject_lost_transaction()?;
        self.execute(end)?;
        self.progress.commits.fetch_add(1, Ordering::Release); // before the acknowledgement: see `Database::commits`
        // A commit without a row proves nothing: it succeeds on a full disk, too.
        if has_written && self.progress.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!("writes succeed again");
        }
        Ok(())
    }

    /// Runs a job; notes whether it leaves rows to write.
    fn run_one(&self, job: &mut dyn Job, has_written: &mut bool) -> Effect {
        let before = self.connection.total_changes();
        let effect = job.run(&self.connection);
        *has_written |= effect == Effect::Keep && self.connection.total_changes() != before;
        effect
    }

    fn run_in_savepoint(&self, job: &mut dyn Job, has_written: &mut bool) -> Result<(), String> {
        self.execute("SAVEPOINT one")?;
        let effect = self.run_one(job, has_written);
        self.reject_lost_transaction()?;
        if effect == Effect::Undo {
            self.execute("ROLLBACK TO one")?;
        }
        self.execute("RELEASE one")
    }

    /// Fails if SQLite rolled the whole transaction back, with the writes of other callers, as it does on some failures (disk
    /// full, I/O, out of memory).
    fn reject_lost_transaction(&self) -> Result<(), String> {
        if self.connection.is_autocommit() {
            return Err("the storage failed under one write and the whole batch was undone".to_owned());
        }
        Ok(())
    }

    fn roll_back(&self) {
        if self.connection.is_autocommit() {
            return;
        }
        if let Err(reason) = self.execute("ROLLBACK") {
            tracing::error!(reason, "rollback failed");
        }
    }

    fn execute(&self, sql: &'static str) -> Result<(), String> {
        let run = || self.connection.prepare_cached(sql)?.execute([]).map(drop);
        run().map_err(|error: rusqlite::Error| format!("{sql}: {error}"))
    }

    /// Checkpoints the log into the file, so that a copy of the file alone is complete.
    fn checkpoint(&self) {
        let checkpointed = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = checkpointed {
            tracing::warn!(%error, "the write-ahead log stays beside the database; the next open reads it");
        }
    }
}

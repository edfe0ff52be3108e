//! A lane: how a node of a cluster commits over connections that are lost, as the store does on PostgreSQL.
//!
//! The database has a row for each lane, which every transaction moves by one. After a connection was lost under a COMMIT, the
//! lane writes that row on a new connection; its number says whether the transaction took effect. It is not sent again before
//! that is settled. A transaction of a lost connection that arrives late finds that the row has moved, and fails.

use std::sync::Arc;

use provisioning::ports::{Outcome, Store, StoreError};
use tokio::{
    sync::{Mutex, oneshot},
    time::{Instant, timeout},
};

use crate::{
    outages::{PATIENCE, wait_for_database},
    process::Process,
    transaction::Transaction,
    weather::{Flaw, TransactionFate},
};

/// The row of a lane in the database.
#[derive(Debug, Clone, Default)]
pub struct LaneRow {
    /// The number of its last transaction.
    number: u64,
    /// The outcomes of that one.
    outcomes: Vec<Outcome>,
    /// The connection that wrote it last: a transaction of an earlier one fails.
    connection: u64,
}

/// The lane of a process: one transaction at a time.
pub struct Lane {
    process: Arc<Process>,
    store: Arc<dyn Store>,
    state: Mutex<LaneState>,
}

/// What the process knows of its lane.
#[derive(Debug, Clone, Copy, Default)]
struct LaneState {
    /// The number of the last transaction that took effect.
    number: u64,
    /// The connection in use.
    connection: u64,
}

/// What a process learns of a transaction.
enum Reply {
    Answered(Result<Vec<Outcome>, StoreError>),
    /// The database rolled it back because of another one (SQLSTATE 40001).
    Aborted,
    /// The connection was lost.
    Lost,
}

impl Lane {
    pub fn new(process: Arc<Process>, store: Arc<dyn Store>) -> Lane {
        Lane { process, store, state: Mutex::default() }
    }

    /// Commits. A caller that goes away does not take the transaction back. After an error it may have taken effect.
    pub async fn commit(self: Arc<Self>, transaction: Arc<Transaction>) -> Result<Vec<Outcome>, StoreError> {
        let (sender, answer) = oneshot::channel();
        let deadline = Instant::now() + PATIENCE;
        tokio::spawn(async move {
            // The caller may be gone.
            drop(sender.send(self.execute(&transaction, deadline).await));
        });
        timeout(PATIENCE, answer).await.ok().and_then(Result::ok).unwrap_or(Err(StoreError::Busy))
    }

    async fn execute(
        self: &Arc<Self>,
        transaction: &Arc<Transaction>,
        deadline: Instant,
    ) -> Result<Vec<Outcome>, StoreError> {
        let mut state = self.state.lock().await;
        while Instant::now() < deadline {
            match self.send(*state, transaction).await {
                Reply::Answered(Ok(outcomes)) => {
                    state.number += 1;
                    return Ok(outcomes);
                }
                Reply::Answered(Err(error)) => return Err(error),
                Reply::Aborted => {}
                Reply::Lost => {
                    if let Some(outcomes) = self.settle(&mut state).await {
                        return Ok(outcomes);
                    }
                }
            }
            self.process.pass(5..=50).await;
        }
        Err(StoreError::Busy)
    }

    /// Sends a transaction once.
    async fn send(self: &Arc<Self>, state: LaneState, transaction: &Arc<Transaction>) -> Reply {
        let world = &self.process.world;
        self.process.pass(0..=5).await;
        let fate = world.weather.transaction_fate(self.process.number, &world.dice);
        if fate != TransactionFate::Fine {
            world.note(format_args!("process {}: a transaction: {fate:?}", self.process.number));
            world.count(|figures| figures.faults += 1);
        }
        match fate {
            TransactionFate::Fine => {
                let Some(answer) = self.transact(state, transaction) else { return Reply::Lost };
                self.process.pass(0..=5).await;
                Reply::Answered(answer)
            }
            TransactionFate::Refused => Reply::Answered(Err(StoreError::Unwritable("read-only".to_owned()))),
            TransactionFate::Aborted => Reply::Aborted,
            TransactionFate::LostBefore => Reply::Lost,
            TransactionFate::LostAfter => {
                drop(self.transact(state, transaction));
                Reply::Lost
            }
            TransactionFate::Late => {
                self.transact_late(state, transaction);
                Reply::Lost
            }
        }
    }

    /// The database still works on the transaction when its connection is lost.
    fn transact_late(self: &Arc<Self>, state: LaneState, transaction: &Arc<Transaction>) {
        let (lane, transaction) = (Arc::clone(self), Arc::clone(transaction));
        tokio::spawn(async move {
            let world = &lane.process.world;
            tokio::time::sleep(world.dice.millis(1..=20_000)).await;
            world.note(format_args!("process {}: a late transaction arrives", lane.process.number));
            drop(lane.transact(state, &transaction));
        });
    }

    /// Carries a transaction out at this moment; returns `None` if the lane's row has moved.
    fn transact(
        &self,
        state: LaneState,
        transaction: &Transaction,
    ) -> Option<Result<Vec<Outcome>, StoreError>> {
        let world = &self.process.world;
        let row = world.lanes().entry(self.process.number).or_default().clone();
        let has_moved = (row.number, row.connection) != (state.number, state.connection);
        if has_moved && world.flaw != Flaw::RetriesUnsettled {
            return None;
        }
        let answer = transaction.apply(&self.process, &*self.store);
        if let Ok(outcomes) = &answer {
            let moved = LaneRow { number: row.number + 1, outcomes: outcomes.clone(), ..row };
            world.lanes().insert(self.process.number, moved);
        }
        Some(answer)
    }

    /// Writes the lane's row on a new connection; returns the outcomes of the last transaction if it took effect.
    async fn settle(&self, state: &mut LaneState) -> Option<Vec<Outcome>> {
        let world = &self.process.world;
        while !wait_for_database(&self.process).await {}
        self.process.pass(0..=5).await;
        if world.flaw == Flaw::RetriesUnsettled {
            return None;
        }
        let mut lanes = world.lanes();
        let row = lanes.entry(self.process.number).or_default();
        row.connection += 1;
        let took_effect = row.number != state.number;
        *state = LaneState { number: row.number, connection: row.connection };
        let outcomes = took_effect.then(|| row.outcomes.clone());
        drop(lanes);
        world.count(|figures| figures.settled += u64::from(took_effect));
        outcomes
    }
}

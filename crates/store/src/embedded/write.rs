//! Writes: everything that ends in a commit on disk.

use std::sync::Arc;

use durable::WriteError;
use durable::rusqlite::{self, Connection, ErrorCode};
use model::{Attribution, Day, IdScope, Instance, LeaseToken, LogKind, OperationKind};
use provisioning::configuration::Snapshot;
use provisioning::ports::{Commit, Outcome, StoreError};
use tokio::sync::MutexGuard;
use tokio::time::timeout;

use crate::embedded::change::{Prepared, PreparedGuard};
use crate::embedded::document::RowRef;
use crate::embedded::leases;
use crate::embedded::log::{self, LogWriter, Signature};
use crate::embedded::statements::{COUNT_OPERATION, PUT_INSTANCE};
use crate::embedded::{EmbeddedStore, broken};

impl EmbeddedStore {
    pub(super) async fn write_records(
        &self,
        scope: &IdScope,
        commit: Commit,
    ) -> Result<Vec<Outcome>, StoreError> {
        let instance = self.number(scope)?;
        let prepare = |(expect, change)| Prepared::new(&self.documents, scope, expect, &change);
        let Commit { fence, guards, changes, operation, by } = commit;
        let changes = changes.into_iter().map(prepare).collect::<Result<_, _>>()?;
        let guards = guards.into_iter().map(PreparedGuard::new).collect();
        let signature = Signature::new(&by);
        self.write_batch(scope, Batch { instance, fence, guards, changes, operation, signature }).await
    }

    /// The number of an instance that is written to.
    pub(super) fn number(&self, scope: &IdScope) -> Result<i64, StoreError> {
        let number = self.served_number(scope)?;
        number.ok_or_else(|| broken(format!("there is no instance with ID scope {scope}")))
    }

    /// Writes an instance if the stored one is as expected, or whatever is stored; false when it is another. That is judged
    /// by the snapshot; the transaction writes nothing if the configuration is another by then, and all is judged again.
    pub(super) async fn write_instance(
        &self,
        expected: Option<&Instance>,
        next: Instance,
        operation: Option<(OperationKind, Day)>,
        by: &Attribution,
    ) -> Result<bool, StoreError> {
        let _turn = self.turn().await?;
        for _ in 0..MAX_RACES {
            let snapshot = self.current_snapshot()?;
            refuse_taken_hosts(&snapshot, &next)?;
            // A document that cannot be read is not overwritten unless it was given up.
            let stored = snapshot.instance(&next.id_scope)?.map(Arc::as_ref);
            if expected.is_some() && stored != expected {
                return Ok(false);
            }
            if self.write_instance_after(snapshot.version(), &next, operation, by).await? {
                self.documents.forget(RowRef { table: "instances", scope: &next.id_scope, id: "" });
                return Ok(true);
            }
        }
        Err(StoreError::Busy)
    }

    /// Writes an instance; false when the configuration was changed after this position.
    async fn write_instance_after(
        &self,
        position: u64,
        instance: &Instance,
        operation: Option<(OperationKind, Day)>,
        by: &Attribution,
    ) -> Result<bool, StoreError> {
        let (scope, signature) = (&instance.id_scope, Signature::new(by));
        let key = scope.key().into_owned();
        let document = self.documents.seal(RowRef { table: "instances", scope, id: "" }, instance)?;
        let write = move |connection: &Connection| {
            if log::configured(connection)? != position {
                return Ok(false);
            }
            let put = connection.prepare_cached(PUT_INSTANCE)?.query_row((key, document), |row| row.get(0));
            let instance: i64 = put?;
            operation.map_or(Ok(()), |operation| count(connection, instance, operation))?;
            LogWriter { connection, instance, signature: &signature }.note(LogKind::Instance, "", None)?;
            rusqlite::Result::Ok(true)
        };
        self.database.write(write).await.map_err(not_written)
    }

    /// The right to write an instance. A caller that waits too long for it gets an error, as with the queue of writes.
    async fn turn(&self) -> Result<MutexGuard<'_, ()>, StoreError> {
        timeout(durable::QUEUE_WAIT, self.memory.turn.lock()).await.map_err(|_| StoreError::Busy)
    }

    async fn write_batch(&self, scope: &IdScope, batch: Batch) -> Result<Vec<Outcome>, StoreError> {
        let is_damage_known = self.documents.damage().is_any_known();
        let targets: Vec<_> =
            batch.changes.iter().map(Prepared::target).filter(|_| is_damage_known).collect();
        let guards = batch.guards.len();
        let outcomes = self.database.write(move |connection| batch.apply(connection)).await;
        let outcomes = outcomes.map_err(not_written)?.ok_or(StoreError::Fenced)?;
        let changes = outcomes.iter().skip(guards);
        let made = targets.into_iter().zip(changes).filter(|(_, outcome)| **outcome == Outcome::Applied);
        for ((table, id), _) in made {
            self.documents.forget(RowRef { table, scope, id: &id });
        }
        Ok(outcomes)
    }
}

/// A request is led to its instance by host name, so two instances must never share one.
fn refuse_taken_hosts(snapshot: &Snapshot, instance: &Instance) -> Result<(), StoreError> {
    let taken = instance.service_hosts.iter().find_map(|host| {
        let owner = snapshot.instance_by_host(host).ok()??;
        let is_other = owner.id_scope != instance.id_scope;
        is_other.then(|| format!("host name {host} belongs to the instance {} already", owner.id_scope))
    });
    taken.map_or(Ok(()), |taken| Err(broken(taken)))
}

/// What one commit is to do, ready for the writer thread.
#[derive(Debug)]
struct Batch {
    instance: i64,
    fence: Option<LeaseToken>,
    guards: Vec<PreparedGuard>,
    changes: Vec<Prepared>,
    operation: Option<(OperationKind, Day)>,
    signature: Signature,
}

impl Batch {
    /// Makes the changes; `None` when it is fenced.
    fn apply(&self, connection: &Connection) -> rusqlite::Result<Option<Vec<Outcome>>> {
        if let Some(token) = self.fence
            && !leases::is_current(connection, token)?
        {
            return Ok(None);
        }
        let check = |guard: &PreparedGuard| guard.check(connection, self.instance);
        let mut guards = self.guards.iter().map(check).collect::<rusqlite::Result<Vec<_>>>()?;
        if guards.iter().any(|outcome| *outcome != Outcome::Applied) {
            guards.resize(guards.len() + self.changes.len(), Outcome::LeftOut);
            return Ok(Some(guards));
        }
        let log = LogWriter { connection, instance: self.instance, signature: &self.signature };
        let mut changes = Vec::with_capacity(self.changes.len());
        for change in &self.changes {
            changes.push(change.apply(&log, changes.last())?);
        }
        let counts = changes.is_empty() || changes.contains(&Outcome::Applied);
        if let Some(operation) = self.operation.filter(|_| counts) {
            count(connection, self.instance, operation)?;
        }
        guards.extend(changes);
        Ok(Some(guards))
    }
}

fn count(connection: &Connection, instance: i64, (kind, day): (OperationKind, Day)) -> rusqlite::Result<()> {
    connection.prepare_cached(COUNT_OPERATION)?.execute((instance, day.number(), kind.name()))?;
    Ok(())
}

/// How often a change of an instance is judged again because another handle changed the configuration meanwhile.
const MAX_RACES: usize = 8;

pub(super) fn not_written(error: WriteError<rusqlite::Error>) -> StoreError {
    match error {
        WriteError::Full => StoreError::Busy,
        WriteError::Lost(reason) => StoreError::Unwritable(reason),
        WriteError::Refused(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => {
                StoreError::Unwritable(error.to_string())
            }
            _ => broken(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use durable::Sealer;
    use durable::rusqlite::ffi;
    use provisioning::ports::Instances;
    use testkit::sample;

    use super::*;

    #[tokio::test]
    async fn waiting_too_long_is_told_as_busy() {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&directory.path().join("db"), Sealer::from_key([7; 32])).unwrap();
        let turn = store.turn().await.unwrap();
        let instance = store.put_instance(sample::instance("one"), sample::by()).await;
        assert!(matches!(instance, Err(StoreError::Busy)), "{instance:?}");
        drop(turn);
        store.put_instance(sample::instance("one"), sample::by()).await.unwrap();
        assert!(matches!(not_written(WriteError::Full), StoreError::Busy));
        assert!(matches!(not_written(WriteError::Lost("full".into())), StoreError::Unwritable(_)));
        for (code, is_passing) in [(ffi::SQLITE_FULL, true), (ffi::SQLITE_CONSTRAINT, false)] {
            let refused = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let told = not_written(WriteError::Refused(refused));
            assert_eq!(matches!(told, StoreError::Unwritable(_)), is_passing, "{told:?}");
        }
    }
}

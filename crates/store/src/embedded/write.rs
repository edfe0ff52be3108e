//! Writes: everything that ends in a commit on disk.

use std::sync::Arc;

use durable::WriteError;
use durable::rusqlite::{self, Connection, ErrorCode};
use model::{Day, IdScope, Instance, OperationKind};
use provisioning::ports::{Commit, Outcome, StoreError};
use tokio::sync::MutexGuard;
use tokio::time::timeout;

use crate::embedded::change::{Prepared, PreparedGuard};
use crate::embedded::document::Place;
use crate::embedded::snapshot::{Kept, Snapshot};
use crate::embedded::statements::{COUNT_OPERATION, PUT_INSTANCE};
use crate::embedded::{EmbeddedStore, Memory, broken};

impl EmbeddedStore {
    pub(super) async fn write_records(
        &self,
        scope: &IdScope,
        commit: Commit,
    ) -> Result<Vec<Outcome>, StoreError> {
        let instance = self.memory.current.load().instance(scope)?.map(|held| held.kin.number);
        let instance =
            instance.ok_or_else(|| broken(format!("there is no instance with ID scope {scope}")))?;
        let kept: Vec<_> = commit.changes.iter().map(|(_, change)| Kept::of(change)).collect();
        let prepare = |(expect, change)| Prepared::new(&self.documents, scope, expect, &change);
        let changes = commit.changes.into_iter().map(prepare).collect::<Result<_, _>>()?;
        let guards = commit.guards.into_iter().map(PreparedGuard::new).collect();
        let batch = Batch { instance, guards, changes, operation: commit.operation };
        if kept.iter().all(Option::is_none) {
            return self.write_batch(scope, batch).await;
        }
        let (store, scope) = (self.clone(), scope.clone());
        see_through(async move { store.write_kept(&scope, batch, kept).await }).await
    }

    /// Writes an instance, then puts it into the snapshot.
    pub(super) async fn write_instance(&self, instance: Instance) -> Result<(), StoreError> {
        let store = self.clone();
        see_through(async move {
            let _turn = store.turn().await?;
            store.write_instance_in_turn(instance, None).await
        })
        .await
    }

    /// Writes an instance in place of one that is just as expected. The snapshot says what is stored: whoever has the turn
    /// is alone in changing either.
    pub(super) async fn rewrite_instance(
        &self,
        expected: Instance,
        next: Instance,
        operation: Option<(OperationKind, Day)>,
    ) -> Result<bool, StoreError> {
        let store = self.clone();
        see_through(async move {
            let _turn = store.turn().await?;
            let snapshot = store.memory.current.load_full();
            let stored = snapshot.instance(&next.id_scope)?.map(|held| &*held.instance);
            if stored != Some(&expected) {
                return Ok(false);
            }
            store.write_instance_in_turn(next, operation).await?;
            Ok(true)
        })
        .await
    }

    /// Whoever calls this has the turn.
    async fn write_instance_in_turn(
        &self,
        instance: Instance,
        operation: Option<(OperationKind, Day)>,
    ) -> Result<(), StoreError> {
        self.refuse_taken_hosts(&instance)?;
        let scope = &instance.id_scope;
        // A document that cannot be read is not overwritten unless it was given up.
        self.memory.current.load().instance(scope)?;
        let key = scope.key().into_owned();
        let document = self.documents.seal(Place { table: "instances", scope, id: "" }, &instance)?;
        let write = move |connection: &Connection| {
            let put = connection.prepare_cached(PUT_INSTANCE)?.query_row((key, document), |row| row.get(0));
            let number: i64 = put?;
            operation.map_or(Ok(()), |operation| count(connection, number, operation))?;
            rusqlite::Result::Ok(number)
        };
        let number = self.database.write(write).await.map_err(not_written)?;
        self.documents.forget(Place { table: "instances", scope: &instance.id_scope, id: "" });
        self.memory.change(|snapshot| snapshot.put_instance(number, instance));
        Ok(())
    }

    /// A request is led to its instance by host name, so two instances must never share one.
    fn refuse_taken_hosts(&self, instance: &Instance) -> Result<(), StoreError> {
        let snapshot = self.memory.current.load();
        let taken = instance.service_hosts.iter().find_map(|host| {
            let owner = snapshot.scope_of(host).ok()?.filter(|owner| **owner != instance.id_scope)?;
            Some(format!("host name {host} belongs to the instance {owner} already"))
        });
        taken.map_or(Ok(()), |taken| Err(broken(taken)))
    }

    /// Writes a batch that changes what is kept in memory, then the snapshot. `kept` has an entry for each change.
    async fn write_kept(
        &self,
        scope: &IdScope,
        batch: Batch,
        kept: Vec<Option<Kept>>,
    ) -> Result<Vec<Outcome>, StoreError> {
        let _turn = self.turn().await?;
        let guards = batch.guards.len();
        let outcomes = self.write_batch(scope, batch).await?;
        let made = kept
            .into_iter()
            .zip(outcomes.iter().skip(guards))
            .filter(|(_, outcome)| **outcome == Outcome::Applied);
        let made: Vec<_> = made.filter_map(|(change, _)| change).collect();
        self.memory.change(|snapshot| snapshot.change(scope, &made));
        Ok(outcomes)
    }

    /// The right to change the snapshot. Whoever waits too long for it is told so, as with the queue of writes.
    async fn turn(&self) -> Result<MutexGuard<'_, ()>, StoreError> {
        timeout(durable::QUEUE_WAIT, self.memory.turn.lock()).await.map_err(|_| StoreError::Busy)
    }

    async fn write_batch(&self, scope: &IdScope, batch: Batch) -> Result<Vec<Outcome>, StoreError> {
        let is_damage_known = self.documents.damage().is_any_known();
        let targets: Vec<_> =
            batch.changes.iter().map(Prepared::target).filter(|_| is_damage_known).collect();
        let guards = batch.guards.len();
        let outcomes = self.database.write(move |connection| batch.apply(connection)).await;
        let outcomes = outcomes.map_err(not_written)?;
        let changes = outcomes.iter().skip(guards);
        let made = targets.into_iter().zip(changes).filter(|(_, outcome)| **outcome == Outcome::Applied);
        for ((table, id), _) in made {
            self.documents.forget(Place { table, scope, id: &id });
        }
        Ok(outcomes)
    }
}

impl Memory {
    /// Whoever calls this has the turn.
    pub(super) fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut next = Snapshot::clone(&self.current.load());
        change(&mut next);
        self.current.store(Arc::new(next));
    }
}

/// What one commit is to do, ready for the writer thread.
#[derive(Debug)]
struct Batch {
    instance: i64,
    guards: Vec<PreparedGuard>,
    changes: Vec<Prepared>,
    operation: Option<(OperationKind, Day)>,
}

impl Batch {
    fn apply(&self, connection: &Connection) -> rusqlite::Result<Vec<Outcome>> {
        let check = |guard: &PreparedGuard| guard.check(connection, self.instance);
        let mut guards = self.guards.iter().map(check).collect::<rusqlite::Result<Vec<_>>>()?;
        if guards.iter().any(|outcome| *outcome != Outcome::Applied) {
            guards.resize(guards.len() + self.changes.len(), Outcome::LeftOut);
            return Ok(guards);
        }
        let mut changes = Vec::with_capacity(self.changes.len());
        for change in &self.changes {
            changes.push(change.apply(connection, self.instance, changes.last())?);
        }
        let counts = changes.is_empty() || changes.contains(&Outcome::Applied);
        if let Some(operation) = self.operation.filter(|_| counts) {
            count(connection, self.instance, operation)?;
        }
        guards.extend(changes);
        Ok(guards)
    }
}

fn count(connection: &Connection, instance: i64, (kind, day): (OperationKind, Day)) -> rusqlite::Result<()> {
    connection.prepare_cached(COUNT_OPERATION)?.execute((instance, day.number(), kind.name()))?;
    Ok(())
}

/// Runs to its end even when the caller goes away: what is on disk must come into the snapshot.
async fn see_through<T: Send + 'static>(
    write: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::spawn(write).await.map_err(broken)?
}

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
    use provisioning::ports::{Change, Expect, Store};
    use testkit::sample;

    use super::*;

    #[tokio::test]
    async fn waiting_too_long_is_told_as_busy() {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&directory.path().join("db"), Sealer::from_key([7; 32])).unwrap();
        store.put_instance(sample::instance("one")).await.unwrap();
        let scope = sample::scope("one");
        let delete = Change::DeleteGroup(sample::group_id("line"));
        let commit = Commit { changes: vec![(Expect::Anything, delete)], ..Commit::default() };

        let turn = store.turn().await.unwrap();
        let (group, instance) =
            tokio::join!(store.commit(&scope, commit.clone()), store.put_instance(sample::instance("two")));
        assert!(matches!(group, Err(StoreError::Busy)), "{group:?}");
        assert!(matches!(instance, Err(StoreError::Busy)), "{instance:?}");
        drop(turn);
        assert_eq!(store.commit(&scope, commit).await.unwrap(), [Outcome::Applied]);
        assert!(matches!(not_written(WriteError::Full), StoreError::Busy));
        assert!(matches!(not_written(WriteError::Lost("full".into())), StoreError::Unwritable(_)));
        for (code, is_passing) in [(ffi::SQLITE_FULL, true), (ffi::SQLITE_CONSTRAINT, false)] {
            let refused = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let told = not_written(WriteError::Refused(refused));
            assert_eq!(matches!(told, StoreError::Unwritable(_)), is_passing, "{told:?}");
        }
    }
}

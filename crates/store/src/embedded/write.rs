//! Writes: everything that ends in a commit on disk.

use std::sync::Arc;

use durable::WriteError;
use durable::rusqlite::{self, Connection};
use model::{Day, IdScope, Instance, OperationKind};
use provisioning::ports::{Commit, Outcome, StoreError};

use crate::embedded::change::Prepared;
use crate::embedded::document::{Place, Table};
use crate::embedded::snapshot::GroupChange;
use crate::embedded::statements::{COUNT_OPERATION, PUT_INSTANCE};
use crate::embedded::{EmbeddedStore, broken};

impl EmbeddedStore {
    pub(super) async fn write_records(
        &self,
        scope: &IdScope,
        commit: Commit,
    ) -> Result<Vec<Outcome>, StoreError> {
        let instance = self.memory.current.load().instance(scope).map(|held| held.number);
        let instance =
            instance.ok_or_else(|| broken(format!("there is no instance with ID scope {scope}")))?;
        let groups: Vec<_> = commit.changes.iter().map(|(_, change)| GroupChange::of(change)).collect();
        let prepare = |(expect, change)| Prepared::new(&self.documents, scope, expect, &change);
        let changes = commit.changes.into_iter().map(prepare).collect::<Result<_, _>>()?;
        let batch = Batch { instance, changes, operation: commit.operation };
        if groups.iter().all(Option::is_none) {
            return self.write_batch(batch).await;
        }
        let (store, scope) = (self.clone(), scope.clone());
        see_through(async move { store.write_groups(&scope, batch, groups).await }).await
    }

    /// Writes an instance, then puts it into the snapshot.
    pub(super) async fn write_instance(&self, instance: Instance) -> Result<(), StoreError> {
        let store = self.clone();
        let write = async move {
            let _turn = store.memory.turn.lock().await;
            store.refuse_taken_hosts(&instance)?;
            let scope = &instance.id_scope;
            let key = scope.key().into_owned();
            let document =
                store.documents.seal(Place { table: Table::Instances, scope, id: "" }, &instance)?;
            let write = move |connection: &Connection| {
                connection.prepare_cached(PUT_INSTANCE)?.query_row((key, document), |row| row.get(0))
            };
            let number = store.database.write(write).await.map_err(not_written)?;
            let next = store.memory.current.load().with_instance(number, instance);
            store.memory.current.store(Arc::new(next));
            Ok(())
        };
        see_through(write).await
    }

    /// A request is led to its instance by host name, so two instances must never share one.
    fn refuse_taken_hosts(&self, instance: &Instance) -> Result<(), StoreError> {
        let snapshot = self.memory.current.load();
        let taken = instance.service_hosts.iter().find_map(|host| {
            let owner = snapshot.scope_of(host).filter(|owner| **owner != instance.id_scope)?;
            Some(format!("host name {host} belongs to the instance {owner} already"))
        });
        taken.map_or(Ok(()), |taken| Err(broken(taken)))
    }

    /// Writes a batch that changes groups, then puts them into the snapshot. `groups` has an entry for each change.
    async fn write_groups(
        &self,
        scope: &IdScope,
        batch: Batch,
        groups: Vec<Option<GroupChange>>,
    ) -> Result<Vec<Outcome>, StoreError> {
        let _turn = self.memory.turn.lock().await;
        let outcomes = self.write_batch(batch).await?;
        let made = groups.into_iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Applied);
        let groups: Vec<_> = made.filter_map(|(group, _)| group).collect();
        let next = self.memory.current.load().with_groups(scope, &groups);
        self.memory.current.store(Arc::new(next));
        Ok(outcomes)
    }

    async fn write_batch(&self, batch: Batch) -> Result<Vec<Outcome>, StoreError> {
        self.database.write(move |connection| batch.apply(connection)).await.map_err(not_written)
    }
}

/// What one commit is to do, ready for the writer thread.
#[derive(Debug)]
struct Batch {
    instance: i64,
    changes: Vec<Prepared>,
    operation: Option<(OperationKind, Day)>,
}

impl Batch {
    fn apply(&self, connection: &Connection) -> rusqlite::Result<Vec<Outcome>> {
        let apply = |change: &Prepared| change.apply(connection, self.instance);
        let outcomes = self.changes.iter().map(apply).collect::<rusqlite::Result<Vec<_>>>()?;
        let counts = outcomes.is_empty() || outcomes.contains(&Outcome::Applied);
        if let Some((kind, day)) = self.operation.filter(|_| counts) {
            connection.prepare_cached(COUNT_OPERATION)?.execute((
                self.instance,
                day.number(),
                kind.name(),
            ))?;
        }
        Ok(outcomes)
    }
}

/// Runs to its end even when the caller goes away: what is on disk must come into the snapshot.
async fn see_through<T: Send + 'static>(
    write: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::spawn(write).await.map_err(broken)?
}

fn not_written(error: WriteError<rusqlite::Error>) -> StoreError {
    match error {
        WriteError::Full => StoreError::Busy,
        WriteError::Lost(_) | WriteError::Refused(_) => broken(error),
    }
}

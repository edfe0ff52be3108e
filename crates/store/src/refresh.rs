//! Keeps the snapshot in memory as new as the database, whichever handle changed it.
//!
//! No writer touches the snapshot. Each read brings along whether anything was committed since the handle looked last, which
//! costs nothing while nothing was; then the rows of configuration that were changed are read before the answer. The same is done
//! when a read brings less than an earlier one did: the database has lost commits, in a failover or because it was restored.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use certpath::Sha256Thumbprint;
use model::{CaReference, EnrollmentGroupId, IdScope, ListId};
use provisioning::{
    RecordKind,
    configuration::ConfigurationChange,
    ports::{DamagedRecord, StoreError},
};
use serde::de::DeserializeOwned;

use crate::{
    SealedStore,
    document::{Documents, RowRef},
    engine::{ConfigurationRows, Document, Engine, Lookup, Reading, RowContent},
    snapshot::{InstanceContent, InstanceTable},
    table::Table,
};

impl<E: Engine> SealedStore<E> {
    /// Returns the instances, as new as every commit that was acknowledged.
    pub(crate) async fn instance_table(&self) -> Result<Arc<InstanceTable>, StoreError> {
        Ok(self.look_up(Lookup::default()).await?.0)
    }

    /// Reads rows, and returns them with the instances, as new as every commit that was acknowledged before.
    pub(crate) async fn look_up(&self, lookup: Lookup) -> Result<(Arc<InstanceTable>, Reading), StoreError> {
        let before = self.memory.seen.load(Ordering::Acquire);
        let reading = self.engine.read(lookup).await?;
        // Reads that began earlier may end later: only one that began after `before` was read shows a loss.
        let has_lost = reading.activity < before;
        if has_lost || self.memory.seen.load(Ordering::Acquire) < reading.activity {
            self.refresh(reading.activity, has_lost).await?;
        }
        Ok((self.memory.current.load_full(), reading))
    }

    /// Brings the table to this activity.
    async fn refresh(&self, activity: u64, has_lost: bool) -> Result<(), StoreError> {
        let _alone = self.memory.refreshing.lock().await;
        let seen = self.memory.seen.load(Ordering::Acquire);
        if seen == activity || seen > activity && !has_lost {
            return Ok(());
        }
        let known = self.memory.current.load().snapshot().version();
        let rows = self.engine.configuration(Some(known)).await?;
        if rows.is_complete || rows.version != known {
            self.memory.current.rcu(|table| table.next(&self.documents, &rows));
        }
        self.memory.seen.store(activity, Ordering::Release);
        Ok(())
    }

    /// Stops serving an instance until the store is opened again. Its records stay.
    pub fn set_aside(&self, scope: &IdScope) {
        self.memory.current.rcu(|table| InstanceTable::clone(table).without(scope));
    }
}

impl InstanceTable {
    /// Returns the table after these rows. What cannot be read is left out of it and remembered: a damaged record is no reason
    /// to turn every device away.
    pub(crate) fn next(&self, documents: &Documents, rows: &ConfigurationRows) -> InstanceTable {
        let mut next = if rows.is_complete { self.cleared() } else { self.clone() };
        let mut changes: HashMap<IdScope, Changes> = HashMap::new();
        for row in &rows.rows {
            let Ok(scope) = IdScope::parse(row.scope.clone()) else {
                let (id, reason) = (row.scope.clone(), "its ID scope is none".to_owned());
                let record = DamagedRecord { kind: RecordKind::Instance, id, reason };
                documents.damage().note(&row.scope, &record);
                continue;
            };
            let place = RowRef { table: row.key.table, scope: &scope, id: &row.key.id };
            if row.key.table == Table::Instances {
                next.put(row.instance, scope.clone(), instance(documents, place, &row.content));
            } else {
                changes.entry(scope.clone()).or_default().add(documents, place, &row.content);
            }
        }
        for (scope, Changes { changes, damaged }) in changes {
            if let Some(configuration) = next.configuration_mut(&scope) {
                configuration.apply(&changes);
                configuration.add_unreadable(damaged);
            }
        }
        next.at(rows.version)
    }
}

/// Changes of one configuration.
#[derive(Default)]
struct Changes {
    changes: Vec<ConfigurationChange>,
    damaged: Vec<DamagedRecord>,
}

impl Changes {
    fn add(&mut self, documents: &Documents, place: RowRef<'_>, content: &RowContent) {
        let put = match content {
            RowContent::Document(document) => put(documents, place, document).map(Some),
            RowContent::GivenUp | RowContent::Deleted => Ok(None),
        };
        match put {
            Ok(Some(put)) => self.changes.push(put),
            Ok(None) => self.changes.extend(deletion(place)),
            Err(damaged) => {
                self.changes.extend(deletion(place));
                self.damaged.push(damaged);
            }
        }
    }
}

fn instance(documents: &Documents, place: RowRef<'_>, content: &RowContent) -> InstanceContent {
    match content {
        RowContent::Document(document) => match open(documents, place, document) {
            Ok(instance) => InstanceContent::Readable(instance),
            Err(damaged) => InstanceContent::Damaged(damaged),
        },
        RowContent::GivenUp | RowContent::Deleted => InstanceContent::GivenUp,
    }
}

fn put(
    documents: &Documents,
    place: RowRef<'_>,
    document: &Document,
) -> Result<ConfigurationChange, DamagedRecord> {
    match place.table {
        Table::Groups => open(documents, place, document).map(ConfigurationChange::PutGroup),
        Table::Certificates => open(documents, place, document).map(ConfigurationChange::PutCertificate),
        Table::RevocationLists => {
            open(documents, place, document).map(ConfigurationChange::PutRevocationList)
        }
        Table::Blocks => open(documents, place, document).map(ConfigurationChange::PutBlock),
        table => Err(documents.note(place, format!("{} are no configuration", table.name()))),
    }
}

/// Returns the deletion of a record; `None` if its ID is none.
fn deletion(place: RowRef<'_>) -> Option<ConfigurationChange> {
    let id = place.id;
    match place.table {
        Table::Groups => EnrollmentGroupId::parse(id).ok().map(ConfigurationChange::DeleteGroup),
        Table::Certificates => CaReference::parse(id).ok().map(ConfigurationChange::DeleteCertificate),
        Table::RevocationLists => {
            let (ca, list) = ListId::split(id);
            CaReference::parse(ca).ok().map(|ca| ConfigurationChange::DeleteRevocationList(ca, list))
        }
        Table::Blocks => Sha256Thumbprint::parse(id).ok().map(ConfigurationChange::DeleteBlock),
        _ => None,
    }
}

fn open<T: DeserializeOwned>(
    documents: &Documents,
    place: RowRef<'_>,
    document: &Document,
) -> Result<Arc<T>, DamagedRecord> {
    match document {
        Ok(sealed) => documents.open(place, sealed).map(Arc::new),
        Err(reason) => Err(documents.note(place, reason.clone())),
    }
}

//! The instances as this handle knows them, and the snapshot that is made of them.
//!
//! A snapshot that is in use is never changed; the next one is made from a copy, which shares all that stays, by reading the
//! change log (`refresh.rs`).

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use model::{Actor, IdScope, Instance, Job};
use provisioning::{
    configuration::{Configuration, Snapshot},
    ports::{DamagedRecord, StoreError},
};

/// All instances at one moment, served or not.
#[derive(Debug, Clone, Default)]
pub(crate) struct InstanceTable {
    rows: HashMap<IdScope, InstanceRow>,
    /// Instances that this handle does not serve, whatever is read of them.
    set_aside: HashSet<IdScope>,
    snapshot: Arc<Snapshot>,
}

/// An instance that has a row in the database.
#[derive(Debug, Clone)]
struct InstanceRow {
    /// What its records are stored under.
    number: i64,
    content: InstanceContent,
    configuration: Configuration,
}

/// What the row of an instance holds.
#[derive(Debug, Clone)]
pub(crate) enum InstanceContent {
    Readable(Arc<Instance>),
    Damaged(DamagedRecord),
    /// A document that was given up; the next one that is written takes over what belongs to the instance.
    GivenUp,
}

impl InstanceTable {
    /// Returns what the port shows of it.
    pub(crate) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Returns an empty table with the same instances set aside.
    pub(crate) fn cleared(&self) -> InstanceTable {
        InstanceTable { set_aside: self.set_aside.clone(), ..InstanceTable::default() }
    }

    /// Returns the table with the snapshot of its rows, which are of this version.
    pub(crate) fn at(mut self, version: u64) -> InstanceTable {
        let mut snapshot = Snapshot::new(version);
        for (scope, row) in &self.rows {
            if self.set_aside.contains(scope) {
                snapshot.add_set_aside(scope.clone());
                continue;
            }
            match &row.content {
                InstanceContent::Readable(instance) => {
                    snapshot.add(Arc::clone(instance), row.configuration.clone());
                }
                InstanceContent::Damaged(record) => snapshot.add_damaged(scope.clone(), record.clone()),
                InstanceContent::GivenUp => snapshot.add_set_aside(scope.clone()),
            }
        }
        self.snapshot = Arc::new(snapshot);
        self
    }

    /// Returns the table without an instance in its snapshot.
    pub(crate) fn without(mut self, scope: &IdScope) -> InstanceTable {
        self.set_aside.insert(scope.clone());
        let version = self.snapshot.version();
        self.at(version)
    }

    /// Puts what the row of an instance holds; the configuration stays.
    pub(crate) fn put(&mut self, number: i64, scope: IdScope, content: InstanceContent) {
        let before = self.rows.remove(&scope);
        let configuration = before.map(|row| row.configuration).unwrap_or_default();
        self.rows.insert(scope, InstanceRow { number, content, configuration });
    }

    /// Returns the configuration of an instance, served or not.
    pub(crate) fn configuration_mut(&mut self, scope: &IdScope) -> Option<&mut Configuration> {
        self.rows.get_mut(scope).map(|row| &mut row.configuration)
    }

    /// Returns the number of an instance that is served, or whose records are being deleted; fails if it cannot be read.
    pub(crate) fn readable_number(&self, scope: &IdScope) -> Result<Option<i64>, StoreError> {
        if self.snapshot.deleted_instance(scope).is_some() {
            return Ok(self.number(scope));
        }
        Ok(self.snapshot.instance(scope)?.and_then(|_| self.number(scope)))
    }

    /// Returns the number of an instance that this actor writes to. After its deletion was requested only the job does that
    /// deletes its records.
    pub(crate) fn written_number(&self, scope: &IdScope, by: &Actor) -> Result<Option<i64>, StoreError> {
        let is_deletion = *by == Actor::System(Job::Deletions);
        if !is_deletion && self.snapshot.deleted_instance(scope).is_some() {
            return Ok(None);
        }
        self.readable_number(scope)
    }

    /// Returns the number of an instance, served or not.
    pub(crate) fn number(&self, scope: &IdScope) -> Option<i64> {
        self.rows.get(scope).map(|row| row.number)
    }
}

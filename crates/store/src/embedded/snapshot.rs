//! The instances as this handle knows them, and the snapshot that is made of them.
//!
//! A snapshot that is in use is never changed; the next one is made from a copy, which shares all that stays, by reading the
//! change log (`refresh.rs`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::{IdScope, Instance};
use provisioning::configuration::{Configuration, Snapshot};
use provisioning::ports::DamagedRecord;

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
pub(crate) struct InstanceRow {
    /// What its records are stored under.
    pub(crate) number: i64,
    pub(crate) content: InstanceContent,
    pub(crate) configuration: Configuration,
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
        for (scope, row) in self.rows.iter().filter(|(scope, _)| !self.set_aside.contains(*scope)) {
            match &row.content {
                InstanceContent::Readable(instance) => {
                    snapshot.add(Arc::clone(instance), row.configuration.clone());
                }
                InstanceContent::Damaged(record) => snapshot.add_damaged(scope.clone(), record.clone()),
                InstanceContent::GivenUp => {}
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

    pub(crate) fn put(&mut self, scope: IdScope, row: InstanceRow) {
        self.rows.insert(scope, row);
    }

    /// Returns the row of an instance, served or not.
    pub(crate) fn row_mut(&mut self, scope: &IdScope) -> Option<&mut InstanceRow> {
        self.rows.get_mut(scope)
    }

    /// Returns the number of an instance, served or not.
    pub(crate) fn number(&self, scope: &IdScope) -> Option<i64> {
        self.rows.get(scope).map(|row| row.number)
    }

    /// Returns the ID scope of the instance with this number, served or not.
    pub(crate) fn scope_of_number(&self, number: i64) -> Option<&IdScope> {
        self.rows.iter().find(|(_, row)| row.number == number).map(|(scope, _)| scope)
    }
}

//! Decides batches by what was locked: which changes are made, and what is written for them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::{Attribution, HubDeviceRef, OperationKind};
use provisioning::ports::Outcome;

use super::{
    super::number,
    RowId,
    lock::{ConfigurationState, HubDevice, Locked, Owner},
};
use crate::{
    batch::{Batch, Columns, Row, RowChange, RowGuard},
    table::Table,
};

/// The outcomes of batches, and what is written for them.
#[derive(Debug, Default)]
pub(in crate::postgres) struct Decision<'a> {
    /// Of guards and changes, for each batch; `None` when it is fenced.
    pub(in crate::postgres) outcomes: Vec<Option<Vec<Outcome>>>,
    pub(super) writes: Writes<'a>,
}

/// What is written.
#[derive(Debug, Default)]
pub(super) struct Writes<'a> {
    pub(super) created: BTreeMap<RowId<'a>, &'a Row>,
    pub(super) replaced: BTreeMap<RowId<'a>, &'a Row>,
    pub(super) deleted: BTreeSet<RowId<'a>>,
    /// Rows that must not exist, and do not come to exist by this transaction.
    pub(super) absent: BTreeSet<RowId<'a>>,
    /// Number and document of instances by ID scope.
    pub(super) instances: BTreeMap<&'a str, (i32, &'a [u8])>,
    /// Devices that are given up, and those that are taken.
    pub(super) released: Vec<HubDevice>,
    pub(super) claimed: Vec<(HubDevice, Owner)>,
    /// Operations by instance, day and name of the kind.
    pub(super) usage: BTreeMap<(i32, i32, &'static str), i64>,
    pub(super) log: Vec<Logged<'a>>,
    /// The version of the configuration after the transaction, if it is changed.
    pub(super) version: Option<i64>,
}

/// A change that is made.
#[derive(Debug)]
pub(super) struct Logged<'a> {
    pub(super) instance: i32,
    pub(super) by: &'a Attribution,
    pub(super) change: &'a RowChange,
}

impl Decision<'_> {
    /// Whether the transaction changes nothing.
    pub(in crate::postgres) fn is_empty(&self) -> bool {
        self.writes.log.is_empty() && self.writes.usage.is_empty()
    }
}

/// Decides batches in their order, each as if the ones before it had been committed.
pub(in crate::postgres) fn decide<'a>(locked: &Locked, batches: &[&'a Batch]) -> Decision<'a> {
    let mut state = State {
        rows: HashMap::new(),
        owners: locked.owners.clone(),
        instances: locked.instances.clone(),
        configuration: locked.configuration.clone(),
        locked,
        writes: Writes::default(),
    };
    let outcomes = batches.iter().map(|batch| state.decide(batch)).collect();
    Decision { outcomes, writes: state.into_writes() }
}

/// What the transaction would find after the batches that were decided.
struct State<'a, 'b> {
    locked: &'b Locked,
    /// The rows that were changed, as they are now.
    rows: HashMap<RowId<'a>, Option<&'a Row>>,
    owners: BTreeMap<HubDevice, Owner>,
    instances: BTreeMap<String, i32>,
    configuration: ConfigurationState,
    writes: Writes<'a>,
}

impl<'a> State<'a, '_> {
    fn decide(&mut self, batch: &'a Batch) -> Option<Vec<Outcome>> {
        if batch.fence.is_some_and(|token| !self.locked.leases.contains(&token)) {
            return None;
        }
        let mut instance = batch.instance.map_or(0, number);
        let mut outcomes: Vec<_> = batch.guards.iter().map(|guard| self.check(instance, guard)).collect();
        if outcomes.iter().any(|outcome| *outcome != Outcome::Applied) {
            outcomes.resize(outcomes.len() + batch.changes.len(), Outcome::LeftOut);
            return Some(outcomes);
        }
        let mut changes = Vec::with_capacity(batch.changes.len());
        for change in &batch.changes {
            changes.push(match (change.is_left_out(changes.last()), change.key.table) {
                (true, _) => Outcome::LeftOut,
                (false, Table::Instances) => self.put_instance(batch, change, &mut instance),
                (false, _) => self.change(batch, change, instance),
            });
        }
        if let Some((kind, day)) = batch.counted(&changes) {
            self.count(instance, day.number(), kind);
        }
        outcomes.extend(changes);
        Some(outcomes)
    }

    fn check(&mut self, instance: i32, guard: &'a RowGuard) -> Outcome {
        match guard {
            RowGuard::Row(key, version) => {
                let outcome = RowGuard::outcome(version.as_ref(), self.version((instance, key)));
                if version.is_none() && outcome == Outcome::Applied {
                    self.writes.absent.insert((instance, key));
                }
                outcome
            }
            RowGuard::Unchanged(table, since) => {
                let of = (*table != Table::Instances).then_some(instance);
                let is_unchanged =
                    self.configuration.is_unchanged(table.log_kind().code(), of, since.cast_signed());
                if is_unchanged { Outcome::Applied } else { Outcome::OtherVersion }
            }
        }
    }

    fn change(&mut self, batch: &'a Batch, change: &'a RowChange, instance: i32) -> Outcome {
        let row_id = (instance, &change.key);
        let found = self.version(row_id);
        let exists = found.is_some();
        if let Some(refusal) = change.refusal(found) {
            return refusal;
        }
        let row = change.row.as_ref();
        if row.is_none() && !exists {
            return Outcome::Applied; // nothing was there, and nothing changes
        }
        if change.key.table == Table::Registrations && !self.claim(instance, &change.key.id, row) {
            return Outcome::Taken;
        }
        self.rows.insert(row_id, row);
        self.log(batch, change, instance);
        Outcome::Applied
    }

    fn put_instance(&mut self, batch: &'a Batch, change: &'a RowChange, instance: &mut i32) -> Outcome {
        let stored = self.instances.get(&batch.scope).copied();
        if let Some(refusal) = change.refusal(stored.map(|_| "")) {
            return refusal;
        }
        let Some(row) = &change.row else { return Outcome::Applied };
        let next = self.instances.values().max().copied().unwrap_or_default() + 1;
        *instance = *self.instances.entry(batch.scope.clone()).or_insert(next);
        self.writes.instances.insert(&batch.scope, (*instance, &row.document));
        self.log(batch, change, *instance);
        Outcome::Applied
    }

    /// Returns the version of a row as it is now.
    fn version(&self, row_id: RowId<'_>) -> Option<&str> {
        match self.rows.get(&row_id) {
            Some(row) => row.map(|row| row.etag.as_str()),
            None => self.locked.version(row_id),
        }
    }

    /// Gives a registration the devices of its row, and takes the others that it had. Returns false, and changes nothing, when
    /// another registration has one of them.
    fn claim(&mut self, instance: i32, id: &str, row: Option<&Row>) -> bool {
        let devices: Vec<HubDevice> = match row.map(|row| &row.columns) {
            Some(Columns::Registration { hub_devices: (at, to), .. }) => {
                at.iter().chain(to).map(name).collect()
            }
            _ => Vec::new(),
        };
        let is_own = |owner: &Owner| owner.0 == instance && owner.1 == id;
        if devices.iter().any(|device| self.owners.get(device).is_some_and(|owner| !is_own(owner))) {
            return false;
        }
        self.owners.retain(|device, owner| !is_own(owner) || devices.contains(device));
        self.owners.extend(devices.into_iter().map(|device| (device, (instance, id.to_owned()))));
        true
    }

    fn count(&mut self, instance: i32, day: i32, kind: OperationKind) {
        *self.writes.usage.entry((instance, day, kind.name())).or_default() += 1;
    }

    fn log(&mut self, batch: &'a Batch, change: &'a RowChange, instance: i32) {
        let kind = change.key.table.log_kind();
        if kind.is_configuration() {
            let version = self.configuration.next;
            self.configuration.changed.insert((instance, kind.code()), version);
            self.writes.version = Some(version);
        }
        self.writes.log.push(Logged { instance, by: &batch.by, change });
    }

    /// Compares what is there now with what was there before.
    fn into_writes(self) -> Writes<'a> {
        let (mut writes, before) = (self.writes, self.locked);
        for (row_id, row) in self.rows {
            match (before.version(row_id).is_some(), row) {
                (false, Some(row)) => _ = writes.created.insert(row_id, row),
                (true, Some(row)) => _ = writes.replaced.insert(row_id, row),
                (true, None) => _ = writes.deleted.insert(row_id),
                (false, None) => {}
            }
        }
        // A row that was there is locked: no other transaction creates it before the end of this one.
        writes
            .absent
            .retain(|row_id| !writes.created.contains_key(row_id) && before.version(*row_id).is_none());
        let had = before.owners.iter().filter(|(device, owner)| self.owners.get(*device) != Some(*owner));
        writes.released = had.map(|(device, _)| device.clone()).collect();
        let has = self.owners.into_iter().filter(|(device, owner)| before.owners.get(device) != Some(owner));
        writes.claimed = has.collect();
        writes
    }
}

fn name(device: &HubDeviceRef) -> HubDevice {
    (device.hub.to_string(), device.device_id.to_string())
}

impl ConfigurationState {
    /// Whether no record of a kind was changed after a version, of an instance or of all.
    fn is_unchanged(&self, kind: u8, instance: Option<i32>, since: i64) -> bool {
        let is_known = since == self.version || self.noted.contains(&since);
        let is_meant =
            |(of, changed): &(i32, u8)| *changed == kind && instance.is_none_or(|instance| *of == instance);
        let is_later = |(key, version): (&(i32, u8), &i64)| is_meant(key) && *version > since;
        is_known && !self.changed.iter().any(is_later)
    }
}

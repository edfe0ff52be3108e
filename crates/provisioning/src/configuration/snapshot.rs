//! All instances at one moment.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use model::{HostName, IdScope, Instance};

use super::Configuration;
use crate::ports::{DamagedRecord, StoreError};

/// All instances of a store at one moment, each with its configuration.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    version: u64,
    served: HashMap<IdScope, (Arc<Instance>, Configuration)>,
    deleted: HashMap<IdScope, (Arc<Instance>, Configuration)>,
    set_aside: HashSet<IdScope>,
    damaged: HashMap<IdScope, DamagedRecord>,
    hosts: HashMap<HostName, IdScope>,
}

impl Snapshot {
    /// Creates a snapshot without instances. Whatever changes an instance or a configuration later has a higher version.
    pub fn new(version: u64) -> Self {
        Snapshot { version, ..Snapshot::default() }
    }

    /// Returns the version: that of the newest change in it.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Adds an instance, which is served unless its deletion was requested.
    pub fn add(&mut self, instance: Arc<Instance>, configuration: Configuration) {
        let scope = instance.id_scope.clone();
        if instance.deletion.is_some() {
            self.deleted.insert(scope, (instance, configuration));
            return;
        }
        self.hosts.extend(instance.service_hosts.iter().map(|host| (host.clone(), scope.clone())));
        self.served.insert(scope, (instance, configuration));
    }

    /// Adds an instance that cannot be read.
    pub fn add_damaged(&mut self, scope: IdScope, record: DamagedRecord) {
        self.damaged.insert(scope, record);
    }

    /// Adds the ID scope of an instance that exists and is not served.
    pub fn add_set_aside(&mut self, scope: IdScope) {
        self.set_aside.insert(scope);
    }

    /// Returns whether any instance has or had this ID scope, also one that is deleted, damaged or not served.
    pub fn is_used(&self, scope: &IdScope) -> bool {
        self.served.contains_key(scope)
            || self.deleted.contains_key(scope)
            || self.damaged.contains_key(scope)
            || self.set_aside.contains(scope)
    }

    /// Returns the instances whose deletion was requested, finished or not, by ID scope.
    pub fn deleted(&self) -> Vec<Arc<Instance>> {
        sorted(&self.deleted)
    }

    /// Returns the instance with this ID scope whose deletion was requested, and what is left of its configuration.
    pub fn deleted_instance(&self, scope: &IdScope) -> Option<&(Arc<Instance>, Configuration)> {
        self.deleted.get(scope)
    }

    /// Returns the instance with this ID scope. Fails if it exists and cannot be read.
    pub fn instance(&self, scope: &IdScope) -> Result<Option<&Arc<Instance>>, StoreError> {
        Ok(self.get(scope)?.map(|(instance, _)| instance))
    }

    /// Returns the instance whose service operations endpoint has this host name. Fails if there is none among those that can
    /// be read, and there are others.
    pub fn instance_by_host(&self, host: &HostName) -> Result<Option<&Arc<Instance>>, StoreError> {
        match (self.hosts.get(host), self.damaged.values().next()) {
            (Some(scope), _) => self.instance(scope),
            (None, Some(record)) => Err(StoreError::Damaged(record.clone())),
            (None, None) => Ok(None),
        }
    }

    /// Returns an instance that cannot be read, if there is one.
    pub fn damaged(&self) -> Option<&DamagedRecord> {
        self.damaged.values().next()
    }

    /// Returns all instances that can be read, by ID scope.
    pub fn instances(&self) -> Vec<Arc<Instance>> {
        sorted(&self.served)
    }

    /// Returns the configuration of an instance; an empty one if there is no such instance. Fails if the instance exists and
    /// cannot be read.
    pub fn configuration(&self, scope: &IdScope) -> Result<Configuration, StoreError> {
        Ok(self.get(scope)?.map(|(_, configuration)| configuration.clone()).unwrap_or_default())
    }

    fn get(&self, scope: &IdScope) -> Result<Option<&(Arc<Instance>, Configuration)>, StoreError> {
        match self.damaged.get(scope) {
            Some(record) => Err(StoreError::Damaged(record.clone())),
            None => Ok(self.served.get(scope)),
        }
    }
}

fn sorted(instances: &HashMap<IdScope, (Arc<Instance>, Configuration)>) -> Vec<Arc<Instance>> {
    let mut all: Vec<_> = instances.values().map(|(instance, _)| Arc::clone(instance)).collect();
    all.sort_by(|left, right| left.id_scope.cmp(&right.id_scope));
    all
}

//! All instances at one moment.

use std::{collections::HashMap, sync::Arc};

use model::{HostName, IdScope, Instance};

use super::Configuration;
use crate::ports::{DamagedRecord, StoreError};

/// All instances of a store at one moment, each with its configuration.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    version: u64,
    served: HashMap<IdScope, (Arc<Instance>, Configuration)>,
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

    /// Adds an instance that is served.
    pub fn add(&mut self, instance: Arc<Instance>, configuration: Configuration) {
        let scope = instance.id_scope.clone();
        self.hosts.extend(instance.service_hosts.iter().map(|host| (host.clone(), scope.clone())));
        self.served.insert(scope, (instance, configuration));
    }

    /// Adds an instance that cannot be read.
    pub fn add_damaged(&mut self, scope: IdScope, record: DamagedRecord) {
        self.damaged.insert(scope, record);
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

    /// Returns all instances that can be read, by ID scope.
    pub fn instances(&self) -> Vec<Arc<Instance>> {
        let mut all: Vec<_> = self.served.values().map(|(instance, _)| Arc::clone(instance)).collect();
        all.sort_by(|left, right| left.id_scope.cmp(&right.id_scope));
        all
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

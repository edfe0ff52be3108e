//! Instances as resources: operators create, change and delete them while the service runs.
//!
//! Every node serves an instance by the snapshot that each request reads, so that a new one is served at once, and a deleted
//! one not any more. What belonged to a deleted one is removed afterwards, by a job ([`Provisioning::delete_portion`]).

mod change;
mod deletion;
mod id_scope;
mod policies;

use std::sync::Arc;

use aws_lc_rs::hmac;
pub use deletion::{DeletionProgress, Portion};
use model::{
    Actor, Deletion, Etag, IdScope, IfMatch, Instance, InstanceDraft, LogOperation, ManagedBy, ResourceKey,
    ResourceName,
};

pub use change::{MAX_ACCESS_POLICIES, MAX_SERVICE_HOSTS, MAX_TAGS};

use crate::{Error, Provisioning, RecordKind, ports::InstanceUpdate};

/// How often a change is decided again because the instance was changed meanwhile.
const MAX_ATTEMPTS: usize = 8;

/// What became of a resource that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was created.
    Created,
    /// It was changed.
    Changed,
}

/// Why a name cannot be given to a new resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameProblem {
    /// It breaks the rules of names.
    Invalid,
    /// Another instance has it, or the host name that would be made of it.
    Taken,
}

/// Returns an error unless operators may change the instance.
pub(crate) fn reject_file_managed(instance: &Instance) -> Result<(), Error> {
    match instance.managed {
        ManagedBy::Operators => Ok(()),
        ManagedBy::File => Err(Error::Conflict(format!(
            "the instance {} is managed by the configuration file (managed = \"file\"): change it there",
            instance.id_scope
        ))),
    }
}

impl Provisioning {
    /// Returns the instance that this addresses.
    pub async fn resource(&self, key: &ResourceKey) -> Result<Option<Arc<Instance>>, Error> {
        Ok(self.instances().await?.into_iter().find(|instance| key.is_of(instance)))
    }

    /// Returns why a new resource cannot have this name, if so. `domain` is that of the host names of new instances.
    pub async fn name_problem(&self, name: &str, domain: Option<&str>) -> Result<Option<NameProblem>, Error> {
        if ResourceName::parse(name).is_err() {
            return Ok(Some(NameProblem::Invalid));
        }
        let instances = self.instances().await?;
        let host = domain.map(|domain| format!("{name}.{domain}"));
        let has_host = |it: &Arc<Instance>| {
            it.service_hosts
                .iter()
                .any(|own| host.as_ref().is_some_and(|host| own.as_str().eq_ignore_ascii_case(host)))
        };
        let is_taken = |it: &Arc<Instance>| it.resource_name().eq_ignore_ascii_case(name) || has_host(it);
        Ok(instances.iter().any(is_taken).then_some(NameProblem::Taken))
    }

    /// Returns the version of an instance: a MAC of all its settings, so that it need not be stored and reveals nothing of keys.
    pub fn resource_etag(&self, instance: &Instance) -> Result<Etag, Error> {
        let broken = |error: &dyn std::fmt::Display| Error::Broken(error.to_string());
        let text = serde_json::to_vec(instance).map_err(|error| broken(&error))?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, instance.operation_key.as_bytes());
        let tag = hmac::sign(&key, &[b"instance/", text.as_slice()].concat());
        let first = tag.as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Etag::parse(format!("{first:016x}")).map_err(|error| broken(&error))
    }

    /// Creates or changes a resource, of the version that is expected if any. A new one gets an ID scope that no instance ever
    /// had, and the host name `NAME.DOMAIN` unless the draft has others.
    pub async fn put_resource(
        &self,
        (key, if_match): (&ResourceKey, Option<&IfMatch>),
        by: &Actor,
        draft: &InstanceDraft,
        domain: Option<&str>,
    ) -> Result<(Instance, Written), Error> {
        if let Some(stored) = self.resource(key).await? {
            let next = self.change_resource(&stored.id_scope, by, LogOperation::InstanceUpdate, |current| {
                match if_match {
                    Some(IfMatch::Version(etag)) if *etag != self.resource_etag(current)? => {
                        Err(Error::PreconditionFailed(RecordKind::Instance))
                    }
                    None | Some(IfMatch::Any | IfMatch::Version(_)) => change::updated(current, draft, self),
                }
            });
            return Ok((next.await?, Written::Changed));
        }
        if if_match.is_some() {
            return Err(Error::NothingToReplace(RecordKind::Instance));
        }
        if self.name_problem(&key.name, domain).await? == Some(NameProblem::Taken) {
            return Err(Error::Conflict(format!("another instance has the name {}", key.name)));
        }
        for _ in 0..MAX_ATTEMPTS {
            let snapshot = self.store.snapshot().await?;
            let scope = id_scope::fresh(&*self.entropy, |scope| snapshot.is_used(scope))?;
            let created = change::created(key, scope, (draft, domain), self)?;
            self.reject_taken_hosts(&created).await?;
            let by = self.by(by, LogOperation::InstanceCreate);
            if self.store.create_resource(created.clone(), by).await? {
                return Ok((created, Written::Created));
            }
        }
        Err(Error::Busy)
    }

    /// Changes an instance as drafted.
    pub async fn update_resource(
        &self,
        instance: &Instance,
        by: &Actor,
        draft: &InstanceDraft,
    ) -> Result<Instance, Error> {
        let decide = |current: &Instance| change::updated(current, draft, self);
        self.change_resource(&instance.id_scope, by, LogOperation::InstanceUpdate, decide).await
    }

    /// Changes an instance as it is decided.
    pub(crate) async fn change_resource(
        &self,
        scope: &IdScope,
        by: &Actor,
        operation: LogOperation,
        decide: impl Fn(&Instance) -> Result<Instance, Error>,
    ) -> Result<Instance, Error> {
        for _ in 0..MAX_ATTEMPTS {
            let current = self.store.instance(scope).await?.ok_or(Error::NotFound(RecordKind::Instance))?;
            reject_file_managed(&current)?;
            let next = decide(&current)?;
            if next == *current {
                return Ok(next);
            }
            self.reject_taken_hosts(&next).await?;
            let update = InstanceUpdate::from(next.clone());
            if self.store.replace_instance(&current, update, self.by(by, operation)).await? {
                self.forget_changed_links(&current, &next);
                return Ok(next);
            }
        }
        Err(Error::Busy)
    }

    /// Begins the deletion of an instance: it is not served any more once this returns.
    pub async fn delete_resource(&self, instance: &Instance, by: &Actor) -> Result<Instance, Error> {
        let requested = self.clock.now();
        let deleted = |current: &Instance| {
            let deletion = Some(Deletion { requested, finished: None, is_verified: false });
            Ok(Instance { deletion, ..current.clone() })
        };
        self.change_resource(&instance.id_scope, by, LogOperation::InstanceDelete, deleted).await
    }

    fn forget_changed_links(&self, before: &Instance, after: &Instance) {
        for old in &before.linked_hubs {
            if after.linked_hub(&old.name).is_none_or(|new| new.endpoint != old.endpoint) {
                self.hubs.forget(old);
            }
        }
    }

    async fn reject_taken_hosts(&self, instance: &Instance) -> Result<(), Error> {
        let snapshot = self.store.snapshot().await?;
        for host in &instance.service_hosts {
            if snapshot.instance_by_host(host)?.is_some_and(|owner| owner.id_scope != instance.id_scope) {
                return Err(Error::Conflict(format!("another instance has the host name {host}")));
            }
        }
        Ok(())
    }
}

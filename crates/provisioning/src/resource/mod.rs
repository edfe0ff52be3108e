//! Instances as resources: operators create, change and delete them while the service runs.
//!
//! Every node serves an instance by the snapshot that each request reads, so that a new one is served at once, and a deleted
//! one not any more. What belonged to a deleted one is removed afterwards, by a job ([`Provisioning::delete_portion`]).

mod change;
mod deletion;
mod id_scope;
mod policies;

use std::sync::Arc;

pub use deletion::{DeletionProgress, Portion};
use model::{
    Actor, Attribution, Deletion, Etag, HostName, HubName, IdScope, IfMatch, Instance, InstanceDraft,
    LogOperation, ManagedBy, OperationKind, ResourceKey, ResourceName,
};

pub use policies::changes_policies;

use crate::{Error, Provisioning, RecordKind, ports::InstanceUpdate, record::keyed_etag};

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

/// What a write of a resource depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceCondition {
    /// Nothing.
    None,
    /// There is no such resource yet.
    IsNew,
    /// The resource exists in this version.
    Matches(IfMatch),
}

/// The host names that operators may give to instances.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostRules<'a> {
    /// The domain of the host names of new instances: `NAME.DOMAIN`.
    pub domain: Option<&'a str>,
    /// The host name of the management API, which no instance may have.
    pub reserved: Option<&'a HostName>,
}

impl HostRules<'_> {
    fn reject_reserved(&self, instance: &Instance) -> Result<(), Error> {
        match self.reserved.filter(|reserved| instance.service_hosts.contains(reserved)) {
            Some(host) => Err(Error::Conflict(format!("{host} is the host name of the management API"))),
            None => Ok(()),
        }
    }
}

/// Why a name cannot be given to a new resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameProblem {
    /// It breaks the rules of names.
    Invalid,
    /// Another instance has it, or the host name that would be made of it.
    Taken,
}

/// Returns a decision about an instance that refuses one that operators may not change.
pub(crate) fn unless_file_managed(
    decide: impl Fn(&Instance) -> Result<Instance, Error>,
) -> impl Fn(&Instance) -> Result<Instance, Error> {
    move |current| match current.managed {
        ManagedBy::Operators => decide(current),
        ManagedBy::File => Err(Error::Conflict(format!(
            "the instance {} is managed by the configuration file (managed = \"file\"): change it there",
            current.id_scope
        ))),
    }
}

impl Provisioning {
    /// Returns the instance that this addresses. Fails if it addresses two: a configuration file may have given one the name
    /// that operators gave another.
    pub async fn resource(&self, key: &ResourceKey) -> Result<Option<Arc<Instance>>, Error> {
        let mut addressed = self.instances().await?.into_iter().filter(|instance| key.is_of(instance));
        match (addressed.next(), addressed.next()) {
            (Some(one), Some(other)) => Err(Error::Conflict(format!(
                "the instances {} and {} are both named {}: rename one in the configuration file",
                one.id_scope, other.id_scope, key.name
            ))),
            (found, _) => Ok(found),
        }
    }

    /// Fails if there is an instance that cannot be read: any name may be its own.
    pub async fn reject_damaged_resources(&self) -> Result<(), Error> {
        match self.store.snapshot().await?.damaged() {
            Some(record) => Err(Error::Damaged(record.clone())),
            None => Ok(()),
        }
    }

    /// Returns why a new resource cannot have this name, if so.
    pub async fn name_problem(
        &self,
        name: &str,
        rules: &HostRules<'_>,
    ) -> Result<Option<NameProblem>, Error> {
        if ResourceName::parse(name).is_err() {
            return Ok(Some(NameProblem::Invalid));
        }
        let instances = self.instances().await?;
        let host = rules.domain.map(|domain| format!("{name}.{domain}"));
        let is_host =
            |own: &HostName| host.as_ref().is_some_and(|host| own.as_str().eq_ignore_ascii_case(host));
        let is_taken = |it: &Arc<Instance>| {
            it.resource_name().eq_ignore_ascii_case(name) || it.service_hosts.iter().any(is_host)
        };
        let is_taken = instances.iter().any(is_taken) || rules.reserved.is_some_and(is_host);
        Ok(is_taken.then_some(NameProblem::Taken))
    }

    /// Returns the version of an instance.
    pub fn resource_etag(&self, instance: &Instance) -> Result<Etag, Error> {
        keyed_etag(instance, "instance", instance)
    }

    /// Creates or changes a resource, of the version that is expected if any. A new one gets an ID scope that no instance ever
    /// had, and the host name `NAME.DOMAIN` unless the draft has others.
    pub async fn put_resource(
        &self,
        (key, condition): (&ResourceKey, &ResourceCondition),
        by: &Actor,
        draft: &InstanceDraft,
        rules: &HostRules<'_>,
    ) -> Result<(Instance, Written), Error> {
        let decide = |current: &Instance| {
            let is_met = match condition {
                ResourceCondition::IsNew => false,
                ResourceCondition::Matches(IfMatch::Version(etag)) => *etag == self.resource_etag(current)?,
                ResourceCondition::None | ResourceCondition::Matches(IfMatch::Any) => true,
            };
            if !is_met {
                return Err(Error::PreconditionFailed(RecordKind::Instance));
            }
            let next = change::updated(current, draft, &*self.entropy)?;
            rules.reject_reserved(&next)?;
            Ok(next)
        };
        for _ in 0..MAX_ATTEMPTS {
            // Another request may have created it since the last attempt.
            if let Some(stored) = self.resource(key).await? {
                let next =
                    self.change_resource(&stored.id_scope, by, LogOperation::InstanceUpdate, decide).await?;
                return Ok((next, Written::Changed));
            }
            if matches!(condition, ResourceCondition::Matches(_)) {
                return Err(Error::NothingToReplace(RecordKind::Instance));
            }
            if let Some(created) = self.create_resource(key, by, draft, rules).await? {
                return Ok((created, Written::Created));
            }
        }
        Err(Error::Busy)
    }

    /// Creates a resource; `None` if another instance was created at the same moment.
    async fn create_resource(
        &self,
        key: &ResourceKey,
        by: &Actor,
        draft: &InstanceDraft,
        rules: &HostRules<'_>,
    ) -> Result<Option<Instance>, Error> {
        if self.name_problem(&key.name, rules).await? == Some(NameProblem::Taken) {
            return Err(Error::Conflict(format!("another instance has the name {}", key.name)));
        }
        let snapshot = self.store.snapshot().await?;
        let scope = id_scope::fresh(&*self.entropy, |scope| snapshot.is_used(scope))?;
        let created = change::created(key, scope, (draft, rules.domain), &*self.entropy)?;
        rules.reject_reserved(&created)?;
        let by = self.by(by, LogOperation::InstanceCreate);
        let is_created = self.store.create_resource(created.clone(), by).await?;
        Ok(is_created.then_some(created))
    }

    /// Changes an instance as drafted.
    pub async fn update_resource(
        &self,
        instance: &Instance,
        by: &Actor,
        draft: &InstanceDraft,
    ) -> Result<Instance, Error> {
        let decide = |current: &Instance| change::updated(current, draft, &*self.entropy);
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
        let by = self.by(by, operation);
        let replaced = self.replace_instance(scope, by, None, unless_file_managed(decide)).await?;
        replaced.ok_or(Error::NotFound(RecordKind::Instance))
    }

    /// Replaces an instance by what is decided about it; `None` if there is none. The operation is counted, if one is given; otherwise an
    /// instance that stays as it is is not written.
    pub(crate) async fn replace_instance(
        &self,
        scope: &IdScope,
        by: Attribution,
        counted: Option<(OperationKind, Option<&HubName>)>,
        decide: impl Fn(&Instance) -> Result<Instance, Error>,
    ) -> Result<Option<Instance>, Error> {
        let operation = counted.map(|(kind, _)| (kind, self.clock.now().day()));
        let linked_hub = counted.and_then(|(_, hub)| hub);
        for _ in 0..MAX_ATTEMPTS {
            let Some(current) = self.store.instance(scope).await? else { return Ok(None) };
            let next = decide(&current)?;
            if counted.is_none() && next == *current {
                return Ok(Some(next));
            }
            let update = InstanceUpdate { next: next.clone(), linked_hub: linked_hub.cloned(), operation };
            if self.store.replace_instance(&current, update, by.clone()).await? {
                self.forget_changed_links(&current, &next);
                return Ok(Some(next));
            }
        }
        Err(Error::Busy)
    }

    /// Begins the deletion of an instance: it is not served any more once this returns. Its host names, keys and hubs go at once,
    /// so that nodes of a release that does not know deletions have nothing to serve it by, and change it no more.
    pub async fn delete_resource(&self, instance: &Instance, by: &Actor) -> Result<Instance, Error> {
        let requested = self.clock.now();
        let deleted = |current: &Instance| {
            let deletion = Deletion { requested, finished: None, is_verified: false };
            deletion::remains(current, deletion, &*self.entropy)
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
}

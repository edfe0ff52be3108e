//! Creating and replacing instances.

use std::sync::Arc;

use async_trait::async_trait;
use model::{Attribution, Day, HubName, Instance, OperationKind};

use super::Snapshot;
use crate::ports::{Change, Commit, Commits, Expect, Guard, Instances, Outcome, StoreError};

/// How often a write is decided again because an instance was changed meanwhile.
const MAX_ATTEMPTS: usize = 8;

/// Writes instances to whatever store.
///
/// A request is led to its instance by host name, so two instances must never share one. That is decided by a snapshot, and
/// the commit is guarded by its version.
#[async_trait]
pub trait InstanceWriter: Instances + Commits {
    /// Creates or replaces an instance. Fails if another has one of its host names, and if the stored one cannot be read.
    async fn put_instance(&self, instance: Instance, by: Attribution) -> Result<(), StoreError> {
        write(self, Stored::Any, &instance.into(), &by).await.map(drop)
    }

    /// Creates an instance. Returns false and changes nothing if there is one already; fails like
    /// [`put_instance`](Self::put_instance).
    async fn create_instance(&self, instance: Instance, by: Attribution) -> Result<bool, StoreError> {
        write(self, Stored::None, &instance.into(), &by).await
    }

    /// Creates an instance whose ID scope and resource name are new. Returns false and changes nothing if any instance has or
    /// had its ID scope, or another has its resource name; fails like [`put_instance`](Self::put_instance).
    async fn create_resource(&self, instance: Instance, by: Attribution) -> Result<bool, StoreError> {
        write(self, Stored::Never, &instance.into(), &by).await
    }

    /// Replaces an instance and counts the operation. Returns false and changes nothing unless the stored instance equals
    /// `expected`; fails like [`put_instance`](Self::put_instance).
    async fn replace_instance(
        &self,
        expected: &Instance,
        update: InstanceUpdate,
        by: Attribution,
    ) -> Result<bool, StoreError> {
        write(self, Stored::Equal(expected), &update, &by).await
    }
}

/// A write of an instance, and what is noted of it.
#[derive(Debug, Clone)]
pub struct InstanceUpdate {
    /// The instance from then on.
    pub next: Instance,
    /// The linked hub that is added, changed or removed, for the change log.
    pub linked_hub: Option<HubName>,
    /// The operation to count.
    pub operation: Option<(OperationKind, Day)>,
}

impl From<Instance> for InstanceUpdate {
    fn from(next: Instance) -> Self {
        InstanceUpdate { next, linked_hub: None, operation: None }
    }
}

impl<T: Instances + Commits + ?Sized> InstanceWriter for T {}

/// What must be stored for an instance to be written.
enum Stored<'a> {
    Any,
    None,
    /// Never, nor another instance with the resource name.
    Never,
    Equal(&'a Instance),
}

impl Stored<'_> {
    /// Whether the snapshot meets it, for an instance that is to be written.
    fn is_met_by(&self, snapshot: &Snapshot, next: &Instance) -> Result<bool, StoreError> {
        let scope = &next.id_scope;
        let stored = match snapshot.deleted_instance(scope) {
            Some((deleted, _)) => Some(deleted),
            None => snapshot.instance(scope)?,
        };
        Ok(match self {
            Stored::Any => true,
            Stored::None => stored.is_none(),
            Stored::Never => {
                let is_named_so =
                    |it: &Arc<Instance>| it.resource_name().eq_ignore_ascii_case(next.resource_name());
                !snapshot.is_used(scope) && !snapshot.instances().iter().any(is_named_so)
            }
            Stored::Equal(expected) => stored.map(Arc::as_ref) == Some(expected),
        })
    }
}

async fn write(
    store: &(impl Instances + Commits + ?Sized),
    expected: Stored<'_>,
    update: &InstanceUpdate,
    by: &Attribution,
) -> Result<bool, StoreError> {
    let InstanceUpdate { next, linked_hub, operation } = update;
    for _ in 0..MAX_ATTEMPTS {
        let snapshot = store.snapshot().await?;
        let next = with_own_hosts(next, &snapshot)?;
        reject_revival(next, &snapshot)?;
        if !expected.is_met_by(&snapshot, next)? {
            return Ok(false);
        }
        let put = Change::PutInstance { instance: Box::new(next.clone()), linked_hub: linked_hub.clone() };
        let commit = Commit {
            guards: vec![Guard::Instances { since: snapshot.version() }],
            changes: vec![(Expect::Anything, put)],
            operation: *operation,
            ..Commit::by(by.clone())
        };
        let outcomes = store.commit(&next.id_scope, commit).await?;
        if outcomes.iter().all(|outcome| *outcome == Outcome::Applied) {
            return Ok(true);
        }
    }
    Err(StoreError::Busy)
}

/// Fails if an instance is written whose deletion was requested: its ID scope is not used again.
fn reject_revival(instance: &Instance, snapshot: &Snapshot) -> Result<(), StoreError> {
    let scope = &instance.id_scope;
    if instance.deletion.is_none() && snapshot.deleted_instance(scope).is_some() {
        return Err(StoreError::Broken(format!(
            "the instance {scope} was deleted, and ID scopes are not used again"
        )));
    }
    Ok(())
}

/// Returns an instance if no other has one of its host names.
fn with_own_hosts<'i>(instance: &'i Instance, snapshot: &Snapshot) -> Result<&'i Instance, StoreError> {
    let taken = instance.service_hosts.iter().find_map(|host| {
        let owner = snapshot.instance_by_host(host).ok()??;
        (owner.id_scope != instance.id_scope).then_some(host)
    });
    taken.map_or(Ok(instance), |host| Err(StoreError::HostTaken(host.clone())))
}

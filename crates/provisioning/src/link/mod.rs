//! Reads, links, changes, checks and unlinks hubs for operators, while devices register.
//!
//! [`change`] decides what a draft becomes, as pure functions over the instance; the verbs here check the key at the hub, and replace
//! the instance by compare-and-set.
//!
//! A run whose hub is unlinked fails at its next try; the device asks again and gets another hub. What the unlinked hub has
//! applied already stays there.

mod change;

use std::sync::Arc;

use model::{
    Actor, Attribution, DefaultsDraft, Etag, HubName, IdScope, IfMatch, Instance, LinkDraft, LinkedHub,
    LogOperation, OperationKind,
};

pub use change::MAX_LINKED_HUBS;
pub(crate) use change::linked;

use crate::{
    Error, Provisioning, RecordKind,
    ports::{HubError, HubHealth, HubRight},
    resource::unless_file_managed,
};

/// A linked hub as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The stored link.
    pub hub: LinkedHub,
    /// Its version, which changes with any of its members.
    pub etag: Etag,
    /// Whether the configuration links this hub.
    pub configured: bool,
    /// The health of the hub.
    pub health: HubHealth,
}

/// Whether the rights of the key are checked at the hub before a link is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// They are. A key that lacks a right, and a hub that does not answer, are refused.
    First,
    /// They are not, for a hub that is down or does not exist yet.
    Skip,
}

impl Provisioning {
    /// Returns all linked hubs, in the order of their links. The call is not metered.
    pub fn linked_hubs(&self, instance: &Instance) -> Result<Vec<Link>, Error> {
        instance.linked_hubs.iter().map(|hub| self.link(instance, hub)).collect()
    }

    /// Returns one linked hub.
    pub fn linked_hub(&self, instance: &Instance, name: &HubName) -> Result<Link, Error> {
        let hub = instance.linked_hub(name).ok_or(Error::NotFound(RecordKind::LinkedHub))?;
        self.link(instance, hub)
    }

    /// Links a hub, or changes its link.
    pub async fn link_hub(
        &self,
        instance: &Instance,
        by: &Actor,
        (draft, check): (LinkDraft, Check),
        if_match: Option<IfMatch>,
    ) -> Result<Link, Error> {
        let decide = unless_file_managed(|current| linked(current, &draft, if_match.as_ref()));
        let planned = decide(&*self.current(&instance.id_scope).await?)?;
        let wanted = planned.linked_hub(&draft.name).ok_or_else(vanished)?;
        if check == Check::First {
            self.reject_lacking_key(&planned, wanted).await?;
        }
        let by = self.by(by, LogOperation::LinkedHubPut);
        let subject = (OperationKind::LinkedHubChange, Some(&draft.name));
        let next = self.change_instance(&instance.id_scope, by, subject, decide).await?;
        let linked = next.linked_hub(&draft.name).ok_or_else(vanished)?;
        self.link(&next, linked)
    }

    /// Unlinks a hub. Its devices stay there, and get another hub when they register again.
    pub async fn unlink_hub(
        &self,
        instance: &Instance,
        by: &Actor,
        name: &HubName,
        if_match: Option<IfMatch>,
    ) -> Result<(), Error> {
        let decide = unless_file_managed(|current| change::unlinked(current, name, if_match.as_ref()));
        let by = self.by(by, LogOperation::LinkedHubDelete);
        let subject = (OperationKind::LinkedHubChange, Some(name));
        self.change_instance(&instance.id_scope, by, subject, decide).await.map(drop)
    }

    /// Returns the rights that the key of a link lacks at its hub.
    pub async fn check_hub(&self, instance: &Instance, name: &HubName) -> Result<Vec<HubRight>, Error> {
        let hub = instance.linked_hub(name).ok_or(Error::NotFound(RecordKind::LinkedHub))?;
        self.lacking(hub).await
    }

    /// Sets how hubs are chosen for enrollments that name no policy. Returns the changed instance.
    pub async fn set_allocation_defaults(
        &self,
        instance: &Instance,
        by: &Actor,
        draft: DefaultsDraft,
    ) -> Result<Instance, Error> {
        let decide = unless_file_managed(|current| change::with_defaults(current, draft));
        let by = self.by(by, LogOperation::AllocationPolicyPut);
        let subject = (OperationKind::LinkedHubChange, None);
        self.change_instance(&instance.id_scope, by, subject, decide).await
    }

    fn link(&self, instance: &Instance, hub: &LinkedHub) -> Result<Link, Error> {
        Ok(Link {
            etag: change::etag(instance, hub)?,
            configured: instance.configured.linked_hub(&hub.name).is_some(),
            health: self.hubs.connector(hub).map(|connector| connector.health()).unwrap_or_default(),
            hub: hub.clone(),
        })
    }

    /// Rejects a link whose key lacks a right. The connector that was created for the check is dropped, unless a stored link has it.
    async fn reject_lacking_key(&self, planned: &Instance, wanted: &LinkedHub) -> Result<(), Error> {
        let error = match self.lacking(wanted).await {
            Ok(lacking) if lacking.is_empty() => return Ok(()),
            Ok(lacking) => {
                let lacking: Vec<String> = lacking.iter().map(ToString::to_string).collect();
                Error::Invalid(format!("{}: the key is not accepted for {}", wanted.name, lacking.join(", ")))
            }
            Err(error) => error,
        };
        let stored = self.current(&planned.id_scope).await?;
        if stored.linked_hub(&wanted.name).is_none_or(|stored| stored.endpoint != wanted.endpoint) {
            self.hubs.forget(wanted);
        }
        Err(error)
    }

    async fn lacking(&self, hub: &LinkedHub) -> Result<Vec<HubRight>, Error> {
        let connector = self.hubs.connector(hub);
        let connector = connector.ok_or_else(|| {
            Error::Invalid(format!("{} is not an embedded hub of this process any more", hub.name))
        })?;
        connector.lacking().await.map_err(|error| match error {
            HubError::Unavailable(delay) => Error::Invalid(format!("the hub cannot be asked: {delay}")),
            HubError::Occupied(reason) | HubError::Full(reason) | HubError::Refused(reason) => {
                Error::Invalid(format!("the hub refuses the check: {reason}"))
            }
        })
    }

    async fn current(&self, scope: &IdScope) -> Result<Arc<Instance>, Error> {
        self.store.instance(scope).await?.ok_or_else(|| gone(scope))
    }

    /// Changes an instance as it is decided, and counts the operation.
    pub(crate) async fn change_instance(
        &self,
        scope: &IdScope,
        by: Attribution,
        subject: (OperationKind, Option<&HubName>),
        decide: impl Fn(&Instance) -> Result<Instance, Error>,
    ) -> Result<Instance, Error> {
        self.replace_instance(scope, by, Some(subject), decide).await?.ok_or_else(|| gone(scope))
    }
}

fn gone(scope: &IdScope) -> Error {
    Error::Broken(format!("instance {scope} is gone"))
}

fn vanished() -> Error {
    Error::Broken("a link is missing in the instance that it was added to".into())
}

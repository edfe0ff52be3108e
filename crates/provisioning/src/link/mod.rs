//! What an operator does with linked hubs: look at them, link, change, check and unlink them, while devices register.
//!
//! What a draft becomes is decided in [`change`], plain functions over the instance; the verbs here ask the hub whether
//! the key will do, and put the instance in place of the one that was looked at.
//!
//! A registration that is under way to a hub that is unlinked fails when it is next tried, with 400209; the device asks
//! again and gets another hub. What the hub was told already stays there.

mod change;

use std::sync::Arc;

use model::{
    Actor, Attribution, DefaultsDraft, Etag, HubName, IdScope, IfMatch, Instance, LinkDraft, LinkedHub,
    LogOperation, OperationKind,
};

pub use change::MAX_LINKED_HUBS;

use crate::{
    Error, Provisioning, RecordKind,
    ports::{HubError, HubHealth, HubRight},
};

/// How often a change is made anew because the instance changed at the same moment.
const MAX_ATTEMPTS: usize = 8;

/// A linked hub as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What is stored.
    pub hub: LinkedHub,
    /// Its version: another whenever anything of it is another.
    pub etag: Etag,
    /// Whether the configuration links this hub.
    pub configured: bool,
    /// How it has answered lately.
    pub health: HubHealth,
}

/// Whether the hub is asked, before anything is stored, if the key may do what is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// It is; a key that lacks a right, and a hub that does not answer, are refused.
    First,
    /// It is not: for a hub that is down, or not there yet.
    Skip,
}

impl Provisioning {
    /// All linked hubs, in the order in which they were linked. Looking costs nothing.
    pub fn linked_hubs(&self, instance: &Instance) -> Result<Vec<Link>, Error> {
        instance.linked_hubs.iter().map(|hub| self.link(instance, hub)).collect()
    }

    /// One linked hub.
    pub fn linked_hub(&self, instance: &Instance, name: &HubName) -> Result<Link, Error> {
        let hub = instance.linked_hub(name).ok_or(Error::NotFound(RecordKind::LinkedHub))?;
        self.link(instance, hub)
    }

    /// Links a hub, or changes a link.
    pub async fn link_hub(
        &self,
        instance: &Instance,
        by: &Actor,
        (draft, check): (LinkDraft, Check),
        if_match: Option<IfMatch>,
    ) -> Result<Link, Error> {
        let decide = |current: &Instance| change::linked(current, &draft, if_match.as_ref());
        let planned = decide(&*self.current(&instance.id_scope).await?)?;
        let wanted = planned.linked_hub(&draft.name).ok_or_else(vanished)?;
        if check == Check::First {
            self.check_first(&planned, wanted).await?;
        }
        let by = self.by(by, LogOperation::LinkedHubPut);
        let (before, next) =
            self.change_instance(&instance.id_scope, by, OperationKind::LinkedHubChange, decide).await?;
        let linked = next.linked_hub(&draft.name).ok_or_else(vanished)?;
        if let Some(old) = before.linked_hub(&draft.name).filter(|old| old.endpoint != linked.endpoint) {
            self.hubs.forget(old);
        }
        self.link(&next, linked)
    }

    /// Unlinks a hub. Its devices stay on it; those that register again get another.
    pub async fn unlink_hub(
        &self,
        instance: &Instance,
        by: &Actor,
        name: &HubName,
        if_match: Option<IfMatch>,
    ) -> Result<(), Error> {
        let decide = |current: &Instance| change::unlinked(current, name, if_match.as_ref());
        let by = self.by(by, LogOperation::LinkedHubDelete);
        let (before, _) =
            self.change_instance(&instance.id_scope, by, OperationKind::LinkedHubChange, decide).await?;
        if let Some(old) = before.linked_hub(name) {
            self.hubs.forget(old);
        }
        Ok(())
    }

    /// Asks a linked hub which rights the link's key lacks.
    pub async fn check_hub(&self, instance: &Instance, name: &HubName) -> Result<Vec<HubRight>, Error> {
        let hub = instance.linked_hub(name).ok_or(Error::NotFound(RecordKind::LinkedHub))?;
        self.lacking(hub).await
    }

    /// Sets how hubs are chosen where an enrollment does not say. Returns the instance as it is now.
    pub async fn set_allocation_defaults(
        &self,
        instance: &Instance,
        by: &Actor,
        draft: DefaultsDraft,
    ) -> Result<Instance, Error> {
        let decide = |current: &Instance| change::with_defaults(current, draft);
        let by = self.by(by, LogOperation::AllocationPolicyPut);
        Ok(self.change_instance(&instance.id_scope, by, OperationKind::LinkedHubChange, decide).await?.1)
    }

    fn link(&self, instance: &Instance, hub: &LinkedHub) -> Result<Link, Error> {
        Ok(Link {
            etag: change::etag(instance, hub)?,
            configured: instance.configured.linked_hub(&hub.name).is_some(),
            health: self.hubs.connector(hub).map(|connector| connector.health()).unwrap_or_default(),
            hub: hub.clone(),
        })
    }

    /// Refuses a link whose key lacks something; what was made to ask the hub goes again, unless it is in use.
    async fn check_first(&self, planned: &Instance, wanted: &LinkedHub) -> Result<(), Error> {
        let verdict = match self.lacking(wanted).await {
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
        Err(verdict)
    }

    async fn lacking(&self, hub: &LinkedHub) -> Result<Vec<HubRight>, Error> {
        let connector = self.hubs.connector(hub);
        let connector = connector
            .ok_or_else(|| Error::Invalid(format!("{} is no hub of this process any more", hub.name)))?;
        connector.lacking().await.map_err(|error| match error {
            HubError::Unavailable(delay) => Error::Invalid(format!("the hub cannot be asked: {delay}")),
            HubError::Occupied(reason) | HubError::Full(reason) | HubError::Refused(reason) => {
                Error::Invalid(format!("the hub does not do what is asked: {reason}"))
            }
        })
    }

    async fn current(&self, scope: &IdScope) -> Result<Arc<Instance>, Error> {
        self.store.instance(scope).await?.ok_or_else(|| Error::Broken(format!("instance {scope} is gone")))
    }

    /// Puts what is decided in place of the instance it was decided on, and counts the operation. Returns both.
    pub(crate) async fn change_instance(
        &self,
        scope: &IdScope,
        by: Attribution,
        kind: OperationKind,
        decide: impl Fn(&Instance) -> Result<Instance, Error>,
    ) -> Result<(Arc<Instance>, Instance), Error> {
        for _ in 0..MAX_ATTEMPTS {
            let current = self.current(scope).await?;
            let next = decide(&current)?;
            let operation = Some((kind, self.clock.now().day()));
            if self.store.replace_instance(&current, next.clone(), operation, by.clone()).await? {
                return Ok((current, next));
            }
        }
        Err(Error::Busy)
    }
}

fn vanished() -> Error {
    Error::Broken("a link is not where it was put".into())
}

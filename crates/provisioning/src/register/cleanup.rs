//! Removing what devices left at hubs where they do not live.
//!
//! A device may come back to a hub while it is still to be removed from there. Then its order deletes the record of the
//! clean-up before the hub is told, and telling the hub gives the device a new version. So the device is looked at first,
//! then the record, and only the version that was looked at is removed: either the record is gone, or no order has
//! reached the hub since the look.

use std::time::Duration;

use model::{Cleanup, HubName, IdScope, Instance, OperationKind, Timestamp};

use super::pauses;
use crate::{
    Error, Provisioning,
    ports::{Change, Commit, Delay, Expect, HubDevice, HubError, Removed},
};

/// What became of a clean-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cleaned {
    /// The device is not there any more.
    Removed,
    /// It was not there.
    NotThere,
    /// What is there was put there, or changed, by somebody else: it stays.
    LeftAlone,
    /// The device is to live there again.
    Needless,
    /// It must be tried again after a pause. The text is for operators.
    Later(Duration, String),
}

impl Provisioning {
    /// Returns the cleanups at a hub that are due, the longest due first, at most `at_most`; none while they are held.
    pub async fn cleanups_due(
        &self,
        instance: &Instance,
        hub: &HubName,
        at_most: usize,
    ) -> Result<Vec<Cleanup>, Error> {
        if instance.cleanups_held.is_some() {
            return Ok(Vec::new());
        }
        Ok(self.store.cleanups_due(&instance.id_scope, hub, self.clock.now(), at_most).await?.items)
    }

    /// Lets the cleanups of an instance go on that were held because its database was restored or copied.
    pub async fn confirm_cleanups(&self, instance: &Instance) -> Result<(), Error> {
        if instance.cleanups_held.is_none() {
            return Ok(());
        }
        let confirmed = |current: &Instance| Ok(Instance { cleanups_held: None, ..current.clone() });
        self.change_instance(&instance.id_scope, OperationKind::RegistrationCancel, confirmed).await?;
        Ok(())
    }

    /// Removes what is to be removed. May be repeated. Not to be called while a run of the same registration is under
    /// way.
    pub async fn clean_up(&self, scope: &IdScope, cleanup: &Cleanup) -> Result<Cleaned, Error> {
        let cleaned = match self.remove(scope, cleanup).await? {
            Ok(cleaned) => cleaned,
            Err(HubError::Unavailable(delay)) => self.postpone(scope, cleanup, delay).await?,
            Err(HubError::Full(reason) | HubError::Refused(reason)) => {
                self.postpone(scope, cleanup, reason.into()).await?
            }
        };
        match cleaned {
            Cleaned::Removed | Cleaned::NotThere | Cleaned::LeftAlone => {
                let change = Change::DeleteCleanup(cleanup.trace.place.clone());
                self.change_cleanup(scope, cleanup, change).await?;
            }
            Cleaned::Needless | Cleaned::Later(..) => {}
        }
        Ok(cleaned)
    }

    async fn remove(&self, scope: &IdScope, cleanup: &Cleanup) -> Result<Result<Cleaned, HubError>, Error> {
        let place = &cleanup.trace.place;
        let instance = self.store.instance(scope).await?;
        let hub = instance.as_ref().and_then(|instance| instance.linked_hub(&place.hub));
        let Some(connector) = hub.and_then(|hub| self.hubs.connector(hub)) else {
            return Ok(Err(HubError::Unavailable(
                format!("{} is not linked to the service", place.hub).into(),
            )));
        };
        let found = match connector.find_device(&place.device_id).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Ok(Cleaned::NotThere)),
            Err(error) => return Ok(Err(error)),
        };
        if !is_ours(&found, cleanup) {
            return Ok(Ok(Cleaned::LeftAlone));
        }
        let stored = self.store.cleanup(scope, place).await?;
        if stored.is_none_or(|stored| stored.record.etag != cleanup.record.etag) {
            return Ok(Ok(Cleaned::Needless));
        }
        Ok(match connector.remove_device(&place.device_id, &found.version).await {
            Ok(Removed::Gone) => Ok(Cleaned::Removed),
            Ok(Removed::Changed) => {
                Err(HubError::Unavailable(format!("{}: the device was just changed", place.hub).into()))
            }
            Err(error) => Err(error),
        })
    }

    async fn postpone(&self, scope: &IdScope, cleanup: &Cleanup, delay: Delay) -> Result<Cleaned, Error> {
        let now: Timestamp = self.clock.now();
        let reason = delay.reason.clone();
        let (tries, pause) = pauses::after(&cleanup.tries, now, pauses::FOR_NOBODY, delay);
        let postponed = Cleanup { tries, ..cleanup.clone() };
        self.change_cleanup(scope, cleanup, Change::PutCleanup(Box::new(postponed))).await?;
        Ok(Cleaned::Later(pause, reason))
    }

    /// Unless it is another one by now: then the place is taken again, or was left again.
    async fn change_cleanup(&self, scope: &IdScope, cleanup: &Cleanup, change: Change) -> Result<(), Error> {
        let expect = Expect::Version(cleanup.record.etag.clone());
        let commit = Commit { changes: vec![(expect, change)], ..Commit::default() };
        self.store.commit(scope, commit).await?;
        Ok(())
    }
}

fn is_ours(found: &HubDevice, cleanup: &Cleanup) -> bool {
    found.credentials.as_ref().is_some_and(|credentials| cleanup.trace.may_be(credentials))
}

//! Removing what devices left at hubs where they do not live.
//!
//! A device may come back to a hub while it is still to be removed from there. Then its order deletes the record of the
//! clean-up before the hub is told, and telling the hub gives the device a new version. So the device is looked at first,
//! then the record, and only the version that was looked at is removed: either the record is gone, or no order has
//! reached the hub since the look.
//!
//! That holds for one database that goes on. One that was restored or copied knows nothing of the orders since, and other
//! clients of a hub may delete a device and create it anew. So the cleanup names the device that it is owed for by the
//! generation that the hub gave it, and another one of the same name is never removed, even with the same credentials and
//! version. Without a generation on both sides, nothing proves that a device is the one: the cleanup is held until an
//! operator confirms it. That is so for orders that were given up and whose answers were lost, for records of earlier
//! versions, and for hubs that name no generations. Two cases are safe without: a device that is not there, and one
//! with credentials that no order of the cleanup ever gave it.

use std::time::Duration;

use model::{
    Actor, Attribution, Cleanup, DeviceSpec, Generation, HubName, IdScope, Instance, Job, LogOperation,
    OperationKind, Residue, Timestamp, Tries,
};

use super::backoff;
use crate::{
    Error, Provisioning,
    ports::{Change, Commit, Delay, Expect, HubDevice, HubError, PageRequest, Removed, StoreError},
    record,
};

/// The outcome of one try of a cleanup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CleanupOutcome {
    /// The device was removed.
    Removed,
    /// The hub did not have the device.
    Absent,
    /// Another client created or changed the device at the hub, so it stays.
    Foreign,
    /// The device is assigned to that hub again, so it stays.
    Superseded,
    /// The cleanup must be tried again after this back-off. The text is for operators.
    Retry(Duration, String),
    /// Nothing proves that the device at the hub is the one to remove: an operator must confirm the cleanup. It is tried
    /// again, for the device may go by other means.
    Held {
        /// Whether this try was the first to find that.
        is_new: bool,
    },
}

/// Whether a device that was found is the one that a cleanup is owed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    /// It is.
    Owed,
    /// It is another one.
    Other,
    /// Nothing proves either.
    Unproven,
}

/// Cleanups that are confirmed in one commit.
const AT_ONCE: usize = 100;

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

    /// Lets the cleanups of an instance go on that are held: those owed now for devices whose generation is not known, and
    /// all of them where the database was restored or copied.
    pub async fn confirm_cleanups(&self, instance: &Instance, by: &Actor) -> Result<(), Error> {
        let by = self.by(by, LogOperation::CleanupConfirm);
        let mut request = PageRequest { after: None, limit: AT_ONCE };
        loop {
            let page = self.store.cleanups(&instance.id_scope, request).await?;
            let held = page.items.into_iter().filter(|cleanup| !cleanup.confirmed);
            self.confirm_all(&instance.id_scope, &by, held.collect()).await?;
            let Some(next) = page.next else { break };
            request = PageRequest { after: Some(next), limit: AT_ONCE };
        }
        if instance.cleanups_held.is_some() {
            let confirmed = |current: &Instance| Ok(Instance { cleanups_held: None, ..current.clone() });
            self.change_instance(&instance.id_scope, by, OperationKind::RegistrationCancel, confirmed)
                .await?;
        }
        Ok(())
    }

    /// Those that have changed since they were read are done, or owed for another device.
    async fn confirm_all(
        &self,
        scope: &IdScope,
        by: &Attribution,
        cleanups: Vec<Cleanup>,
    ) -> Result<(), Error> {
        if cleanups.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let confirmed = |cleanup: Cleanup| {
            let expect = Expect::Version(cleanup.record.etag.clone());
            // Another version, so that a look that is under way does not write the old state back.
            let record = record::fresh(&*self.entropy, Some(&cleanup.record), now)?;
            let confirmed = Cleanup { confirmed: true, tries: Tries::default(), record, ..cleanup };
            Ok((expect, Change::PutCleanup(Box::new(confirmed))))
        };
        let changes = cleanups.into_iter().map(confirmed).collect::<Result<_, Error>>()?;
        let operation = Some((OperationKind::RegistrationCancel, now.day()));
        let commit = Commit { changes, operation, ..Commit::by(by.clone()) };
        self.store.commit(scope, commit).await?;
        Ok(())
    }

    /// Names the device in the cleanup of an order that was given up before the hub answered it: the answer says which one
    /// the hub made of it.
    pub(super) async fn name_left(
        &self,
        scope: &IdScope,
        spec: &DeviceSpec,
        generation: Option<Generation>,
    ) -> Result<(), Error> {
        let owed = match self.store.cleanup(scope, &spec.hub_device()).await {
            Err(StoreError::Damaged(_)) => None,
            owed => owed?,
        };
        let is_unnamed =
            |owed: &Cleanup| owed.residue.generation.is_none() && owed.residue.specs.contains(&spec.digest());
        let Some(owed) = owed.filter(|owed| generation.is_some() && is_unnamed(owed)) else { return Ok(()) };
        let record = record::fresh(&*self.entropy, Some(&owed.record), self.clock.now())?;
        let residue = Residue { generation, ..owed.residue.clone() };
        let named = Cleanup { residue, tries: Tries::default(), record, ..owed.clone() };
        self.change_cleanup(scope, &owed, Change::PutCleanup(Box::new(named))).await
    }

    /// Removes what is to be removed. May be repeated. Not to be called while a run of the same registration is under
    /// way.
    pub async fn clean_up(&self, scope: &IdScope, cleanup: &Cleanup) -> Result<CleanupOutcome, Error> {
        let cleaned = match self.remove(scope, cleanup).await? {
            Ok(cleaned) => cleaned,
            Err(HubError::Unavailable(delay)) => self.postpone(scope, cleanup, delay).await?,
            Err(HubError::Occupied(reason) | HubError::Full(reason) | HubError::Refused(reason)) => {
                self.postpone(scope, cleanup, reason.into()).await?
            }
        };
        match cleaned {
            CleanupOutcome::Removed | CleanupOutcome::Absent | CleanupOutcome::Foreign => {
                let change = Change::DeleteCleanup(cleanup.residue.hub_device.clone());
                self.change_cleanup(scope, cleanup, change).await?;
            }
            CleanupOutcome::Held { .. } => {
                self.postpone(scope, cleanup, UNPROVEN.into()).await?;
            }
            CleanupOutcome::Superseded | CleanupOutcome::Retry(..) => {}
        }
        Ok(cleaned)
    }

    async fn remove(
        &self,
        scope: &IdScope,
        cleanup: &Cleanup,
    ) -> Result<Result<CleanupOutcome, HubError>, Error> {
        let place = &cleanup.residue.hub_device;
        let instance = self.store.instance(scope).await?;
        let hub = instance.as_ref().and_then(|instance| instance.linked_hub(&place.hub));
        let Some(connector) = hub.and_then(|hub| self.hubs.connector(hub)) else {
            return Ok(Err(HubError::Unavailable(
                format!("{} is not linked to the service", place.hub).into(),
            )));
        };
        let found = match connector.find_device(&place.device_id).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Ok(CleanupOutcome::Absent)),
            Err(error) => return Ok(Err(error)),
        };
        let stored = self.store.cleanup(scope, place).await?;
        if stored.is_none_or(|stored| stored.record.etag != cleanup.record.etag) {
            return Ok(Ok(CleanupOutcome::Superseded));
        }
        match compare(&found, cleanup) {
            Match::Owed => {}
            Match::Other => return Ok(Ok(CleanupOutcome::Foreign)),
            Match::Unproven => {
                let is_new = cleanup.tries.reason.as_deref() != Some(UNPROVEN);
                return Ok(Ok(CleanupOutcome::Held { is_new }));
            }
        }
        Ok(match connector.remove_device(&place.device_id, &found.version).await {
            Ok(Removed::Gone) => Ok(CleanupOutcome::Removed),
            Ok(Removed::Changed) => {
                Err(HubError::Unavailable(format!("{}: the device was just changed", place.hub).into()))
            }
            Err(error) => Err(error),
        })
    }

    async fn postpone(
        &self,
        scope: &IdScope,
        cleanup: &Cleanup,
        delay: Delay,
    ) -> Result<CleanupOutcome, Error> {
        let now: Timestamp = self.clock.now();
        let reason = delay.reason.clone();
        let (tries, pause) = backoff::after(&cleanup.tries, now, backoff::MAX_CLEANUP_BACKOFF, delay);
        let postponed = Cleanup { tries, ..cleanup.clone() };
        self.change_cleanup(scope, cleanup, Change::PutCleanup(Box::new(postponed))).await?;
        Ok(CleanupOutcome::Retry(pause, reason))
    }

    /// Unless it is another one by now: then the place is taken again, or was left again.
    async fn change_cleanup(&self, scope: &IdScope, cleanup: &Cleanup, change: Change) -> Result<(), Error> {
        let expect = Expect::Version(cleanup.record.etag.clone());
        let by = self.by_job(Job::Cleanups, LogOperation::CleanupTry);
        let commit = Commit { changes: vec![(expect, change)], ..Commit::by(by) };
        self.store.commit(scope, commit).await?;
        Ok(())
    }
}

/// What operators read of a cleanup that is held.
const UNPROVEN: &str =
    "the device there may be another one of the same name: this waits until it is confirmed";

fn compare(found: &HubDevice, cleanup: &Cleanup) -> Match {
    let is_ordered = found.credentials.as_ref().is_some_and(|it| cleanup.residue.may_have(it));
    match (&cleanup.residue.generation, &found.generation) {
        _ if !is_ordered => Match::Other,
        (Some(owed), Some(found)) if owed == found => Match::Owed,
        // No operator confirms the removal of a device that is known to be another one.
        (Some(_), Some(_)) => Match::Other,
        (None, _) | (_, None) if cleanup.confirmed => Match::Owed,
        (None, _) | (_, None) => Match::Unproven,
    }
}

#[cfg(test)]
mod tests {
    use model::{Carried, HubCredentials};
    use testkit::sample;

    use super::*;
    use crate::ports::HubVersion;

    #[test]
    fn a_cleanup_is_owed_for_one_device() {
        let generation = |text: Option<&str>| text.map(|text| Generation::parse(text).unwrap());
        let (owed, ordered) = (sample::cleanup("a.hub", "dev"), sample::device_spec("dev").credentials);
        let foreign = HubCredentials::SymmetricKeys(sample::keys(90));
        for (owed_for, confirmed, credentials, found, expected) in [
            (Some("1"), false, Some(&ordered), Some("1"), Match::Owed),
            (Some("1"), false, Some(&ordered), Some("2"), Match::Other),
            (Some("1"), true, Some(&ordered), Some("2"), Match::Other),
            (Some("1"), false, Some(&ordered), None, Match::Unproven),
            (Some("1"), true, Some(&ordered), None, Match::Owed),
            (None, false, Some(&ordered), Some("1"), Match::Unproven),
            (None, true, Some(&ordered), Some("1"), Match::Owed),
            (None, false, Some(&ordered), None, Match::Unproven),
            (None, true, Some(&ordered), None, Match::Owed),
            (Some("1"), true, Some(&foreign), Some("1"), Match::Other),
            (None, false, Some(&foreign), None, Match::Other),
            (None, true, None, None, Match::Other),
        ] {
            let residue = Residue { generation: generation(owed_for), ..owed.residue.clone() };
            let cleanup = Cleanup { residue, confirmed, ..owed.clone() };
            let found = HubDevice {
                version: HubVersion("1".to_owned()),
                generation: generation(found),
                credentials: credentials.cloned(),
                carried: Carried::default(),
            };
            assert_eq!(compare(&found, &cleanup), expected, "{owed_for:?} {confirmed} {found:?}");
        }
    }
}

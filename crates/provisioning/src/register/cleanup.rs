//! Removes devices from hubs where they do not belong.
//!
//! A device may be assigned to a hub again while a cleanup there is pending. The commit of that assignment deletes the cleanup
//! before the hub is called, and the call gives the device a new version. So a cleanup reads first the device, then its own
//! record, and removes only the version that it read: either the record is gone, or no device spec has reached the hub since.
//!
//! A database that was restored or copied lacks the assignments since, and other clients of a hub may delete a device and
//! create it anew. So a cleanup names the generation of its device, and never removes another one of the same ID, even with
//! the same credentials and version. If the cleanup or the hub names no generation, nothing proves that the device is the
//! one, and the cleanup is held until an operator confirms it: after a run that was abandoned before the hub answered, for
//! records of earlier versions, and for hubs that name no generations. Two cases need no generation: the device is absent, or
//! it has credentials that none of the specs gave it.

use std::time::Duration;

use model::{
    Actor, Attribution, Cleanup, DeviceSpec, Generation, HubName, IdScope, Instance, Job, LeaseToken,
    LogOperation, OperationKind, Residue, Timestamp, Tries,
};

use super::{AssignmentRun, backoff};
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

/// Whether a device that was found is the one that a cleanup must remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    /// It is.
    Same,
    /// It is another device.
    Other,
    /// Nothing proves either.
    Unproven,
}

/// The instance of a cleanup, and the lease under which it is changed.
#[derive(Clone, Copy)]
struct Fenced<'a> {
    scope: &'a IdScope,
    fence: Option<LeaseToken>,
}

/// How many cleanups are confirmed in one commit.
const CONFIRMED_AT_ONCE: usize = 100;

/// Why a cleanup is held, for operators.
const UNPROVEN: &str =
    "the device there may be another one of the same name: this waits until it is confirmed";

impl Provisioning {
    /// Returns at most `at_most` cleanups at a hub that are due, the longest due first; none while the instance holds them.
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

    /// Confirms the cleanups of an instance that are held: those of devices whose generation is unknown, and all of them if the
    /// database was restored or copied.
    pub async fn confirm_cleanups(&self, instance: &Instance, by: &Actor) -> Result<(), Error> {
        let by = self.by(by, LogOperation::CleanupConfirm);
        let mut request = PageRequest { after: None, limit: CONFIRMED_AT_ONCE };
        loop {
            let page = self.store.cleanups(&instance.id_scope, request).await?;
            let held = page.items.into_iter().filter(|cleanup| !cleanup.confirmed);
            self.confirm_all(&instance.id_scope, &by, held.collect()).await?;
            let Some(next) = page.next else { break };
            request = PageRequest { after: Some(next), limit: CONFIRMED_AT_ONCE };
        }
        if instance.cleanups_held.is_some() {
            let confirmed = |current: &Instance| Ok(Instance { cleanups_held: None, ..current.clone() });
            let subject = (OperationKind::RegistrationCancel, None);
            self.change_instance(&instance.id_scope, by, subject, confirmed).await?;
        }
        Ok(())
    }

    /// Confirms cleanups, except those that have changed since they were read: they are done, or concern another device.
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
            // A new version, so that a try that is under way does not write the old state back.
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

    /// Adds the generation that the hub answered to the cleanup of a run that was abandoned before this answer.
    pub(super) async fn name_residue(
        &self,
        run: &AssignmentRun,
        spec: &DeviceSpec,
        generation: Option<Generation>,
    ) -> Result<(), Error> {
        let cleanup = match self.store.cleanup(&run.scope, &spec.hub_device()).await {
            Err(StoreError::Damaged(_)) => None,
            cleanup => cleanup?,
        };
        let is_unnamed =
            |it: &Cleanup| it.residue.generation.is_none() && it.residue.specs.contains(&spec.digest());
        let Some(cleanup) = cleanup.filter(|it| generation.is_some() && is_unnamed(it)) else {
            return Ok(());
        };
        let record = record::fresh(&*self.entropy, Some(&cleanup.record), self.clock.now())?;
        let residue = Residue { generation, ..cleanup.residue.clone() };
        let named = Cleanup { residue, tries: Tries::default(), record, ..cleanup.clone() };
        let under = Fenced { scope: &run.scope, fence: run.runner };
        self.change_cleanup(under, &cleanup, Change::PutCleanup(Box::new(named))).await
    }

    /// Tries a cleanup, under this lease if there may be other runners. May be repeated, but not while a run of the same
    /// registration is executed. Fails with [`Error::Fenced`] once the lease has another holder.
    pub async fn clean_up(
        &self,
        scope: &IdScope,
        cleanup: &Cleanup,
        fence: Option<LeaseToken>,
    ) -> Result<CleanupOutcome, Error> {
        let under = Fenced { scope, fence };
        let outcome = match self.remove(scope, cleanup).await? {
            Ok(outcome) => outcome,
            Err(HubError::Unavailable(delay)) => self.postpone(under, cleanup, delay).await?,
            Err(HubError::Occupied(reason) | HubError::Full(reason) | HubError::Refused(reason)) => {
                self.postpone(under, cleanup, reason.into()).await?
            }
        };
        match outcome {
            CleanupOutcome::Removed | CleanupOutcome::Absent | CleanupOutcome::Foreign => {
                let change = Change::DeleteCleanup(cleanup.residue.hub_device.clone());
                self.change_cleanup(under, cleanup, change).await?;
            }
            CleanupOutcome::Held { .. } => {
                self.postpone(under, cleanup, UNPROVEN.into()).await?;
            }
            CleanupOutcome::Superseded | CleanupOutcome::Retry(..) => {}
        }
        Ok(outcome)
    }

    async fn remove(
        &self,
        scope: &IdScope,
        cleanup: &Cleanup,
    ) -> Result<Result<CleanupOutcome, HubError>, Error> {
        let hub_device = &cleanup.residue.hub_device;
        let instance = self.store.instance(scope).await?;
        let hub = instance.as_ref().and_then(|instance| instance.linked_hub(&hub_device.hub));
        let Some(connector) = hub.and_then(|hub| self.hubs.connector(hub)) else {
            return Ok(Err(HubError::Unavailable(
                format!("{} is not linked to the service", hub_device.hub).into(),
            )));
        };
        let found = match connector.find_device(&hub_device.device_id).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Ok(CleanupOutcome::Absent)),
            Err(error) => return Ok(Err(error)),
        };
        let stored = self.store.cleanup(scope, hub_device).await?;
        if stored.is_none_or(|stored| stored.record.etag != cleanup.record.etag) {
            return Ok(Ok(CleanupOutcome::Superseded));
        }
        match Match::of(&found, cleanup) {
            Match::Same => {}
            Match::Other => return Ok(Ok(CleanupOutcome::Foreign)),
            Match::Unproven => {
                let is_new = cleanup.tries.last().is_none_or(|last| last.reason != UNPROVEN);
                return Ok(Ok(CleanupOutcome::Held { is_new }));
            }
        }
        Ok(match connector.remove_device(&hub_device.device_id, &found.version).await {
            Ok(Removed::Gone) => Ok(CleanupOutcome::Removed),
            Ok(Removed::Changed) => {
                Err(HubError::Unavailable(format!("{}: the device was just changed", hub_device.hub).into()))
            }
            Err(error) => Err(error),
        })
    }

    async fn postpone(
        &self,
        under: Fenced<'_>,
        cleanup: &Cleanup,
        delay: Delay,
    ) -> Result<CleanupOutcome, Error> {
        let now: Timestamp = self.clock.now();
        let reason = delay.reason.clone();
        let (tries, pause) = backoff::after(&cleanup.tries, now, backoff::MAX_CLEANUP_BACKOFF, delay);
        let postponed = Cleanup { tries, ..cleanup.clone() };
        self.change_cleanup(under, cleanup, Change::PutCleanup(Box::new(postponed))).await?;
        Ok(CleanupOutcome::Retry(pause, reason))
    }

    /// Changes a cleanup unless it was replaced meanwhile: then the device is assigned there again, or was left again.
    async fn change_cleanup(
        &self,
        Fenced { scope, fence }: Fenced<'_>,
        cleanup: &Cleanup,
        change: Change,
    ) -> Result<(), Error> {
        let expect = Expect::Version(cleanup.record.etag.clone());
        let by = self.by_job(Job::Cleanups, LogOperation::CleanupTry);
        let commit = Commit { fence, changes: vec![(expect, change)], ..Commit::by(by) };
        self.store.commit(scope, commit).await?;
        Ok(())
    }
}

impl Match {
    fn of(found: &HubDevice, cleanup: &Cleanup) -> Match {
        let may_be_ours = found.credentials.as_ref().is_some_and(|it| cleanup.residue.may_have(it));
        match (&cleanup.residue.generation, &found.generation) {
            _ if !may_be_ours => Match::Other,
            (Some(expected), Some(found)) if expected == found => Match::Same,
            // A confirmation does not extend to a device that is known to be another one.
            (Some(_), Some(_)) => Match::Other,
            (None, _) | (_, None) if cleanup.confirmed => Match::Same,
            (None, _) | (_, None) => Match::Unproven,
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{Carried, HubCredentials};
    use testkit::sample;

    use super::*;
    use crate::ports::HubVersion;

    #[test]
    fn a_cleanup_removes_only_the_device_that_it_names() {
        let generation = |text: Option<&str>| text.map(|text| Generation::parse(text).unwrap());
        let (cleanup, ours) = (sample::cleanup("a.hub", "dev"), sample::device_spec("dev").credentials);
        let foreign = HubCredentials::SymmetricKeys(sample::keys(90));
        for (expected_generation, confirmed, credentials, found, expected) in [
            (Some("1"), false, Some(&ours), Some("1"), Match::Same),
            (Some("1"), false, Some(&ours), Some("2"), Match::Other),
            (Some("1"), true, Some(&ours), Some("2"), Match::Other),
            (Some("1"), false, Some(&ours), None, Match::Unproven),
            (Some("1"), true, Some(&ours), None, Match::Same),
            (None, false, Some(&ours), Some("1"), Match::Unproven),
            (None, true, Some(&ours), Some("1"), Match::Same),
            (None, false, Some(&ours), None, Match::Unproven),
            (None, true, Some(&ours), None, Match::Same),
            (Some("1"), true, Some(&foreign), Some("1"), Match::Other),
            (None, false, Some(&foreign), None, Match::Other),
            (None, true, None, None, Match::Other),
        ] {
            let residue = Residue { generation: generation(expected_generation), ..cleanup.residue.clone() };
            let cleanup = Cleanup { residue, confirmed, ..cleanup.clone() };
            let found = HubDevice {
                version: HubVersion("1".to_owned()),
                generation: generation(found),
                credentials: credentials.cloned(),
                carried: Carried::default(),
            };
            assert_eq!(
                Match::of(&found, &cleanup),
                expected,
                "{expected_generation:?} {confirmed} {found:?}"
            );
        }
    }
}

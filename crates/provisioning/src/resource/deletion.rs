//! Deletes what belonged to an instance whose deletion was requested, in portions that may be repeated after a crash.
//!
//! Enrollments go first: a registration that is still under way depends on its enrollment, and ends without it. A request that
//! began before the deletion may still commit, at any node, at the moment of the last portion. So all tables are looked
//! through once more after [`SETTLED`]. The record of the instance itself stays, without its keys, so that its ID scope is
//! not used again.

use std::{sync::Arc, time::Duration};

use certpath::Sha256Thumbprint;
use model::{
    CaReference, Configured, Deletion, EnrollmentGroupId, HubDeviceRef, IdScope, Instance, Job, LeaseToken,
    ListId, LogOperation, RegistrationId, Timestamp,
};

use crate::{
    Error, Provisioning, RecordKind,
    configuration::Configuration,
    ports::{Change, Commit, DamagedRecord, Entropy, Expect, InstanceUpdate, PageRequest, RecordCounts},
    record::fresh_key,
};

/// How far the records of an instance are counted for operators.
const MAX_SHOWN: u64 = 100_000;

/// How many records one portion deletes.
const PORTION: usize = 500;

/// The time after which no request that began before the deletion is under way: bodies arrive within 30 seconds, and no commit
/// waits as long as that for its database.
const SETTLED: Duration = Duration::from_secs(120);

/// Whether more is to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Portion {
    /// There is more.
    More,
    /// There is nothing more for now.
    Done,
}

/// What a deletion deletes, or has not deleted yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeletionProgress {
    /// Individual enrollments, registrations and cleanups, each up to 100,000.
    pub counts: RecordCounts,
    /// Enrollment groups.
    pub groups: usize,
    /// CA certificates.
    pub ca_certificates: usize,
    /// Revocation lists.
    pub revocation_lists: usize,
    /// Blocks of certificates.
    pub blocks: usize,
}

impl Provisioning {
    /// Returns the instances whose deletion was requested, finished or not.
    pub async fn deleted_resources(&self) -> Result<Vec<Arc<Instance>>, Error> {
        Ok(self.store.snapshot().await?.deleted())
    }

    /// Returns the deleted instances of which records may be left to delete now.
    pub async fn due_deletions(&self) -> Result<Vec<IdScope>, Error> {
        let (deleted, now) = (self.deleted_resources().await?, self.clock.now());
        let is_due = |it: &&Arc<Instance>| it.deletion.as_ref().is_some_and(|deletion| is_due(deletion, now));
        Ok(deleted.iter().filter(is_due).map(|it| it.id_scope.clone()).collect())
    }

    /// Returns what the deletion of an instance would delete, or has not deleted yet.
    pub async fn deletion_progress(&self, scope: &IdScope) -> Result<DeletionProgress, Error> {
        let snapshot = self.store.snapshot().await?;
        let configuration = match snapshot.deleted_instance(scope) {
            Some((_, configuration)) => configuration.clone(),
            None => snapshot.configuration(scope)?,
        };
        let trust = configuration.trust();
        Ok(DeletionProgress {
            counts: self.store.counts(scope, MAX_SHOWN).await?,
            groups: configuration.groups().all().len(),
            ca_certificates: trust.certificates().len(),
            revocation_lists: trust.lists().count(),
            blocks: trust.blocks().len(),
        })
    }

    /// Deletes a portion of what belonged to a deleted instance, under the lease of the job.
    pub async fn delete_portion(&self, scope: &IdScope, fence: LeaseToken) -> Result<Portion, Error> {
        let snapshot = self.store.snapshot().await?;
        let Some((instance, configuration)) = snapshot.deleted_instance(scope) else {
            return Ok(Portion::Done);
        };
        let now = self.clock.now();
        let Some(deletion) = instance.deletion.as_ref().filter(|it| is_due(it, now)) else {
            return Ok(Portion::Done);
        };
        let changes = self.next_deletions(scope, configuration).await?;
        if !changes.is_empty() {
            let changes = changes.into_iter().map(|change| (Expect::Anything, change)).collect();
            let by = self.by_job(Job::Deletions, LogOperation::InstanceDelete);
            let commit = Commit { fence: Some(fence), changes, ..Commit::by(by) };
            self.store.commit(scope, commit).await?;
            return Ok(Portion::More);
        }
        if self.store.clear_search(scope).await? {
            return Ok(Portion::More);
        }
        self.store.forget(scope).await?;
        let finished = deletion.finished.or(Some(now));
        let deletion = Deletion { finished, is_verified: deletion.finished.is_some(), ..deletion.clone() };
        let by = self.by_job(Job::Deletions, LogOperation::InstanceDelete);
        let next = Instance { deletion: Some(deletion), ..Instance::clone(instance) };
        let update = InstanceUpdate::from(next);
        self.store.replace_instance(instance, update, by).await?;
        Ok(Portion::Done)
    }

    /// Returns the deletions of the next portion; none if nothing is left.
    async fn next_deletions(&self, scope: &IdScope, known: &Configuration) -> Result<Vec<Change>, Error> {
        let page = || PageRequest { after: None, limit: PORTION };
        let mut changes = group_deletions(known);
        let individuals = self.store.individuals(scope, page()).await?;
        changes.extend(individuals.items.into_iter().map(|it| Change::DeleteIndividual(it.registration_id)));
        changes.extend(individuals.damaged.iter().filter_map(deletion_of));
        if changes.is_empty() {
            let registrations = self.store.registrations(scope, page()).await?;
            let delete = |id| Change::DeleteRegistration(id);
            changes.extend(registrations.items.into_iter().map(|it| delete(it.registration_id)));
            changes.extend(registrations.damaged.iter().filter_map(deletion_of));
        }
        if changes.is_empty() {
            let cleanups = self.store.cleanups(scope, page()).await?;
            let delete = |device| Change::DeleteCleanup(device);
            changes.extend(cleanups.items.into_iter().map(|it| delete(it.residue.hub_device)));
            changes.extend(cleanups.damaged.iter().filter_map(deletion_of));
        }
        if changes.is_empty() {
            changes = trust_deletions(known);
        }
        changes.truncate(2 * PORTION);
        Ok(changes)
    }
}

/// Whether there may be records to delete now: it is not finished, or is to be looked through once more.
fn is_due(deletion: &Deletion, now: Timestamp) -> bool {
    let is_settled = deletion.finished.is_none_or(|finished| now.since(finished) >= SETTLED);
    !deletion.is_verified && is_settled
}

fn group_deletions(known: &Configuration) -> Vec<Change> {
    let groups = known.groups().all().map(|group| Change::DeleteGroup(group.group_id.clone()));
    let is_group = |it: &&DamagedRecord| it.kind == RecordKind::EnrollmentGroup;
    groups.chain(known.unreadable().iter().filter(is_group).filter_map(deletion_of)).take(PORTION).collect()
}

fn trust_deletions(known: &Configuration) -> Vec<Change> {
    let trust = known.trust();
    let lists =
        trust.lists().map(|list| Change::DeleteRevocationList(list.authority.clone(), list.id.clone()));
    let blocks = trust.blocks().map(|block| Change::DeleteBlock(block.thumbprint.clone()));
    let cas = trust.certificates().map(|ca| Change::DeleteCertificate(ca.name.clone()));
    let damaged = known.unreadable().iter().filter_map(deletion_of);
    lists.chain(blocks).chain(cas).chain(damaged).take(PORTION).collect()
}

/// Returns the deletion of a damaged record; `None` if its ID is damaged, too.
fn deletion_of(record: &DamagedRecord) -> Option<Change> {
    let id = record.id.as_str();
    match record.kind {
        RecordKind::Enrollment => RegistrationId::parse(id).ok().map(Change::DeleteIndividual),
        RecordKind::EnrollmentGroup => EnrollmentGroupId::parse(id).ok().map(Change::DeleteGroup),
        RecordKind::Registration => RegistrationId::parse(id).ok().map(Change::DeleteRegistration),
        RecordKind::Cleanup => HubDeviceRef::parse(id).ok().map(Change::DeleteCleanup),
        RecordKind::CaCertificate => CaReference::parse(id).ok().map(Change::DeleteCertificate),
        RecordKind::RevocationList => {
            let (ca, list) = ListId::split(id);
            CaReference::parse(ca).ok().map(|ca| Change::DeleteRevocationList(ca, list))
        }
        RecordKind::Block => Sha256Thumbprint::parse(id).ok().map(Change::DeleteBlock),
        _ => None,
    }
}

/// Returns what stays of an instance: its names, and none of its keys.
pub(super) fn remains(
    instance: &Instance,
    deletion: Deletion,
    entropy: &dyn Entropy,
) -> Result<Instance, Error> {
    Ok(Instance {
        deletion: Some(deletion),
        service_hosts: Vec::new(),
        access_policies: Vec::new(),
        linked_hubs: Vec::new(),
        configured: Configured::default(),
        webhook_key: None,
        operation_key: fresh_key(entropy)?,
        ..instance.clone()
    })
}

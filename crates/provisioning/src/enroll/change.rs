//! Creates, replaces and deletes one enrollment, by compare-and-set.
//!
//! | If-Match | put, record is there | put, not there | delete, there | delete, not there |
//! |---|---|---|---|---|
//! | none | exists | create | delete | not found |
//! | `*` | replace | precondition failed | delete | not found |
//! | an etag | replace if equal, else precondition failed | precondition failed | delete if equal, else precondition failed | not found |

use model::{Actor, Attribution, IfMatch, Instance, LogOperation, OperationKind};

use super::{Enrollment, Stamp, UnchangedKeys, deletion::EnrollmentChanges};
use crate::{
    Error, Provisioning, RecordKind,
    ports::{Change, Commit, Expect, Outcome, RecordCounts},
};

/// How often a replacement of any version is tried again because the record changed at the same moment. Then the caller gets
/// [`Error::Busy`].
pub(super) const MAX_ATTEMPTS: usize = 8;

/// An enrollment that was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Written<E> {
    /// What is stored now, secrets included.
    pub enrollment: E,
    /// The symmetric keys that the draft left out, so that they stayed.
    pub kept: Option<UnchangedKeys>,
}

impl Provisioning {
    /// Creates or replaces an enrollment.
    pub async fn put_enrollment<E: Enrollment>(
        &self,
        instance: &Instance,
        by: &Actor,
        draft: E::Draft,
        if_match: Option<IfMatch>,
    ) -> Result<Written<E>, Error> {
        for _ in 0..MAX_ATTEMPTS {
            let stored = E::load(self.store.as_ref(), &instance.id_scope, E::drafted_id(&draft)).await?;
            let expect = expectation(stored.as_ref(), if_match.as_ref())?;
            let kept = UnchangedKeys::of(&draft, stored.as_ref());
            let enrollment = self.merged(instance, draft.clone(), stored.as_ref())?;
            let enrollment = self.within_limits(instance, enrollment, stored.as_ref(), 0).await?;
            let change = (expect, enrollment.clone().put());
            let by = self.by(by, LogOperation::EnrollmentPut);
            match (self.commit_one(instance, by, change, OperationKind::EnrollmentChange).await?, &if_match) {
                (Outcome::Applied, _) => return Ok(Written { enrollment, kept }),
                (_, Some(IfMatch::Any)) => {}
                (_, Some(IfMatch::Version(_))) => return Err(Error::PreconditionFailed(E::KIND)),
                (_, None) => return Err(Error::Exists(E::KIND)),
            }
        }
        Err(Error::Busy)
    }

    /// Deletes an enrollment.
    pub async fn delete_enrollment<E: Enrollment>(
        &self,
        instance: &Instance,
        by: &Actor,
        id: E::Id,
        if_match: Option<IfMatch>,
    ) -> Result<(), Error> {
        let (scope, expect) = (&instance.id_scope, expected_of_deleted(if_match));
        let by = self.by(by, LogOperation::EnrollmentDelete);
        for _ in 0..MAX_ATTEMPTS {
            let deletion = E::deletion(self.store.as_ref(), scope, id.clone(), expect.clone()).await?;
            let kind = OperationKind::EnrollmentChange;
            if let Some(outcomes) = self.commit_guarded(instance, by.clone(), deletion, kind).await? {
                return deleted(first(outcomes)?, E::KIND);
            }
        }
        Err(Error::Busy)
    }

    /// Returns the enrollment that a draft becomes now.
    pub(super) fn merged<E: Enrollment>(
        &self,
        instance: &Instance,
        draft: E::Draft,
        stored: Option<&E>,
    ) -> Result<E, Error> {
        let stamp = Stamp { instance, entropy: self.entropy.as_ref(), now: self.clock.now() };
        E::merge(draft, stored, &stamp)
    }

    /// Returns an enrollment if the instance has room for it, besides `ahead` others that are about to be created.
    pub(super) async fn within_limits<E: Enrollment>(
        &self,
        instance: &Instance,
        enrollment: E,
        stored: Option<&E>,
        ahead: usize,
    ) -> Result<E, Error> {
        if stored.is_some_and(|stored| stored.attests_like(&enrollment)) {
            return Ok(enrollment);
        }
        match enrollment.room(self.store.as_ref(), &instance.id_scope).await? {
            Some(room) if room <= ahead => Err(Error::Invalid(format!(
                "the service instance has the most of this kind of {} that it may have; delete one first",
                E::KIND
            ))),
            _ => {
                self.reject_beyond_quota(instance, enrollment.quota(), ahead).await?;
                Ok(enrollment)
            }
        }
    }

    pub(super) async fn commit_one(
        &self,
        instance: &Instance,
        by: Attribution,
        change: (Expect, Change),
        kind: OperationKind,
    ) -> Result<Outcome, Error> {
        let changes = EnrollmentChanges::one(change.0, change.1);
        let outcomes = self.commit_guarded(instance, by, changes, kind).await?;
        first(outcomes.unwrap_or_default())
    }

    /// Returns the outcomes of the changes; `None` when a guard does not hold any more.
    pub(super) async fn commit_guarded(
        &self,
        instance: &Instance,
        by: Attribution,
        EnrollmentChanges { guards, changes }: EnrollmentChanges,
        kind: OperationKind,
    ) -> Result<Option<Vec<Outcome>>, Error> {
        let (held, operation) = (guards.len(), Some((kind, self.clock.now().day())));
        let creations: Vec<bool> =
            changes.iter().map(|(expect, change)| is_creation(expect, change)).collect();
        let commit = Commit { guards, changes, operation, ..Commit::by(by) };
        let mut outcomes = self.store.commit(&instance.id_scope, commit).await?;
        let of_changes = outcomes.split_off(held.min(outcomes.len()));
        let created = creations.iter().zip(&of_changes);
        let created = created.filter(|(creates, outcome)| **creates && **outcome == Outcome::Applied).count();
        let created = RecordCounts { individuals: created as u64, ..RecordCounts::default() };
        self.record_tally.add(&instance.id_scope, created);
        let hold = outcomes.iter().all(|outcome| *outcome == Outcome::Applied);
        Ok(hold.then_some(of_changes))
    }
}

/// Whether a change creates an individual enrollment.
fn is_creation(expect: &Expect, change: &Change) -> bool {
    matches!((expect, change), (Expect::Absent, Change::PutIndividual(_)))
}

fn first(outcomes: Vec<Outcome>) -> Result<Outcome, Error> {
    outcomes.first().copied().ok_or_else(|| Error::Broken("the store gave no outcome".into()))
}

/// Returns what a write must find when it commits, or why it is refused.
fn expectation<E: Enrollment>(stored: Option<&E>, if_match: Option<&IfMatch>) -> Result<Expect, Error> {
    match (stored.map(Enrollment::record), if_match) {
        (None, None) => Ok(Expect::Absent),
        (Some(_), None) => Err(Error::Exists(E::KIND)),
        (None, Some(_)) => Err(Error::NothingToReplace(E::KIND)),
        (Some(record), Some(IfMatch::Version(etag))) if record.etag != *etag => {
            Err(Error::PreconditionFailed(E::KIND))
        }
        (Some(record), Some(_)) => Ok(Expect::Version(record.etag.clone())),
    }
}

fn expected_of_deleted(if_match: Option<IfMatch>) -> Expect {
    match if_match {
        None | Some(IfMatch::Any) => Expect::Present,
        Some(IfMatch::Version(etag)) => Expect::Version(etag),
    }
}

fn deleted(outcome: Outcome, kind: RecordKind) -> Result<(), Error> {
    match outcome {
        Outcome::Applied => Ok(()),
        Outcome::Missing => Err(Error::NotFound(kind)),
        Outcome::OtherVersion | Outcome::Exists | Outcome::Taken | Outcome::LeftOut => {
            Err(Error::PreconditionFailed(kind))
        }
    }
}

//! Imports enrollments: each becomes what its draft says, and one that is so already is not written. So an import can be repeated.

use model::{Actor, ImportRule, Instance, LogOperation, OperationKind};

use super::{Enrollment, deletion::EnrollmentChanges};
use crate::{
    Error, Provisioning,
    ports::{Expect, Outcome},
};

/// Most items in one import: about as many as fit a body, of 2 KB each.
pub const MAX_IMPORT_ITEMS: usize = 100;

/// What an import did with an item, or would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportOutcome {
    /// It created the enrollment.
    Created,
    /// It replaced an enrollment with other settings.
    Replaced,
    /// The enrollment was as the draft says.
    Unchanged,
}

/// The outcome of an item.
pub type ImportedItem<E> = (<E as Enrollment>::Id, Result<ImportOutcome, Error>);

/// An item with its change; none if the enrollment is as its draft says.
type Prepared = (ImportOutcome, Option<EnrollmentChanges>);

impl Provisioning {
    /// Imports up to [`MAX_IMPORT_ITEMS`] enrollments in one commit, and returns the outcome of each. Items that fail do not
    /// affect others. The call counts as one operation if at least one change was made.
    pub async fn import_enrollments<E: Enrollment>(
        &self,
        instance: &Instance,
        by: &Actor,
        drafts: Vec<E::Draft>,
        rule: ImportRule,
    ) -> Result<Vec<ImportedItem<E>>, Error> {
        if !(1..=MAX_IMPORT_ITEMS).contains(&drafts.len()) {
            let count = drafts.len();
            return Err(Error::Invalid(format!(
                "an import takes 1 to {MAX_IMPORT_ITEMS} items, not {count}"
            )));
        }
        let prepared = self.prepare_import::<E>(instance, drafts, rule).await?;
        let changes = prepared.iter().filter_map(|(_, item)| item.as_ref().ok()?.1.as_ref());
        let changes = EnrollmentChanges::all(changes.filter(|_| !rule.is_dry_run));
        let mut outcomes = Vec::new();
        if !changes.is_empty() {
            let by = self.by(by, LogOperation::EnrollmentBulk);
            let kind = OperationKind::EnrollmentBulk;
            outcomes = self.commit_guarded(instance, by, changes, kind).await?.unwrap_or_default();
        }
        let mut outcomes = outcomes.into_iter();
        let outcome = |(id, item): (E::Id, Result<Prepared, Error>)| {
            let imported = item.and_then(|(planned, change)| match change {
                Some(_) if !rule.is_dry_run => committed::<E>(planned, outcomes.next()),
                _ => Ok(planned),
            });
            (id, imported)
        };
        Ok(prepared.into_iter().map(outcome).collect())
    }

    async fn prepare_import<E: Enrollment>(
        &self,
        instance: &Instance,
        drafts: Vec<E::Draft>,
        rule: ImportRule,
    ) -> Result<Vec<(E::Id, Result<Prepared, Error>)>, Error> {
        let mut prepared: Vec<(E::Id, Result<Prepared, Error>)> = Vec::new();
        for draft in drafts {
            let id = E::drafted_id(&draft).clone();
            if prepared.iter().any(|(other, _)| *other == id) {
                let twice = Error::Invalid(format!("{id} occurs twice in the import"));
                prepared.push((id, Err(twice)));
                continue;
            }
            let creates = |item: &Prepared| item.1.as_ref().is_some_and(EnrollmentChanges::creates);
            let ahead = prepared.iter().filter(|(_, item)| item.as_ref().is_ok_and(creates)).count();
            let item = match self.change_by_import::<E>(instance, draft, rule, ahead).await {
                Err(fault) if fault.is_fault() => return Err(fault),
                item => item,
            };
            prepared.push((id, item));
        }
        Ok(prepared)
    }

    async fn change_by_import<E: Enrollment>(
        &self,
        instance: &Instance,
        draft: E::Draft,
        rule: ImportRule,
        ahead: usize,
    ) -> Result<Prepared, Error> {
        let stored = E::load(self.store.as_ref(), &instance.id_scope, E::drafted_id(&draft)).await?;
        let lacks_keys = E::drafted_keys(&draft).is_some_and(|keys| keys.primary.is_none());
        if lacks_keys && !rule.generates_keys && stored.as_ref().and_then(E::symmetric_keys).is_none() {
            return Err(Error::Invalid(format!(
                "the new {} has no primary key, and devices would not have one that is generated",
                E::KIND
            )));
        }
        let next = self.merged(instance, draft, stored.as_ref())?;
        let is_same = |stored: &E| stored.clone().with_record(next.record().clone()) == next;
        let (expect, outcome) = match &stored {
            None => (Expect::Absent, ImportOutcome::Created),
            Some(stored) if is_same(stored) => return Ok((ImportOutcome::Unchanged, None)),
            Some(_) if !rule.replaces => return Err(Error::Exists(E::KIND)),
            Some(stored) => (Expect::Version(stored.record().etag.clone()), ImportOutcome::Replaced),
        };
        let next = self.within_limits(instance, next, stored.as_ref(), ahead).await?;
        Ok((outcome, Some(EnrollmentChanges::one(expect, next.put()))))
    }
}

/// Returns the outcome of an item whose change was committed, unless the enrollment was changed meanwhile.
fn committed<E: Enrollment>(
    planned: ImportOutcome,
    outcome: Option<Outcome>,
) -> Result<ImportOutcome, Error> {
    match outcome {
        Some(Outcome::Applied) => Ok(planned),
        Some(Outcome::Exists | Outcome::Missing | Outcome::OtherVersion) => {
            Err(Error::PreconditionFailed(E::KIND))
        }
        Some(Outcome::Taken | Outcome::LeftOut) | None => {
            Err(Error::Broken("the store gave too few outcomes".into()))
        }
    }
}

//! Changes several enrollments in one call: one commit, with an outcome per item. Items that fail do not affect others.

use model::{Actor, BulkItem, IfMatch, Instance, LogOperation, OperationKind};

use super::{Enrollment, UnchangedKeys, Written, change::MAX_ATTEMPTS, deletion::EnrollmentChanges};
use crate::{
    Error, Provisioning,
    ports::{Expect, Outcome},
};

/// Most items in one bulk call (REST reference of the bulk operation).
pub const MAX_BULK_ITEMS: usize = 10;

/// The outcome of an item: what it wrote, or `None` if it deleted an enrollment.
pub type ChangedItem<E> = (<E as Enrollment>::Id, Result<Option<Written<E>>, Error>);

/// An item with its change, or the reason why it is refused.
struct Prepared<E: Enrollment> {
    id: E::Id,
    written: Option<Written<E>>,
    changes: Result<EnrollmentChanges, Error>,
    /// The error if the record is of another version than expected.
    conflict: Error,
}

impl Provisioning {
    /// Makes up to [`MAX_BULK_ITEMS`] changes, and returns the outcome of each. The call counts as one operation if at least one
    /// change was made.
    pub async fn change_enrollments<E: Enrollment>(
        &self,
        instance: &Instance,
        by: &Actor,
        items: Vec<BulkItem<E::Draft, E::Id>>,
    ) -> Result<Vec<ChangedItem<E>>, Error> {
        if !(1..=MAX_BULK_ITEMS).contains(&items.len()) {
            return Err(wrong_item_count(items.len()));
        }
        let by = self.by(by, LogOperation::EnrollmentBulk);
        for _ in 0..MAX_ATTEMPTS {
            let prepared = self.prepare_all::<E>(instance, &items).await?;
            let changes =
                EnrollmentChanges::all(prepared.iter().filter_map(|item| item.changes.as_ref().ok()));
            let outcomes = match changes.is_empty() {
                true => Some(Vec::new()),
                false => {
                    self.commit_guarded(instance, by.clone(), changes, OperationKind::EnrollmentBulk).await?
                }
            };
            if let Some(outcomes) = outcomes {
                let mut outcomes = outcomes.into_iter();
                return Ok(prepared.into_iter().map(|item| item.resolve(&mut outcomes)).collect());
            }
        }
        Err(Error::Busy)
    }

    async fn prepare_all<E: Enrollment>(
        &self,
        instance: &Instance,
        items: &[BulkItem<E::Draft, E::Id>],
    ) -> Result<Vec<Prepared<E>>, Error> {
        let mut prepared: Vec<Prepared<E>> = Vec::new();
        for item in items {
            let id = id_of::<E>(item).clone();
            if prepared.iter().any(|other| other.id == id) {
                prepared.push(Prepared::twice(id));
                continue;
            }
            let ahead = prepared.iter().filter(|item| item.creates()).count();
            prepared.push(self.prepare(instance, id, item.clone(), ahead).await?);
        }
        Ok(prepared)
    }

    /// Returns an item with its change. Only faults of the service end the whole call.
    async fn prepare<E: Enrollment>(
        &self,
        instance: &Instance,
        id: E::Id,
        item: BulkItem<E::Draft, E::Id>,
        ahead: usize,
    ) -> Result<Prepared<E>, Error> {
        let any_version = matches!(item, BulkItem::Replace(_, Some(IfMatch::Any)));
        let conflict = if any_version { Error::Busy } else { Error::PreconditionFailed(E::KIND) };
        match self.change_of::<E>(instance, item, ahead).await {
            Err(fault) if fault.is_fault() => Err(fault),
            Err(refusal) => Ok(Prepared { id, written: None, changes: Err(refusal), conflict }),
            Ok((changes, written)) => Ok(Prepared { id, written, changes: Ok(changes), conflict }),
        }
    }

    async fn change_of<E: Enrollment>(
        &self,
        instance: &Instance,
        item: BulkItem<E::Draft, E::Id>,
        ahead: usize,
    ) -> Result<(EnrollmentChanges, Option<Written<E>>), Error> {
        let (store, scope) = (self.store.as_ref(), &instance.id_scope);
        let (draft, creates, if_match) = match item {
            BulkItem::Delete(id) => return Ok((E::deletion(store, scope, id, Expect::Present).await?, None)),
            BulkItem::Create(draft) => (draft, true, None),
            BulkItem::Replace(draft, if_match) => (draft, false, if_match),
        };
        let stored = E::load(store, scope, E::drafted_id(&draft)).await?;
        let expect = match (&stored, if_match) {
            (None, _) if creates => Expect::Absent,
            (None, _) => return Err(Error::NotFound(E::KIND)),
            (Some(_), None) => return Err(Error::Exists(E::KIND)),
            (Some(stored), Some(IfMatch::Any)) => Expect::Version(stored.record().etag.clone()),
            (Some(_), Some(IfMatch::Version(etag))) => Expect::Version(etag),
        };
        let kept = UnchangedKeys::of(&draft, stored.as_ref());
        let enrollment = self.merged(instance, draft, stored.as_ref())?;
        let enrollment = self.within_limits(instance, enrollment, stored.as_ref(), ahead).await?;
        let changes = EnrollmentChanges::one(expect, enrollment.clone().put());
        Ok((changes, Some(Written { enrollment, kept })))
    }
}

impl<E: Enrollment> Prepared<E> {
    /// Returns an item whose record another item addresses already: one commit cannot make both changes.
    fn twice(id: E::Id) -> Prepared<E> {
        let problem = Error::Invalid(format!("{id} occurs twice in the bulk operation"));
        Prepared { id, written: None, changes: Err(problem.clone()), conflict: problem }
    }

    fn creates(&self) -> bool {
        self.changes.as_ref().is_ok_and(|changes| changes.creates())
    }

    /// Takes the next outcomes, if this item was part of the commit: the first is that of its enrollment.
    fn resolve(self, outcomes: &mut impl Iterator<Item = Outcome>) -> ChangedItem<E> {
        let result = match self.changes {
            Err(error) => Err(error),
            Ok(changes) => match outcomes.by_ref().take(changes.len()).reduce(|first, _| first) {
                Some(Outcome::Applied) => Ok(self.written),
                Some(Outcome::Exists) => Err(Error::Exists(E::KIND)),
                Some(Outcome::Missing) => Err(Error::NotFound(E::KIND)),
                Some(Outcome::OtherVersion) => Err(self.conflict),
                Some(Outcome::Taken | Outcome::LeftOut) | None => {
                    Err(Error::Broken("the store gave too few outcomes".into()))
                }
            },
        };
        (self.id, result)
    }
}

/// Returns the error for a call with no items, or too many.
fn wrong_item_count(count: usize) -> Error {
    Error::Invalid(format!("a bulk operation takes 1 to {MAX_BULK_ITEMS} items, not {count}"))
}

fn id_of<E: Enrollment>(item: &BulkItem<E::Draft, E::Id>) -> &E::Id {
    match item {
        BulkItem::Create(draft) | BulkItem::Replace(draft, _) => E::drafted_id(draft),
        BulkItem::Delete(id) => id,
    }
}

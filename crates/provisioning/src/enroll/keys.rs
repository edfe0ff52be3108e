//! Symmetric keys that a write leaves unchanged, and their replacement by new ones.

use std::fmt;

use model::{Actor, IfMatch, Instance, KeySelection, KeySlot, LogOperation, OperationKind, SymmetricKeyPair};

use super::{Enrollment, Stamp, change::MAX_ATTEMPTS};
use crate::{
    Error, Provisioning,
    ports::{Expect, Outcome},
};

/// The keys that a write left out, and that therefore stay unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnchangedKeys(KeySelection);

impl UnchangedKeys {
    /// Returns the keys that stay if a draft is written over this enrollment; `None` if there are none.
    pub(super) fn of<E: Enrollment>(draft: &E::Draft, stored: Option<&E>) -> Option<UnchangedKeys> {
        stored.and_then(E::symmetric_keys)?;
        let drafted = E::drafted_keys(draft)?;
        let is_kept = |slot| match slot {
            KeySlot::Primary => drafted.primary.is_none(),
            KeySlot::Secondary => drafted.secondary.is_none(),
        };
        KeySelection::of(is_kept).map(UnchangedKeys)
    }
}

impl fmt::Display for UnchangedKeys {
    /// Writes a warning: a leaked key that an operator means to replace by leaving it out is still valid.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} stayed as before, as none was given; keys/regenerate makes new ones", self.0)
    }
}

/// The warning that follows a replacement of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeysReplaced;

impl fmt::Display for KeysReplaced {
    /// Writes a warning: the service writes new keys to the hub of a device only when the device returns.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "devices register with the new keys from now on; each hub takes the old ones of a device until that device \
             registers again",
        )
    }
}

impl Provisioning {
    /// Replaces symmetric keys of an enrollment by new ones, and returns it with its secrets.
    pub async fn regenerate_keys<E: Enrollment>(
        &self,
        instance: &Instance,
        by: &Actor,
        (id, selection): (&E::Id, KeySelection),
        if_match: Option<IfMatch>,
    ) -> Result<E, Error> {
        for _ in 0..MAX_ATTEMPTS {
            let stored = E::load(self.store.as_ref(), &instance.id_scope, id).await?;
            let stored = stored.ok_or(Error::NotFound(E::KIND))?;
            let expected = stored.record().etag.clone();
            if matches!(&if_match, Some(IfMatch::Version(etag)) if *etag != expected) {
                return Err(Error::PreconditionFailed(E::KIND));
            }
            let stamp = Stamp { instance, entropy: self.entropy.as_ref(), now: self.clock.now() };
            let record = stamp.record(Some(stored.record()))?;
            let keys = stored.symmetric_keys().cloned().ok_or_else(|| without_keys::<E>(id))?;
            let replaced = stored.with_symmetric_keys(regenerated(keys, selection, &stamp)?, record);
            let change = (Expect::Version(expected), replaced.clone().put());
            let by = self.by(by, LogOperation::EnrollmentKeys);
            let outcome = self.commit_one(instance, by, change, OperationKind::EnrollmentChange).await?;
            // Where another writer committed first, the enrollment is looked for again, and an expected etag is compared.
            if outcome == Outcome::Applied {
                return Ok(replaced);
            }
        }
        Err(Error::Busy)
    }
}

fn regenerated(
    keys: SymmetricKeyPair,
    selection: KeySelection,
    stamp: &Stamp<'_>,
) -> Result<SymmetricKeyPair, Error> {
    selection.slots().try_fold(keys, |keys, slot| Ok(keys.with_key(slot, stamp.fresh_key()?)))
}

fn without_keys<E: Enrollment>(id: &E::Id) -> Error {
    Error::Invalid(format!(
        "the {} {id} has no symmetric keys: its devices attest by another mechanism",
        E::KIND
    ))
}

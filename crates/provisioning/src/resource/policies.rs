//! Access policies of an instance: created, changed, rotated and removed. At least one always remains.

use model::{
    AccessPolicy, Actor, Instance, KeySelection, KeySlot, LogOperation, PolicyDraft, PolicyName, Rights,
};

use super::change::MAX_ACCESS_POLICIES;
use crate::{Error, Provisioning, RecordKind, ports::Entropy, record::fresh_key};

impl Provisioning {
    /// Creates an access policy, or changes one. Returns it with its keys.
    pub async fn put_policy(
        &self,
        instance: &Instance,
        by: &Actor,
        draft: &PolicyDraft,
    ) -> Result<AccessPolicy, Error> {
        let decide = |current: &Instance| with_policy(current, draft, &*self.entropy);
        let next = self.change_resource(&instance.id_scope, by, LogOperation::PolicyPut, decide).await?;
        policy(&next, &draft.name).cloned()
    }

    /// Replaces keys of an access policy by new ones. The other key stays valid, so that clients can be moved to it first.
    pub async fn regenerate_policy_keys(
        &self,
        instance: &Instance,
        by: &Actor,
        (name, keys): (&PolicyName, KeySelection),
    ) -> Result<AccessPolicy, Error> {
        let decide = |current: &Instance| {
            let mut draft = draft_of(policy(current, name)?);
            for slot in keys.slots() {
                match slot {
                    KeySlot::Primary => draft.primary_key = Some(fresh_key(&*self.entropy)?),
                    KeySlot::Secondary => draft.secondary_key = Some(fresh_key(&*self.entropy)?),
                }
            }
            with_policy(current, &draft, &*self.entropy)
        };
        let next = self.change_resource(&instance.id_scope, by, LogOperation::PolicyKeys, decide).await?;
        policy(&next, name).cloned()
    }

    /// Deletes an access policy, unless it is the last one.
    pub async fn delete_policy(
        &self,
        instance: &Instance,
        by: &Actor,
        name: &PolicyName,
    ) -> Result<(), Error> {
        let decide = |current: &Instance| without_policy(current, name);
        self.change_resource(&instance.id_scope, by, LogOperation::PolicyDelete, decide).await.map(drop)
    }
}

/// Returns the access policies as drafted, and no others. An absent key keeps its value, or is generated.
pub(super) fn replaced(
    stored: &[AccessPolicy],
    drafts: &[PolicyDraft],
    entropy: &dyn Entropy,
) -> Result<Vec<AccessPolicy>, Error> {
    let policies = drafts.iter().map(|draft| {
        let known = stored.iter().find(|policy| policy.name == draft.name);
        merged(known, draft, entropy)
    });
    checked(policies.collect::<Result<_, _>>()?)
}

/// Whether drafts of all access policies of an instance change any.
pub fn changes_policies(instance: &Instance, drafts: &[PolicyDraft]) -> bool {
    let keeps = |draft: &PolicyDraft| {
        instance.access_policy(draft.name.as_str()).is_some_and(|stored| {
            draft.primary_key.as_ref().is_none_or(|key| *key == stored.primary_key)
                && draft.secondary_key.as_ref().is_none_or(|key| *key == stored.secondary_key)
                && draft.rights.is_none_or(|rights| rights == stored.rights)
        })
    };
    drafts.len() != instance.access_policies.len() || !drafts.iter().all(keeps)
}

fn with_policy(instance: &Instance, draft: &PolicyDraft, entropy: &dyn Entropy) -> Result<Instance, Error> {
    let mut policies = instance.access_policies.clone();
    match policies.iter_mut().find(|policy| policy.name == draft.name) {
        Some(known) => *known = merged(Some(&*known), draft, entropy)?,
        None => policies.push(merged(None, draft, entropy)?),
    }
    Ok(Instance { access_policies: checked(policies)?, ..instance.clone() })
}

fn without_policy(instance: &Instance, name: &PolicyName) -> Result<Instance, Error> {
    policy(instance, name)?;
    let left = instance.access_policies.iter().filter(|policy| policy.name != *name).cloned();
    let left: Vec<AccessPolicy> = left.collect();
    if left.is_empty() {
        return Err(Error::Conflict(format!(
            "{name} is the last access policy of the instance: without one no client could call it"
        )));
    }
    Ok(Instance { access_policies: left, ..instance.clone() })
}

fn policy<'i>(instance: &'i Instance, name: &PolicyName) -> Result<&'i AccessPolicy, Error> {
    instance.access_policy(name.as_str()).ok_or(Error::NotFound(RecordKind::AccessPolicy))
}

fn merged(
    stored: Option<&AccessPolicy>,
    draft: &PolicyDraft,
    entropy: &dyn Entropy,
) -> Result<AccessPolicy, Error> {
    let choose = |given: &Option<_>, stored: Option<&_>| match (given, stored) {
        (Some(key), _) => Ok(Clone::clone(key)),
        (None, Some(key)) => Ok(Clone::clone(key)),
        (None, None) => fresh_key(entropy),
    };
    let rights = draft.rights.or_else(|| stored.map(|policy| policy.rights));
    let rights = rights.filter(|rights| *rights != Rights::default());
    Ok(AccessPolicy {
        name: stored.map_or(&draft.name, |policy| &policy.name).clone(),
        primary_key: choose(&draft.primary_key, stored.map(|policy| &policy.primary_key))?,
        secondary_key: choose(&draft.secondary_key, stored.map(|policy| &policy.secondary_key))?,
        rights: rights.ok_or_else(|| {
            Error::Invalid(format!("rights: the access policy {} needs at least one right", draft.name))
        })?,
    })
}

fn draft_of(policy: &AccessPolicy) -> PolicyDraft {
    PolicyDraft { name: policy.name.clone(), primary_key: None, secondary_key: None, rights: None }
}

fn checked(policies: Vec<AccessPolicy>) -> Result<Vec<AccessPolicy>, Error> {
    if policies.is_empty() || policies.len() > MAX_ACCESS_POLICIES {
        return Err(Error::Invalid(format!(
            "an instance has at least one access policy, and at most {MAX_ACCESS_POLICIES}"
        )));
    }
    let is_double =
        |(at, policy): (usize, &AccessPolicy)| policies[..at].iter().any(|other| other.name == policy.name);
    if policies.iter().enumerate().any(is_double) {
        return Err(Error::Invalid("two access policies have the same name".to_owned()));
    }
    Ok(policies)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::enroll::samples::{self, Counting};

    fn draft(name: u8, key: Option<u8>) -> PolicyDraft {
        PolicyDraft {
            name: PolicyName::parse(format!("policy-{name}")).unwrap(),
            primary_key: key.map(samples::key),
            secondary_key: None,
            rights: Some(Rights::OF_POLICIES),
        }
    }

    fn put(instance: &Instance, draft: &PolicyDraft) -> Result<Instance, Error> {
        with_policy(instance, draft, &Counting::default())
    }

    proptest! {
        /// Puts and deletions in any order.
        #[test]
        fn an_instance_always_keeps_a_way_in(steps in prop::collection::vec((any::<bool>(), 0u8..4), 1..30)) {
            let mut instance = put(&samples::instance("one"), &draft(0, None)).unwrap();
            for (is_put, name) in steps {
                let draft = draft(name, None);
                let next = match is_put {
                    true => put(&instance, &draft),
                    false => without_policy(&instance, &draft.name),
                };
                instance = next.unwrap_or(instance);
                prop_assert!(!instance.access_policies.is_empty());
                prop_assert_eq!(checked(instance.access_policies.clone()).unwrap(), instance.access_policies.clone());
            }
        }
    }

    #[test]
    fn what_a_draft_of_all_policies_changes() {
        let instance = put(&samples::instance("one"), &draft(1, Some(7))).unwrap();
        let kept = PolicyDraft { rights: None, ..draft(1, None) };
        let rights = Some(instance.access_policies[0].rights);
        for (drafts, expected) in [
            (vec![kept.clone()], false),
            (vec![PolicyDraft { rights, ..draft(1, Some(7)) }], false),
            (vec![draft(1, Some(8))], true),
            (vec![PolicyDraft { rights: Some(Rights::default()), ..kept.clone() }], true),
            (vec![draft(2, None)], true),
            (vec![kept.clone(), draft(2, None)], true),
            (vec![], true),
        ] {
            assert_eq!(changes_policies(&instance, &drafts), expected, "{drafts:?}");
        }
    }

    #[test]
    fn keys_are_given_kept_or_generated() {
        let instance = put(&samples::instance("one"), &draft(1, Some(7))).unwrap();
        let policy = &instance.access_policies[0];
        assert_eq!(
            (&policy.primary_key, &policy.secondary_key),
            (&samples::key(7), &samples::generated_key(1))
        );
        let kept = PolicyDraft { rights: None, ..draft(1, None) };
        assert_eq!(put(&instance, &kept).unwrap(), instance);
        let unnamed = PolicyDraft { rights: None, ..draft(2, None) };
        assert!(matches!(put(&instance, &unnamed), Err(Error::Invalid(_))));
    }
}

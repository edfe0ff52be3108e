//! Computes an instance with changed links. If-Match concerns the version of one link, so that operators can change different links
//! at the same time:
//!
//! | If-Match | link, is there | link, not there | unlink, there | unlink, not there |
//! |---|---|---|---|---|
//! | none | exists | link | unlink | not found |
//! | `*` | change | precondition failed | unlink | not found |
//! | an etag | change if equal, else precondition failed | precondition failed | unlink if equal, else precondition failed | not found |

use model::{
    AccessDraft, AllocationPolicy, DefaultsDraft, Etag, HubAccess, HubEndpoint, HubName, IfMatch, Instance,
    LinkDraft, LinkedHub, Quota,
};

use crate::{Error, RecordKind, record::keyed_etag};

/// How many hubs an instance may have (quota of the hosted service).
pub const MAX_LINKED_HUBS: usize = 50;

/// Returns the instance with a hub linked as drafted: a new link is added at the end, a changed one replaced.
pub(crate) fn linked(
    instance: &Instance,
    draft: &LinkDraft,
    if_match: Option<&IfMatch>,
) -> Result<Instance, Error> {
    let stored = match (instance.linked_hub(&draft.name), if_match) {
        (Some(_), None) => return Err(Error::Exists(RecordKind::LinkedHub)),
        (None, Some(_)) => return Err(Error::NothingToReplace(RecordKind::LinkedHub)),
        (Some(hub), Some(_)) => Some(matching(instance, hub, if_match)?),
        (None, None) if instance.linked_hubs.len() >= MAX_LINKED_HUBS => {
            return Err(Error::Invalid(format!("at most {MAX_LINKED_HUBS} hubs can be linked")));
        }
        (None, None) => {
            reject_beyond_quota(instance)?;
            None
        }
    };
    let hub = LinkedHub {
        name: draft.name.clone(),
        endpoint: endpoint(draft, stored.map(|hub| &hub.endpoint))?,
        location: draft.location.clone(),
        weight: draft.weight,
        takes_new_devices: draft.takes_new_devices,
        max_devices: draft.max_devices,
    };
    let mut next = instance.clone();
    match next.linked_hubs.iter_mut().find(|it| it.name == hub.name) {
        Some(slot) => *slot = hub,
        None => next.linked_hubs.push(hub),
    }
    Ok(next)
}

/// Fails if the instance has as many hubs as its quota permits.
fn reject_beyond_quota(instance: &Instance) -> Result<(), Error> {
    let quota = Quota::LinkedHubs;
    match instance.limit(quota) {
        Some(limit) if instance.linked_hubs.len() as u64 >= u64::from(limit.get()) => {
            Err(Error::QuotaExceeded { quota, limit })
        }
        _ => Ok(()),
    }
}

/// Returns the instance without this hub.
pub(super) fn unlinked(
    instance: &Instance,
    name: &HubName,
    if_match: Option<&IfMatch>,
) -> Result<Instance, Error> {
    let hub = instance.linked_hub(name).ok_or(Error::NotFound(RecordKind::LinkedHub))?;
    let hub = matching(instance, hub, if_match)?;
    let mut next = instance.clone();
    next.linked_hubs.retain(|it| it.name != hub.name);
    Ok(next)
}

/// Returns the instance with these defaults for enrollments that name no policy.
pub(super) fn with_defaults(instance: &Instance, draft: DefaultsDraft) -> Result<Instance, Error> {
    let allocation_policy = draft.allocation_policy.unwrap_or(instance.allocation_policy);
    if allocation_policy == AllocationPolicy::Custom {
        return Err(Error::Invalid("the custom allocation policy is for enrollments only".into()));
    }
    let failover = draft.failover.unwrap_or(instance.failover);
    Ok(Instance { allocation_policy, failover, ..instance.clone() })
}

/// Returns the version of a link.
pub(super) fn etag(instance: &Instance, hub: &LinkedHub) -> Result<Etag, Error> {
    keyed_etag(instance, "link", hub)
}

/// Returns a link if it is of the expected version.
fn matching<'a>(
    instance: &Instance,
    hub: &'a LinkedHub,
    if_match: Option<&IfMatch>,
) -> Result<&'a LinkedHub, Error> {
    match if_match {
        Some(IfMatch::Version(version)) if etag(instance, hub)? != *version => {
            Err(Error::PreconditionFailed(RecordKind::LinkedHub))
        }
        None | Some(IfMatch::Any | IfMatch::Version(_)) => Ok(hub),
    }
}

/// Returns the drafted endpoint. A key that is left out is the stored one, but only for the same policy at the same port: a stored
/// key must not sign tokens for an address that the operator who entered it did not name.
fn endpoint(draft: &LinkDraft, stored: Option<&HubEndpoint>) -> Result<HubEndpoint, Error> {
    let missing = |what: &str| Error::Invalid(format!("connectionString {what}"));
    match (&draft.access, stored) {
        (None, Some(endpoint)) => Ok(endpoint.clone()),
        (None, None) => Err(missing("is missing")),
        (Some(AccessDraft { port, policy, key: Some(key), ca }), _) => Ok(HubEndpoint::Access(HubAccess {
            port: *port,
            policy: policy.clone(),
            key: key.clone(),
            ca: ca.clone(),
        })),
        (Some(AccessDraft { port, policy, key: None, ca }), Some(HubEndpoint::Access(stored)))
            if stored.port == *port && stored.policy == *policy =>
        {
            Ok(HubEndpoint::Access(HubAccess { ca: ca.clone(), ..stored.clone() }))
        }
        (Some(_), _) => {
            Err(missing("has no key, and none is stored for this policy at this port: write it in full"))
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{AllocationWeight, SymmetricKey};

    use super::*;
    use crate::enroll::samples;

    fn name(text: &str) -> HubName {
        HubName::parse(text).unwrap()
    }

    fn access(port: u16, policy: &str, key: Option<u8>) -> AccessDraft {
        AccessDraft { port, policy: policy.into(), key: key.map(samples::key), ca: Vec::new() }
    }

    fn draft(hub: &str, access: Option<AccessDraft>) -> LinkDraft {
        let weight = AllocationWeight::new(7).unwrap();
        LinkDraft {
            name: name(hub),
            access,
            location: "there".into(),
            weight,
            takes_new_devices: false,
            max_devices: None,
        }
    }

    /// Two embedded hubs, and `far.test` at port 443 by the key 1 of `owner`.
    fn instance() -> Instance {
        linked(&samples::instance("one"), &draft("far.test", Some(access(443, "owner", Some(1)))), None)
            .unwrap()
    }

    fn version(instance: &Instance, hub: &str) -> IfMatch {
        IfMatch::Version(etag(instance, instance.linked_hub(&name(hub)).unwrap()).unwrap())
    }

    fn key_of(instance: &Instance, hub: &str) -> Option<SymmetricKey> {
        match &instance.linked_hub(&name(hub)).unwrap().endpoint {
            HubEndpoint::Embedded => None,
            HubEndpoint::Access(access) => Some(access.key.clone()),
        }
    }

    #[test]
    fn the_table_of_conditions() {
        let instance = instance();
        let current = version(&instance, "far.test");
        let other = version(&instance, "hub-1.test");
        for (hub, if_match, linking, unlinking) in [
            ("new.test", None, "done", "not found"),
            ("new.test", Some(&IfMatch::Any), "nothing to replace", "not found"),
            ("new.test", Some(&other), "nothing to replace", "not found"),
            ("far.test", None, "exists", "done"),
            ("far.test", Some(&IfMatch::Any), "done", "done"),
            ("far.test", Some(&current), "done", "done"),
            ("far.test", Some(&other), "failed", "failed"),
        ] {
            let word = |outcome: Result<Instance, Error>| match outcome {
                Ok(_) => "done",
                Err(Error::Exists(RecordKind::LinkedHub)) => "exists",
                Err(Error::NotFound(RecordKind::LinkedHub)) => "not found",
                Err(Error::PreconditionFailed(RecordKind::LinkedHub)) => "failed",
                Err(Error::NothingToReplace(RecordKind::LinkedHub)) => "nothing to replace",
                Err(error) => panic!("{error}"),
            };
            let draft = draft(hub, Some(access(443, "owner", Some(2))));
            assert_eq!(word(linked(&instance, &draft, if_match)), linking, "{hub} {if_match:?}");
            assert_eq!(word(unlinked(&instance, &name(hub), if_match)), unlinking, "{hub} {if_match:?}");
        }
    }

    #[test]
    fn a_link_is_changed_in_its_place_and_has_another_version() {
        let before = instance();
        let rotated = draft("HUB-1.test", Some(access(443, "owner", Some(2))));
        let after = linked(&before, &rotated, Some(&IfMatch::Any)).unwrap();
        let names: Vec<_> = after.linked_hubs.iter().map(|hub| hub.name.to_string()).collect();
        assert_eq!(names, ["hub-1.test", "hub-2.test", "far.test"]);
        assert_eq!(key_of(&after, "hub-1.test"), Some(samples::key(2)));
        assert_ne!(version(&after, "hub-1.test"), version(&before, "hub-1.test"));
        assert_eq!(version(&after, "far.test"), version(&before, "far.test"));
        let elsewhere = Instance { operation_key: samples::key(8), ..before.clone() };
        assert_ne!(
            version(&elsewhere, "far.test"),
            version(&before, "far.test"),
            "only the instance makes it"
        );
    }

    #[test]
    fn a_stored_key_serves_only_where_it_was_given_for() {
        let instance = instance();
        for (hub, access, kept) in [
            ("far.test", None, Some(Some(1))),
            ("far.test", Some(access(443, "owner", None)), Some(Some(1))),
            ("far.test", Some(access(444, "owner", None)), None),
            ("far.test", Some(access(443, "service", None)), None),
            ("hub-1.test", None, Some(None)),
            ("hub-1.test", Some(access(443, "owner", None)), None),
        ] {
            let outcome = linked(&instance, &draft(hub, access.clone()), Some(&IfMatch::Any));
            match kept {
                Some(key) => assert_eq!(key_of(&outcome.unwrap(), hub), key.map(samples::key), "{access:?}"),
                None => assert!(matches!(outcome, Err(Error::Invalid(_))), "{access:?}"),
            }
        }
        for access in [None, Some(access(443, "owner", None))] {
            let outcome = linked(&instance, &draft("new.test", access), None);
            assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
        }
    }

    #[test]
    fn no_more_hubs_than_the_limit() {
        let mut instance = samples::instance("one");
        for number in 2..=MAX_LINKED_HUBS {
            let draft = draft(&format!("{number}.test"), Some(access(443, "owner", Some(1))));
            let outcome = linked(&instance, &draft, None);
            if number < MAX_LINKED_HUBS {
                instance = outcome.unwrap();
            } else {
                assert!(matches!(outcome, Err(Error::Invalid(_))));
            }
        }
        assert_eq!(instance.linked_hubs.len(), MAX_LINKED_HUBS);
    }
}

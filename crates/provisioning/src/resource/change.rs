//! Computes new and changed instances.

use std::num::NonZeroU32;

use model::{
    AccessPolicy, AllocationPolicy, Configured, HostName, HubEndpoint, IdScope, IfMatch, Instance,
    InstanceDraft, LinkDraft, LinkedHub, ManagedBy, PolicyName, ResourceFacts, ResourceKey, ResourceName,
    Rights, WebhookKeyDraft,
};

use super::policies;
use crate::{
    Error,
    link::{MAX_LINKED_HUBS, linked},
    ports::Entropy,
    record::fresh_key,
};

/// The most access policies of an instance: all of them are kept in memory.
pub(super) const MAX_ACCESS_POLICIES: usize = 50;

/// The most host names of an instance.
const MAX_SERVICE_HOSTS: usize = 20;

/// The most tags of an instance (quota of Azure's Resource Manager).
const MAX_TAGS: usize = 50;

/// The access policy of a new instance whose draft has none, as in Azure.
const OWNER: &str = "provisioningserviceowner";

/// Returns a new instance. Its host name is `NAME.DOMAIN` unless the draft has others.
pub(super) fn created(
    key: &ResourceKey,
    id_scope: IdScope,
    (draft, domain): (&InstanceDraft, Option<&str>),
    entropy: &dyn Entropy,
) -> Result<Instance, Error> {
    let invalid = |error: &dyn std::fmt::Display| Error::Invalid(error.to_string());
    let name = ResourceName::parse(&key.name).map_err(|error| invalid(&error))?;
    key.check_labels().map_err(|error| invalid(&error))?;
    let service_hosts = first_hosts(&name, draft, domain)?;
    let owner = AccessPolicy {
        name: PolicyName::parse(OWNER).map_err(|error| Error::Broken(error.to_string()))?,
        primary_key: fresh_key(entropy)?,
        secondary_key: fresh_key(entropy)?,
        rights: Rights::OF_POLICIES,
    };
    let resource = ResourceFacts {
        subscription: key.subscription.clone(),
        resource_group: key.resource_group.clone(),
        ..ResourceFacts::default()
    };
    let empty = Instance {
        id_scope,
        name: name.to_string(),
        service_hosts,
        allocation_policy: AllocationPolicy::Hashed,
        access_policies: vec![owner],
        linked_hubs: Vec::new(),
        failover: false,
        require_verified_ca: true,
        registrations: Default::default(),
        existing_devices: Default::default(),
        crl_max_age: Default::default(),
        max_registrations_per_minute: None,
        quotas: Default::default(),
        public_network_access: Default::default(),
        ip_filter: Default::default(),
        latency_table: Default::default(),
        keep_attempts: None,
        resource,
        managed: ManagedBy::Operators,
        deletion: None,
        cleanups_held: None,
        configured: Configured::default(),
        webhook_key: None,
        operation_key: fresh_key(entropy)?,
    };
    updated(&empty, draft, entropy)
}

/// Returns the host names of a new instance.
fn first_hosts(
    name: &ResourceName,
    draft: &InstanceDraft,
    domain: Option<&str>,
) -> Result<Vec<HostName>, Error> {
    match (&draft.service_hosts, domain) {
        (Some(hosts), _) => Ok(hosts.clone()),
        (None, Some(domain)) => {
            let host = format!("{}.{domain}", name.as_str().to_ascii_lowercase());
            Ok(vec![HostName::parse(host).map_err(|error| Error::Invalid(error.to_string()))?])
        }
        (None, None) => Err(Error::Invalid(
            "no host name is given, and the setting management.domain, which would make one, is not set"
                .into(),
        )),
    }
}

/// Returns the instance as drafted. What the draft leaves out stays.
pub(super) fn updated(
    instance: &Instance,
    draft: &InstanceDraft,
    entropy: &dyn Entropy,
) -> Result<Instance, Error> {
    let mut next = instance.clone();
    let facts = &mut next.resource;
    replace(&mut facts.location, &draft.location);
    replace(&mut facts.tags, &draft.tags);
    replace(&mut facts.capacity, &draft.capacity);
    replace(&mut next.allocation_policy, &draft.allocation_policy);
    replace(&mut next.service_hosts, &draft.service_hosts);
    replace(&mut next.failover, &draft.failover);
    replace(&mut next.require_verified_ca, &draft.require_verified_ca);
    replace(&mut next.registrations, &draft.registrations);
    replace(&mut next.existing_devices, &draft.existing_devices);
    replace(&mut next.quotas, &draft.quotas);
    replace(&mut next.public_network_access, &draft.public_network_access);
    replace(&mut next.ip_filter, &draft.ip_filter);
    replace(&mut next.crl_max_age, &draft.crl_max_age);
    replace(&mut next.latency_table, &draft.latency_table);
    replace(&mut next.keep_attempts, &draft.keep_attempts);
    match &draft.webhook_key {
        Some(WebhookKeyDraft::Given(key)) => next.webhook_key = Some(key.clone()),
        Some(WebhookKeyDraft::Derived) => next.webhook_key = None,
        None => {}
    }
    if let Some(most) = draft.max_registrations_per_minute {
        next.max_registrations_per_minute = NonZeroU32::new(most);
    }
    if let Some(policies) = &draft.access_policies {
        next.access_policies = policies::replaced(&instance.access_policies, policies, entropy)?;
    }
    if let Some(hubs) = &draft.linked_hubs {
        next = with_links(next, hubs)?;
    }
    checked(next)
}

fn replace<T: Clone>(setting: &mut T, draft: &Option<T>) {
    if let Some(value) = draft {
        setting.clone_from(value);
    }
}

/// Returns the instance with these links and no others.
fn with_links(mut instance: Instance, hubs: &[LinkDraft]) -> Result<Instance, Error> {
    if hubs.len() > MAX_LINKED_HUBS {
        return Err(Error::Invalid(format!("at most {MAX_LINKED_HUBS} hubs can be linked")));
    }
    let is_double = |(at, draft): &(usize, &LinkDraft)| hubs[..*at].iter().any(|it| it.name == draft.name);
    if let Some((_, draft)) = hubs.iter().enumerate().find(is_double) {
        return Err(Error::Invalid(format!("iotHubs has {} twice", draft.name)));
    }
    instance.linked_hubs.retain(|hub| hubs.iter().any(|draft| draft.name == hub.name));
    for draft in hubs {
        instance = match instance.linked_hub(&draft.name) {
            Some(stored) => linked(&instance, &with_stored(draft, stored), Some(&IfMatch::Any))?,
            None => linked(&instance, draft, None)?,
        };
    }
    Ok(instance)
}

/// Returns a draft that keeps what Azure's clients do not know, and therefore do not send back: CA certificates and the number
/// of devices.
fn with_stored(draft: &LinkDraft, stored: &LinkedHub) -> LinkDraft {
    let mut draft = draft.clone();
    draft.max_devices = draft.max_devices.or(stored.max_devices);
    if let (Some(access), HubEndpoint::Access(stored)) = (&mut draft.access, &stored.endpoint)
        && access.ca.is_empty()
    {
        access.ca.clone_from(&stored.ca);
    }
    draft
}

/// Returns the instance if its settings are within their bounds.
fn checked(instance: Instance) -> Result<Instance, Error> {
    let refuse = |text: &str| Err(Error::Invalid(text.to_owned()));
    if instance.allocation_policy == AllocationPolicy::Custom {
        return refuse("the custom allocation policy is for enrollments only");
    }
    if instance.service_hosts.is_empty() || instance.service_hosts.len() > MAX_SERVICE_HOSTS {
        return Err(Error::Invalid(format!("an instance has 1 to {MAX_SERVICE_HOSTS} host names")));
    }
    if instance.resource.tags.len() > MAX_TAGS {
        return Err(Error::Invalid(format!("an instance has at most {MAX_TAGS} tags")));
    }
    Ok(instance)
}

#[cfg(test)]
mod tests {
    use model::{HubName, PolicyDraft};

    use super::*;
    use crate::enroll::samples::{self, Counting};

    fn key(name: &str) -> ResourceKey {
        ResourceKey { subscription: "s".into(), resource_group: "g".into(), name: name.into() }
    }

    fn create(name: &str, draft: &InstanceDraft, domain: Option<&str>) -> Result<Instance, String> {
        let scope = IdScope::parse("0ne00000001").unwrap();
        created(&key(name), scope, (draft, domain), &Counting::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_new_instance_has_a_host_an_owner_and_no_hubs() {
        let instance = create("Plant-1", &InstanceDraft::default(), Some("dps.test")).unwrap();
        assert_eq!(instance.service_hosts, [HostName::parse("plant-1.dps.test").unwrap()]);
        assert_eq!(instance.access_policies[0].name.as_str(), OWNER);
        assert!(instance.linked_hubs.is_empty() && instance.require_verified_ca);
        assert!(key("PLANT-1").is_of(&instance) && !key("plant-2").is_of(&instance));
    }

    #[test]
    fn what_a_new_instance_lacks_is_named() {
        let none = InstanceDraft::default();
        for (name, draft, domain, expected) in [
            ("a", none.clone(), Some("dps.test"), "3 to 50"),
            ("123", none.clone(), Some("dps.test"), "not digits alone"),
            ("plant", none.clone(), None, "management.domain"),
            ("plant", InstanceDraft { service_hosts: Some(vec![]), ..none.clone() }, None, "host names"),
            (
                "plant",
                InstanceDraft { access_policies: Some(vec![]), ..none.clone() },
                Some("d.test"),
                "at least one",
            ),
            (
                "plant",
                InstanceDraft { allocation_policy: Some(AllocationPolicy::Custom), ..none.clone() },
                Some("d.test"),
                "enrollments only",
            ),
        ] {
            let error = create(name, &draft, domain).unwrap_err();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }

    /// Clients of Azure drop the members that they do not know.
    #[test]
    fn a_hub_keeps_what_clients_do_not_send_back() {
        let hub = |name: &str, access| LinkDraft {
            name: HubName::parse(name).unwrap(),
            access,
            location: "there".into(),
            weight: model::AllocationWeight::new(5).unwrap(),
            takes_new_devices: true,
            max_devices: None,
        };
        let access = |key: Option<u8>, ca: &[&str]| model::AccessDraft {
            port: 443,
            policy: "owner".into(),
            key: key.map(samples::key),
            ca: ca.iter().map(|name| samples::certificate(name)).collect(),
        };
        let full = LinkDraft { max_devices: Some(9), ..hub("far.test", Some(access(Some(1), &["ca-1"]))) };
        let hubs = |hubs: &[LinkDraft]| InstanceDraft {
            linked_hubs: Some(hubs.to_vec()),
            ..InstanceDraft::default()
        };
        let linked = updated(&samples::instance("one"), &hubs(&[full]), &Counting::default()).unwrap();
        for masked in [Some(access(None, &[])), None] {
            let again = updated(&linked, &hubs(&[hub("far.test", masked)]), &Counting::default()).unwrap();
            assert_eq!(again, linked);
        }
        let other =
            updated(&linked, &hubs(&[hub("far.test", Some(access(None, &["ca-2"])))]), &Counting::default())
                .unwrap();
        assert_ne!(other, linked, "a CA that is sent replaces the stored one");
        let twice = [hub("far.test", None), hub("FAR.test", None)];
        for (drafts, expected) in [(twice.to_vec(), "twice"), (vec![hub("far.test", None); 51], "at most 50")]
        {
            let error = updated(&linked, &hubs(&drafts), &Counting::default()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_draft_changes_what_it_names() {
        let before = samples::instance("one");
        assert_eq!(updated(&before, &InstanceDraft::default(), &Counting::default()).unwrap(), before);
        let kept = LinkDraft {
            name: HubName::parse("hub-2.test").unwrap(),
            access: None,
            location: "there".into(),
            weight: model::AllocationWeight::new(5).unwrap(),
            takes_new_devices: true,
            max_devices: None,
        };
        let draft = InstanceDraft {
            linked_hubs: Some(vec![kept]),
            failover: Some(true),
            max_registrations_per_minute: Some(0),
            access_policies: Some(vec![PolicyDraft {
                name: PolicyName::parse("new").unwrap(),
                primary_key: None,
                secondary_key: Some(samples::key(1)),
                rights: Some(Rights::OF_POLICIES),
            }]),
            ..InstanceDraft::default()
        };
        let next = updated(&before, &draft, &Counting::default()).unwrap();
        assert_eq!(next.linked_hubs.len(), 1);
        assert_eq!((next.linked_hubs[0].weight.number(), next.failover), (5, true));
        let policy = &next.access_policies[0];
        assert_eq!(
            (&policy.primary_key, &policy.secondary_key),
            (&samples::generated_key(1), &samples::key(1))
        );
    }
}

//! Which linked hubs an allocation may choose from.

use model::{Candidate, EnrollmentSettings, Exclusion, HubName, Instance, LinkedHub};

use super::{Situation, Unallocatable};

/// The hubs that were looked at.
pub(super) struct Field<'a> {
    /// All, in the order in which they are linked, then those that are not; with the reason against each that there is.
    pub(super) considered: Vec<Candidate>,
    /// Those without one.
    pub(super) eligible: Vec<&'a LinkedHub>,
}

impl<'a> Field<'a> {
    /// The hubs that the enrollment wants (all, when it names none). Failover never leaves a device without a hub: when
    /// all are ailing, none is passed over and the device waits. A device is not kept away from the hub it lives on.
    pub(super) fn of(instance: &'a Instance, settings: &EnrollmentSettings, situation: &Situation) -> Self {
        let wanted = wanted(settings);
        let hubs = || instance.linked_hubs.iter().filter(|hub| is_wanted(&hub.name, wanted));
        let is_ailing = |hub: &LinkedHub| {
            let unavailability = situation.ailing.get(&hub.name).filter(|_| instance.failover);
            unavailability.filter(|_| situation.current.as_ref() != Some(&hub.name)).copied()
        };
        let some_are_well = hubs().any(|hub| hub.takes_new_devices && is_ailing(hub).is_none());
        let exclusion = |hub: &LinkedHub| match hub.takes_new_devices {
            false => Some(Exclusion::Closed),
            true => is_ailing(hub).filter(|_| some_are_well).map(Exclusion::from),
        };
        let mut field = Field { considered: Vec::new(), eligible: Vec::new() };
        for hub in hubs() {
            let excluded = exclusion(hub);
            let (name, weight) = (hub.name.clone(), Some(hub.weight));
            let latency = situation.latencies.to(&name);
            field.considered.push(Candidate { hub: name, weight, latency, excluded });
            if excluded.is_none() {
                field.eligible.push(hub);
            }
        }
        let is_missing = |name: &&HubName| instance.linked_hub(name).is_none();
        field.considered.extend(wanted.iter().filter(is_missing).map(not_linked));
        field
    }

    /// Why there is no hub to choose.
    pub(super) fn problem(&self, settings: &EnrollmentSettings) -> Unallocatable {
        let names: Vec<_> = wanted(settings).iter().map(HubName::as_str).collect();
        if names.is_empty() { Unallocatable::NoHub } else { Unallocatable::NoneLinked(names.join(", ")) }
    }
}

/// Whether the enrollment may send new devices to this hub, whatever its health.
pub(super) fn may_choose(instance: &Instance, settings: &EnrollmentSettings, hub: &HubName) -> bool {
    let link = instance.linked_hub(hub).filter(|hub| hub.takes_new_devices);
    link.is_some_and(|link| is_wanted(&link.name, wanted(settings)))
}

/// The hubs that the enrollment names; `iotHubs` beats `iotHubHostName`.
pub(super) fn wanted(settings: &EnrollmentSettings) -> &[HubName] {
    if settings.hubs.is_empty() { settings.hub.as_slice() } else { &settings.hubs }
}

pub(super) fn is_wanted(hub: &HubName, wanted: &[HubName]) -> bool {
    wanted.is_empty() || wanted.contains(hub)
}

fn not_linked(hub: &HubName) -> Candidate {
    Candidate { hub: hub.clone(), weight: None, latency: None, excluded: Some(Exclusion::NotLinked) }
}

//! Finds the linked hubs that an allocation may choose from.

use model::{Candidate, CandidateLink, EnrollmentSettings, Exclusion, HubName, Instance, LinkedHub};

use super::{Situation, Unallocatable};

/// The hubs that an allocation considers.
pub(super) struct Candidates<'a> {
    /// All of them in the order of their links, then those that are not linked; each with the reason why it is excluded, if any.
    pub(super) considered: Vec<Candidate>,
    /// Those that are not excluded.
    pub(super) eligible: Vec<&'a LinkedHub>,
}

impl<'a> Candidates<'a> {
    /// Returns the hubs that the enrollment allows: all, if it names none. Failover never leaves a device without a hub: if all are
    /// unavailable, none is passed over, and the device waits. The current hub of a device is never passed over.
    pub(super) fn of(instance: &'a Instance, settings: &EnrollmentSettings, situation: &Situation) -> Self {
        let wanted = wanted(settings);
        let hubs = || instance.linked_hubs.iter().filter(|hub| is_wanted(&hub.name, wanted));
        let unavailability = |hub: &LinkedHub| {
            let reason = situation.unavailable.get(&hub.name).filter(|_| instance.failover);
            reason.filter(|_| situation.current.as_ref() != Some(&hub.name)).copied()
        };
        let some_available = hubs().any(|hub| hub.takes_new_devices && unavailability(hub).is_none());
        let exclusion = |hub: &LinkedHub| match hub.takes_new_devices {
            false => Some(Exclusion::Closed),
            true => unavailability(hub).filter(|_| some_available).map(Exclusion::from),
        };
        let mut candidates = Candidates { considered: Vec::new(), eligible: Vec::new() };
        for hub in hubs() {
            let excluded = exclusion(hub);
            let latency = situation.latencies.to(&hub.name);
            let link = Some(CandidateLink { weight: hub.weight, latency, excluded });
            candidates.considered.push(Candidate { hub: hub.name.clone(), link });
            if excluded.is_none() {
                candidates.eligible.push(hub);
            }
        }
        let is_missing = |name: &&HubName| instance.linked_hub(name).is_none();
        candidates.considered.extend(wanted.iter().filter(is_missing).map(not_linked));
        candidates
    }

    /// Returns why there is no hub to choose.
    pub(super) fn problem(&self, settings: &EnrollmentSettings) -> Unallocatable {
        let names: Vec<_> = wanted(settings).iter().map(HubName::as_str).collect();
        if names.is_empty() { Unallocatable::NoHub } else { Unallocatable::NoneLinked(names.join(", ")) }
    }
}

/// Whether the enrollment allows new devices at this hub, whatever its health.
pub(super) fn may_choose(instance: &Instance, settings: &EnrollmentSettings, hub: &HubName) -> bool {
    let link = instance.linked_hub(hub).filter(|hub| hub.takes_new_devices);
    link.is_some_and(|link| is_wanted(&link.name, wanted(settings)))
}

/// Returns the hubs that the enrollment names; `iotHubs` takes precedence over `iotHubHostName`.
pub(super) fn wanted(settings: &EnrollmentSettings) -> &[HubName] {
    if settings.hubs.is_empty() { settings.hub.as_slice() } else { &settings.hubs }
}

pub(super) fn is_wanted(hub: &HubName, wanted: &[HubName]) -> bool {
    wanted.is_empty() || wanted.contains(hub)
}

fn not_linked(hub: &HubName) -> Candidate {
    Candidate { hub: hub.clone(), link: None }
}

//! Chooses the hub of a device: pure functions over the linked hubs, their latencies and their health.

mod candidates;
pub mod custom;
mod hashed;
mod latency;
mod situation;
mod webhook_key;

use std::net::IpAddr;

use model::{
    AllocationPolicy, Because, Candidate, Chosen, CustomAllocation, Decision, DecisionOutcome, EnrollmentRef,
    EnrollmentSettings, Failure, FailureReason, HubName, Instance, LatencySource, LinkedHub, PolicyOf,
    RegistrationId, SeenFrom, Timestamp,
};

use candidates::{Candidates, wanted};
pub use situation::{Latencies, Situation, Unavailability};
pub use webhook_key::webhook_key;

/// The result of an allocation, with the hubs that it considered.
#[derive(Debug, Clone, PartialEq)]
pub struct Allocation {
    /// The policy that chose: the enrollment's, if it has one, else the service's.
    pub policy: AllocationPolicy,
    /// Whose policy that is.
    pub policy_of: PolicyOf,
    /// The hubs that were considered.
    pub candidates: Vec<Candidate>,
    /// The source of their latencies.
    pub latencies_from: Option<LatencySource>,
    /// The choice.
    pub choice: Choice,
}

/// The choice of an allocation.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// This hub.
    Hub(Chosen),
    /// This webhook decides, and these hubs are offered to it.
    Webhook(CustomAllocation, Vec<HubName>),
    /// No hub.
    None(Unallocatable),
}

/// Why no hub was chosen. The text is the message of the failed registration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unallocatable {
    /// No hub is linked, or none that takes new devices.
    #[error("no hub is linked to the service that takes new devices")]
    NoHub,
    /// None of the enrollment's hubs is linked and takes new devices.
    #[error("none of the enrollment's hubs is linked to the service and takes new devices: {0}")]
    NoneLinked(String),
    /// The static policy needs one hub: the one that the enrollment names, or the only one that is linked.
    #[error(
        "the static allocation policy needs an enrollment that names exactly one hub where several are linked"
    )]
    NotOneHub,
    /// The custom policy needs a webhook, which only an enrollment can name.
    #[error("the custom allocation policy needs an enrollment with a customAllocationDefinition")]
    NoWebhook,
}

impl Unallocatable {
    /// Returns the failure of the registration.
    pub fn failure(&self) -> Failure {
        let reason = match self {
            Unallocatable::NoWebhook => FailureReason::CustomAllocationFailed,
            Unallocatable::NoHub | Unallocatable::NoneLinked(_) | Unallocatable::NotOneHub => {
                FailureReason::NoHub
            }
        };
        Failure { reason, message: self.to_string() }
    }
}

/// Chooses a hub by the enrollment's policy, or by the instance's where the enrollment has none.
pub fn choose(
    instance: &Instance,
    settings: &EnrollmentSettings,
    registration_id: &RegistrationId,
    situation: &Situation,
) -> Allocation {
    let (policy, policy_of) = policy(instance, settings);
    let candidates = Candidates::of(instance, settings, situation);
    Allocation {
        policy,
        policy_of,
        choice: choice(policy, &candidates, settings, registration_id, situation),
        candidates: candidates.considered,
        latencies_from: situation.latencies.source().cloned(),
    }
}

/// Returns the policy for an enrollment's devices, and whose it is.
pub fn policy(instance: &Instance, settings: &EnrollmentSettings) -> (AllocationPolicy, PolicyOf) {
    match settings.allocation_policy {
        Some(policy) => (policy, PolicyOf::Enrollment),
        None => (instance.allocation_policy, PolicyOf::Service),
    }
}

/// Returns the latencies of the linked hubs to a device, and the hubs that a new device would share. The settings of an
/// enrollment are left out.
pub fn seen_from(instance: &Instance, address: IpAddr, latencies: &Latencies) -> SeenFrom {
    let hubs: Vec<_> = instance.linked_hubs.iter().filter(|hub| hub.takes_new_devices).collect();
    let nearest = latency::nearest(&hubs, latencies).into_iter().map(|hub| hub.name.clone()).collect();
    let far = |hub: &&LinkedHub| (hub.name.clone(), latencies.to(&hub.name));
    let source = latencies.source().cloned();
    SeenFrom { address, source, hubs: hubs.iter().map(far).collect(), nearest }
}

/// Whether a device may keep this hub, because it is still linked.
pub fn may_stay(instance: &Instance, hub: &HubName) -> bool {
    instance.linked_hub(hub).is_some()
}

/// Whether an enrollment allows this hub, because it names it or names none.
pub fn is_wanted(settings: &EnrollmentSettings, hub: &HubName) -> bool {
    candidates::is_wanted(hub, wanted(settings))
}

fn choice(
    policy: AllocationPolicy,
    candidates: &Candidates<'_>,
    settings: &EnrollmentSettings,
    registration_id: &RegistrationId,
    situation: &Situation,
) -> Choice {
    let hub = match policy {
        AllocationPolicy::Hashed => {
            let hub = hashed::choose(candidates.eligible.iter().copied(), registration_id);
            hub.map(|hub| (hub, Because::Hash))
        }
        AllocationPolicy::GeoLatency => latency::choose(&candidates.eligible, registration_id, situation),
        AllocationPolicy::Static => match (wanted(settings).len(), candidates.considered.len()) {
            (1, _) => candidates.eligible.first().map(|hub| (*hub, Because::Named)),
            // A recording of the hosted service shows an enrollment that names no hub assigned.
            (0, 1) => candidates.eligible.first().map(|hub| (*hub, Because::OnlyHub)),
            _ => return Choice::None(Unallocatable::NotOneHub),
        },
        AllocationPolicy::Custom => return webhook(candidates, settings),
    };
    match hub {
        Some((hub, because)) => Choice::Hub(Chosen { hub: hub.name.clone(), because }),
        None => Choice::None(candidates.problem(settings)),
    }
}

fn webhook(candidates: &Candidates<'_>, settings: &EnrollmentSettings) -> Choice {
    match &settings.custom_allocation {
        None => Choice::None(Unallocatable::NoWebhook),
        Some(_) if candidates.eligible.is_empty() => Choice::None(candidates.problem(settings)),
        Some(webhook) => {
            Choice::Webhook(webhook.clone(), candidates.eligible.iter().map(|hub| hub.name.clone()).collect())
        }
    }
}

impl Allocation {
    /// Returns the record of the allocation, which is pending or has failed.
    pub fn decision(&self, enrollment: EnrollmentRef, at: Timestamp) -> Decision {
        let (chosen, outcome) = match &self.choice {
            Choice::Hub(chosen) => (Some(chosen.clone()), DecisionOutcome::Pending),
            Choice::Webhook(..) => (None, DecisionOutcome::Pending),
            Choice::None(problem) => (None, DecisionOutcome::failed(at, problem.failure())),
        };
        let candidates = self.candidates.iter().take(Decision::MAX_CANDIDATES).cloned().collect();
        let (policy, policy_of) = (self.policy, self.policy_of);
        let latencies_from = self.latencies_from.clone();
        Decision {
            at,
            enrollment,
            moved_from: None,
            returning: None,
            policy,
            policy_of,
            candidates,
            latencies_from,
            chosen,
            webhook: None,
            outcome,
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

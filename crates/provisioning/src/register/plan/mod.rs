//! What a device that has proved itself gets: pure functions.
//!
//! Who may stay and who moves is the matrix of the reprovision policies (`docs/reprovisioning.md`):
//!
//! | policy | the hub | same hub | other hub |
//! |---|---|---|---|
//! | stay | the one it has, while that is linked | twin kept | only when its hub was unlinked |
//! | migrate | chosen anew | twin kept | twin carried along |
//! | reset | chosen anew | initial twin | initial twin |

mod placing;

use model::{
    AllocationPolicy, AllocationRequest, Assignment, AttestationDigest, Because, Chosen, CustomAllocation,
    Decision, DesiredDevice, DeviceId, DeviceSpec, Failure, HubName, Instance, PendingStep,
    ProvisioningStatus, Registration, RegistrationId, ReprovisionAction, ReprovisionPolicy, Returning,
    Status, Timestamp, WebhookRequest,
};

use super::{DefaultReprovision, RegisterRequest, ask::presented};
use crate::{
    allocate::{self, Allocation, Choice, Situation},
    attest::Attested,
};

pub(super) use placing::place;

/// What should happen.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Plan {
    /// Tell the device that its enrollment is disabled.
    Disable,
    /// Tell it that it cannot be assigned.
    Fail(Failure, Decision),
    /// Its assignment is under way, as it should be.
    Join,
    /// It stays where it is, with what it has; make sure that the hub still has it.
    Confirm(DeviceSpec, Decision),
    /// Its assignment is under way, and the hub is to be told something else.
    Redo(DeviceSpec),
    /// Put it on a hub: a new one, or its own with other credentials, capabilities or name.
    Assign(PendingStep, Decision),
}

/// A device that asks to be registered, and all that counts for what it gets.
pub(super) struct Case<'a> {
    pub(super) instance: &'a Instance,
    pub(super) attested: &'a Attested,
    /// The registration ID in the spelling of its first registration.
    pub(super) name: &'a RegistrationId,
    pub(super) previous: Option<&'a Registration>,
    pub(super) request: &'a RegisterRequest,
    pub(super) situation: &'a Situation,
    pub(super) now: Timestamp,
}

/// Decides.
pub(super) fn plan(case: &Case<'_>) -> Plan {
    if case.attested.settings().provisioning_status == ProvisioningStatus::Disabled {
        return Plan::Disable;
    }
    if let Some(spec) = case.under_way() {
        return case.follow_through(spec);
    }
    let (desired, current) = (case.desired(), case.current());
    let (choice, decision) = case.home(&desired, current);
    match choice {
        Choice::Hub(chosen) => case.go_to(&desired, current, chosen.hub, decision),
        Choice::Webhook(webhook, hubs) => case.ask(desired, webhook, hubs, decision),
        Choice::None(problem) => Plan::Fail(problem.failure(), decision),
    }
}

impl Case<'_> {
    /// The order that is being carried out, if its hub is linked still.
    fn under_way(&self) -> Option<&DeviceSpec> {
        match &self.previous?.status {
            Status::Assigning { step, .. } => step.spec().filter(|spec| self.is_linked(&spec.hub)),
            Status::Assigned(_) | Status::Failed { .. } | Status::Disabled { .. } => None,
        }
    }

    /// The hub may have been told already, so the device goes there and nowhere else, under the name that was decided.
    /// But it must be able to connect with what it holds now.
    fn follow_through(&self, spec: &DeviceSpec) -> Plan {
        let now = DeviceSpec {
            credentials: self.attested.credentials().clone(),
            iot_edge: self.attested.settings().iot_edge.unwrap_or_default(),
            ..spec.clone()
        };
        if now.digest() == spec.digest() && self.is_admitted_as_before() {
            Plan::Join
        } else {
            Plan::Redo(now)
        }
    }

    /// Whether the run under way relies on what let the device in now. One that relies on something else would end as not
    /// admitted, although the device has just proved itself.
    fn is_admitted_as_before(&self) -> bool {
        let digest = AttestationDigest::of(self.attested.admitted_by());
        self.previous.is_some_and(|previous| match &previous.status {
            Status::Assigning { admitted_by, .. } => {
                previous.enrollment == self.attested.enrollment()
                    && admitted_by.as_ref().is_none_or(|admitted_by| *admitted_by == digest)
            }
            Status::Assigned(_) | Status::Failed { .. } | Status::Disabled { .. } => true,
        })
    }

    /// Where it lives, whether or not that hub is linked still.
    fn current(&self) -> Option<&Assignment> {
        self.previous.and_then(Registration::assignment)
    }

    fn desired(&self) -> DesiredDevice {
        DesiredDevice {
            device_id: self.attested.device_id().unwrap_or_else(|| DeviceId::from(self.name)),
            credentials: self.attested.credentials().clone(),
            iot_edge: self.attested.settings().iot_edge.unwrap_or_default(),
            initial_twin: self.attested.initial_twin(),
            reprovision: reprovision(
                self.attested.settings().reprovision_policy,
                self.request.default_reprovision,
            ),
        }
    }

    /// The hub for the device. One that stays is not asked whether another would be better. One for which no hub can be
    /// chosen stays as well, if its enrollment does not keep it away from its hub: it takes no new device's place.
    fn home(&self, desired: &DesiredDevice, current: Option<&Assignment>) -> (Choice, Decision) {
        let (instance, settings) = (self.instance, self.attested.settings());
        let (policy, policy_of) = allocate::policy(instance, settings);
        let may_stay = current.map(|at| &at.hub).filter(|hub| self.is_linked(hub));
        let stays_unasked =
            desired.reprovision == ReprovisionAction::Stay && policy != AllocationPolicy::Custom;
        if let Some(hub) = may_stay.filter(|_| stays_unasked) {
            let choice = stays(hub);
            let (candidates, latencies_from) = (Vec::new(), None);
            return self
                .decided(desired, Allocation { policy, policy_of, candidates, latencies_from, choice });
        }
        let allocation = allocate::choose(instance, settings, self.name, self.situation);
        match (&allocation.choice, may_stay.filter(|hub| allocate::is_wanted(settings, hub))) {
            (Choice::None(_), Some(hub)) => {
                self.decided(desired, Allocation { choice: stays(hub), ..allocation })
            }
            _ => self.decided(desired, allocation),
        }
    }

    fn decided(&self, desired: &DesiredDevice, allocation: Allocation) -> (Choice, Decision) {
        let decision = allocation.decision(self.attested.enrollment(), self.now);
        let moved_from = self.attested.moved_from().cloned();
        let returning = self.current().map(|at| Returning {
            from: at.hub.clone(),
            reprovision: desired.reprovision,
            substatus: None,
        });
        (allocation.choice, Decision { moved_from, returning, ..decision })
    }

    fn go_to(
        &self,
        desired: &DesiredDevice,
        current: Option<&Assignment>,
        hub: HubName,
        decision: Decision,
    ) -> Plan {
        let spec = place(desired, current, hub);
        match current {
            Some(at) if self.has_all_of(at, &spec) => Plan::Confirm(spec, decision),
            _ => Plan::Assign(PendingStep::Ensure(Box::new(spec)), decision),
        }
    }

    /// The webhook is asked each time that a device comes: it may have something for the device even when that stays.
    fn ask(
        &self,
        desired: DesiredDevice,
        webhook: CustomAllocation,
        hubs: Vec<HubName>,
        decision: Decision,
    ) -> Plan {
        let request = WebhookRequest {
            webhook,
            enrollment: self.attested.admitted_by().clone(),
            registration_id: self.name.clone(),
            current: self.current().map(Assignment::hub_device),
            presented: presented(self.attested, &self.request.evidence),
            payload: self.request.payload.clone(),
            linked_hubs: hubs,
        };
        let asked = AllocationRequest { request, desired };
        match self.previous.map(|previous| &previous.status) {
            Some(Status::Assigning { step: PendingStep::Allocate(ask), .. }) if **ask == asked => Plan::Join,
            _ => Plan::Assign(PendingStep::Allocate(Box::new(asked)), decision),
        }
    }

    /// Whether the hub has all that it would be told, and the record says so.
    fn has_all_of(&self, at: &Assignment, spec: &DeviceSpec) -> bool {
        let came_so = |previous: &Registration| {
            matches!(previous.status, Status::Assigned(_)) && came_through(previous, self.attested)
        };
        spec.twin.is_kept()
            && at.sent.is_empty()
            && at.spec == spec.digest()
            && self.previous.is_some_and(came_so)
    }

    fn is_linked(&self, hub: &HubName) -> bool {
        allocate::may_stay(self.instance, hub)
    }
}

fn stays(hub: &HubName) -> Choice {
    Choice::Hub(Chosen { hub: hub.clone(), because: Because::Stays })
}

/// What the policy of the enrollment that lets the device in now means; without one, the device's API version counts.
fn reprovision(policy: Option<ReprovisionPolicy>, without: DefaultReprovision) -> ReprovisionAction {
    match (policy, without) {
        (Some(ReprovisionPolicy { update_hub_assignment: false, .. }), _) => ReprovisionAction::Stay,
        (Some(ReprovisionPolicy { migrate_device_data: true, .. }), _) => ReprovisionAction::Migrate,
        (Some(ReprovisionPolicy { migrate_device_data: false, .. }), _) => ReprovisionAction::Reset,
        (None, DefaultReprovision::Stay) => ReprovisionAction::Stay,
        (None, DefaultReprovision::Migrate) => ReprovisionAction::Migrate,
    }
}

/// Whether the registration names the enrollment that lets the device in now, and its way of proving itself.
pub(super) fn came_through(registration: &Registration, attested: &Attested) -> bool {
    registration.enrollment == attested.enrollment() && registration.attested_by == attested.by()
}

#[cfg(test)]
mod cases;
#[cfg(test)]
mod tests;

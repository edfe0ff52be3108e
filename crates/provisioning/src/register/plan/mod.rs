//! Plans what an attested device gets: pure functions.
//!
//! Whether a returning device keeps its hub follows from its reprovision policy (`docs/reprovisioning.md`):
//!
//! | policy | hub | same hub | other hub |
//! |---|---|---|---|
//! | stay | the current one, while that is linked | twin kept | only if its hub was unlinked: twin migrated |
//! | migrate | chosen anew | twin kept | twin migrated |
//! | reset | chosen anew | initial twin | initial twin |

mod device_spec;

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

pub(super) use device_spec::device_spec;

/// What happens to a registration.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Plan {
    /// Its enrollment is disabled.
    Disable,
    /// It cannot be assigned.
    Fail(Failure, Decision),
    /// It joins the run under way.
    Join,
    /// It keeps its assignment, and the hub is asked whether it still has the device.
    Confirm(DeviceSpec, Decision),
    /// The run under way continues with another device spec.
    Redo(DeviceSpec),
    /// It gets a new assignment: to another hub, or at its own with other credentials, capabilities or device ID.
    Assign(PendingStep, Decision),
}

/// An attested device that registers, and everything that its plan depends on.
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

/// Returns what happens to a registration.
pub(super) fn plan(case: &Case<'_>) -> Plan {
    if case.attested.settings().provisioning_status == ProvisioningStatus::Disabled {
        return Plan::Disable;
    }
    if let Some(spec) = case.under_way() {
        return case.join_or_redo(spec);
    }
    let (desired, current) = (case.desired(), case.current());
    let (choice, decision) = case.choose_hub(&desired, current);
    match choice {
        Choice::Hub(chosen) => case.assign(&desired, current, chosen.hub, decision),
        Choice::Webhook(webhook, hubs) => case.ask(desired, webhook, hubs, decision),
        Choice::None(problem) => Plan::Fail(problem.failure(), decision),
    }
}

impl Case<'_> {
    /// Returns the device spec of the run under way, if its hub is still linked.
    fn under_way(&self) -> Option<&DeviceSpec> {
        match &self.previous?.status {
            Status::Assigning { step, .. } => step.spec().filter(|spec| self.is_linked(&spec.hub)),
            Status::Assigned(_) | Status::Failed { .. } | Status::Disabled { .. } => None,
        }
    }

    /// Continues the run under way: its hub may have applied the spec already, so hub and device ID stay. But the device must be
    /// able to connect with the credentials that it has now.
    fn join_or_redo(&self, spec: &DeviceSpec) -> Plan {
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

    /// Whether the run under way depends on the enrollment that let the device in now. A run that depends on another would end
    /// as not admitted, although the device has just attested.
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

    /// Returns the assignment in effect, whether or not its hub is still linked.
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

    /// Chooses the hub. A device that stays keeps its hub without a choice. One for which no hub can be chosen keeps it as well,
    /// if its enrollment allows that hub: it is no new device there.
    fn choose_hub(&self, desired: &DesiredDevice, current: Option<&Assignment>) -> (Choice, Decision) {
        let (instance, settings) = (self.instance, self.attested.settings());
        let (policy, policy_of) = allocate::policy(instance, settings);
        let may_keep = current.map(|at| &at.hub).filter(|hub| self.is_linked(hub));
        let stays = desired.reprovision == ReprovisionAction::Stay && policy != AllocationPolicy::Custom;
        if let Some(hub) = may_keep.filter(|_| stays) {
            let choice = kept(hub);
            let (candidates, latencies_from) = (Vec::new(), None);
            return self
                .decided(desired, Allocation { policy, policy_of, candidates, latencies_from, choice });
        }
        let allocation = allocate::choose(instance, settings, self.name, self.situation);
        match (&allocation.choice, may_keep.filter(|hub| allocate::is_wanted(settings, hub))) {
            (Choice::None(_), Some(hub)) => {
                self.decided(desired, Allocation { choice: kept(hub), ..allocation })
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

    fn assign(
        &self,
        desired: &DesiredDevice,
        current: Option<&Assignment>,
        hub: HubName,
        decision: Decision,
    ) -> Plan {
        let spec = device_spec(desired, current, hub);
        match current {
            Some(at) if self.has_all_of(at, &spec) => Plan::Confirm(spec, decision),
            _ => Plan::Assign(PendingStep::Ensure(Box::new(spec)), decision),
        }
    }

    /// Asks the webhook at each registration: its answer may have a payload for a device that stays.
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
        let request = AllocationRequest { request, desired };
        match self.previous.map(|previous| &previous.status) {
            Some(Status::Assigning { step: PendingStep::Allocate(ask), .. }) if **ask == request => {
                Plan::Join
            }
            _ => Plan::Assign(PendingStep::Allocate(Box::new(request)), decision),
        }
    }

    /// Whether the hub has just what the spec says, according to the record.
    fn has_all_of(&self, at: &Assignment, spec: &DeviceSpec) -> bool {
        let came_through_this = |previous: &Registration| {
            matches!(previous.status, Status::Assigned(_)) && came_through(previous, self.attested)
        };
        spec.twin.is_kept()
            && at.sent.is_empty()
            && at.spec == spec.digest()
            && self.previous.is_some_and(came_through_this)
    }

    fn is_linked(&self, hub: &HubName) -> bool {
        allocate::may_stay(self.instance, hub)
    }
}

fn kept(hub: &HubName) -> Choice {
    Choice::Hub(Chosen { hub: hub.clone(), because: Because::Stays })
}

/// Returns what happens to a returning device, by the policy of its enrollment, or by its API version if there is none.
fn reprovision(policy: Option<ReprovisionPolicy>, without: DefaultReprovision) -> ReprovisionAction {
    match (policy, without) {
        (Some(policy), _) => policy.action(),
        (None, DefaultReprovision::Stay) => ReprovisionAction::Stay,
        (None, DefaultReprovision::Migrate) => ReprovisionAction::Migrate,
    }
}

/// Whether the registration names this enrollment and attestation mechanism.
pub(super) fn came_through(registration: &Registration, attested: &Attested) -> bool {
    registration.enrollment == attested.enrollment() && registration.attestation.mechanism() == attested.by()
}

#[cfg(test)]
mod cases;
#[cfg(test)]
mod tests;

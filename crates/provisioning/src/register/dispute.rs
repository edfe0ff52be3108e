//! Rejects device IDs at hubs that belong to another registration.
//!
//! A hub that is given a device spec gives the device of that ID these keys and this twin, whatever it was before. So only one
//! registration of all instances may own a device ID at a hub. The check here makes the failure that the device sees; the
//! guarantee is the store's, which gives a hub device to one registration only, in the transaction that writes the spec.

use model::{
    Decision, DecisionOutcome, Failure, FailureReason, HubDeviceRef, IdScope, PendingStep, RegistrationId,
};

use super::plan::Plan;
use crate::{Error, Provisioning};

impl Provisioning {
    /// Returns why this registration cannot have the hub device, if another one owns it.
    pub(super) async fn dispute(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
        hub_device: &HubDeviceRef,
    ) -> Result<Option<Failure>, Error> {
        let Some(owner) = self.store.other_owner(hub_device, scope, id).await? else { return Ok(None) };
        let HubDeviceRef { hub, device_id } = hub_device;
        tracing::warn!(
            instance.id_scope = %scope,
            registration.id = %id,
            hub.name = %hub,
            device.id = %device_id,
            owner.id_scope = %owner.id_scope,
            owner.registration_id = %owner.registration_id,
            "a device was not assigned: its device ID at the hub belongs to another registration"
        );
        // The message does not name the owner, which may be another tenant's.
        let message =
            format!("The device ID {device_id} at {hub} belongs to another registration of this service.");
        Ok(Some(Failure { reason: FailureReason::DeviceIdTaken, message }))
    }

    /// Returns the plan, or a failure in its place if another registration owns the hub device.
    pub(super) async fn undisputed(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
        plan: Plan,
    ) -> Result<Plan, Error> {
        let (hub_device, decision) = match &plan {
            Plan::Confirm(spec, decision) => (spec.hub_device(), decision),
            Plan::Assign(PendingStep::Ensure(spec), decision) => (spec.hub_device(), decision),
            // A run under way owns its hub device, and a webhook has not chosen a hub yet.
            Plan::Assign(PendingStep::Allocate(_), _)
            | Plan::Redo(_)
            | Plan::Join
            | Plan::Disable
            | Plan::Fail(..) => {
                return Ok(plan);
            }
        };
        let Some(failure) = self.dispute(scope, id, &hub_device).await? else { return Ok(plan) };
        let outcome = DecisionOutcome::failed(self.clock.now(), failure.clone());
        Ok(Plan::Fail(failure, Decision { outcome, ..decision.clone() }))
    }
}

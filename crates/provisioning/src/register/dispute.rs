//! Places at hubs that another registration has already.
//!
//! Telling a hub of a device gives that device these keys and this twin, whatever was there before. So a hub is told of a
//! device ID only for the one registration that has the place, of whichever instance. The look here yields the failure in
//! words; what makes it certain is the store, which gives a place to one registration only, in the transaction that
//! writes the order down.

use model::{
    Decision, DecisionOutcome, Failure, FailureReason, HubDeviceRef, IdScope, PendingStep, RegistrationId,
};

use super::plan::Plan;
use crate::{Error, Provisioning};

impl Provisioning {
    /// Why this registration cannot have the place, if another one has it.
    pub(super) async fn dispute(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
        place: &HubDeviceRef,
    ) -> Result<Option<Failure>, Error> {
        let Some(owner) = self.store.other_owner(place, scope, id).await? else { return Ok(None) };
        let HubDeviceRef { hub, device_id } = place;
        tracing::warn!(
            instance.id_scope = %scope,
            registration.id = %id,
            hub.name = %hub,
            device.id = %device_id,
            owner.id_scope = %owner.id_scope,
            owner.registration_id = %owner.registration_id,
            "a device was not assigned: its device ID at the hub belongs to another registration"
        );
        // The device and its operator are not told whose it is: that may be another tenant.
        let message =
            format!("The device ID {device_id} at {hub} belongs to another registration of this service.");
        Ok(Some(Failure { reason: FailureReason::DeviceIdTaken, message }))
    }

    /// The plan, or the failure of one that would put a device into the place of another registration.
    pub(super) async fn undisputed(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
        plan: Plan,
    ) -> Result<Plan, Error> {
        let (place, decision) = match &plan {
            Plan::Confirm(spec, decision) => (spec.hub_device(), decision),
            Plan::Assign(PendingStep::Ensure(spec), decision) => (spec.hub_device(), decision),
            // A run under way has its place, and a webhook has not chosen one yet.
            Plan::Assign(PendingStep::Allocate(_), _)
            | Plan::Redo(_)
            | Plan::Join
            | Plan::Disable
            | Plan::Fail(..) => {
                return Ok(plan);
            }
        };
        let Some(failure) = self.dispute(scope, id, &place).await? else { return Ok(plan) };
        let (outcome, ended) = (DecisionOutcome::Failed(failure.clone()), Some(self.clock.now()));
        Ok(Plan::Fail(failure, Decision { outcome, ended, ..decision.clone() }))
    }
}

//! Rejects device IDs at hubs that belong to another registration.
//!
//! A hub that is given a device spec gives the device of that ID these keys and this twin, whatever it was before. So only one
//! registration of all instances may own a device ID at a hub. The check here makes the failure that the device sees; the
//! guarantee is the store's, which gives a hub device to one registration only, in the transaction that writes the spec. So a
//! registration whose assignment is confirmed, or whose run is under way, owns its hub device, and is not checked again.

use model::{Failure, FailureReason, HubDeviceRef, IdScope, RegistrationId};

use crate::ports::Owner;

/// Returns why this registration cannot have the hub device, which belongs to another one.
pub(super) fn dispute(
    scope: &IdScope,
    id: &RegistrationId,
    HubDeviceRef { hub, device_id }: &HubDeviceRef,
    owner: &Owner,
) -> Failure {
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
    Failure { reason: FailureReason::DeviceIdTaken, message }
}

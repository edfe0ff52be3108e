//! The codes of failed registrations.

use model::FailureReason;

/// Returns the `errorCode` of a registration that failed: six digits, the first three of which are an HTTP status. The
/// numbers are those of the hosted service's documentation where it has one for the reason.
pub const fn failure_code(reason: FailureReason) -> u32 {
    match reason {
        FailureReason::CustomAllocationFailed => 400_207,
        // `CustomAllocationIotHubNotSpecified`: clients know it as "no hub" whatever the policy.
        FailureReason::NoHub => 400_208,
        // `CustomAllocationUnauthorizedAccess`, which clients know as "the hub refused", too.
        FailureReason::HubRefused | FailureReason::WebhookUnauthorized => 400_209,
        FailureReason::HubFull => 403_002,
        FailureReason::EnrollmentDisabled => 403_201,
        FailureReason::InstanceGone => 404_000,
        FailureReason::EnrollmentDeleted => 404_201,
        FailureReason::GroupDeleted => 404_204,
        FailureReason::Canceled => 409_205,
        FailureReason::AttestationChanged => 409_206,
        FailureReason::DeviceIdTaken => 409_208,
        FailureReason::Recorded(code) => code,
    }
}

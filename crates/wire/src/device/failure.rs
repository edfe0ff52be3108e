//! The error codes of failed registrations.

use model::FailureReason;

/// Returns the reasons that have this `errorCode`.
pub fn failures_with_code(code: u32) -> Vec<FailureReason> {
    let of_today = FailureReason::ALL.into_iter().filter(|reason| failure_code(*reason) == code);
    of_today.chain([FailureReason::Recorded(code)]).collect()
}

/// Returns the `errorCode` of a failed registration: six digits, the first three of which are an HTTP status. Where the
/// documentation of the hosted service has a code for the reason, it is used.
pub const fn failure_code(reason: FailureReason) -> u32 {
    match reason {
        FailureReason::CustomAllocationFailed => 400_207,
        // `CustomAllocationIotHubNotSpecified`: clients take it for "no hub", whatever the allocation policy.
        FailureReason::NoHub => 400_208,
        // `CustomAllocationUnauthorizedAccess`, which clients also take for "the hub refused".
        FailureReason::HubRefused | FailureReason::WebhookUnauthorized => 400_209,
        FailureReason::HubFull => 403_002,
        FailureReason::EnrollmentDisabled => 403_201,
        FailureReason::InstanceGone => 404_000,
        FailureReason::EnrollmentDeleted => 404_201,
        FailureReason::GroupDeleted => 404_204,
        FailureReason::Canceled => 409_205,
        FailureReason::AttestationChanged => 409_206,
        FailureReason::DeviceIdTaken => 409_208,
        FailureReason::DeviceExists => 409_209,
        FailureReason::Recorded(code) => code,
    }
}

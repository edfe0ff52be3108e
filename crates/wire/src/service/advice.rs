//! What an operator does next, for each reason why a device was refused or its registration failed. An addition of Muster.

use model::{FailureReason, RefusalReason};

/// Returns what to do about a refused attempt to register.
pub fn refusal_advice(reason: RefusalReason) -> &'static str {
    let row = REFUSAL_ADVICE.iter().find(|(other, _)| *other == reason);
    // No reason lacks a row: see the test.
    row.map_or("", |(_, advice)| advice)
}

const REFUSAL_ADVICE: &[(RefusalReason, &str)] = &[
    (
        RefusalReason::NoEnrollment,
        "Create an individual enrollment for the device or an enrollment group for its key or CA (muster enrollment create), \
             or correct the registration ID of the device.",
    ),
    (RefusalReason::OtherScope, "Configure the device with the ID scope of this instance."),
    (
        RefusalReason::NoToken,
        "Configure the device with the symmetric key of its enrollment, or change the attestation of the enrollment.",
    ),
    (
        RefusalReason::NoCertificate,
        "Have the device present its client certificate in the TLS handshake, or change the attestation of the enrollment.",
    ),
    (RefusalReason::NoEvidence, "Configure the device with a key, a client certificate or a TPM."),
    (
        RefusalReason::TokenExpired,
        "Set the clock of the device, and have it create a new SAS token for each registration.",
    ),
    (
        RefusalReason::OtherResource,
        "Have the device sign the resource {idScope}/registrations/{registrationId} with its own ID scope and registration ID.",
    ),
    (
        RefusalReason::WrongKey,
        "Compare the key of the device with that of the enrollment; for a group, the device needs the key that is derived \
             for its registration ID. After a rotation of keys, give the device the new one.",
    ),
    (RefusalReason::MalformedToken, "Correct how the device creates its SAS token: compare it with an SDK."),
    (
        RefusalReason::OtherCertificate,
        "Update the enrollment with the certificate that the device has now (muster enrollment update), or give the device \
             the enrolled one.",
    ),
    (
        RefusalReason::OtherName,
        "Issue the device a certificate whose common name is its registration ID, or have it register under that name.",
    ),
    (
        RefusalReason::CertificateExpired,
        "Renew the expired certificate; if it is a CA's, renew it with the same key and upload it. Check the clock of this \
             service.",
    ),
    (
        RefusalReason::CertificateNotYetValid,
        "Check the clocks of this service and of the CA that issued the certificate; otherwise wait until it is valid.",
    ),
    (
        RefusalReason::UnknownIssuer,
        "Have the device send its intermediate certificates, or upload the missing CA certificate (muster certificate upload).",
    ),
    (
        RefusalReason::BadCertificate,
        "Issue the certificate anew without what the text names: docs/certificate-rules.md lists all rules.",
    ),
    (
        RefusalReason::ChainTooLong,
        "Have the device send only its leaf and the intermediates that are needed, without the root.",
    ),
    (
        RefusalReason::Blocked,
        "If the block is a mistake, lift it (muster certificate unblock); otherwise the device stays out.",
    ),
    (RefusalReason::Revoked, "Issue the device a new certificate if it is to be admitted again."),
    (
        RefusalReason::NoFreshRevocationList,
        "Upload a fresh revocation list of the CA, repair its distribution point, or make its policy soft \
             (muster certificate crl).",
    ),
    (
        RefusalReason::UnverifiedCa,
        "Verify the CA certificate (muster certificate verify), or set require_verified_ca to false.",
    ),
    (
        RefusalReason::DeletedCa,
        "Upload the CA certificate again under the name that the enrollment has, or change the enrollment.",
    ),
    (
        RefusalReason::NoPathToGroup,
        "Compare the CA that issued the device's certificate with the certificates of the enrollment groups, and enroll it.",
    ),
    (
        RefusalReason::OtherIds,
        "Add the registration ID to allowedRegistrationIds of the group, or correct the registration ID of the device.",
    ),
    (
        RefusalReason::RegisteredElsewhere,
        "Delete the registration (muster registration delete) if the device may move to another group; otherwise give it \
             credentials of its own group.",
    ),
    (
        RefusalReason::KeptByOwnGroup,
        "Nothing: the device stays with its group. To move it, delete its registration or that group.",
    ),
    (
        RefusalReason::NotNearest,
        "Compare the certificates of the groups: the group nearest to the device's leaf decides.",
    ),
    (
        RefusalReason::NoTpm,
        "Have the device send the keys of its TPM, or change the attestation of the enrollment.",
    ),
    (
        RefusalReason::OtherTpm,
        "Update the enrollment with the endorsement key of the device's TPM, if the TPM was replaced on purpose.",
    ),
    (
        RefusalReason::ClearedTpm,
        "If the TPM was cleared on purpose, delete the registration, so that its new storage root key is accepted.",
    ),
    (RefusalReason::NoStorageRootKey, "Have the device send the storage root key of its TPM once."),
    (
        RefusalReason::NoOpenChallenge,
        "Nothing, if it happens once: the device asks for a new challenge. Otherwise update the SDK of the device.",
    ),
    (
        RefusalReason::UsedChallenge,
        "Nothing, if it happens once: the device asks for a new challenge. Otherwise update the SDK of the device.",
    ),
    (
        RefusalReason::IpFilter,
        "Add an IP filter rule that accepts the address before the one that rejects it, or enable public network access \
             (muster instance update).",
    ),
    (
        RefusalReason::Quota,
        "Delete registrations of devices that are gone (muster registration delete), or raise the quota \
             (muster instance update --quotas).",
    ),
    (
        RefusalReason::ConnectionLimit,
        "Find out which clients use up the connections (docs/limits.md, docs/metrics.md); raise the limit if the fleet needs it.",
    ),
    (
        RefusalReason::Handshake,
        "Compare the TLS versions and ciphers of the device with those of this service, and whether the device trusts the CA \
             of its certificate.",
    ),
    (
        RefusalReason::Login,
        "Correct the user name of MQTT or the SASL login of AMQP: it is {idScope}/registrations/{registrationId}.",
    ),
    (
        RefusalReason::Protocol,
        "Update the SDK of the device, or look for a proxy or a slow line between it and this service.",
    ),
    (
        RefusalReason::BadRequest,
        "Correct the request of the device as the text says: compare it with an SDK.",
    ),
];

/// Returns what to do about a failed registration.
pub const fn failure_advice(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::AttestationChanged => {
            "Have the device register again: its enrollment was changed meanwhile."
        }
        FailureReason::Canceled => "Have the device register again if the cancelation was a mistake.",
        FailureReason::CustomAllocationFailed => {
            "Read the reply of the webhook, repair it, and have the device register again; it may only name hubs that are \
             linked, allowed by the enrollment and open for new devices."
        }
        FailureReason::DeviceExists => {
            "Delete the device at the hub if it is not needed, or set existing_devices to adopt; then have it register again."
        }
        FailureReason::DeviceIdTaken => {
            "Give one of the enrollments another deviceId, or delete the registration that has this one."
        }
        FailureReason::EnrollmentDeleted | FailureReason::GroupDeleted => {
            "Create the enrollment again (muster enrollment create) if the device is to be admitted."
        }
        FailureReason::EnrollmentDisabled => {
            "Enable the enrollment (muster enrollment enable) if the device is to be admitted."
        }
        FailureReason::HubFull => {
            "Raise the quota or max_devices of the hub, link another hub, or turn failover on (muster hub policy)."
        }
        FailureReason::HubRefused => {
            "Check the link (muster hub check) and the message of the hub; then have the device register again."
        }
        FailureReason::InstanceGone => "Configure the device with the ID scope of an instance that exists.",
        FailureReason::NoHub => {
            "Link a hub (muster hub link), open a link for new devices, or correct the hubs that the enrollment or the webhook names."
        }
        FailureReason::WebhookUnauthorized => {
            "Compare the key of the webhook (muster webhook key) and the secret in its URL with what the webhook expects."
        }
        FailureReason::Recorded(_) => "Have the device register again: the new reason will be more exact.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_advice_that_is_a_sentence() {
        let refusals =
            RefusalReason::ALL.iter().map(|reason| (format!("{reason:?}"), refusal_advice(*reason)));
        let failures = FailureReason::ALL.into_iter().chain([FailureReason::Recorded(500_001)]);
        let failures = failures.map(|reason| (format!("{reason:?}"), failure_advice(reason)));
        for (reason, advice) in refusals.chain(failures) {
            assert!(advice.ends_with('.') && advice.len() > 20, "{reason}: {advice}");
            assert!(advice.starts_with(char::is_uppercase) && !advice.contains("  "), "{reason}: {advice}");
        }
    }
}

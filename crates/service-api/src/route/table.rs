//! The table of routes.

use std::future::ready;

use model::{EnrollmentGroup, IndividualEnrollment, Right};

use crate::{
    assignments, certificates, change_log, enrollments, explain, latency, links, quotas, registrations,
    request::{MAX_IMPORT_BODY_BYTES, MAX_LIST_BODY_BYTES},
    revocation, usage,
};

use super::{Handler, InstanceHandler, ParameterKind, QueryParameter, Route, Verb, parameters};

const READ: &[Right] = &[Right::EnrollmentRead];
const WRITE: &[Right] = &[Right::EnrollmentWrite];
const SEE: &[Right] = &[Right::RegistrationStatusRead];
const DROP: &[Right] = &[Right::RegistrationStatusWrite];
/// CAs and hubs decide about every device of the instance.
pub(super) const CONFIGURE: &[Right] = &[Right::ServiceConfig];
/// Replies about the instance itself hold no secrets, so that any right to read, or to configure, suffices.
const ANY_READ: &[Right] = &[Right::ServiceConfig, Right::EnrollmentRead, Right::RegistrationStatusRead];
/// The change log names every record, and who changed it.
const AUDIT: &[Right] = &[Right::ChangeLogRead];
/// Enrollments name the CAs that they lead to.
pub(super) const SEE_CAS: &[Right] = &[Right::ServiceConfig, Right::EnrollmentRead];

/// Every route. `query` is an ID like any other for methods other than POST.
pub(super) static ROUTES: &[Route] = &[
    get("/enrollments/{registrationId}", "IndividualEnrollment_Get", READ, |call| {
        Box::pin(enrollments::read_individual(call))
    })
    .summary("Returns an individual enrollment with the state of its device's registration")
    .replies("IndividualEnrollment"),
    put("/enrollments/{registrationId}", "IndividualEnrollment_CreateOrUpdate", WRITE, |call| {
        Box::pin(enrollments::put::<IndividualEnrollment>(call))
    })
    .summary("Creates an individual enrollment, or replaces the one that If-Match names")
    .conditional()
    .takes("IndividualEnrollment")
    .replies("IndividualEnrollment"),
    delete("/enrollments/{registrationId}", "IndividualEnrollment_Delete", WRITE, |call| {
        Box::pin(enrollments::delete::<IndividualEnrollment>(call))
    })
    .summary("Deletes an individual enrollment")
    .conditional(),
    post(
        "/enrollments/{registrationId}/attestationmechanism",
        "IndividualEnrollment_GetAttestationMechanism",
        WRITE,
        |call| Box::pin(enrollments::mechanism::<IndividualEnrollment>(call)),
    )
    .summary("Returns the attestation mechanism of an individual enrollment with its keys")
    .replies("AttestationMechanism"),
    post(
        "/enrollments/{registrationId}/keys/regenerate",
        "IndividualEnrollment_RegenerateKeys",
        WRITE,
        |call| Box::pin(enrollments::regenerate_keys::<IndividualEnrollment>(call)),
    )
    .summary("Replaces symmetric keys of an individual enrollment by new ones")
    .conditional()
    .takes("KeySelection")
    .replies("IndividualEnrollment"),
    post("/enrollments/query", "IndividualEnrollment_Query", READ, |call| {
        Box::pin(enrollments::query::<IndividualEnrollment>(call))
    })
    .summary("Lists individual enrollments by registration ID")
    .query(parameters::PREFIX)
    .takes_optionally("QuerySpecification")
    .replies_pages_of("IndividualEnrollment")
    .reads(),
    get("/enrollments", "IndividualEnrollment_List", READ, |call| {
        Box::pin(enrollments::search::<IndividualEnrollment>(call))
    })
    .summary("Lists the individual enrollments that meet all conditions by registration ID")
    .query(parameters::ENROLLMENT_SEARCH)
    .replies_pages_of("IndividualEnrollment"),
    get("/enrollmentCount", "IndividualEnrollment_Count", READ, |call| {
        Box::pin(enrollments::count::<IndividualEnrollment>(call))
    })
    .summary("Counts the individual enrollments that meet all conditions")
    .query(parameters::ENROLLMENT_SEARCH)
    .replies("RecordCount"),
    get("/enrollmentGroupCount", "EnrollmentGroup_Count", READ, |call| {
        Box::pin(enrollments::count::<EnrollmentGroup>(call))
    })
    .summary("Counts the enrollment groups that meet all conditions")
    .query(parameters::ENROLLMENT_SEARCH)
    .replies("RecordCount"),
    get("/registrationCount", "DeviceRegistrationState_Count", SEE, |call| {
        Box::pin(assignments::count(call))
    })
    .summary("Counts the registrations that meet all conditions")
    .query(parameters::REGISTRATION_SEARCH)
    .replies("RecordCount"),
    post("/enrollments", "IndividualEnrollment_RunBulkOperation", WRITE, |call| {
        Box::pin(enrollments::bulk::<IndividualEnrollment>(call))
    })
    .summary("Creates, replaces or deletes up to ten individual enrollments")
    .takes("BulkEnrollmentOperation")
    .replies("BulkEnrollmentOperationResult"),
    post("/enrollments/import", "IndividualEnrollment_Import", WRITE, |call| {
        Box::pin(enrollments::import::<IndividualEnrollment>(call))
    })
    .summary("Has up to a hundred individual enrollments become what their JSON says, and leaves those that are so already")
    .takes("EnrollmentImport")
    .replies("EnrollmentImportResult")
    .max_body_bytes(MAX_IMPORT_BODY_BYTES),
    post("/enrollments/export", "IndividualEnrollment_Export", WRITE, |call| {
        Box::pin(enrollments::export::<IndividualEnrollment>(call))
    })
    .summary("Lists individual enrollments with their keys and certificates, as an import takes them")
    .query(parameters::PREFIX)
    .replies_pages_of("IndividualEnrollment"),
    get("/enrollmentGroups/{enrollmentGroupId}", "EnrollmentGroup_Get", READ, |call| {
        Box::pin(enrollments::read::<EnrollmentGroup>(call))
    })
    .summary("Returns an enrollment group")
    .replies("EnrollmentGroup"),
    put("/enrollmentGroups/{enrollmentGroupId}", "EnrollmentGroup_CreateOrUpdate", WRITE, |call| {
        Box::pin(enrollments::put::<EnrollmentGroup>(call))
    })
    .summary("Creates an enrollment group, or replaces the one that If-Match names")
    .conditional()
    .takes("EnrollmentGroup")
    .replies("EnrollmentGroup"),
    delete("/enrollmentGroups/{enrollmentGroupId}", "EnrollmentGroup_Delete", WRITE, |call| {
        Box::pin(enrollments::delete::<EnrollmentGroup>(call))
    })
    .summary("Deletes an enrollment group")
    .conditional(),
    post(
        "/enrollmentGroups/{enrollmentGroupId}/attestationmechanism",
        "EnrollmentGroup_GetAttestationMechanism",
        WRITE,
        |call| Box::pin(enrollments::mechanism::<EnrollmentGroup>(call)),
    )
    .summary("Returns the attestation mechanism of an enrollment group with its keys")
    .replies("AttestationMechanism"),
    post(
        "/enrollmentGroups/{enrollmentGroupId}/keys/regenerate",
        "EnrollmentGroup_RegenerateKeys",
        WRITE,
        |call| Box::pin(enrollments::regenerate_keys::<EnrollmentGroup>(call)),
    )
    .summary("Replaces symmetric keys of an enrollment group by new ones")
    .conditional()
    .takes("KeySelection")
    .replies("EnrollmentGroup"),
    post("/enrollmentGroups/query", "EnrollmentGroup_Query", READ, |call| {
        Box::pin(enrollments::query::<EnrollmentGroup>(call))
    })
    .summary("Lists enrollment groups by their IDs")
    .query(parameters::PREFIX)
    .takes_optionally("QuerySpecification")
    .replies_pages_of("EnrollmentGroup")
    .reads(),
    get("/enrollmentGroups", "EnrollmentGroup_List", READ, |call| {
        Box::pin(enrollments::search::<EnrollmentGroup>(call))
    })
    .summary("Lists the enrollment groups that meet all conditions by their IDs")
    .query(parameters::ENROLLMENT_SEARCH)
    .replies_pages_of("EnrollmentGroup"),
    post("/enrollmentGroups", "EnrollmentGroup_RunBulkOperation", WRITE, |call| {
        Box::pin(enrollments::bulk::<EnrollmentGroup>(call))
    })
    .summary("Creates, replaces or deletes up to ten enrollment groups")
    .takes("BulkEnrollmentGroupOperation")
    .replies("BulkEnrollmentGroupOperationResult"),
    post("/enrollmentGroups/import", "EnrollmentGroup_Import", WRITE, |call| {
        Box::pin(enrollments::import::<EnrollmentGroup>(call))
    })
    .summary("Has up to a hundred enrollment groups become what their JSON says, and leaves those that are so already")
    .takes("EnrollmentGroupImport")
    .replies("EnrollmentGroupImportResult")
    .max_body_bytes(MAX_IMPORT_BODY_BYTES),
    post("/enrollmentGroups/export", "EnrollmentGroup_Export", WRITE, |call| {
        Box::pin(enrollments::export::<EnrollmentGroup>(call))
    })
    .summary("Lists enrollment groups with their keys and certificates, as an import takes them")
    .query(parameters::PREFIX)
    .replies_pages_of("EnrollmentGroup"),
    get("/registrations/{registrationId}", "DeviceRegistrationState_Get", SEE, |call| {
        Box::pin(registrations::read(call))
    })
    .summary("Returns a registration")
    .replies("DeviceRegistrationState"),
    delete("/registrations/{registrationId}", "DeviceRegistrationState_Delete", DROP, |call| {
        Box::pin(registrations::delete(call))
    })
    .summary("Deletes a registration")
    .conditional(),
    post("/registrations/{enrollmentGroupId}/query", "DeviceRegistrationState_Query", SEE, |call| {
        Box::pin(registrations::query(call))
    })
    .summary("Lists the registrations of an enrollment group by registration ID")
    .takes_optionally("QuerySpecification")
    .replies_pages_of("DeviceRegistrationState")
    .reads(),
    get(
        "/registrations/{registrationId}/attempts",
        "DeviceRegistrationState_ListAttempts",
        SEE,
        |call| Box::pin(registrations::attempts(call)),
    )
    .summary("Returns the last refused attempts to register under a registration ID, latest first")
    .replies("Attempts"),
    get("/attempts", "Attempt_List", SEE, |call| {
        Box::pin(registrations::search_attempts(call))
    })
    .summary("Returns refused attempts to register, of all devices, latest first")
    .query(parameters::ATTEMPT_SEARCH)
    .replies("Attempts"),
    post("/attestation/explain", "Attestation_Explain", READ, |call| {
        Box::pin(explain::explain(call))
    })
    .summary("Explains whether a described device would be admitted, without registering it")
    .takes("DescribedDevice")
    .replies("ExplanationWithWarnings")
    .reads(),
    get("/registrations", "DeviceRegistrationState_List", SEE, |call| {
        Box::pin(assignments::list(call))
    })
    .summary("Lists the registrations that meet all conditions by registration ID")
    .query(parameters::REGISTRATION_SEARCH)
    .replies_pages_of("ListedRegistration"),
    get(
        "/registrations/{registrationId}/explanation",
        "DeviceRegistrationState_Explain",
        SEE,
        |call| Box::pin(assignments::explain(call)),
    )
    .summary("Returns a registration with the decisions that led to it")
    .replies("ExplainedRegistration"),
    post("/registrations/{registrationId}/cancel", "DeviceRegistrationState_Cancel", DROP, |call| {
        Box::pin(assignments::cancel(call))
    })
    .summary("Cancels an unfinished assignment")
    .conditional()
    .replies("ListedRegistration"),
    get("/cleanups", "Cleanup_List", SEE, |call| {
        Box::pin(assignments::cleanups(call))
    })
    .summary("Lists the devices that are to be removed from hubs")
    .replies_pages_of("Cleanup"),
    post("/cleanups/confirm", "Cleanup_Confirm", DROP, |call| {
        Box::pin(assignments::confirm(call))
    })
    .summary("Releases the cleanups that are held because the database was restored or copied"),
    delete("/cleanups/{hubDevice}", "Cleanup_Forget", DROP, |call| {
        Box::pin(assignments::forget(call))
    })
    .summary("Abandons a cleanup: the device remains at the hub"),
    get("/log", "ChangeLog_Get", AUDIT, |call| {
        Box::pin(change_log::read(call))
    })
    .summary("Returns who changed what, when, and from where, oldest change first")
    .query(parameters::LOG_FILTER)
    .replies("ChangeLog")
    .continues(),
    get("/quotas", "Quotas_Get", ANY_READ, |call| Box::pin(quotas::read(call)))
        .summary("Returns the limits of the instance, and how much of each is used")
        .replies("QuotaReport"),
    get("/usage", "Usage_Get", ANY_READ, |call| Box::pin(usage::read(call)))
        .summary("Returns the number of completed operations by day and kind")
        .query(&[
            QueryParameter {
                name: "from",
                kind: ParameterKind::Day,
                description: "The first day; 29 days before the last one if absent.",
            },
            QueryParameter {
                name: "to",
                kind: ParameterKind::Day,
                description: "The last day; today if absent.",
            },
        ])
        .replies("Usage"),
    get("/latency", "Latency_Get", ANY_READ, |call| {
        Box::pin(ready(latency::read(call)))
    })
    .summary("Returns the latencies to the linked hubs")
    .query(&[QueryParameter {
        name: "address",
        kind: ParameterKind::Text,
        description: "Adds the latencies of a device with this IP address.",
    }])
    .replies("Latencies"),
    get("/certificates", "DpsCertificate_List", SEE_CAS, |call| {
        Box::pin(certificates::list(call))
    })
    .summary("Lists the CA certificates by name")
    .replies("CertificateListDescription"),
    get("/certificates/{certificateName}", "DpsCertificate_Get", SEE_CAS, |call| {
        Box::pin(certificates::read(call))
    })
    .summary("Returns a CA certificate")
    .replies("CertificateResponse"),
    put("/certificates/{certificateName}", "DpsCertificate_CreateOrUpdate", CONFIGURE, |call| {
        Box::pin(certificates::put(call))
    })
    .summary("Uploads a CA certificate, or replaces the one that If-Match names")
    .conditional()
    .takes("CertificateUpload")
    .replies("CertificateResponse"),
    delete("/certificates/{certificateName}", "DpsCertificate_Delete", CONFIGURE, |call| {
        Box::pin(certificates::delete(call))
    })
    .summary("Deletes a CA certificate")
    .only_conditional(),
    post(
        "/certificates/{certificateName}/generateVerificationCode",
        "DpsCertificate_GenerateVerificationCode",
        CONFIGURE,
        |call| Box::pin(certificates::code(call)),
    )
    .summary("Generates a code for the proof of possession of a CA certificate's key")
    .only_conditional()
    .replies("CertificateResponse"),
    post(
        "/certificates/{certificateName}/verify",
        "DpsCertificate_VerifyCertificate",
        CONFIGURE,
        |call| Box::pin(certificates::verify(call)),
    )
    .summary("Verifies the proof of possession of a CA certificate's key")
    .only_conditional()
    .takes("CertificateProof")
    .replies("CertificateResponse"),
    get("/certificates/{certificateName}/revocation", "Revocation_Get", SEE_CAS, |call| {
        Box::pin(revocation::read(call))
    })
    .summary("Returns the revocation policy and the revocation lists of a CA")
    .replies("Revocation"),
    put("/certificates/{certificateName}/revocation", "Revocation_Update", CONFIGURE, |call| {
        Box::pin(revocation::put(call))
    })
    .summary("Changes the revocation policy of a CA, or stores a revocation list")
    .takes("RevocationChange")
    .replies("Revocation")
    .max_body_bytes(MAX_LIST_BODY_BYTES),
    delete("/certificates/{certificateName}/revocation", "Revocation_Delete", CONFIGURE, |call| {
        Box::pin(revocation::delete(call))
    })
    .summary("Deletes the revocation lists of a CA, or one of them")
    .query(&[QueryParameter {
        name: "list",
        kind: ParameterKind::Text,
        description: "The ID of the list to delete; all lists if absent.",
    }]),
    get("/blockedCertificates", "Block_List", SEE_CAS, |call| {
        Box::pin(revocation::blocks(call))
    })
    .summary("Lists the blocked certificates by thumbprint")
    .replies("BlockList"),
    put("/blockedCertificates/{thumbprint}", "Block_CreateOrUpdate", CONFIGURE, |call| {
        Box::pin(revocation::block(call))
    })
    .summary("Blocks the certificate with a SHA-256 thumbprint")
    .takes("BlockRequest")
    .replies("Block"),
    delete("/blockedCertificates/{thumbprint}", "Block_Delete", CONFIGURE, |call| {
        Box::pin(revocation::unblock(call))
    })
    .summary("Lifts a block"),
    get("/expiringCertificates", "ExpiringCertificates_List", SEE_CAS, |call| {
        Box::pin(revocation::expiring(call))
    })
    .summary("Lists the certificates that have expired or will expire soon")
    .query(&[QueryParameter {
        name: "within",
        kind: ParameterKind::Pattern("^[0-9]{1,4}d?$"),
        description: "Within this number of days; 30d if absent.",
    }])
    .replies("ExpiringCertificates"),
    get("/linkedHubs", "LinkedHub_List", ANY_READ, |call| Box::pin(ready(links::list(call))))
        .summary("Lists the linked hubs")
        .replies("LinkedHubs"),
    get("/linkedHubs/{hubName}", "LinkedHub_Get", ANY_READ, |call| {
        Box::pin(ready(links::read(call)))
    })
    .summary("Returns a linked hub")
    .replies("LinkedHub"),
    put("/linkedHubs/{hubName}", "LinkedHub_CreateOrUpdate", CONFIGURE, |call| {
        Box::pin(links::put(call))
    })
    .summary("Links a hub, or changes the link that If-Match names")
    .query(&[QueryParameter {
        name: "check",
        kind: ParameterKind::OneOf(|| vec!["true", "false"]),
        description: "Whether the service first checks at the hub that the key has the necessary rights; true if absent.",
    }])
    .conditional()
    .takes("LinkedHub")
    .replies("LinkedHub"),
    delete("/linkedHubs/{hubName}", "LinkedHub_Delete", CONFIGURE, |call| {
        Box::pin(links::delete(call))
    })
    .summary("Unlinks a hub")
    .conditional(),
    post("/linkedHubs/{hubName}/check", "LinkedHub_Check", CONFIGURE, |call| {
        Box::pin(links::check(call))
    })
    .summary("Checks at a linked hub whether the link's key has the necessary rights")
    .replies("LinkCheck")
    .reads(),
    get("/allocationPolicy", "AllocationPolicy_Get", ANY_READ, |call| {
        Box::pin(ready(links::read_default_policy(call)))
    })
    .summary("Returns the defaults for enrollments that do not set an allocation policy")
    .replies("AllocationDefaults"),
    put("/allocationPolicy", "AllocationPolicy_Update", CONFIGURE, |call| {
        Box::pin(links::put_default_policy(call))
    })
    .summary("Changes the defaults for enrollments that do not set an allocation policy")
    .takes("AllocationDefaults")
    .replies("AllocationDefaults"),
    // Like for attestation mechanisms: a route that returns a key is not a GET.
    post("/webhookKey", "WebhookKey_Get", CONFIGURE, |call| {
        Box::pin(ready(links::webhook_key(call)))
    })
    .summary("Returns the key by which webhooks verify the requests of the instance")
    .replies("WebhookKey"),
];

pub(super) const fn get(
    path: &'static str,
    name: &'static str,
    rights: &'static [Right],
    handler: InstanceHandler,
) -> Route {
    Route::new(Verb::Get, path, name, rights, Handler::Instance(handler))
}

pub(super) const fn put(
    path: &'static str,
    name: &'static str,
    rights: &'static [Right],
    handler: InstanceHandler,
) -> Route {
    Route::new(Verb::Put, path, name, rights, Handler::Instance(handler))
}

pub(super) const fn post(
    path: &'static str,
    name: &'static str,
    rights: &'static [Right],
    handler: InstanceHandler,
) -> Route {
    Route::new(Verb::Post, path, name, rights, Handler::Instance(handler))
}

pub(super) const fn delete(
    path: &'static str,
    name: &'static str,
    rights: &'static [Right],
    handler: InstanceHandler,
) -> Route {
    Route::new(Verb::Delete, path, name, rights, Handler::Instance(handler))
}

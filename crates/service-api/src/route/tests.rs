//! Paths as clients spell them, and paths that are no routes.

use proptest::prelude::*;

use super::*;

fn check(method: Method, path: &str, expected: Result<(&str, &str), &str>) {
    match (parse(&method, path), expected) {
        (Ok(Target { route, parameters }), Ok((name, parameter))) => {
            assert_eq!((route.name, parameters.concat().as_str()), (name, parameter), "{method} {path}");
        }
        (Err(Failure::NoRoute), Err("404")) => {}
        (Err(Failure::Argument(_)), Err("400")) => {}
        (Err(Failure::Method { allowed }), Err(methods)) => assert_eq!(allowed, methods, "{path}"),
        (found, expected) => {
            panic!("{method} {path}: {:?}, expected {expected:?}", found.map(|target| target.route.name));
        }
    }
}

#[test]
fn routes_of_devices_in_the_spellings_of_clients() {
    check(Method::GET, "/enrollments/a", Ok(("IndividualEnrollment_Get", "a")));
    check(Method::GET, "/ENROLLMENTS/Dev:A_b.1", Ok(("IndividualEnrollment_Get", "Dev:A_b.1")));
    check(Method::GET, "/enrollments/r%3A1", Ok(("IndividualEnrollment_Get", "r:1")));
    check(Method::PUT, "/enrollments/a/", Ok(("IndividualEnrollment_CreateOrUpdate", "a")));
    check(Method::PUT, "/enrollments/query", Ok(("IndividualEnrollment_CreateOrUpdate", "query")));
    check(Method::DELETE, "/enrollments/a", Ok(("IndividualEnrollment_Delete", "a")));
    check(
        Method::POST,
        "/enrollments/a/attestationMechanism",
        Ok(("IndividualEnrollment_GetAttestationMechanism", "a")),
    );
    check(Method::POST, "/enrollments/a/keys/Regenerate", Ok(("IndividualEnrollment_RegenerateKeys", "a")));
    check(Method::POST, "/enrollmentgroups/g/keys/regenerate", Ok(("EnrollmentGroup_RegenerateKeys", "g")));
    check(Method::POST, "/enrollments/query", Ok(("IndividualEnrollment_Query", "")));
    check(Method::POST, "/enrollments", Ok(("IndividualEnrollment_RunBulkOperation", "")));
    check(Method::POST, "/enrollments/", Ok(("IndividualEnrollment_RunBulkOperation", "")));
    check(Method::GET, "/enrollmentgroups/g", Ok(("EnrollmentGroup_Get", "g")));
    check(Method::PUT, "/enrollmentGroups/g", Ok(("EnrollmentGroup_CreateOrUpdate", "g")));
    check(Method::DELETE, "/enrollmentGroups/g", Ok(("EnrollmentGroup_Delete", "g")));
    check(
        Method::POST,
        "/enrollmentgroups/g/attestationmechanism",
        Ok(("EnrollmentGroup_GetAttestationMechanism", "g")),
    );
    check(Method::POST, "/enrollmentGroups/query", Ok(("EnrollmentGroup_Query", "")));
    check(Method::POST, "/enrollmentGroups/", Ok(("EnrollmentGroup_RunBulkOperation", "")));
    check(Method::GET, "/registrations/a", Ok(("DeviceRegistrationState_Get", "a")));
    check(Method::DELETE, "/registrations/a", Ok(("DeviceRegistrationState_Delete", "a")));
    check(Method::POST, "/registrations/g/query", Ok(("DeviceRegistrationState_Query", "g")));
    check(Method::GET, "/registrations/a/attempts", Ok(("DeviceRegistrationState_ListAttempts", "a")));
    check(Method::POST, "/attestation/explain", Ok(("Attestation_Explain", "")));
    check(Method::GET, "/registrations/", Ok(("DeviceRegistrationState_List", "")));
    check(Method::GET, "/registrations/a/explanation", Ok(("DeviceRegistrationState_Explain", "a")));
    check(Method::POST, "/registrations/a/cancel", Ok(("DeviceRegistrationState_Cancel", "a")));
    check(Method::GET, "/cleanups", Ok(("Cleanup_List", "")));
    check(Method::POST, "/cleanups/confirm", Ok(("Cleanup_Confirm", "")));
    check(Method::DELETE, "/cleanups/a.hub%2FDev", Ok(("Cleanup_Forget", "a.hub/Dev")));
}

#[test]
fn routes_of_the_instance_in_the_spellings_of_clients() {
    check(Method::GET, "/log", Ok(("ChangeLog_Get", "")));
    check(Method::GET, "/attempts", Ok(("Attempt_List", "")));
    check(Method::GET, "/usage", Ok(("Usage_Get", "")));
    check(Method::GET, "/Quotas/", Ok(("Quotas_Get", "")));
    check(Method::GET, "/enrollmentcount", Ok(("IndividualEnrollment_Count", "")));
    check(Method::GET, "/enrollmentGroupCount", Ok(("EnrollmentGroup_Count", "")));
    check(Method::GET, "/registrationCount", Ok(("DeviceRegistrationState_Count", "")));
    check(Method::GET, "/certificates/", Ok(("DpsCertificate_List", "")));
    check(Method::GET, "/certificates/Root%20CA", Ok(("DpsCertificate_Get", "Root CA")));
    check(Method::PUT, "/certificates/a", Ok(("DpsCertificate_CreateOrUpdate", "a")));
    check(Method::DELETE, "/certificates/a", Ok(("DpsCertificate_Delete", "a")));
    check(
        Method::POST,
        "/certificates/a/generateVerificationCode",
        Ok(("DpsCertificate_GenerateVerificationCode", "a")),
    );
    check(Method::POST, "/certificates/a/verify", Ok(("DpsCertificate_VerifyCertificate", "a")));
    check(Method::GET, "/certificates/a/revocation", Ok(("Revocation_Get", "a")));
    check(Method::PUT, "/certificates/a/revocation", Ok(("Revocation_Update", "a")));
    check(Method::DELETE, "/certificates/a/revocation", Ok(("Revocation_Delete", "a")));
    check(Method::GET, "/blockedCertificates", Ok(("Block_List", "")));
    check(Method::PUT, "/blockedCertificates/AB", Ok(("Block_CreateOrUpdate", "AB")));
    check(Method::DELETE, "/blockedCertificates/AB", Ok(("Block_Delete", "AB")));
    check(Method::GET, "/expiringCertificates", Ok(("ExpiringCertificates_List", "")));
    let resource = "/subscriptions/S/resourceGroups/G/providers/Microsoft.Devices/provisioningServices/one";
    check(Method::GET, &format!("{resource}/certificates"), Ok(("Resource_DpsCertificate_List", "SGone")));
    check(
        Method::POST,
        &format!("{resource}/Certificates/a/verify"),
        Ok(("Resource_DpsCertificate_VerifyCertificate", "SGonea")),
    );
    check(Method::GET, resource, Ok(("IotDpsResource_Get", "SGone")));
    check(Method::POST, &format!("{resource}/listKeys"), Ok(("IotDpsResource_ListKeys", "SGone")));
    let lower = resource.to_lowercase();
    check(Method::PATCH, &lower, Ok(("IotDpsResource_Update", "sgone")));
    check(Method::GET, "/linkedhubs/", Ok(("LinkedHub_List", "")));
    check(Method::GET, "/linkedHubs/hub.example", Ok(("LinkedHub_Get", "hub.example")));
    check(Method::PUT, "/linkedHubs/hub.example", Ok(("LinkedHub_CreateOrUpdate", "hub.example")));
    check(Method::DELETE, "/linkedHubs/hub.example", Ok(("LinkedHub_Delete", "hub.example")));
    check(Method::POST, "/linkedHubs/hub.example/check", Ok(("LinkedHub_Check", "hub.example")));
    check(Method::GET, "/allocationPolicy", Ok(("AllocationPolicy_Get", "")));
    check(Method::PUT, "/allocationPolicy", Ok(("AllocationPolicy_Update", "")));
    check(Method::POST, "/webhookkey", Ok(("WebhookKey_Get", "")));
}

#[test]
fn other_paths_have_no_route() {
    check(Method::GET, "/", Err("404"));
    check(Method::GET, "", Err("404"));
    check(Method::GET, "/0ne1/registrations/a", Err("404"));
    check(Method::GET, "/enrollments/a/b/c", Err("404"));
    check(Method::POST, "/enrollments/a/secrets", Err("404"));
    check(Method::GET, "/enrollments/%FF", Err("400"));
    check(Method::PUT, "/enrollments", Err("GET, POST"));
    check(Method::DELETE, "/enrollments/", Err("GET, POST"));
    check(Method::POST, "/enrollments/a", Err("GET, PUT, DELETE"));
    check(Method::PATCH, "/enrollmentGroups/g", Err("GET, PUT, DELETE"));
    check(Method::GET, "/enrollments/a/attestationmechanism", Err("POST"));
    check(Method::PUT, "/registrations/a", Err("GET, DELETE"));
    check(Method::PUT, "/registrations/", Err("GET"));
    check(Method::POST, "/usage", Err("GET"));
    check(Method::POST, "/certificates", Err("GET"));
    check(Method::GET, "/subscriptions/S/resourceGroups/G", Err("404"));
    let resource = "/subscriptions/S/resourceGroups/G/providers/Microsoft.Devices/provisioningServices/one";
    check(Method::POST, resource, Err("GET, PUT, PATCH, DELETE"));
    check(Method::GET, "/subscriptions", Err("404"));
    check(Method::GET, &format!("{resource}/enrollments/a"), Err("404"));
}

#[test]
fn what_changes_something_or_returns_keys_is_audited() {
    let quiet = [
        "/enrollments/query",
        "/enrollmentGroups/query",
        "/registrations/{enrollmentGroupId}/query",
        "/attestation/explain",
        "/linkedHubs/{hubName}/check",
        "/subscriptions/{subscriptionId}/providers/Microsoft.Devices/checkProvisioningServiceNameAvailability",
    ];
    for route in all() {
        let reads = route.verb == Verb::Get || quiet.contains(&route.path);
        assert_eq!(route.is_audited(), !reads, "{} {}", route.verb.as_str(), route.path);
    }
}

#[test]
fn parameters_of_a_path_are_found_in_order() {
    let route = Route {
        path: "/a/{first}/b/{second}",
        ..Route::new(Verb::Get, "", "", &[], Handler::Instance(|_| Box::pin(async { Err(Failure::NoRoute) })))
    };
    assert!(
        route.fits(&["A", "1", "b", "2"])
            && !route.fits(&["a", "1", "b"])
            && !route.fits(&["a", "1", "b", "2", "c"])
    );
    assert_eq!(route.path_parameters().collect::<Vec<_>>(), ["first", "second"]);
    assert_eq!(route.values(&["a", "%31", "b", "2"]).unwrap(), ["1", "2"]);
}

#[test]
fn service_paths_are_recognized() {
    for path in [
        "/enrollments",
        "/ENROLLMENTGROUPS/x",
        "/registrations/a/query",
        "/Usage",
        "/usage/x/y",
        "/openapi.json",
    ] {
        assert!(is_service_path(path), "{path}");
    }
    for path in
        ["/", "", "/0ne1/registrations/a/register", "/enrollment/x", "//enrollments", "/openapi.json/x"]
    {
        assert!(!is_service_path(path), "{path}");
    }
}

proptest! {
    /// The server chooses the service by `is_service_path`: it must hold for each path that has a route or another method.
    #[test]
    fn every_path_with_a_route_is_a_service_path(
        path in "/(enrollments|enrollmentgroups|usage|registrations)(/[a-z%0-9.]{0,8}){0,2}|[/a-zA-Z%0-9.]{0,60}|\\PC{0,60}",
    ) {
        match parse(&Method::POST, &path) {
            Ok(_) | Err(Failure::Method { .. }) => prop_assert!(is_service_path(&path)),
            Err(_) => {}
        }
    }
}

//! The table of routes: method, path, what it does, and which rights allow it.

use http::Method;
use model::Right;
use percent_encoding::percent_decode_str;

use crate::error::Failure;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    IndividualRead,
    IndividualPut,
    IndividualDelete,
    IndividualMechanism,
    IndividualKeys,
    IndividualQuery,
    IndividualBulk,
    GroupRead,
    GroupPut,
    GroupDelete,
    GroupMechanism,
    GroupKeys,
    GroupQuery,
    GroupBulk,
    RegistrationRead,
    RegistrationDelete,
    RegistrationQuery,
    RegistrationAttempts,
    CleanupConfirm,
    CleanupForget,
    CleanupList,
    Explain,
    RegistrationCancel,
    RegistrationExplain,
    RegistrationList,
    LogRead,
    Usage,
    LatencyRead,
    CertificateList,
    CertificateRead,
    CertificatePut,
    CertificateDelete,
    CertificateCode,
    CertificateVerify,
    RevocationRead,
    RevocationPut,
    RevocationDelete,
    BlockList,
    BlockPut,
    BlockDelete,
    Expiring,
    LinkedHubList,
    LinkedHubRead,
    LinkedHubPut,
    LinkedHubDelete,
    LinkedHubCheck,
    DefaultPolicyRead,
    DefaultPolicyPut,
    WebhookKey,
}

impl Endpoint {
    /// Whether a successful call belongs into the audit log: it changes something, or tells keys.
    pub(crate) fn is_audited(self) -> bool {
        use Endpoint::{Explain, GroupQuery, IndividualQuery, LinkedHubCheck, RegistrationQuery};
        let reads = [Explain, GroupQuery, IndividualQuery, LinkedHubCheck, RegistrationQuery];
        let is_get = ROUTES.iter().any(|route| route.endpoint == self && route.method == Method::GET);
        !is_get && !reads.contains(&self)
    }
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Route {
    method: Method,
    /// Segments; literals match in any case, [`ID`] matches anything.
    path: &'static [&'static str],
    /// What it does.
    pub(crate) endpoint: Endpoint,
    /// Any one of these allows it.
    pub(crate) rights: &'static [Right],
}

const ID: &str = "{id}";

const READ: &[Right] = &[Right::EnrollmentRead];
const WRITE: &[Right] = &[Right::EnrollmentWrite];
const SEE: &[Right] = &[Right::RegistrationStatusRead];
const DROP: &[Right] = &[Right::RegistrationStatusWrite];
/// CAs and hubs decide about every device of the instance; the change log names every record, and who changed it.
const CONFIGURE: &[Right] = &[Right::ServiceConfig];
/// What is shown of the service itself holds no secrets: whoever may read anything, or runs the instance, may see it.
const ANY_READ: &[Right] = &[Right::ServiceConfig, Right::EnrollmentRead, Right::RegistrationStatusRead];

/// Whoever may read enrollments may see the CAs that they lead to.
const SEE_CAS: &[Right] = &[Right::ServiceConfig, Right::EnrollmentRead];

/// Every route. `query` is an ID like any other for methods other than POST.
static ROUTES: &[Route] = &[
    route(Method::GET, &["enrollments", ID], Endpoint::IndividualRead, READ),
    route(Method::PUT, &["enrollments", ID], Endpoint::IndividualPut, WRITE),
    route(Method::DELETE, &["enrollments", ID], Endpoint::IndividualDelete, WRITE),
    route(Method::POST, &["enrollments", ID, "attestationmechanism"], Endpoint::IndividualMechanism, WRITE),
    route(Method::POST, &["enrollments", ID, "keys", "regenerate"], Endpoint::IndividualKeys, WRITE),
    route(Method::POST, &["enrollments", "query"], Endpoint::IndividualQuery, READ),
    route(Method::POST, &["enrollments"], Endpoint::IndividualBulk, WRITE),
    route(Method::GET, &["enrollmentGroups", ID], Endpoint::GroupRead, READ),
    route(Method::PUT, &["enrollmentGroups", ID], Endpoint::GroupPut, WRITE),
    route(Method::DELETE, &["enrollmentGroups", ID], Endpoint::GroupDelete, WRITE),
    route(Method::POST, &["enrollmentGroups", ID, "attestationmechanism"], Endpoint::GroupMechanism, WRITE),
    route(Method::POST, &["enrollmentGroups", ID, "keys", "regenerate"], Endpoint::GroupKeys, WRITE),
    route(Method::POST, &["enrollmentGroups", "query"], Endpoint::GroupQuery, READ),
    route(Method::POST, &["enrollmentGroups"], Endpoint::GroupBulk, WRITE),
    route(Method::GET, &["registrations", ID], Endpoint::RegistrationRead, SEE),
    route(Method::DELETE, &["registrations", ID], Endpoint::RegistrationDelete, DROP),
    route(Method::POST, &["registrations", ID, "query"], Endpoint::RegistrationQuery, SEE),
    route(Method::GET, &["registrations", ID, "attempts"], Endpoint::RegistrationAttempts, SEE),
    route(Method::POST, &["attestation", "explain"], Endpoint::Explain, READ),
    route(Method::GET, &["registrations"], Endpoint::RegistrationList, SEE),
    route(Method::GET, &["registrations", ID, "explanation"], Endpoint::RegistrationExplain, SEE),
    route(Method::POST, &["registrations", ID, "cancel"], Endpoint::RegistrationCancel, DROP),
    route(Method::GET, &["cleanups"], Endpoint::CleanupList, SEE),
    route(Method::POST, &["cleanups", "confirm"], Endpoint::CleanupConfirm, DROP),
    route(Method::DELETE, &["cleanups", ID], Endpoint::CleanupForget, DROP),
    route(Method::GET, &["log"], Endpoint::LogRead, CONFIGURE),
    route(Method::GET, &["usage"], Endpoint::Usage, ANY_READ),
    route(Method::GET, &["latency"], Endpoint::LatencyRead, ANY_READ),
    route(Method::GET, &["certificates"], Endpoint::CertificateList, SEE_CAS),
    route(Method::GET, &["certificates", ID], Endpoint::CertificateRead, SEE_CAS),
    route(Method::PUT, &["certificates", ID], Endpoint::CertificatePut, CONFIGURE),
    route(Method::DELETE, &["certificates", ID], Endpoint::CertificateDelete, CONFIGURE),
    route(
        Method::POST,
        &["certificates", ID, "generateVerificationCode"],
        Endpoint::CertificateCode,
        CONFIGURE,
    ),
    route(Method::POST, &["certificates", ID, "verify"], Endpoint::CertificateVerify, CONFIGURE),
    route(Method::GET, &["certificates", ID, "revocation"], Endpoint::RevocationRead, SEE_CAS),
    route(Method::PUT, &["certificates", ID, "revocation"], Endpoint::RevocationPut, CONFIGURE),
    route(Method::DELETE, &["certificates", ID, "revocation"], Endpoint::RevocationDelete, CONFIGURE),
    route(Method::GET, &["blockedCertificates"], Endpoint::BlockList, SEE_CAS),
    route(Method::PUT, &["blockedCertificates", ID], Endpoint::BlockPut, CONFIGURE),
    route(Method::DELETE, &["blockedCertificates", ID], Endpoint::BlockDelete, CONFIGURE),
    route(Method::GET, &["expiringCertificates"], Endpoint::Expiring, SEE_CAS),
    route(Method::GET, &["linkedHubs"], Endpoint::LinkedHubList, ANY_READ),
    route(Method::GET, &["linkedHubs", ID], Endpoint::LinkedHubRead, ANY_READ),
    route(Method::PUT, &["linkedHubs", ID], Endpoint::LinkedHubPut, CONFIGURE),
    route(Method::DELETE, &["linkedHubs", ID], Endpoint::LinkedHubDelete, CONFIGURE),
    route(Method::POST, &["linkedHubs", ID, "check"], Endpoint::LinkedHubCheck, CONFIGURE),
    route(Method::GET, &["allocationPolicy"], Endpoint::DefaultPolicyRead, ANY_READ),
    route(Method::PUT, &["allocationPolicy"], Endpoint::DefaultPolicyPut, CONFIGURE),
    // As for attestation mechanisms: what tells a key is no GET.
    route(Method::POST, &["webhookKey"], Endpoint::WebhookKey, CONFIGURE),
];

const fn route(
    method: Method,
    path: &'static [&'static str],
    endpoint: Endpoint,
    rights: &'static [Right],
) -> Route {
    Route { method, path, endpoint, rights }
}

/// A route, and the ID that the path names, percent-decoded; empty where the route has none.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) route: &'static Route,
    pub(crate) id: String,
}

/// Every route as its method and its path with `{id}` in it; for tests that must not miss one.
pub fn routes() -> impl Iterator<Item = (Method, String)> {
    ROUTES.iter().map(|route| (route.method.clone(), format!("/{}", route.path.join("/"))))
}

/// Whether a path belongs to this endpoint: its first segment is one of ours, in any case.
pub fn is_service_path(path: &str) -> bool {
    let first = segments(path).next();
    first.is_some_and(|first| is_ours(first) || first.eq_ignore_ascii_case(RESOURCE[0]))
}

/// Finds the route of a request.
pub(crate) fn parse(method: &Method, path: &str) -> Result<Target, Failure> {
    let segments: Vec<&str> = segments(path).collect();
    let segments = below_resource(&segments);
    let fitting: Vec<&'static Route> = ROUTES.iter().filter(|route| route.fits(segments)).collect();
    if let Some(route) = fitting.iter().find(|route| route.method == *method) {
        return Ok(Target { route, id: route.id(segments)? });
    }
    // A collection without the ID that the method needs is documented as 405, not as 404.
    let is_collection = matches!(segments, [collection] if is_ours(collection));
    if fitting.is_empty() && !is_collection {
        return Err(Failure::NoRoute);
    }
    let methods: Vec<&str> = fitting.iter().map(|route| route.method.as_str()).collect();
    Err(Failure::Method { allowed: methods.join(", ") })
}

impl Route {
    fn fits(&self, segments: &[&str]) -> bool {
        let same =
            |(pattern, segment): (&&str, &&str)| *pattern == ID || pattern.eq_ignore_ascii_case(segment);
        self.path.len() == segments.len() && self.path.iter().zip(segments).all(same)
    }

    fn id(&self, segments: &[&str]) -> Result<String, Failure> {
        let named = self.path.iter().zip(segments).find(|(pattern, _)| **pattern == ID);
        let Some((_, segment)) = named else { return Ok(String::new()) };
        match percent_decode_str(segment).decode_utf8() {
            Ok(id) => Ok(id.into_owned()),
            Err(_) => Err(Failure::Argument("the ID in the path is not UTF-8".into())),
        }
    }
}

/// What follows the name of a provisioning service in the resource manager's API, whose clients address CA certificates
/// below it; all of another path. Which instance is meant the host name says, there as everywhere.
fn below_resource<'a, 'p>(segments: &'a [&'p str]) -> &'a [&'p str] {
    let is_resource = segments.len() > RESOURCE.len()
        && RESOURCE
            .iter()
            .zip(segments)
            .all(|(pattern, segment)| *pattern == ID || pattern.eq_ignore_ascii_case(segment))
        && segments[RESOURCE.len()].eq_ignore_ascii_case("certificates");
    if is_resource { &segments[RESOURCE.len()..] } else { segments }
}

/// A provisioning service in the resource manager's API.
const RESOURCE: [&str; 8] =
    ["subscriptions", ID, "resourceGroups", ID, "providers", "Microsoft.Devices", "provisioningServices", ID];

/// The segments of a path, without the empty ones that a leading and a trailing slash make.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.strip_suffix('/').unwrap_or(path).split('/')
}

fn is_ours(segment: &str) -> bool {
    ROUTES.iter().filter_map(|route| route.path.first()).any(|first| first.eq_ignore_ascii_case(segment))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(method: Method, path: &str, expected: Result<(Endpoint, &str), &str>) {
        let outcome = parse(&method, path);
        match (&outcome, expected) {
            (Ok(target), Ok((endpoint, id))) => {
                assert_eq!((target.route.endpoint, target.id.as_str()), (endpoint, id), "{method} {path}");
            }
            (Err(Failure::NoRoute), Err("404")) => {}
            (Err(Failure::Argument(_)), Err("400")) => {}
            (Err(Failure::Method { allowed }), Err(methods)) => assert_eq!(allowed, methods, "{path}"),
            (outcome, expected) => panic!("{method} {path}: {outcome:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn every_route_in_the_spellings_of_clients() {
        use Endpoint::*;
        check(Method::GET, "/enrollments/a", Ok((IndividualRead, "a")));
        check(Method::GET, "/ENROLLMENTS/Dev:A_b.1", Ok((IndividualRead, "Dev:A_b.1")));
        check(Method::GET, "/enrollments/r%3A1", Ok((IndividualRead, "r:1")));
        check(Method::PUT, "/enrollments/a/", Ok((IndividualPut, "a")));
        check(Method::PUT, "/enrollments/query", Ok((IndividualPut, "query")));
        check(Method::DELETE, "/enrollments/a", Ok((IndividualDelete, "a")));
        check(Method::POST, "/enrollments/a/attestationMechanism", Ok((IndividualMechanism, "a")));
        check(Method::POST, "/enrollments/a/keys/Regenerate", Ok((IndividualKeys, "a")));
        check(Method::POST, "/enrollmentgroups/g/keys/regenerate", Ok((GroupKeys, "g")));
        check(Method::POST, "/enrollments/query", Ok((IndividualQuery, "")));
        check(Method::POST, "/enrollments", Ok((IndividualBulk, "")));
        check(Method::POST, "/enrollments/", Ok((IndividualBulk, "")));
        check(Method::GET, "/enrollmentgroups/g", Ok((GroupRead, "g")));
        check(Method::PUT, "/enrollmentGroups/g", Ok((GroupPut, "g")));
        check(Method::DELETE, "/enrollmentGroups/g", Ok((GroupDelete, "g")));
        check(Method::POST, "/enrollmentgroups/g/attestationmechanism", Ok((GroupMechanism, "g")));
        check(Method::POST, "/enrollmentGroups/query", Ok((GroupQuery, "")));
        check(Method::POST, "/enrollmentGroups/", Ok((GroupBulk, "")));
        check(Method::GET, "/registrations/a", Ok((RegistrationRead, "a")));
        check(Method::DELETE, "/registrations/a", Ok((RegistrationDelete, "a")));
        check(Method::POST, "/registrations/g/query", Ok((RegistrationQuery, "g")));
        check(Method::GET, "/registrations/a/attempts", Ok((RegistrationAttempts, "a")));
        check(Method::POST, "/attestation/explain", Ok((Explain, "")));
        check(Method::GET, "/registrations/", Ok((RegistrationList, "")));
        check(Method::GET, "/registrations/a/explanation", Ok((RegistrationExplain, "a")));
        check(Method::POST, "/registrations/a/cancel", Ok((RegistrationCancel, "a")));
        check(Method::GET, "/cleanups", Ok((CleanupList, "")));
        check(Method::POST, "/cleanups/confirm", Ok((CleanupConfirm, "")));
        check(Method::DELETE, "/cleanups/a.hub%2FDev", Ok((CleanupForget, "a.hub/Dev")));
        check(Method::GET, "/log", Ok((LogRead, "")));
        check(Method::GET, "/usage", Ok((Usage, "")));
        check(Method::GET, "/certificates/", Ok((CertificateList, "")));
        check(Method::GET, "/certificates/Root%20CA", Ok((CertificateRead, "Root CA")));
        check(Method::PUT, "/certificates/a", Ok((CertificatePut, "a")));
        check(Method::DELETE, "/certificates/a", Ok((CertificateDelete, "a")));
        check(Method::POST, "/certificates/a/generateVerificationCode", Ok((CertificateCode, "a")));
        check(Method::POST, "/certificates/a/verify", Ok((CertificateVerify, "a")));
        check(Method::GET, "/certificates/a/revocation", Ok((RevocationRead, "a")));
        check(Method::PUT, "/certificates/a/revocation", Ok((RevocationPut, "a")));
        check(Method::DELETE, "/certificates/a/revocation", Ok((RevocationDelete, "a")));
        check(Method::GET, "/blockedCertificates", Ok((BlockList, "")));
        check(Method::PUT, "/blockedCertificates/AB", Ok((BlockPut, "AB")));
        check(Method::DELETE, "/blockedCertificates/AB", Ok((BlockDelete, "AB")));
        check(Method::GET, "/expiringCertificates", Ok((Expiring, "")));
        let resource =
            "/subscriptions/S/resourceGroups/G/providers/Microsoft.Devices/provisioningServices/one";
        check(Method::GET, &format!("{resource}/certificates"), Ok((CertificateList, "")));
        check(Method::POST, &format!("{resource}/certificates/a/verify"), Ok((CertificateVerify, "a")));
        check(Method::GET, "/linkedhubs/", Ok((LinkedHubList, "")));
        check(Method::GET, "/linkedHubs/hub.example", Ok((LinkedHubRead, "hub.example")));
        check(Method::PUT, "/linkedHubs/hub.example", Ok((LinkedHubPut, "hub.example")));
        check(Method::DELETE, "/linkedHubs/hub.example", Ok((LinkedHubDelete, "hub.example")));
        check(Method::POST, "/linkedHubs/hub.example/check", Ok((LinkedHubCheck, "hub.example")));
        check(Method::GET, "/allocationPolicy", Ok((DefaultPolicyRead, "")));
        check(Method::PUT, "/allocationPolicy", Ok((DefaultPolicyPut, "")));
        check(Method::POST, "/webhookkey", Ok((WebhookKey, "")));
    }

    #[test]
    fn what_is_no_route() {
        check(Method::GET, "/", Err("404"));
        check(Method::GET, "", Err("404"));
        check(Method::GET, "/0ne1/registrations/a", Err("404"));
        check(Method::GET, "/enrollments/a/b/c", Err("404"));
        check(Method::POST, "/enrollments/a/secrets", Err("404"));
        check(Method::GET, "/enrollments/%FF", Err("400"));
        check(Method::GET, "/enrollments", Err("POST"));
        check(Method::DELETE, "/enrollments/", Err("POST"));
        check(Method::POST, "/enrollments/a", Err("GET, PUT, DELETE"));
        check(Method::PATCH, "/enrollmentGroups/g", Err("GET, PUT, DELETE"));
        check(Method::GET, "/enrollments/a/attestationmechanism", Err("POST"));
        check(Method::PUT, "/registrations/a", Err("GET, DELETE"));
        check(Method::PUT, "/registrations/", Err("GET"));
        check(Method::POST, "/usage", Err("GET"));
        check(Method::POST, "/certificates", Err("GET"));
        check(Method::GET, "/subscriptions/S/resourceGroups/G", Err("404"));
        let resource =
            "/subscriptions/S/resourceGroups/G/providers/Microsoft.Devices/provisioningServices/one";
        check(Method::GET, resource, Err("404"));
        check(Method::GET, &format!("{resource}/enrollments/a"), Err("404"));
    }

    #[test]
    fn what_changes_something_or_tells_keys_is_audited() {
        let quiet = ["/enrollments/query", "/enrollmentGroups/query", "/registrations/{id}/query"];
        let quiet = [&quiet[..], &["/attestation/explain", "/linkedHubs/{id}/check"]].concat();
        for route in ROUTES {
            let path = format!("/{}", route.path.join("/"));
            let reads = route.method == Method::GET || quiet.contains(&path.as_str());
            assert_eq!(route.endpoint.is_audited(), !reads, "{} {path}", route.method);
        }
    }

    #[test]
    fn our_paths() {
        for path in ["/enrollments", "/ENROLLMENTGROUPS/x", "/registrations/a/query", "/Usage", "/usage/x/y"]
        {
            assert!(is_service_path(path), "{path}");
        }
        for path in ["/", "", "/0ne1/registrations/a/register", "/enrollment/x", "//enrollments"] {
            assert!(!is_service_path(path), "{path}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(path in "[/a-zA-Z%0-9.]{0,60}|\\PC{0,60}") {
            let _ = parse(&Method::POST, &path);
            let _ = is_service_path(&path);
        }
    }
}

//! Tokens and rights.

use http::Method;
use model::{Right, Role};
use provisioning::ports::Clock;
use testkit::token_issuer::{ISSUER, TokenIssuer};

use crate::{
    management::call,
    world::{
        MANAGEMENT, OWNER, World, individual, instance, management_routes, resource, service_routes, with_id,
    },
};

/// Returns the rights that suffice for a route.
fn rights_for(method: &Method, path: &str) -> &'static [&'static str] {
    const READ: &[&str] = &["EnrollmentRead", "EnrollmentWrite"];
    const WRITE: &[&str] = &["EnrollmentWrite"];
    match (method.as_str(), path) {
        (
            "GET",
            "/usage" | "/quotas" | "/latency" | "/linkedHubs" | "/linkedHubs/{hubName}" | "/allocationPolicy",
        ) => &[
            "ServiceConfig",
            "EnrollmentRead",
            "EnrollmentWrite",
            "RegistrationStatusRead",
            "RegistrationStatusWrite",
        ],
        ("GET", path) if path.starts_with("/certificates") || path.ends_with("Certificates") => {
            &["ServiceConfig", "EnrollmentRead", "EnrollmentWrite"]
        }
        (_, path) if path.contains("ertificates") => &["ServiceConfig"],
        ("GET", "/log") => &["ServiceConfig", "ChangeLogRead"],
        (_, path)
            if path.starts_with("/linkedHubs") || ["/allocationPolicy", "/webhookKey"].contains(&path) =>
        {
            &["ServiceConfig"]
        }
        ("DELETE", "/registrations/{registrationId}" | "/cleanups/{hubDevice}")
        | ("POST", "/registrations/{registrationId}/cancel" | "/cleanups/confirm") => {
            &["RegistrationStatusWrite"]
        }
        (_, path) if path.starts_with("/registration") || ["/attempts", "/cleanups"].contains(&path) => {
            &["RegistrationStatusRead", "RegistrationStatusWrite"]
        }
        ("GET", _) => READ,
        (_, path) if path.ends_with("/query") => READ,
        (_, "/attestation/explain") => READ,
        _ => WRITE,
    }
}

#[tokio::test]
async fn every_route_demands_its_right_and_no_other_suffices() {
    let world = World::new().await;
    for (method, pattern) in service_routes() {
        let sufficient = rights_for(&method, &pattern);
        for policy in instance("one").access_policies {
            let name = policy.name.as_str();
            let path = with_id(&pattern, "none");
            let token = world.token("one", name);
            let reply = world.request(method.clone(), &path).signed(&token).send().await;
            if name == OWNER || sufficient.contains(&name) {
                assert!(![401, 403].contains(&reply.status.as_u16()), "{name}: {reply:?}");
            } else {
                reply.refused(403_000);
            }
        }
        world
            .request(method.clone(), &with_id(&pattern, "none"))
            .without("authorization")
            .send()
            .await
            .refused(401_002);
    }
}

#[tokio::test]
async fn every_role_opens_the_routes_of_its_rights_and_no_other() {
    let world = World::new().await;
    for (method, pattern) in service_routes() {
        let sufficient = rights_for(&method, &pattern);
        let suffices = |role: Role| {
            let granted = Right::OF_POLICIES.into_iter().filter(|right| role.rights().grants(*right));
            granted.into_iter().any(|right| sufficient.contains(&right.name()))
        };
        for role in Role::ALL {
            for scope in ["one", "all"] {
                let token = world.bearer(&world.claims("alice", &[&format!("{scope} {role}")]));
                let reply =
                    world.request(method.clone(), &with_id(&pattern, "none")).signed(&token).send().await;
                if suffices(role) {
                    assert!(![401, 403].contains(&reply.status.as_u16()), "{role}: {pattern} {reply:?}");
                } else {
                    let challenge = reply.headers["www-authenticate"].to_str().unwrap().to_owned();
                    assert!(challenge.contains("insufficient_scope"), "{challenge}");
                    assert!(reply.refused(403_000).contains("alice"));
                }
            }
        }
    }
}

/// Returns the roles that suffice for a route of the management API.
fn roles_for(method: &Method, pattern: &str) -> &'static [Role] {
    match (method.as_str(), pattern) {
        ("GET", pattern) if pattern.contains("/certificates") => &Role::ALL[1..],
        (_, pattern) if pattern.contains("listkeys") || pattern.contains("/keys/") => &[Role::Owner],
        _ => &[Role::Contributor, Role::Owner],
    }
}

/// Each role on the resource of the path, on another one, and on all, at the hosts of the management API and of the instances.
#[tokio::test]
async fn every_role_opens_the_management_routes_of_its_rights_and_no_other() {
    for (role, scope) in Role::ALL.into_iter().flat_map(|role| ["one", "two", "all"].map(|it| (role, it))) {
        let world = World::new().await;
        let token = world.bearer(&world.claims("alice", &[&format!("{scope} {role}")]));
        for (index, (method, pattern)) in management_routes().enumerate() {
            let (path, body) = call(&pattern, "one");
            let host = [MANAGEMENT, "one.example", "two.example"][index % 3];
            let request = world.request(method.clone(), &path).json(&body).if_match("*");
            let reply = request.header("host", host).signed(&token).send().await;
            let is_of_one = pattern.contains("{provisioningServiceName}");
            let is_for_all = pattern.ends_with("checkProvisioningServiceNameAvailability");
            let is_deletion = method == Method::DELETE && pattern.ends_with("{provisioningServiceName}");
            let expected = match roles_for(&method, &pattern).contains(&role) {
                // A resource that the caller may not see does not exist for it.
                true if is_of_one && scope == "two" && is_deletion => reply.status == 204,
                _ if is_of_one && scope == "two" => [403, 404].contains(&reply.status.as_u16()),
                true if is_for_all && scope != "all" => reply.status == 403,
                true => ![401, 403].contains(&reply.status.as_u16()),
                false => reply.status == 403,
            };
            assert!(expected, "{role} on {scope}: {reply:?}");
            let others = if scope == "two" { "one" } else { "two" };
            let names_another = reply.text.contains(&resource(others, "\""));
            assert!(scope == "all" || !names_another, "{role} on {scope}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn the_reply_to_an_invalid_bearer_token_says_why() {
    let world = World::new().await;
    let mut expired = world.claims("alice", &["one owner"]);
    expired["exp"] = 1.into();
    let mut foreign = world.claims("alice", &["one owner"]);
    foreign["aud"] = "https://management.example".into();
    let table = [
        (world.bearer(&expired), "the token has expired"),
        (world.bearer(&foreign), "the token is for another audience"),
        (
            TokenIssuer::new("key-1").sign(&world.claims("a", &["one owner"])),
            "the signature of the token is wrong",
        ),
        (TokenIssuer::new("key-2").sign(&world.claims("a", &["one owner"])), "has no key of the ID"),
        ("e30.e30.".to_owned(), "the token is not a JWT"),
    ];
    for (token, reason) in table {
        let scheme = if token.starts_with("Bearer") { "" } else { "bearer " };
        let reply = world.get("/enrollments/none").signed(&format!("{scheme}{token}")).send().await;
        let challenge = reply.headers["www-authenticate"].to_str().unwrap().to_owned();
        assert!(challenge.contains("error=\"invalid_token\"") && challenge.contains(reason), "{challenge}");
        let message = reply.refused(401_002);
        assert!(message.contains(reason), "{message}");
    }
    let reply = world.get("/enrollments/none").without("authorization").send().await;
    assert_eq!(reply.headers["www-authenticate"], "Bearer realm=\"muster\"");
}

#[tokio::test]
async fn the_change_log_names_the_subject_of_a_token() {
    let world = World::new().await;
    let token = world.bearer(&world.claims("alice", &["one data contributor", "one auditor"]));
    world.put("/enrollments/dev-1", &individual("dev-1")).signed(&token).send().await.ok();
    let log = world.get("/log?actor=ALICE").signed(&token).send().await.ok();
    let actor = &log["entries"][0]["actor"];
    assert_eq!((&actor["name"], &actor["issuer"]), (&"alice".into(), &ISSUER.into()), "{log}");
}

#[tokio::test]
async fn invalid_tokens_are_refused() {
    let world = World::new().await;
    let now = world.clock.now();
    let seconds = |offset: i64| u64::try_from(now.unix_seconds() + offset).unwrap();
    let policy = instance("one").access_policy(OWNER).unwrap().clone();
    let (primary, secondary) = (policy.primary_key.as_bytes(), policy.secondary_key.as_bytes());
    let sign = wire::sas::sign;
    let host = "one.example";
    let good = sign(host, primary, seconds(60), Some(OWNER));
    let table = [
        (good.clone(), true),
        (sign(host, secondary, seconds(60), Some(OWNER)), true),
        (sign(host, primary, seconds(60), Some("ProvisioningServiceOwner")), true),
        (sign("https://one.example:443/", primary, seconds(60), Some(OWNER)), true),
        (sign("one.example/enrollments", primary, seconds(60), Some(OWNER)), true),
        (sign("one.example/registrations", primary, seconds(60), Some(OWNER)), false),
        (sign("two.example", primary, seconds(60), Some(OWNER)), false),
        // Five minutes of clock skew.
        (sign(host, primary, seconds(-300), Some(OWNER)), true),
        (sign(host, primary, seconds(-301), Some(OWNER)), false),
        // Another policy's key, another name, no name.
        (sign(host, primary, seconds(60), Some("EnrollmentRead")), false),
        (sign(host, primary, seconds(60), Some("nobody")), false),
        (sign(host, primary, seconds(60), None), false),
        (sign(host, b"0123456789abcdef", seconds(60), Some(OWNER)), false),
        // Changed after signing.
        (good.replace(&format!("se={}", seconds(60)), &format!("se={}", seconds(600))), false),
        (good.replace("one.example", "one%2eexample"), false),
        ("SharedAccessSignature".into(), false),
        ("SharedAccessSignature sr=one.example&sig=&se=1&skn=a".into(), false),
        ("x".repeat(5000), false),
    ];
    for (token, accepted) in table {
        let reply = world.get("/enrollments/none").signed(&token).send().await;
        if accepted {
            reply.refused(404_201);
        } else {
            assert_eq!(reply.refused(401_002), "Unauthorized", "{token}");
        }
    }
}

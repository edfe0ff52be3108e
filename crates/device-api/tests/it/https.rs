//! Registering and polling over HTTPS.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use model::{
    GroupAttestation, GroupCertificates, IndividualAttestation, IndividualCertificates, Pair,
    ProvisioningStatus,
};
use testkit::{
    ca::{Authority, Identity, Profile},
    sample,
};

use crate::{
    http::{VERSION, poll_path, register_path},
    tls::Presented,
    world::{Device, HUB, IN_TIME, SCOPE, World, group, individual},
};

#[tokio::test]
async fn the_first_reply_carries_the_result() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let mut http = world.http(None).await;
    let reply = http.register(&device).await;
    assert_eq!(reply.status, 202, "two SDKs refuse 200 here");
    assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(reply.header("retry-after"), None);
    let operation_id = reply.operation_id();
    let location = format!("/{SCOPE}/registrations/reg-1/operations/{operation_id}");
    assert_eq!(reply.header("location"), Some(&*location));
    let state = reply.assigned();
    assert_eq!((state["assignedHub"].as_str(), state["deviceId"].as_str()), (Some(HUB), Some("reg-1")));
    assert_eq!(
        (state["substatus"].as_str(), &state["symmetricKey"]),
        (Some("initialAssignment"), &serde_json::json!({}))
    );
    assert_eq!(state["createdDateTimeUtc"], "2026-11-23T00:00:00.0000000Z");
    assert!(!reply.text.contains("null"), "absent members are left out: {}", reply.text);
    assert_eq!(world.hub().devices().len(), 1);

    let polled = http.poll(&device, &operation_id).await;
    assert_eq!(polled.status, 200);
    assert_eq!(polled.header("retry-after"), None);
    assert_eq!(polled.json(), reply.json(), "the operation stays pollable");
    assert_eq!(world.counted().await, 1);
}

#[tokio::test]
async fn newer_versions_see_assigning_first() {
    let world = World::new(IN_TIME).await;
    for (number, version) in ["2025-07-01-preview", "2026-11-01", "2026-11-15-preview"].iter().enumerate() {
        let device = world.device(&format!("reg-{number}")).await;
        let mut http = world.http(None).await;
        let reply =
            http.call("PUT", register_path(&device, version)).token(device.token()).body("{}").send().await;
        assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (202, Some("3")), "{version}");
        let operation_id = reply.operation_id();
        assert_eq!(reply.text, format!(r#"{{"operationId":"{operation_id}","status":"assigning"}}"#));
        assert_eq!(reply.text.len(), 94, "as the hosted service's");
        http.poll_to_the_end(&device, &operation_id).await.assigned();
    }
}

#[tokio::test]
async fn older_versions_see_the_result_at_once() {
    let world = World::new(IN_TIME).await;
    for (number, version) in
        ["2017-11-15", "2019-03-31", "2021-06-01", "2021-10-01", "2021-11-01-preview", "2021-11-01-PREVIEW"]
            .iter()
            .enumerate()
    {
        let device = world.device(&format!("reg-{number}")).await;
        let mut http = world.http(None).await;
        let reply = http.call("PUT", register_path(&device, version)).token(device.token()).send().await;
        assert_eq!(reply.status, 202, "{version}");
        reply.assigned();
    }
}

#[tokio::test]
async fn certificates_prove_as_well_as_tokens() {
    let world = World::new(IN_TIME).await;
    let root = Authority::root("Root");
    let factory = root.intermediate("Factory");
    let signing = |ca: &Authority| Pair::new(Some(ca.certificate()), None).unwrap();
    let attestation = GroupAttestation::X509(GroupCertificates::Signing(signing(&root)));
    world.enroll_group(group("fleet", attestation)).await;
    let own = Identity::self_signed(&Profile::device("own"));
    let client = Pair::new(Some(own.certificate()), None).unwrap();
    let attestation = IndividualAttestation::X509(IndividualCertificates::Client(client));
    world.enroll(model::IndividualEnrollment { attestation, ..individual("own") }).await;

    let leaf = factory.device("of-fleet");
    let with_chain = Presented::new(&leaf, &[factory.identity().der().to_vec()]);
    let without = Presented::new(&leaf, &[]);
    let cases = [
        ("own", Presented::new(&own, &[]), Some(serde_json::json!({}))),
        ("of-fleet", with_chain, Some(serde_json::json!({"enrollmentGroupId": "fleet"}))),
        ("of-fleet", without, None),
        ("of-fleet", Presented::new(&own, &[]), None),
    ];
    for (number, (id, presented, expected)) in cases.into_iter().enumerate() {
        let device = Device::new(SCOPE, id, sample::key(1));
        let mut http = world.http(Some(&presented)).await;
        let reply = http.call("PUT", register_path(&device, VERSION)).body("{}").send().await;
        match expected {
            Some(expected) => {
                assert_eq!(reply.assigned()["x509"], expected, "{number}");
                let path = poll_path(&device, &reply.operation_id());
                assert_eq!(http.call("GET", path).send().await.json(), reply.json(), "{number}");
            }
            None => {
                reply.check_error("no path to the group", 401_002);
                assert_eq!(reply.json()["message"], "Invalid certificate.");
            }
        }
    }
}

#[tokio::test]
async fn a_disabled_enrollment_is_said_to_be() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let mut enrollment = individual("reg-1");
    enrollment.settings.provisioning_status = ProvisioningStatus::Disabled;
    world.enroll(enrollment).await;
    let mut http = world.http(None).await;
    for version in [VERSION, "2026-11-01"] {
        let reply = http.call("PUT", register_path(&device, version)).token(device.token()).send().await;
        assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (202, None));
        let expected = r#"{"operationId":"","status":"disabled","registrationState":{"registrationId":"reg-1","status":"disabled"}}"#;
        assert_eq!(reply.text, expected);
    }
    let operation_id = world.record("reg-1").await.unwrap().operation_id;
    let polled = http.poll(&device, operation_id.as_str()).await;
    assert_eq!((polled.status.as_u16(), polled.json()["status"].as_str()), (200, Some("disabled")));
}

#[tokio::test]
async fn a_failure_is_told_with_its_code() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    world.unlink_hubs().await;
    let mut http = world.http(None).await;
    let reply = http.register(&device).await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (202, None));
    let json = reply.json();
    let state = &json["registrationState"];
    assert_eq!((json["status"].as_str(), state["status"].as_str()), (Some("failed"), Some("failed")));
    assert_eq!((state["errorCode"].as_u64(), state["errorMessage"].is_string()), (Some(400_208), true));
    assert!(state.get("assignedHub").is_none() && state.get("deviceId").is_none(), "{state}");
    let polled = http.poll(&device, &reply.operation_id()).await;
    assert_eq!((polled.status.as_u16(), polled.json()), (200, json));
}

/// One connection for all of it: the C SDK fails when the server closes one, and Node polls with a body.
#[tokio::test]
async fn a_connection_is_kept_whatever_is_answered() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let mut http = world.http(None).await;
    let operation_id = http.register(&device).await.operation_id();
    for _ in 0..3 {
        let path = poll_path(&device, &operation_id);
        let reply = http.call("GET", path).token(device.token()).body("{}").send().await;
        assert_eq!(reply.status, 200);
        http.call("GET", poll_path(&device, "5.0.0"))
            .token(device.token())
            .send()
            .await
            .check_error("unknown", 404_203);
        http.call("PUT", register_path(&device, VERSION)).send().await.check_error("no token", 401_002);
        http.call("PUT", register_path(&device, VERSION))
            .token(device.token())
            .body("{")
            .send()
            .await
            .check_error("bad", 400_003);
        http.register(&device).await.assigned();
    }
    assert!(!http.is_closed());
}

/// What clients add or spell otherwise, and what is let through.
#[tokio::test]
async fn requests_as_clients_write_them() {
    let world = World::new(IN_TIME).await;
    let device = world.device("Reg:A_b.1").await;
    let paths = [
        format!("{}/register?api-version={VERSION}&forceRegistration=true", device.path()),
        format!("/{SCOPE}/registrations/Reg%3aA_b.1/register?api-version={VERSION}"),
        format!("/{SCOPE}/registrations/Reg%3AA%5Fb%2E1/register?api-version={VERSION}"),
        format!("/{SCOPE}/Registrations/reg:a_b.1/Register/?API-Version={VERSION}"),
        format!("/{}/registrations/REG:A_B.1/register?x=1&api-version={VERSION}&y", SCOPE.to_uppercase()),
        format!("{}/register?iothub-no-client-cert=true&api-version=2021%2D06%2D01", device.path()),
    ];
    let mut http = world.http(None).await;
    for path in paths {
        let reply = http.call("PUT", path.clone()).token(device.token()).send().await;
        assert_eq!(reply.assigned()["deviceId"], "Reg:A_b.1", "{path}");
    }
    for (name, value) in [
        ("content-encoding", "utf-8"),
        ("content-type", "text/plain"),
        ("accept", "application/json"),
        ("request-id", "1"),
        ("UserAgent", "prov_device_client/1.0"),
    ] {
        let call = http.call("PUT", register_path(&device, VERSION)).token(device.token()).body("{}");
        assert_eq!(call.header(name, value).send().await.status, 202, "{name}");
    }
    for body in [
        "",
        " ",
        "{}",
        r#"{"payload":null,"registrationId":"x"}"#,
        r#"{"RegistrationId":"x","unknown":[1]}"#,
        r#"{"payload":"{}"}"#,
    ] {
        let call = http.call("PUT", register_path(&device, VERSION)).token(device.token());
        assert_eq!(
            call.body(body).send().await.assigned()["deviceId"],
            "Reg:A_b.1",
            "the name is not taken from {body}"
        );
    }
    assert_eq!(world.hub().devices().len(), 1, "all of them are one device");
}

/// The same token spelled in the ways of the SDKs.
#[tokio::test]
async fn tokens_as_clients_write_them() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let expiry = crate::world::now() + 30;
    for resource in [
        device.resource(),
        device.resource().replace('/', "%2F"),
        device.resource().replace('/', "%2f"),
        device.resource().to_lowercase(),
    ] {
        let mac = signature(&device, &resource, expiry);
        for fields in [
            format!("sr={resource}&sig={mac}&se={expiry}&skn=registration"),
            format!("sr={resource}&sig={mac}&skn=&se={expiry}"),
            format!("skn=other&se={expiry}&sig={mac}&sr={resource}"),
            format!("sr={resource}&sig={mac}&se={expiry}"),
        ] {
            for scheme in ["SharedAccessSignature", "sharedaccesssignature"] {
                let mut http = world.http(None).await;
                let call = http.call("PUT", register_path(&device, VERSION));
                call.token(format!("{scheme} {fields}")).send().await.assigned();
            }
        }
    }
}

/// The signature over a resource as it is written, and an expiry.
fn signature(device: &Device, resource: &str, expiry: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, device.key.as_bytes());
    let mac = hmac::sign(&key, format!("{resource}\n{expiry}").as_bytes());
    wire::sas::encode_component(&STANDARD.encode(mac.as_ref()))
}

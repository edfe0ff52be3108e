//! Certificates that cannot admit any device are stored, as in the hosted service, with a warning.

use serde_json::{Value, json};
use testkit::ca::{Authority, Form, Identity, Profile};

use crate::world::{TestReply, World, individual};

const WARNING: &str = "x-muster-warning";
/// A CA certificate, valid from 2026-11-29, made by OpenSSL: the library for the other certificates makes none as weak.
const RSA_1024: &str = include_str!("fixtures/rsa-1024.pem");

fn x509(name: &str, pem: &str) -> Value {
    json!({"type": "x509", "x509": {name: {"primary": {"certificate": pem}}}})
}

fn of_form(form: Form) -> String {
    Identity::self_signed(&Profile { form, ..Profile::ca("Root") }).pem()
}

#[track_caller]
fn check(case: &str, reply: &TestReply, expected: &[&str]) {
    reply.ok();
    let warning = reply.header(WARNING);
    assert_eq!(warning.is_some(), !expected.is_empty(), "{case}: {warning:?}");
    for part in expected {
        assert!(warning.unwrap_or_default().contains(part), "{case}: {warning:?}");
    }
}

/// The warnings name every item with its problem, in every mode that writes; the body is as in the hosted service. Deletions
/// have no warnings.
#[tokio::test]
async fn bulk_operations_warn_of_each_item() {
    let world = World::new().await;
    let ca_false = of_form(Form::Device);
    let good = Authority::root("Good").identity().pem();
    let foreign = Identity::self_signed(&Profile::device("dev-9")).pem();
    let groups = |mode: &str| {
        let group = |id: &str, pem: &str| json!({"enrollmentGroupId": id, "etag": "*", "attestation": x509("signingCertificates", pem)});
        let items = [group("bad", &ca_false), group("good", &good), group("weak", RSA_1024)];
        json!({"mode": mode, "enrollmentGroups": items})
    };
    let devices = |mode: &str| {
        let item = json!({"registrationId": "dev-1", "etag": "*", "attestation": x509("clientCertificates", &foreign)});
        json!({"mode": mode, "enrollments": [item]})
    };
    let is_successful = json!({"isSuccessful": true, "errors": []});
    for mode in ["create", "update", "updateIfMatchETag", "delete"] {
        let (of_groups, of_devices): (&[&str], &[&str]) = match mode {
            "delete" => (&[], &[]),
            _ => (&["bad: ", "is not a CA (basicConstraints CA:FALSE)", "weak: "], &["dev-1: ", "dev-9"]),
        };
        let reply = world.post("/enrollmentGroups", &groups(mode)).send().await;
        check(mode, &reply, of_groups);
        assert_eq!(reply.ok(), is_successful, "{mode}");
        assert!(!reply.header(WARNING).unwrap_or_default().contains("good"), "{mode}");
        check(mode, &world.post("/enrollments", &devices(mode)).send().await, of_devices);
    }
}

#[tokio::test]
async fn cas_that_cannot_admit_devices_are_stored_with_a_warning() {
    let world = World::new().await;
    let expired = Identity::self_signed(&Profile::ca("R\u{f6}\u{f6}t").expired()).pem();
    let cases: &[(&str, String, &[&str])] = &[
        ("a CA", Authority::root("Root").identity().pem(), &[]),
        ("an old root", of_form(Form::Version1), &[]),
        ("CA:FALSE", of_form(Form::Device), &["CN=Root", "is not a CA (basicConstraints CA:FALSE)"]),
        ("no keyCertSign", of_form(Form::CaWithoutKeyCertSign), &["lacks keyCertSign"]),
        ("expired", expired, &["CN=R\\u{f6}\\u{f6}t", "expired at 2020-12-31"]),
        (
            "weak, and not yet valid",
            RSA_1024.to_owned(),
            &["is not valid before", "has a key that is not RSA (2048"],
        ),
        ("an unknown extension", of_form(Form::UnknownCritical), &["critical extension"]),
    ];
    for (case, pem, expected) in cases {
        let uploaded = world.put("/certificates/ca", &json!({"certificate": pem})).if_match("*").send().await;
        check(case, &uploaded, expected);
        let group = json!({"enrollmentGroupId": "line", "attestation": x509("signingCertificates", pem)});
        check(case, &world.put("/enrollmentGroups/line", &group).send().await, expected);
        world.delete("/enrollmentGroups/line").send().await.deleted();
    }
}

#[tokio::test]
async fn leaves_and_references_that_cannot_admit_devices_have_a_warning() {
    let world = World::new().await;
    let leaf = |name: &str, form| Identity::self_signed(&Profile { form, ..Profile::device(name) }).pem();
    let put = async |id: &str, attestation: Value| {
        let body = json!({"registrationId": id, "attestation": attestation});
        let reply = world.put(&format!("/enrollments/{id}"), &body).send().await;
        world.delete(&format!("/enrollments/{id}")).send().await.deleted();
        reply
    };
    let expired = Identity::self_signed(&Profile::device("other").expired()).pem();
    let cases: &[(&str, String, &[&str])] = &[
        ("its own", leaf("Dev-1", Form::Device), &[]),
        ("a bare one", leaf("dev-1", Form::Bare), &[]),
        ("another's", leaf("dev-2", Form::Device), &["common name is \"dev-2\", not the registration ID"]),
        ("expired and another's", expired, &["expired at", "common name is \"other\""]),
        ("critical", leaf("dev-1", Form::UnknownCritical), &["critical extension"]),
    ];
    for (case, pem, expected) in cases {
        check(case, &put("dev-1", x509("clientCertificates", pem)).await, expected);
    }
    let named = |name: &str| json!({"type": "x509", "x509": {"caReferences": {"primary": name}}});
    check("no such CA", &put("dev-1", named("none")).await, &["CA certificate none, which no longer exists"]);
    let ca = json!({"certificate": Authority::root("Root").identity().pem(), "isVerified": false});
    world.put("/certificates/ca", &ca).send().await.ok();
    check(
        "an unverified CA",
        &put("dev-1", named("ca")).await,
        &["CA certificate ca, which is not verified"],
    );
    let ca = json!({"certificate": of_form(Form::Device), "isVerified": true});
    world.put("/certificates/ca", &ca).if_match("*").send().await.ok();
    check("a CA that is none", &put("dev-1", named("ca")).await, &["is not a CA"]);
    check("no certificate", &world.put("/enrollments/dev-1", &individual("dev-1")).send().await, &[]);
}

#[tokio::test]
async fn an_explanation_repeats_the_warnings_of_enrollments() {
    let world = World::new().await;
    let no_ca = Authority::self_signed(&Profile { form: Form::Device, ..Profile::ca("Root") });
    let attestation = x509("signingCertificates", &no_ca.identity().pem());
    let group = json!({"enrollmentGroupId": "line", "attestation": attestation});
    world.put("/enrollmentGroups/line", &group).send().await.ok();
    let explain = async |leaf: &Identity| {
        let device = json!({"registrationId": "dev-1", "certificates": [leaf.pem()]});
        world.post("/attestation/explain", &device).send().await.ok()
    };
    let explained = explain(&no_ca.device("dev-1")).await;
    let warnings = explained["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{explained}");
    let text = warnings[0].as_str().unwrap();
    assert!(text.starts_with("the group line: ") && text.contains("is not a CA"), "{text}");
    assert_eq!(explain(&Authority::root("Other").device("dev-1")).await["warnings"], json!([]));
}

//! `muster fleet` against an emulator.

use testkit::ca::Authority;

use crate::program::{World, muster};

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_provisioned_and_connects_to_its_hubs() {
    let world = World::start().await;
    let ended = world.muster(&["fleet"], &["--devices", "12", "--connect-hub"]).await;
    assert_eq!((ended.code, ended.last_line()), (0, "provisioned 12 of 12"), "{ended:?}");

    // The same devices again, with explicit endpoint arguments and one transport.
    let info = world.emulator.info();
    let (endpoint, mqtt_port) =
        (format!("{}:{}", info.device_endpoint, info.ports.https), info.ports.mqtts.to_string());
    let arguments = [
        "fleet",
        "--endpoint",
        &endpoint,
        "--mqtt-port",
        &mqtt_port,
        "--id-scope",
        &info.id_scope,
        "--ca",
        info.ca_file.to_str().unwrap(),
        "--enrollment-group-key",
        &info.sample_enrollment_group.primary_key,
        "--transport",
        "mqtt",
        "--devices",
        "12",
        "--concurrency",
        "3",
        "--json",
    ];
    let ended = muster(arguments).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let report = ended.json();
    assert_eq!(report["provisioned"], 12);
    assert_eq!(report["enrollments"][0]["transport"], "mqtt");
    assert_eq!(report["enrollments"].as_array().unwrap().len(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn device_certificates_are_issued_by_the_ca_of_a_group() {
    let world = World::start().await;
    let [certificate, key] = world.enroll_ca("factory", &Authority::root("Factory")).await;
    let files = ["--ca-cert", &certificate, "--ca-key", &key, "--devices", "6", "--connect-hub"];
    let ended = world.muster(&["fleet"], &files).await;
    assert_eq!((ended.code, ended.last_line()), (0, "provisioned 6 of 6"), "{ended:?}");

    let [_, other_key] = world.enroll_ca("other", &Authority::root("Other")).await;
    let mismatched = ["--ca-cert", &certificate, "--ca-key", &other_key];
    let ended = world.muster(&["fleet"], &mismatched).await;
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("does not belong"), "{ended:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_names_the_reasons_of_failed_devices() {
    let world = World::start().await;
    let wrong = model::SymmetricKey::from_bytes(&[9; 32]).unwrap().to_base64();
    let arguments = ["--enrollment-group-key", &wrong, "--devices", "4", "--json"];
    let ended = world.muster(&["fleet"], &arguments).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let report = ended.json();
    assert_eq!((&report["provisioned"], &report["devices"]), (&0.into(), &4.into()));
    let failures = report["failures"].as_array().unwrap();
    assert_eq!(failures.iter().map(|group| group["devices"].as_u64().unwrap()).sum::<u64>(), 4);
    assert!(failures[0]["reason"].as_str().unwrap().starts_with("refused: 401"), "{failures:?}");
    world.stop().await;
}

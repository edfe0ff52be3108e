//! `muster registration` against an emulator.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::program::{ProgramOutput, World};

/// The address of a hub without a listener.
const DOWN: &str = "127.0.0.2";

async fn registration(world: &World, command: &[&str]) -> ProgramOutput {
    world.muster(&[&["registration"], command].concat(), &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_listed_shown_explained_and_deleted() {
    let world = World::start().await;
    let ended = registration(&world, &["list", "--status", "assigned"]).await;
    assert_eq!((ended.code, ended.stdout.trim()), (0, "no registrations with status assigned"), "{ended:?}");
    let registered = world.muster(&["device", "register", "--registration-id", "sample-1"], &[]).await;
    let hub = registered.json()["assignedHub"].as_str().unwrap().to_owned();

    let ended = registration(&world, &["list", "--status", "assigned"]).await;
    assert!(ended.stdout.contains("sample-1") && ended.stdout.contains(&hub), "{ended:?}");
    let ended = registration(&world, &["show", "sample-1"]).await;
    assert!(ended.stdout.contains("initialAssignment") && ended.stdout.contains(&hub), "{ended:?}");
    let ended = registration(&world, &["explain", "sample-1"]).await;
    assert!(ended.code == 0 && ended.stdout.contains(&hub), "{ended:?}");
    let decisions = registration(&world, &["explain", "sample-1", "--json"]).await.json()["decisions"].take();
    assert_eq!((&decisions[0]["outcome"], &decisions[0]["iotHub"]), (&json!("assigned"), &json!(hub)));

    let ended = registration(&world, &["cancel", "sample-1"]).await;
    assert!(ended.code == 1 && ended.stderr.contains("it is assigned"), "{ended:?}");
    let ended = registration(&world, &["delete", "sample-1"]).await;
    assert!(ended.code == 0 && ended.stdout.contains("deleted the registration of sample-1"), "{ended:?}");
    for command in ["show", "explain", "cancel", "delete"] {
        let ended = registration(&world, &[command, "sample-1"]).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (3, ""), "{command} {ended:?}");
        assert!(ended.stderr.contains("registration"), "{command} {ended:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_reads_all_pages_up_to_its_limit() {
    let world = World::start().await;
    let group = json!({"enrollmentGroupId": "keys", "attestation": {"type": "symmetricKey"}});
    let group = world.service().create_group(&group).await.unwrap();
    let key = group["attestation"]["symmetricKey"]["primaryKey"].as_str().unwrap();
    let fleet = ["--devices", "60", "--enrollment-group-key", key, "--prefix", "member-"];
    let ended = world.muster(&["fleet"], &fleet).await;
    assert_eq!(ended.code, 0, "{ended:?}");

    let list = ["list", "--status", "assigned", "--json"];
    let ended = registration(&world, &list).await;
    let mut ids: Vec<String> =
        ended.json().as_array().unwrap().iter().map(|it| it["registrationId"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), ended.stderr.as_str()), (60, ""), "{ended:?}");
    for limit in [1, 50, 55, 60] {
        let ended = registration(&world, &[&list[..], &["--limit", &limit.to_string()]].concat()).await;
        assert_eq!(ended.json().as_array().unwrap().len(), limit, "{ended:?}");
        assert_eq!(ended.stderr.contains("raise --limit for more"), limit < 60, "{limit} {ended:?}");
    }
    // A disabled individual enrollment: a listing without a filter includes its registration.
    let alone = json!({"registrationId": "alone", "provisioningStatus": "disabled", "attestation": {"type": "symmetricKey"}});
    let alone = world.service().create_enrollment(&alone).await.unwrap();
    let key = alone["attestation"]["symmetricKey"]["primaryKey"].as_str().unwrap();
    let ended = world.muster(&["device", "register", "--registration-id", "alone", "--key", key], &[]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let all = registration(&world, &["list"]).await;
    let lines = |word: &str| all.stdout.lines().filter(|line| line.contains(word)).count();
    assert_eq!((lines("member-"), lines("alone"), lines("disabled")), (60, 1, 1), "{all:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_assignment_is_listed_and_canceled_and_its_cleanup_forgotten() {
    let world = World::start().await;
    let key = testkit::sample::key(5).to_base64();
    let link = format!("HostName={DOWN}:1;SharedAccessKeyName=iothubowner;SharedAccessKey={key}");
    let ended = world.muster(&["hub", "link", "--no-check", &link], &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    for id in ["device-1", "device-2", "device-3"] {
        cancel_stuck_assignment(&world, id).await;
    }

    let ended = registration(&world, &["list", "--status", "failed"]).await;
    assert!(ended.stdout.contains("409205"), "{ended:?}");
    until(&world, &["cleanups"], &[DOWN, "device-1", "assignment canceled"]).await;
    let left = format!("device-1 from {DOWN}");
    until(&world, &["show", "device-1"], &["409205", "to be removed", &left]).await;
    let shown = registration(&world, &["show", "device-1", "--json"]).await.json();
    assert_eq!((&shown["cleanups"][0]["cause"], shown.get("decisions")), (&json!("cancelled"), None));
    let forget = ["cleanups", "--forget", &format!("{DOWN}/device-1")];
    let ended = registration(&world, &forget).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let ended = registration(&world, &forget).await;
    assert!(ended.code == 3 && ended.stderr.contains("404210"), "{ended:?}");
    for (hub, count) in [("other.example", "0 devices"), (DOWN, "2 devices"), (DOWN, "0 devices")] {
        let ended = registration(&world, &["cleanups", "--forget", hub]).await;
        assert!(ended.code == 0 && ended.stdout.starts_with(count), "{ended:?}");
    }
    let ended = registration(&world, &["cleanups"]).await;
    assert_eq!(ended.last_line(), "no cleanups", "{ended:?}");
    world.stop().await;
}

/// Registers a device at a hub that is down, until an operator cancels the assignment.
async fn cancel_stuck_assignment(world: &World, id: &str) {
    let enrollment =
        json!({"registrationId": id, "attestation": {"type": "symmetricKey"}, "iotHubs": [DOWN]});
    let enrollment = world.service().create_enrollment(&enrollment).await.unwrap();
    let key = enrollment["attestation"]["symmetricKey"]["primaryKey"].as_str().unwrap();
    let register = ["device", "register", "--registration-id", id, "--key", key];
    let operator = async {
        let row = until(world, &["list"], &[id, "assigning", DOWN, "Z"]).await;
        let ended = registration(world, &["explain", id]).await;
        assert!(ended.code == 0 && ended.stdout.contains(DOWN), "{row} {ended:?}");
        until(world, &["show", id], &["next hub", DOWN, "reason", "next try"]).await;
        let ended = registration(world, &["cancel", id]).await;
        let expected = format!("canceled the assignment of {id}; the device has no hub");
        assert_eq!(ended.last_line(), expected, "{ended:?}");
    };
    let (registered, ()) = tokio::join!(world.muster(&register, &[]), operator);
    assert!(registered.code == 1 && registered.stderr.contains("409205"), "{registered:?}");
}

/// Repeats a command until its output has all of these texts, and returns the output.
async fn until(world: &World, command: &[&str], shown: &[&str]) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let ended = registration(world, command).await;
        if shown.iter().all(|text| ended.stdout.contains(text)) {
            return ended.stdout;
        }
        assert!(Instant::now() < deadline, "not in time: {shown:?} in {ended:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

//! `muster enrollment` against an emulator.

use serde_json::json;
use testkit::ca::Authority;

use crate::program::{ProgramOutput, World};

async fn enrollment(world: &World, command: &[&str]) -> ProgramOutput {
    world.muster(&[&["enrollment"], command].concat(), &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_an_enrolled_key_registers() {
    let world = World::start().await;
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("settings.json");
    let twin = json!({"tags": {}, "properties": {"desired": {"interval": 60}}});
    std::fs::write(&settings, json!({"initialTwin": twin, "deviceId": "boiler"}).to_string()).unwrap();
    let settings = settings.to_str().unwrap();

    let create = ["create", "dev-1", "--symmetric-key", "--settings", settings];
    let created = enrollment(&world, &create).await;
    assert_eq!((created.code, &created.json()["initialTwin"]), (0, &twin), "{created:?}");
    let key = created.json()["attestation"]["symmetricKey"]["primaryKey"].as_str().unwrap().to_owned();
    let register = ["device", "register", "--registration-id", "dev-1", "--key", &key];
    assert_eq!(world.muster(&register, &[]).await.json()["deviceId"], "boiler");

    let again = enrollment(&world, &create).await;
    assert!(again.code == 1 && again.stderr.contains("already exists"), "{again:?}");
    let replaced = enrollment(&world, &["create", "dev-1", "--symmetric-key", "--replace"]).await;
    assert_eq!(replaced.code, 0, "{replaced:?}");
    assert!(replaced.stderr.contains("the primary and secondary keys stayed"), "{replaced:?}");
    let shown = enrollment(&world, &["show", "dev-1"]).await.json();
    assert_eq!((shown.get("deviceId"), shown["attestation"].get("symmetricKey")), (None, None));
    let shown = enrollment(&world, &["show", "dev-1", "--keys"]).await.json();
    assert_eq!(shown["attestation"]["symmetricKey"]["primaryKey"], json!(key), "keys stay");

    let listed = enrollment(&world, &["list"]).await;
    assert!(listed.stdout.contains("dev-1") && listed.stdout.contains("symmetricKey"), "{listed:?}");
    let deleted = enrollment(&world, &["delete", "dev-1"]).await;
    assert!(
        deleted.code == 0 && deleted.stdout.contains("deleted individual enrollment dev-1"),
        "{deleted:?}"
    );
    for command in ["show", "delete"] {
        let ended = enrollment(&world, &[command, "dev-1"]).await;
        assert!(
            ended.code == 3 && ended.stderr.contains("404201") && ended.stderr.contains("tracking ID "),
            "{command} {ended:?}"
        );
    }
    let listed = enrollment(&world, &["list"]).await;
    assert_eq!(listed.stdout.trim(), "no individual enrollments", "{listed:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_and_their_use_is_listed() {
    let world = World::start().await;
    let keys = |ended: &ProgramOutput| {
        let keys = ended.json()["attestation"]["symmetricKey"].clone();
        ["primaryKey", "secondaryKey"].map(|name| keys[name].as_str().unwrap().to_owned())
    };
    let created = keys(&enrollment(&world, &["create", "line", "--group", "--symmetric-key"]).await);
    let register = async |id: &str, key: &str| {
        world.muster(&["device", "register", "--registration-id", id, "--group-key", key], &[]).await.code
    };
    assert_eq!((register("dev-1", &created[0]).await, register("dev-2", &created[1]).await), (0, 0));
    let rotated = enrollment(&world, &["rotate-keys", "line", "--group", "--primary"]).await;
    assert!(rotated.stderr.contains("until that device registers again"), "{rotated:?}");
    let rotated = keys(&rotated);
    assert!(rotated[0] != created[0] && rotated[1] == created[1]);

    let listed = world.muster(&["registration", "list", "--status", "assigned"], &[]).await;
    let line = |id: &str| listed.stdout.lines().find(|line| line.contains(id)).unwrap_or_default();
    assert!(line("dev-1").contains("primary, since replaced"), "{listed:?}");
    assert!(line("dev-2").contains("secondary") && !line("dev-2").contains("replaced"), "{listed:?}");
    let explained = world.muster(&["registration", "explain", "dev-1"], &[]).await;
    assert!(explained.stdout.contains("a key that its enrollment does not have any more"), "{explained:?}");
    assert_eq!((register("dev-1", &created[0]).await, register("dev-1", &rotated[0]).await), (1, 0));

    let both = keys(&enrollment(&world, &["rotate-keys", "line", "--group"]).await);
    assert!(both[0] != rotated[0] && both[1] != rotated[1]);
    let usage = enrollment(&world, &["rotate-keys", "line", "--primary", "--secondary"]).await;
    assert_eq!(usage.code, 2, "{usage:?}");
    let missing = enrollment(&world, &["rotate-keys", "nothing"]).await;
    assert!(missing.code == 3 && missing.stderr.contains("404201"), "{missing:?}");
    world.stop().await;
}

/// Each step twice: the second time it changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_group_is_rotated_in_steps() {
    let world = World::start().await;
    let created = enrollment(&world, &["create", "line", "--group", "--symmetric-key"]).await.json();
    let old = created["attestation"]["symmetricKey"]["primaryKey"].as_str().unwrap().to_owned();
    let register = async |id: &str, key: &str| {
        world.muster(&["device", "register", "--registration-id", id, "--group-key", key], &[]).await.code
    };
    assert_eq!((register("dev-1", &old).await, register("dev-2", &old).await), (0, 0));
    let file = world.dir().join("line.key");
    let path = file.to_str().unwrap();
    let step = async |step: &str, more: &[&str]| {
        enrollment(&world, &[&["rotation", step, "line", "--key-file", path], more].concat()).await
    };
    let report = async || {
        let report = enrollment(&world, &["rotation", "report", "line", "--json"]).await.json();
        ["primary", "secondary", "replaced", "unknown"].map(|key| report[key].as_u64().unwrap())
    };
    let early = step("finish", &[]).await;
    assert!(early.code == 1 && early.stderr.contains("begin the rotation first"), "{early:?}");

    let begun = step("begin", &[]).await;
    assert!(begun.code == 0 && begun.stdout.contains("deploy it"), "{begun:?}");
    let new = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    assert!(!begun.stdout.contains(&new), "the key is in the file only");
    let again = step("begin", &[]).await;
    assert!(again.code == 0 && again.stdout.contains("begun already"), "{again:?}");
    assert_eq!((register("dev-1", &new).await, report().await), (0, [1, 1, 0, 0]));
    let shown = enrollment(&world, &["rotation", "report", "line"]).await.stdout;
    assert!(shown.contains("dev-2") && !shown.contains("dev-1"), "{shown}");
    let refused = step("finish", &[]).await;
    assert!(refused.code == 1 && refused.stderr.contains("1 devices of line have not come"), "{refused:?}");
    assert_eq!((register("dev-2", &new).await, report().await), (0, [0, 2, 0, 0]));

    for expected in ["the old one is refused", "finished already"] {
        let finished = step("finish", &[]).await;
        assert!(finished.code == 0 && finished.stdout.contains(expected), "{finished:?}");
    }
    assert_eq!((report().await, register("dev-1", &old).await), ([2, 0, 0, 0], 1));
    let over = step("begin", &[]).await;
    assert!(over.code == 0 && over.stdout.contains("is finished"), "{over:?}");

    // The next one begins with another file. It takes no key from devices that still use the secondary one.
    let next = world.dir().join("next.key");
    let next = ["rotation", "begin", "line", "--key-file", next.to_str().unwrap()];
    assert_eq!((enrollment(&world, &next).await.code, register("dev-1", &new).await), (0, 0));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_changes_only_the_given_members() {
    let world = World::start().await;
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("settings.json");
    let file = settings.to_str().unwrap();
    let twin = json!({"tags": {"site": "a"}, "properties": {"desired": {"interval": 60}}});
    std::fs::write(&settings, json!({"initialTwin": twin, "deviceId": "boiler"}).to_string()).unwrap();
    let created =
        enrollment(&world, &["create", "dev-1", "--symmetric-key", "--settings", file]).await.json();

    let disabled = enrollment(&world, &["disable", "dev-1"]).await;
    assert_eq!((disabled.code, disabled.stderr.as_str()), (0, ""), "{disabled:?}");
    let mut expected = created.clone();
    expected["provisioningStatus"] = json!("disabled");
    let same_but_for = |mut now: serde_json::Value| {
        for name in ["etag", "lastUpdatedDateTimeUtc"] {
            now[name] = created[name].clone();
        }
        now
    };
    assert_eq!(same_but_for(disabled.json()), expected);
    assert_eq!(same_but_for(enrollment(&world, &["enable", "dev-1"]).await.json()), created);

    let set = ["update", "dev-1", "--set", "deviceId=null", "--set", "capabilities={\"iotEdge\": true}"];
    let updated = enrollment(&world, &set).await.json();
    assert_eq!((updated.get("deviceId"), &updated["capabilities"]["iotEdge"]), (None, &json!(true)));
    assert_eq!((&updated["initialTwin"], &updated["attestation"]), (&twin, &created["attestation"]));

    // Printed JSON can be edited and written back, once.
    let mut shown = enrollment(&world, &["show", "dev-1"]).await.json();
    shown["provisioningStatus"] = json!("disabled");
    std::fs::write(&settings, shown.to_string()).unwrap();
    let written = enrollment(&world, &["update", "dev-1", "--settings", file]).await;
    assert_eq!(written.json()["provisioningStatus"], "disabled", "{written:?}");
    assert_eq!(written.json()["attestation"], created["attestation"]);
    let stale = enrollment(&world, &["update", "dev-1", "--settings", file]).await;
    assert!(stale.code == 1 && stale.stderr.contains("was changed since its etag was read"), "{stale:?}");

    for (members, name) in [
        (json!({"provisioningStaus": "enabled"}), "individual enrollment has no member provisioningStaus"),
        (json!({"initialTwin": {"desired": {}}}), "no member initialTwin.desired"),
    ] {
        std::fs::write(&settings, members.to_string()).unwrap();
        for command in [&["update", "dev-1"][..], &["create", "dev-2", "--symmetric-key"]] {
            let refused = enrollment(&world, &[command, &["--settings", file]].concat()).await;
            assert!(refused.code == 1 && refused.stderr.contains(name), "{refused:?}");
        }
    }
    for (arguments, code, reason) in [
        (&["update", "dev-1", "--set", "iotHub=x"][..], 1, "no member iotHub"),
        (&["update", "dev-1", "--set", "registrationId=x"], 1, "registrationId is read-only"),
        (&["update", "dev-1", "--set", "allocationPolicy=near"], 1, "allocationPolicy: must be one of"),
        (&["update", "dev-1"], 2, "--set"),
        (&["disable", "nothing"], 3, "404201"),
        (&["create", "nothing", "--symmetric-key", "--replace"], 1, "there is no such enrollment to replace"),
    ] {
        let refused = enrollment(&world, arguments).await;
        assert!(refused.code == code && refused.stderr.contains(reason), "{arguments:?} {refused:?}");
    }
    world.stop().await;
}

/// Each command changes one member. A command that loses the race fails and changes nothing; no other change is lost.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_changes_are_not_lost() {
    let world = World::start().await;
    let created = enrollment(&world, &["create", "line", "--group", "--symmetric-key"]).await;
    assert_eq!(created.code, 0, "{created:?}");
    let changes = [
        ("allocationPolicy", json!("geoLatency")),
        ("provisioningStatus", json!("disabled")),
        ("capabilities", json!({"iotEdge": true})),
        ("initialTwin", json!({"tags": {"a": 1}})),
        ("allowedRegistrationIds", json!(["line-*"])),
        ("namespaceName", json!("name-space")),
    ];
    let (mut done, mut refused) = (0, 0);
    for _ in 0..3 {
        let sets = changes.each_ref().map(|(name, value)| format!("{name}={value}"));
        let commands = sets.each_ref().map(|set| ["update", "line", "--group", "--set", set.as_str()]);
        let [a, b, c, d, e, f] = commands.each_ref().map(|command| enrollment(&world, command));
        let ended = tokio::join!(a, b, c, d, e, f);
        let shown = enrollment(&world, &["show", "line", "--group"]).await.json();
        for (ended, (name, value)) in
            [ended.0, ended.1, ended.2, ended.3, ended.4, ended.5].iter().zip(&changes)
        {
            match ended.code {
                0 => assert_eq!(&shown[name], value, "{shown}"),
                _ => assert!(ended.stderr.contains("it was changed concurrently"), "{ended:?}"),
            }
            *(if ended.code == 0 { &mut done } else { &mut refused }) += 1;
        }
        if done > 0 && refused > 0 {
            break;
        }
    }
    assert!(done > 0, "{done} done, {refused} refused");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_has_all_pages() {
    let world = World::start().await;
    let enrollments: Vec<_> = (0..210)
        .map(|number| json!({"registrationId": format!("d-{number}"), "attestation": {"type": "symmetricKey"}}))
        .collect();
    for some in enrollments.chunks(10) {
        world.service().bulk(::fleet::BulkMode::Create, some).await.unwrap();
    }
    let listed = enrollment(&world, &["list", "--json"]).await;
    assert_eq!((listed.json().as_array().unwrap().len(), listed.stderr.as_str()), (210, ""));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_enrolled_by_a_ca_certificate_or_a_ca_reference() {
    let world = World::start().await;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root.pem");
    std::fs::write(&root, Authority::root("Plant").certificate().to_pem()).unwrap();
    let root = root.to_str().unwrap();
    let uploaded = world.muster(&["certificate", "upload", "plant", root], &[]).await;
    assert_eq!(uploaded.code, 0, "{uploaded:?}");
    for (group, proof) in [("line-1", ["--certificate", root]), ("line-2", ["--ca-certificate", "plant"])] {
        let created = enrollment(&world, &[&["create", group, "--group"], &proof[..]].concat()).await;
        assert_eq!(created.json()["attestation"]["type"], "x509", "{created:?}");
    }
    let listed = enrollment(&world, &["list", "--groups", "--json"]).await.json();
    let ids: Vec<_> = listed.as_array().unwrap().iter().map(|group| &group["enrollmentGroupId"]).collect();
    assert_eq!(ids, ["line-1", "line-2", "sample-group"]);
    let alone = enrollment(&world, &["list", "--groups", "--limit", "1"]).await;
    assert!(alone.stdout.contains("line-1") && alone.stderr.contains("raise --limit for more"), "{alone:?}");
    let deleted = enrollment(&world, &["delete", "line-1", "--group"]).await;
    assert_eq!(deleted.code, 0, "{deleted:?}");

    let of_ids = ["create", "line-3", "--group", "--symmetric-key", "--registration-ids", "line-3-*"];
    let created = enrollment(&world, &of_ids).await.json();
    assert_eq!(created["allowedRegistrationIds"], json!(["line-3-*"]));
    let key = created["attestation"]["symmetricKey"]["primaryKey"].as_str().unwrap().to_owned();
    for (id, code) in [("line-3-a", 0), ("line-4-a", 1)] {
        let register = ["device", "register", "--registration-id", id, "--group-key", &key];
        let ended = world.muster(&register, &[]).await;
        assert_eq!(ended.code, code, "{id}: {ended:?}");
    }
    let ended = enrollment(&world, &["create", "x", "--symmetric-key", "--registration-ids", "x*"]).await;
    assert!(ended.code == 2 && ended.stderr.contains("--group"), "{ended:?}");

    let broken = directory.path().join("broken.json");
    std::fs::write(&broken, "[]").unwrap();
    let broken = broken.to_str().unwrap();
    let ended = enrollment(&world, &["create", "x", "--symmetric-key", "--settings", broken]).await;
    assert!(ended.code == 1 && ended.stderr.contains("does not hold a JSON object"), "{ended:?}");
    let ended = enrollment(&world, &["create", "x"]).await;
    assert!(ended.code == 2 && ended.stderr.contains("--symmetric-key"), "{ended:?}");
    world.stop().await;
}

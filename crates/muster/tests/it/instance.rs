//! `muster instance` and `muster policy`, over the management API.

use serde_json::json;
use wire::sas::ConnectionString;

use crate::program::{World, muster};

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_lives_from_its_creation_to_its_deletion() {
    let world = World::start().await;
    let created = world.muster(&["instance", "create"], &["plant-1", "--failover", "true", "--json"]).await;
    assert_eq!(created.code, 0, "{created:?}");
    let scope = created.json()["properties"]["idScope"].as_str().unwrap().to_owned();
    let again = world.muster(&["instance", "create"], &["plant-1"]).await;
    assert!(again.code == 1 && again.stderr.contains("exists already"), "{again:?}");
    let listed = world.muster(&["instance", "list"], &[]).await;
    assert!(listed.stdout.contains(&scope) && listed.stdout.contains("plant-1.localhost"), "{listed:?}");

    let updated = world.muster(&["instance", "update"], &["plant-1", "--tag", "line=3"]).await;
    assert!(updated.code == 0 && updated.stdout.contains("line"), "{updated:?}");
    let shown = world.muster(&["instance", "show"], &["plant-1", "--json"]).await.json();
    assert_eq!(
        (&shown["tags"], &shown["properties"]["muster"]["failover"]),
        (&json!({"line": "3"}), &json!(true))
    );

    let quotas = ["plant-1", "--quotas", "azure,enrollments=7", "--json"];
    let limited = world.muster(&["instance", "update"], &quotas).await.json();
    assert_eq!(limited["properties"]["muster"]["quotas"], json!({"preset": "azure", "enrollments": 7}));
    let limits = world.muster(&["usage"], &["--limits"]).await;
    assert!(limits.code == 0 && limits.stdout.contains("registrationsPerMinute"), "{limits:?}");
    let rules = [
        "--ip-filter-rule",
        "plant=accept,10.0.0.0/8",
        "--ip-filter-rule",
        "all=reject,0.0.0.0/0,serviceApi",
    ];
    let access = ["plant-1", "--public-network-access", "disabled", "--json"];
    let filtered = world.muster(&["instance", "update"], &[&access[..], &rules].concat()).await.json();
    let properties = &filtered["properties"];
    assert_eq!(properties["ipFilterRules"][1]["target"], "serviceApi", "{filtered}");
    assert_eq!(properties["publicNetworkAccess"], "Disabled", "{filtered}");
    let open =
        world.muster(&["instance", "update"], &["plant-1", "--no-ip-filter-rules", "--json"]).await.json();
    assert_eq!(open["properties"]["ipFilterRules"], json!([]));

    let dry = world.muster(&["instance", "delete"], &["plant-1", "--dry-run"]).await;
    assert!(dry.code == 0 && dry.stdout.contains("enrollmentGroups"), "{dry:?}");
    let unconfirmed = world.muster(&["instance", "delete"], &["plant-1"]).await;
    assert!(unconfirmed.code == 1 && unconfirmed.stderr.contains("--yes"), "{unconfirmed:?}");
    let deleted = world.muster(&["instance", "delete"], &["plant-1", "--yes"]).await;
    assert!(deleted.code == 0 && deleted.stdout.contains("not used again"), "{deleted:?}");
    assert_eq!(world.muster(&["instance", "show"], &["plant-1"]).await.code, 3);
    world.stop().await;
}

/// The emulator plans its instance anew with each start: what operators changed stays.
#[tokio::test(flavor = "multi_thread")]
async fn settings_survive_a_restart() {
    let world = World::start().await;
    let table = world.write("table.json", r#"[{"network": "10.20.0.0/16", "hubs": {"a.hub": 2.5}}]"#);
    let key = muster(["webhook", "new-key"]).await.stdout;
    let key_file = world.write("webhook.key", &key);
    let settings = [
        ["--tag", "line=3"],
        ["--location", "hall-2"],
        ["--host", "dps.example"],
        ["--allocation-policy", "static"],
        ["--failover", "true"],
        ["--require-verified-ca", "false"],
        ["--registrations", "first-come"],
        ["--existing-devices", "refuse"],
        ["--max-registrations-per-minute", "600"],
        ["--crl-max-age-days", "7"],
        ["--keep-attempts-days", "90"],
        ["--latency-table", &table],
        ["--webhook-key-file", &key_file],
    ];
    let arguments =
        [&["dev", "--json", "--host", "localhost", "--host", "127.0.0.1"][..], &settings.concat()];
    let updated = world.muster(&["instance", "update"], &arguments.concat()).await;
    assert_eq!(updated.code, 0, "{updated:?}");
    let logged = world.muster(&["log"], &["--kind", "instance", "--json"]).await.json();
    let is_update = |entry: &serde_json::Value| {
        entry["operation"] == "instance.update" && entry["actor"]["address"] == "127.0.0.1"
    };
    assert!(logged["entries"].as_array().unwrap().iter().any(is_update), "{logged}");
    let before = updated.json();
    let ours = &before["properties"]["muster"];
    assert_eq!((&ours["crlMaxAgeDays"], &ours["latencyTable"][0]["hubs"]["a.hub"]), (&json!(7), &json!(2.5)));

    let world = world.restarted().await;
    let shown = world.muster(&["instance", "show"], &["dev", "--json"]).await.json();
    let of = |instance: &serde_json::Value| {
        let settings =
            [&instance["location"], &instance["tags"], &instance["properties"]["allocationPolicy"]];
        json!([settings, instance["properties"]["muster"]])
    };
    assert_eq!(of(&shown), of(&before));
    assert_eq!(world.muster(&["webhook", "key"], &[]).await.stdout, key);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_created_rotated_and_removed_while_the_service_runs() {
    let world = World::start().await;
    let made =
        world.muster(&["policy", "put"], &["dev", "line", "--rights", "EnrollmentRead", "--json"]).await;
    assert_eq!(made.code, 0, "{made:?}");
    let info = world.emulator.info();
    let list = async |key: &str| {
        let owner = ConnectionString::parse(&info.service_connection_string).unwrap();
        let with = ConnectionString { key_name: "line".into(), key: key.into(), ..owner }.to_string();
        let ca = info.ca_file.to_str().unwrap();
        muster(["enrollment", "list", "--connection-string", &with, "--ca", ca]).await.code
    };
    let key = |policies: &serde_json::Value, name: &str| policies[0][name].as_str().unwrap().to_owned();
    let (primary, secondary) = (key(&made.json(), "primaryKey"), key(&made.json(), "secondaryKey"));
    assert_eq!((list(&primary).await, list(&secondary).await), (0, 0));
    let printed =
        world.muster(&["policy", "connection-string"], &["dev", "line", "--key", "secondary"]).await;
    let printed = ConnectionString::parse(&printed.stdout).unwrap();
    assert_eq!((printed.key_name.as_str(), &printed.key), ("line", &secondary));
    let missing = world.muster(&["policy", "connection-string"], &["dev", "other"]).await;
    assert!(missing.code == 1 && missing.stderr.contains("no access policy other"), "{missing:?}");
    let rotated = world.muster(&["policy", "rotate"], &["dev", "line", "secondary", "--json"]).await.json();
    assert_eq!((list(&primary).await, list(&secondary).await), (0, 4));
    assert_eq!(list(&key(&rotated, "secondaryKey")).await, 0);
    assert_eq!(world.muster(&["policy", "delete"], &["dev", "line"]).await.code, 0);
    assert_eq!(list(&primary).await, 4);
    let last = world.muster(&["policy", "delete"], &["dev", "provisioningserviceowner"]).await;
    assert!(last.code == 1 && last.stderr.contains("last access policy"), "{last:?}");

    // What operators changed stays after a restart, although the emulator plans the instance again.
    let made = world.muster(&["policy", "put"], &["dev", "kept", "--rights", "EnrollmentRead"]).await;
    assert_eq!(made.code, 0, "{made:?}");
    let world = world.restarted().await;
    let listed = world.muster(&["policy", "list"], &["dev"]).await;
    assert!(listed.stdout.contains("kept"), "{listed:?}");
    world.stop().await;
}

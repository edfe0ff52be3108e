//! `muster apply` and `muster diff`, with the example of the documentation.

use std::{fs, path::Path};

use model::HostPort;
use serde_json::json;
use wire::sas::ConnectionString;

use crate::program::{ProgramOutput, World, muster_with};

const SECRET_KEY: u8 = 7;

/// Runs a command on the documents of a folder, with the variables that the example takes.
async fn run(world: &World, command: &str, files: &Path, more: &[&str]) -> ProgramOutput {
    let info = world.emulator.info();
    let hub = &info.hubs[0].connection_string;
    let address: HostPort = ConnectionString::parse(hub).unwrap().host.parse().unwrap();
    let key = testkit::sample::key(SECRET_KEY).to_base64();
    let variables =
        [("HUB_NAME", address.host.as_str()), ("HUB_CONNECTION_STRING", hub.as_str()), ("GATEWAY_KEY", &key)];
    let (dir, files) = (world.dir(), files.to_str().unwrap());
    let arguments = [command, "--dev", dir.to_str().unwrap(), "-f", files, "--detailed-exit-code"];
    let ended = muster_with(&variables, [&arguments, more].concat()).await;
    let secret = ConnectionString::parse(hub).unwrap().key;
    for secret in [&secret, &key] {
        assert!(!ended.stdout.contains(secret) && !ended.stderr.contains(secret), "{ended:?}");
    }
    ended
}

/// Copies the example of docs/apply.md, with the CA of the emulator's hubs.
fn example(world: &World) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/apply");
    for entry in fs::read_dir(example).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    fs::copy(&world.emulator.info().ca_file, folder.path().join("hub-ca.pem")).unwrap();
    folder
}

fn change(folder: &Path, file: &str, from: &str, to: &str) {
    let text = fs::read_to_string(folder.join(file)).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(folder.join(file), text.replace(from, to)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_apply_of_the_example_has_nothing_to_do() {
    let world = World::start().await;
    let folder = example(&world);
    let files = folder.path();
    let diff = run(&world, "diff", files, &[]).await;
    assert_eq!(diff.code, 10, "{diff:?}");
    assert!(diff.stdout.starts_with("+ instance plant-1\n    location: \"north\"\n"), "{diff:?}");
    assert!(
        diff.stdout.contains("    connectionString: (set)\n") && diff.stdout.contains("6 to create"),
        "{diff:?}"
    );
    let dry = run(&world, "apply", files, &["--dry-run"]).await;
    assert_eq!((dry.code, &dry.stdout), (10, &diff.stdout));

    let first = run(&world, "apply", files, &[]).await;
    assert!(first.code == 10 && first.stdout.ends_with("applied 6\n"), "{first:?}");
    let second = run(&world, "apply", files, &[]).await;
    assert_eq!(
        (second.code, second.stdout.as_str()),
        (0, "nothing to do: 6 as they should be\n"),
        "{second:?}"
    );

    // What a document does not name is left alone, and only what differs is changed.
    let tagged = world.muster(&["instance", "update"], &["plant-1", "--existing-devices", "refuse"]).await;
    assert_eq!(tagged.code, 0, "{tagged:?}");
    change(files, "1-plant.yaml", "failover: true", "failover: false");
    change(files, "1-plant.yaml", "allocationWeight: 2", "allocationWeight: 3");
    change(files, "2-devices.yaml", "provisioningStatus: enabled", "provisioningStatus: disabled");
    let diff = run(&world, "diff", files, &[]).await;
    for line in [
        "~ instance plant-1\n    properties.muster.failover: true → false\n",
        "    allocationWeight: 2 → 3\n",
        "~ group line-3 of plant-1\n    provisioningStatus: \"enabled\" → \"disabled\"\n",
        "0 to create, 3 to change, 0 to delete, 3 as they should be",
    ] {
        assert!(diff.stdout.contains(line), "{line} {diff:?}");
    }
    assert_eq!(run(&world, "apply", files, &[]).await.code, 10);
    let shown = world.muster(&["instance", "show"], &["plant-1", "--json"]).await.json();
    let ours = &shown["properties"]["muster"];
    assert_eq!((&ours["failover"], &ours["existingDevices"]), (&json!(false), &json!("refuse")));

    // Keys are compared, but not shown.
    change(files, "2-devices.yaml", "{$env: GATEWAY_KEY}", &testkit::sample::key(8).to_base64());
    let diff = run(&world, "diff", files, &[]).await;
    assert!(
        diff.stdout.contains("~ enrollment gateway-1 of plant-1\n    attestation: (changed)\n"),
        "{diff:?}"
    );
    assert!(!diff.stdout.contains(&testkit::sample::key(8).to_base64()), "{diff:?}");
    let keys = run(&world, "diff", files, &["--send-keys"]).await;
    assert!(keys.stdout.contains("    connectionString: (changed)\n"), "{keys:?}");
    world.stop().await;
}

/// An export is a file of documents, and what it says is so already.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_applied_again_changes_nothing() {
    let world = World::start().await;
    for command in
        [&["enrollment", "create", "dev-1", "--symmetric-key"][..], &["enrollment", "disable", "dev-1"]]
    {
        assert_eq!(world.muster(command, &[]).await.code, 0);
    }
    let file = world.dir().join("export.jsonl");
    let exported = world.muster(&["enrollment", "export", file.to_str().unwrap()], &["--plain"]).await;
    assert_eq!(exported.code, 0, "{exported:?}");
    let applied = run(&world, "apply", &file, &[]).await;
    assert_eq!(
        (applied.code, applied.stdout.as_str()),
        (0, "nothing to do: 2 as they should be\n"),
        "{applied:?}"
    );
    world.stop().await;
}

/// Nothing is changed unless every document is valid, also by the service.
#[tokio::test(flavor = "multi_thread")]
async fn mistakes_change_nothing() {
    let world = World::start().await;
    for (text, expected) in [
        ("kind: group\nname: g\n---\nkind: hub\n", "a.yaml:4 (document 2): the member name is missing"),
        ("kind: group\nname: g\nattestation: {type: none}\n", "a.yaml:1 (document 1): group g: 400002"),
        (
            "kind: group\nname: g\ninstance: other\nattestation: {type: symmetricKey}\n",
            "there is no instance other",
        ),
    ] {
        let file = world.write(
            "a.yaml",
            &format!("{text}---\nkind: enrollment\nname: e\nattestation: {{type: symmetricKey}}\n"),
        );
        let ended = run(&world, "apply", Path::new(&file), &[]).await;
        assert!(ended.code == 1 && ended.stderr.contains(expected), "{ended:?}");
    }
    assert_eq!(world.muster(&["enrollment", "show", "e"], &[]).await.code, 3);
    world.stop().await;
}

/// What apply did not make stays: enrollments by hand, adopted ones, and those of another owner.
#[tokio::test(flavor = "multi_thread")]
async fn prune_deletes_only_what_apply_made() {
    let world = World::start().await;
    for id in ["by-hand", "adopted"] {
        assert_eq!(world.muster(&["enrollment", "create", id, "--symmetric-key"], &[]).await.code, 0);
    }
    let document = |kind: &str, name: &str| {
        format!(
            "---\nkind: {kind}\nname: {name}\nattestation: {{type: symmetricKey}}\nprovisioningStatus: disabled\n"
        )
    };
    let file = world.dir().join("a.yaml");
    let all = [("enrollment", "adopted"), ("enrollment", "ours"), ("group", "ours"), ("enrollment", "kept")];
    fs::write(&file, all.map(|(kind, name)| document(kind, name)).concat()).unwrap();
    assert_eq!(run(&world, "apply", &file, &[]).await.code, 10);
    let theirs = world.dir().join("b.yaml");
    fs::write(&theirs, document("enrollment", "theirs")).unwrap();
    assert_eq!(run(&world, "apply", &theirs, &["--owner", "other"]).await.code, 10);

    fs::write(&file, document("enrollment", "Kept")).unwrap();
    assert_eq!(run(&world, "apply", &file, &[]).await.code, 0, "only on request");
    let dry = run(&world, "diff", &file, &["--prune"]).await;
    let expected =
        "- enrollment ours\n- group ours\n0 to create, 0 to change, 2 to delete, 1 as they should be\n";
    assert_eq!((dry.code, dry.stdout.as_str()), (10, expected), "{dry:?}");
    let pruned = run(&world, "apply", &file, &["--prune"]).await;
    assert_eq!((pruned.code, pruned.stdout), (10, format!("{expected}applied 2\n")));
    assert_eq!(run(&world, "apply", &file, &["--prune"]).await.code, 0);
    for (id, code) in [("by-hand", 0), ("adopted", 0), ("theirs", 0), ("kept", 0), ("ours", 3)] {
        assert_eq!(world.muster(&["enrollment", "show", id], &[]).await.code, code, "{id}");
    }
    fs::write(&file, document("enrollment", "kept") + &document("enrollment", "ours") + "instance: dev\n")
        .unwrap();
    let mixed = run(&world, "diff", &file, &["--prune"]).await;
    assert!(mixed.code == 1 && mixed.stderr.contains("all documents name their instance"), "{mixed:?}");
    world.stop().await;
}

/// An operation of the service API for each read, comparison and creation, of which the first 60 are admitted at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_apply_waits_and_is_complete() {
    let world = World::start().await;
    let limited =
        world.muster(&["instance", "update"], &["dev", "--quotas", "off,operationsPerMinute=60"]).await;
    assert_eq!(limited.code, 0, "{limited:?}");
    let document =
        |index| format!("---\nkind: enrollment\nname: e-{index}\nattestation: {{type: symmetricKey}}\n");
    let file = world.write("a.yaml", &(0..22).map(document).collect::<String>());
    let applied = run(&world, "apply", Path::new(&file), &[]).await;
    assert!(applied.code == 10 && applied.stdout.ends_with("applied 22\n"), "{applied:?}");
    assert_eq!(
        applied.stderr.matches("the service throttles requests; waiting for").count(),
        1,
        "{applied:?}"
    );
    world.stop().await;
}

//! `muster enrollment import` and `export`.

use std::{fmt::Write as _, fs};

use fleet::{EnrollmentKind, ImportOptions};
use serde_json::{Value, json};

use crate::{
    program::{ProgramOutput, World},
    serve::ServeFixture,
    storage::stop,
};

/// How many enrollments a file has whose import takes several requests.
const MANY: usize = 2000;

async fn import(world: &World, file: &str, more: &[&str]) -> ProgramOutput {
    world.muster(&["enrollment", "import", file], more).await
}

fn totals(ended: &ProgramOutput) -> Value {
    let mut totals = ended.json()["totals"].clone();
    totals.as_object_mut().unwrap().retain(|_, count| *count != 0);
    totals
}

/// A second run says that there is nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_can_be_repeated() {
    let world = World::start().await;
    let mut rows = "registrationId,primaryKey,secondaryKey,initialTwin.tags.number\n".to_owned();
    let key = testkit::sample::key(7).to_base64();
    for number in 0..MANY {
        writeln!(rows, "device-{number},{key},{key},{number}").unwrap();
    }
    let file = world.write("devices.csv", &rows);
    let dry = import(&world, &file, &["--dry-run", "--json"]).await;
    assert_eq!((dry.code, totals(&dry)), (0, json!({"created": MANY})), "{dry:?}");
    let first = import(&world, &file, &["--json"]).await;
    assert_eq!((first.code, totals(&first)), (0, json!({"created": MANY})), "{first:?}");
    let second = import(&world, &file, &[]).await;
    assert_eq!(second.code, 0, "{second:?}");
    assert!(
        second.stdout.contains("0 created, 0 replaced, 2000 unchanged, 0 failed\nnothing to do"),
        "{second:?}"
    );
    let shown = world.muster(&["enrollment", "show", "device-7"], &["--keys"]).await.json();
    assert_eq!(shown["initialTwin"]["tags"]["number"], 7);
    assert_eq!(shown["attestation"]["symmetricKey"]["primaryKey"], json!(key));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_in_a_file_with_its_line() {
    let world = World::start().await;
    let lines = [
        json!({"registrationId": "dev-1", "attestation": {"type": "symmetricKey"}}).to_string(),
        "nonsense".to_owned(),
        json!({"enrollmentGroupId": "line-1", "attestation": {"type": "none"}}).to_string(),
        json!({"registrationId": "dev-2", "attestation": {"type": "symmetricKey"}}).to_string(),
    ];
    let file = world.write("devices.jsonl", &lines.join("\n"));
    world.muster(&["enrollment", "create", "dev-2", "--symmetric-key"], &[]).await;
    let ended = import(&world, &file, &[]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.contains("0 created, 0 replaced, 1 unchanged, 3 failed"), "{ended:?}");
    let errors = fs::read_to_string(format!("{file}.errors.jsonl")).unwrap();
    let mut errors: Vec<Value> = errors.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    errors.sort_by_key(|error| error["line"].as_u64());
    let found: Vec<_> =
        errors.iter().map(|error| json!([error["line"], error["id"], error["code"]])).collect();
    let expected = [json!([1, "dev-1", 400_002]), json!([2, null, null]), json!([3, "line-1", 400_002])];
    assert_eq!(found, expected, "{errors:?}");

    let wrong = import(&world, &file, &["--format", "json"]).await;
    assert!(wrong.code == 1 && wrong.stderr.contains("not JSON from here on"), "{wrong:?}");
    let absent = import(&world, "/nonexistent.csv", &[]).await;
    assert!(absent.code == 1 && absent.stderr.contains("/nonexistent.csv"), "{absent:?}");
    world.stop().await;
}

/// An enrollment that the service refuses for its size, or that the file has twice, is a failure of its own.
#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_enrollment_and_a_duplicate_stop_no_other() {
    let world = World::start().await;
    let line = |id: &str, site: &str| {
        let twin = json!({"tags": {"site": site}});
        json!({"registrationId": id, "initialTwin": twin, "attestation": {"type": "symmetricKey"}})
            .to_string()
    };
    // The longest line of a file, which with the request around it is longer than the service accepts.
    let huge = "x".repeat(1024 * 1024 - 10 - line("dev-2", "").len());
    let lines = [line("dev-1", "a"), line("dev-2", &huge), line("DEV-1", "b"), line("dev-3", "a")];
    let file = world.write("devices.jsonl", &lines.join("\n"));
    for (expected, more) in [("created", "--generate-keys"), ("unchanged", "--replace")] {
        let ended = import(&world, &file, &["--json", more]).await;
        assert_eq!((ended.code, totals(&ended)), (1, json!({expected: 2, "failed": 2})), "{ended:?}");
    }
    let errors = fs::read_to_string(format!("{file}.errors.jsonl")).unwrap();
    assert!(errors.contains("413000") && errors.contains("in the file already"), "{errors}");
    world.stop().await;
}

/// Returns an enrollment of about 27 KB.
fn large(number: usize) -> Value {
    let properties: serde_json::Map<_, _> =
        (0..9).map(|number| (format!("p{number}"), json!("x".repeat(3000)))).collect();
    let twin = json!({"properties": {"desired": properties}});
    let id = format!("device-{number}");
    json!({"registrationId": id, "initialTwin": twin, "attestation": {"type": "symmetricKey"}})
}

/// Pages are as long as the client takes, however large the enrollments are, and a plain export is read back.
#[tokio::test(flavor = "multi_thread")]
async fn large_enrollments_are_exported_and_read_back() {
    let world = World::start().await;
    let lines: Vec<String> = (0..60).map(|number| large(number).to_string()).collect();
    let file = world.write("devices.jsonl", &lines.join("\n"));
    let first = import(&world, &file, &["--json", "--generate-keys"]).await;
    assert_eq!((first.code, totals(&first)), (0, json!({"created": 60})), "{first:?}");
    let export = world.dir().join("export.jsonl").to_str().unwrap().to_owned();
    let exported = world.muster(&["enrollment", "export", &export, "--plain"], &[]).await;
    assert_eq!(exported.code, 0, "{exported:?}");
    let again = import(&world, &export, &["--json"]).await;
    assert_eq!((again.code, totals(&again)), (0, json!({"unchanged": 61})), "{again:?}");
    world.stop().await;
}

/// A page size that was too large for one page is not tried again for the next one.
#[tokio::test]
async fn one_page_of_large_enrollments_is_read_twice() {
    let fixture = ServeFixture::new();
    let audit = fixture.folder().join("audit.jsonl");
    fixture.append(&format!("[audit]\nfile = {:?}\n", audit.display().to_string()));
    let service = fixture.start().await;
    let (mut operator, kind) = (fixture.service("127.0.0.1"), EnrollmentKind::Individual);
    let enrollments: Vec<Value> = (0..120).map(large).collect();
    for batch in enrollments.chunks(30) {
        let batch: Vec<&Value> = batch.iter().collect();
        let options = ImportOptions { generate_keys: true, ..ImportOptions::default() };
        assert_eq!(operator.import_enrollments(kind, &batch, options).await.unwrap().created, 30);
    }
    let mut page = operator.export_enrollments(kind, None).await.unwrap();
    let mut sizes = vec![page.items.len()];
    while let Some(next) = &page.continuation {
        page = operator.export_enrollments(kind, Some(next)).await.unwrap();
        sizes.push(page.items.len());
    }
    assert_eq!(sizes, [25, 25, 25, 25, 20]);
    stop(service).await;
    let exports = fs::read_to_string(&audit).unwrap();
    assert_eq!(exports.lines().filter(|line| line.contains("/enrollments/export")).count(), 1 + sizes.len());
}

/// Enrollments move to another service in a sealed file, with all keys and certificates.
#[tokio::test(flavor = "multi_thread")]
async fn enrollments_move_in_a_sealed_file() {
    let (world, other) = (World::start().await, World::start().await);
    let ca = testkit::ca::Authority::root("Factory");
    world.enroll_ca("factory", &ca).await;
    world.muster(&["enrollment", "create", "dev-1", "--symmetric-key"], &[]).await;
    let keys = async |world: &World| {
        let shown = world.muster(&["enrollment", "show", "dev-1"], &["--keys"]).await.json();
        shown["attestation"]["symmetricKey"]["primaryKey"].as_str().unwrap().to_owned()
    };
    let key = keys(&world).await;
    let [passphrase, wrong] = ["correct horse battery\n", "another passphrase"].map(|text| {
        let name = text.split(' ').next().unwrap();
        world.write(name, text)
    });
    let file = world.dir().join("backup.sealed").to_str().unwrap().to_owned();
    let export = ["enrollment", "export", &file];
    let unsealed = world.muster(&export, &[]).await;
    assert!(unsealed.code == 1 && unsealed.stderr.contains("--plain"), "{unsealed:?}");
    let partial = format!("{file}.partial");
    fs::write(&partial, "of an export that was killed").unwrap();
    let exported = world.muster(&export, &["--passphrase-file", &passphrase]).await;
    assert!(!fs::exists(&partial).unwrap());
    let again = world.muster(&export, &["--passphrase-file", &passphrase]).await;
    assert!(again.code == 1 && again.stderr.contains("exists already"), "{again:?}");
    assert_eq!((exported.code, exported.stdout.contains("sealed")), (0, true), "{exported:?}");
    let content = fs::read(&file).unwrap();
    let contains = |text: &str| content.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(!contains(&key) && !contains("dev-1"));

    for passphrase in [&["--passphrase-file", wrong.as_str()][..], &[]] {
        let refused = import(&other, &file, passphrase).await;
        assert!(refused.code == 1 && refused.stderr.contains("passphrase"), "{refused:?}");
    }
    // The sample group of the emulator has another key in each, and here it admits some IDs only, until the export replaces that.
    let restrict = ["--group", "--set", "allowedRegistrationIds=[\"a\"]"];
    let sample = other.muster(&["enrollment", "list"], &["--groups", "--json"]).await.json();
    let sample = sample[0]["enrollmentGroupId"].as_str().unwrap().to_owned();
    let restricted = other.muster(&["enrollment", "update", &sample], &restrict).await;
    assert_eq!(restricted.code, 0, "{restricted:?}");
    let options = ["--passphrase-file", &passphrase, "--replace", "--json"];
    let imported = import(&other, &file, &options).await;
    assert_eq!((imported.code, totals(&imported)), (0, json!({"created": 2, "replaced": 1})), "{imported:?}");
    assert_eq!(keys(&other).await, key);
    let shown = other.muster(&["enrollment", "show", &sample], &["--group"]).await.json();
    assert_eq!(shown.get("allowedRegistrationIds"), None, "{shown}");
    let again = import(&other, &file, &options).await;
    assert_eq!(totals(&again), json!({"unchanged": 3}), "{again:?}");
    world.stop().await;
    other.stop().await;
}

//! A change by another operator between the comparison and the write.

use std::path::PathBuf;

use fleet::{EnrollmentKind, ServiceClient, Trust};
use model::AllocationWeight;
use serde_json::json;
use server::dev::{self, DevOptions, Emulator, PortChoice};
use wire::sas::ConnectionString;

use super::*;

const RULES: Rules<'static> = Rules { owner: "muster-apply", hub_keys: HubKeys::Kept };

async fn emulator(dir: PathBuf) -> Emulator {
    let hub_weights = vec![AllocationWeight::default()];
    dev::start(DevOptions { dir, ports: PortChoice::Free, hub_weights }).await.unwrap()
}

fn client(emulator: &Emulator) -> ServiceClient {
    let info = emulator.info();
    let connection = ConnectionString::parse(&info.management_connection_string).unwrap();
    let trust = Trust::from_pem(&std::fs::read(&info.ca_file).unwrap()).unwrap();
    ServiceClient::new(&connection, info.ports.https, trust).unwrap()
}

fn session(emulator: &Emulator) -> Session {
    let facts = ResourceFacts::default();
    Session::new(client(emulator), facts.subscription, facts.resource_group)
}

/// Objects of every kind that can be changed: one that is created meanwhile, and others that are changed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_between_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = emulator(folder.path().join("muster")).await;
    let file = folder.path().join("a.yaml");
    let documents = |location: &str, policy: &str, rights: &str| {
        let text = format!(
            "kind: instance\nname: dev\nlocation: {location}\n---\nkind: policy\nname: p\ninstance: dev\nrights: {rights}\n---\n\
             kind: group\nname: g\nattestation: {{type: symmetricKey}}\nallocationPolicy: {policy}\n"
        );
        std::fs::write(&file, text).unwrap();
        document::read(std::slice::from_ref(&file)).unwrap()
    };
    let mut ours = session(&emulator);
    let stale = plan(&mut ours, documents("a", "hashed", "EnrollmentRead"), RULES).await.unwrap();
    let mut theirs = session(&emulator);
    let steps = plan(&mut theirs, documents("b", "static", "ServiceConfig"), RULES).await.unwrap();
    assert_eq!(
        steps.iter().map(|it| it.action).collect::<Vec<_>>(),
        [Action::Change, Action::Create, Action::Create]
    );
    execute(&mut theirs, &Plan { steps, removals: Vec::new() }).await.unwrap();
    for step in &stale {
        let error =
            step.apply(&mut ours).await.err().map(|it| crate::commands::describe(&it)).unwrap_or_default();
        let says = ["412", "409", "changed since"].iter().any(|it| error.contains(it));
        assert!(says, "{} {error}", step.document.kind.name());
    }
    let group = client(&emulator).read_enrollment(EnrollmentKind::Group, "g").await.unwrap();
    assert_eq!(group["allocationPolicy"], json!("static"));

    // The same once all exist.
    let stale = plan(&mut ours, documents("c", "hashed", "EnrollmentRead"), RULES).await.unwrap();
    let steps = plan(&mut theirs, documents("d", "geoLatency", "EnrollmentWrite"), RULES).await.unwrap();
    assert!(stale.iter().chain(&steps).all(|step| step.action == Action::Change));
    execute(&mut theirs, &Plan { steps, removals: Vec::new() }).await.unwrap();
    for step in &stale {
        assert!(step.apply(&mut ours).await.is_err(), "{}", step.document.kind.name());
    }
    let steps = plan(&mut ours, documents("d", "geoLatency", "EnrollmentWrite"), RULES).await.unwrap();
    assert!(steps.iter().all(|step| step.action == Action::Keep));
    emulator.stop().await.unwrap();
}

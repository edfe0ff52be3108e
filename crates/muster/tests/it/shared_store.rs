//! `muster store` on a PostgreSQL database, and nodes whose files differ.

use std::path::Path;

use ::fleet::Transport;
use testkit::postgres::Postgres;

use crate::{
    linked_hub::{LinkingServer, NeighborProcess, table, until},
    program::{ProgramOutput, muster},
    serve::{device, enrollment},
};

/// A node, whose file names a database of the shared server.
fn node() -> (LinkingServer, String) {
    let url = Postgres::shared().database().url();
    (LinkingServer::new(), url)
}

async fn store(command: &str, config: &str, url: &str) -> ProgramOutput {
    muster(["store", command, "--config", config, "--store", url]).await
}

async fn check(config: &str, url: &str) -> ProgramOutput {
    muster(["serve", "--check", "--config", config, "--store", url]).await
}

#[tokio::test]
async fn a_shared_database_needs_the_master_key_of_its_first_node() {
    let (service, url) = node();
    let config = service.configure("");
    let ended = check(&config, &url).await;
    assert!(ended.code == 1 && ended.stderr.contains("muster store init"), "{ended:?}");
    let ended = store("init", &config, &url).await;
    assert!(ended.code == 0 && ended.stdout.contains("is created"), "{ended:?}");
    let ended = store("init", &config, &url).await;
    assert_eq!(ended.code, 0, "it may be repeated: {ended:?}");
    assert_eq!(check(&config, &url).await.code, 0);
    assert_eq!(store("migrate", &config, &url).await.code, 0);
    let ended = store("check", &config, &url).await;
    assert!(ended.code == 0 && ended.stdout.contains("1 records read, 0 problems"), "{ended:?}");

    let empty = Postgres::shared().database();
    let ended = check(&config, &empty.url()).await;
    assert!(ended.code == 0 && ended.stderr.contains("is empty"), "{ended:?}");
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'";
    assert_eq!(Postgres::shared().execute(&empty.name, tables), "0", "a check creates nothing");

    let other = LinkingServer::new();
    let config = other.configure("");
    let refused = store("init", &config, &url).await;
    assert!(refused.code == 1 && refused.stderr.contains("same master key"), "{refused:?}");
    let ended = store("init", &config, &empty.url()).await;
    assert_eq!(ended.code, 0, "a new database gets a new key: {ended:?}");
    let ended = check(&config, &url).await;
    assert!(ended.code == 1 && ended.stderr.contains("master key is not the one"), "{ended:?}");
}

#[tokio::test]
async fn the_file_of_a_node_applies_when_an_operator_says_so() {
    let (service, url) = node();
    let config = service.configure("");
    assert_eq!(store("init", &config, &url).await.code, 0);
    assert_eq!(check(&config, &url).await.stderr, "");

    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("name = \"plant\"", "name = \"renamed\"")).unwrap();
    let warning = "differs from this configuration in name;";
    let ended = check(&config, &url).await;
    assert!(ended.code == 0 && ended.stderr.contains(warning), "{ended:?}");
    assert!(ended.stderr.contains("muster store apply"), "{ended:?}");
    assert_eq!(store("init", &config, &url).await.code, 0);
    assert!(check(&config, &url).await.stderr.contains(warning), "only what is missing is created");

    assert_eq!(store("apply", &config, &url).await.code, 0);
    assert_eq!(check(&config, &url).await.stderr, "");
}

#[tokio::test]
async fn a_copied_service_goes_on_where_the_file_ended() {
    let (service, url) = node();
    let neighbor = NeighborProcess::start(1).await;
    let (hub, ca) = (neighbor.hub(), &neighbor.info.ca_file);
    let lines = format!("connection_string = {:?}\nca = {ca:?}", hub.connection_string);
    let config = service.configure(&table(&lines));
    let mut process = service.start(&config, Path::new("/nonexistent")).await;
    for number in 0..20 {
        service.client().create_enrollment(&enrollment(&format!("dev-{number}"))).await.unwrap();
    }
    let register =
        async |name| ::fleet::register(&service.endpoint(), &device(name), Transport::Https, None).await;
    let before = register("dev-1").await.unwrap();
    process.kill().await.unwrap();

    let file = format!("sqlite:{}", service.data().join("muster.db").display());
    let copy = async || muster(["store", "copy", "--config", &config, "--from", &file, "--to", &url]).await;
    let ended = copy().await;
    assert_eq!(ended.code, 0, "{ended:?}");
    for expected in ["enrollments: 20, sha256 ", "registrations: 1, sha256 ", "instances: 1, sha256 "] {
        assert!(ended.stdout.contains(expected), "{expected}: {ended:?}");
    }
    let again = copy().await;
    assert_eq!(again.stdout, ended.stdout, "it continues, and finds nothing left to do");

    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("store = {url:?}\n{text}")).unwrap();
    let _process = service.start(&config, Path::new("/nonexistent")).await;
    until("it is ready", async || register("dev-1").await.is_ok()).await;
    let after = register("dev-1").await.unwrap();
    let created = "createdDateTimeUtc";
    assert_eq!(after.state[created], before.state[created], "the registration is the same");
    let usage = service.client().usage(None, None).await.unwrap();
    let counted =
        |kind: &str| usage["usage"].as_array().unwrap().iter().filter(|row| row["kind"] == kind).count();
    assert_eq!(counted("registration"), 1, "{usage}");
    assert!(counted("reregistration") > 0, "{usage}");
    let late = copy().await;
    assert!(
        late.code == 1 && late.stderr.contains("served"),
        "what was deleted since would be back: {late:?}"
    );
}

#[tokio::test]
async fn a_copy_does_not_mix_two_services() {
    let (service, url) = node();
    let config = service.configure("");
    let mut process = service.start(&config, Path::new("/nonexistent")).await;
    service.client().create_enrollment(&enrollment("dev-1")).await.unwrap();
    process.kill().await.unwrap();
    let file = format!("sqlite:{}", service.data().join("muster.db").display());
    let copy = async || muster(["store", "copy", "--config", &config, "--from", &file, "--to", &url]).await;
    // Its own instance is there already, with another operation key.
    assert_eq!(store("init", &config, &url).await.code, 0);
    let ended = copy().await;
    assert!(ended.code == 1 && ended.stderr.contains("with other settings"), "{ended:?}");
    let checked = store("check", &config, &url).await;
    assert!(checked.stdout.contains("1 records read"), "the enrollment was not copied: {checked:?}");
}

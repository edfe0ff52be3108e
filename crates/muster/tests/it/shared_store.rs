//! `muster store` on a PostgreSQL database, and nodes whose files differ.

use testkit::postgres::Postgres;

use crate::{
    linked_hub::LinkingServer,
    program::{ProgramOutput, muster},
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
async fn two_migrate_a_database_of_the_release_before_at_the_same_time() {
    let (service, database) = (LinkingServer::new(), Postgres::shared().database());
    let (config, url) = (service.configure(""), database.url());
    assert_eq!(store("init", &config, &url).await.code, 0);
    let version = || Postgres::shared().execute(&database.name, "SELECT version FROM schema");
    let newest: u32 = version().parse().unwrap();
    Postgres::shared().execute(&database.name, &format!("UPDATE schema SET version = {}", newest - 1));
    for ended in [check(&config, &url).await, store("init", &config, &url).await] {
        assert!(ended.code == 1 && ended.stderr.contains("run `muster store migrate`"), "{ended:?}");
    }
    let (one, two) = tokio::join!(store("migrate", &config, &url), store("migrate", &config, &url));
    for ended in [one, two] {
        assert!(ended.code == 0 && ended.stdout.contains("is migrated"), "{ended:?}");
    }
    assert_eq!(version(), newest.to_string());
    assert_eq!(check(&config, &url).await.code, 0);
}

#[tokio::test]
async fn a_mistyped_data_folder_is_not_created() {
    let service = LinkingServer::new();
    let config = service.configure("");
    for command in ["init", "migrate", "apply"] {
        let ended = muster(["store", command, "--config", &config]).await;
        assert!(ended.code == 1 && ended.stderr.contains("muster serve"), "{command}: {ended:?}");
        assert!(!service.data().exists(), "{command}");
    }
}

#[tokio::test]
async fn a_password_among_the_arguments_is_refused() {
    let (service, url) = node();
    let (config, secret) = (service.configure(""), url.replace("postgres@", "postgres:secret@"));
    for arguments in [
        &["serve", "--check", "--config", &config, "--store", &secret][..],
        &["store", "init", "--config", &config, &format!("--store={secret}")],
        &["store", "copy", "--config", &config, "--to", &secret],
    ] {
        let ended = muster(arguments).await;
        assert!(ended.code == 1 && ended.stderr.contains("store_password"), "{ended:?}");
        assert!(!ended.stderr.contains("secret"), "{ended:?}");
    }
}

//! TLS and passwords between a node and its database.

use durable::Sealer;
use testkit::{postgres::Postgres, server_certificate::ServerCertificate};

use crate::{
    linked_hub::LinkingServer,
    program::{ProgramOutput, muster, muster_with},
};

const PASSWORD: &str = "two words";

/// A database whose server has a certificate for 127.0.0.1.
struct SecuredDatabase {
    service: LinkingServer,
    postgres: Postgres,
    ca: String,
}

impl SecuredDatabase {
    fn start() -> SecuredDatabase {
        let certificate = ServerCertificate::of("127.0.0.1");
        let postgres = Postgres::start_with_tls(&certificate);
        postgres.execute("postgres", &format!("CREATE ROLE muster LOGIN PASSWORD '{PASSWORD}'"));
        postgres.execute("postgres", "CREATE DATABASE muster OWNER muster");
        let service = LinkingServer::new();
        std::fs::create_dir(service.data()).unwrap();
        Sealer::load_or_create(&service.data().join("master.key")).unwrap();
        let ca = service.write("database-ca.pem", &certificate.ca);
        SecuredDatabase { service, postgres, ca }
    }

    /// Writes a configuration with this host and rest of the URL, and these further lines.
    fn configure(&self, host: &str, parameters: &str, lines: &str) -> String {
        let url = format!("postgres://muster@{host}:{}/muster{parameters}", self.postgres.port());
        let text = std::fs::read_to_string(self.service.configure("")).unwrap();
        self.service.write("node.toml", &format!("store = {url:?}\n{lines}\n{text}"))
    }
}

/// Returns the lines that trust a CA, and log in with a password.
fn trust(ca: &str, password: &str) -> String {
    format!("store_ca = {ca:?}\nstore_password = {password:?}")
}

fn refused(ended: &ProgramOutput, reason: &str) {
    assert!(ended.code == 1 && ended.stderr.contains(reason), "{reason}: {ended:?}");
    assert!(!ended.stderr.contains(PASSWORD), "{ended:?}");
}

#[tokio::test]
async fn a_node_logs_in_over_tls_with_a_password_of_a_file_or_of_the_environment() {
    let database = SecuredDatabase::start();
    let file = database.service.write("password", &format!("{PASSWORD}\n"));
    let from_file = trust(&database.ca, &format!("file:{file}"));
    let config = database.configure("127.0.0.1", "", &from_file);
    let ended = muster(["store", "init", "--config", &config]).await;
    assert_eq!(ended.code, 0, "{ended:?}");

    let config = database.configure("127.0.0.1", "", &trust(&database.ca, "env:DATABASE_PASSWORD"));
    let check = ["serve", "--check", "--config", &config];
    let ended = muster_with(&[("DATABASE_PASSWORD", PASSWORD)], check).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    refused(&muster(check).await, "DATABASE_PASSWORD");
    refused(
        &muster_with(&[("DATABASE_PASSWORD", "one word")], check).await,
        "password authentication failed",
    );

    // In the URL of the environment, which other users of the machine cannot read.
    let config = database.configure("127.0.0.1", "", &format!("store_ca = {:?}", database.ca));
    let url = format!("postgres://muster:two%20words@127.0.0.1:{}/muster", database.postgres.port());
    let ended = muster_with(&[("MUSTER_STORE", &url)], ["serve", "--check", "--config", &config]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[tokio::test]
async fn a_server_that_does_not_prove_its_name_gets_no_password() {
    let database = SecuredDatabase::start();
    let file = format!("file:{}", database.service.write("password", PASSWORD));
    let other = database.service.write("other-ca.pem", &ServerCertificate::of("127.0.0.1").ca);
    let (ours, others) = (trust(&database.ca, &file), trust(&other, &file));
    let system = format!("store_password = {file:?}");
    for (host, parameters, lines, reason) in [
        // Its CA has the same name.
        ("127.0.0.1", "", &others, "BadSignature"),
        ("127.0.0.1", "?sslmode=prefer", &others, "BadSignature"),
        ("127.0.0.1", "", &system, "UnknownIssuer"),
        ("localhost", "", &ours, "not valid for name"),
        // The server demands TLS, too.
        ("127.0.0.1", "?sslmode=disable", &ours, "no encryption"),
    ] {
        let config = database.configure(host, parameters, lines);
        for command in [&["serve", "--check"][..], &["store", "migrate"]] {
            refused(&muster([command, &["--config", &config]].concat()).await, reason);
        }
    }
}

//! `muster store copy`: from a file to a PostgreSQL database.

use std::{path::Path, time::Duration};

use ::fleet::{BulkMode, EnrollmentKind, ServiceClient, Transport};
use serde_json::Value;
use testkit::postgres::{Database, Postgres};
use tokio::process::{Child, Command};

use crate::{
    linked_hub::{LinkingServer, NeighborProcess, table, until},
    program::{ProgramOutput, muster},
    serve::{device, enrollment},
};

const ENROLLMENTS: usize = 200;

/// A service with a file, and the database that it is copied to.
struct Move {
    service: LinkingServer,
    database: Database,
    config: String,
    /// Its hub.
    _neighbor: NeighborProcess,
}

impl Move {
    async fn new() -> Move {
        let (service, neighbor) = (LinkingServer::new(), NeighborProcess::start(1).await);
        let (hub, ca) = (neighbor.hub(), &neighbor.info.ca_file);
        let lines = format!("connection_string = {:?}\nca = {ca:?}", hub.connection_string);
        let config = service.configure(&table(&lines));
        Move { service, database: Postgres::shared().database(), config, _neighbor: neighbor }
    }

    async fn serve(&self, config: &str) -> Child {
        self.service.start(config, Path::new("/nonexistent")).await
    }

    /// Writes the configuration of a node, which names the database.
    fn node(&self) -> String {
        let text = std::fs::read_to_string(&self.config).unwrap();
        self.service.write("node.toml", &format!("store = {:?}\n{text}", self.database.url()))
    }

    async fn copy(&self) -> ProgramOutput {
        muster(["store", "copy", "--config", &self.config, "--to", &self.database.url()]).await
    }

    /// Starts a copy in a process that can be killed.
    fn start_copy(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_muster"))
            .args(["store", "copy", "--config", &self.config, "--to", &self.database.url()])
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    async fn enroll(&self) {
        let enrollments: Vec<Value> =
            (0..ENROLLMENTS).map(|number| enrollment(&format!("dev-{number}"))).collect();
        for some in enrollments.chunks(ServiceClient::BULK_LIMIT) {
            self.service.client().bulk(BulkMode::Create, some).await.unwrap();
        }
    }

    async fn register(&self, name: &str) -> Option<Value> {
        let registered =
            ::fleet::register(&self.service.endpoint(), &device(name), Transport::Https, None).await;
        registered.ok().map(|reply| reply.state)
    }

    fn count(&self, table: &str) -> usize {
        let sql = format!("SELECT count(*) FROM {table}");
        Postgres::shared().execute(&self.database.name, &sql).parse().unwrap()
    }
}

#[tokio::test]
async fn a_copied_service_goes_on_where_the_file_ended() {
    let moved = Move::new().await;
    let mut process = moved.serve(&moved.config).await;
    moved.enroll().await;
    let before = moved.register("dev-1").await.unwrap();
    process.kill().await.unwrap();

    let ended = moved.copy().await;
    assert_eq!(ended.code, 0, "{ended:?}");
    for expected in ["enrollments: 200, sha256 ", "registrations: 1, sha256 ", "instances: 1, sha256 "] {
        assert!(ended.stdout.contains(expected), "{expected}: {ended:?}");
    }
    let _process = moved.serve(&moved.node()).await;
    until("it is ready", async || moved.register("dev-1").await.is_some()).await;
    let after = moved.register("dev-1").await.unwrap();
    let created = "createdDateTimeUtc";
    assert_eq!(after[created], before[created], "the registration is the same");
    let usage = moved.service.client().usage(None, None).await.unwrap();
    let counted =
        |kind: &str| usage["usage"].as_array().unwrap().iter().filter(|row| row["kind"] == kind).count();
    assert_eq!(counted("registration"), 1, "{usage}");
    assert!(counted("reregistration") > 0, "{usage}");
    let late = moved.copy().await;
    assert!(late.code == 1 && late.stderr.contains("copy to an empty one"), "{late:?}");
}

/// Killed when the enrollments are there and the registrations are not. Then the service goes on with its file for a while, and
/// serves reads while the copy is repeated.
#[tokio::test]
async fn an_interrupted_copy_is_not_served_and_continues() {
    let moved = Move::new().await;
    let mut process = moved.serve(&moved.config).await;
    moved.enroll().await;
    moved.register("dev-1").await.unwrap();
    process.kill().await.unwrap();

    // The tables are there before, so that one can be locked.
    let node = moved.node();
    assert_eq!(muster(["store", "migrate", "--config", &node]).await.code, 0);
    let name = moved.database.name.clone();
    let lock = "BEGIN; LOCK TABLE registrations IN SHARE MODE; SELECT pg_sleep(4); COMMIT";
    let lock = tokio::task::spawn_blocking(move || Postgres::shared().execute(&name, lock));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut copy = moved.start_copy();
    until("the enrollments are there", async || moved.count("individuals") == ENROLLMENTS).await;
    copy.kill().await.unwrap();
    lock.await.unwrap();
    assert_eq!((moved.count("instances"), moved.count("registrations")), (1, 0), "it is half a copy");
    for command in [&["serve", "--config", &node][..], &["store", "check", "--config", &node]] {
        let refused = muster(command).await;
        assert!(
            refused.code == 1 && refused.stderr.contains("repeat `muster store copy --from"),
            "{refused:?}"
        );
    }

    let _process = moved.serve(&moved.config).await;
    let mut operator = moved.service.client();
    let individual = (EnrollmentKind::Individual, "dev-6");
    operator.delete_enrollment(EnrollmentKind::Individual, "dev-5").await.unwrap();
    let mut changed = operator.enrollment("dev-6").await.unwrap();
    changed["provisioningStatus"] = "disabled".into();
    operator.put_enrollment(individual, &changed, Some("*")).await.unwrap();
    operator.create_enrollment(&enrollment("new")).await.unwrap();
    moved.register("new").await.unwrap();
    let reading = async {
        loop {
            operator.enrollment("dev-6").await.expect("the service serves reads");
        }
    };
    let ended = tokio::select! {
        ended = moved.copy() => ended,
        () = reading => unreachable!(),
    };
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended.stdout.contains("enrollments: 200, ") && ended.stdout.contains("registrations: 2, "),
        "{ended:?}"
    );
    let checked = muster(["store", "check", "--config", &node]).await;
    assert!(checked.code == 0 && checked.stdout.contains("0 problems"), "{checked:?}");
}

#[tokio::test]
async fn a_copy_does_not_mix_two_services() {
    let moved = Move::new().await;
    let mut process = moved.serve(&moved.config).await;
    moved.service.client().create_enrollment(&enrollment("dev-1")).await.unwrap();
    process.kill().await.unwrap();
    // Its own instance is there already, with another operation key.
    let node = moved.node();
    assert_eq!(muster(["store", "init", "--config", &node]).await.code, 0);
    let ended = moved.copy().await;
    assert!(ended.code == 1 && ended.stderr.contains("copy to an empty one"), "{ended:?}");
    let checked = muster(["store", "check", "--config", &node]).await;
    assert!(checked.stdout.contains("1 records read"), "the enrollment was not copied: {checked:?}");
}

//! A rolling upgrade: the release after this one migrates the tables while nodes of this release serve from them.

use std::time::Duration;

use store::{
    PostgresStore,
    postgres::{Schema, Settings},
};
use testkit::postgres::{NEXT_RELEASE, Postgres};
use tokio::time::sleep;

use super::{Storm, fixture::Cluster};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_register_while_the_next_release_migrates_the_database() {
    let database = Postgres::shared().database();
    let mut cluster = Cluster::start(&[database.url(), database.url()]).await;
    let mut storm = Storm::new("upgrade", cluster.deployment()).await;
    let settings = Settings::parse(&database.url()).unwrap();
    let next = Schema::default().followed_by(NEXT_RELEASE);
    let migrating = async {
        sleep(Duration::from_millis(500)).await;
        // At two machines at the same time.
        let migrate = || PostgresStore::migrate(settings.clone(), next.clone());
        let (one, two) = tokio::join!(migrate(), migrate());
        one.and(two).unwrap();
    };
    storm.during(migrating).await;
    println!("the longest wait of a device: {:?}", storm.longest_wait());
    assert_eq!(storm.unavailable(), 0, "no device was turned away");
    let version = || Postgres::shared().execute(&database.name, "SELECT version FROM schema");
    let version: i32 = version().parse().unwrap();

    // Nodes of this release start on the tables of the next one, should it have to be taken back.
    let restarting = async {
        for number in 0..cluster.nodes.len() {
            cluster.nodes[number].stop().await;
            cluster.start_node(number).await;
        }
    };
    storm.during(restarting).await;
    storm.examine().await;
    let columns = "SELECT count(*) FROM registrations WHERE seen IS NULL";
    let found: u32 = Postgres::shared().execute(&database.name, columns).parse().unwrap();
    assert!(found > 0 && version > 1, "{found} registrations in version {version}");
}

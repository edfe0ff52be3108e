//! Nodes whose database loses what it acknowledged, in a failover or because it is restored beneath them, decide by what it has.

use std::collections::BTreeMap;

use provisioning::ports::{Change, Devices, Entropy, Expect};
use store::PostgresStore;
use testkit::{entropy::SeededEntropy, postgres::Postgres, sample};
use tokio_postgres::Client;

use crate::lanes::{client, commit, open};

/// The tables that a node has a copy of, and what says how new it is.
const TABLES: [&str; 3] = ["groups", "configuration", "changes"];

const GROUPS: [&str; 3] = ["line-0", "line-1", "line-2"];

const STEPS: usize = 400;

type Etags = BTreeMap<&'static str, String>;

async fn save(client: &Client) {
    for table in TABLES {
        let sql = format!("DROP TABLE IF EXISTS saved_{table}; CREATE TABLE saved_{table} AS TABLE {table}");
        client.batch_execute(&sql).await.unwrap();
    }
}

async fn restore(client: &Client) {
    let restore =
        TABLES.map(|table| format!("DELETE FROM {table}; INSERT INTO {table} TABLE saved_{table};"));
    client.batch_execute(&format!("BEGIN; {} COMMIT", restore.concat())).await.unwrap();
}

/// Returns the groups by which a node would judge a device now.
async fn judged_by(node: &PostgresStore) -> Etags {
    let device = node.device(&sample::scope("one"), &sample::registration_id("dev")).await.unwrap().unwrap();
    let etag = |id: &&'static str| {
        let group = device.configuration.group(&sample::group_id(id)).unwrap();
        Some((*id, group?.record.etag.to_string()))
    };
    GROUPS.iter().filter_map(etag).collect()
}

/// Changes at one node, losses, and devices at two others that are idle for any time in between: also as long as it takes until as
/// many changes were made as were lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_decides_by_what_its_database_has() {
    let database = Postgres::shared().database();
    let [writer, one, two] = open(&database).await;
    let (client, entropy) = (client(&database).await, SeededEntropy::new(11));
    let roll = |sides: u8| {
        let mut byte = [0];
        entropy.fill(&mut byte);
        usize::from(byte[0] % sides)
    };
    let (mut stored, mut saved) = (Etags::new(), Etags::new());
    let (mut losses, mut looks) = (0, 0);
    save(&client).await;
    for step in 0..STEPS {
        match roll(9) {
            0..=3 => {
                let id = GROUPS[roll(3)];
                let mut group = sample::group(id);
                group.record.etag = sample::etag(&step.to_string());
                commit(&writer, Expect::Anything, Change::PutGroup(Box::new(group))).await.unwrap();
                stored.insert(id, step.to_string());
            }
            4 => {
                save(&client).await;
                saved = stored.clone();
            }
            5 => {
                restore(&client).await;
                losses += usize::from(saved != stored);
                stored = saved.clone();
            }
            node => {
                let node = [&one, &two, &writer][node - 6];
                assert_eq!(judged_by(node).await, stored, "step {step}");
                looks += 1;
            }
        }
    }
    assert!(losses > 10 && looks > 50, "{losses} losses, {looks} looks");
}

//! Nodes whose clocks differ by ten minutes.

use std::time::Duration;

use http::{Method, StatusCode};
use model::Timestamp;
use serde_json::{Value, json};
use testkit::postgres::Postgres;
use tokio::time::Instant;

use super::{
    CALM_MILLIS, Storm, call,
    fixture::{Cluster, signal_process, until},
    rounds,
};
use crate::scene::{self, Kind};

/// In seconds: one node is ahead, one behind, and one is right.
const CLOCKS: [i64; 3] = [300, -300, 0];

/// Within this time runs of a lost node are taken over, with a margin for a busy machine.
const TAKEOVER: Duration = Duration::from_secs(30);

async fn start() -> Cluster {
    let database = Postgres::shared().database().url();
    Cluster::start_with_clocks(&CLOCKS.map(|clock| (database.clone(), clock))).await
}

fn created(state: &Value) -> i64 {
    let text = state["createdDateTimeUtc"].as_str().unwrap();
    Timestamp::parse(text).unwrap().unix_seconds()
}

/// Creates an enrollment at one node and begins its registration at another one, while no hub answers. Returns the route of its
/// operation.
async fn begin(cluster: &Cluster, node: usize, id: &str) -> String {
    let operator = cluster.node((node + 1) % CLOCKS.len());
    operator.service().create_enrollment(&scene::individual(id)).await.unwrap();
    let (code, reply) = call(&cluster.node(node), Method::PUT, id, "register").await;
    assert_eq!((code, &reply["status"]), (StatusCode::ACCEPTED, &json!("assigning")), "{reply}");
    format!("operations/{}", reply["operationId"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_are_the_same_at_nodes_whose_clocks_differ() {
    let cluster = start().await;
    let nodes: Vec<usize> = (0..CLOCKS.len()).collect();
    signal_process(cluster.hubs.id(), "-STOP").await;
    let mut routes = Vec::new();
    for node in &nodes {
        let id = scene::name(Kind::Individual, 0, *node);
        routes.push(begin(&cluster, *node, &id).await);
        for other in &nodes {
            let (code, reply) = call(&cluster.node(*other), Method::GET, &id, &routes[*node]).await;
            assert_eq!((code, &reply["status"]), (StatusCode::ACCEPTED, &json!("assigning")), "{reply}");
        }
    }
    signal_process(cluster.hubs.id(), "-CONT").await;
    let mut times = Vec::new();
    for node in &nodes {
        let id = scene::name(Kind::Individual, 0, *node);
        for other in &nodes {
            until("it is assigned", async || {
                call(&cluster.node(*other), Method::GET, &id, &routes[*node]).await.1["status"] == "assigned"
            })
            .await;
        }
        times.push(created(&cluster.node(0).service().registration(&id).await.unwrap().unwrap()));
    }
    let ahead = times[0] - times[1];
    assert!((560..=640).contains(&ahead), "the clocks differ: {times:?}");
}

/// The run of the node that is ahead is taken over by the one that is behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_taken_over_in_time_whatever_the_clocks_say() {
    let mut cluster = start().await;
    let id = scene::name(Kind::Individual, 0, 0);
    signal_process(cluster.hubs.id(), "-STOP").await;
    let route = begin(&cluster, 0, &id).await;
    for lost in [0, 2] {
        cluster.nodes[lost].kill().await;
    }
    let lost = Instant::now();
    signal_process(cluster.hubs.id(), "-CONT").await;
    let behind = cluster.node(1);
    until("it is assigned", async || call(&behind, Method::GET, &id, &route).await.1["status"] == "assigned")
        .await;
    assert!(lost.elapsed() < TAKEOVER, "{:?}", lost.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_register_while_nodes_with_different_clocks_are_killed() {
    let mut cluster = start().await;
    let mut storm = Storm::new("different clocks", cluster.deployment()).await;
    for round in 0..rounds() as usize {
        let moment = Duration::from_millis(storm.random.below(CALM_MILLIS));
        storm.during(cluster.fail_node(round % 2, moment)).await;
    }
    storm.examine().await;
}

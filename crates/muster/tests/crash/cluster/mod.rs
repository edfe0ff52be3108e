//! Several nodes on one PostgreSQL behind HAProxy: any node serves any device, any poll and any operator, and devices
//! register continuously while nodes, the database, or the network between them fail.

mod clocks;
mod failover;
mod fixture;
mod haproxy;
mod relay;
mod upgrade;

use std::time::Duration;

use fleet::{BulkMode, Device, Endpoint, RegisterError, Transport, register};
use http::{Method, StatusCode};
use model::RegistrationId;
use net::client::{Call, Deadlines, HttpsConnection};
use serde_json::{Value, json};
use testkit::postgres::{Database, Durability, Postgres};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use wire::sas;

use self::{
    fixture::{Cluster, is_ready, signal_process, status, until},
    relay::Relay,
};
use crate::{
    Tally, WORKERS,
    deployment::Deployment,
    examine_all, from_environment, random,
    random::Random,
    scene::{self, Kind, Scene},
    worker::{Entry, Worker},
};

/// The default number of failures in a test; `MUSTER_CLUSTER_ROUNDS` overrides it.
const ROUNDS: u64 = 5;

/// The longest time, in milliseconds, between two failures.
const CALM_MILLIS: u64 = 1500;

/// A load on a deployment while something fails.
struct Storm {
    deployment: Deployment,
    workers: Vec<Worker>,
    random: Random,
}

impl Storm {
    async fn new(name: &str, deployment: Deployment) -> Storm {
        let seed = from_environment("MUSTER_CRASH_SEED").unwrap_or_else(random::fresh_seed);
        println!("{name}: MUSTER_CRASH_SEED={seed}");
        let mut random = Random::new(seed);
        let scene = Scene::set(&deployment).await;
        let workers = (0..WORKERS).map(|number| Worker::new(number, random.fork(), scene.clone())).collect();
        Storm { deployment, workers, random }
    }

    /// Runs the load while `failing` lasts, and a moment longer.
    async fn during<T>(&mut self, failing: impl Future<Output = T>) -> T {
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        for worker in self.workers.drain(..) {
            running.spawn(worker.run(self.deployment.endpoint.clone(), stop.clone()));
        }
        let failed = failing.await;
        sleep(Duration::from_millis(self.random.below(CALM_MILLIS))).await;
        stop.cancel();
        self.workers = running.join_all().await;
        self.workers.sort_by_key(|worker| worker.number);
        println!("{}, {} times unavailable", Tally::of(&self.workers), self.unavailable());
        failed
    }

    /// Returns how often devices were told that the service is unavailable.
    fn unavailable(&self) -> usize {
        self.workers.iter().map(|worker| worker.unavailable.len()).sum()
    }

    /// Returns how long devices were told so, from the first time to the last.
    fn unavailable_for(&self) -> Duration {
        let times = || self.workers.iter().flat_map(|worker| worker.unavailable.iter().copied());
        times().max().zip(times().min()).map_or(Duration::ZERO, |(last, first)| last - first)
    }

    /// Returns the longest time that a device waited for an acknowledgment.
    fn longest_wait(&self) -> Duration {
        self.workers.iter().map(|worker| worker.longest_wait).max().unwrap_or_default()
    }

    /// Nothing that was acknowledged is lost, no device is at two hubs, and metering equals what was acknowledged.
    async fn examine(self) {
        let entries: Vec<Entry> = self.workers.into_iter().flat_map(|worker| worker.entries).collect();
        assert!(entries.iter().any(|entry| entry.acknowledged > 0), "devices register");
        examine_all(&self.deployment, entries).await;
    }
}

fn rounds() -> u64 {
    from_environment("MUSTER_CLUSTER_ROUNDS").unwrap_or(ROUNDS)
}

/// Sends a request of a device with a key to one node.
async fn call(deployment: &Deployment, method: Method, id: &str, route: &str) -> (StatusCode, Value) {
    let Endpoint { https_port, id_scope, trust, .. } = &deployment.endpoint;
    let resource = format!("{id_scope}/registrations/{id}");
    let token =
        sas::sign(&resource, scene::individual_key(id).as_bytes(), 4_102_444_800, Some("registration"));
    let deadline = Duration::from_secs(30);
    let deadlines = Deadlines { connect: deadline, exchange: deadline };
    let mut connection =
        HttpsConnection::open("127.0.0.1", *https_port, trust.anonymous(), deadlines).await.unwrap();
    let call = Call {
        method,
        path_and_query: format!("/{resource}/{route}?api-version=2021-06-01"),
        authorization: Some(&token),
        body: json!({"registrationId": id}).to_string().into(),
        ..Call::default()
    };
    let response = connection.call(call).await.unwrap();
    (response.status(), serde_json::from_slice(response.body()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_polls_at_another_node_than_it_registered_at() {
    let database = Postgres::shared().database().url();
    let cluster = Cluster::start(&[database.clone(), database]).await;
    let [one, two] = [cluster.node(0), cluster.node(1)];
    let id = scene::name(Kind::Individual, 0, 0);
    one.service().create_enrollment(&scene::individual(&id)).await.unwrap();

    // Its hub does not answer, so that the registration lasts.
    signal_process(cluster.hubs.id(), "-STOP").await;
    let (code, reply) = call(&one, Method::PUT, &id, "register").await;
    assert_eq!((code, &reply["status"]), (StatusCode::ACCEPTED, &json!("assigning")), "{reply}");
    let route = format!("operations/{}", reply["operationId"].as_str().unwrap());
    let (code, reply) = call(&two, Method::GET, &id, &route).await;
    assert_eq!((code, &reply["status"]), (StatusCode::ACCEPTED, &json!("assigning")), "{reply}");
    signal_process(cluster.hubs.id(), "-CONT").await;
    for deployment in [&two, &one] {
        until("it is assigned", async || {
            call(deployment, Method::GET, &id, &route).await.1["status"] == "assigned"
        })
        .await;
    }
    let state = two.service().registration(&id).await.unwrap().unwrap();
    assert_eq!(state["status"], "assigned", "an operator sees it at any node: {state}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_acknowledged_counts_at_the_other_at_once() {
    let database = Postgres::shared().database().url();
    let cluster = Cluster::start(&[database.clone(), database]).await;
    let scene = Scene::set(&cluster.deployment()).await;
    let deployments = [cluster.node(0), cluster.node(1)];
    let mut operators = [deployments[0].service(), deployments[1].service()];
    let kind = fleet::EnrollmentKind::Group;
    for round in 0..20 {
        let (changing, registering) = (round % 2, (round + 1) % 2);
        let mut group = operators[changing].group("keys").await.unwrap();
        let status = if round % 4 < 2 { "disabled" } else { "enabled" };
        group["provisioningStatus"] = status.into();
        operators[changing].put_enrollment((kind, "keys"), &group, Some("*")).await.unwrap();
        let device = scene.device(Kind::KeyGroup, &format!("key-{round}"));
        let registered = register(&deployments[registering].endpoint, &device, Transport::Https, None).await;
        match registered {
            Err(RegisterError::Disabled(_)) => assert_eq!(status, "disabled", "round {round}"),
            Ok(_) => assert_eq!(status, "enabled", "round {round}"),
            Err(error) => panic!("round {round}: {error}"),
        }
    }
    // A device of an enrollment that the other node created a moment ago.
    for number in 0..10 {
        let id = scene::name(Kind::Individual, 9, number);
        operators[number % 2].bulk(BulkMode::Create, &[scene::individual(&id)]).await.unwrap();
        let device = Device::with_key(RegistrationId::parse(&id).unwrap(), scene::individual_key(&id));
        register(&deployments[(number + 1) % 2].endpoint, &device, Transport::Mqtt, None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_register_while_nodes_are_killed() {
    let database = Postgres::shared().database().url();
    let mut cluster = Cluster::start(&[database.clone(), database.clone(), database]).await;
    let mut storm = Storm::new("killed nodes", cluster.deployment()).await;
    for _ in 0..rounds() {
        let number = storm.random.below(3) as usize;
        let moment = Duration::from_millis(storm.random.below(CALM_MILLIS));
        storm.during(cluster.fail_node(number, moment)).await;
    }
    storm.examine().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_register_while_a_node_is_paused_past_its_lease() {
    let database = Postgres::shared().database().url();
    let cluster = Cluster::start(&[database.clone(), database]).await;
    let mut storm = Storm::new("paused node", cluster.deployment()).await;
    let paused = &cluster.nodes[0];
    let failing = async {
        sleep(Duration::from_millis(500)).await;
        paused.pause().await;
        // A lease lasts 15 seconds, and another node looks for lost ones every three.
        sleep(Duration::from_secs(22)).await;
        paused.resume().await;
        sleep(Duration::from_secs(2)).await;
    };
    storm.during(failing).await;
    let deployment = cluster.node(0);
    until("the paused node is ready again", async || is_ready(&deployment).await).await;
    storm.examine().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_register_while_the_database_is_killed() {
    let postgres = Postgres::start(Durability::Fsync);
    let database = postgres.database().url();
    let cluster = Cluster::start(&[database.clone(), database]).await;
    let mut storm = Storm::new("killed database", cluster.deployment()).await;
    for _ in 0..rounds() {
        let moment = Duration::from_millis(storm.random.below(CALM_MILLIS));
        let failing = async {
            sleep(moment).await;
            tokio::task::block_in_place(|| {
                postgres.kill();
                postgres.start_again();
            });
        };
        storm.during(failing).await;
        cluster.until_ready().await;
    }
    storm.examine().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_from_its_database_is_alive_and_not_ready() {
    let postgres = Postgres::shared();
    let database = postgres.database();
    let relay = Relay::start(database.port).await;
    let cut_off = Database { port: relay.port, ..database.clone() }.url();
    let cluster = Cluster::start(&[cut_off, database.url()]).await;
    let mut storm = Storm::new("cut network", cluster.deployment()).await;
    let [cut, whole] = [cluster.node(0), cluster.node(1)];
    let failing = async {
        sleep(Duration::from_millis(500)).await;
        relay.cut();
        let unavailable = Some(StatusCode::SERVICE_UNAVAILABLE);
        until("it is not ready", async || status(&cut, "/readyz").await == unavailable).await;
        assert_eq!(status(&cut, "/healthz").await, Some(StatusCode::OK));
        assert!(is_ready(&whole).await, "the other node has its database");
        relay.mend();
        until("it is ready again", async || is_ready(&cut).await).await;
    };
    storm.during(failing).await;
    storm.examine().await;
}

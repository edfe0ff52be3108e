//! Devices move between hubs while the process is killed repeatedly. Afterwards each is at the hub of its registration, and
//! at no other hub.

use std::time::Duration;

use fleet::{BulkMode, Device, HubRegistry, Transport, register};
use model::{DeviceId, HubName, RegistrationId, SymmetricKey};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{deployment::Deployment, from_environment, process::Muster, random, random::Random};

/// The default number of kills; `MUSTER_CRASH_ROUNDS` overrides it.
const ROUNDS: u64 = 8;

/// The number of devices that move concurrently.
const MOVERS: usize = 8;

/// The longest time, in milliseconds, from the start of the devices to the kill.
const STORM_MILLIS: u64 = 700;

/// The time within which interrupted moves are resumed and previous hubs cleaned up. Both take a second or two.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The pause after a failure, which limits the requests to a dead server.
const PAUSE: Duration = Duration::from_millis(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_device_is_at_one_hub_after_kills() {
    let rounds = from_environment("MUSTER_CRASH_ROUNDS").unwrap_or(ROUNDS);
    let seed = from_environment("MUSTER_CRASH_SEED").unwrap_or_else(random::fresh_seed);
    println!("moves: MUSTER_CRASH_ROUNDS={rounds} MUSTER_CRASH_SEED={seed}");
    let mut random = Random::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut muster = Muster::start(folder.path()).await;
    let mut movers: Vec<Mover> = (0..MOVERS).map(|number| Mover::new(number, random.fork())).collect();
    for mover in &movers {
        muster.deployment().service().create_enrollment(&mover.enrollment(&muster, 0)).await.unwrap();
    }
    for round in 1..=rounds {
        movers = storm(muster, movers, Duration::from_millis(random.below(STORM_MILLIS))).await;
        muster = Muster::start(folder.path()).await;
        for mover in &movers {
            mover.examine(&muster).await;
        }
        let moves: u64 = movers.iter().map(|mover| mover.moves).sum();
        println!("round {round}: {moves} moves acknowledged");
    }
    muster.stop().await;
}

/// Runs the movers until the process is killed, and returns them when all have stopped.
async fn storm(muster: Muster, movers: Vec<Mover>, moment: Duration) -> Vec<Mover> {
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    for mover in movers {
        let enrollments = [mover.enrollment(&muster, 0), mover.enrollment(&muster, 1)];
        running.spawn(mover.run(muster.deployment(), enrollments, stop.clone()));
    }
    sleep(moment).await;
    muster.kill().await;
    stop.cancel();
    running.join_all().await
}

/// A device that is assigned alternately to two hubs.
struct Mover {
    id: String,
    random: Random,
    moves: u64,
}

impl Mover {
    fn new(number: usize, random: Random) -> Mover {
        Mover { id: format!("mover-{number}"), random, moves: 0 }
    }

    fn key(&self) -> SymmetricKey {
        SymmetricKey::from_bytes(&[11; 32]).unwrap().derive(&self.id)
    }

    /// Makes its enrollment, which names one hub.
    fn enrollment(&self, muster: &Muster, hub: usize) -> Value {
        let key = self.key().to_base64();
        json!({
            "registrationId": self.id,
            "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": key, "secondaryKey": key}},
            "initialTwin": {"tags": {"mover": self.id}, "properties": {"desired": {"on": true}}},
            "iotHubs": [muster.info.hubs[hub].host_name],
            "reprovisionPolicy": {"updateHubAssignment": true, "migrateDeviceData": true},
        })
    }

    async fn run(
        mut self,
        deployment: Deployment,
        enrollments: [Value; 2],
        stop: CancellationToken,
    ) -> Mover {
        let mut service = deployment.service();
        let device = Device::with_key(RegistrationId::parse(&self.id).unwrap(), self.key());
        while !stop.is_cancelled() {
            let wanted = enrollments[self.random.below(2) as usize].clone();
            let moving = async {
                service.bulk(BulkMode::Update, &[wanted]).await.ok()?;
                register(&deployment.endpoint, &device, Transport::Https, None).await.ok()
            };
            tokio::select! {
                biased;
                moved = moving => match moved {
                    Some(_) => self.moves += 1,
                    // The server is gone; it may have executed the request.
                    None => sleep(PAUSE).await,
                },
                () = stop.cancelled() => {}
            }
        }
        self
    }

    /// Waits until the device is at its hub alone, with its twin; otherwise fails.
    async fn examine(&self, muster: &Muster) {
        let deployment = muster.deployment();
        let (mut service, mut hubs) = (deployment.service(), registries(&deployment));
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let state = service.registration(&self.id).await.unwrap();
            let assigned = state.as_ref().filter(|state| state["status"] == "assigned");
            let home = assigned.map(|state| state["assignedHub"].as_str().unwrap().to_owned());
            let there = self.hubs_with_it(&mut hubs).await;
            let is_home = home.as_ref().is_some_and(|home| there == [home.clone()]);
            if is_home || (state.is_none() && there.is_empty()) {
                return;
            }
            assert!(Instant::now() < deadline, "{} is on {there:?}, registered as {state:?}", self.id);
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn hubs_with_it(&self, hubs: &mut [(HubName, HubRegistry)]) -> Vec<String> {
        let id = DeviceId::parse(&self.id).unwrap();
        let mut there = Vec::new();
        for (name, registry) in hubs {
            if let Some(twin) = registry.twin(&id).await.unwrap() {
                assert_eq!(twin["tags"], json!({"mover": self.id}), "{twin}");
                there.push(name.to_string());
            }
        }
        there
    }
}

fn registries(deployment: &Deployment) -> Vec<(HubName, HubRegistry)> {
    deployment.hubs.iter().map(|hub| (hub.endpoint.name.clone(), hub.registry())).collect()
}

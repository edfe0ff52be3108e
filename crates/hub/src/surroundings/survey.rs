//! The survey of this node: it probes each linked hub again and again, and counts the devices of those that must not have
//! more than so many.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use model::{HubName, HubProbe, LatencySource, LinkedHub, Timestamp};
use provisioning::{
    allocate::Latencies,
    ports::{Clock, Entropy, Hubs, Store, StoreError},
};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{estimate::Estimate, geoip::GeoIp};

/// Probes under way at once: a handshake each, which must not be felt by devices.
const MAX_PROBES: usize = 16;

/// Counting is a registry operation, of which a small hub of Azure grants 100 a minute to everybody.
const COUNT_EVERY: Duration = Duration::from_secs(30);

/// What a survey needs.
pub struct SurveyPorts {
    /// Knows which hubs are linked.
    pub store: Arc<dyn Store>,
    /// The ways to them.
    pub hubs: Arc<dyn Hubs>,
    /// Dates probes.
    pub clock: Arc<dyn Clock>,
    /// Spreads them.
    pub entropy: Arc<dyn Entropy>,
}

/// What this node has measured.
pub struct Survey {
    ports: SurveyPorts,
    /// Between two rounds, give or take a fifth, so that nodes do not probe a hub in step.
    interval: Duration,
    known: ArcSwap<Known>,
}

/// The outcome of the last round. Rebuilt by each, so that a hub that is not linked any more leaves nothing behind.
#[derive(Default)]
struct Known {
    hubs: BTreeMap<HubName, KnownHub>,
    latencies: Latencies,
}

#[derive(Debug, Clone, Default)]
struct KnownHub {
    estimate: Estimate,
    probed: Option<Timestamp>,
    devices: Option<u64>,
    counted: Option<Instant>,
}

impl Survey {
    /// Nothing is known before [`Survey::run`] has made its first round.
    pub fn new(ports: SurveyPorts, interval: Duration) -> Survey {
        Survey { ports, interval, known: ArcSwap::default() }
    }

    /// Goes round for ever, and has the GeoIP database look at its file.
    pub async fn run(&self, geoip: Option<Arc<GeoIp>>) {
        loop {
            if let Err(error) = self.round().await {
                tracing::warn!(reason = %error, "the linked hubs cannot be read, and are not probed");
            }
            sleep(self.pause()).await;
            if let Some(geoip) = geoip.clone() {
                // Its end is awaited so that it is not read twice at once; a panic in it is its own.
                let _ = tokio::task::spawn_blocking(move || geoip.refresh()).await;
            }
        }
    }

    /// Probes each linked hub once. What is known changes at the end, all at once: a hub must not win because it was the
    /// first to answer.
    pub async fn round(&self) -> Result<(), StoreError> {
        let linked = self.linked().await?;
        let before = self.known.load_full();
        let places = Arc::new(Semaphore::new(MAX_PROBES));
        let mut rounds = JoinSet::new();
        for link in linked.into_values() {
            let known = before.hubs.get(&link.hub.name).cloned().unwrap_or_default();
            let looking = link.look(known, self.ports.clock.now());
            let places = Arc::clone(&places);
            rounds.spawn(async move {
                let _place = places.acquire_owned().await;
                looking.await
            });
        }
        let mut hubs = BTreeMap::new();
        while let Some(looked) = rounds.join_next().await {
            // A look that panicked is one hub's loss.
            hubs.extend(looked);
        }
        self.known.store(Arc::new(Known::of(hubs)));
        Ok(())
    }

    /// Each hub once, however many instances it is linked to; a limit on its devices that any of them has is worth a
    /// count.
    async fn linked(&self) -> Result<BTreeMap<HubName, Link>, StoreError> {
        let mut links = BTreeMap::<HubName, Link>::new();
        for instance in self.ports.store.instances().await? {
            for hub in &instance.linked_hubs {
                let counts = instance.failover && hub.max_devices.is_some();
                let new = || Link { hub: hub.clone(), hubs: Arc::clone(&self.ports.hubs), counts };
                links.entry(hub.name.clone()).or_insert_with(new).counts |= counts;
            }
        }
        Ok(links)
    }

    fn pause(&self) -> Duration {
        let mut bytes = [0; 2];
        self.ports.entropy.fill(&mut bytes);
        let share = f64::from(u16::from_be_bytes(bytes)) / f64::from(u16::MAX);
        self.interval.mul_f64(0.8 + 0.4 * share)
    }

    /// From this node to the hubs.
    pub(super) fn latencies(&self) -> Latencies {
        self.known.load().latencies.clone()
    }

    /// Whether a hub has not answered the last probes.
    pub(super) fn is_silent(&self, hub: &HubName) -> bool {
        self.known.load().hubs.get(hub).is_some_and(|known| known.estimate.is_silent())
    }

    /// How many devices a hub had when they were last counted.
    pub(super) fn devices(&self, hub: &HubName) -> Option<u64> {
        self.known.load().hubs.get(hub)?.devices
    }

    /// What is known of each hub, by name.
    pub(super) fn probes(&self) -> Vec<HubProbe> {
        let probe = |(hub, known): (&HubName, &KnownHub)| HubProbe {
            hub: hub.clone(),
            latency: known.estimate.latency(),
            variation: known.estimate.variation(),
            misses: known.estimate.misses(),
            probed: known.probed,
            devices: known.devices,
        };
        self.known.load().hubs.iter().map(probe).collect()
    }
}

impl Known {
    fn of(hubs: BTreeMap<HubName, KnownHub>) -> Known {
        let latencies = hubs.iter().filter_map(|(hub, known)| Some((hub.clone(), known.estimate.latency()?)));
        let latencies: HashMap<_, _> = latencies.collect();
        Known { latencies: Latencies::from(LatencySource::Probes, Arc::new(latencies)), hubs }
    }
}

/// A hub that is looked at.
struct Link {
    hub: LinkedHub,
    hubs: Arc<dyn Hubs>,
    counts: bool,
}

impl Link {
    /// What is known of it once it has been probed and, when it is time, its devices counted.
    async fn look(self, mut known: KnownHub, now: Timestamp) -> (HubName, KnownHub) {
        let Some(connector) = self.hubs.connector(&self.hub) else { return (self.hub.name, known) };
        known.estimate = match connector.reach().await {
            Ok(took) => known.estimate.after_answer(took),
            Err(_) => known.estimate.after_miss(),
        };
        known.probed = Some(now);
        if !self.counts {
            (known.devices, known.counted) = (None, None);
        } else if known.counted.is_none_or(|at| at.elapsed() >= COUNT_EVERY) {
            // A count that fails leaves the last one: how many devices a hub has changes slowly.
            known.devices = connector.device_count().await.ok().flatten().or(known.devices);
            known.counted = Some(Instant::now());
        }
        (self.hub.name, known)
    }
}

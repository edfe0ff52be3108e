//! The survey of this node: it probes each linked hub again and again, and counts the devices of those that must not have
//! more than so many.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use model::{HubEndpoint, HubName, HubProbe, Instance, LatencySource, LinkedHub, Timestamp};
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
pub struct HubProberPorts {
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
pub struct HubProber {
    ports: HubProberPorts,
    /// Between two rounds, give or take a fifth, so that nodes do not probe a hub in step.
    interval: Duration,
    known: ArcSwap<Known>,
}

/// The outcome of the last round. Rebuilt by each, so that a hub that is not linked any more leaves nothing behind.
///
/// It belongs to the way to a hub: instances whose links say the same share it, and what one of them links wrongly, or may
/// not count, says nothing of the others' hub of that name.
#[derive(Default)]
struct Known {
    hubs: HashMap<HubName, Vec<(HubEndpoint, KnownHub)>>,
}

#[derive(Debug, Clone, Default)]
struct KnownHub {
    estimate: Estimate,
    probed: Option<Timestamp>,
    devices: Option<u64>,
    counted: Option<Instant>,
}

impl HubProber {
    /// Nothing is known before [`HubProber::run`] has made its first round.
    pub fn new(ports: HubProberPorts, interval: Duration) -> HubProber {
        HubProber { ports, interval, known: ArcSwap::default() }
    }

    /// Goes round for ever, and has the GeoIP database that is used then look at its file.
    pub async fn run(&self, geoip: impl Fn() -> Option<Arc<GeoIp>>) {
        loop {
            if let Err(error) = self.round().await {
                tracing::warn!(reason = %error, "the linked hubs cannot be read, and are not probed");
            }
            sleep(self.pause()).await;
            if let Some(geoip) = geoip() {
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
        for link in linked.into_values().flatten() {
            let known = before.before(&link.hub);
            let looking = link.look(known, self.ports.clock.now());
            let places = Arc::clone(&places);
            rounds.spawn(async move {
                let _place = places.acquire_owned().await;
                looking.await
            });
        }
        let mut known = Known::default();
        while let Some(looked) = rounds.join_next().await {
            // A look that panicked is one hub's loss.
            let Ok((hub, found)) = looked else { continue };
            known.hubs.entry(hub.name).or_default().push((hub.endpoint, found));
        }
        self.known.store(Arc::new(known));
        Ok(())
    }

    /// Each way to a hub once, however many instances go it; a limit on its devices that any of them has is worth a count.
    async fn linked(&self) -> Result<HashMap<HubName, Vec<Link>>, StoreError> {
        let mut links = HashMap::<HubName, Vec<Link>>::new();
        for instance in self.ports.store.snapshot().await?.instances() {
            for hub in &instance.linked_hubs {
                let counts = instance.failover && hub.max_devices.is_some();
                let ways = links.entry(hub.name.clone()).or_default();
                match ways.iter_mut().find(|link| link.hub.endpoint == hub.endpoint) {
                    Some(link) => link.counts |= counts,
                    None => ways.push(Link { hub: hub.clone(), hubs: Arc::clone(&self.ports.hubs), counts }),
                }
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

    /// From this node to the instance's hubs.
    pub(super) fn latencies(&self, instance: &Instance) -> Latencies {
        let known = self.known.load();
        if known.hubs.is_empty() {
            return Latencies::default();
        }
        let latency = |hub: &LinkedHub| Some((hub.name.clone(), known.of(hub)?.estimate.latency()?));
        let by_hub: HashMap<_, _> = instance.linked_hubs.iter().filter_map(latency).collect();
        Latencies::from(LatencySource::Probes, Arc::new(by_hub))
    }

    /// Whether a hub has not answered the last probes.
    pub(super) fn is_silent(&self, hub: &LinkedHub) -> bool {
        self.known.load().of(hub).is_some_and(|known| known.estimate.is_silent())
    }

    /// How many devices a hub had when they were last counted.
    pub(super) fn devices(&self, hub: &LinkedHub) -> Option<u64> {
        self.known.load().of(hub)?.devices
    }

    /// What is known of each hub of the instance, by name.
    pub(super) fn probes(&self, instance: &Instance) -> Vec<HubProbe> {
        let known = self.known.load();
        let probe = |hub: &LinkedHub| {
            let known = known.of(hub)?;
            Some(HubProbe {
                hub: hub.name.clone(),
                latency: known.estimate.latency(),
                variation: known.estimate.variation(),
                misses: known.estimate.misses(),
                probed: known.probed,
                devices: known.devices,
            })
        };
        let mut probes: Vec<_> = instance.linked_hubs.iter().filter_map(probe).collect();
        probes.sort_by(|one, other| one.hub.cmp(&other.hub));
        probes
    }
}

impl Known {
    /// What is known of the hub by the way that its link says.
    fn of(&self, hub: &LinkedHub) -> Option<&KnownHub> {
        self.ways(hub).find(|(endpoint, _)| *endpoint == hub.endpoint).map(|(_, known)| known)
    }

    /// What a look at the hub goes on from. It is as far by another key; how many devices it has only its own key tells.
    fn before(&self, hub: &LinkedHub) -> KnownHub {
        let as_far = || self.ways(hub).find(|(endpoint, _)| is_same_place(endpoint, &hub.endpoint));
        let by_another_key = || as_far().map(|(_, known)| known.without_devices());
        self.of(hub).cloned().or_else(by_another_key).unwrap_or_default()
    }

    fn ways(&self, hub: &LinkedHub) -> impl Iterator<Item = &(HubEndpoint, KnownHub)> {
        self.hubs.get(&hub.name).into_iter().flatten()
    }
}

impl KnownHub {
    fn without_devices(&self) -> KnownHub {
        KnownHub { devices: None, counted: None, ..self.clone() }
    }
}

/// Whether both lead to the same port, and trust the same certificates there.
fn is_same_place(one: &HubEndpoint, other: &HubEndpoint) -> bool {
    match (one, other) {
        (HubEndpoint::Access(one), HubEndpoint::Access(other)) => {
            one.port == other.port && one.ca == other.ca
        }
        (HubEndpoint::Embedded, HubEndpoint::Embedded) => true,
        _ => false,
    }
}

/// A way to a hub that is looked at.
struct Link {
    hub: LinkedHub,
    hubs: Arc<dyn Hubs>,
    counts: bool,
}

impl Link {
    /// What is known of it once it has been probed and, when it is time, its devices counted.
    async fn look(self, mut known: KnownHub, now: Timestamp) -> (LinkedHub, KnownHub) {
        let Some(connector) = self.hubs.connector(&self.hub) else { return (self.hub, known) };
        known.estimate = match connector.reach().await {
            Ok(took) => known.estimate.after_answer(took),
            Err(_) => known.estimate.after_miss(),
        };
        known.probed = Some(now);
        if !self.counts {
            known = known.without_devices();
        } else if known.counted.is_none_or(|at| at.elapsed() >= COUNT_EVERY) {
            // A count that fails leaves the last one: how many devices a hub has changes slowly.
            known.devices = connector.device_count().await.ok().flatten().or(known.devices);
            known.counted = Some(Instant::now());
        }
        (self.hub, known)
    }
}

//! Measures the latency to each linked hub at intervals, and counts the devices of hubs with `max_devices`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use model::{HubEndpoint, HubName, HubProbe, Instance, LastProbe, LatencySource, LinkedHub, Timestamp};
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

/// How many probes are in flight: a TLS handshake each, which must not slow devices down.
const MAX_PROBES: usize = 16;

/// How often devices are counted: a registry operation, of which a small hub of Azure allows 100 a minute to all clients.
const COUNT_EVERY: Duration = Duration::from_secs(30);

/// The ports that a prober needs.
pub struct HubProberPorts {
    /// The instances with their links.
    pub store: Arc<dyn Store>,
    /// The connectors of the hubs.
    pub hubs: Arc<dyn Hubs>,
    /// Dates the probes.
    pub clock: Arc<dyn Clock>,
    /// Randomizes the intervals.
    pub entropy: Arc<dyn Entropy>,
}

/// Measures latencies from this node, and keeps the results.
pub struct HubProber {
    ports: HubProberPorts,
    /// The time between two rounds, varied by a fifth, so that nodes do not probe a hub at the same time.
    interval: Duration,
    known: ArcSwap<Known>,
}

/// The results of the last round. Each round rebuilds them, so that nothing remains of a hub that was unlinked.
///
/// Results are keyed by hub and endpoint: instances with equal links share them, and a wrong link of one instance, or a key that
/// lacks rights, does not affect the hub of that name in others.
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
    /// Creates a prober, which knows nothing before the first round of [`HubProber::run`].
    pub fn new(ports: HubProberPorts, interval: Duration) -> HubProber {
        HubProber { ports, interval, known: ArcSwap::default() }
    }

    /// Probes in rounds without end, and refreshes the GeoIP database after each.
    pub async fn run(&self, geoip: impl Fn() -> Option<Arc<GeoIp>>) {
        loop {
            if let Err(error) = self.round().await {
                tracing::warn!(reason = %error, "the linked hubs cannot be read from the store, and are not probed");
            }
            sleep(self.pause()).await;
            if let Some(geoip) = geoip() {
                // Awaited, so that it does not run twice at a time. A panic ends only the refresh.
                let _ = tokio::task::spawn_blocking(move || geoip.refresh()).await;
            }
        }
    }

    /// Probes each linked hub once. The results are published together at the end, so that no hub is preferred because it answered
    /// first.
    pub async fn round(&self) -> Result<(), StoreError> {
        let linked = self.linked().await?;
        let before = self.known.load_full();
        let permits = Arc::new(Semaphore::new(MAX_PROBES));
        let mut rounds = JoinSet::new();
        for link in linked.into_values().flatten() {
            let known = before.before(&link.hub);
            let probing = link.probe(known, self.ports.clock.now());
            let permits = Arc::clone(&permits);
            rounds.spawn(async move {
                let _permit = permits.acquire_owned().await;
                probing.await
            });
        }
        let mut known = Known::default();
        while let Some(probed) = rounds.join_next().await {
            // A probe that panicked leaves out its hub.
            let Ok((hub, found)) = probed else { continue };
            known.hubs.entry(hub.name).or_default().push((hub.endpoint, found));
        }
        self.known.store(Arc::new(known));
        Ok(())
    }

    /// Returns each endpoint of a hub once. Its devices are counted if any instance that links it has a limit.
    async fn linked(&self) -> Result<HashMap<HubName, Vec<Link>>, StoreError> {
        let mut links = HashMap::<HubName, Vec<Link>>::new();
        for instance in self.ports.store.snapshot().await?.instances() {
            for hub in &instance.linked_hubs {
                let counts = instance.failover && hub.max_devices.is_some();
                let same_hub = links.entry(hub.name.clone()).or_default();
                match same_hub.iter_mut().find(|link| link.hub.endpoint == hub.endpoint) {
                    Some(link) => link.counts |= counts,
                    None => {
                        same_hub.push(Link { hub: hub.clone(), hubs: Arc::clone(&self.ports.hubs), counts })
                    }
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

    /// Returns the latencies from this node to the instance's hubs.
    pub(super) fn latencies(&self, instance: &Instance) -> Latencies {
        let known = self.known.load();
        if known.hubs.is_empty() {
            return Latencies::default();
        }
        let latency = |hub: &LinkedHub| Some((hub.name.clone(), known.of(hub)?.estimate.latency()?.latency));
        let by_hub: HashMap<_, _> = instance.linked_hubs.iter().filter_map(latency).collect();
        Latencies::from(LatencySource::Probes, Arc::new(by_hub))
    }

    /// Returns whether a hub has not answered the last probes.
    pub(super) fn is_silent(&self, hub: &LinkedHub) -> bool {
        self.known.load().of(hub).is_some_and(|known| known.estimate.is_silent())
    }

    /// Returns how many devices a hub had when they were last counted.
    pub(super) fn devices(&self, hub: &LinkedHub) -> Option<u64> {
        self.known.load().of(hub)?.devices
    }

    /// Returns the results for each hub of the instance, by name.
    pub(super) fn probes(&self, instance: &Instance) -> Vec<HubProbe> {
        let known = self.known.load();
        let probe = |hub: &LinkedHub| {
            let known = known.of(hub)?;
            let (estimate, misses) = (known.estimate.latency(), known.estimate.misses());
            let last = known.probed.map(|at| LastProbe { at, estimate, misses });
            Some(HubProbe { hub: hub.name.clone(), last, devices: known.devices })
        };
        let mut probes: Vec<_> = instance.linked_hubs.iter().filter_map(probe).collect();
        probes.sort_by(|one, other| one.hub.cmp(&other.hub));
        probes
    }
}

impl Known {
    /// Returns the results for the endpoint of this link.
    fn of(&self, hub: &LinkedHub) -> Option<&KnownHub> {
        self.of_hub(hub).find(|(endpoint, _)| *endpoint == hub.endpoint).map(|(_, known)| known)
    }

    /// Returns what a probe continues from. The latency of the same address with another key counts; the number of devices does not.
    fn before(&self, hub: &LinkedHub) -> KnownHub {
        let same_address = || self.of_hub(hub).find(|(endpoint, _)| is_same_address(endpoint, &hub.endpoint));
        let with_another_key = || same_address().map(|(_, known)| known.without_devices());
        self.of(hub).cloned().or_else(with_another_key).unwrap_or_default()
    }

    fn of_hub(&self, hub: &LinkedHub) -> impl Iterator<Item = &(HubEndpoint, KnownHub)> {
        self.hubs.get(&hub.name).into_iter().flatten()
    }
}

impl KnownHub {
    fn without_devices(&self) -> KnownHub {
        KnownHub { devices: None, counted: None, ..self.clone() }
    }
}

/// Returns whether both have the same port and trust the same certificates.
fn is_same_address(one: &HubEndpoint, other: &HubEndpoint) -> bool {
    match (one, other) {
        (HubEndpoint::Access(one), HubEndpoint::Access(other)) => {
            one.port == other.port && one.ca == other.ca
        }
        (HubEndpoint::Embedded, HubEndpoint::Embedded) => true,
        _ => false,
    }
}

/// An endpoint of a hub that is probed.
struct Link {
    hub: LinkedHub,
    hubs: Arc<dyn Hubs>,
    counts: bool,
}

impl Link {
    /// Probes the hub, counts its devices when that is due, and returns the results.
    async fn probe(self, mut known: KnownHub, now: Timestamp) -> (LinkedHub, KnownHub) {
        let Some(connector) = self.hubs.connector(&self.hub) else { return (self.hub, known) };
        known.estimate = match connector.reach().await {
            Ok(took) => known.estimate.after_answer(took),
            Err(_) => known.estimate.after_miss(),
        };
        known.probed = Some(now);
        if !self.counts {
            known = known.without_devices();
        } else if known.counted.is_none_or(|at| at.elapsed() >= COUNT_EVERY) {
            // After a count that failed the last one stays, for the number of devices changes slowly.
            known.devices = connector.device_count().await.ok().flatten().or(known.devices);
            known.counted = Some(Instant::now());
        }
        (self.hub, known)
    }
}

//! Starts the probing of linked hubs: latency, availability, and number of devices.

use std::sync::Arc;

use hub::{HubProber, HubProberPorts, KnownTopology};
use tokio::task::JoinSet;

use crate::config::LatencySources;

/// The topology, and the prober that updates it.
pub(crate) struct Watch {
    known: Arc<KnownTopology>,
    prober: Arc<HubProber>,
}

impl Watch {
    /// Makes a watch over these sources. Probing begins with [`Watch::start`].
    pub(crate) fn new(sources: LatencySources, ports: HubProberPorts) -> Watch {
        let LatencySources { table, geoip, probe_interval } = sources;
        let hubs = Arc::clone(&ports.hubs);
        let prober = Arc::new(HubProber::new(ports, probe_interval));
        let known = Arc::new(KnownTopology::new(table, geoip, Arc::clone(&prober), hubs));
        Watch { known, prober }
    }

    /// Returns the topology that allocations use.
    pub(crate) fn topology(&self) -> Arc<KnownTopology> {
        self.known.clone()
    }

    /// Starts the prober, which stops when the set is dropped.
    pub(crate) fn start(self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { self.prober.run(|| self.known.geoip()).await });
        tasks
    }
}

//! The watch over the linked hubs: where they are from here, whether they answer, and how full they are.

use std::sync::Arc;

use hub::{HubProber, HubProberPorts, KnownTopology};
use tokio::task::JoinSet;

use crate::config::LatencySources;

/// What it knows, and what keeps that up to date.
pub(crate) struct Watch {
    known: Arc<KnownTopology>,
    survey: Arc<HubProber>,
}

impl Watch {
    /// Over these sources. Nothing is probed before [`Watch::start`].
    pub(crate) fn new(sources: LatencySources, ports: HubProberPorts) -> Watch {
        let LatencySources { table, geoip, probe_interval } = sources;
        let hubs = Arc::clone(&ports.hubs);
        let survey = Arc::new(HubProber::new(ports, probe_interval));
        let known = Arc::new(KnownTopology::new(table, geoip, Arc::clone(&survey), hubs));
        Watch { known, survey }
    }

    /// What allocations ask.
    pub(crate) fn topology(&self) -> Arc<KnownTopology> {
        self.known.clone()
    }

    /// Starts to probe; dropping the set ends it.
    pub(crate) fn start(self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { self.survey.run(|| self.known.geoip()).await });
        tasks
    }
}

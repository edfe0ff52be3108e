//! The watch over the linked hubs: where they are from here, whether they answer, and how full they are.

use std::sync::Arc;

use hub::{KnownSurroundings, Survey, SurveyPorts};
use tokio::task::JoinSet;

use crate::config::LatencySources;

/// What it knows, and what keeps that up to date.
pub(crate) struct Watch {
    known: Arc<KnownSurroundings>,
    survey: Arc<Survey>,
}

impl Watch {
    /// Over these sources. Nothing is probed before [`Watch::start`].
    pub(crate) fn new(sources: LatencySources, ports: SurveyPorts) -> Watch {
        let LatencySources { table, geoip, probe_interval } = sources;
        let hubs = Arc::clone(&ports.hubs);
        let survey = Arc::new(Survey::new(ports, probe_interval));
        let known = Arc::new(KnownSurroundings::new(table, geoip, Arc::clone(&survey), hubs));
        Watch { known, survey }
    }

    /// What allocations ask.
    pub(crate) fn surroundings(&self) -> Arc<KnownSurroundings> {
        self.known.clone()
    }

    /// Starts to probe; dropping the set ends it.
    pub(crate) fn start(self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { self.survey.run(|| self.known.geoip()).await });
        tasks
    }
}

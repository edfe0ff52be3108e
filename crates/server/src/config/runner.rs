//! Configuration of the runner, which does the work that no request does.

use std::time::Duration;

use runner::{LeaseTimes, RunnerLimits};
use serde::Deserialize;

use super::listen::within;

/// The settings of the runner.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunnerConfig {
    /// The time within which another process takes over the work of one that was lost, in seconds: 10 to 600.
    #[serde(deserialize_with = "within::<10, 600, _>")]
    pub takeover_secs: u32,
}

impl Default for RunnerConfig {
    fn default() -> Self {
        RunnerConfig { takeover_secs: 20 }
    }
}

impl RunnerConfig {
    /// Returns the limits of the runner.
    pub(crate) fn limits(self) -> RunnerLimits {
        let takeover = Duration::from_secs(self.takeover_secs.into());
        RunnerLimits { leases: LeaseTimes::taken_over_within(takeover), ..RunnerLimits::default() }
    }
}

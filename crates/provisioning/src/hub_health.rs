//! The health of a hub.

use model::Timestamp;

/// The health of a hub, by its last answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HubHealth {
    /// The state of its circuit breaker.
    pub circuit: Circuit,
    /// Since when the circuit is in that state; `None` while it has not changed since the connector was created.
    pub since: Option<Timestamp>,
    /// When it last reported being full; `None` if it has accepted a device since, or is due to be tried again.
    pub full_at: Option<Timestamp>,
    /// The last error and its time, which may be long ago.
    pub last_error: Option<(Timestamp, String)>,
    /// The number of calls in flight.
    pub calls: usize,
}

/// The state of a circuit breaker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Circuit {
    /// The hub is called.
    #[default]
    Closed,
    /// The hub is not called before this time, because it failed or asked for a pause.
    Open {
        /// When the hub is tried again.
        retry_at: Timestamp,
    },
    /// One call probes whether the hub works again; others wait.
    HalfOpen,
}

impl Circuit {
    /// The names of all states.
    pub const NAMES: [&'static str; 3] = ["closed", "half-open", "open"];

    /// Returns the name of the state.
    pub fn name(self) -> &'static str {
        let [closed, half_open, open] = Circuit::NAMES;
        match self {
            Circuit::Closed => closed,
            Circuit::HalfOpen => half_open,
            Circuit::Open { .. } => open,
        }
    }

    /// Whether the hub is not called.
    pub fn is_open(self) -> bool {
        matches!(self, Circuit::Open { .. })
    }
}

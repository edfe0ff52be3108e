//! The health of a hub.

use std::fmt;

use model::Timestamp;

/// The health of a hub, by its last answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HubHealth {
    /// The state of its circuit breaker.
    pub circuit: Circuit,
    /// Since when the circuit is in that state; `None` while it has not changed since the connector was created.
    pub since: Option<Timestamp>,
    /// When the hub is tried again, if the circuit is open.
    pub retry_at: Option<Timestamp>,
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
    /// The hub is not called, because it failed or asked for a pause.
    Open,
    /// One call probes whether the hub works again; others wait.
    HalfOpen,
}

impl fmt::Display for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Circuit::Closed => "closed",
            Circuit::Open => "open",
            Circuit::HalfOpen => "half-open",
        })
    }
}

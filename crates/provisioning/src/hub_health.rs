//! How a hub has answered lately.

use std::fmt;

use model::Timestamp;

/// How a hub has answered lately.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HubHealth {
    /// Whether it is called.
    pub circuit: Circuit,
    /// Since when; absent while it is as it was when the way was made.
    pub since: Option<Timestamp>,
    /// When it is tried again, of an open circuit.
    pub retry_at: Option<Timestamp>,
    /// When it last said that it takes no more devices; absent when it has taken one since, or it is time to try.
    pub full_at: Option<Timestamp>,
    /// What went wrong last, and when. It may be long ago.
    pub last_error: Option<(Timestamp, String)>,
    /// Calls that are under way.
    pub calls: usize,
}

/// Whether a hub is called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Circuit {
    /// It is.
    #[default]
    Closed,
    /// It is not, because it failed or asked for a pause.
    Open,
    /// One call is under way that shows whether it works again; others wait.
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

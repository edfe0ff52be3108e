//! How long a device waits.

use std::time::Duration;

use net::client::Deadlines;

/// For one request and its answer: what the SDKs wait.
pub(crate) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// For TCP and TLS together. Generous: a fleet on a small machine queues for the processor.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Both.
pub(crate) const DEADLINES: Deadlines = Deadlines { connect: CONNECT_TIMEOUT, exchange: EXCHANGE_TIMEOUT };

//! Timeouts of clients.

use std::time::Duration;

use net::client::Deadlines;

/// The timeout of one request and its reply, like that of the SDKs.
pub(crate) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// The timeout for TCP and TLS together. It is long, since the devices of a large fleet compete for the processor.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// The timeouts of HTTPS connections.
pub(crate) const DEADLINES: Deadlines = Deadlines { connect: CONNECT_TIMEOUT, exchange: EXCHANGE_TIMEOUT };

//! Deadlines of silence, of heartbeats and of a shutdown.

use std::time::Duration;

use tokio::time::Instant;

/// How long either side of a connection may be silent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdleTimeouts {
    /// The longest silence of the client.
    pub(crate) client: Duration,
    /// How long after the last write a heartbeat is sent, if the client wants any.
    pub(crate) heartbeat: Option<Duration>,
}

/// Measures the silence of a connection, in both directions.
#[derive(Debug)]
pub(super) struct IdleTimer {
    timeouts: IdleTimeouts,
    last_received: Instant,
    last_sent: Instant,
    /// When a shutdown stops waiting for replies.
    shutdown_deadline: Option<Instant>,
}

impl IdleTimer {
    pub(super) fn new(timeouts: IdleTimeouts) -> IdleTimer {
        let now = Instant::now();
        IdleTimer { timeouts, last_received: now, last_sent: now, shutdown_deadline: None }
    }

    pub(super) fn mark_received(&mut self) {
        self.last_received = Instant::now();
    }

    pub(super) fn mark_sent(&mut self) {
        self.last_sent = Instant::now();
    }

    /// Bounds the rest of the connection by `grace`, however much is received.
    pub(super) fn shut_down(&mut self, grace: Duration) {
        self.shutdown_deadline = Some(Instant::now() + grace);
    }

    pub(super) fn is_shutting_down(&self) -> bool {
        self.shutdown_deadline.is_some()
    }

    /// Returns when the connection expires, or a heartbeat is due.
    pub(super) fn next_deadline(&self) -> Instant {
        self.next_heartbeat().into_iter().fold(self.expiry(), Instant::min)
    }

    pub(super) fn is_expired(&self) -> bool {
        self.expiry() <= Instant::now()
    }

    pub(super) fn is_heartbeat_due(&self) -> bool {
        self.next_heartbeat().is_some_and(|due| due <= Instant::now())
    }

    fn expiry(&self) -> Instant {
        self.shutdown_deadline.unwrap_or(self.last_received + self.timeouts.client)
    }

    fn next_heartbeat(&self) -> Option<Instant> {
        self.timeouts.heartbeat.map(|interval| self.last_sent + interval)
    }
}

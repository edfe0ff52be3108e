//! The circuit breaker of one hub: asks [`State`] whether a call may be made, reports the outcome to it, and logs each
//! change of the circuit once.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use model::{HubName, Timestamp};
use provisioning::ports::{Circuit as Position, Clock, Delay, Entropy, HubHealth};

use super::breaker::{Entry, Event, Jitter, State};

/// The circuit breaker of one hub.
pub(super) struct Circuit {
    hub: HubName,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    memory: Mutex<Memory>,
}

/// How long a hub that reported being full is treated as full. Then the next new device tries it, at the cost of a call: the hub
/// may have been scaled up or emptied, and a quota of messages is reset at midnight.
const FULL_FOR: Duration = Duration::from_secs(300);

struct Memory {
    state: State,
    since: Option<Timestamp>,
    last_error: Option<(Timestamp, String)>,
    full_at: Option<Timestamp>,
}

/// A permit for one call. The holder reports the outcome; dropping it counts as abandoned.
pub(super) struct CallPermit<'a> {
    circuit: &'a Circuit,
    is_pending: bool,
}

impl Circuit {
    pub(super) fn new(hub: HubName, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Circuit {
        let memory = Memory { state: State::NEW, since: None, last_error: None, full_at: None };
        Circuit { hub, clock, entropy, memory: Mutex::new(memory) }
    }

    /// Returns a permit for a call, or why and for how long there is none.
    pub(super) fn enter(&self) -> Result<CallPermit<'_>, Delay> {
        let (now, jitter) = (self.clock.now(), self.jitter());
        let mut memory = self.lock();
        let (state, entry) = memory.state.enter(now, jitter);
        self.set_state(&mut memory, state, now);
        match entry {
            Entry::Go => Ok(CallPermit { circuit: self, is_pending: true }),
            Entry::Wait(time) => Err(self.delay(&memory, time)),
        }
    }

    /// Returns a permit for a call of an operator, who wants to know whether the hub works.
    pub(super) fn enter_anyway(&self) -> CallPermit<'_> {
        let now = self.clock.now();
        let mut memory = self.lock();
        let forced = memory.state.forced(now);
        self.set_state(&mut memory, forced, now);
        CallPermit { circuit: self, is_pending: true }
    }

    /// Returns why there would be no permit now.
    pub(super) fn refusal(&self) -> Option<Delay> {
        let (now, jitter) = (self.clock.now(), self.jitter());
        let memory = self.lock();
        match memory.state.enter(now, jitter).1 {
            Entry::Go => None,
            Entry::Wait(time) => Some(self.delay(&memory, time)),
        }
    }

    fn delay(&self, memory: &Memory, time: Duration) -> Delay {
        let last = memory.last_error.as_ref().map_or(self.hub.as_str(), |(_, reason)| reason);
        Delay { reason: format!("{last}; it is not called for now"), retry_after: Some(time) }
    }

    /// Returns the health of the hub, without the calls in flight.
    pub(super) fn health(&self) -> HubHealth {
        let now = self.clock.now();
        let memory = self.lock();
        // After a clock was set back, the hub is tried, too.
        let lasts = |at: &Timestamp| *at <= now && now.since(*at) < FULL_FOR;
        HubHealth {
            circuit: position(memory.state),
            since: memory.since,
            full_at: memory.full_at.filter(lasts),
            last_error: memory.last_error.clone(),
            calls: 0,
        }
    }

    /// Records that the hub accepted a new device.
    pub(super) fn mark_accepting(&self) {
        if self.lock().full_at.take().is_some() {
            tracing::info!(hub.name = %self.hub, "the hub takes new devices again");
        }
    }

    /// Records that the hub reported being full.
    fn mark_full(&self, reason: &str) {
        if self.lock().full_at.replace(self.clock.now()).is_none() {
            tracing::warn!(hub.name = %self.hub, reason, "the hub takes no more devices");
        }
    }

    /// Draws a random number.
    pub(super) fn jitter(&self) -> Jitter {
        let mut bytes = [0; 4];
        self.entropy.fill(&mut bytes);
        Jitter(f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX))
    }

    fn report(&self, event: Event, error: Option<&str>) {
        let (now, jitter) = (self.clock.now(), self.jitter());
        let mut memory = self.lock();
        if let Some(error) = error {
            memory.last_error = Some((now, error.to_owned()));
        }
        let state = memory.state.after(event, now, jitter);
        self.set_state(&mut memory, state, now);
    }

    fn set_state(&self, memory: &mut Memory, next: State, now: Timestamp) {
        let (before, after) = (position(memory.state), position(next));
        memory.state = next;
        if before.name() == after.name() {
            return;
        }
        memory.since = Some(now);
        let reason = memory.last_error.as_ref().map(|(_, reason)| reason.as_str()).unwrap_or_default();
        match (after, next) {
            (Position::Open { .. }, State::Open { until, pauses: 1 }) => {
                tracing::warn!(hub.name = %self.hub, reason, retry_at = %until, "the hub is not called for now");
            }
            (Position::Closed, _) => tracing::info!(hub.name = %self.hub, "the hub is called again"),
            // Probes, and probes that failed.
            _ => tracing::debug!(hub.name = %self.hub, circuit = after.name(), reason, "circuit"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallPermit<'_> {
    /// Reports that the hub answered, whatever the answer.
    pub(super) fn answered(mut self) {
        self.end(Event::Answered, None);
    }

    /// Reports that the hub works, but is full.
    pub(super) fn full(mut self, reason: &str) {
        self.circuit.mark_full(reason);
        self.end(Event::Answered, Some(reason));
    }

    /// Reports a failure of the hub or the link.
    pub(super) fn failed(mut self, reason: &str) {
        self.end(Event::Failed, Some(reason));
    }

    /// Reports that the hub asked for a pause.
    pub(super) fn throttled(mut self, pause: Option<Duration>, reason: &str) {
        self.end(Event::Throttled(pause), Some(reason));
    }

    fn end(&mut self, event: Event, error: Option<&str>) {
        self.is_pending = false;
        self.circuit.report(event, error);
    }
}

impl Drop for CallPermit<'_> {
    fn drop(&mut self) {
        if self.is_pending {
            self.end(Event::Abandoned, None);
        }
    }
}

fn position(state: State) -> Position {
    match state {
        State::Closed { .. } => Position::Closed,
        State::Open { until, .. } => Position::Open { retry_at: until },
        State::HalfOpen { .. } => Position::HalfOpen,
    }
}

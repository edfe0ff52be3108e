//! The circuit of one hub: asks [`State`] whether a call may go out, tells it what came of it, and tells operators when
//! it changes, once each time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use model::{HubName, Timestamp};
use provisioning::ports::{Circuit as Position, Clock, Delay, Entropy, HubHealth};

use super::breaker::{Entry, Event, Jitter, State};

/// The circuit of one hub.
pub(super) struct Circuit {
    hub: HubName,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    memory: Mutex<Memory>,
}

/// For so long a hub that said that it is full is taken for that. Then the next new device tries, which costs it a call:
/// somebody may have given the hub room or removed devices, and a quota of messages is over at midnight.
const FULL_FOR: Duration = Duration::from_secs(300);

struct Memory {
    state: State,
    since: Option<Timestamp>,
    last_error: Option<(Timestamp, String)>,
    full_at: Option<Timestamp>,
}

/// Leave for one call. Whoever has it says what came of the call; dropped, it counts as abandoned.
pub(super) struct CallPermit<'a> {
    circuit: &'a Circuit,
    is_open: bool,
}

impl Circuit {
    pub(super) fn new(hub: HubName, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Circuit {
        let memory = Memory { state: State::NEW, since: None, last_error: None, full_at: None };
        Circuit { hub, clock, entropy, memory: Mutex::new(memory) }
    }

    /// Leave for a call, or why and for how long there is none.
    pub(super) fn enter(&self) -> Result<CallPermit<'_>, Delay> {
        let (now, jitter) = (self.clock.now(), self.jitter());
        let mut memory = self.lock();
        let (state, entry) = memory.state.enter(now, jitter);
        self.turn(&mut memory, state, now);
        match entry {
            Entry::Go => Ok(CallPermit { circuit: self, is_open: true }),
            Entry::Wait(time) => Err(self.delay(&memory, time)),
        }
    }

    /// Leave for a call that an operator asks for: whether the hub works is the question.
    pub(super) fn enter_anyway(&self) -> CallPermit<'_> {
        let now = self.clock.now();
        let mut memory = self.lock();
        let forced = memory.state.forced(now);
        self.turn(&mut memory, forced, now);
        CallPermit { circuit: self, is_open: true }
    }

    /// Why there is no leave now, without taking one.
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

    /// What it knows; of calls it knows nothing.
    pub(super) fn health(&self) -> HubHealth {
        let now = self.clock.now();
        let memory = self.lock();
        // A clock that was put back makes it time to try, too.
        let lasts = |at: &Timestamp| *at <= now && now.since(*at) < FULL_FOR;
        let retry_at = match memory.state {
            State::Open { until, .. } => Some(until),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        };
        HubHealth {
            circuit: position(memory.state),
            since: memory.since,
            retry_at,
            full_at: memory.full_at.filter(lasts),
            last_error: memory.last_error.clone(),
            calls: 0,
        }
    }

    /// The hub has taken a new device.
    pub(super) fn has_room(&self) {
        if self.lock().full_at.take().is_some() {
            tracing::info!(hub.name = %self.hub, "the hub takes new devices again");
        }
    }

    fn has_no_room(&self, reason: &str) {
        if self.lock().full_at.replace(self.clock.now()).is_none() {
            tracing::warn!(hub.name = %self.hub, reason, "the hub takes no more devices");
        }
    }

    /// A number that is drawn anew.
    pub(super) fn jitter(&self) -> Jitter {
        let mut bytes = [0; 4];
        self.entropy.fill(&mut bytes);
        Jitter(f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX))
    }

    fn learn(&self, event: Event, error: Option<&str>) {
        let (now, jitter) = (self.clock.now(), self.jitter());
        let mut memory = self.lock();
        if let Some(error) = error {
            memory.last_error = Some((now, error.to_owned()));
        }
        let state = memory.state.after(event, now, jitter);
        self.turn(&mut memory, state, now);
    }

    fn turn(&self, memory: &mut Memory, next: State, now: Timestamp) {
        let (before, after) = (position(memory.state), position(next));
        memory.state = next;
        if before == after {
            return;
        }
        memory.since = Some(now);
        let reason = memory.last_error.as_ref().map(|(_, reason)| reason.as_str()).unwrap_or_default();
        match (after, next) {
            (Position::Open, State::Open { until, pauses: 1 }) => {
                tracing::warn!(hub.name = %self.hub, reason, retry_at = %until, "the hub is not called for now");
            }
            (Position::Closed, _) => tracing::info!(hub.name = %self.hub, "the hub is called again"),
            // Probes, and that they failed.
            _ => tracing::debug!(hub.name = %self.hub, circuit = %after, reason, "circuit"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallPermit<'_> {
    /// The hub works, whatever it said.
    pub(super) fn answered(mut self) {
        self.end(Event::Answered, None);
    }

    /// The hub works, but has no room.
    pub(super) fn full(mut self, reason: &str) {
        self.circuit.has_no_room(reason);
        self.end(Event::Answered, Some(reason));
    }

    /// The hub or the link is in trouble.
    pub(super) fn failed(mut self, reason: &str) {
        self.end(Event::Failed, Some(reason));
    }

    /// The hub asks for a pause.
    pub(super) fn throttled(mut self, pause: Option<Duration>, reason: &str) {
        self.end(Event::Throttled(pause), Some(reason));
    }

    fn end(&mut self, event: Event, error: Option<&str>) {
        self.is_open = false;
        self.circuit.learn(event, error);
    }
}

impl Drop for CallPermit<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.end(Event::Abandoned, None);
        }
    }
}

fn position(state: State) -> Position {
    match state {
        State::Closed { .. } => Position::Closed,
        State::Open { .. } => Position::Open,
        State::HalfOpen { .. } => Position::HalfOpen,
    }
}

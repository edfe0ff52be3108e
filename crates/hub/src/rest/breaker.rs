//! The states of a circuit breaker: pure functions over the outcomes of calls.
//!
//! ```text
//!            failures in a row, or throttled              the pause is over: one call probes
//!   closed ──────────────────────────────────▶ open ─────────────────────────────────────▶ half-open
//!      ▲                                         ▲                                             │
//!      │                                         └──── failed again: a longer pause ───────────┤
//!      └──────────────────────────────────────────────────── answered ─────────────────────────┘
//! ```

use std::time::Duration;

use model::Timestamp;

/// How many failures in a row open the circuit. Fewer would open it for one lost connection under load.
const FAILURES: u32 = 5;

/// The first pause after failures; it doubles with each probe that fails, up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// The pause of a hub that throttles without Retry-After: Azure's say "wait 10 seconds and try again".
const THROTTLED_PAUSE: Duration = Duration::from_secs(10);

/// The longest pause that a hub may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// How long a probe may take, which is longer than the deadlines of its connection and answer together. A longer one counts as
/// lost, and another call probes.
const PROBE_LIMIT: Duration = Duration::from_secs(90);

/// How long other calls wait while a probe is under way.
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// The state of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The hub is called, and has failed this many times in a row.
    Closed { failures: u32 },
    /// The hub is not called before `until`; this is the `pauses`th pause in a row.
    Open { until: Timestamp, pauses: u32 },
    /// One call has probed the hub since then, after this many pauses.
    HalfOpen { since: Timestamp, pauses: u32 },
}

/// The outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The hub works: it did what was asked, or called the request wrong.
    Answered,
    /// There was no answer, or one that shows a failure of the hub or the link.
    Failed,
    /// The hub asked for a pause, of this length if it named one.
    Throttled(Option<Duration>),
    /// The caller went away before the outcome was known.
    Abandoned,
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Yes.
    Go,
    /// Not now, and not for this long.
    Wait(Duration),
}

/// A number from 0 to 1, drawn for each decision, so that the calls that wait for one hub do not return all at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Jitter(pub f64);

impl State {
    /// The state of a hub of which nothing is known.
    pub(super) const NEW: State = State::Closed { failures: 0 };

    /// Returns whether a call may be made now, and the state after it.
    pub(super) fn enter(self, now: Timestamp, jitter: Jitter) -> (State, Entry) {
        match self {
            State::Closed { .. } => (self, Entry::Go),
            State::Open { until, pauses } if is_over(until, now) => {
                (State::HalfOpen { since: now, pauses }, Entry::Go)
            }
            State::Open { until, .. } => (self, Entry::Wait(jitter.stretch(until.since(now), 0.5))),
            State::HalfOpen { since, pauses } if now.since(since) > PROBE_LIMIT || now < since => {
                (State::HalfOpen { since: now, pauses }, Entry::Go)
            }
            State::HalfOpen { .. } => (self, Entry::Wait(jitter.stretch(PROBE_WAIT, 1.0))),
        }
    }

    /// Returns the state after a call was made although the circuit may be open: it is a probe.
    pub(super) fn forced(self, now: Timestamp) -> State {
        match self {
            State::Open { pauses, .. } => State::HalfOpen { since: now, pauses },
            State::Closed { .. } | State::HalfOpen { .. } => self,
        }
    }

    /// Returns the state after a call ended. The outcome of a call that began before the circuit opened changes nothing while it
    /// is open, except that a hub that throttles may ask for a longer pause.
    pub(super) fn after(self, event: Event, now: Timestamp, jitter: Jitter) -> State {
        match (self, event) {
            (State::Closed { failures }, Event::Failed) if failures + 1 < FAILURES => {
                State::Closed { failures: failures + 1 }
            }
            (State::Closed { .. }, Event::Failed) => opened(now, 0, Event::Failed, jitter),
            (State::Closed { .. }, Event::Throttled(_)) => opened(now, 0, event, jitter),
            (State::Closed { .. } | State::HalfOpen { .. }, Event::Answered) => State::NEW,
            (State::HalfOpen { pauses, .. }, Event::Failed | Event::Throttled(_)) => {
                opened(now, pauses, event, jitter)
            }
            // The next call probes.
            (State::HalfOpen { pauses, .. }, Event::Abandoned) => State::Open { until: now, pauses },
            (State::Open { until, pauses }, Event::Throttled(_)) => {
                let State::Open { until: asked, .. } = opened(now, pauses.saturating_sub(1), event, jitter)
                else {
                    return self;
                };
                State::Open { until: until.max(asked), pauses }
            }
            (State::Closed { .. }, Event::Abandoned) | (State::Open { .. }, _) => self,
        }
    }
}

impl Jitter {
    /// Returns the time, extended by up to `part` of it.
    fn stretch(self, time: Duration, part: f64) -> Duration {
        time.mul_f64(1.0 + part * self.0.clamp(0.0, 1.0))
    }
}

fn opened(now: Timestamp, pauses: u32, event: Event, jitter: Jitter) -> State {
    let growing = |first: Duration| (first * 2u32.saturating_pow(pauses.min(10))).min(LAST_PAUSE);
    let pause = match event {
        Event::Throttled(Some(asked)) => asked.clamp(FIRST_PAUSE, LONGEST_ASKED),
        Event::Throttled(None) => growing(THROTTLED_PAUSE),
        _ => growing(FIRST_PAUSE),
    };
    State::Open { until: now.plus(jitter.stretch(pause, 0.25)), pauses: pauses + 1 }
}

/// Returns whether a pause is over, also because the clock was set back: it ends later than any pause can.
fn is_over(until: Timestamp, now: Timestamp) -> bool {
    until <= now || until.since(now) > LONGEST_ASKED * 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(NOW.unix_seconds() + seconds)
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn closed(failures: u32) -> State {
        State::Closed { failures }
    }

    fn open(until: i64, pauses: u32) -> State {
        State::Open { until: at(until), pauses }
    }

    fn half(since: i64, pauses: u32) -> State {
        State::HalfOpen { since: at(since), pauses }
    }

    #[test]
    fn calls_are_made_unless_the_circuit_is_open() {
        let wait = |seconds| Entry::Wait(secs(seconds));
        for (before, now, after, entry) in [
            (closed(0), 0, closed(0), Entry::Go),
            (closed(4), 0, closed(4), Entry::Go),
            (open(10, 1), 0, open(10, 1), wait(10)),
            (open(10, 1), 9, open(10, 1), wait(1)),
            (open(10, 3), 10, half(10, 3), Entry::Go),
            (open(10, 3), 99, half(99, 3), Entry::Go),
            (half(10, 3), 10, half(10, 3), wait(1)),
            (half(10, 3), 100, half(10, 3), wait(1)),
            // The probe is lost.
            (half(10, 3), 101, half(101, 3), Entry::Go),
            // The clock was set back.
            (open(10, 3), -3600, half(-3600, 3), Entry::Go),
            (half(10, 3), 9, half(9, 3), Entry::Go),
        ] {
            assert_eq!(before.enter(at(now), Jitter(0.0)), (after, entry), "{before:?} at {now}");
        }
    }

    #[test]
    fn each_outcome_leads_to_its_state() {
        use Event::{Abandoned, Answered, Failed, Throttled};
        for (before, event, after) in [
            (closed(0), Answered, closed(0)),
            (closed(4), Answered, closed(0)),
            (closed(4), Abandoned, closed(4)),
            (closed(0), Failed, closed(1)),
            (closed(3), Failed, closed(4)),
            (closed(4), Failed, open(1, 1)),
            (closed(0), Throttled(None), open(10, 1)),
            (closed(0), Throttled(Some(secs(7))), open(7, 1)),
            (closed(0), Throttled(Some(secs(0))), open(1, 1)),
            (closed(0), Throttled(Some(secs(86_400))), open(300, 1)),
            (half(0, 1), Answered, closed(0)),
            (half(0, 1), Failed, open(2, 2)),
            (half(0, 5), Failed, open(32, 6)),
            (half(0, 6), Failed, open(60, 7)),
            (half(0, u32::MAX - 1), Failed, open(60, u32::MAX)),
            (half(0, 1), Throttled(None), open(20, 2)),
            (half(0, 9), Throttled(None), open(60, 10)),
            (half(0, 9), Throttled(Some(secs(3))), open(3, 10)),
            (half(0, 4), Abandoned, open(0, 4)),
            // Calls that began before the circuit opened.
            (open(5, 1), Answered, open(5, 1)),
            (open(5, 1), Failed, open(5, 1)),
            (open(5, 1), Abandoned, open(5, 1)),
            (open(5, 1), Throttled(Some(secs(30))), open(30, 1)),
            (open(50, 1), Throttled(None), open(50, 1)),
        ] {
            assert_eq!(before.after(event, NOW, Jitter(0.0)), after, "{before:?}, {event:?}");
        }
    }

    #[test]
    fn a_forced_call_is_a_probe() {
        for (before, after) in [(closed(2), closed(2)), (half(0, 3), half(0, 3)), (open(9, 3), half(0, 3))] {
            assert_eq!(before.forced(NOW), after);
        }
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Answered),
            Just(Event::Failed),
            Just(Event::Abandoned),
            proptest::option::of(0u64..1000)
                .prop_map(|asked| Event::Throttled(asked.map(Duration::from_secs))),
        ]
    }

    proptest! {
        /// No call waits for longer than the longest pause, and a hub that answers is called again.
        #[test]
        fn a_hub_that_answers_is_called_again(
            history in proptest::collection::vec((any_event(), 0u64..100, 0.0f64..1.0), 0..60),
        ) {
            let (mut state, mut now) = (State::NEW, NOW);
            for (event, pass, jitter) in history {
                now = now.plus(Duration::from_secs(pass));
                let (entered, entry) = state.enter(now, Jitter(jitter));
                if let Entry::Wait(time) = entry {
                    prop_assert!(time <= LONGEST_ASKED * 2, "{:?}", time);
                }
                state = entered.after(event, now, Jitter(jitter));
            }
            now = now.plus(LONGEST_ASKED * 2);
            let (entered, entry) = state.enter(now, Jitter(1.0));
            prop_assert_eq!(entry, Entry::Go);
            prop_assert_eq!(entered.after(Event::Answered, now, Jitter(0.0)), State::NEW);
        }
    }
}

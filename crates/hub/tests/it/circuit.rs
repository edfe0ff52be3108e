//! The circuit breaker: hubs that fail are not called for a while, and then probed.

use std::{sync::Arc, time::Duration};

use hub::RestConnector;
use model::{DeviceId, DeviceSpec, InitialTwin, TwinSpec};
use provisioning::ports::{Circuit, Delay, HubConnector, HubError, HubVersion, Removed};
use testkit::{clock::SteppedClock, sample};

use crate::{
    script::{Script, Step},
    world,
};

const THROTTLED: &str = "HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n";
const THROTTLED_FOR_40_S: &str = "HTTP/1.1 429 X\r\nRetry-After: 40\r\nContent-Length: 0\r\n\r\n";
const DOWN_FOR_40_S: &str = "HTTP/1.1 503 X\r\nRetry-After: 40\r\nContent-Length: 0\r\n\r\n";
/// How many failures in a row open the circuit.
const FAILURES: usize = 5;

struct Spared {
    script: Script,
    connector: Arc<RestConnector>,
    clock: Arc<SteppedClock>,
}

impl Spared {
    async fn with(steps: impl IntoIterator<Item = Step>) -> Spared {
        let (script, clock) = (Script::start(steps).await, Arc::new(SteppedClock::default()));
        let connector = Arc::new(world::connector(script.site.link("p", 1), &clock));
        Spared { script, connector, clock }
    }

    async fn call(&self) -> Result<(), HubError> {
        self.connector.ensure_device(&spec()).await.map(drop)
    }

    /// Makes a call that does not reach the hub, and returns how long it must wait.
    async fn refused(&self) -> Duration {
        let before = self.script.requests().len();
        let refused = self.call().await.unwrap_err();
        let HubError::Unavailable(Delay { reason, retry_after }) = refused else {
            unreachable!("{refused:?}");
        };
        assert!(
            reason.starts_with("127.0.0.1: ") && reason.ends_with("it is not called for now"),
            "{reason}"
        );
        assert_eq!(self.script.requests().len(), before);
        retry_after.unwrap()
    }

    fn circuit(&self) -> Circuit {
        self.connector.health().circuit
    }
}

fn spec() -> DeviceSpec {
    DeviceSpec {
        twin: TwinSpec::Initialize(InitialTwin::default()),
        iot_edge: false,
        ..sample::device_spec("d")
    }
}

fn done() -> Step {
    Step::reply(200, "{}")
}

fn within(time: Duration, from: u64, to: u64) {
    let range = Duration::from_secs(from)..=Duration::from_secs(to);
    assert!(range.contains(&time), "{time:?} is not {from} to {to} s");
}

#[tokio::test]
async fn failures_in_a_row_open_the_circuit_and_a_probe_closes_it() {
    let failures = || std::iter::repeat_n(Step::reply(500, ""), FAILURES - 1);
    let steps = failures().chain([done()]).chain(failures()).chain([
        Step::reply(408, ""),
        Step::reply(502, ""),
        done(),
    ]);
    let spared = Spared::with(steps).await;
    for _ in 0..FAILURES - 1 {
        spared.call().await.unwrap_err();
    }
    assert_eq!(spared.call().await, Ok(()), "an answer in between");
    for _ in 0..FAILURES {
        assert_eq!(spared.circuit(), Circuit::Closed);
        let failed = spared.call().await.unwrap_err();
        assert!(matches!(failed, HubError::Unavailable(Delay { retry_after: None, .. })), "{failed:?}");
    }
    let health = spared.connector.health();
    let Circuit::Open { retry_at } = health.circuit else { panic!("{health:?}") };
    assert_eq!(health.since, Some(provisioning::ports::Clock::now(&*spared.clock)));
    assert!(Some(retry_at) > health.since);
    assert!(health.last_error.unwrap().1.starts_with("127.0.0.1: "));
    within(spared.refused().await, 1, 2);

    spared.clock.advance(Duration::from_secs(2));
    spared.call().await.unwrap_err();
    assert!(spared.circuit().is_open(), "the probe failed");
    within(spared.refused().await, 2, 4);
    spared.clock.advance(Duration::from_secs(4));
    assert_eq!(spared.call().await, Ok(()));
    assert_eq!(spared.circuit(), Circuit::Closed);
    assert!(spared.connector.health().last_error.is_some(), "it is still reported");
    assert_eq!(spared.script.steps_left(), 0);
}

#[tokio::test]
async fn a_hub_that_throttles_gets_the_pause_that_it_asks_for() {
    for (step, from, to) in [
        (Step::Raw(THROTTLED), 10, 19),
        (Step::Raw(THROTTLED_FOR_40_S), 40, 75),
        (Step::Raw(DOWN_FOR_40_S), 40, 75),
    ] {
        let spared = Spared::with([step.clone(), done(), done()]).await;
        spared.call().await.unwrap_err();
        assert!(spared.circuit().is_open(), "{step:?}");
        within(spared.refused().await, from, to);
        spared.clock.advance(Duration::from_secs(to));
        assert_eq!(spared.call().await, Ok(()), "{step:?}");
        assert_eq!(spared.call().await, Ok(()), "{step:?}");
    }
}

#[tokio::test]
async fn one_call_probes_while_others_wait() {
    let steps = [Step::Raw(THROTTLED), Step::Hang(Duration::from_secs(60))];
    let spared = Spared::with(steps).await;
    spared.call().await.unwrap_err();
    spared.clock.advance(Duration::from_secs(20));
    let connector = Arc::clone(&spared.connector);
    let probe = tokio::spawn(async move { connector.ensure_device(&spec()).await });
    while spared.script.requests().len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(spared.circuit(), Circuit::HalfOpen);
    within(spared.refused().await, 1, 2);
    // A probe whose caller goes away leaves the circuit to the next.
    probe.abort();
    probe.await.unwrap_err();
    assert!(spared.circuit().is_open());
    spared.call().await.unwrap_err();
    assert!(spared.script.requests().len() >= 3, "the next call was made");
}

#[tokio::test]
async fn a_refusal_of_the_hub_does_not_open_the_circuit() {
    let wrong = || Step::reply(400, r#"{"Message":"ErrorCode:ArgumentInvalid;bad id"}"#);
    let full = || Step::reply(403, r#"{"errorCode":403002,"message":"full"}"#);
    let spared = Spared::with((0..20).flat_map(|_| [wrong(), full()])).await;
    for _ in 0..40 {
        spared.call().await.unwrap_err();
        assert_eq!(spared.circuit(), Circuit::Closed);
    }
    assert_eq!(spared.script.requests().len(), 40);
}

#[tokio::test]
async fn a_rejected_key_opens_the_circuit_and_an_operators_check_passes_it() {
    let gone = || Step::reply(404, r#"{"Message":"ErrorCode:DeviceNotFound;no"}"#);
    let refused = std::iter::repeat_n(Step::reply(401, ""), FAILURES);
    let spared = Spared::with(refused.chain([gone(), gone(), gone(), done()])).await;
    for _ in 0..FAILURES {
        spared.call().await.unwrap_err();
    }
    assert!(spared.circuit().is_open());
    // An operator has corrected the policy at the hub. The pause is not over.
    spared.refused().await;
    assert_eq!(spared.connector.lacking().await, Ok(vec![]));
    assert_eq!(spared.circuit(), Circuit::Closed);
    assert_eq!(spared.call().await, Ok(()));
}

#[tokio::test]
async fn a_removal_waits_for_the_circuit_too() {
    let spared = Spared::with([Step::Raw(THROTTLED), Step::reply(204, "")]).await;
    spared.call().await.unwrap_err();
    let id = DeviceId::parse("d").unwrap();
    let any = HubVersion("MQ==".to_owned());
    assert!(spared.connector.remove_device(&id, &any).await.is_err());
    spared.clock.advance(Duration::from_secs(20));
    assert_eq!(spared.connector.remove_device(&id, &any).await, Ok(Removed::Gone));
}

/// The hub works, so it is called; but it is passed over for new devices for a while, and then tried with one.
#[tokio::test]
async fn a_full_hub_is_treated_as_full_for_a_while() {
    let full = || Step::reply(403, r#"{"Message":"ErrorCode:IotHubQuotaExceeded;no"}"#);
    let spared = Spared::with([full(), full(), full(), done()]).await;
    let is_full = || spared.connector.health().full_at.is_some();
    assert!(!is_full());
    for pause in [1, 299, 300] {
        assert!(matches!(spared.call().await, Err(HubError::Full(_))));
        assert_eq!((spared.circuit(), is_full()), (Circuit::Closed, true));
        spared.clock.advance(Duration::from_secs(pause));
        assert_eq!(is_full(), pause < 300, "after {pause} s");
    }
    spared.clock.advance(Duration::from_secs(1));
    assert_eq!((spared.call().await, is_full()), (Ok(()), false));
}

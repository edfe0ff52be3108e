//! Custom allocation: a webhook chooses the hub.

use model::{
    AllocationPolicy, Because, CustomAllocation, DecisionResult, FailureReason, HubDeviceRef,
    IndividualEnrollment, InitialTwin, RawJson, Status, Substatus, WebhookAnswer,
};
use provisioning::{
    ports::WebhookOutcome,
    register::{RegisterOutcome, RunOutcome},
};
use serde_json::json;
use testkit::sample;

use super::{Policy, STAY, object, reported, wanting};
use crate::register::world::{Device, HUBS, SCOPE, World, assigned};

fn asking(policy: Policy) -> IndividualEnrollment {
    let mut enrollment = wanting("dev-1", policy, &[]);
    enrollment.settings.allocation_policy = Some(AllocationPolicy::Custom);
    enrollment.settings.custom_allocation = Some(CustomAllocation {
        webhook_url: "https://webhook.example/allocate".into(),
        api_version: "2021-10-01".into(),
    });
    enrollment
}

fn answer(hub: &str) -> WebhookAnswer {
    WebhookAnswer { hub: Some(sample::hub_name(hub)), ..WebhookAnswer::default() }
}

async fn world(policy: Policy) -> (World, Device) {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    world.enroll(asking(policy)).await;
    (world, device)
}

#[tokio::test]
async fn the_webhook_chooses_and_hands_over_a_payload() {
    let (world, device) = world(Policy::Migrate).await;
    let answer = WebhookAnswer { payload: Some(RawJson::from(&json!({"line": 4}))), ..answer(HUBS[1]) };
    world.webhook.answer_next(WebhookOutcome::Answer(answer));
    let registration = world.register(&device).await;
    assert_eq!(assigned(&registration).hub.as_str(), HUBS[1]);
    assert_eq!(registration.payload, Some(RawJson::from(&json!({"line": 4}))));
    let decision = registration.decisions.latest().unwrap();
    assert_eq!(decision.chosen.as_ref().map(|chosen| chosen.because), Some(Because::Webhook));
    assert_eq!(decision.webhook.as_ref().map(|reply| reply.status), Some(200));
    assert_eq!(decision.outcome.end().map(|end| &end.result), Some(&DecisionResult::Assigned));
    assert_eq!(world.counted(SCOPE).await, (1, 0));
    let [asked] = &world.webhook.requests()[..] else { panic!("asked more than once") };
    assert_eq!((asked.current.as_ref(), asked.linked_hubs.len()), (None, 2));
}

/// The device gets `assigning` and joins; the webhook is asked again with growing back-off.
#[tokio::test]
async fn a_webhook_that_is_down_is_asked_again() {
    let (world, device) = world(Policy::Migrate).await;
    let run = world.run(&device).await;
    let mut again = run.clone();
    let mut pauses = Vec::new();
    for _ in 0..3 {
        let RunOutcome::Retry(retry) = world.provisioning.execute(&again).await else { panic!("it ended") };
        pauses.push(retry.backoff.as_secs());
        again = retry.run;
    }
    assert_eq!(pauses, [1, 10, 19], "as the hosted service pauses");
    let joined = world.run(&device).await;
    assert_eq!(joined.registration.operation_id, run.registration.operation_id);
    world.webhook.answer_next(WebhookOutcome::Answer(answer(HUBS[0])));
    let world = world.restarted().await;
    world.webhook.answer_next(WebhookOutcome::Answer(answer(HUBS[0])));
    let [resumed] = &world.unfinished(10).await[..] else { panic!("not one run") };
    let registration = world.finish(resumed).await;
    assert_eq!(registration.operation_id, run.registration.operation_id, "one operation from first to last");
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[0])]);
}

#[tokio::test]
async fn a_webhook_that_refuses_fails_the_registration() {
    let (world, device) = world(Policy::Migrate).await;
    for (outcome, reason) in [
        (WebhookOutcome::Unauthorized, FailureReason::WebhookUnauthorized),
        (WebhookOutcome::Failed("status code: 400".into()), FailureReason::CustomAllocationFailed),
        (WebhookOutcome::Answer(WebhookAnswer::default()), FailureReason::NoHub),
        (WebhookOutcome::Answer(answer("other.example")), FailureReason::CustomAllocationFailed),
    ] {
        world.webhook.answer_next(outcome);
        let failed = world.register(&device).await;
        let Status::Failed { failure, current: None } = &failed.status else { panic!("{failed:?}") };
        assert_eq!(failure.reason, reason);
        let reply = failed.decisions.latest().and_then(|decision| decision.webhook.as_ref());
        assert_eq!(reply.map(|reply| reply.body.as_str()), Some("scripted"), "operators see the reply");
    }
    assert_eq!((world.calls(), world.cleanups().await), (0, vec![]));
}

/// A twin in the answer replaces data that would have moved or stayed.
#[tokio::test]
async fn the_webhooks_twin_overrides_migration() {
    for hub in [HUBS[0], HUBS[1]] {
        let (world, device) = world(Policy::Migrate).await;
        world.webhook.answer_next(WebhookOutcome::Answer(answer(HUBS[0])));
        world.register(&device).await;
        world.used(HUBS[0], "dev-1");
        let twin = InitialTwin { tags: None, desired: Some(object(json!({"by": "webhook"})).into()) };
        let answered = WebhookAnswer { initial_twin: Some(twin.clone()), ..answer(hub) };
        world.webhook.answer_next(WebhookOutcome::Answer(answered));
        let again = world.register(&device).await;
        assert_eq!(assigned(&again).substatus, Substatus::DeviceDataReset);
        let at_hub = world.at(hub, "dev-1");
        assert_eq!((at_hub.twin, at_hub.reported), (twin, Default::default()));
        world.clean_up().await;
        assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(hub)]);
        let place = HubDeviceRef {
            hub: sample::hub_name(HUBS[0]),
            device_id: model::DeviceId::parse("dev-1").unwrap(),
        };
        assert_eq!(world.webhook.requests()[1].current, Some(place));
    }
}

/// The webhook is asked for a device that stays as well, because it may have a payload for it.
#[tokio::test]
async fn a_device_that_stays_gets_its_payload() {
    let (world, device) = world(STAY).await;
    world.webhook.answer_next(WebhookOutcome::Answer(answer(HUBS[0])));
    world.register(&device).await;
    world.used(HUBS[0], "dev-1");
    let answered =
        WebhookAnswer { payload: Some(RawJson::from(&json!("news"))), hub: None, ..answer(HUBS[1]) };
    world.webhook.answer_next(WebhookOutcome::Answer(answered));
    let again = world.register(&device).await;
    assert_eq!(
        (assigned(&again).hub.as_str(), again.payload.clone()),
        (HUBS[0], Some(RawJson::from(&json!("news"))))
    );
    assert_eq!(assigned(&again).substatus, Substatus::InitialAssignment);
    assert_eq!(world.at(HUBS[0], "dev-1").reported, reported());
}

/// Canceled while the webhook is asked, the run leaves nothing behind.
#[tokio::test]
async fn a_run_can_be_canceled_while_the_webhook_is_asked() {
    let (world, device) = world(Policy::Migrate).await;
    let RegisterOutcome::Running(run) = world.begin(&device).await else { panic!("nothing to do") };
    let instance = world.instance(SCOPE).await;
    let id = sample::registration_id("dev-1");
    let cancelled =
        world.provisioning.cancel_registration(&instance, &sample::operator(), &id, None).await.unwrap();
    world.webhook.answer_next(WebhookOutcome::Answer(answer(HUBS[0])));
    let ended = world.provisioning.execute(&run).await;
    assert!(matches!(&ended, RunOutcome::Registration(found) if **found == cancelled), "{ended:?}");
    assert_eq!((world.calls(), world.cleanups().await), (0, vec![]));
}

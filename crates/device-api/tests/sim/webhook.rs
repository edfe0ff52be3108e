//! A webhook that sends devices here and there.

use std::sync::Arc;

use async_trait::async_trait;
use model::{Instance, WebhookAnswer, WebhookRequest};
use provisioning::ports::{AllocationWebhook, WebhookCall, WebhookOutcome};

use crate::process::Process;

pub struct SimulatedWebhook(pub Arc<Process>);

#[async_trait]
impl AllocationWebhook for SimulatedWebhook {
    async fn ask(&self, _: &Instance, request: &WebhookRequest) -> WebhookCall {
        let world = &self.0.world;
        self.0.pass(1..=2000).await;
        let strikes = |in_thousand| world.weather.strikes(in_thousand, &world.dice);
        let outcome = if strikes(150) {
            WebhookOutcome::Retry("status code: 503".to_owned())
        } else if strikes(20) {
            WebhookOutcome::Failed("status code: 400".to_owned())
        } else {
            WebhookOutcome::Answer(self.answer(request))
        };
        let goes_wrong = !matches!(outcome, WebhookOutcome::Answer(_));
        world.note(format_args!("webhook for {}: {outcome:?}", request.registration_id));
        world.count(|figures| figures.faults += u64::from(goes_wrong));
        self.0.pass(1..=200).await;
        outcome.into()
    }
}

impl SimulatedWebhook {
    fn answer(&self, request: &WebhookRequest) -> WebhookAnswer {
        let dice = &self.0.world.dice;
        let has_twin = dice.roll(4) == 0;
        WebhookAnswer {
            hub: request.linked_hubs.get(usize::try_from(dice.roll(3)).unwrap()).cloned(),
            initial_twin: has_twin.then(|| self.0.world.new_start()),
            payload: None,
        }
    }
}

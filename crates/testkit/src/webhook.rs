//! A fake webhook in memory, with scripted outcomes.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use model::{Instance, Timestamp, WebhookReply, WebhookRequest};
use provisioning::ports::{AllocationWebhook, WebhookCall, WebhookOutcome};

/// A fake webhook, which returns the scripted outcomes in order, and is unavailable after the last one.
#[derive(Debug, Default)]
pub struct FakeWebhook {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    outcomes: VecDeque<WebhookOutcome>,
    requests: Vec<WebhookRequest>,
}

impl FakeWebhook {
    /// Appends an outcome to the script. Each request consumes one.
    pub fn answer_next(&self, outcome: WebhookOutcome) {
        self.state().outcomes.push_back(outcome);
    }

    /// Returns the requests so far, oldest first.
    pub fn requests(&self) -> Vec<WebhookRequest> {
        self.state().requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl AllocationWebhook for FakeWebhook {
    async fn ask(&self, _: &Instance, request: &WebhookRequest) -> WebhookCall {
        let mut state = self.state();
        state.requests.push(request.clone());
        match state.outcomes.pop_front() {
            Some(outcome) => {
                let reply = WebhookReply::new(Timestamp::from_unix_seconds(0), 200, b"scripted");
                WebhookCall { outcome, reply: Some(reply) }
            }
            None => WebhookOutcome::Retry("no answer".to_owned()).into(),
        }
    }
}

//! A webhook in memory, which answers as it is told.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use model::{Instance, WebhookRequest};
use provisioning::ports::{AllocationWebhook, WebhookOutcome};

/// Gives the outcomes that were queued, in their order; without one it is down.
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
    /// The outcome of the next request that is not spoken for; several queue up.
    pub fn answer_next(&self, outcome: WebhookOutcome) {
        self.state().outcomes.push_back(outcome);
    }

    /// What was asked so far, oldest first.
    pub fn requests(&self) -> Vec<WebhookRequest> {
        self.state().requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl AllocationWebhook for FakeWebhook {
    async fn ask(&self, _: &Instance, request: &WebhookRequest) -> WebhookOutcome {
        let mut state = self.state();
        state.requests.push(request.clone());
        state.outcomes.pop_front().unwrap_or_else(|| WebhookOutcome::Retry("no answer".to_owned()))
    }
}

//! The webhooks of custom allocation.

use async_trait::async_trait;
use model::{Instance, WebhookAnswer, WebhookReply, WebhookRequest};

/// Calls webhooks of custom allocation.
#[async_trait]
pub trait AllocationWebhook: Send + Sync {
    /// Calls the webhook that the request names on behalf of the instance, once and for a bounded time. A second call is
    /// harmless.
    async fn ask(&self, instance: &Instance, request: &WebhookRequest) -> WebhookCall;
}

/// A call of a webhook.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookCall {
    /// The outcome.
    pub outcome: WebhookOutcome,
    /// What the webhook replied, for operators; `None` if it did not.
    pub reply: Option<WebhookReply>,
}

impl From<WebhookOutcome> for WebhookCall {
    /// Creates a call without a reply.
    fn from(outcome: WebhookOutcome) -> WebhookCall {
        WebhookCall { outcome, reply: None }
    }
}

/// The outcome of a call of a webhook. The texts complete the sentence "custom allocation failed with".
#[derive(Debug, Clone, PartialEq)]
pub enum WebhookOutcome {
    /// It answered.
    Answer(WebhookAnswer),
    /// It rejected our credentials (status 401).
    Unauthorized,
    /// It refused, or its answer cannot be understood; another call would end the same way.
    Failed(String),
    /// It is down, slow or too busy, or this process is; a later call helps.
    Retry(String),
}

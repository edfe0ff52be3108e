//! Custom allocation: what the answer of a webhook means, and how long to wait before it is asked again.

use std::time::Duration;

use model::{Failure, FailureReason, HubName, Instance, WebhookAnswer, WebhookRequest};

use super::candidates;
use crate::ports::WebhookOutcome;

/// How often a webhook that fails for a while is asked again, as the hosted service does.
pub const MAX_RETRIES: u32 = 10;

/// By how much the back-off grows with each retry; the first is a second.
const BACKOFF_STEP: Duration = Duration::from_secs(9);

/// Returns the back-off after this number of retries: 1 s, 10 s, 19 s and so on; `None` once the retries are exhausted.
pub fn retry_backoff(retries: u32) -> Option<Duration> {
    (retries < MAX_RETRIES).then(|| Duration::from_secs(1) + BACKOFF_STEP * retries)
}

/// What follows from the answer of a webhook.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The device is assigned to this hub, with the payload and twin of the answer.
    Assign(HubName, WebhookAnswer),
    /// The webhook must be asked again after this back-off. The text is for operators.
    Retry(Duration, String),
    /// The registration fails.
    Fail(Failure),
}

/// Returns what follows from the outcome of asking a webhook after `retries` retries. It may name any linked hub that the
/// enrollment allows and that takes new devices, also an unavailable one: the choice is the webhook's.
pub fn verdict(
    instance: &Instance,
    request: &WebhookRequest,
    outcome: WebhookOutcome,
    retries: u32,
) -> Verdict {
    match outcome {
        WebhookOutcome::Answer(answer) => verdict_on_answer(instance, request, answer),
        WebhookOutcome::Retry(reason) => match retry_backoff(retries) {
            Some(backoff) => Verdict::Retry(backoff, reason),
            None => failed(format!("{reason}, {MAX_RETRIES} retries included")),
        },
        WebhookOutcome::Failed(reason) => failed(reason),
        WebhookOutcome::Unauthorized => Verdict::Fail(Failure {
            reason: FailureReason::WebhookUnauthorized,
            message: "The custom allocation webhook answered with status code: 401".into(),
        }),
    }
}

fn verdict_on_answer(instance: &Instance, request: &WebhookRequest, answer: WebhookAnswer) -> Verdict {
    match answer.hub.clone() {
        Some(hub) if candidates::may_choose(instance, request.enrollment.settings(), &hub) => {
            Verdict::Assign(hub, answer)
        }
        Some(hub) => failed(format!("the hub {hub}, which is none of the linked hubs")),
        None => Verdict::Fail(Failure {
            reason: FailureReason::NoHub,
            message: "The custom allocation webhook named no hub".into(),
        }),
    }
}

fn failed(with: String) -> Verdict {
    Verdict::Fail(Failure {
        reason: FailureReason::CustomAllocationFailed,
        message: format!("Custom allocation failed with {with}"),
    })
}

#[cfg(test)]
mod tests {
    use FailureReason::{CustomAllocationFailed, NoHub, WebhookUnauthorized};
    use model::{CustomAllocation, Enrollment, EnrollmentSettings, Presented};

    use super::*;
    use crate::allocate::tests::{device, hub, instance, wants};

    fn request(settings: EnrollmentSettings) -> WebhookRequest {
        let enrollment = testkit::sample::individual("device-1");
        WebhookRequest {
            webhook: CustomAllocation {
                webhook_url: "https://web.hook".into(),
                api_version: "2021-10-01".into(),
            },
            enrollment: Enrollment::Individual(Box::new(model::IndividualEnrollment {
                settings,
                ..enrollment
            })),
            registration_id: device(1),
            current: None,
            presented: Presented::SymmetricKey,
            payload: None,
            linked_hubs: vec![],
        }
    }

    fn answer(hub: Option<&str>) -> WebhookOutcome {
        let hub = hub.map(|name| HubName::parse(name).unwrap());
        WebhookOutcome::Answer(WebhookAnswer { hub, ..Default::default() })
    }

    #[test]
    fn every_outcome_assigns_a_hub_or_fails_with_its_reason() {
        let mut closed = hub("closed.hub", 1);
        closed.takes_new_devices = false;
        let linked = instance(vec![hub("a.hub", 1), hub("b.hub", 1), closed]);
        let cases = [
            (&["a.hub"][..], answer(Some("a.hub")), Ok("a.hub")),
            (&[], answer(Some("b.hub")), Ok("b.hub")),
            (&["a.hub"], answer(Some("b.hub")), Err(CustomAllocationFailed)),
            (&[], answer(Some("closed.hub")), Err(CustomAllocationFailed)),
            (&[], answer(Some("other.hub")), Err(CustomAllocationFailed)),
            (&[], answer(None), Err(NoHub)),
            (&[], WebhookOutcome::Unauthorized, Err(WebhookUnauthorized)),
            (&[], WebhookOutcome::Failed("status code: 400".into()), Err(CustomAllocationFailed)),
        ];
        for (wanted, outcome, expected) in cases {
            let text = format!("{wanted:?} {outcome:?}");
            let found = match verdict(&linked, &request(wants(wanted, None)), outcome, 0) {
                Verdict::Assign(hub, _) => Ok(hub.to_string()),
                Verdict::Fail(failure) => Err(failure.reason),
                Verdict::Retry(..) => panic!("{text}"),
            };
            assert_eq!(found, expected.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn a_webhook_is_asked_again_ten_times() {
        let linked = instance(vec![hub("a.hub", 1)]);
        let request = request(wants(&[], None));
        let mut seconds = Vec::new();
        loop {
            let outcome = WebhookOutcome::Retry("status code: 503".into());
            match verdict(&linked, &request, outcome, seconds.len() as u32) {
                Verdict::Retry(backoff, _) => seconds.push(backoff.as_secs()),
                Verdict::Fail(failure) => {
                    assert_eq!(failure.reason, CustomAllocationFailed);
                    assert!(failure.message.contains("status code: 503, 10 retries included"), "{failure:?}");
                    break;
                }
                Verdict::Assign(..) => panic!("assigned"),
            }
        }
        assert_eq!(seconds, [1, 10, 19, 28, 37, 46, 55, 64, 73, 82]);
    }
}

//! Custom allocation: what a webhook is asked, what its answer means, and how long to wait before it is asked again.

use std::time::Duration;

use model::{Failure, FailureReason, HubName, Instance, WebhookAnswer, WebhookRequest};

use super::candidates;
use crate::ports::WebhookOutcome;

/// How often a webhook that cannot answer is asked again, as the hosted service does.
pub const MAX_RETRIES: u32 = 10;

/// Each pause is this much longer than the one before; the first is a second.
const LONGER_EACH_TIME: Duration = Duration::from_secs(9);

/// How long to wait before the webhook is asked again that was asked again so often: 1 s, 10 s, 19 s and so on. `None`
/// when it has been asked often enough.
pub fn pause_before_retry(retries: u32) -> Option<Duration> {
    (retries < MAX_RETRIES).then(|| Duration::from_secs(1) + LONGER_EACH_TIME * retries)
}

/// What follows from an outcome.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The device goes to this hub, with what the answer says.
    Assign(HubName, WebhookAnswer),
    /// The webhook is to be asked again after a pause. The text is for operators.
    Again(Duration, String),
    /// The registration fails.
    Fail(Failure),
}

/// Judges what came of asking a webhook that was asked again `retries` times before. It may name any linked hub that
/// the enrollment wants and that takes new devices, also one that is ailing: the choice is the webhook's.
pub fn judge(
    instance: &Instance,
    request: &WebhookRequest,
    outcome: WebhookOutcome,
    retries: u32,
) -> Verdict {
    match outcome {
        WebhookOutcome::Answer(answer) => judge_answer(instance, request, answer),
        WebhookOutcome::Retry(reason) => match pause_before_retry(retries) {
            Some(pause) => Verdict::Again(pause, reason),
            None => failed(format!("{reason}, {MAX_RETRIES} retries included")),
        },
        WebhookOutcome::Failed(reason) => failed(reason),
        WebhookOutcome::Unauthorized => Verdict::Fail(Failure {
            reason: FailureReason::WebhookUnauthorized,
            message: "The custom allocation webhook answered with status code: 401".into(),
        }),
    }
}

fn judge_answer(instance: &Instance, request: &WebhookRequest, answer: WebhookAnswer) -> Verdict {
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
    fn outcomes_and_their_codes() {
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
            let found = match judge(&linked, &request(wants(wanted, None)), outcome, 0) {
                Verdict::Assign(hub, _) => Ok(hub.to_string()),
                Verdict::Fail(failure) => Err(failure.reason),
                Verdict::Again(..) => panic!("{text}"),
            };
            assert_eq!(found, expected.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn is_asked_again_ten_times() {
        let linked = instance(vec![hub("a.hub", 1)]);
        let request = request(wants(&[], None));
        let mut seconds = Vec::new();
        loop {
            let outcome = WebhookOutcome::Retry("status code: 503".into());
            match judge(&linked, &request, outcome, seconds.len() as u32) {
                Verdict::Again(pause, _) => seconds.push(pause.as_secs()),
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

//! Assignments that are under way, what is to be cleaned up, and why devices are where they are. Not part of the hosted
//! service's API.

use model::{
    Cleanup, CleanupHold, Decision, DecisionOutcome, KeyStanding, Registration, Status, Tries, Work,
};
use serde_json::{Map, Value, json};

use super::keys::key_standing_json;
use crate::device::{failure_code, registration_state};

/// A registration for a listing: its state, where the device lives when that is not its assigned hub, and what is to be
/// done (`pending`), and by which key of its enrollment the device proved itself (`attestationKey`).
pub fn listed_registration_json(registration: &Registration, key: Option<KeyStanding>) -> Value {
    let mut listed = registration_state(registration);
    if let Some(key) = key {
        listed["attestationKey"] = key_standing_json(key);
    }
    if let (Some(at), false) = (registration.assignment(), matches!(registration.status, Status::Assigned(_)))
    {
        listed["livesAt"] = json!({"iotHub": at.hub, "deviceId": at.device_id});
    }
    if let Status::Assigning { work, tries, .. } = &registration.status {
        let mut pending = tried(tries);
        match work {
            Work::Ask(ask) => {
                pending.insert("webhookUrl".into(), json!(without_query(&ask.request.webhook.webhook_url)))
            }
            Work::Order(order) => pending.insert("iotHub".into(), json!(order.hub)),
        };
        pending.insert("sinceDateTimeUtc".into(), json!(registration.record.last_updated.to_string()));
        listed["pending"] = Value::Object(pending);
    }
    listed
}

/// What is to be removed from a hub, and why it has not been yet. What waits at a hub that is not linked is not tried.
pub fn cleanup_json(cleanup: &Cleanup, is_linked: bool, held: Option<&CleanupHold>) -> Value {
    let hub = &cleanup.trace.place.hub;
    let mut shown = tried(&cleanup.tries);
    if !is_linked {
        shown.remove("nextTryDateTimeUtc");
        shown.insert("reason".into(), json!(format!("{hub} is not linked: this waits until it is")));
    }
    if let Some(CleanupHold { reason, .. }) = held {
        shown.remove("nextTryDateTimeUtc");
        shown.insert("reason".into(), json!(format!("{reason}: this waits until it is confirmed")));
    }
    shown.insert("iotHub".into(), json!(hub));
    shown.insert("deviceId".into(), json!(cleanup.trace.place.device_id));
    if let Some(generation) = &cleanup.trace.generation {
        shown.insert("generationId".into(), json!(generation));
    }
    shown.insert("registrationId".into(), json!(cleanup.registration_id));
    shown.insert("cause".into(), json!(cleanup.cause.name()));
    shown.insert("sinceDateTimeUtc".into(), json!(cleanup.record.created.to_string()));
    Value::Object(shown)
}

/// A registration with what is to be removed from hubs that its device left, as [`cleanup_json`] shows it, and the
/// decisions that led to it, in sentences and as they were taken, the last one first.
pub fn explained_registration_json(
    (registration, key): (&Registration, Option<KeyStanding>),
    cleanups: Vec<Value>,
    sentences: &[String],
) -> Value {
    let mut shown = listed_registration_json(registration, key);
    if !cleanups.is_empty() {
        shown["cleanups"] = Value::Array(cleanups);
    }
    shown["explanation"] = json!(sentences);
    shown["decisions"] = registration.decisions.iter().rev().map(decision_json).collect();
    shown
}

fn decision_json(decision: &Decision) -> Value {
    let candidates = decision.candidates.iter().map(|candidate| {
        json!({
            "iotHub": candidate.hub,
            "allocationWeight": candidate.weight,
            "latencyMicroseconds": candidate.latency,
            "excluded": candidate.excluded,
        })
    });
    let (outcome, failure) = match &decision.outcome {
        DecisionOutcome::Pending => ("pending", None),
        DecisionOutcome::Assigned => ("assigned", None),
        DecisionOutcome::Failed(failure) => ("failed", Some(failure)),
        DecisionOutcome::Cancelled => ("cancelled", None),
    };
    json!({
        "dateTimeUtc": decision.at.to_string(),
        "enrollment": decision.enrollment,
        "movedFrom": decision.moved_from,
        "allocationPolicy": decision.policy,
        "policyOf": decision.policy_of,
        "candidates": candidates.collect::<Vec<_>>(),
        "latenciesFrom": decision.latencies_from,
        "iotHub": decision.chosen.as_ref().map(|chosen| &chosen.hub),
        "because": decision.chosen.as_ref().map(|chosen| chosen.because),
        "cameFrom": decision.returning.as_ref().map(|returning| &returning.from),
        "reprovision": decision.returning.as_ref().map(|returning| returning.reprovision),
        "outcome": outcome,
        "errorCode": failure.map(|failure| failure_code(failure.reason)),
        "errorMessage": failure.map(|failure| &failure.message),
        "endedDateTimeUtc": decision.ended.map(|ended| ended.to_string()),
    })
}

fn tried(tries: &Tries) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("attempts".into(), json!(tries.count));
    if let Some(next) = tries.next {
        shown.insert("nextTryDateTimeUtc".into(), json!(next.to_string()));
    }
    if let Some(reason) = &tries.reason {
        shown.insert("reason".into(), json!(reason));
    }
    shown
}

/// The query of a webhook's address is its secret.
fn without_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(address, _)| address)
}

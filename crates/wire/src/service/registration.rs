//! Unfinished assignments, cleanups, and the decisions that led to an assignment. All are additions of Muster.

use model::{
    Cleanup, CleanupHold, Decision, DecisionResult, Instance, KeyStanding, PendingStep, Registration, Status,
    Tries, WebhookReply,
};
use serde_json::{Map, Value, json};

use super::{advice::failure_advice, keys::key_standing_json};
use crate::device::{failure_code, registration_state};

/// Writes a registration for a listing: its state, the key of the enrollment that the device used (`attestationKey`),
/// the device's current hub if it is not the assigned one (`livesAt`), and the pending step (`pending`).
pub fn listed_registration_json(registration: &Registration, key: Option<KeyStanding>) -> Value {
    let mut listed = registration_state(registration);
    if let Some(key) = key {
        listed["attestationKey"] = key_standing_json(key);
    }
    if let (Some(at), false) = (registration.assignment(), matches!(registration.status, Status::Assigned(_)))
    {
        listed["livesAt"] = json!({"iotHub": at.hub, "deviceId": at.device_id});
    }
    if let Status::Assigning { step, tries, .. } = &registration.status {
        let mut pending = tries_json(tries);
        match step {
            PendingStep::Allocate(ask) => {
                pending.insert("webhookUrl".into(), json!(without_query(&ask.request.webhook.webhook_url)))
            }
            PendingStep::Ensure(spec) => pending.insert("iotHub".into(), json!(spec.hub)),
        };
        pending.insert("sinceDateTimeUtc".into(), json!(registration.record.last_updated.to_string()));
        listed["pending"] = Value::Object(pending);
    }
    listed
}

/// Writes a cleanup of an instance, and why it is not done yet. Cleanups at hubs that are not linked, and held ones, are not
/// tried.
pub fn cleanup_json(cleanup: &Cleanup, instance: &Instance) -> Value {
    let hub = &cleanup.residue.hub_device.hub;
    let mut shown = tries_json(&cleanup.tries);
    if instance.linked_hub(hub).is_none() {
        shown.remove("nextTryDateTimeUtc");
        shown.insert("reason".into(), json!(format!("{hub} is not linked: this waits until it is")));
    }
    if let Some(CleanupHold { reason, .. }) = &instance.cleanups_held {
        shown.remove("nextTryDateTimeUtc");
        shown.insert("reason".into(), json!(format!("{reason}: this waits until it is confirmed")));
    }
    shown.insert("iotHub".into(), json!(hub));
    shown.insert("deviceId".into(), json!(cleanup.residue.hub_device.device_id));
    if let Some(generation) = &cleanup.residue.generation {
        shown.insert("generationId".into(), json!(generation));
    }
    shown.insert("registrationId".into(), json!(cleanup.registration_id));
    shown.insert("cause".into(), json!(cleanup.cause.name()));
    shown.insert("sinceDateTimeUtc".into(), json!(cleanup.record.created.to_string()));
    Value::Object(shown)
}

/// Writes a registration with its pending cleanups (results of [`cleanup_json`]), and the decisions that led to it,
/// both as sentences and as records, latest first.
pub fn explained_registration_json(
    (registration, key): (&Registration, Option<KeyStanding>),
    cleanups: Vec<Value>,
    sentences: &[String],
) -> Value {
    let mut shown = listed_registration_json(registration, key);
    if !cleanups.is_empty() {
        shown["cleanups"] = Value::Array(cleanups);
    }
    if let Status::Failed { failure, .. } = &registration.status {
        shown["advice"] = json!(failure_advice(failure.reason));
    }
    shown["explanation"] = json!(sentences);
    shown["decisions"] = registration.decisions.iter().rev().map(decision_json).collect();
    shown
}

fn decision_json(decision: &Decision) -> Value {
    let candidates = decision.candidates.iter().map(|candidate| {
        json!({
            "iotHub": candidate.hub,
            "allocationWeight": candidate.link.as_ref().map(|link| link.weight),
            "latencyMicroseconds": candidate.link.as_ref().map(|link| link.latency),
            "excluded": candidate.link.as_ref().map_or(json!("notLinked"), |link| json!(link.excluded)),
        })
    });
    let end = decision.outcome.end();
    let (outcome, failure) = match end.map(|end| &end.result) {
        None => ("pending", None),
        Some(DecisionResult::Assigned) => ("assigned", None),
        Some(DecisionResult::Failed(failure)) => ("failed", Some(failure)),
        Some(DecisionResult::Canceled) => ("cancelled", None),
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
        "tookOverDevice": end.is_some_and(|end| end.took_over),
        "outcome": outcome,
        "errorCode": failure.map(|failure| failure_code(failure.reason)),
        "errorMessage": failure.map(|failure| &failure.message),
        "advice": failure.map(|failure| failure_advice(failure.reason)),
        "webhookReply": decision.webhook.as_ref().map(webhook_reply_json),
        "endedDateTimeUtc": end.map(|end| end.at.to_string()),
    })
}

fn webhook_reply_json(reply: &WebhookReply) -> Value {
    json!({"dateTimeUtc": reply.at.to_string(), "status": reply.status, "body": reply.body})
}

fn tries_json(tries: &Tries) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("attempts".into(), json!(tries.count()));
    if let Some(last) = tries.last() {
        shown.insert("nextTryDateTimeUtc".into(), json!(last.next.to_string()));
        shown.insert("reason".into(), json!(last.reason));
    }
    shown
}

/// Removes the query of a webhook's URL, which holds its secret.
fn without_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(address, _)| address)
}

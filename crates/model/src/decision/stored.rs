//! The stored form of decisions, whose members can be combined in ways that mean nothing. All of them are read.

use serde::{Deserialize, Serialize};

use super::{
    Candidate, CandidateLink, Chosen, Decision, DecisionEnd, DecisionOutcome, DecisionResult, Exclusion,
    PolicyOf, Returning,
};
use crate::{
    AllocationPolicy, AllocationWeight, EnrollmentGroupId, EnrollmentRef, Failure, HubName, Latency,
    LatencySource, Timestamp, WebhookReply,
};

/// A decision. It is written by [`Decision`] itself, with a [`StoredOutcome`].
#[derive(Deserialize)]
pub(super) struct StoredDecision {
    at: Timestamp,
    enrollment: EnrollmentRef,
    moved_from: Option<EnrollmentGroupId>,
    returning: Option<Returning>,
    policy: AllocationPolicy,
    policy_of: PolicyOf,
    candidates: Vec<Candidate>,
    latencies_from: Option<LatencySource>,
    chosen: Option<Chosen>,
    webhook: Option<WebhookReply>,
    #[serde(default)]
    took_over: bool,
    outcome: StoredResult,
    ended: Option<Timestamp>,
}

impl From<StoredDecision> for Decision {
    /// An end without a date was known when the decision was made.
    fn from(stored: StoredDecision) -> Decision {
        let ended = |result| {
            let at = stored.ended.unwrap_or(stored.at);
            DecisionOutcome::Ended(DecisionEnd { at, result, took_over: stored.took_over })
        };
        Decision {
            at: stored.at,
            enrollment: stored.enrollment,
            moved_from: stored.moved_from,
            returning: stored.returning,
            policy: stored.policy,
            policy_of: stored.policy_of,
            candidates: stored.candidates,
            latencies_from: stored.latencies_from,
            chosen: stored.chosen,
            webhook: stored.webhook,
            outcome: match stored.outcome {
                StoredResult::Pending => DecisionOutcome::Pending,
                StoredResult::Assigned => ended(DecisionResult::Assigned),
                StoredResult::Failed(failure) => ended(DecisionResult::Failed(failure)),
                StoredResult::Canceled => ended(DecisionResult::Canceled),
            },
        }
    }
}

/// The members of a decision that are its outcome.
#[derive(Serialize)]
pub(super) struct StoredOutcome {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    took_over: bool,
    outcome: StoredResult,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Timestamp>,
}

impl From<DecisionOutcome> for StoredOutcome {
    fn from(outcome: DecisionOutcome) -> StoredOutcome {
        let DecisionOutcome::Ended(DecisionEnd { at, result, took_over }) = outcome else {
            return StoredOutcome { took_over: false, outcome: StoredResult::Pending, ended: None };
        };
        let outcome = match result {
            DecisionResult::Assigned => StoredResult::Assigned,
            DecisionResult::Failed(failure) => StoredResult::Failed(failure),
            DecisionResult::Canceled => StoredResult::Canceled,
        };
        StoredOutcome { took_over, outcome, ended: Some(at) }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum StoredResult {
    Pending,
    Assigned,
    Failed(Failure),
    #[serde(rename = "cancelled")]
    Canceled,
}

/// A candidate.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredCandidate {
    hub: HubName,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<AllocationWeight>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    excluded: Option<StoredExclusion>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum StoredExclusion {
    NotLinked,
    #[serde(untagged)]
    Link(Exclusion),
}

impl From<StoredCandidate> for Candidate {
    /// The reason decides whether the hub was linked.
    fn from(StoredCandidate { hub, weight, latency, excluded }: StoredCandidate) -> Candidate {
        let weight = weight.unwrap_or_default();
        let link = match excluded {
            Some(StoredExclusion::NotLinked) => None,
            Some(StoredExclusion::Link(reason)) => {
                Some(CandidateLink { weight, latency, excluded: Some(reason) })
            }
            None => Some(CandidateLink { weight, latency, excluded: None }),
        };
        Candidate { hub, link }
    }
}

impl From<Candidate> for StoredCandidate {
    fn from(Candidate { hub, link }: Candidate) -> StoredCandidate {
        match link {
            Some(CandidateLink { weight, latency, excluded }) => {
                let excluded = excluded.map(StoredExclusion::Link);
                StoredCandidate { hub, weight: Some(weight), latency, excluded }
            }
            None => StoredCandidate {
                hub,
                weight: None,
                latency: None,
                excluded: Some(StoredExclusion::NotLinked),
            },
        }
    }
}

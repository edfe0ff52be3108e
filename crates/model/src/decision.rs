//! Decisions: the record why a device got its hub, for operators.

mod stored;

use serde::{Deserialize, Serialize};

use crate::{
    AllocationPolicy, AllocationWeight, EnrollmentGroupId, EnrollmentRef, Failure, HubName, Latency,
    LatencySource, ReprovisionAction, Substatus, Timestamp, WebhookReply,
};
use stored::{StoredCandidate, StoredDecision, StoredOutcome};

/// The record of one allocation: policy, candidates, choice and outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredDecision")]
pub struct Decision {
    /// When it was made.
    pub at: Timestamp,
    /// The enrollment that let the device in.
    pub enrollment: EnrollmentRef,
    /// The group that this enrollment took the device over from, if that group still existed then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<EnrollmentGroupId>,
    /// The hub that the device had before, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returning: Option<Returning>,
    /// The policy.
    pub policy: AllocationPolicy,
    /// Whose policy that is.
    pub policy_of: PolicyOf,
    /// The hubs that were considered, at most [`Decision::MAX_CANDIDATES`].
    pub candidates: Vec<Candidate>,
    /// The source of the candidates' latencies; `None` if the policy needs none or none were known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latencies_from: Option<LatencySource>,
    /// The chosen hub; `None` while a webhook is asked, and if no hub could be chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Chosen>,
    /// The last reply of the webhook that was asked; `None` if none was, or if it did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookReply>,
    /// The outcome.
    #[serde(flatten)]
    pub outcome: DecisionOutcome,
}

impl Decision {
    /// How many candidates are recorded: as many as hubs can be linked to an instance of the hosted service.
    pub const MAX_CANDIDATES: usize = 50;

    /// Returns the hubs that failover passed over because they were down or full.
    pub fn skipped(&self) -> impl Iterator<Item = &HubName> {
        let excluded = |candidate: &Candidate| candidate.link.as_ref().and_then(|link| link.excluded);
        let skipped = self
            .candidates
            .iter()
            .filter(move |candidate| matches!(excluded(candidate), Some(Exclusion::Down | Exclusion::Full)));
        skipped.map(|candidate| &candidate.hub)
    }
}

/// A device that had a hub before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returning {
    /// The hub.
    pub from: HubName,
    /// What its enrollment says about devices that return.
    pub reprovision: ReprovisionAction,
    /// How it got to its hub, once it is assigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub substatus: Option<Substatus>,
}

/// The last decisions about one device, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Decisions(Vec<Decision>);

impl Decisions {
    /// How many are kept: enough to see a device move to and fro, and a few kilobytes at most in usual fleets.
    pub const MAX: usize = 8;

    /// Adds a decision, and drops the oldest if there are too many.
    pub fn push(&mut self, decision: Decision) {
        if self.0.len() >= Self::MAX {
            self.0.drain(..=self.0.len() - Self::MAX);
        }
        self.0.push(decision);
    }

    /// Returns the last decision.
    pub fn latest(&self) -> Option<&Decision> {
        self.0.last()
    }

    /// Returns the last decision, to record its outcome.
    pub fn latest_mut(&mut self) -> Option<&mut Decision> {
        self.0.last_mut()
    }

    /// Returns all decisions, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Decision> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whose allocation policy it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PolicyOf {
    /// The enrollment's, which takes precedence.
    Enrollment,
    /// The service instance's, because the enrollment has none.
    Service,
}

/// A hub that was considered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredCandidate", into = "StoredCandidate")]
pub struct Candidate {
    /// The hub.
    pub hub: HubName,
    /// Its link; `None` if the enrollment names the hub, but it is not linked to the service.
    pub link: Option<CandidateLink>,
}

/// A linked hub that was considered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandidateLink {
    /// Its weight.
    pub weight: AllocationWeight,
    /// Its latency to the device; `None` if unknown, or if the policy needs none.
    pub latency: Option<Latency>,
    /// Why it could not be chosen; `None` if it could.
    pub excluded: Option<Exclusion>,
}

/// Why a linked hub could not be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Exclusion {
    /// Its link takes no new devices (`applyAllocationPolicy` is false).
    Closed,
    /// Failover is on, and it is down.
    Down,
    /// Failover is on, and it is full.
    Full,
}

/// The chosen hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// The hub.
    pub hub: HubName,
    /// The reason.
    pub because: Because,
}

/// The reason for the choice of a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Because {
    /// It won by the weighted hash of the registration ID.
    Hash,
    /// It is nearest to the device; of equally near hubs, it won by the weighted hash.
    Nearest,
    /// The device has it already, and no other hub is nearer by enough to move.
    NearEnough,
    /// The enrollment names only this hub.
    Named,
    /// The enrollment names none, and it is the only linked hub.
    OnlyHub,
    /// The webhook chose it.
    Webhook,
    /// The device has it already, and its enrollment lets it stay.
    Stays,
}

/// The outcome of a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(into = "StoredOutcome")]
pub enum DecisionOutcome {
    /// The run is under way.
    #[default]
    Pending,
    /// The run has ended.
    Ended(DecisionEnd),
}

/// The end of the run that a decision led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionEnd {
    /// When it was known.
    pub at: Timestamp,
    /// What became of the device.
    pub result: DecisionResult,
    /// Whether the hub had a device of this ID that the registration did not create, and that was taken over.
    pub took_over: bool,
}

/// What became of a device that a hub was decided for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecisionResult {
    /// The hub has it.
    Assigned,
    /// It was not assigned.
    Failed(Failure),
    /// An operator canceled the assignment.
    Canceled,
}

impl DecisionOutcome {
    /// Returns the outcome of a run that failed before a hub was called.
    pub fn failed(at: Timestamp, failure: Failure) -> DecisionOutcome {
        DecisionOutcome::Ended(DecisionEnd { at, result: DecisionResult::Failed(failure), took_over: false })
    }

    /// Returns the end of the run, if it has ended.
    pub fn end(&self) -> Option<&DecisionEnd> {
        match self {
            DecisionOutcome::Pending => None,
            DecisionOutcome::Ended(end) => Some(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(second: i64) -> Decision {
        let candidate = |name: &str, excluded| Candidate {
            hub: HubName::parse(name).unwrap(),
            link: Some(CandidateLink {
                weight: AllocationWeight::default(),
                latency: Some(Latency::from_micros(12_345)),
                excluded,
            }),
        };
        Decision {
            at: Timestamp::from_unix_seconds(second),
            enrollment: EnrollmentRef::Individual,
            moved_from: None,
            returning: None,
            policy: AllocationPolicy::GeoLatency,
            policy_of: PolicyOf::Service,
            candidates: vec![
                candidate("near.hub", Some(Exclusion::Down)),
                candidate("closed.hub", Some(Exclusion::Closed)),
                candidate("far.hub", None),
            ],
            latencies_from: Some(LatencySource::Table("10.0.0.0/8".into())),
            chosen: Some(Chosen { hub: HubName::parse("far.hub").unwrap(), because: Because::Nearest }),
            webhook: None,
            outcome: DecisionOutcome::Pending,
        }
    }

    #[test]
    fn only_the_last_decisions_are_kept() {
        let mut decisions = Decisions::default();
        for second in 0..20 {
            decisions.push(decision(second));
        }
        let kept: Vec<i64> = decisions.iter().map(|decision| decision.at.unix_seconds()).collect();
        assert_eq!(kept, (12..20).collect::<Vec<_>>());
        assert_eq!(decisions.latest().map(|decision| decision.at.unix_seconds()), Some(19));
    }

    #[test]
    fn hubs_that_failover_passed_over_are_known() {
        let skipped: Vec<_> = decision(0).skipped().map(ToString::to_string).collect();
        assert_eq!(skipped, ["near.hub"]);
    }

    /// Registrations are stored by the million, so a decision must be short.
    #[test]
    fn a_decision_has_a_short_stored_form() {
        let mut decided = decision(7);
        decided.candidates.truncate(1);
        let text = serde_json::to_string(&decided).unwrap();
        assert_eq!(
            text,
            r#"{"at":70000000,"enrollment":"individual","policy":"geoLatency","policy_of":"service","candidates":[{"hub":"near.hub","weight":1,"latency":12345,"excluded":"down"}],"latencies_from":{"table":"10.0.0.0/8"},"chosen":{"hub":"far.hub","because":"nearest"},"outcome":"pending"}"#
        );
        assert_eq!(serde_json::from_str::<Decision>(&text).unwrap(), decided);
    }

    #[test]
    fn ends_are_read_as_they_were_written() {
        let failure = Failure { reason: crate::FailureReason::HubFull, message: "full".to_owned() };
        for (result, took_over, stored) in [
            (DecisionResult::Assigned, true, r#""took_over":true,"outcome":"assigned","ended":90000000}"#),
            (DecisionResult::Canceled, false, r#""outcome":"cancelled","ended":90000000}"#),
            (
                DecisionResult::Failed(failure),
                false,
                r#""outcome":{"failed":{"code":"hubFull","message":"full"}},"ended":90000000}"#,
            ),
        ] {
            let end = DecisionEnd { at: Timestamp::from_unix_seconds(9), result, took_over };
            let ended = Decision { outcome: DecisionOutcome::Ended(end), ..decision(7) };
            let text = serde_json::to_string(&ended).unwrap();
            assert!(text.ends_with(stored), "{text}");
            assert_eq!(serde_json::from_str::<Decision>(&text).unwrap(), ended);
        }
    }

    #[test]
    fn a_hub_that_is_not_linked_is_stored_without_a_weight() {
        let candidate = Candidate { hub: HubName::parse("gone.hub").unwrap(), link: None };
        let text = r#"{"hub":"gone.hub","excluded":"notLinked"}"#;
        assert_eq!(serde_json::to_string(&candidate).unwrap(), text);
        assert_eq!(serde_json::from_str::<Candidate>(text).unwrap(), candidate);
    }

    /// No version wrote these.
    #[test]
    fn combinations_that_cannot_be_are_read() {
        let outcome = |members: &str| {
            let text = serde_json::to_string(&decision(7)).unwrap();
            let text = text.replace(r#""outcome":"pending""#, members);
            serde_json::from_str::<Decision>(&text).unwrap().outcome
        };
        let end = DecisionEnd {
            at: Timestamp::from_unix_seconds(7),
            result: DecisionResult::Assigned,
            took_over: false,
        };
        assert_eq!(outcome(r#""outcome":"assigned""#), DecisionOutcome::Ended(end), "it ended at once");
        let pending = outcome(r#""took_over":true,"outcome":"pending","ended":90000000"#);
        assert_eq!(pending, DecisionOutcome::Pending, "its run goes on");

        let link = |members: &str| {
            serde_json::from_str::<Candidate>(&format!(r#"{{"hub":"a.hub"{members}}}"#)).unwrap().link
        };
        let linked =
            |excluded| Some(CandidateLink { weight: AllocationWeight::default(), latency: None, excluded });
        assert_eq!(link(r#","weight":7,"excluded":"notLinked""#), None);
        assert_eq!(link(""), linked(None));
        assert_eq!(link(r#","excluded":"full""#), linked(Some(Exclusion::Full)));
    }
}

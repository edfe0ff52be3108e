//! Decisions: why a device got its hub, kept for those who ask later.

use serde::{Deserialize, Serialize};

use crate::{
    AllocationPolicy, AllocationWeight, EnrollmentGroupId, EnrollmentRef, Failure, HubName, Latency,
    LatencySource, ReprovisionAction, Substatus, Timestamp,
};

/// One choice of a hub for a device: by what, among which hubs, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// When it was made.
    pub at: Timestamp,
    /// The enrollment that let the device in.
    pub enrollment: EnrollmentRef,
    /// The group that the device was registered through, if that one existed still when this enrollment took the device
    /// over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<EnrollmentGroupId>,
    /// Of a device that had a hub before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returning: Option<Returning>,
    /// The policy that chose.
    pub policy: AllocationPolicy,
    /// Whose policy that is.
    pub policy_of: PolicyOf,
    /// The hubs that were considered, at most [`Decision::MAX_CANDIDATES`].
    pub candidates: Vec<Candidate>,
    /// Where the candidates' latencies are from; `None` when the policy asked for none or none were known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latencies_from: Option<LatencySource>,
    /// The hub that was chosen, and why that one; `None` while a webhook is asked, and when no hub could be chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Chosen>,
    /// Whether a device was taken over that was at the hub under this ID, and that the registration did not make.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub took_over: bool,
    /// What became of it.
    pub outcome: DecisionOutcome,
    /// When that was known; `None` while it is being carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

impl Decision {
    /// How many candidates a decision names: as many as hubs can be linked to an instance of the hosted service.
    pub const MAX_CANDIDATES: usize = 50;

    /// The hubs that failover skipped because they were down or full.
    pub fn skipped(&self) -> impl Iterator<Item = &HubName> {
        let was_skipped =
            |candidate: &&Candidate| matches!(candidate.excluded, Some(Exclusion::Down | Exclusion::Full));
        self.candidates.iter().filter(was_skipped).map(|candidate| &candidate.hub)
    }
}

/// A device that had a hub before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returning {
    /// The hub.
    pub from: HubName,
    /// What its enrollment says of devices that come back.
    pub reprovision: ReprovisionAction,
    /// How it got to its hub in the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub substatus: Option<Substatus>,
}

/// The last decisions about one device, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Decisions(Vec<Decision>);

impl Decisions {
    /// How many are kept: enough to see a device move to and fro, and a few kilobytes at most for usual fleets.
    pub const MAX: usize = 8;

    /// Adds one, in place of the oldest when there is no room.
    pub fn push(&mut self, decision: Decision) {
        if self.0.len() >= Self::MAX {
            self.0.drain(..=self.0.len() - Self::MAX);
        }
        self.0.push(decision);
    }

    /// The last one.
    pub fn latest(&self) -> Option<&Decision> {
        self.0.last()
    }

    /// The last one, to be told what became of it.
    pub fn latest_mut(&mut self) -> Option<&mut Decision> {
        self.0.last_mut()
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Decision> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whose allocation policy decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PolicyOf {
    /// The enrollment's own, which beats the service's.
    Enrollment,
    /// The service instance's, because the enrollment has none.
    Service,
}

/// A hub that was considered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The hub.
    pub hub: HubName,
    /// Its weight; `None` when it is not linked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<AllocationWeight>,
    /// How far it is from the device; `None` when that is unknown or the policy does not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Why it could not be chosen; `None` when it could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<Exclusion>,
}

/// Why a hub that was considered could not be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Exclusion {
    /// The enrollment names it, but it is not linked to the service.
    NotLinked,
    /// Its link takes no new devices (`applyAllocationPolicy` is false).
    Closed,
    /// Failover is on, and it is down.
    Down,
    /// Failover is on, and it has as many devices as it may have.
    Full,
}

/// A hub, and why that one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// The hub.
    pub hub: HubName,
    /// Why.
    pub because: Because,
}

/// What made the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Because {
    /// The weighted hash of the device's name.
    Hash,
    /// It is nearest to the device; among hubs that are as near, the weighted hash.
    Nearest,
    /// The device is there, and no other hub is nearer by enough to move it.
    NearEnough,
    /// The enrollment names this one hub.
    Named,
    /// The enrollment names none, and no other hub is linked.
    OnlyHub,
    /// The webhook says so.
    Webhook,
    /// The device is there, and its enrollment lets it stay.
    Stays,
}

/// What became of a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DecisionOutcome {
    /// It is being carried out.
    #[default]
    Pending,
    /// The hub has the device.
    Assigned,
    /// It ended without an assignment.
    Failed(Failure),
    /// An operator canceled the assignment.
    #[serde(rename = "cancelled")]
    Canceled,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(second: i64) -> Decision {
        let candidate = |name: &str, excluded| Candidate {
            hub: HubName::parse(name).unwrap(),
            weight: Some(AllocationWeight::default()),
            latency: Some(Latency::from_micros(12_345)),
            excluded,
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
            took_over: false,
            outcome: DecisionOutcome::Pending,
            ended: None,
        }
    }

    #[test]
    fn the_last_ones_are_kept() {
        let mut decisions = Decisions::default();
        for second in 0..20 {
            decisions.push(decision(second));
        }
        let kept: Vec<i64> = decisions.iter().map(|decision| decision.at.unix_seconds()).collect();
        assert_eq!(kept, (12..20).collect::<Vec<_>>());
        assert_eq!(decisions.latest().map(|decision| decision.at.unix_seconds()), Some(19));
    }

    #[test]
    fn knows_which_hubs_failover_skipped() {
        let skipped: Vec<_> = decision(0).skipped().map(ToString::to_string).collect();
        assert_eq!(skipped, ["near.hub"]);
    }

    /// Registrations are stored by the million, so that a decision must be short.
    #[test]
    fn stored_form() {
        let mut decided = decision(7);
        decided.candidates.truncate(1);
        let text = serde_json::to_string(&decided).unwrap();
        assert_eq!(
            text,
            r#"{"at":70000000,"enrollment":"individual","policy":"geoLatency","policy_of":"service","candidates":[{"hub":"near.hub","weight":1,"latency":12345,"excluded":"down"}],"latencies_from":{"table":"10.0.0.0/8"},"chosen":{"hub":"far.hub","because":"nearest"},"outcome":"pending"}"#
        );
        assert_eq!(serde_json::from_str::<Decision>(&text).unwrap(), decided);
    }
}

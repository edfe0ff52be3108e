//! Tests of the choice of a hub.

use std::{collections::HashMap, sync::Arc};

use model::{
    AllocationWeight, CandidateLink, DecisionResult, Exclusion, FailureReason, HubEndpoint, Latency,
    LinkedHub,
};

use super::*;
use crate::enroll::samples;

pub(super) fn hub(name: &str, weight: u16) -> LinkedHub {
    LinkedHub {
        name: HubName::parse(name).unwrap(),
        endpoint: HubEndpoint::Embedded,
        location: String::new(),
        weight: AllocationWeight::new(weight).unwrap(),
        takes_new_devices: true,
        max_devices: None,
    }
}

pub(super) fn instance(linked_hubs: Vec<LinkedHub>) -> Instance {
    Instance { linked_hubs, ..samples::instance("0ne00000001") }
}

pub(super) fn device(number: usize) -> RegistrationId {
    RegistrationId::parse(format!("device-{number}")).unwrap()
}

fn chosen(instance: &Instance, settings: &EnrollmentSettings) -> Result<String, Unallocatable> {
    hub_of(choose(instance, settings, &device(1), &Situation::default()))
}

/// Returns the hub that was chosen, or why none was.
pub(super) fn hub_of(allocation: Allocation) -> Result<String, Unallocatable> {
    match allocation.choice {
        Choice::Hub(chosen) => Ok(chosen.hub.to_string()),
        Choice::None(problem) => Err(problem),
        Choice::Webhook(webhook, hubs) => panic!("{webhook:?} is to be asked about {hubs:?}"),
    }
}

/// Returns the hub by the default settings, without latencies or a current hub.
pub(super) fn hashed_hub(instance: &Instance, device: &RegistrationId) -> String {
    hub_of(choose(instance, &EnrollmentSettings::default(), device, &Situation::default())).unwrap()
}

pub(super) fn wants(hubs: &[&str], policy: Option<AllocationPolicy>) -> EnrollmentSettings {
    let hubs = hubs.iter().map(|name| HubName::parse(name).unwrap()).collect();
    EnrollmentSettings { hubs, allocation_policy: policy, ..Default::default() }
}

#[test]
fn precedence_and_failures() {
    use AllocationPolicy::{Custom, GeoLatency, Static};
    let mut closed = hub("closed.hub", 1);
    closed.takes_new_devices = false;
    let linked = instance(vec![hub("a.hub", 1), closed]);
    let cases = [
        (wants(&[], None), Ok("a.hub")),
        (wants(&["a.hub"], None), Ok("a.hub")),
        (wants(&["a.hub", "gone.hub"], None), Ok("a.hub")),
        (wants(&["gone.hub"], None), Err(FailureReason::NoHub)),
        (wants(&["closed.hub"], None), Err(FailureReason::NoHub)),
        (wants(&["closed.hub"], Some(Static)), Err(FailureReason::NoHub)),
        (wants(&["a.hub"], Some(Static)), Ok("a.hub")),
        (wants(&[], Some(Static)), Err(FailureReason::NoHub)),
        (wants(&["a.hub", "closed.hub"], Some(Static)), Err(FailureReason::NoHub)),
        (wants(&[], Some(GeoLatency)), Ok("a.hub")),
        (wants(&[], Some(Custom)), Err(FailureReason::CustomAllocationFailed)),
    ];
    for (settings, expected) in cases {
        let found = chosen(&linked, &settings).map_err(|error| error.failure().reason);
        assert_eq!(found, expected.map(str::to_owned), "{settings:?}");
    }
    assert_eq!(chosen(&instance(vec![]), &wants(&[], None)), Err(Unallocatable::NoHub));
}

#[test]
fn the_enrollments_policy_beats_the_instances() {
    let mut linked = instance(vec![hub("a.hub", 1)]);
    linked.allocation_policy = AllocationPolicy::Static;
    assert_eq!(chosen(&linked, &wants(&[], None)), Ok("a.hub".into()), "the only one");
    linked.linked_hubs.push(hub("b.hub", 1));
    assert_eq!(chosen(&linked, &wants(&[], None)), Err(Unallocatable::NotOneHub));
    linked.linked_hubs.pop();
    assert_eq!(chosen(&linked, &wants(&[], Some(AllocationPolicy::Hashed))), Ok("a.hub".into()));
}

#[test]
fn case_of_the_registration_id_does_not_matter() {
    let linked = instance((0..10).map(|n| hub(&format!("h{n}.hub"), 1)).collect());
    for number in 0..100 {
        let upper = RegistrationId::parse(format!("DEVICE-{number}")).unwrap();
        assert_eq!(hashed_hub(&linked, &upper), hashed_hub(&linked, &device(number)));
    }
}

/// Returns latencies to these hubs, in milliseconds.
fn latencies(source: LatencySource, millis: &[(&str, u32)]) -> Latencies {
    let by_hub =
        millis.iter().map(|(name, millis)| (HubName::parse(name).unwrap(), Latency::from_millis(*millis)));
    Latencies::from(source, Arc::new(by_hub.collect()))
}

#[test]
fn the_nearest_hub_and_when_a_device_stays() {
    use Because::{Hash, NearEnough, Nearest};
    use LatencySource::{Probes, Table};
    let linked = instance(vec![hub("a.hub", 1), hub("b.hub", 1), hub("c.hub", 1)]);
    let table = || Table("10.0.0.0/8".into());
    let cases = [
        // Nothing is known: the hash decides, and no device moves.
        (None, latencies(Probes, &[]), None, Hash),
        (Some("c.hub"), latencies(Probes, &[]), Some("c.hub"), NearEnough),
        (None, latencies(Probes, &[("a.hub", 80), ("b.hub", 10), ("c.hub", 80)]), Some("b.hub"), Nearest),
        (None, latencies(Probes, &[("a.hub", 16), ("b.hub", 10)]), Some("b.hub"), Nearest),
        // 20 ms or a quarter farther is no reason to move.
        (Some("a.hub"), latencies(Probes, &[("a.hub", 30), ("b.hub", 10)]), Some("a.hub"), NearEnough),
        (Some("a.hub"), latencies(Probes, &[("a.hub", 31), ("b.hub", 10)]), Some("b.hub"), Nearest),
        (Some("a.hub"), latencies(Probes, &[("a.hub", 250), ("b.hub", 200)]), Some("a.hub"), NearEnough),
        (Some("a.hub"), latencies(Probes, &[("a.hub", 251), ("b.hub", 200)]), Some("b.hub"), Nearest),
        // A hub that does not answer probes is not far; one that the operator leaves out is.
        (Some("c.hub"), latencies(Probes, &[("a.hub", 30), ("b.hub", 10)]), Some("c.hub"), NearEnough),
        (Some("c.hub"), latencies(table(), &[("a.hub", 30), ("b.hub", 10)]), Some("b.hub"), Nearest),
        // A hub that is not a candidate keeps no device.
        (Some("gone.hub"), latencies(Probes, &[("gone.hub", 1), ("b.hub", 10)]), Some("b.hub"), Nearest),
    ];
    for (current, latencies, expected, because) in cases {
        let current = current.map(|name| HubName::parse(name).unwrap());
        let situation = Situation { current, latencies, ..Default::default() };
        let settings = wants(&[], Some(AllocationPolicy::GeoLatency));
        let Choice::Hub(chosen) = choose(&linked, &settings, &device(1), &situation).choice else {
            panic!("no hub");
        };
        assert_eq!(chosen.because, because, "{situation:?}");
        assert!(expected.is_none_or(|expected| expected == chosen.hub.as_str()), "{chosen:?} {situation:?}");
    }
}

#[test]
fn hubs_that_are_as_near_share_devices_by_their_weights() {
    let linked = instance(vec![hub("a.hub", 3), hub("b.hub", 1), hub("far.hub", 1000)]);
    let near = latencies(LatencySource::Probes, &[("a.hub", 14), ("b.hub", 10), ("far.hub", 90)]);
    let situation = Situation { latencies: near, ..Default::default() };
    let settings = wants(&[], Some(AllocationPolicy::GeoLatency));
    let mut counts = HashMap::new();
    for number in 0..1_000 {
        let hub = hub_of(choose(&linked, &settings, &device(number), &situation)).unwrap();
        *counts.entry(hub).or_insert(0) += 1;
    }
    // The names are fixed, so that this passes always or never.
    assert_eq!(counts.len(), 2);
    assert!((700..800).contains(&counts["a.hub"]), "{counts:?}");
}

#[test]
fn failover_passes_over_unavailable_hubs() {
    let unavailable = |names: &[(&str, Unavailability)]| {
        names.iter().map(|(name, unavailability)| (HubName::parse(name).unwrap(), *unavailability)).collect()
    };
    let linked = instance(vec![hub("a.hub", 1), hub("b.hub", 1)]);
    let failing_over = Instance { failover: true, ..linked.clone() };
    let down = unavailable(&[("a.hub", Unavailability::Down)]);
    let at = |current: Option<&str>, unavailable: &HashMap<HubName, Unavailability>| Situation {
        current: current.map(|name| HubName::parse(name).unwrap()),
        unavailable: unavailable.clone(),
        ..Default::default()
    };
    let shares = |instance: &Instance, situation: &Situation| {
        let settings = EnrollmentSettings::default();
        let hubs = (0..50).map(|n| hub_of(choose(instance, &settings, &device(n), situation)).unwrap());
        hubs.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(shares(&linked, &at(None, &down)), ["a.hub", "b.hub"], "it is opted into");
    assert_eq!(shares(&failing_over, &at(None, &down)), ["b.hub"]);
    assert_eq!(shares(&failing_over, &at(None, &unavailable(&[("b.hub", Unavailability::Full)]))), ["a.hub"]);
    assert_eq!(shares(&failing_over, &at(Some("a.hub"), &down)), ["a.hub", "b.hub"], "it is not new there");
    let all = unavailable(&[("a.hub", Unavailability::Down), ("b.hub", Unavailability::Full)]);
    assert_eq!(shares(&failing_over, &at(None, &all)), ["a.hub", "b.hub"], "then it waits");

    let made = choose(&failing_over, &EnrollmentSettings::default(), &device(1), &at(None, &down));
    assert_eq!(made.candidates[0].link.as_ref().unwrap().excluded, Some(Exclusion::Down));
    let decision = made.decision(EnrollmentRef::Individual, Timestamp::from_unix_seconds(1));
    assert_eq!(decision.skipped().map(HubName::as_str).collect::<Vec<_>>(), ["a.hub"]);
    assert_eq!(decision.outcome, DecisionOutcome::Pending);
}

#[test]
fn a_webhook_is_offered_the_hubs_that_the_enrollment_wants() {
    let mut closed = hub("closed.hub", 1);
    closed.takes_new_devices = false;
    let linked = instance(vec![hub("a.hub", 1), closed, hub("b.hub", 1)]);
    let webhook =
        CustomAllocation { webhook_url: "https://web.hook".into(), api_version: "2021-10-01".into() };
    let check = |wanted: &[&str], expected: Result<&[&str], FailureReason>| {
        let settings = EnrollmentSettings {
            custom_allocation: Some(webhook.clone()),
            ..wants(wanted, Some(AllocationPolicy::Custom))
        };
        let found = match choose(&linked, &settings, &device(1), &Situation::default()).choice {
            Choice::Webhook(asked, hubs) => {
                assert_eq!(asked, webhook);
                Ok(hubs.iter().map(ToString::to_string).collect::<Vec<_>>())
            }
            Choice::None(problem) => Err(problem.failure().reason),
            Choice::Hub(chosen) => panic!("{chosen:?}"),
        };
        let expected = expected.map(|names| names.iter().map(ToString::to_string).collect());
        assert_eq!(found, expected, "{wanted:?}");
    };
    check(&[], Ok(&["a.hub", "b.hub"]));
    check(&["b.hub", "closed.hub", "gone.hub"], Ok(&["b.hub"]));
    check(&["closed.hub"], Err(FailureReason::NoHub));
}

#[test]
fn a_decision_names_the_owner_of_its_policy_and_why_a_hub_was_excluded() {
    let linked = instance(vec![hub("a.hub", 7)]);
    let at = Timestamp::from_unix_seconds(1);
    let decide = |settings: &EnrollmentSettings| {
        let made = choose(&linked, settings, &device(1), &Situation::default());
        made.decision(EnrollmentRef::Individual, at)
    };
    let by_service = decide(&wants(&["a.hub", "gone.hub"], None));
    assert_eq!((by_service.policy, by_service.policy_of), (AllocationPolicy::Hashed, PolicyOf::Service));
    let names = by_service.candidates.iter().map(|it| (it.hub.as_str(), it.link.clone()));
    let link = CandidateLink { weight: AllocationWeight::new(7).unwrap(), latency: None, excluded: None };
    assert_eq!(names.collect::<Vec<_>>(), [("a.hub", Some(link)), ("gone.hub", None)]);

    let failed = decide(&wants(&["gone.hub"], Some(AllocationPolicy::GeoLatency)));
    assert_eq!((failed.policy_of, failed.chosen), (PolicyOf::Enrollment, None));
    let end = failed.outcome.end().unwrap();
    assert_eq!(end.at, at);
    assert!(matches!(end.result, DecisionResult::Failed(Failure { reason: FailureReason::NoHub, .. })));
}

#[test]
fn operators_see_what_a_device_would_get() {
    let mut closed = hub("closed.hub", 1);
    closed.takes_new_devices = false;
    let linked = instance(vec![hub("a.hub", 1), closed, hub("b.hub", 1), hub("c.hub", 1)]);
    let address = [10, 0, 0, 1].into();
    let table = LatencySource::Table("10.0.0.0/8".into());
    let millis = [("a.hub", 12), ("b.hub", 10), ("closed.hub", 1)];
    let seen = seen_from(&linked, address, &latencies(table.clone(), &millis));
    let names = |hubs: &[HubName]| hubs.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        (seen.source.clone(), names(&seen.nearest)),
        (Some(table), vec!["a.hub".into(), "b.hub".into()])
    );
    let far: Vec<_> =
        seen.hubs.iter().map(|(hub, latency)| (hub.as_str(), latency.map(Latency::millis))).collect();
    assert_eq!(far, [("a.hub", Some(12.0)), ("b.hub", Some(10.0)), ("c.hub", None)]);

    let unknown = seen_from(&linked, address, &Latencies::default());
    assert_eq!(
        (unknown.source, names(&unknown.nearest).len()),
        (None, 3),
        "all share while nothing is known"
    );
}

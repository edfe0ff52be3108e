//! Which hub devices get.

use model::{AllocationWeight, IdScope, SymmetricKey};
use proptest::prelude::*;

use super::*;

fn hub(name: &str, weight: u16) -> LinkedHub {
    LinkedHub {
        name: HubName::parse(name).unwrap(),
        location: String::new(),
        weight: AllocationWeight::new(weight).unwrap(),
        takes_new_devices: true,
    }
}

fn instance(hubs: Vec<LinkedHub>) -> Instance {
    Instance {
        id_scope: IdScope::parse("0ne00000001").unwrap(),
        name: "test".into(),
        service_hosts: vec![],
        allocation_policy: AllocationPolicy::Hashed,
        access_policies: vec![],
        linked_hubs: hubs,
        operation_key: SymmetricKey::from_bytes(&[1; 32]).unwrap(),
    }
}

fn device(number: usize) -> RegistrationId {
    RegistrationId::parse(format!("device-{number}")).unwrap()
}

fn chosen(instance: &Instance, settings: &EnrollmentSettings) -> Result<String, Unallocatable> {
    choose(instance, settings, &device(1)).map(|hub| hub.name.to_string())
}

fn wants(hubs: &[&str], policy: Option<AllocationPolicy>) -> EnrollmentSettings {
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
        (wants(&["gone.hub"], None), Err(400_208)),
        (wants(&["closed.hub"], None), Err(400_208)),
        (wants(&["closed.hub"], Some(Static)), Err(400_208)),
        (wants(&["a.hub"], Some(Static)), Ok("a.hub")),
        (wants(&[], Some(Static)), Err(400_208)),
        (wants(&["a.hub", "closed.hub"], Some(Static)), Err(400_208)),
        (wants(&[], Some(GeoLatency)), Ok("a.hub")),
        (wants(&[], Some(Custom)), Err(400_207)),
    ];
    for (settings, expected) in cases {
        let found = chosen(&linked, &settings).map_err(|error| error.failure().code);
        assert_eq!(found, expected.map(str::to_owned), "{settings:?}");
    }
    assert_eq!(chosen(&instance(vec![]), &wants(&[], None)), Err(Unallocatable::NoHub));
}

#[test]
fn the_enrollments_policy_beats_the_instances() {
    let mut linked = instance(vec![hub("a.hub", 1)]);
    linked.allocation_policy = AllocationPolicy::Static;
    assert_eq!(chosen(&linked, &wants(&[], None)), Err(Unallocatable::NotOneHub));
    assert_eq!(chosen(&linked, &wants(&[], Some(AllocationPolicy::Hashed))), Ok("a.hub".into()));
}

#[test]
fn case_of_the_registration_id_does_not_matter() {
    let linked = instance((0..10).map(|n| hub(&format!("h{n}.hub"), 1)).collect());
    let settings = EnrollmentSettings::default();
    for number in 0..100 {
        let upper = RegistrationId::parse(format!("DEVICE-{number}")).unwrap();
        assert_eq!(choose(&linked, &settings, &upper), choose(&linked, &settings, &device(number)));
    }
}

/// How many of `devices` each hub gets.
fn shares(linked: &Instance, devices: usize) -> Vec<usize> {
    let settings = EnrollmentSettings::default();
    let mut counts = vec![0; linked.linked_hubs.len()];
    for number in 0..devices {
        let name = &choose(linked, &settings, &device(number)).unwrap().name;
        counts[linked.linked_hubs.iter().position(|hub| hub.name == *name).unwrap()] += 1;
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Chi-square of the shares against the weights. The bound is the 1 - 1e-9 quantile, approximated by
    /// Wilson and Hilferty's formula, so that a right implementation passes every time.
    #[test]
    fn shares_fit_the_weights(weights in prop::collection::vec(1u16..=20, 2..8), seed in 0u32..10_000) {
        let hubs = weights.iter().enumerate().map(|(n, weight)| hub(&format!("h{n}-{seed}.hub"), *weight)).collect();
        let devices = 4_000;
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let chi_square: f64 = shares(&instance(hubs), devices).iter().zip(&weights).map(|(count, weight)| {
            let expected = devices as f64 * f64::from(*weight) / total;
            (*count as f64 - expected).powi(2) / expected
        }).sum();
        let freedom = (weights.len() - 1) as f64;
        let bound = freedom * (1.0 - 2.0 / (9.0 * freedom) + 6.0 * (2.0 / (9.0 * freedom)).sqrt()).powi(3);
        prop_assert!(chi_square < bound, "chi-square {chi_square} with bound {bound}");
    }

    /// Linking a hub moves devices only to it.
    #[test]
    fn a_new_hub_takes_only_its_share(weights in prop::collection::vec(1u16..=1000, 1..8), added in 1u16..=1000) {
        let mut hubs: Vec<_> = weights.iter().enumerate().map(|(n, w)| hub(&format!("h{n}.hub"), *w)).collect();
        let before = instance(hubs.clone());
        hubs.push(hub("added.hub", added));
        let after = instance(hubs);
        let settings = EnrollmentSettings::default();
        for number in 0..500 {
            let (old, new) = (choose(&before, &settings, &device(number)), choose(&after, &settings, &device(number)));
            prop_assert!(new == old || new.unwrap().name.as_str() == "added.hub");
        }
    }
}

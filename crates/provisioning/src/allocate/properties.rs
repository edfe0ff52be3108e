//! What holds of choices for any fleet: shares, who moves, and that nothing moves twice.

use std::{collections::HashMap, sync::Arc};

use model::{AllocationWeight, Latency};
use proptest::prelude::*;

use super::{
    tests::{device, hashed_hub, hub, hub_of, instance, wants},
    *,
};

/// Returns how many of `devices` each hub gets.
fn shares(linked: &Instance, devices: usize) -> Vec<usize> {
    let mut counts = vec![0; linked.linked_hubs.len()];
    for number in 0..devices {
        let name = hashed_hub(linked, &device(number));
        counts[linked.linked_hubs.iter().position(|hub| hub.name.as_str() == name).unwrap()] += 1;
    }
    counts
}

fn fleet(weights: &[u16], seed: u32) -> Vec<LinkedHub> {
    weights.iter().enumerate().map(|(n, weight)| hub(&format!("h{n}-{seed}.hub"), *weight)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Chi-square of the shares against the weights. The bound is the 1 - 1e-9 quantile, approximated by
    /// Wilson and Hilferty's formula, so that a right implementation passes every time.
    #[test]
    fn shares_fit_the_weights(weights in prop::collection::vec(1u16..=20, 2..8), seed in 0u32..10_000) {
        let hubs = fleet(&weights, seed);
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

    /// Linking a hub moves devices only to it, and unlinking one moves only its own.
    #[test]
    fn a_new_hub_takes_only_its_share(weights in prop::collection::vec(1u16..=1000, 1..8), added in 1u16..=1000) {
        let mut hubs = fleet(&weights, 0);
        let without = instance(hubs.clone());
        hubs.push(hub("added.hub", added));
        let with = instance(hubs);
        for number in 0..500 {
            let (old, new) = (hashed_hub(&without, &device(number)), hashed_hub(&with, &device(number)));
            prop_assert!(new == old || new == "added.hub");
        }
    }

    /// More weight for a hub moves devices only to it, less only away from it; and no more than the shares differ by,
    /// within what chance allows (six standard deviations of a binomial).
    #[test]
    fn a_new_weight_moves_only_the_difference(
        weights in prop::collection::vec(1u16..=20, 2..8),
        weight in 1u16..=20,
        seed in 0u32..10_000,
    ) {
        let hubs = fleet(&weights, seed);
        let before = instance(hubs.clone());
        let mut changed = hubs;
        changed[0].weight = AllocationWeight::new(weight).unwrap();
        let changed_name = changed[0].name.to_string();
        let after = instance(changed);
        let devices = 2_000_u32;
        let mut moved = 0_u32;
        for number in 0..devices {
            let (old, new) = (hashed_hub(&before, &device(number as usize)), hashed_hub(&after, &device(number as usize)));
            if old != new {
                let (grows, shrinks) = (weight > weights[0], weight < weights[0]);
                prop_assert!(grows && new == changed_name || shrinks && old == changed_name, "{old} {new}");
                moved += 1;
            }
        }
        let others: f64 = weights.iter().skip(1).map(|weight| f64::from(*weight)).sum();
        let share = |weight: u16| f64::from(weight) / (f64::from(weight) + others);
        let expected = (share(weight) - share(weights[0])).abs();
        let spread = (f64::from(devices) * expected * (1.0 - expected)).sqrt();
        let bound = f64::from(devices) * expected + 6.0 * spread + 1.0;
        prop_assert!(f64::from(moved) <= bound, "{moved} moved, expected {bound} at most");
    }

    /// An enrollment's `iotHubs` narrow the choice just as if the others were not linked; so does a hub that takes no new
    /// devices.
    #[test]
    fn hubs_that_are_not_considered_do_not_count(
        fleet_of in prop::collection::vec((1u16..=1000, any::<bool>(), any::<bool>()), 2..8),
        number in 0usize..1000,
    ) {
        let mut hubs = fleet(&fleet_of.iter().map(|(weight, ..)| *weight).collect::<Vec<_>>(), 0);
        for (hub, (_, _, open)) in hubs.iter_mut().zip(&fleet_of) {
            hub.takes_new_devices = *open;
        }
        let wanted: Vec<_> =
            hubs.iter().zip(&fleet_of).filter(|(_, (_, wanted, _))| *wanted).map(|(hub, _)| hub.name.as_str()).collect();
        let left: Vec<_> = hubs
            .iter()
            .filter(|hub| hub.takes_new_devices && (wanted.is_empty() || wanted.contains(&hub.name.as_str())))
            .cloned()
            .collect();
        let nowhere = Situation::default();
        let narrowed = hub_of(choose(&instance(hubs.clone()), &wants(&wanted, None), &device(number), &nowhere));
        let alone = hub_of(choose(&instance(left), &EnrollmentSettings::default(), &device(number), &nowhere));
        prop_assert_eq!(narrowed.ok(), alone.ok());
    }

    /// By lowest latency, a device that returns keeps its hub, or moves at most once.
    #[test]
    fn no_device_moves_to_and_fro(
        millis in prop::collection::vec(prop::option::of(0u32..200), 2..6),
        current in 0usize..6,
        number in 0usize..1000,
    ) {
        let hubs = fleet(&vec![1; millis.len()], 1);
        let known = hubs.iter().zip(&millis).filter_map(|(hub, millis)| Some((hub.name.clone(), (*millis)?)));
        let known: HashMap<_, _> = known.map(|(hub, millis)| (hub, Latency::from_millis(millis))).collect();
        let latencies = Latencies::from(LatencySource::Probes, Arc::new(known));
        let current = hubs.get(current).map(|hub| hub.name.clone());
        let linked = instance(hubs);
        let settings = wants(&[], Some(AllocationPolicy::GeoLatency));
        let choose_from = |current: Option<HubName>| {
            let situation = Situation { current, latencies: latencies.clone(), ..Default::default() };
            HubName::parse(hub_of(choose(&linked, &settings, &device(number), &situation)).unwrap()).unwrap()
        };
        let first = choose_from(current);
        prop_assert_eq!(choose_from(Some(first.clone())), first);
    }

    /// The hub that a device moves to is nearer by more than the margin that would have let it stay.
    #[test]
    fn devices_move_only_for_a_reason(
        millis in prop::collection::vec(0u32..500, 2..6),
        number in 0usize..1000,
    ) {
        let hubs = fleet(&vec![1; millis.len()], 2);
        let names: Vec<_> = hubs.iter().map(|hub| hub.name.clone()).collect();
        let known: HashMap<_, _> =
            names.iter().cloned().zip(millis.iter().map(|millis| Latency::from_millis(*millis))).collect();
        let situation = Situation {
            current: names.first().cloned(),
            latencies: Latencies::from(LatencySource::Probes, Arc::new(known.clone())),
            ..Default::default()
        };
        let settings = wants(&[], Some(AllocationPolicy::GeoLatency));
        let chosen = hub_of(choose(&instance(hubs), &settings, &device(number), &situation)).unwrap();
        let nearest = *millis.iter().min().unwrap_or(&0);
        let margin = |percent: u32, at_least: u32| (nearest * percent).max(at_least * 100);
        let is_at_home = chosen == names[0].as_str();
        prop_assert_eq!(is_at_home, (millis[0] - nearest) * 100 <= margin(25, 20));
        if !is_at_home {
            let got = known[&HubName::parse(&chosen).unwrap()].micros() / 1000;
            prop_assert!((got - nearest) * 100 <= margin(10, 5));
        }
    }
}

//! Lowest latency: chooses the hub nearest to the device.
//!
//! Hubs that are about as near as the nearest share devices by the weighted hash, so that the noise of measurements does not
//! make two hubs in one place take turns. A returning device keeps its hub unless another is nearer by a larger margin: moving
//! costs more than a few milliseconds. Without latencies, no device moves.

use model::{Because, Latency, LatencySource, LinkedHub, RegistrationId};

use super::{Latencies, Situation, hashed};

/// How much farther than the nearest a hub may be: a percentage, or a minimum if that is more.
struct Margin {
    at_least: Latency,
    percent: u32,
}

/// For a hub to count as near as the nearest. Measurements of one path differ by this much from minute to minute.
const AS_NEAR: Margin = Margin { at_least: Latency::from_millis(5), percent: 10 };

/// For a device to keep its hub. Enough wider than [`AS_NEAR`] that a latency at its edge does not move devices to and fro.
const NEAR_ENOUGH: Margin = Margin { at_least: Latency::from_millis(20), percent: 25 };

impl Margin {
    fn covers(&self, latency: Latency, nearest: Latency) -> bool {
        let more = (nearest.micros() / 100).saturating_mul(self.percent).max(self.at_least.micros());
        latency.micros() <= nearest.micros().saturating_add(more)
    }
}

/// Returns the hub and the reason for it; `None` if there is no hub.
pub(super) fn choose<'a>(
    hubs: &[&'a LinkedHub],
    registration_id: &RegistrationId,
    situation: &Situation,
) -> Option<(&'a LinkedHub, Because)> {
    let latency = |hub: &LinkedHub| situation.latencies.to(&hub.name);
    let nearest = hubs.iter().filter_map(|hub| latency(hub)).min();
    let current = hubs.iter().find(|hub| situation.current.as_ref() == Some(&hub.name));
    let stays = |hub: &LinkedHub| match (latency(hub), nearest) {
        (Some(latency), Some(nearest)) => NEAR_ENOUGH.covers(latency, nearest),
        (None, Some(_)) => may_be_near(situation),
        (_, None) => true,
    };
    if let Some(hub) = current.filter(|hub| stays(hub)) {
        return Some((hub, Because::NearEnough));
    }
    let because = if nearest.is_some() { Because::Nearest } else { Because::Hash };
    let hub = hashed::choose(self::nearest(hubs, &situation.latencies), registration_id);
    hub.map(|hub| (hub, because))
}

/// Returns the hubs that share new devices: those about as near as the nearest, or all if no latency is known.
pub(super) fn nearest<'a>(hubs: &[&'a LinkedHub], latencies: &Latencies) -> Vec<&'a LinkedHub> {
    let nearest = hubs.iter().filter_map(|hub| latencies.to(&hub.name)).min();
    let as_near = |hub: &&LinkedHub| match (latencies.to(&hub.name), nearest) {
        (Some(latency), Some(nearest)) => AS_NEAR.covers(latency, nearest),
        (None, Some(_)) => false,
        (_, None) => true,
    };
    hubs.iter().copied().filter(as_near).collect()
}

/// Whether a hub without latency may be near. A probe without an answer shows only that the hub is down at the moment; a hub
/// that the operator's table leaves out is meant to be far.
fn may_be_near(situation: &Situation) -> bool {
    matches!(situation.latencies.source(), Some(LatencySource::Probes) | None)
}

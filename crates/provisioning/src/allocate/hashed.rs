//! Evenly weighted distribution: weighted rendezvous hashing.
//!
//! Each hub draws a number for each device, `-weight / ln(u)` with `u` uniform in (0, 1) from a hash of both names, and
//! the highest draw wins. A hub's share of devices is its share of the weights, and linking or unlinking a hub moves only
//! devices that it wins or had won. (Schindelhauer and Schomaker, "Weighted distributed hash tables", 2005.)

use aws_lc_rs::digest;
use model::{LinkedHub, RegistrationId};

/// Returns the hub with the highest draw for this device; the hub linked first if draws are equal; `None` if there is no hub.
pub(super) fn choose<'a>(
    hubs: impl IntoIterator<Item = &'a LinkedHub>,
    registration_id: &RegistrationId,
) -> Option<&'a LinkedHub> {
    let device = registration_id.key();
    let draws = hubs.into_iter().map(|hub| (draw(hub, &device), hub));
    let best = draws.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, hub)| hub)
}

fn draw(hub: &LinkedHub, device: &str) -> f64 {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(hub.name.as_str().as_bytes());
    context.update(b"\n");
    context.update(device.as_bytes());
    -f64::from(hub.weight.number()) / uniform(context.finish().as_ref()).ln()
}

/// Returns a number in (0, 1) from the first 53 bits of a hash: never 0 and never 1.
fn uniform(hash: &[u8]) -> f64 {
    let bytes = hash.first_chunk::<8>().copied().unwrap_or_default();
    let bits = u64::from_be_bytes(bytes) >> 11;
    (bits as f64 + 0.5) / (1u64 << 53) as f64
}

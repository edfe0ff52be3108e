//! Quotas and throttles of devices, over every transport.

use std::collections::BTreeMap;

use model::{Instance, Quota, QuotaPreset, Quotas, RefusalReason};
use net::Transport;
use testkit::sample;

use crate::{
    lines::Line,
    world::{Device, IN_TIME, SCOPE, World, pass},
};

async fn set(world: &World, numbers: &[(Quota, u32)]) {
    let quotas = Quotas::new(QuotaPreset::Off, BTreeMap::from_iter(numbers.iter().copied())).unwrap();
    world.change(SCOPE, |instance| Instance { quotas, ..instance }).await;
}

/// A device beyond its polls learns from Retry-After when to poll again; a stranger uses up none of them, and no other device waits.
#[tokio::test]
async fn polls_beyond_the_limit_are_throttled() {
    let world = World::new(IN_TIME).await;
    set(&world, &[(Quota::PollsPer10Seconds, 2)]).await;
    let other = world.device("other").await;
    for transport in Transport::ALL {
        let device = world.device(&format!("{transport:?}")).await;
        let mut line = Line::open(&world, transport, &device, None).await;
        let operation = line.register().await.operation_id().to_owned();
        let stranger = device.with_key(sample::key(99));
        for _ in 0..4 {
            let mut line = Line::open(&world, transport, &stranger, None).await;
            assert_eq!(line.poll(&operation).await.status, 401, "{transport:?}");
        }
        for _ in 0..2 {
            assert_eq!(line.poll(&operation).await.status, 200, "{transport:?}");
        }
        let said = line.poll(&operation).await;
        assert_eq!((said.status, said.error_code()), (429, Some(429_000)), "{transport:?}");
        assert_eq!(said.retry_after_secs, Some(5), "{transport:?}");
        // A register call is not a poll.
        line.register().await.assigned();
        let mut others = Line::open(&world, transport, &other, None).await;
        let operation_of_other = others.register().await.operation_id().to_owned();
        assert_eq!(others.poll(&operation_of_other).await.status, 200, "{transport:?}");
        pass(std::time::Duration::from_secs(10)).await;
        assert_eq!(line.poll(&operation).await.status, 200, "{transport:?}");
    }
}

/// A new device beyond the quota is refused, which is recorded; those that are registered come back.
#[tokio::test]
async fn registrations_beyond_the_quota_are_refused() {
    let world = World::new(IN_TIME).await;
    let mut devices: Vec<Device> = Vec::new();
    for transport in Transport::ALL {
        devices.push(world.device(&format!("{transport:?}")).await);
    }
    let limit = u32::try_from(devices.len()).unwrap();
    set(&world, &[(Quota::Registrations, limit)]).await;
    for (transport, device) in Transport::ALL.into_iter().zip(&devices) {
        Line::open(&world, transport, device, None).await.register().await.assigned();
    }
    let instance = world.store.instance(&sample::scope(SCOPE)).await.unwrap().unwrap();
    for (transport, device) in Transport::ALL.into_iter().zip(&devices) {
        let new = world.device(&format!("new-{transport:?}")).await;
        let said = Line::open(&world, transport, &new, None).await.register().await;
        assert_eq!((said.status, said.error_code()), (429, Some(429_001)), "{transport:?}");
        let attempts =
            world.provisioning.attempts(&instance, &sample::registration_id(&new.id)).await.unwrap();
        let reasons: Vec<_> = attempts.items.iter().map(model::Attempt::reason).collect();
        assert_eq!(reasons, [Some(RefusalReason::Quota)], "{transport:?}");
        assert_eq!(world.record(&new.id).await, None, "{transport:?}");
        Line::open(&world, transport, device, None).await.register().await.assigned();
    }
    set(&world, &[]).await;
    let new = Device::new(SCOPE, "new-Https", sample::key(10));
    Line::open(&world, Transport::Https, &new, None).await.register().await.assigned();
}

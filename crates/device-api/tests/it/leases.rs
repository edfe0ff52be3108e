//! A process that has lost the lease of its runner.

use std::time::Duration;

use provisioning::ports::{AssignmentRuns, LeaseName, RunnerId};

use crate::world::{AT_ONCE, World};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_process_without_a_lease_registers_no_device_and_answers_polls() {
    let world = World::new(AT_ONCE).await;
    let [known, new] = [world.device("reg-1").await, world.device("reg-2").await];
    let mut http = world.http(None).await;
    let held = world.hub().hold().await;
    let operation_id = http.register(&known).await.operation_id();
    let other = RunnerId::parse(&"0".repeat(32)).unwrap();
    for lease in world.store.leases().await.unwrap() {
        if matches!(lease.name, LeaseName::Runner(_)) {
            world.store.release(lease.token).await.unwrap();
            assert!(world.store.claim(&lease.name, &other, HOUR).await.unwrap().is_some());
        }
    }
    while world.runs.lease().is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = http.register(&new).await;
    refused.check_error("no lease", 503_000);
    assert_eq!(http.poll(&known, &operation_id).await.status.as_u16(), 202, "it is still being assigned");
    drop(held);
}

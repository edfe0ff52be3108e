//! Runs that are interrupted: by a crash, a restart, a deletion, or a store that fails.

use model::{AllocationWeight, Status};
use provisioning::{Error, ports::PageRequest, register::RunOutcome};
use testkit::sample;

use super::world::{HUBS, OTHER_SCOPE, SCOPE, World, assigned, individual, keys};

#[tokio::test]
async fn an_interrupted_run_continues_at_its_hub() {
    for called in [false, true] {
        let world = World::new().await;
        let device = world.device("dev-1").await;
        let run = world.run(&device).await;
        let Status::Assigning { step, .. } = &run.registration.status else { panic!("{run:?}") };
        let spec = step.spec().unwrap();
        let hub = spec.hub.clone();
        if called {
            // The hub applied the spec, and the service crashed before it recorded that.
            let connector = world.hub(hub.as_str());
            provisioning::ports::HubConnector::ensure_device(&*connector, spec).await.unwrap();
        }
        let world = world.restarted().await;
        world
            .change_instance(|instance| {
                for linked in &mut instance.linked_hubs {
                    let weight = if linked.name == hub { 1 } else { 1000 };
                    linked.weight = AllocationWeight::new(weight).unwrap();
                    linked.takes_new_devices = linked.name != hub;
                }
            })
            .await;
        let [resumed] = &world.unfinished(10).await[..] else { panic!("not one run") };
        assert_eq!(resumed.registration, run.registration);
        let registration = world.finish(resumed).await;
        assert_eq!(assigned(&registration).hub, hub);
        world.check_at_hub(&registration, &keys(10), if called { 2 } else { 1 });
        assert_eq!(world.counted(SCOPE).await, (1, 0));
        assert_eq!(world.unfinished(10).await.len(), 0);
        assert_eq!(world.register(&device).await, registration);
    }
}

#[tokio::test]
async fn a_device_that_returns_resumes_its_run() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let run = world.run(&device).await;
    let world = world.restarted().await;
    let again = world.run(&device).await;
    assert_eq!(again.registration, run.registration);
    world.check_at_hub(&world.finish(&again).await, &keys(10), 1);
    assert_eq!(world.counted(SCOPE).await, (1, 0));
}

#[tokio::test]
async fn an_assignment_survives_a_restart() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let registration = world.register(&device).await;
    let world = world.restarted().await;
    assert_eq!(world.register(&device).await, registration);
    assert_eq!(world.counted(SCOPE).await, (1, 1));
}

#[tokio::test]
async fn unfinished_runs_are_listed_by_instance_in_pages() {
    let world = World::new().await;
    for scope in [SCOPE, OTHER_SCOPE] {
        for number in 0..4 {
            let id = format!("dev-{number}-of-{scope}");
            let mut device = world.device(&id).await;
            world
                .enroll_in(scope, provisioning::ports::Change::PutIndividual(Box::new(individual(&id))))
                .await;
            device.scope = scope.into();
            world.run(&device).await;
        }
    }
    for scope in [SCOPE, OTHER_SCOPE].map(sample::scope) {
        let (mut after, mut found) = (None, Vec::new());
        for expected in [3, 1] {
            let page = PageRequest { after, limit: 3 };
            let page = world.provisioning.unfinished_runs(&scope, page).await.unwrap();
            assert_eq!(page.items.len(), expected);
            assert!(page.items.iter().all(|run| run.scope == scope && run.backoff.is_zero()));
            found.extend(page.items.into_iter().map(|run| run.registration_id.to_string()));
            after = page.next;
        }
        assert_eq!((found.len(), after), (4, None));
    }
    assert_eq!(world.unfinished(100).await.len(), 8);
}

#[tokio::test]
async fn a_registration_that_is_deleted_during_its_run_stays_deleted() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let run = world.run(&device).await;
    world.delete_registration("dev-1").await;
    assert!(matches!(world.provisioning.execute(&run).await, RunOutcome::Deleted));
    assert_eq!(world.record("dev-1").await, None);
    assert_eq!(world.counted(SCOPE).await, (0, 0));
}

/// The registration is deleted and begun again: the old run ends, and does not affect the new one.
#[tokio::test]
async fn a_run_does_not_end_its_successor() {
    let world = World::new().await;
    world.link(&HUBS[..1]).await;
    let device = world.device("dev-1").await;
    let old = world.run(&device).await;
    world.delete_registration("dev-1").await;
    let new = world.run(&device).await;
    assert_eq!(world.finish(&old).await, new.registration);
    assert_eq!(world.record("dev-1").await.as_ref(), Some(&new.registration));
    let registration = world.finish(&new).await;
    assert_eq!(registration.operation_id, new.registration.operation_id);
    assert_eq!(world.counted(SCOPE).await, (1, 0));
}

#[tokio::test]
async fn without_its_store_the_service_reports_no_success() {
    let world = World::in_file().await;
    let device = world.device("dev-1").await;
    let run = world.run(&device).await;
    world.close_file().await;
    assert!(matches!(world.provisioning.execute(&run).await, RunOutcome::Retry(_)));
    let other = device.called("dev-1").with_key(sample::key(11));
    let begun = world.begin_with(SCOPE, "dev-1", other.evidence()).await;
    assert!(matches!(begun, Ok(_) | Err(Error::Broken(_))), "{begun:?}");
    let world = world.restarted().await;
    let [resumed] = &world.unfinished(10).await[..] else { panic!("not one run") };
    world.finish(resumed).await;
    assert_eq!(world.counted(SCOPE).await, (1, 0));
}

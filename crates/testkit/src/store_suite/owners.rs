//! Owners of devices at hubs: a device belongs to one registration, among those of all instances.

use std::sync::Arc;

use model::{Assignment, DeviceId, HubDeviceRef, Registration, Status};
use provisioning::ports::{Change, Expect, Outcome, Owner};

use super::world::{Versioned, World, put_individual, put_registration};
use crate::sample;

fn at(hub: &str, device: &str) -> Assignment {
    let hub = sample::hub_name(hub);
    Assignment { hub, device_id: DeviceId::parse(device).unwrap(), ..sample::assignment("dev") }
}

/// Returns a registration that is assigned to this device at this hub.
fn assigned(id: &str, hub: &str, device: &str) -> Registration {
    Registration { status: Status::Assigned(at(hub, device)), ..sample::registration(id) }
}

/// Returns an unfinished registration to `hub-1.example`; `from` is the previous assignment.
fn moving(id: &str, from: Option<Assignment>) -> Registration {
    let mut registration = sample::while_assigning(sample::registration(id));
    if let Status::Assigning { from: previous, .. } = &mut registration.status {
        *previous = from;
    }
    registration
}

async fn owner(world: &World, hub: &str, device: &str, not: &str) -> Option<Owner> {
    let place: HubDeviceRef = at(hub, device).hub_device();
    let not = sample::registration_id(not);
    world.store.hub_device(&place, &world.scope, &not).await.unwrap().other_owner
}

pub(super) async fn one_per_device(world: World) {
    use Outcome::{Applied, OtherVersion, Taken};
    world.store.put_instance(sample::instance("two"), sample::by()).await.unwrap();
    let (one, two) = (world.beside("one"), world.beside("two"));
    let owned = |scope: &str, id: &str| {
        Some(Owner { id_scope: sample::scope(scope), registration_id: sample::registration_id(id) })
    };
    let first = assigned("Dev-1", "hub-1.example", "Dev-1");
    one.apply([put_registration(first.clone())]).await;
    for world in [&one, &two] {
        let taking = [
            assigned("other", "hub-1.example", "Dev-1"),
            moving("Dev-1", None),
            moving("Dev-1", Some(at("hub-2.example", "x"))),
        ];
        for taking in taking {
            let is_itself = world.scope == one.scope && taking.registration_id == first.registration_id;
            let expected = if is_itself { Applied } else { Taken };
            assert_eq!(world.commit(vec![(Expect::Anything, put_registration(taking))]).await, [expected]);
            one.apply([put_registration(first.clone())]).await;
        }
    }
    assert_eq!(owner(&one, "hub-1.example", "Dev-1", "dev-1").await, None, "no other owner than itself");
    assert_eq!(owner(&one, "hub-1.example", "Dev-1", "other").await, owned("one", "dev-1"));
    assert_eq!(owner(&two, "hub-1.example", "Dev-1", "dev-1").await, owned("one", "dev-1"));
    assert_eq!(owner(&two, "hub-1.example", "dev-1", "dev-1").await, None, "device IDs keep their case");
    assert_eq!(owner(&two, "hub-2.example", "Dev-1", "dev-1").await, None);

    // During a move, a registration owns both devices; afterwards only the new one.
    let moving = moving("b", Some(at("hub-2.example", "b")));
    two.apply([put_registration(moving)]).await;
    for hub in ["hub-1.example", "hub-2.example"] {
        assert_eq!(owner(&one, hub, "b", "b").await, owned("two", "b"), "{hub}");
    }
    two.apply([put_registration(assigned("b", "hub-1.example", "b"))]).await;
    assert_eq!(owner(&one, "hub-2.example", "b", "b").await, None);

    // A change that is not applied does not change owners.
    let stale = Expect::Version(sample::etag("other"));
    let change = put_registration(assigned("b", "hub-3.example", "b"));
    assert_eq!(two.commit(vec![(stale, change)]).await, [OtherVersion]);
    assert_eq!(owner(&one, "hub-3.example", "b", "b").await, None);
    let following = vec![
        (Expect::Anything, put_registration(assigned("c", "hub-1.example", "b"))),
        (Expect::Following, put_individual(sample::individual("c"))),
    ];
    assert_eq!(one.commit(following).await, [Taken, Outcome::LeftOut]);

    // A registration that moves to another group keeps its device; a deleted one releases it.
    let grouped = Registration { status: first.status.clone(), ..sample::registration_of("Dev-1", "line") };
    one.apply([put_registration(grouped)]).await;
    assert_eq!(owner(&two, "hub-1.example", "Dev-1", "x").await, owned("one", "dev-1"));
    one.apply([Change::DeleteRegistration(sample::registration_id("dev-1"))]).await;
    assert_eq!(owner(&two, "hub-1.example", "Dev-1", "x").await, None);
    two.apply([put_registration(assigned("x", "hub-1.example", "Dev-1"))]).await;
    drop((one, two));
    let world = world.reopen().await;
    assert_eq!(owner(&world, "hub-1.example", "Dev-1", "x").await, owned("two", "x"));
}

/// Concurrent registrations of two instances compete for one device at a hub.
pub(super) async fn race(world: World) {
    world.store.put_instance(sample::instance("two"), sample::by()).await.unwrap();
    let worlds = [Arc::new(world.beside("one")), Arc::new(world.beside("two"))];
    for round in 0..20 {
        let device = format!("wanted-{round}");
        let commits = (0..8).map(|number| {
            let world = Arc::clone(&worlds[number % 2]);
            let registration =
                assigned(&format!("dev-{round}-{number}"), "hub-1.example", &device).with_etag("1");
            tokio::spawn(
                async move { world.commit(vec![(Expect::Absent, put_registration(registration))]).await },
            )
        });
        let mut applied = 0;
        for outcome in commits.collect::<Vec<_>>() {
            match outcome.await.unwrap()[..] {
                [Outcome::Applied] => applied += 1,
                [Outcome::Taken] => {}
                ref other => panic!("{other:?}"),
            }
        }
        assert_eq!(applied, 1, "round {round}");
    }
}

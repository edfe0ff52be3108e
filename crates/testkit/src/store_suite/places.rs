//! Places at hubs: no two registrations have the same, of whichever instance.

use std::sync::Arc;

use model::{Assignment, DeviceId, Place, Registration, Status};
use provisioning::ports::{Change, Expect, Outcome, Owner};

use super::world::{Versioned, World, put_individual, put_registration};
use crate::sample;

fn at(hub: &str, device: &str) -> Assignment {
    let hub = sample::hub_name(hub);
    Assignment { hub, device_id: DeviceId::parse(device).unwrap(), ..sample::assignment("dev") }
}

/// A registration whose device lives at this hub under this name.
fn living(id: &str, hub: &str, device: &str) -> Registration {
    Registration { status: Status::Assigned(at(hub, device)), ..sample::registration(id) }
}

/// One whose device is on its way to `hub-1.example` under its own name, and lives elsewhere until then.
fn moving(id: &str, from: Option<Assignment>) -> Registration {
    let mut registration = sample::while_assigning(sample::registration(id));
    if let Status::Assigning { from: lives, .. } = &mut registration.status {
        *lives = from;
    }
    registration
}

async fn owner(world: &World, hub: &str, device: &str, not: &str) -> Option<Owner> {
    let place: Place = at(hub, device).place();
    world.store.other_owner(&place, &world.scope, &sample::registration_id(not)).await.unwrap()
}

pub(super) async fn belong_to_one(world: World) {
    use Outcome::{Applied, OtherVersion, Taken};
    world.store.put_instance(sample::instance("two")).await.unwrap();
    let (one, two) = (world.beside("one"), world.beside("two"));
    let owned = |scope: &str, id: &str| {
        Some(Owner { id_scope: sample::scope(scope), registration_id: sample::registration_id(id) })
    };
    let first = living("Dev-1", "hub-1.example", "Dev-1");
    one.apply([put_registration(first.clone())]).await;
    for world in [&one, &two] {
        let taking = [
            living("other", "hub-1.example", "Dev-1"),
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
    assert_eq!(owner(&one, "hub-1.example", "Dev-1", "dev-1").await, None, "its own");
    assert_eq!(owner(&one, "hub-1.example", "Dev-1", "other").await, owned("one", "dev-1"));
    assert_eq!(owner(&two, "hub-1.example", "Dev-1", "dev-1").await, owned("one", "dev-1"));
    assert_eq!(owner(&two, "hub-1.example", "dev-1", "dev-1").await, None, "device IDs keep their case");
    assert_eq!(owner(&two, "hub-2.example", "Dev-1", "dev-1").await, None);

    // What is written on its way holds both places, and once it has arrived only the new one.
    let way = moving("b", Some(at("hub-2.example", "b")));
    two.apply([put_registration(way)]).await;
    for hub in ["hub-1.example", "hub-2.example"] {
        assert_eq!(owner(&one, hub, "b", "b").await, owned("two", "b"), "{hub}");
    }
    two.apply([put_registration(living("b", "hub-1.example", "b"))]).await;
    assert_eq!(owner(&one, "hub-2.example", "b", "b").await, None);

    // A change that is not made takes nothing, also when what it expects is not there.
    let stale = Expect::Version(sample::etag("other"));
    let change = put_registration(living("b", "hub-3.example", "b"));
    assert_eq!(two.commit(vec![(stale, change)]).await, [OtherVersion]);
    assert_eq!(owner(&one, "hub-3.example", "b", "b").await, None);
    let follows = vec![
        (Expect::Anything, put_registration(living("c", "hub-1.example", "b"))),
        (Expect::Following, put_individual(sample::individual("c"))),
    ];
    assert_eq!(one.commit(follows).await, [Taken, Outcome::LeftOut]);

    // A registration that moves to another group keeps its place, and one that is deleted gives it back.
    let grouped = Registration { status: first.status.clone(), ..sample::registration_of("Dev-1", "line") };
    one.apply([put_registration(grouped)]).await;
    assert_eq!(owner(&two, "hub-1.example", "Dev-1", "x").await, owned("one", "dev-1"));
    one.apply([Change::DeleteRegistration(sample::registration_id("dev-1"))]).await;
    assert_eq!(owner(&two, "hub-1.example", "Dev-1", "x").await, None);
    two.apply([put_registration(living("x", "hub-1.example", "Dev-1"))]).await;
    drop((one, two));
    let world = world.reopen().await;
    assert_eq!(owner(&world, "hub-1.example", "Dev-1", "x").await, owned("two", "x"));
}

/// Registrations of two instances want one place at the same time.
pub(super) async fn race(world: World) {
    world.store.put_instance(sample::instance("two")).await.unwrap();
    let worlds = [Arc::new(world.beside("one")), Arc::new(world.beside("two"))];
    for round in 0..20 {
        let device = format!("wanted-{round}");
        let wanting = (0..8).map(|number| {
            let world = Arc::clone(&worlds[number % 2]);
            let registration =
                living(&format!("dev-{round}-{number}"), "hub-1.example", &device).with_etag("1");
            tokio::spawn(
                async move { world.commit(vec![(Expect::Absent, put_registration(registration))]).await },
            )
        });
        let mut made = 0;
        for outcome in wanting.collect::<Vec<_>>() {
            match outcome.await.unwrap()[..] {
                [Outcome::Applied] => made += 1,
                [Outcome::Taken] => {}
                ref other => panic!("{other:?}"),
            }
        }
        assert_eq!(made, 1, "round {round}");
    }
}

//! Compare-and-set of instances.

use std::sync::Arc;

use model::{Instance, OperationKind, UsageRow};
use provisioning::ports::InstanceUpdate;
use tokio::task::JoinSet;

use super::world::{TODAY, World};
use crate::sample;

const OPERATION: (OperationKind, model::Day) = (OperationKind::LinkedHubChange, TODAY);

fn counted(next: Instance) -> InstanceUpdate {
    InstanceUpdate { operation: Some(OPERATION), ..next.into() }
}

fn named(name: &str) -> Instance {
    Instance { name: name.to_owned(), ..sample::instance("one") }
}

pub(super) async fn replaced_as_expected(world: World) {
    let (first, second, third) = (sample::instance("one"), named("second"), named("third"));
    let unknown = sample::instance("unknown");
    for (expected, next, is_replaced, stored) in [
        (&second, &third, false, &first),
        (&first, &second, true, &second),
        (&first, &third, false, &second),
        (&unknown, &unknown, false, &second),
        (&second, &third, true, &third),
    ] {
        let replaced =
            world.store.replace_instance(expected, counted(next.clone()), sample::by()).await.unwrap();
        assert_eq!(replaced, is_replaced, "{} in place of {}", next.name, expected.name);
        assert_eq!(*world.store.instance(&world.scope).await.unwrap().unwrap(), *stored);
    }
    let world = world.reopen().await;
    assert_eq!(*world.store.instance(&world.scope).await.unwrap().unwrap(), third);
    let (kind, day) = OPERATION;
    assert_eq!(world.usage().await, [UsageRow { day, kind, count: 2 }]);
}

pub(super) async fn one_replaces(world: World) {
    let world = Arc::new(world);
    let mut current = sample::instance("one");
    for round in 0..5 {
        let mut attempts = JoinSet::new();
        for caller in 0..8 {
            let (world, expected, next) =
                (Arc::clone(&world), current.clone(), named(&format!("{round}-{caller}")));
            attempts.spawn(async move {
                let replaced =
                    world.store.replace_instance(&expected, counted(next.clone()), sample::by()).await;
                replaced.unwrap().then_some(next)
            });
        }
        let winners: Vec<Instance> = attempts.join_all().await.into_iter().flatten().collect();
        let stored = world.store.instance(&world.scope).await.unwrap().unwrap();
        assert_eq!(winners, [Instance::clone(&stored)]);
        current = Instance::clone(&stored);
    }
}

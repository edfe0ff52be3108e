//! Operation IDs, polling and looking up.

use std::{collections::BTreeSet, time::Duration};

use model::{OperationId, Status};
use provisioning::{Error, RecordKind};
use testkit::sample;

use super::world::{OTHER_SCOPE, SCOPE, World, individual};

fn id(text: &str) -> OperationId {
    OperationId::parse(text).unwrap()
}

fn is_unknown(polled: &Result<model::Registration, Error>) -> bool {
    matches!(polled, Err(Error::NotFound(RecordKind::Operation)))
}

#[tokio::test]
async fn an_operation_can_be_polled_from_its_start() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let run = world.run(&device).await;
    let operation_id = run.registration.operation_id.clone();
    assert_eq!(world.poll(&device, &operation_id).await.unwrap(), run.registration);
    let ended = world.finish(&run).await;
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(world.poll(&device, &operation_id).await.unwrap(), ended);
    let world = world.restarted().await;
    assert_eq!(world.poll(&device, &operation_id).await.unwrap(), ended);
    assert_eq!(world.counted(SCOPE).await, (1, 0), "polling is free");
}

#[tokio::test]
async fn an_older_operation_returns_the_current_registration() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    world.link(&[]).await;
    let failed = world.register(&device).await;
    world.link(&["hub-1.example"]).await;
    let assigned = world.register(&device).await;
    assert_ne!(failed.operation_id, assigned.operation_id);
    for operation_id in [&failed.operation_id, &assigned.operation_id] {
        assert_eq!(world.poll(&device, operation_id).await.unwrap(), assigned);
    }
}

#[tokio::test]
async fn operation_ids_have_the_form_that_clients_know() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let operation_id = world.register(&device).await.operation_id.to_string();
    assert_eq!(operation_id.len(), "5.316aac5bdc130deb.b1e02da8-c3a0-4ff2-a121-7ea7a6b7f550".len());
    let parts: Vec<_> = operation_id.split('.').collect();
    let guid: Vec<_> = parts[2].split('-').map(str::len).collect();
    assert_eq!((parts[0], parts[1].len(), &guid[..]), ("5", 16, &[8, 4, 4, 4, 12][..]));
}

#[tokio::test]
async fn only_issued_operation_ids_are_known() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let issued = world.register(&device).await.operation_id;
    let text = issued.as_str();
    let mut forged = vec![
        "5".into(),
        "5.0.0".into(),
        "5.0000000000000000.00000000-0000-0000-0000-000000000000".into(),
        text.to_uppercase(),
        format!("{text}0"),
        format!("{text}.0"),
        text[..text.len() - 1].into(),
        text.replacen('5', "4", 1),
        format!("5.{text}"),
    ];
    for at in 2..text.len() {
        let other = if &text[at..=at] == "0" { "1" } else { "0" };
        forged.push(format!("{}{other}{}", &text[..at], &text[at + 1..]));
    }
    for text in forged {
        assert!(is_unknown(&world.poll(&device, &id(&text)).await), "{text}");
    }
    assert!(world.poll(&device, &issued).await.is_ok());

    let other = world.device("dev-2").await;
    assert!(is_unknown(&world.poll(&other, &issued).await), "without a registration");
    world.register(&other).await;
    assert!(is_unknown(&world.poll(&other, &issued).await), "of another registration");
}

#[tokio::test]
async fn ids_of_one_instance_are_unknown_to_another() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let enrolled = provisioning::ports::Change::PutIndividual(Box::new(individual("dev-1")));
    world.enroll_in(OTHER_SCOPE, enrolled).await;
    let issued = world.register(&device).await.operation_id;
    let mut same_device = device.clone();
    same_device.scope = OTHER_SCOPE.into();
    let there = world.register(&same_device).await.operation_id;
    assert!(is_unknown(&world.poll(&same_device, &issued).await));
    assert!(is_unknown(&world.poll(&device, &there).await));
}

#[tokio::test]
async fn concurrent_runs_have_different_ids() {
    let world = World::new().await;
    let mut seen = BTreeSet::new();
    for number in 0..50 {
        let device = world.device(&format!("dev-{number}")).await;
        for _ in 0..2 {
            seen.insert(world.run(&device).await.registration.operation_id);
            world.delete_registration(&device.id).await;
        }
    }
    assert_eq!(seen.len(), 100);
}

#[tokio::test]
async fn polls_and_lookups_need_attestation() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let operation_id = world.register(&device).await.operation_id;
    let thief = device.with_key(sample::key(99));
    assert!(matches!(world.poll(&thief, &operation_id).await, Err(Error::Unauthorized { .. })));
    assert!(matches!(world.look_up(&thief).await, Err(Error::Unauthorized { .. })));
    world.clock.advance(Duration::from_secs(3600 + 300));
    assert!(world.poll(&device, &operation_id).await.is_ok(), "at the end of its token");
    world.clock.advance(Duration::from_nanos(100));
    assert!(matches!(world.poll(&device, &operation_id).await, Err(Error::Unauthorized { .. })));
}

#[tokio::test]
async fn a_lookup_returns_the_registration() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    assert!(matches!(world.look_up(&device).await, Err(Error::NotFound(RecordKind::Registration))));
    let run = world.run(&device).await;
    assert!(matches!(world.look_up(&device).await.unwrap().status, Status::Assigning { .. }));
    let ended = world.finish(&run).await;
    assert_eq!(world.look_up(&device).await.unwrap(), ended);
    assert_eq!(world.counted(SCOPE).await, (1, 0), "looking up is free");
}

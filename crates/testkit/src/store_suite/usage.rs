//! Metering: the number of operations by day and kind.

use std::sync::Arc;

use model::{Day, OperationKind, UsageRow};
use provisioning::ports::{Commit, Expect};
use tokio::task::JoinSet;

use super::world::{TODAY, World, put_registration};
use crate::sample;

pub(super) async fn by_day_and_kind(world: World) {
    let day = |offset| Day::from_number(TODAY.number() + offset);
    let mut expected = Vec::new();
    for offset in [2, 0, 1] {
        for (index, kind) in OperationKind::ALL.into_iter().enumerate().rev() {
            let count = index as u64 % 3 + 1;
            for _ in 0..count {
                let operation = Some((kind, day(offset)));
                let commit = Commit { operation, ..Commit::by(sample::by()) };
                assert_eq!(world.store.commit(&world.scope, commit).await.unwrap(), []);
            }
            expected.push(UsageRow { day: day(offset), kind, count });
        }
    }
    expected.sort_by_key(|row| (row.day, row.kind));
    let world = world.reopen().await;
    for (from, to) in [(0, 2), (0, 0), (1, 1), (1, 2), (-9, 9), (2, 1), (3, 9)] {
        let got = world.store.usage(&world.scope, day(from), day(to)).await.unwrap();
        let within = |row: &&UsageRow| (day(from)..=day(to)).contains(&row.day);
        assert_eq!(got, expected.iter().filter(within).copied().collect::<Vec<_>>(), "{from} to {to}");
    }
}

pub(super) async fn concurrent(world: World) {
    let world = Arc::new(world);
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let world = Arc::clone(&world);
        tasks.spawn(async move {
            for index in 0..EACH {
                let new = put_registration(sample::registration(&format!("dev-{task}-{index}")));
                let kind = [OperationKind::Registration, OperationKind::Reregistration][index as usize % 2];
                world.try_commit(vec![(Expect::Absent, new)], Some(kind)).await.unwrap();
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let row = |kind| UsageRow { day: TODAY, kind, count: TASKS * EACH / 2 };
    assert_eq!(world.usage().await, [row(OperationKind::Registration), row(OperationKind::Reregistration)]);
}

const TASKS: u64 = 16;
const EACH: u64 = 20;

//! The verbs of operators.

mod history;
mod limits;
mod links;
mod listings;

use std::collections::BTreeMap;

use model::{Day, OperationKind};
use testkit::sample;

use crate::register::world::World;

/// Returns the operations that were counted for an instance.
async fn counted(world: &World, scope: &str) -> BTreeMap<OperationKind, u64> {
    let (first, last) = (Day::from_number(0), Day::from_number(100_000));
    let rows = world.store.usage(&sample::scope(scope), first, last).await.unwrap();
    rows.into_iter().map(|row| (row.kind, row.count)).collect()
}

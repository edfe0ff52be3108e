//! Attempts that were refused.

use model::{Admission, Attempt, Explanation, Timestamp};
use provisioning::ports::{ATTEMPTS_OF_A_KIND, ATTEMPTS_OF_ONE};

use super::world::World;
use crate::sample;

/// The attempt of a name with this number as its time.
fn attempt(id: &str, number: usize) -> Attempt {
    Attempt {
        registration_id: sample::registration_id(id),
        at: Timestamp::from_unix_seconds(number as i64),
        address: Some([192, 0, 2, 1].into()),
        known: false,
        explanation: Explanation {
            presented: vec!["certificate 1, the leaf: CN=dev".into()],
            considered: Vec::new(),
            omitted: 0,
            unfit: Vec::new(),
            outcome: Admission::Refused { reason: "no enrollment of this ID scope fits the device".into() },
        },
    }
}

fn known(id: &str, number: usize) -> Attempt {
    Attempt { known: true, ..attempt(id, number) }
}

/// The times of the attempts of a name, as they are read.
async fn of(world: &World, id: &str) -> Vec<i64> {
    let attempts = world.store.attempts(&world.scope, &sample::registration_id(id)).await.unwrap().items;
    attempts.iter().map(|attempt| attempt.at.unix_seconds()).collect()
}

async fn keep(world: &World, attempts: Vec<Attempt>) {
    world.store.keep_attempts(&world.scope, attempts).await.unwrap();
}

pub(super) async fn come_back(world: World) {
    assert_eq!(of(&world, "dev").await, [0; 0]);
    keep(&world, vec![attempt("dev", 1), attempt("other", 2), known("DEV", 3)]).await;
    keep(&world, vec![]).await;
    let world = world.reopen().await;
    assert_eq!((of(&world, "dev").await, of(&world, "Other").await), (vec![3, 1], vec![2]));
    let read = world.store.attempts(&world.scope, &sample::registration_id("other")).await.unwrap().items;
    assert_eq!(read, [attempt("other", 2)]);

    world.store.put_instance(sample::instance("two")).await.unwrap();
    let two = world.beside("two");
    assert_eq!(of(&two, "dev").await, [0; 0]);
    keep(&two, vec![attempt("dev", 9)]).await;
    assert_eq!((of(&two, "dev").await, of(&world, "dev").await), (vec![9], vec![3, 1]));
    assert!(world.store.keep_attempts(&sample::scope("none"), vec![attempt("dev", 1)]).await.is_err());
}

pub(super) async fn of_one_the_newest(world: World) {
    let many = ATTEMPTS_OF_ONE + 3;
    keep(&world, vec![attempt("other", 0)]).await;
    keep(&world, (1..=many).map(|number| attempt("dev", number)).collect()).await;
    let newest: Vec<_> = (4..=many as i64).rev().collect();
    assert_eq!((of(&world, "dev").await, of(&world, "other").await), (newest, vec![0]));
}

/// Strangers push out strangers, and no one whose name is known.
pub(super) async fn in_all_the_newest(world: World) {
    keep(&world, vec![known("known", 0), attempt("first", 0), attempt("second", 0)]).await;
    let strangers = |numbers: std::ops::Range<usize>| {
        numbers.map(|number| attempt(&format!("s{number}"), number)).collect()
    };
    keep(&world, strangers(0..ATTEMPTS_OF_A_KIND - 1)).await;
    assert_eq!((of(&world, "first").await, of(&world, "second").await), (vec![], vec![0]));
    keep(&world, strangers(ATTEMPTS_OF_A_KIND - 1..ATTEMPTS_OF_A_KIND)).await;
    assert_eq!((of(&world, "second").await, of(&world, "s0").await), (vec![], vec![0]));
    assert_eq!(of(&world, "known").await, [0]);
}
